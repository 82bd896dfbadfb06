package keras_dcgan.android

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

class LatentsTest {
    /** As in every model.json, under seed.golden. */
    private val golden = mapOf(
        0L to floatArrayOf(
            -1.06545246f, -0.779213011f, 0.032399103f, -1.52030838f,
            1.36010838f, -0.131076619f, 0.801589966f, 0.103232533f
        ),
        1L to floatArrayOf(
            -0.708816111f, -0.446870714f, 1.04658365f, 2.14689088f,
            -3.03104496f, -0.0139002446f, 0.271095872f, -0.281086028f
        ),
        4294967295L to floatArrayOf(
            0.830496371f, -1.43105531f, -1.1234566f, -1.43719459f,
            1.73809159f, -0.56384331f, -0.322029442f, 0.0288000181f
        )
    )

    @Test
    fun aSeedIsTheSameLatentAsInPython() {
        for ((seed, z) in golden) assertArrayEquals(z, latent(seed, 100).copyOf(z.size), 1e-6f)
    }

    @Test
    fun anOddLengthEndsInTheMiddleOfAPair() {
        assertArrayEquals(latent(7, 100).copyOf(9), latent(7, 9), 0f)
    }

    /** One of the known answers that Random123 ships for threefry2x32 with 20 rounds. */
    @Test
    fun threefryGivesThePublishedAnswer() {
        assertEquals(Pair(0x6B200159, 0x99BA4EFE.toInt()), threefry(0, 0, 0, 0))
    }
}
