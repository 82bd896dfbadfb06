"""Draws images with an exported generator where there is no TensorFlow: copy this one file and a .tflite to
the device.

    pip install numpy pillow ai-edge-litert        # or: tflite-runtime 'numpy<2' pillow
    python edge_sample.py --model runs/imgs/export --seeds 0-15 --out grid.png     # one grid
    python edge_sample.py --model runs/imgs/export --seeds 0-15 --out images     # images/seed-0000.png, seed-0001.png, ...
    python edge_sample.py --model generator_int8.tflite --benchmark [--gpu]        # ms an image
    python edge_sample.py --model runs/imgs/export --class cat --out cats.png      # of a conditional generator: one class only

Of a folder that `python -m keras_dcgan.export` has written, the most exact file is taken: a seed's image is then Keras'
own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import sys
import time
import timeit
import zipfile
import zlib
from pathlib import Path

IS_INTERRUPTIBLE = __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if IS_INTERRUPTIBLE:  # Ctrl-C is one line also while the next ones import
    signal.signal(signal.SIGINT, lambda *_: (os.write(2, b"interrupted\n"), os._exit(130)))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError as absent:
    try:
        from tflite_runtime.interpreter import Interpreter  # its older name, which many boards still have
    except ImportError:
        raise absent from None

FILES = [f"generator_{name}.tflite" for name in ("fp32", "fp16", "int8", "int8_full")]  # the most exact first
MEMORY = Path("/proc/self/status")  # not on macOS, nor on Windows
OTHERS = (".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".mp4")  # which it does not write
MOST_BYTES = 2**30  # of a grid, which is in memory twice over
TOLD = ("licence", "author", "data_note")  # of the metadata: what a person is to be told
# What a damaged zip raises, or JSON of another shape than was expected.
DAMAGED = (ValueError, TypeError, AttributeError, LookupError, OverflowError, RuntimeError, EOFError)
DAMAGED += (zipfile.BadZipFile, zlib.error)
MOST_THREADS = 256  # LiteRT starts as many as it is asked for, and dies of too many


def latents(seeds, latent_dim: int) -> np.ndarray:
    """Seeds from 0 to 2**32 - 1 -> z ~ N(0, I), float32 (N, latent_dim): Threefry-2x32-20 and Box-Muller, as
    in latents.py."""
    seeds = np.asarray(seeds, np.uint32).reshape(-1, 1)
    keys = (seeds, np.uint32(0), seeds ^ np.uint32(0x1BD11BDA))
    x0, x1 = np.arange((latent_dim + 1) // 2, dtype=np.uint32) + keys[0], np.uint32(0)
    for group in range(5):
        for rotation in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(rotation) | x1 >> np.uint32(32 - rotation)) ^ x0
        x0, x1 = x0 + keys[(group + 1) % 3], x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    radius, angle = np.sqrt(-2 * np.log((x0 + 0.5) / 2**32)), 2 * np.pi * ((x1 + 0.5) / 2**32)
    z = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return z.reshape(len(seeds), -1)[:, :latent_dim].astype(np.float32)


def choose(model: Path) -> Path:
    """A folder -> its most exact .tflite; anything else is taken for a file."""
    found = [
        file for file in ([model / name for name in FILES] if model.is_dir() else [model]) if file.is_file()
    ]
    if not found:
        raise FileNotFoundError(
            f"--model: expected a .tflite file, or a folder with {' or '.join(FILES)}, received {model}"
        )
    return found[0]


def read_description(file: Path) -> dict:
    """The metadata within the file, {} where some tool has dropped it. ValueError where they are damaged or of
    another shape, or a seed would be another image here."""
    try:
        archive = zipfile.ZipFile(file)
        archive.getinfo("metadata.json")
    except (zipfile.BadZipFile, KeyError):  # no zip, or another tool's
        return {}
    try:
        about = json.loads(archive.read("metadata.json"))
        known = [
            (
                golden["seed"],
                np.array(golden["z"], np.float32),
                latents([golden["seed"]], len(golden["z"]))[0],
            )
            for golden in about.get("seed", {}).get("golden", [])
        ]
        classes = about.get("classes", [])
        texts = [*classes, *(about.get(key, "") for key in TOLD)]
        if not isinstance(classes, list) or not all(isinstance(text, str) for text in texts):
            raise TypeError("a name or a note that is no text")
        # the last digits of log and cos are the C library's own
        others = [row for row in known if not np.allclose(row[1], row[2], rtol=0, atol=1e-5)]
    except DAMAGED as error:
        raise ValueError(
            f"--model: expected metadata as python -m keras_dcgan.export writes them, received {file} with others ({error})"
        ) from error
    for seed, theirs, ours in others:
        raise ValueError(
            f"--model: expected seed {seed} to be z = {theirs.tolist()}, as {file} says, received {ours.tolist()}"
        )
    return about


def load(file: Path, threads: int = 1, signature: str = "sample_rgb"):
    """-> what draws one image: runner(z=(1, latent_dim)) -> {name: (1, H, W, C)}, the size of its latents,
    and whether it takes a label (1,) as well. Raises ValueError where the file cannot be read."""
    try:
        interpreter = Interpreter(str(file), num_threads=threads)
        interpreter.allocate_tensors()
        runner = interpreter.get_signature_runner(signature)
        inputs = runner.get_input_details()
        return runner, int(inputs["z"]["shape"][1]), "label" in inputs
    except (ValueError, LookupError, RuntimeError) as error:
        raise ValueError(
            f"--model: expected a generator exported by keras_dcgan, received {file} ({error})"
        ) from error


def compiled(file: Path, device: str, signature: str = "sample_rgb"):
    """-> a runner as above, LiteRT's CompiledModel on the "GPU" or the "CPU" alone. ValueError where it does
    not take all of it."""
    try:
        from ai_edge_litert import compiled_model, hardware_accelerator  # younger than the Interpreter

        model = compiled_model.CompiledModel.from_file(
            str(file), hardware_accel=hardware_accelerator.HardwareAccelerator[device]
        )
        (name, details), *_ = model.get_output_tensor_details(signature).items()
    except (
        ImportError,
        AttributeError,
        TypeError,
        RuntimeError,
    ) as error:  # before LiteRT 2.1.5 it is another
        raise ValueError(
            f"--gpu: expected a {device} that takes the whole of {file}, received {error}"
        ) from error

    def run(**inputs):
        buffers = {key: model.create_input_buffer_by_name(signature, key) for key in inputs}
        for key, values in inputs.items():
            buffers[key].write(values)
        image = model.create_output_buffer_by_name(signature, name)
        model.run_by_name(signature, buffers, {name: image})
        return {
            name: image.read(int(np.prod(details["shape"])), np.dtype(details["dtype"]).type).reshape(
                details["shape"]
            )
        }

    return run


def load_latents(file: Path, latent_dim: int, scale: float = 1.0) -> np.ndarray:
    """Latents as keras_dcgan.edit writes them, (latent_dim,) or (N, latent_dim) -> float32 (N, latent_dim)."""
    try:
        values = np.load(file)
    except Exception as error:  # of a damaged file NumPy raises whatever its parsers raise
        raise ValueError(
            f"--latent: expected latents as keras_dcgan.edit writes them, received {file} ({error})"
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        kind = f"dtype {values.dtype}" if isinstance(values, np.ndarray) else "several arrays"
        raise ValueError(f"--latent: expected an array of real numbers, received {file} with {kind}")
    values = np.atleast_2d(values)
    if values.shape[1:] != (latent_dim,):
        raise ValueError(
            f"--latent: expected latents of length {latent_dim}, received {file} of shape {values.shape}"
        )
    with np.errstate(over="ignore"):
        z = values.astype(np.float32) * np.float32(scale)
    if not len(z) or not np.isfinite(z).all():  # after the cast: 1e39 is a float64, and infinite here
        raise ValueError(
            f"--latent: expected numbers that are finite as float32, received {file} with "
            f"{'others' if len(z) else 'none'}"
        )
    return z


def labels(seeds, wanted: str | None, classes: list[str]) -> np.ndarray:
    """A label for each seed, int32 (N,): the wanted class, by name or number; else the classes in turn, as
    keras_dcgan.sample does. `classes` is [] where the file does not tell. Raises ValueError where there is no
    such class."""
    if wanted is None and classes:
        return np.array([seed % len(classes) for seed in seeds], np.int32)
    names = [*classes, *(str(number) for number in range(len(classes)))]  # a name goes before a number
    label = names.index(wanted) % len(classes) if wanted in names else -1
    if label < 0:
        known = (
            f"one of {', '.join(classes)}, or a number below {len(classes)}"
            if classes
            else "a file that names its classes"
        )
        raise ValueError(f"--class: expected {known}, received {wanted!r}")
    return np.full(len(seeds), label, np.int32)


def draw(runner, inputs: dict[str, np.ndarray]):
    """{"z": float32 (N, latent_dim)}, and "label": int32 (N,) of a conditional generator -> N images (H, W,
    C), one by one."""
    for row in range(len(inputs["z"])):
        yield next(iter(runner(**{name: values[row : row + 1] for name, values in inputs.items()}).values()))[
            0
        ]


def watched(images, total: int):
    """The same images; says on stderr after five seconds, and then every half minute, how many there are."""
    due = time.monotonic() + 5
    for done, image in enumerate(images, 1):
        yield image
        if time.monotonic() >= due:
            due = time.monotonic() + 30
            print(f"{done:,} of {total:,} images", file=sys.stderr)


def milliseconds(runner, inputs: dict[str, np.ndarray], runs: int = 200) -> np.ndarray:
    """From the first of the inputs to its image, `runs` times, after a tenth as many to warm up."""
    return 1000 * np.array(
        timeit.repeat(lambda: next(draw(runner, inputs)), repeat=runs // 10 + runs, number=1)[-runs:]
    )


def grid(images: np.ndarray, columns: int | None) -> np.ndarray:
    """uint8 (N, H, W, C) -> one uint8 (rows*H, columns*W, C), row by row; as square as N allows if `columns`
    is None."""
    count, height, width, channels = images.shape
    columns = min(columns or int(np.ceil(np.sqrt(count))), count)
    sheet = np.concatenate([images, np.zeros((-count % columns, height, width, channels), np.uint8)])
    return (
        sheet.reshape(-1, columns, height, width, channels)
        .swapaxes(1, 2)
        .reshape(-1, columns * width, channels)
    )


def save(image: np.ndarray, path: Path):
    """Writes a uint8 (H, W, C) as PNG, beside its place and then renamed into it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(beside, format="PNG")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"--out: expected what can be written, received {path} ({error.strerror})") from error


def seeds(text: str) -> list[int]:
    """'0-3,7' -> [0, 1, 2, 3, 7]."""
    ends = [
        [int(end) if end.strip().isdecimal() else -1 for end in part.split("-")] for part in text.split(",")
    ]
    if any(len(end) > 2 or not 0 <= end[0] <= end[-1] < 2**32 for end in ends):
        raise argparse.ArgumentTypeError(
            f"expected seeds from 0 to 4294967295, such as 0-63 or 1,5,9, received {text!r}"
        )
    if any(end[-1] - end[0] >= 10**6 for end in ends):
        raise argparse.ArgumentTypeError(f"expected at most a million seeds at once, received {text!r}")
    return [seed for end in ends for seed in range(end[0], end[-1] + 1)]


def place(text: str) -> Path:
    """A path of this machine, with a leading ~ expanded: gs://bucket would otherwise be made here."""
    if text in ("", "-") or re.match(r"[\w.@+-]{2,}:/", text):
        raise argparse.ArgumentTypeError(f"expected a path of this machine, received {text!r}")
    return Path(os.path.expanduser(text))


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, received {text!r}")
    return int(text)


def thread_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_THREADS:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 1 to {MOST_THREADS}, received {text!r}"
        )
    return int(text)


def truncation(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 2:
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number from 0 to 2, received {text!r}")


def main(argv: list[str] | None = None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.error = lambda message: parser.exit(
        2, f"edge_sample: {' '.join(message.removeprefix('argument ').split())}\n"
    )
    about = "a .tflite file, or the folder of an export: its most exact one"
    parser.add_argument("--model", type=place, required=True, metavar="DIR_OR_FILE", help=about)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--seeds", type=seeds, default="0-15", help="such as 0-63 or 1,5,9 [%(default)s]")
    which.add_argument(
        "--latent",
        type=place,
        metavar="Z.npy",
        help="latents in their place, as keras_dcgan.edit writes them",
    )
    parser.add_argument(
        "--out",
        type=place,
        metavar="PATH",
        help="NAME.png: one grid; else a folder [sample.png; with --benchmark none]",
    )
    parser.add_argument(
        "--class", dest="wanted_class", metavar="C", help="its name, or its number [each in turn]"
    )
    parser.add_argument(
        "--truncation",
        type=truncation,
        default=1.0,
        help="scales z; below 1: typical, less varied [%(default)s]",
    )
    parser.add_argument("--cols", type=count, help="columns of the grid [as square as the seeds allow]")
    parser.add_argument("--threads", type=thread_count, help="[1]")
    parser.add_argument(
        "--gpu", action="store_true", help="the GPU alone; an error where it does not take the whole graph"
    )
    parser.add_argument(
        "--benchmark", action="store_true", help="print the times of 200 images, and the memory used"
    )
    flags = parser.parse_args(argv)
    try:
        out = flags.out or (None if flags.benchmark else Path("sample.png"))
        is_grid = out is not None and out.suffix.lower() == ".png"
        if out and out.suffix.lower() in OTHERS and not out.is_dir():
            raise ValueError(f"--out: expected a name that ends in .png, or a folder, received {str(out)!r}")
        if flags.cols and not is_grid:
            raise ValueError(f"--cols: expected a grid as --out, such as grid.png, received {out or 'none'}")
        if flags.gpu and flags.threads:
            raise ValueError("--threads: expected no --gpu, which draws on the GPU alone")
        threads = flags.threads or 1
        file = choose(flags.model)
        about = read_description(file)
        runner, latent_dim, takes_label = load(file, threads)
        if flags.latent:
            z = load_latents(flags.latent, latent_dim, flags.truncation)
        else:
            z = latents(flags.seeds, latent_dim) * np.float32(flags.truncation)
        numbers, kind = (range(len(z)), "latent") if flags.latent else (flags.seeds, "seed")
        inputs = {"z": z}
        if takes_label and flags.latent and flags.wanted_class is None:
            raise ValueError(
                "--class: expected the class of these latents, as keras_dcgan.edit printed it, received none"
            )
        if takes_label:
            inputs["label"] = labels(numbers, flags.wanted_class, about.get("classes", []))
        elif flags.wanted_class is not None:
            raise ValueError(
                f"--class: expected a generator that was trained with --conditional, received {file}"
            )
        sizes = [about.get(name) for name in ("height", "width", "channels")]
        is_known = all(isinstance(size, int) for size in sizes)
        if is_grid and is_known and len(numbers) * sizes[0] * sizes[1] * sizes[2] > MOST_BYTES:
            which = "--latent" if flags.latent else "--seeds"
            raise ValueError(
                f"{which}: expected fewer in one grid, or a folder as --out, received {len(numbers)}"
            )
        runner = compiled(file, "GPU") if flags.gpu else runner
        if is_grid:
            save(grid(np.stack(list(watched(draw(runner, inputs), len(numbers)))), flags.cols), out)
        elif out:
            for number, image in zip(numbers, watched(draw(runner, inputs), len(numbers))):
                save(image, out / f"{kind}-{number:04d}.png")
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(f"{file}: {len(numbers)} image{'s' * (len(numbers) != 1)} in {out}" if out else file)
    for key in TOLD:
        if about.get(key):
            print(f"{key.replace('_', ' ')}: {' '.join(about[key].split())}")
    if flags.benchmark:
        median, slow = np.percentile(milliseconds(runner, inputs), [50, 95])
        device = "the GPU" if flags.gpu else f"{threads} CPU thread{'s' if threads > 1 else ''}"
        peak = re.findall(r"VmHWM:\s*(\d+)", MEMORY.read_text(encoding="utf-8") if MEMORY.exists() else "")
        memory = f", {int(peak[0]) / 1000:.0f} MB of memory at most" if peak else ""
        print(
            f"{median:.2f} ms an image (95 % below {slow:.2f}), {1000 / median:.0f} images/s, on "
            f"{device}{memory}"
        )


if __name__ == "__main__":
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        if stream is None:  # closed (`>&-`): the next file to be opened would take its number
            os.dup2(nowhere, number)
    # LiteRT's C++ greets on stderr and has no switch for it: from here on only Python writes there.
    # "backslashreplace", since a file name may hold what this terminal cannot show.
    sys.stdout, sys.stderr = (
        os.fdopen(os.dup(number), "w", buffering=1, errors="backslashreplace") for number in (1, 2)
    )
    os.dup2(nowhere, 2)
    if IS_INTERRUPTIBLE:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
