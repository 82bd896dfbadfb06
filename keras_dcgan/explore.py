"""Draws what a generator can be steered along: `python -m keras_dcgan.explore --run runs/imgs --out
strips.png`.

For each direction, the strongest first, and each seed a strip: the seed's own image in the middle, what
becomes of it to either side. Nobody has named the directions: look at what changes. model.json has the same
ones, and the page's sliders move along them.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_dcgan import cli, files, process
from keras_dcgan.cli import number
from keras_dcgan.errors import Refused, counted
from keras_dcgan.pictures import images, latents
from keras_dcgan.progress import watched
from keras_dcgan.runs.directory import Run

if TYPE_CHECKING:
    import keras

VERB = "explore"
MOST_BYTES = 2**31  # of a sheet, which is in memory three times over


@process.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors(VERB):
        out = Path(flags.out)
        check(out)
        run = Run(flags.run)
        run.check_trained()
        with process.importing():
            from keras_dcgan import devices
            from keras_dcgan.runs import checkpoints

            devices.start()
        generator, classes = checkpoints.load_generator(run), run.classes
        labels = latents.labels(flags.seeds, latents.chosen_classes(flags.wanted_class, classes), classes)
        directions = latents.directions(generator, flags.directions)
        each = len(directions) * flags.columns * math.prod(generator.output_shape[1:])
        if len(flags.seeds) * each > MOST_BYTES:
            raise Refused("seeds", f"at most {MOST_BYTES // each:,} of images of this size", len(flags.seeds))
        z = latents.truncate(latents.latents(flags.seeds, directions.shape[1]), flags.truncation)
        amounts = np.linspace(-flags.reach, flags.reach, flags.columns)
        with cli.writing("out", out):
            images.save(images.grid(strips(generator, z, labels, directions, amounts), flags.columns), out)
    counts = f"{counted(len(directions), 'direction')}, {counted(len(z), 'strip')} each"
    print(f"{counts}, from {-flags.reach:g} to {flags.reach:g}, in {flags.out}")
    return 0


def check(out: Path):
    """Whether the sheet can be written. Raises Refused or Unavailable."""
    if out.suffix.lower() != ".png":
        raise Refused("out", "a name that ends in .png", out)
    files.check_file(out, "out")


def strips(
    generator: keras.Model,
    z: np.ndarray,
    labels: np.ndarray | None,
    directions: np.ndarray,
    amounts: np.ndarray,
) -> np.ndarray:
    """z (N, latent_dim), directions (D, latent_dim), amounts (C,) -> uint8 (D * N * C, height, width,
    channels): for each direction and each z what is drawn at so many amounts of the one from the other."""
    from keras_dcgan.pictures.draw import draw

    moved = z[:, None] + amounts[:, None] * directions[:, None, None]  # direction, seed, column, component
    moved = moved.reshape(-1, z.shape[1]).astype(np.float32)
    if labels is not None:
        labels = np.tile(np.repeat(labels, len(amounts)), len(directions))
    return np.stack(list(watched(draw(generator, moved, labels), "drawing", len(moved))))


def odd(text: str) -> int:
    count = number(3, 99, kind=int)(text)
    if count % 2 == 0:
        raise cli.Expected(f"expected an odd number from 3 to 99, received {text!r}")
    return count


def parser() -> cli.Parser:
    result = cli.Parser(
        "keras_dcgan.explore",
        "Draws what becomes of images along the directions that a generator feels most.",
    )
    result.add_argument("--run", type=cli.path, required=True, metavar="DIR", help="the run directory")
    result.add_argument(
        "--out", type=cli.path, required=True, metavar="NAME.png", help="the sheet: a strip a row"
    )
    result.add_argument("--seeds", type=cli.seeds, default=[0], metavar="0-3", help="whose strips [0]")
    result.add_argument(
        "--class",
        dest="wanted_class",
        metavar="A,B",
        help="of a conditional run: seed by seed, in turn [its number says which]",
    )
    rows = (
        ("--directions", "N", 6, number(1, 100, kind=int), "how many, the strongest first; model.json has 6"),
        ("--columns", "N", 9, odd, "images of a strip, an odd number: the seed's own is in the middle"),
        (
            "--reach",
            "R",
            4.0,
            number(0, 20, above=True),
            "how far to either side; the page's sliders go as far as 4",
        ),
        ("--truncation", "T", 1.0, number(0, 2), "scales the latents of the seeds"),
    )
    for flag, metavar, default, read, about in rows:
        result.add_argument(flag, type=read, default=default, metavar=metavar, help=f"{about} [{default:g}]")
    return result


if __name__ == "__main__":
    raise SystemExit(process.run(main))
