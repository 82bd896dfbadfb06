"""A generator -> files for servers and devices, each held against Keras before it gets its name.

    artefacts = export(load_generator("runs/imgs"), FORMATS, out=Path("runs/imgs/export"), name="imgs")

fills `out` with the rows of VARIANTS that pass, and model.json, which tells a device all about them. Every
file has three signatures: `sample` (z -> images, float32 in [-1, 1]), `sample_rgb` (z -> pixels, uint8, in
the model's own channels) and `sample_rgba` (z -> pixels, uint8, always four: what Android's ARGB_8888 and a
browser's ImageData take as it is); those of a conditional generator take `label` beside z. The batch of the
.tflite files is 1: a dynamic one is 40 % slower, and GPU delegates refuse it. The SavedModel, for servers,
takes any batch, and has `sample` once more as `serving_default`, which TensorFlow Serving asks for.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import keras_dcgan
from keras_dcgan import files
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.export import card, parity
from keras_dcgan.pictures.images import to_uint8
from keras_dcgan.pictures.latents import directions, latents
from keras_dcgan.process import quiet

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

FORMAT_VERSION = 1  # of model.json: goes up when a reader of the old one would misread the new one
SEED_ALGORITHM = "threefry2x32-20 box-muller"  # keras_dcgan/pictures/latents.py
GOLDEN_SEEDS, GOLDEN_COMPONENTS = (0, 1, 2**32 - 1), 8


@dataclass(frozen=True)
class Variant:
    file: str
    least_psnr: float  # dB against Keras
    weights: str  # "float32", "float16" or "int8"
    for_cpu: bool = False  # without transposed convolutions: slow on CPUs, and in int8 unknown before 2.17
    activations: str = (
        "float32"  # or "int8", which is all that many NPUs know: their ranges are those of CALIBRATION_SEEDS
    )
    tolerance: int = (
        0  # grey levels: with int8 activations the steps from images to pixels round, each by up to a half
    )


VARIANTS = {
    "saved_model": Variant("saved_model", 100, "float32"),
    "fp32": Variant("generator_fp32.tflite", 100, "float32", for_cpu=True),
    "fp16": Variant("generator_fp16.tflite", 60, "float16"),
    "int8": Variant("generator_int8.tflite", 30, "int8", for_cpu=True),
    "int8_full": Variant("generator_int8_full.tflite", 35, "int8", activations="int8", tolerance=2),
}
FORMATS = (*VARIANTS, "web")
CALIBRATION_SEEDS = range(1000, 1128)  # none of parity.SEEDS
MODEL_JSON = "model.json"
EDGE_SAMPLE = "edge_sample.py"
BESIDE = (card.CARD, card.SAMPLES, EDGE_SAMPLE)  # names that a user's own file may have as well
OF_SIGNATURES = "2.7.0"  # the TensorFlow Lite that knows several in a file
# where everything is made and measured; within `out`, since renaming works within one file system
WORKSHOP, EARLIER, MADE = ".export.part", "earlier", "made.json"


@dataclass(frozen=True)
class Artefact:
    """One row of VARIANTS as written: a file, or the SavedModel's folder."""

    variant: Variant
    bytes: int
    sha256: str
    parity: parity.Parity
    min_runtime: str | None = None  # of TensorFlow Lite, such as "2.3.0"; None for the SavedModel
    quality: dict | None = None  # what quality.KerasImages found, of a quantised file


def check_place(out: Path, argument: str = "out"):
    """Raises Refused or Unavailable, naming `argument`, where `out` is no folder that can be written and read
    again, or where files have our names and no export wrote them: not ours to replace."""
    files.check_place(out, argument)
    taken = [
        name
        for name in (*(variant.file for variant in VARIANTS.values()), MODEL_JSON, "web")
        if (out / name).exists()
    ]
    if taken and not (is_ours(out / MODEL_JSON) or (out / WORKSHOP).exists()):
        raise Unavailable(argument, "a folder of an earlier export, or none", f"{out} with a {taken[0]}")


@contextlib.contextmanager
def alone(out: Path, argument: str = "out") -> Iterator[None]:
    """Makes `out`, and keeps every other export out of it until the end; a kill is one as well. Raises
    Unavailable, naming `argument`, where another one is at work there."""
    out.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(out, os.O_RDONLY)  # the folder and no file in it: there is nothing to clear away
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unavailable(argument, "a folder that no other export is writing to", out) from None
        except OSError:
            pass  # some network mounts know no locks
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                out.rmdir()  # where nothing was written
    finally:
        os.close(descriptor)


def is_ours(description: Path) -> bool:
    try:
        return json.loads(description.read_text(encoding="utf-8"))["made_by"].startswith("keras_dcgan ")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def recorded(out: Path) -> set[tuple[str, str]]:
    """(name, checksum) of what exports have put beside the generators here; a killed one has left two records."""
    found: set[tuple[str, str]] = set()
    for folder in (out, out / WORKSHOP, out / WORKSHOP / EARLIER):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
            found.update(json.loads((folder / MODEL_JSON).read_text(encoding="utf-8"))["beside"].items())
    return found


def not_ours(out: Path) -> list[str]:
    """Those of BESIDE that no export has written here, or that somebody has changed since: they stay."""
    known, there = recorded(out), [name for name in BESIDE if (out / name).exists()]
    return [
        name for name in there if (out / name).is_dir() or (name, size_and_sha256(out / name)[1]) not in known
    ]


def export_generator(
    generator,
    out: str | Path,
    formats: Iterable[str] = FORMATS,
    *,
    name: str = "generator",
    classes: Sequence[str] = (),
    samples: int = 0,
    licence: str = "",
    author: str = "",
    data_note: str = "",
) -> list[Artefact]:
    """A DCGAN, or a float32 generator that `generator` has made, -> files for devices in the folder `out`, each
    held against Keras, model.json and a model card, README.md. -> what was written.

    `formats`: some of saved_model, fp32, fp16, int8, int8_full, web. `classes`: the names of a conditional one,
    in the order of their labels. `samples`: so many images of each quantised file are held against Keras' own as a
    set. `licence`, `author`, `data_note` (where the images came from): what the card says. Raises ValueError for
    formats or classes that there are not, for another generator, and where a file does not draw what Keras draws;
    Unavailable where `out` is no place to write to."""
    from keras_dcgan import devices

    if hasattr(generator, "ema_generator"):
        generator.settle()
        generator = generator.ema_generator
    chosen = chosen_formats((formats,) if isinstance(formats, str) else formats)
    if not any(layer.name == "project" for layer in generator.layers):
        received = f"{generator.name} without a layer 'project'"
        raise Refused("generator", "one that keras_dcgan.generator makes", received)
    check_classes(generator, classes)
    told = {"licence": licence, "author": author, "data_note": data_note}
    about = {key: text for key, text in told.items() if text}
    folder = Path(out)
    check_place(folder)
    is_tf32, log = tf_32(False), logging.getLogger("tensorflow")
    level = log.level
    log.setLevel(logging.ERROR)  # a notebook shows what the converter says, whatever `quiet` does
    try:
        with alone(folder):
            with quiet(), devices.keras_defaults():  # the converter is talkative
                artefacts = export(generator, chosen, folder, name, classes, samples=samples, **about)
            if faults := [
                f"{artefact.variant.file}: {'; '.join(artefact.parity.faults)}"
                for artefact in artefacts
                if artefact.parity.faults
            ]:
                raise ValueError(f"expected files that draw what Keras draws, received {', '.join(faults)}")
    finally:
        tf_32(is_tf32)
        log.setLevel(level)
    return artefacts


def check_classes(generator, classes: Sequence[str]):
    """Raises Refused where these are not the names of the generator's."""
    from keras_dcgan.model.networks import class_count

    count = class_count(generator)
    if len(classes) != count:
        raise Refused("classes", f"the names of the generator's {count} classes", f"{len(classes)} names")


def draws_anywhere(artefact: Artefact) -> bool:
    """Whether it is a file for devices, and passed: what a page draws with."""
    return artefact.variant.file.endswith(".tflite") and not artefact.parity.faults


def chosen_formats(wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of FORMATS, in its order. Raises Refused."""
    chosen = set(wanted)
    received = repr(", ".join(sorted(map(str, chosen))))
    if not chosen or not chosen <= set(FORMATS):
        raise Refused("formats", f"some of {','.join(FORMATS)}", received)
    drawing = [name for name, variant in VARIANTS.items() if variant.file.endswith(".tflite")]
    if "web" in chosen and not chosen & set(drawing):
        raise Refused("formats", f"one of {','.join(drawing)} beside web, which draws with it", received)
    return tuple(name for name in FORMATS if name in chosen)


def tf_32(is_wanted: bool) -> bool:
    """A GPU's own rounding, which would count against files that are exact -> whether it was on."""
    import tensorflow as tf

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(is_wanted)
    return before


def export(
    generator,
    formats: Iterable[str],
    out: Path,
    name: str,
    classes: Sequence[str] = (),
    report: Callable[[Artefact], None] = lambda artefact: None,
    samples: int = 0,
    history: card.History | None = None,
    **about: str | dict,
) -> list[Artefact]:
    """Converts a float32 generator into `formats` (of FORMATS) -> what was made, also of what did not pass.

    `classes`: the names in the order of their labels, where the generator is conditional. `report` gets each
    artefact as soon as it is measured. `samples`: so many images of each quantised file are held against
    Keras' own as a set (quality.py). `history`: what the card is to tell of the run. `about`: what all files
    are to say besides, such as licence="CC0-1.0".
    Afterwards `out` holds what passed and nothing of an earlier export, since that may be of other weights;
    where nothing passed the earlier one is left.
    """
    workshop = out / WORKSHOP
    put_back(workshop, out)  # of an export that was killed
    for left in (workshop, *out.glob(".web*.part")):
        shutil.rmtree(left, ignore_errors=True)
    foreign = not_ours(out)
    workshop.mkdir(parents=True)
    try:
        description = describe(generator, name, classes) | about
        description["direction_names"] = kept_names(out, description)
        artefacts = make(generator, formats, workshop, description, report, samples)
        passed = [artefact for artefact in artefacts if not artefact.parity.faults]
        description["files"] = {artefact.variant.file: entry(artefact) for artefact in passed}
        if passed:
            has_page = "web" in formats and any(map(draws_anywhere, passed))
            beside = put_beside(generator, workshop, description, history, has_page)
            description["beside"] = {name: size_and_sha256(workshop / name)[1] for name in beside}
            files.write(workshop / MODEL_JSON, json.dumps(description, indent=1) + "\n")
            names = [artefact.variant.file for artefact in passed]
            if has_page:
                from keras_dcgan.export import web

                web.install(workshop)
                names.append("web")
            put_in_place(workshop, out, [*names, *(name for name in beside if name not in foreign)], foreign)
        return artefacts
    finally:
        put_back(workshop, out)
        shutil.rmtree(workshop)


def make(
    generator,
    formats: Iterable[str],
    folder: Path,
    description: dict,
    report: Callable[[Artefact], None],
    samples: int,
) -> list[Artefact]:
    """Writes every format into `folder` and measures it as it lies there."""
    from keras_dcgan.export import graph, metadata, quality

    latent_dim, classes = description["latent_dim"], len(description["classes"])
    inputs, calibration = (
        inputs_of(
            range(seeds.start, seeds.start + max(len(seeds), classes)), latent_dim, classes
        )  # all classes, be they many
        for seeds in (parity.SEEDS, CALIBRATION_SEEDS)
    )
    reference = generator.predict(as_keras_takes(inputs.values()), batch_size=8, verbose=0)
    variants = [VARIANTS[name] for name in formats if name in VARIANTS]
    source = {True: folder / "for_cpu", False: folder / "batch_of_one"}
    for is_for_cpu in {variant.for_cpu for variant in variants if variant.file.endswith(".tflite")}:
        suited = graph.for_cpu(generator) if is_for_cpu else graph.folded(generator)
        write_saved_model(suited, source[is_for_cpu], batch=1)
    keras_images = None
    if samples and any(variant.weights != "float32" for variant in variants):
        keras_images = quality.KerasImages(generator, inputs_of(range(samples), latent_dim, classes))
    artefacts = []
    for variant in variants:
        path, runtime, cost = folder / variant.file, None, None
        if path.suffix == ".tflite":
            rows = calibration if variant.activations == "int8" else None
            content = to_tflite(source[variant.for_cpu], variant.weights, rows)
            path.write_bytes(metadata.described(content, description))
            metadata.append(path, description)
            runtime = max(graph.least_runtime(content), OF_SIGNATURES, key=graph.version_numbers)
        else:
            write_saved_model(generator, path, batch=None)
        result = parity.check(path, inputs, reference, variant.least_psnr, variant.tolerance)
        if keras_images and variant.weights != "float32" and not result.faults:
            cost = keras_images.cost_of(path)
        artefacts.append(Artefact(variant, *size_and_sha256(path), result, runtime, cost))
        report(artefacts[-1])
    return artefacts


def inputs_of(seeds: Sequence[int], latent_dim: int, classes: int) -> dict[str, np.ndarray]:
    """{"z": (N, latent_dim)}, and "label": (N,) where there are classes, each in turn."""
    label = {"label": np.array([seed % classes for seed in seeds], np.int32)} if classes else {}
    return {"z": latents(seeds, latent_dim)} | label


def write_saved_model(generator, folder: Path, batch: int | None):
    import keras
    import tensorflow as tf

    # An endpoint called `serve` would swallow the others in the conversion. Not `archive.track(generator)`:
    # the endpoints bring their variables along, and tracked as well they were written twice (Keras 3.15).
    inputs = [
        tf.TensorSpec((batch, *tensor.shape[1:]), tensor.dtype, tensor.name) for tensor in generator.inputs
    ]
    archive = keras.export.ExportArchive()

    def draw(inputs):
        return generator(as_keras_takes(inputs), training=False)

    archive.add_endpoint("sample", lambda *inputs: {"images": draw(inputs)}, inputs)
    # Truncation of x + 0.5 rounds half up, as keras_dcgan.pictures.images.to_uint8 does; 1 becomes 255.5 and so 255.
    archive.add_endpoint(
        "sample_rgb", lambda *inputs: {"pixels": tf.cast(draw(inputs) * 127.5 + 128.0, tf.uint8)}, inputs
    )
    rgba = lambda *inputs: {"pixels": tf.cast(to_rgba(draw(inputs) * 127.5 + 128.0), tf.uint8)}  # noqa: E731
    archive.add_endpoint("sample_rgba", rgba, inputs)
    archive.write_out(str(folder), verbose=False)


def to_rgba(images):
    """Grey thrice, and an alpha of 255 where there is none."""
    import tensorflow as tf

    if images.shape[-1] == 4:
        return images
    colours = tf.concat([images] * 3, axis=-1) if images.shape[-1] == 1 else images
    return tf.concat(
        [colours, tf.fill(tf.shape(colours[..., :1]), 255.0)], axis=-1
    )  # of a fixed batch a constant


def as_keras_takes(inputs: Iterable):
    """Several inputs in a list, one alone: Keras 3.15 warns of a list of one."""
    first, *others = inputs
    return [first, *others] if others else first


def to_tflite(saved_model: Path, weights: str, calibration: dict[str, np.ndarray] | None = None) -> bytes:
    """Builtin operations only, which every LiteRT runtime has; the signatures share their weights.

    `calibration`: inputs whose activations show the ranges that int8 is to cover; without it activations stay
    float. From a SavedModel, since concrete functions leave the weights of a Keras 3 model behind: the file
    answers NaN.
    """
    import tensorflow as tf

    from keras_dcgan.export import graph

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved_model), signature_keys=list(parity.SIGNATURES)
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # One scale for all of a dense layer: with one for each channel no runtime before 2.17 reads the file, nor
    # do TensorFlow Lite Micro and many NPUs. Half a decibel; a flag that TensorFlow may rename, which a test sees.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if calibration is None:
        return graph.for_gpu(converter.convert())
    rows = [
        {name: values[row : row + 1] for name, values in calibration.items()}
        for row in range(len(calibration["z"]))
    ]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: (
        (signature, row) for signature in parity.SIGNATURES for row in rows
    )
    return graph.for_gpu(converter.convert())


def size_and_sha256(path: Path) -> tuple[int, str]:
    """Of a file; of a folder, those of its files one after the other, in the order of their names."""
    found = (
        [path]
        if path.is_file()
        else sorted((file for file in path.rglob("*") if file.is_file()), key=Path.as_posix)
    )
    content = b"".join(file.read_bytes() for file in found)
    return len(content), hashlib.sha256(content).hexdigest()


def describe(generator, name: str, classes: Sequence[str]) -> dict:
    """The content of model.json but for its `files`; it is in every .tflite file as well."""
    latent_dim, (height, width, channels) = generator.inputs[0].shape[1], generator.output_shape[1:]
    along = directions(generator).tolist()
    values = {"z": {"distribution": "standard normal"}, "label": {"range": [0, len(classes) - 1]}}
    inputs = {
        tensor.name: {"shape": [1, *tensor.shape[1:]], "dtype": tensor.dtype, **values[tensor.name]}
        for tensor in generator.inputs
    }
    images = {"images": {"shape": [1, height, width, channels], "dtype": "float32", "range": [-1, 1]}}
    pixels, rgba = (
        {"pixels": {"shape": [1, height, width, count], "dtype": "uint8", "range": [0, 255]}}
        for count in (channels, 4)
    )
    return {
        "format_version": FORMAT_VERSION,
        "made_by": f"keras_dcgan {keras_dcgan.__version__}",
        "name": name,
        "height": height,
        "width": width,
        "channels": channels,
        "latent_dim": latent_dim,
        "classes": list(classes),
        "seed": {"algorithm": SEED_ALGORITHM, "golden": [golden(seed, latent_dim) for seed in GOLDEN_SEEDS]},
        "directions": along,
        # For whoever looks at them to write what they do: the page shows these.
        "direction_names": [f"Direction {number}" for number in range(1, len(along) + 1)],
        "signatures": {
            name: {"inputs": inputs, "outputs": outputs}
            for name, outputs in zip(parity.SIGNATURES, (images, pixels, rgba), strict=True)
        },
    }


def kept_names(out: Path, description: dict) -> list[str]:
    """What somebody has called the directions of the export that is here, if they are the same directions."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        before = json.loads((out / MODEL_JSON).read_text(encoding="utf-8"))
        names = before["direction_names"]
        if before["directions"] == description["directions"] and all(isinstance(name, str) for name in names):
            return [*names, *description["direction_names"][len(names) :]]
    return description["direction_names"]


def golden(seed: int, latent_dim: int) -> dict:
    """The first components of a seed's z, by which a device can tell that it makes the same; nine digits are
    a float32 exactly."""
    return {
        "seed": seed,
        "z": [float(f"{value:.9g}") for value in latents([seed], latent_dim)[0, :GOLDEN_COMPONENTS]],
    }


def entry(artefact: Artefact) -> dict:
    return {
        "weights": artefact.variant.weights,
        "activations": artefact.variant.activations,
        "bytes": artefact.bytes,
        "sha256": artefact.sha256,
        "psnr": round(artefact.parity.psnr, 2),
        "least_psnr": artefact.variant.least_psnr,
        "max_error": float(f"{artefact.parity.max_error:.3g}"),
        **({"min_runtime": artefact.min_runtime} if artefact.min_runtime else {}),
        **({"quality": artefact.quality} if artefact.quality else {}),
    }


def put_beside(
    generator, folder: Path, description: dict, history: card.History | None, has_page: bool
) -> list[str]:
    """Writes those of BESIDE that these files call for -> their names."""
    latent_dim, classes = description["latent_dim"], len(description["classes"])
    drawn = generator(as_keras_takes(inputs_of(card.SEEDS, latent_dim, classes).values()), training=False)
    card.write(folder, description, to_uint8(drawn), history, has_page)
    if any(name.endswith(".tflite") for name in description["files"]):  # which it draws with
        shutil.copy(Path(__file__).with_name(EDGE_SAMPLE), folder / EDGE_SAMPLE)
    return [name for name in BESIDE if (folder / name).exists()]


def put_in_place(workshop: Path, out: Path, made: list[str], foreign: list[str]):
    """Moves what an earlier export left out of the way, then what was made in; model.json goes first and comes
    last, so that at no moment it describes files of other weights."""
    files.write(workshop / MADE, json.dumps(made))
    earlier = workshop / EARLIER
    earlier.mkdir()
    beside = [name for name in BESIDE if name not in foreign]
    for name in (MODEL_JSON, "web", *(variant.file for variant in VARIANTS.values()), *beside):
        if (out / name).exists():
            files.rename(out / name, earlier / name)
    for name in (*made, MODEL_JSON):
        files.rename(workshop / name, out / name)


def put_back(workshop: Path, out: Path):
    """Undoes a `put_in_place` that was stopped before its end: what went in comes out, what went away comes back.
    Where this is stopped, too, the next one goes on."""
    if not (workshop / MODEL_JSON).exists() or not (workshop / EARLIER).exists():
        return  # it has ended, or not begun
    for name in json.loads((workshop / MADE).read_text(encoding="utf-8")):
        if (out / name).exists() and not (workshop / name).exists():
            files.rename(out / name, workshop / name)
    for name in sorted(os.listdir(workshop / EARLIER), key=lambda name: name == MODEL_JSON):
        files.rename(workshop / EARLIER / name, out / name)
    (workshop / EARLIER).rmdir()  # or the next one would take out again what came back
