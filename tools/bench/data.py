"""`python -m tools.bench data`: preparing, feeding, memory and start-up of the data pipeline. 2 minutes, and
500 MB on disk."""

import concurrent.futures
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from keras_dcgan import cli
from keras_dcgan.data.prepare import prepare
from tools.bench.timing import alternating, seconds


def arguments(parser):
    parser.add_argument(
        "--scratch",
        type=cli.path,
        metavar="DIR",
        help="where temporary files go [the system's place for them]",
    )
    parser.add_argument(
        "--step-ms", type=float, default=50, help="length of the stand-in for a training step [%(default)s]"
    )


def measure(args) -> dict:
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        scratch = pathlib.Path(scratch)
        return preparing(scratch) | feeding(scratch, args.step_ms) | memory(scratch) | start_up(scratch)


def preparing(scratch: pathlib.Path, count: int = 1000, size: int = 64) -> dict:
    """Photo-sized JPEGs through `prepare`, and through what most data loaders do: full decode, resize, a
    thread a core."""
    folder = scratch / "photos"
    folder.mkdir()
    for i in range(count):
        photo(i).save(folder / f"{i}.jpg", quality=88)

    def ours():
        cache = tempfile.mkdtemp(dir=scratch)
        prepare(str(folder), size, 3, cache=cache, show=lambda line: None)

    def plain(resample):
        def load(path):
            with Image.open(path) as image:
                image = image.convert("RGB")
            scale = size / min(image.size)
            image = image.resize((round(image.width * scale), round(image.height * scale)), resample)
            left, top = (image.width - size) // 2, (image.height - size) // 2
            return np.asarray(image.crop((left, top, left + size, top + size)))

        with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            np.save(scratch / "plain.npy", np.stack(list(pool.map(load, sorted(folder.iterdir())))))

    # Lanczos is what `prepare` uses; bilinear, antialiased, is torchvision's default.
    lanczos, bilinear = Image.Resampling.LANCZOS, Image.Resampling.BILINEAR
    times = alternating(
        5, ours=ours, plain_lanczos=lambda: plain(lanczos), plain_bilinear=lambda: plain(bilinear)
    )
    rates = {f"prepare_{name}_img_per_s": count / value for name, value in times.items()}
    return rates | {
        f"prepare_times_{name}": times[name] / times["ours"] for name in ("plain_lanczos", "plain_bilinear")
    }


def photo(seed: int) -> Image.Image:
    """500x375, with detail at every scale as photos have it: 43 kB as JPEG."""
    random = np.random.default_rng(seed)
    pixels = np.full((375, 500, 3), 128, np.float32)
    for columns, amplitude in ((4, 60), (16, 30), (64, 16), (250, 10)):
        noise = random.standard_normal((columns * 3 // 4, columns, 3)).astype(np.float32)
        noise = 0.6 * noise + 0.4 * noise.mean(-1, keepdims=True)
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel]).resize((500, 375), Image.Resampling.BICUBIC)
            pixels[..., channel] += amplitude * np.asarray(layer)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def feeding(scratch: pathlib.Path, step_ms: float, count: int = 20_000, batch: int = 64) -> dict:
    """Images a second out of `batches` (64x64x3), and the share of a step that waits for them; against a
    numpy gather."""
    import tensorflow as tf

    from keras_dcgan.data.feed import batches

    path = scratch / "feed.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), np.uint8))
    images = prepare(str(path), cache=str(scratch / "feed"), show=lambda line: None)
    array, steps = np.load(path), 500
    random = np.random.default_rng(0)
    streams = {
        name: iter(batches(images, batch, 0, flip=flip)) for name, flip in (("plain", False), ("flip", True))
    }

    def feed(name):
        return lambda: [next(streams[name]) for _ in range(steps)]

    # the least that any loader can do: pick the rows of an array that is in memory, and hand them to
    # TensorFlow
    def gather():
        for _ in range(steps):
            tf.constant(array[random.integers(0, count, batch)])

    times = alternating(5, feed=feed("plain"), feed_flip=feed("flip"), gather=gather)
    matrix = tf.random.normal((1024, 1024))
    product = tf.function(lambda: tf.linalg.matmul(matrix, matrix)[0, 0])
    waiting = working = 0.0
    for _ in range(max(10, round(5000 / step_ms))):
        waiting += seconds(lambda: next(streams["flip"]))
        end = time.perf_counter() + step_ms / 1000
        working += seconds(
            lambda end=end: [product().numpy() for _ in iter(lambda: time.perf_counter() < end, False)]
        )
    rates = {f"{name}_img_per_s": steps * batch / value for name, value in times.items()}
    return rates | {
        "feed_times_gather": times["gather"] / times["feed"],
        # Honest label: the step is a stand-in, matrix products on every core for so long. A longer step hides
        # more.
        f"waiting_share_of_a_dummy_{step_ms:g}_ms_step": waiting / (waiting + working),
    }


def memory(scratch: pathlib.Path, gigabytes: float = 4, batch: int = 64) -> dict:
    """Resident MB above the first batch while a sparse file of that size is read once, in another process."""
    path = scratch / "sparse.npy"
    rows = round(gigabytes * 1e9 / (64 * 64 * 3))
    with open(path, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (rows, 64, 64, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + rows * 64 * 64 * 3)
    code = f"""
import numpy as np
from keras_dcgan.data.feed import batches
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.sets import ImageSet
def resident():
    return int(open("/proc/self/statm", "rb").read().split()[1]) * 4096 / 1e6
images = np.load({str(path)!r}, mmap_mode="r")
labels = np.zeros(len(images), np.int32)
manifest = Manifest(count=len(images), size=(64, 64), channels=3, classes=[], fingerprint="")
stream = iter(batches(ImageSet(images, labels, manifest), {batch}, 0))
next(stream)
baseline, marks = resident(), []
for step in range({rows // batch}):
    next(stream)
    if step % {rows // batch // 4} == 0:
        marks.append(round(resident() - baseline, 1))
print(marks)
del stream
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {f"resident_mb_above_baseline_in_an_epoch_of_{gigabytes:g}_gb": json.loads(done.stdout)}


def start_up(scratch: pathlib.Path, count: int = 50_000) -> dict:
    """Seconds from `prepare` to the array when it is in the cache already, for a folder of so many files; in
    a new process."""
    folder = scratch / "many"
    picture = scratch / "one.png"
    Image.new("RGB", (8, 8)).save(picture)
    content = picture.read_bytes()
    for i in range(count):
        if i % 1000 == 0:
            (folder / f"{i // 1000:03d}").mkdir(parents=True)
        (folder / f"{i // 1000:03d}" / f"{i:06d}.png").write_bytes(content)
    call = f"prepare({str(folder)!r}, 8, cache={str(scratch / 'start')!r}, show=len)"
    code = "import time; from keras_dcgan.data.prepare import prepare; start = time.perf_counter(); "
    code += f"{call}; print(time.perf_counter() - start)"
    runs = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(6)
    ]
    return {
        f"start_up_s_of_{count}_files": statistics.median(runs[1:]),
        f"first_run_s_of_{count}_files": runs[0],
    }
