// The image of a seed, as large as the screen allows; "New" takes another seed. See settings.gradle.kts for how to build it.
package keras_dcgan.android

import android.app.Activity
import android.graphics.drawable.BitmapDrawable
import android.os.Bundle
import android.text.InputType
import android.view.inputmethod.EditorInfo
import android.view.inputmethod.InputMethodManager
import android.widget.Button
import android.widget.EditText
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
import java.util.concurrent.Executors
import kotlin.random.Random

private const val SEED = "seed"

class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor() // drawing is not to be entered twice, nor to hold up the screen
    private val generator = lazy { Generator(assets) }
    private lateinit var image: ImageView
    private lateinit var seed: EditText
    private lateinit var status: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        image = ImageView(this)
        status = TextView(this)
        seed = EditText(this).apply {
            inputType = InputType.TYPE_CLASS_NUMBER
            imeOptions = EditorInfo.IME_ACTION_DONE
            setText(savedInstanceState?.getString(SEED) ?: "0") // turned around, the phone begins anew
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
            addView(image, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, 1f))
            listOf(status, seed, new).forEach { addView(it) }
        }
        setContentView(rows)
        draw()
    }

    override fun onSaveInstanceState(outState: Bundle) {
        super.onSaveInstanceState(outState)
        outState.putString(SEED, seed.text.toString())
    }

    private fun draw() {
        val keyboard = getSystemService(INPUT_METHOD_SERVICE) as InputMethodManager
        keyboard.hideSoftInputFromWindow(seed.windowToken, 0) // which would cover the image
        val typed = seed.text.toString().toDoubleOrNull() ?: 0.0 // which takes any number of digits
        val chosen = typed.coerceIn(0.0, (1L shl 32) - 1.0).toLong()
        seed.setText("$chosen")
        inTurn {
            val start = System.nanoTime()
            val bitmap = generator.value.draw(chosen)
            val ms = (System.nanoTime() - start) / 1e6
            runOnUiThread {
                image.setImageDrawable(BitmapDrawable(resources, bitmap).apply { setFilterBitmap(false) }) // pixels, not a blur
                status.text = "%.1f ms on the %s".format(ms, generator.value.device)
            }
        }
    }

    private fun inTurn(work: () -> Unit) = worker.execute {
        try {
            work()
        } catch (error: Exception) {
            say(error)
        } catch (error: LinkageError) { // no library of LiteRT for this processor
            say(error)
        }
    }

    private fun say(error: Throwable) = runOnUiThread { status.text = "$error" }

    override fun onDestroy() {
        inTurn { if (generator.isInitialized()) generator.value.close() }
        worker.shutdown()
        super.onDestroy()
    }
}
