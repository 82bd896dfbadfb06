"""Restores or joins images of yours, with what a run has learned to draw:

    python -m keras_dcgan.edit --run runs/imgs --image a.png --task inpaint --mask hole.png --out whole.png

Finds the latent z whose image G(z), degraded in the same way, comes nearest to yours. whole.png is the
result, whole-z.npy the latent (`python -m keras_dcgan.sample --latent whole-z.npy` draws it, of a conditional
run with the --class that is printed), whole-compared.png shows yours, G(z) and the result.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_dcgan import cli, files, process
from keras_dcgan.cli import number, one_of
from keras_dcgan.config import TrainConfig
from keras_dcgan.data.prepare import prepare_one
from keras_dcgan.errors import Refused, argument, renamed
from keras_dcgan.pictures import blend, images, latents
from keras_dcgan.progress import Progress
from keras_dcgan.runs.directory import Run

if TYPE_CHECKING:
    import keras

VERB = "edit"
# Task: its own flag.
NEEDS = {"project": None, "inpaint": "mask", "superres": "factor", "denoise": "sigma", "interpolate": None}
FRAMES_A_LEG = 25  # of a walk, from one image to the next: a second
WHITE = (
    12  # of a mask, from here on: a pixel that the hole reaches into, if only a little, is no longer known
)


@process.tidy
def main(arguments: list[str] | None = None) -> int:
    start = time.monotonic()
    flags = parser().parse_args(arguments)
    out = Path(flags.out)
    with cli.user_errors(VERB):
        check(flags)
        run = Run(flags.run)
        run.check_trained()
        generator, classes = load(run)
        labels = labels_of(flags, classes)
        given = read(flags, run.config, generator.output_shape[1:])
    with cli.machine_errors(VERB):
        found = search(generator, given, labels, flags)
    for line in report(found, flags, classes):
        print(line)
    result = restored(given, found.drawn)
    with cli.user_errors(VERB), cli.writing("out", out):
        written = write(out, given, found, result, generator)
    print(f"{', '.join(map(str, written))} in {time.monotonic() - start:.0f} s")
    return 0


def parser() -> cli.Parser:
    result = cli.Parser("keras_dcgan.edit", "Restores or joins images with the generator of a run.")
    result.add_argument("--run", type=cli.path, required=True, metavar="DIR", help="the run directory")
    about = "the image; to interpolate, two or more"
    result.add_argument("--image", type=cli.path, required=True, nargs="+", metavar="FILE", help=about)
    result.add_argument(
        "--task", required=True, type=one_of(*NEEDS), metavar="WHAT", help=f"one of {', '.join(NEEDS)}"
    )
    about = "the result; of interpolate a walk, NAME.gif, .webp or .mp4"
    result.add_argument("--out", type=cli.path, required=True, metavar="O.png", help=about)
    about = "inpaint: an image of the same size, white where it is to be filled in"
    result.add_argument("--mask", type=cli.path, metavar="M.png", help=about)
    about = "superres: by how much the image is smaller than the run's"
    result.add_argument("--factor", type=one_of("2", "4", "8"), metavar="2|4|8", help=about)
    sigma = number(0, 255, above=True)
    result.add_argument(
        "--sigma", type=sigma, metavar="S", help="denoise: the noise's standard deviation, where white is 255"
    )
    result.add_argument(
        "--class", dest="wanted_class", metavar="C", help="of a conditional run: which class [the nearest]"
    )
    result.add_argument(
        "--seed", type=number(0, 10**6, kind=int), default=0, metavar="N", help="of the restarts [0]"
    )
    restarts, steps = (number(1, most, kind=int) for most in (1000, 10**6))
    about = "latents to start from, at least one of each class; the best is kept [8]"
    result.add_argument("--restarts", type=restarts, default=8, metavar="N", help=about)
    result.add_argument("--steps", type=steps, default=300, metavar="N", help="of each of them [300]")
    about = "then change the weights, too, in N steps, so that G(z) comes nearer; they are not kept [none; without N 40]"
    result.add_argument("--tune", type=steps, nargs="?", const=40, metavar="N", help=about)
    return result


def check(flags: argparse.Namespace):
    """Whether the flags fit the task, and whether the result can be written. Raises Refused or Unavailable."""
    for task, name in NEEDS.items():
        if name is None:
            continue
        value = getattr(flags, name)
        if value is None and task == flags.task:
            raise Refused(name, f"one with {argument('task')} {task}", "none")
        if value is not None and task != flags.task:
            raise Refused(name, f"{argument('task')} {task}", f"{argument('task')} {flags.task}")
    out, is_walk = Path(flags.out), flags.task == "interpolate"
    endings = images.ANIMATIONS if is_walk else (".png",)
    if out.suffix.lower() not in endings:
        raise Refused("out", f"a name that ends in {' or '.join(endings)}", repr(flags.out))
    if out.suffix.lower() == ".mp4":
        images.video_encoder()
    files.check_file(out, "out")
    if is_walk != (len(flags.image) > 1):
        expected = "two images or more to" if is_walk else "one image to"
        raise Refused("image", f"{expected} {flags.task}", len(flags.image))


def load(run: Run) -> tuple[keras.Model, list[str]]:
    """-> the run's best generator and its classes."""
    with process.importing():
        from keras_dcgan import devices
        from keras_dcgan.runs import checkpoints

        devices.start(deterministic=True)
    return checkpoints.load_generator(run), run.classes


def labels_of(flags: argparse.Namespace, classes: list[str]) -> np.ndarray | None:
    """A label for each restart, so that no class goes untried; None where the run knows no classes."""
    chosen = latents.chosen_classes(flags.wanted_class, classes)
    if classes and flags.task == "interpolate" and (not chosen or len(chosen) > 1):
        expected = f"the class to walk in, one of {', '.join(classes)}"
        raise Refused("wanted", expected, flags.wanted_class or "none")
    return latents.labels(range(max(flags.restarts, len(chosen or classes))), chosen, classes)


@dataclasses.dataclass(frozen=True)
class Given:
    """What is known of the images that are looked for."""

    task: str
    images: np.ndarray  # uint8 (N, height, width, C), smaller than the run's where they are to be enlarged
    hole: np.ndarray | None  # bool (height, width): where nothing is known
    factor: int
    noise: float  # standard deviation, where images go from -1 to 1

    def degrade(self) -> Callable:
        """What has happened to them, as a function of whole images."""
        from keras_dcgan.pictures import inversion

        return inversion.reduced(self.images.shape[1:3]) if self.hole is None else inversion.known(self.hole)


def read(flags: argparse.Namespace, config: TrainConfig, shape: tuple[int, int, int]) -> Given:
    """The images and the mask, prepared as the run's own images were. Raises Refused or Unavailable."""
    *size, channels = shape
    factor = int(flags.factor or 1)
    if size[0] % factor or size[1] % factor:
        raise Refused("factor", f"one that divides the run's {size[0]}x{size[1]}", factor)
    wanted = size[0] // factor, size[1] // factor

    def prepared(name, file, channels, background):
        with renamed(file=name):
            return prepare_one(
                file, wanted, channels, crop=config.crop, background=background, max_pixels=config.max_pixels
            )

    pictures, original_sizes = zip(
        *(prepared("image", file, channels, config.background) for file in flags.image)
    )
    ratios = [before / after for before, after in zip(original_sizes[0], size)]
    if factor > 1 and min(ratios) * factor > 1:
        given, taken = ("x".join(map(str, sides)) for sides in (original_sizes[0], wanted))
        what = f"{flags.image[0]} of {given} was made {taken} first"
        print(f"note: {what}, which times {factor} is the run's size")
    hole = None
    if flags.mask is not None:
        mask, mask_size = prepared("mask", flags.mask, 1, "black")
        hole = checked_hole(mask, mask_size, original_sizes[0])
    # The mean of n pixels has 1/sqrt(n) of their noise.
    shrunk = max(1.0, min(ratios) if config.crop == "center" else math.prod(ratios) ** 0.5)
    noise = 2 * (flags.sigma or 0) / 255 / shrunk
    return Given(flags.task, np.stack(pictures), hole, factor, noise)


def checked_hole(mask: np.ndarray, size: tuple[int, int], expected: tuple[int, int]) -> np.ndarray:
    """uint8 (height, width, 1) -> bool (height, width). `size`: of the file, and of the image's."""
    if size != expected:
        whole, received = ("x".join(map(str, sides)) for sides in (expected, size))
        raise Refused("mask", f"one of the image's size, {whole}", received)
    hole = mask[..., 0] >= WHITE
    if hole.all() or not hole.any():
        found = "white" if hole.all() else "black"
        raise Refused("mask", "black where to keep the image and white where not", f"all {found}")
    return hole


@dataclasses.dataclass(frozen=True)
class Found:
    z: np.ndarray  # float32 (N, latent_dim)
    labels: np.ndarray | None  # int32 (N,)
    inverted: np.ndarray  # float32 (N, height, width, C) in [-1, 1]: G(z)
    drawn: np.ndarray  # the same with tuned weights, if they are
    decibels: list[tuple[float, float]]  # how near each of both is to what was given


def search(
    generator: keras.Model, given: Given, labels: np.ndarray | None, flags: argparse.Namespace
) -> Found:
    """The latents that come nearest, and with `flags.tune` weights that come nearer; shows its progress."""
    from keras_dcgan.pictures import inversion

    degrade = given.degrade()
    observed = degrade(images.from_uint8(given.images)).numpy()
    restarts = flags.restarts if labels is None else len(labels)
    with Progress("looking for z:", 100, "%") as progress:

        def show(share):
            progress.update(100 * share)

        effort = {"restarts": restarts, "steps": flags.steps, "seed": flags.seed, "show": show}
        z, labels = inversion.invert(generator, observed, degrade, labels, **effort)
        inverted = drawn = inversion.generated(generator, z, labels).numpy()
        if flags.tune:
            progress.begin("tuning the weights:", 100, "%")
            enough = given.noise**2
            tuning = {"steps": flags.tune, "enough": enough, "show": show}
            inversion.tune(generator, z, observed, degrade, labels, **tuning)
            drawn = inversion.generated(generator, z, labels).numpy()
    apart = [(degrade(part) - observed).numpy() for part in (inverted, drawn)]
    near, nearer = ([float(10 * np.log10(4 / np.mean(one**2))) for one in part] for part in apart)
    return Found(z, labels, inverted, drawn, list(zip(near, nearer)))


def report(found: Found, flags: argparse.Namespace, classes: list[str]) -> list[str]:
    """A line an image: how near G(z) is to it."""
    lines = []
    for i, file in enumerate(flags.image):
        named = "" if found.labels is None else f" as {classes[found.labels[i]]}"
        before, after = found.decibels[i]
        tuned = f", with tuned weights {after:.1f} dB" if flags.tune else ""
        lines.append(f"{file}: G(z){named} is {before:.1f} dB from it{tuned}")
    return lines


def restored(given: Given, drawn: np.ndarray) -> np.ndarray:
    """What was given joined with what was drawn, float32 (N, height, width, C)."""
    if given.hole is not None:
        return blend.seamless(images.from_uint8(given.images[0]), drawn[0], given.hole)[np.newaxis]
    if given.task == "superres":
        return blend.sharpened(images.from_uint8(given.images[0]), drawn[0])[np.newaxis]
    if given.task == "denoise":
        return blend.denoised(images.from_uint8(given.images[0]), drawn[0], given.noise)[np.newaxis]
    return drawn


def write(out: Path, given: Given, found: Found, result: np.ndarray, generator: keras.Model) -> list[Path]:
    """The result or, of several images, a walk; the latents; and beside each other what was given, G(z) and the
    result. -> their names. The latents first: all else can be drawn again."""
    z_file, compared = out.with_name(f"{out.stem}-z.npy"), out.with_name(f"{out.stem}-compared.png")
    latents.save(found.z, z_file)
    if given.task == "interpolate":
        from keras_dcgan.pictures.draw import draw

        walk = latents.walk(found.z, FRAMES_A_LEG)
        labels = None if found.labels is None else found.labels[:1].repeat(len(walk))
        images.save_animation(np.stack(list(draw(generator, walk, labels))), out, FRAMES_A_LEG)
    else:
        images.save(images.to_uint8(result)[0], out)
    columns = [shown(given), images.to_uint8(found.inverted), images.to_uint8(result)]
    images.save(images.grid(np.concatenate(list(zip(*columns))), columns=len(columns)), compared)
    return [out, z_file, compared]


def shown(given: Given) -> np.ndarray:
    """What was given, at the run's size, grey where nothing is known: uint8 (N, height, width, C)."""
    pictures = given.images.copy()
    if given.hole is not None:
        pictures[:, given.hole] = 127
    return pictures.repeat(given.factor, axis=1).repeat(given.factor, axis=2)


if __name__ == "__main__":
    raise SystemExit(process.run(main))
