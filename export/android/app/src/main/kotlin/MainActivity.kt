// The picture of a seed, as large as the screen allows; "New" takes another seed. See settings.gradle.kts for how to build it.
package keras_dcgan.android

import android.app.Activity
import android.graphics.drawable.BitmapDrawable
import android.os.Bundle
import android.text.InputType
import android.widget.Button
import android.widget.EditText
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import java.util.concurrent.Executors
import kotlin.random.Random

class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor() // drawing is not to be entered twice, nor to hold up the screen
    private val generator by lazy { Generator(assets) }
    private lateinit var picture: ImageView
    private lateinit var seed: EditText
    private lateinit var status: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        picture = ImageView(this)
        status = TextView(this)
        seed = EditText(this).apply {
            inputType = InputType.TYPE_CLASS_NUMBER
            setText("0")
            setOnEditorActionListener { _, _, _ ->
                draw()
                true
            }
        }
        val new = Button(this).apply {
            text = "New"
            setOnClickListener {
                seed.setText(Random.nextLong(1L shl 32).toString())
                draw()
            }
        }
        val rows = LinearLayout(this).apply {
            orientation = LinearLayout.VERTICAL
            fitsSystemWindows = true
            addView(picture, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, 1f))
            listOf(status, seed, new).forEach { addView(it) }
        }
        setContentView(rows)
        draw()
    }

    private fun draw() {
        val chosen = (seed.text.toString().toLongOrNull() ?: 0).coerceIn(0, (1L shl 32) - 1)
        inTurn {
            val start = System.nanoTime()
            val bitmap = generator.draw(chosen)
            val ms = (System.nanoTime() - start) / 1e6
            runOnUiThread {
                picture.setImageDrawable(BitmapDrawable(resources, bitmap).apply { setFilterBitmap(false) }) // pixels, not a blur
                status.text = "%.1f ms on the %s".format(ms, generator.device)
            }
        }
    }

    private fun inTurn(work: () -> Unit) = worker.execute {
        try {
            work()
        } catch (error: Exception) {
            runOnUiThread { status.text = "$error" }
        }
    }

    override fun onDestroy() {
        inTurn { generator.close() }
        worker.shutdown()
        super.onDestroy()
    }
}
