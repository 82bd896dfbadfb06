// Which z a seed stands for: Threefry-2x32-20 and Box-Muller, the same numbers as keras_dcgan/pictures/latents.py. An Int of Kotlin wraps
// around at 32 bits, as the generator wants it.
package keras_dcgan.android

import kotlin.math.PI
import kotlin.math.cos
import kotlin.math.ln
import kotlin.math.sin
import kotlin.math.sqrt

private val ROTATIONS = listOf(listOf(13, 15, 26, 6), listOf(17, 29, 16, 24))
private const val PARITY = 0x1BD11BDA

fun threefry(k0: Int, k1: Int, c0: Int, c1: Int): Pair<Int, Int> {
    val keys = listOf(k0, k1, k0 xor k1 xor PARITY)
    var x0 = c0 + keys[0]
    var x1 = c1 + keys[1]
    for (group in 0 until 5) {
        for (rotation in ROTATIONS[group % 2]) {
            x0 += x1
            x1 = (x1 shl rotation or (x1 ushr 32 - rotation)) xor x0
        }
        x0 += keys[(group + 1) % 3]
        x1 += keys[(group + 2) % 3] + group + 1
    }
    return Pair(x0, x1)
}

/** A seed from 0 to 2**32 - 1 -> `length` numbers of N(0, 1). */
fun latent(seed: Long, length: Int): FloatArray {
    val z = FloatArray(length)
    for (i in 0 until length step 2) {
        val (first, second) = threefry(seed.toInt(), 0, i / 2, 0)
        val radius = sqrt(-2 * ln(uniform(first)))
        val angle = 2 * PI * uniform(second)
        z[i] = (radius * cos(angle)).toFloat()
        if (i + 1 < length) z[i + 1] = (radius * sin(angle)).toFloat()
    }
    return z
}

/** 32 bits -> between 0 and 1, without either: the half keeps the logarithm finite. */
private fun uniform(word: Int): Double = ((word.toLong() and 0xFFFFFFFFL) + 0.5) / 4294967296.0
