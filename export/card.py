"""The model card of an export: README.md as the Hugging Face Hub reads it, and samples.png, which it shows.

    history = of_run(Run("runs/imgs"))         # what the run tells of its data, its training and its figures
    write(Path("export"), description, images, history, has_page=True)

`description` is the content of model.json. The card says what was given or measured; of what was not, that.
"""

import dataclasses
import filecmp
import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_dcgan.config import as_begun, as_text, unasked
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.errors import Refused
from keras_dcgan.pictures import images
from keras_dcgan.runs.directory import Run

CARD, SAMPLES = "README.md", "samples.png"
SEEDS, COLUMNS = range(16), 8  # of samples.png
MOST_CLASSES = 50  # that are named; model.json has all
LITERT = "2.3.0"  # as in export/android/app/build.gradle.kts
# https://huggingface.co/docs/hub/repositories-licenses, August 2026. The Hub refuses a card with any other, but
# for `other` with a name.
HUB_LICENCES = set(
    """afl-3.0 agpl-3.0 apache-2.0 apple-amlr apple-ascl artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
    bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0 cc-by-2.5
    cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0
    cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0
    cdla-permissive-2.0 cdla-sharing-1.0 creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0
    etalab-2.0 eupl-1.1 eupl-1.2 fair-noncommercial-research-license gemma gfdl gpl gpl-2.0 gpl-3.0 grok2-community
    h-research intel-research isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 llama3 llama3.1 llama3.2 llama3.3 llama4
    lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl odc-by ofl-1.1 openmdw-1.0 openmdw-1.1 openrail openrail++ osl-3.0 pddl
    postgresql unknown unlicense wtfpl zlib""".split()
)
# Settings outside the groups Model and Optimisation that can be seen in the images.
SEEN = ("crop", "background", "init_from", "precision")
MEANINGS = {
    "swd": "sliced Wasserstein distance of the pixels: lower is better",
    "sharpness": "fine detail over that of real images: near 1 is better",
    "msssim": "how much the images are alike: not above that of real images",
    "fid": "Frechet distance of the features: lower is better; below 10,000 images too high by chance",
    "kid": "kernel distance of the features: lower is better",
    "precision": "how many look like real ones: higher is better",
    "recall": "how much of the variety is there: higher is better",
    "density": "how many look like real ones: higher is better",
    "coverage": "how much of the variety is there: higher is better",
    "memorised": "share nearer to a training image than 95 % of new images are: 0.05 by chance",
}
Row = tuple[str, ...]


@dataclass(frozen=True)
class Figures:
    """One evaluation: cells that are Markdown already."""

    title: str
    rows: list[Row]
    memorised: str  # a sentence; "" where it was not measured


@dataclass(frozen=True)
class History:
    """What a run tells: rows of two tables, and what `evaluate` found of the very generator that is exported."""

    data: list[Row]
    training: list[Row]
    figures: list[Figures]
    passed_over: list[Path]  # evaluations of another generator, or that do not say of which


# ------------------------------------------------------------------------
# what the run tells


def of_run(run: Run, sha256: str) -> History:
    """`sha256`: of the generator. A run that has nothing but that and its classes tells nothing."""
    try:
        manifest = run.manifest
    except Refused:
        manifest = None
    evaluations = {file: figures_of(file, sha256, manifest) for file in sorted(run.evaluation.glob("*.json"))}
    return History(
        data_of(manifest) if manifest else [],
        training_of(run, manifest.count if manifest else 0) if run.settings else [],
        list({str(figures): figures for figures in evaluations.values() if figures}.values()),
        [file for file, figures in evaluations.items() if not figures and not _is_other(file)],
    )


def _is_other(file: Path) -> bool:
    """Whether `evaluate` has put it beside another one, which the same command would replace."""
    numbered = re.fullmatch(r"(.+)-\d+", file.stem)
    name = numbered[1] if numbered and file.with_stem(numbered[1]).exists() else file.stem
    return name != file.stem or name.endswith("-last")


def of_student(history: History, student: dict) -> History:
    """What `history`, the teacher's, tells of a student, of which model.json says `student`: nobody has evaluated
    it."""
    told = (
        f"of {student['filters']} filters, from {1000 * student['kimg']:,.0f} images drawn by a generator of "
    )
    told += f"{student['teacher']['filters']}, which was trained as above"
    if "distance" in student:
        found = student["distance"]
        told += f"; swd {found['swd']} and fid {found['fid']} between {found['samples']:,} images of each"
    rows = [*history.training, ("learned", text(told))]
    return dataclasses.replace(history, training=rows, figures=[], passed_over=[])


def data_of(manifest: Manifest) -> list[Row]:
    # Not the source: that is a path of somebody's machine.
    kind = "the portraits that keras_dcgan draws itself" if manifest.kind == "demo" else manifest.kind
    left_out = f", {len(manifest.left_out):,} files left out" if manifest.left_out else ""
    shape = f"{manifest.size[1]}x{manifest.size[0]}, {manifest.channels} channels, crop {manifest.crop}"
    rows = [("images", f"{manifest.count:,}{left_out}"), ("read from", kind), ("prepared as", shape)]
    return [(name, text(value)) for name, value in [*rows, ("fingerprint", manifest.fingerprint)] if value]


def training_of(run: Run, images: int) -> list[Row]:
    config, rows = run.config, run.metrics
    preset = as_begun(config.preset, run.settings)
    usual = unasked(config, preset, images)
    settings = [
        row.name
        for row in dataclasses.fields(config)
        if row.metadata["group"] in ("Model", "Optimisation") or row.name in SEEN
    ]
    others = {
        name: getattr(config, name) for name in settings if getattr(config, name) != getattr(usual, name)
    }
    if "init_from" in others:  # a path, whose last part is the run's name
        others["init_from"] = Path(config.init_from).name
    told = [("preset", preset)]
    told += [
        ("settings that differ from it", ", ".join(f"{name} {as_text(others[name])}" for name in others))
    ]
    if rows:
        shown = f"{1000 * rows[-1]['kimg']:,.0f}"
        last = run.generator(last=True)
        if last.is_file() and not filecmp.cmp(last, run.generator(), shallow=False):
            shown += ", but fewer to this generator, which was kept for its swd"
        told += [("real images shown", shown)]
    told += [("seed", str(config.seed))]
    told += [("trained with", ", ".join(f"{name} {number}" for name, number in run.written_with.items()))]
    return [(name, text(value)) for name, value in told if value]


def figures_of(file: Path, sha256: str, manifest: Manifest | None) -> Figures | None:
    """None where the file is not what `evaluate` has found of the generator with this checksum."""
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["generator_sha256"] != sha256:
            return None
        counts, metrics = told["images"], told["metrics"]
        title = (
            f"{counts['fake']:,} generated and {counts['real']:,} real images of {as_text(tuple(told['size']))}; "
            f"features: {told['features'] or 'none'}"
        )
        if manifest and told["data"]["fingerprint"] != manifest.fingerprint:
            title += "; the real images are not those of the training"
        rows = [
            (text(name), f"{value:.4f}{beside(name, metrics)}", MEANINGS.get(name, ""))
            for name, value in metrics.items()
            if name not in ("kid_ci95", "msssim_real") and not name.startswith("sharpness_")
        ]
        memorised = ""
        if "memorised" in metrics:
            memorised = (
                f"Copies: {100 * metrics['memorised']:.1f} % of {counts['memorised_fake']:,} generated images lie nearer to a "
                f"training image than 95 % of new images do, by the features {text(told['features'])}; by chance it is 5 %."
            )
        return Figures(text(title), rows, memorised)
    except (OSError, ValueError, KeyError, TypeError):  # of an older version, or another's file
        return None


def beside(name: str, metrics: dict) -> str:
    if name == "kid" and "kid_ci95" in metrics:
        return f" ± {metrics['kid_ci95']:.4f}"
    if name == "msssim" and "msssim_real" in metrics:
        return f" (real images: {metrics['msssim_real']:.4f})"
    return ""


# ------------------------------------------------------------------------
# the card


def write(
    folder: Path, description: dict, drawn: np.ndarray, history: History | None = None, has_page: bool = False
):
    """`drawn`: what Keras draws of SEEDS, uint8 (N, height, width, channels). `has_page`: web/ lies there too."""
    images.save(images.grid(drawn, COLUMNS), folder / SAMPLES)
    (folder / CARD).write_text(page(description, history, has_page), encoding="utf-8")


def page(description: dict, history: History | None, has_page: bool) -> str:
    told, files = history or History([], [], [], []), description["files"]
    # The one to ship first: docs/export.md.
    drawing = sorted(
        (file for file in files if file.endswith(".tflite")), key=lambda file: "int8.t" not in file
    )
    size = f"{description['width']}x{description['height']}"
    parts = [
        front_matter(description.get("licence", ""), bool(drawing)),
        f"# {text(description['name'])}",
        f"![{len(SEEDS)} images that this generator drew]({SAMPLES})",
        f"*Seeds {SEEDS[0]} to {SEEDS[-1]}, none picked, as the Keras generator draws them.*",
        what_it_is(description, size),
        "## Data",
        table(("", ""), [note_of(description), *told.data]),
        "## Training",
        table(("", ""), told.training) if told.training else "The export was not told how it was trained.",
        "## Figures",
        *(
            part
            for figures in told.figures
            for part in (figures.title, table(("figure", "", ""), figures.rows))
        ),
        *([] if told.figures else ["This generator was not evaluated."]),
        "## Files",
        table(
            ("file", "MB", "dB against Keras", "weights", "TensorFlow Lite from"),
            [file_row(*entry) for entry in files.items()],
        ),
        "dB is the PSNR of the file's images against those that the Keras generator draws of the same latents. "
        "`model.json` has sizes, signatures, checksums, and how a seed becomes a latent.",
        *(in_python(drawing[0], description) if drawing else with_tensorflow(description)),
        *(on_android(drawing[0], description) if drawing else ()),
        *(in_a_browser() if has_page else ()),
        "## Limits",
        limits(description, size, told.figures),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(licence: str, has_tflite: bool) -> str:
    lines = ["---", *licence_lines(licence)]
    lines += ["library_name: litert"] if has_tflite else []
    return "\n".join(
        [
            *lines,
            "pipeline_tag: unconditional-image-generation",
            "tags:",
            "- dcgan",
            "- gan",
            "- keras_dcgan",
            "---",
        ]
    )


def licence_lines(licence: str) -> list[str]:
    """As the Hub takes them. A string of JSON is one of YAML, whatever stands in it."""
    if not licence.strip():
        return []
    name = re.sub(r"\s+", "-", licence.strip().lower())
    if name in HUB_LICENCES:
        return [f"license: {name}"]
    address = re.search(r"https?://[^\s<>\"'()]+", licence)
    name = re.sub(r"[^a-z0-9.]+", "-", name.replace(address[0].lower(), "") if address else name)[:60].strip(
        "-."
    )
    return [
        "license: other",
        *([f"license_name: {json.dumps(name)}"] if name else []),
        *([f"license_link: {json.dumps(address[0].rstrip('.,;:'))}"] if address else []),
    ]


def what_it_is(description: dict, size: str) -> str:
    kind = {1: "grey images", 4: "transparent images"}.get(description["channels"], "images in colour")
    classes = [text(name) for name in description["classes"]]
    rest = f", and {len(classes) - MOST_CLASSES:,} more" if len(classes) > MOST_CLASSES else ""
    rows = [
        ("licence", text(description.get("licence", "")) or "no licence was given"),
        ("author", text(description.get("author", ""))),
        ("made with", text(description["made_by"])),
        ("classes, by their labels from 0 on", ", ".join(classes[:MOST_CLASSES]) + rest),
    ]
    return "\n\n".join(
        [
            f"The generator of a DCGAN. It draws {kind} of {size} from {description['latent_dim']} normally "
            f"distributed numbers{' and a class' if classes else ''}. A seed gives the same numbers on every device.",
            table(("", ""), [row for row in rows if row[1]]),
        ]
    )


def note_of(description: dict) -> Row:
    return "where the images came from", text(description.get("data_note", "")) or "no note was given"


def file_row(name: str, entry: dict) -> Row:
    weights = entry["weights"] + (
        f", activations {entry['activations']}" if entry["activations"] != "float32" else ""
    )
    decibels = f"{entry['psnr']:.1f}" if entry["max_error"] else "equal to the bit"
    return f"`{name}`", f"{entry['bytes'] / 1e6:.2f}", decibels, weights, entry.get("min_runtime", "-")


def in_python(file: str, description: dict) -> list[str]:
    label = ", label=np.array([0], np.int32)" if description["classes"] else ""
    numpy = "import numpy as np\n" if label else ""
    return [
        "## Python",
        "In this folder, without TensorFlow:",
        "```bash\npip install numpy pillow ai-edge-litert\n```",
        "```bash\npython edge_sample.py --model . --seeds 0-15 --out grid.png\n```",
        "Or in a program:",
        f"""```python
{numpy}from ai_edge_litert.interpreter import Interpreter
from edge_sample import latents
from PIL import Image

draw = Interpreter("{file}").get_signature_runner("sample_rgba")
pixels = draw(z=latents([0], {description["latent_dim"]}){label})["pixels"][0]  # of seed 0
Image.fromarray(pixels).save("image.png")
```""",
    ]


def with_tensorflow(description: dict) -> list[str]:
    label = ", label=tf.constant([0])" if description["classes"] else ""
    return [
        "## Python",
        f"""```python
import tensorflow as tf

generator = tf.saved_model.load("saved_model")
z = tf.random.normal((1, {description["latent_dim"]}))
pixels = generator.signatures["sample_rgba"](z=z{label})["pixels"][0]
tf.io.write_file("image.png", tf.io.encode_png(pixels))
```""",
    ]


def on_android(file: str, description: dict) -> list[str]:
    label = given = alpha = ""
    if description["channels"] == 4:
        alpha = (
            "for (i in rgba.indices) if (i % 4 < 3)  // a bitmap's colours are multiplied by its alpha\n"
            "    rgba[i] = ((rgba[i].toInt() and 255) * (rgba[i - i % 4 + 3].toInt() and 255) / 255).toByte()\n"
        )
    if description["classes"]:
        label = 'val label = model.createInputBuffer("label", "sample_rgba")\nlabel.writeInt(intArrayOf(0))\n'
        given = ', "label" to label'
    return [
        "## Android",
        f'`{file}` in `src/main/assets`, and `implementation("com.google.ai.edge.litert:litert:{LITERT}")`. '
        "Not tested on a phone. A seed's latent, and iOS: export/android and docs/Generator.swift of keras_dcgan.",
        f"""```kotlin
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel
import java.nio.ByteBuffer

val model = CompiledModel.create(assets, "{file}", CompiledModel.Options(Accelerator.CPU))
val z = model.createInputBuffer("z", "sample_rgba")
{label}val pixels = model.createOutputBuffer("pixels", "sample_rgba")
val random = java.util.Random()
z.writeFloat(FloatArray({description["latent_dim"]}) {{ random.nextGaussian().toFloat() }})
model.run(mapOf("z" to z{given}), mapOf("pixels" to pixels), "sample_rgba")
val bitmap = Bitmap.createBitmap({description["width"]}, {description["height"]}, Bitmap.Config.ARGB_8888)
val rgba = pixels.readInt8()
{alpha}bitmap.copyPixelsFromBuffer(ByteBuffer.wrap(rgba))
```""",
    ]


def in_a_browser() -> list[str]:
    return [
        "## Web",
        "```bash\npython -m http.server --bind 127.0.0.1 8000\n```",
        "In this folder; then open http://127.0.0.1:8000/web/. For others, put the folder on any static host.",
    ]


def limits(description: dict, size: str, figures: list[Figures]) -> str:
    copies = [f"- {found.memorised}" for found in figures if found.memorised]
    return "\n".join(
        [
            f"- It draws at {size}, the kind of images that it was trained on, and nothing else. It takes no text.",
            "- What is rare or one-sided in the training images is so here too.",
            "- The licence of the training images may also cover the generator and its images: check it.",
            *(copies or ["- Whether it repeats training images was not measured."]),
        ]
    )


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def text(given: str) -> str:
    """Anybody's text -> Markdown of one line that shows it as it is: no markup, HTML, table cell or formula of
    its own. It has to stand behind something, since a dash alone begins a list."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in given).split())
    # An underscore within a word is one. A backslash and a dollar would begin a formula on the Hub, escaped or not.
    return re.sub(
        r"[\\$`*\[\]|~#]|(?<![^\W_])_|_(?![^\W_])",
        lambda sign: f"&#{ord(sign[0])};" if sign[0] in "\\$" else f"\\{sign[0]}",
        html.escape(line, quote=False),
    )
