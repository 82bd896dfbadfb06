"""The figures of a generator: what it draws of the first seeds, against real images.

    measured = measure(generator, images, metrics=["swd", "kid"], samples=2000, embed=load("random"))
    measured.figures                           # {"swd": 21.4, "kid": 0.0004, "kid_ci95": 0.0001}

Figures of pixels come without `embed`, the others are of its features.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from keras_dcgan.data import cache as entries
from keras_dcgan.data.rows import OnDisk, even_rows
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.data.shards import ShardSet
from keras_dcgan.errors import Refused
from keras_dcgan.measure.embeddings import Embedding
from keras_dcgan.measure.metrics import (
    FEW,
    FEWEST,
    METRICS,
    OF_FEATURES,
    Moments,
    SlicedWasserstein,
    detail,
    distinct,
    frechet_distance,
    kernel_distance,
    memorisation,
    ms_ssim,
    neighbourhoods,
    sharpness,
)
from keras_dcgan.model.networks import class_count
from keras_dcgan.pictures import latents
from keras_dcgan.pictures.draw import draw
from keras_dcgan.progress import Progress

PAIRS = 8  # of fakes and their nearest training images
BLOCK = 10_000  # latents in memory at once
PIECE = 100  # images whose features are made between two looks at the clock
DIGESTED = 64  # images at once
TRAINING = 50_000  # images among which copies are looked for, at most
TRAINING_BYTES = 2e9


@dataclasses.dataclass(frozen=True)
class Measured:
    figures: dict[str, float]
    training: np.ndarray | OnDisk  # the real images, uint8 (N, height, width, C)
    fakes: np.ndarray  # uint8 (samples, height, width, C)
    compared: int  # how many of each the figures are of
    pairs: list[tuple[int, int]]  # (number of a fake, number of its nearest training image), nearest first
    notes: list[str]  # what is to be said of the figures


def measure(
    generator,
    real: ImageSet | ShardSet,
    *,
    metrics: Sequence[str] = METRICS,
    samples: int = FEW,
    embed: Embedding | None = None,
    held_out: ImageSet | ShardSet | None = None,
    cache: str | None = None,
    progress: Progress | None = None,
) -> Measured:
    """`generator`: a keras.Model from z, or [z, label], to images in [-1, 1]; it draws seeds 0 to samples - 1.
    `held_out`: real images that were not trained on, for the check for copies. `cache`: where features of
    real images are kept. Raises Refused for metrics that there are not, or that need an `embed`."""
    check_metrics(metrics, embed)
    if len(real) < FEWEST:
        raise Refused("source", f"{FEWEST} images or more", len(real))
    progress = progress or Progress()
    # Copies are looked for among all that was trained on; the other figures take as many real images as
    # generated ones.
    most = TRAINING if "memorisation" in metrics else 0
    most = min(most, int(TRAINING_BYTES / np.prod(real.manifest.shape)))
    training = real.on_disk(min(len(real), max(most, samples)))
    rows = even_rows(len(training), min(samples, len(training)))
    labels = None
    if classes := class_count(generator):
        in_turn = np.arange(samples, dtype=np.int32) % classes
        labels = real.labels_of(samples) if real.classes else in_turn
    fakes = drawn(generator, samples, progress, labels)
    figures = {}
    if set(metrics) - OF_FEATURES:  # or the real images need not be in memory at all
        figures = of_pixels(metrics, training[rows], fakes[: len(rows)], progress)
    pairs: list[tuple[int, int]] = []
    notes: list[str] = []
    if embed and OF_FEATURES & set(metrics):
        # After the pixels: the swd takes much memory, and TensorFlow keeps what it has taken.
        vectors = kept_vectors(embed, real, training, cache, progress)
        fake_vectors, new_vectors = vectors_of(embed, fakes, progress, "generated"), None
        if held_out:
            new = held_out.on_disk(min(len(held_out), FEW))
            new_vectors = kept_vectors(embed, held_out, new, cache, progress)
        progress.begin("comparing the features")
        found, pairs, notes = of_features(metrics, vectors, rows, fake_vectors, new_vectors)
        figures |= found
    return Measured(figures, training, fakes, len(rows), pairs, notes_on(figures, len(rows)) + notes)


def check_metrics(metrics: Sequence[str], embed: Embedding | None):
    if not metrics or set(metrics) - set(METRICS):
        raise Refused("metrics", f"some of {', '.join(METRICS)}", ", ".join(metrics) or "none")
    if missing := sorted(OF_FEATURES & set(metrics)) if embed is None else []:
        raise Refused("embed", f"features for {', '.join(missing)}", None)


def drawn(generator, count: int, progress: Progress, labels: np.ndarray | None) -> np.ndarray:
    """What it draws of seeds 0 to count - 1, of a conditional run with these labels: uint8 (count, H, W,
    C)."""
    found = np.empty((count, *generator.output_shape[1:]), np.uint8)
    progress.begin("drawing", count)
    for start in range(0, count, BLOCK):
        seeds = np.arange(start, min(start + BLOCK, count))
        z = latents.latents(seeds, generator.inputs[0].shape[-1])
        for seed, image in zip(seeds, draw(generator, z, None if labels is None else labels[seeds])):
            found[seed] = image
            progress.update(int(seed) + 1)
    return found


def vectors_of(embed: Embedding, images: np.ndarray | OnDisk, progress: Progress, kind: str) -> np.ndarray:
    """The features of uint8 images: float32 (N, dim)."""
    progress.begin(f"features, {kind}", len(images))
    vectors = np.empty((len(images), embed.length), np.float32)
    for start in range(0, len(images), PIECE):
        some = embed(images[start : start + PIECE])
        vectors[start : start + len(some)] = some
        progress.update(start + len(some))
    return vectors


def kept_vectors(
    embed: Embedding,
    real: ImageSet | ShardSet,
    images: np.ndarray | OnDisk,
    cache: str | None,
    progress: Progress,
) -> np.ndarray:
    """The same of real images, from the cache if they are there."""
    digest = hashlib.blake2b()  # of the pixels: shards have the fingerprint of a folder in another order
    for start in range(0, len(images), DIGESTED):
        digest.update(np.ascontiguousarray(images[start : start + DIGESTED]).data)
    entry = entries.folder(cache) / entries.key(digest.hexdigest(), embed.name)
    file = entry / "features.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there yet, or corrupt
        return np.load(file, mmap_mode="r")
    vectors = vectors_of(embed, images, progress, "real")
    source = f"{real.manifest.source}, features {embed.name}"
    about = {"size": real.manifest.size, "channels": real.manifest.channels}
    with contextlib.suppress(OSError):  # a full disk: no figure needs the cache
        entries.discard(entry)
        with entries.making(entry) as unfinished:
            np.save(unfinished / file.name, vectors)
            entries.describe(unfinished, about | {"images": len(images), "source": source})
        return np.load(file, mmap_mode="r")
    return vectors


def of_pixels(
    wanted: Sequence[str], real: np.ndarray, fake: np.ndarray, progress: Progress
) -> dict[str, float]:
    found = {}
    if "swd" in wanted:
        progress.begin("swd", 100, "%")
        reference = SlicedWasserstein(real, keep=False)
        found["swd"] = reference.distance(fake, show=lambda share: progress.update(100 * share))["swd"]
    if "sharpness" in wanted:
        found |= sharpness(fake, detail(real))
    if "msssim" in wanted:
        progress.begin("msssim")
        found["msssim"], found["msssim_real"] = ms_ssim(fake), ms_ssim(real)
    return found


def of_features(
    wanted: Sequence[str],
    training: np.ndarray,
    rows: np.ndarray,
    every_fake: np.ndarray,
    new: np.ndarray | None,
) -> tuple[dict[str, float], list[tuple[int, int]], list[str]]:
    """Vectors of training images, generated ones and ones held out, or None -> the figures, the pairs (number
    of a fake, number of its nearest training image) that are nearest to each other, and what is to be said of
    them. `rows`: which of the training images the fakes are compared with as a set."""
    found: dict[str, float] = {}
    pairs: list[tuple[int, int]] = []
    caveats: list[str] = []
    real, fake = training[rows], every_fake[: len(rows)]  # sets of one size: more of either would look better
    if "fid" in wanted:
        found["fid"] = frechet_distance(Moments(real), Moments(fake))
    if "kid" in wanted:
        found["kid"], found["kid_ci95"] = kernel_distance(real, fake)
    if "prdc" in wanted:
        with unless_too_few("precision, recall, density and coverage", caveats):
            count = distinct_count(real)
            if count < len(real):
                caveats.append(
                    f"{count:,} of {len(real):,} real images are distinct: prdc is of those and as "
                    "many generated ones"
                )
            found |= neighbourhoods(real, fake[even_rows(len(fake), count)])
    if "memorisation" in wanted:
        with unless_too_few("memorised", caveats):
            distinct_count(training)
            found["memorised"], numbers, ratio = memorisation(training, every_fake, new)
            pairs = [(int(i), int(numbers[i])) for i in ratio.argsort()[:PAIRS]]
    return found, pairs, caveats


def distinct_count(real: np.ndarray) -> int:
    count = len(distinct(real))
    if count < FEWEST:
        raise ValueError(
            f"expected at least {FEWEST} distinct real images, received {count} among {len(real):,}"
        )
    return count


@contextlib.contextmanager
def unless_too_few(figures: str, caveats: list[str]) -> Iterator[None]:
    """A figure for which there are too few distinct images, real or generated, is not given, and it is said
    why."""
    try:
        yield
    except ValueError as error:
        caveats.append(f"no {figures}: {error}")


def notes_on(figures: dict[str, float], compared: int) -> list[str]:
    found = []
    if "fid" in figures and compared < FEW:
        found.append(f"fid of {compared:,} images is too high by chance; kid is not: prefer it below {FEW:,}")
    if figures.get("memorised", 0) > 0.1:
        found.append(
            "more generated images than by chance lie close to a training image: look at the pairs "
            "on the page"
        )
    return found
