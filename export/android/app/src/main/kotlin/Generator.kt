package keras_dcgan.android

import android.content.res.AssetManager
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import com.google.ai.edge.litert.LiteRtException
import java.nio.ByteBuffer
import org.json.JSONObject

private const val FILE = "generator_fp16.tflite"
private const val SIGNATURE = "sample_rgba" // R, G, B, A: how ARGB_8888 lies in memory, whatever its name says

/**
 * An exported generator in the app's assets. Throws IOException or LiteRtException where it is not there, or not whole, and
 * LinkageError where LiteRT has no library for the processor.
 */
class Generator(assets: AssetManager) : AutoCloseable {
    private val about = JSONObject(assets.open("model.json").reader().readText())
    val classes = about.getJSONArray("classes").length()

    var device = Accelerator.GPU
        private set

    // One or the other, so that it is known which: asked for both, LiteRT takes the CPU without a word where the GPU fails.
    private val model = try {
        CompiledModel.create(assets, FILE, CompiledModel.Options(Accelerator.GPU))
    } catch (error: LiteRtException) {
        device = Accelerator.CPU
        CompiledModel.create(assets, FILE, CompiledModel.Options(Accelerator.CPU))
    }
    private val z = model.createInputBuffer("z", SIGNATURE)
    private val label = if (classes > 0) model.createInputBuffer("label", SIGNATURE) else null
    private val pixels = model.createOutputBuffer("pixels", SIGNATURE)

    /** The image of a seed from 0 to 2**32 - 1; classes, where there are any, come in turn. Not from two threads at once. */
    fun draw(seed: Long): Bitmap {
        z.writeFloat(latent(seed, about.getInt("latent_dim")))
        label?.writeInt(intArrayOf((seed % classes).toInt()))
        val inputs = listOfNotNull("z" to z, label?.let { "label" to it }).toMap()
        model.run(inputs, mapOf("pixels" to pixels), SIGNATURE)
        val bitmap = Bitmap.createBitmap(about.getInt("width"), about.getInt("height"), Bitmap.Config.ARGB_8888)
        bitmap.copyPixelsFromBuffer(ByteBuffer.wrap(pixels.readInt8().also { if (about.getInt("channels") == 4) premultiply(it) }))
        return bitmap
    }

    /** A bitmap's colours are multiplied by its alpha, those of the file are not. */
    private fun premultiply(rgba: ByteArray) {
        for (i in rgba.indices) if (i % 4 < 3) {
            val alpha = rgba[i - i % 4 + 3].toInt() and 255
            rgba[i] = ((rgba[i].toInt() and 255) * alpha / 255).toByte()
        }
    }

    override fun close() = listOfNotNull(z, label, pixels, model).forEach { it.close() }
}
