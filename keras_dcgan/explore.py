"""Draws what a generator can be steered along: `python -m keras_dcgan.explore --run runs/imgs --out
strips.png`.

For each direction, the strongest first, and each seed a strip: the seed's own picture in the middle, what
becomes of it to either side. Nobody has named the directions: look at what changes. model.json has the same
ones, and the page's sliders move along them.
"""

from pathlib import Path

import numpy as np

from keras_dcgan import cli, images, latents, progress
from keras_dcgan.config import check_file, check_trained, number


@cli.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors("explore"):
        if Path(flags.out).suffix.lower() != ".png":
            raise ValueError(f"--out: expected a name that ends in .png, received {flags.out}")
        check_file("--out", Path(flags.out))
        check_trained(flags.run)
        with cli.quiet():
            from keras_dcgan import devices, runs

            devices.start()
        generator = runs.load_generator(flags.run)
        classes = runs.load_classes(flags.run)
        labels = latents.labels(flags.seeds, latents.chosen_classes(flags.wanted_class, classes), classes)
        directions = latents.directions(generator, flags.directions)
        z = latents.truncate(latents.latents(flags.seeds, directions.shape[1]), flags.truncation)
        amounts = np.linspace(-flags.reach, flags.reach, flags.columns)
        strips = (
            z[:, None] + amounts[:, None] * directions[:, None, None]
        )  # direction, seed, column, component
        inputs = [strips.reshape(-1, z.shape[1]).astype(np.float32)]
        if labels is not None:
            inputs.append(np.tile(np.repeat(labels, flags.columns), len(directions)))
        drawn = progress.watched(images.draw(generator, inputs), "drawing", len(inputs[0]))
        with cli.writing("--out", flags.out):
            images.save(images.grid(np.stack(list(drawn)), flags.columns), flags.out)
    counts = f"{cli.counted(len(directions), 'direction')}, {cli.counted(len(z), 'strip')} each"
    print(f"{counts}, from {-flags.reach:g} to {flags.reach:g}, in {flags.out}")
    return 0


def odd(text: str) -> int:
    count = number(3, 99, kind=int)(text)
    if count % 2 == 0:
        raise cli.Expected(f"expected an odd number from 3 to 99, received {text!r}")
    return count


def parser() -> cli.Parser:
    result = cli.Parser(
        "keras_dcgan.explore",
        "Draws what becomes of pictures along the directions that a generator feels most.",
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
        ("--columns", "N", 9, odd, "pictures of a strip, an odd number: the seed's own is in the middle"),
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
    raise SystemExit(cli.run(main))
