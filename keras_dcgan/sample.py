"""Draws new images: `python -m keras_dcgan.sample --run runs/imgs --seeds 0-63 --out grid.png`.

`--out` says what comes out: `.png` one grid; `.gif` or `.webp` a looping walk through the seeds; anything else is a folder with
one file a seed, seed-0000.png and so on. A seed draws the same picture here, in the exported files and on every device. In place of
seeds `--latent` takes latents that keras_dcgan.edit has found.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_dcgan import cli, images, latents
from keras_dcgan.config import number

SECONDS_A_LEG = 1.0  # of a walk, from one seed to the next
FRAMES_PER_SECOND = 25


def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors("sample"):
        out = Path(flags.out)
        kind = kind_of(out)
        if kind == "walk" and flags.seeds and len(flags.seeds) < 2:
            raise ValueError(f"--seeds: expected at least 2 seeds to walk between, received {len(flags.seeds)}")
        with cli.quiet():
            from keras_dcgan import devices, runs

            devices.start()
        generator = runs.load_generator(flags.run)
        latent_dim = generator.inputs[0].shape[-1]
        z = latents.load(flags.latent, latent_dim) if flags.latent else latents.latents(flags.seeds, latent_dim)
        z = latents.truncate(z, flags.truncation)
        numbers = flags.seeds or range(len(z))
        labels = labels_of(numbers, flags.wanted_class, runs.load_classes(flags.run), kind)
        if kind == "walk":
            z = latents.walk(z, round(SECONDS_A_LEG * FRAMES_PER_SECOND))
            labels = None if labels is None else np.full(len(z), labels[0])
        pictures = images.draw(generator, [z] if labels is None else [z, labels])
        if kind == "folder":
            for i, picture in zip(numbers, pictures):
                images.save(picture, out / f"{'seed' if flags.seeds else 'latent'}-{i:04d}.png")
        elif kind == "grid":
            images.save(images.grid(np.stack(list(pictures)), flags.cols), out)
        else:
            images.save_animation(np.stack(list(pictures)), out, FRAMES_PER_SECOND)
    print(f"{len(z)} {'frames' if kind == 'walk' else 'pictures'} in {out}")
    return 0


def parser() -> cli.Parser:
    result = cli.Parser("keras_dcgan.sample", "Draws new images from a run: a grid, single files, or a walk.")
    result.add_argument("--run", required=True, metavar="DIR", help="the run directory")
    which = result.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", type=cli.flag_type(cli.seeds), metavar="0-63", help="which pictures: 0-63 or 1,5,9")
    which.add_argument("--latent", metavar="Z.npy", help="or those of these latents, as keras_dcgan.edit writes them")
    result.add_argument(
        "--out", required=True, metavar="PATH", help="NAME.png: a grid; NAME.gif, NAME.webp: a looping walk; else a folder"
    )
    result.add_argument(
        "--class", dest="wanted_class", metavar="C", help="of a conditional run: which class [seed by seed, in turn]"
    )
    result.add_argument(
        "--truncation",
        type=cli.flag_type(number(0, 2)),
        default=1.0,
        metavar="T",
        help="scales the latents: below 1 more typical, less varied [1]",
    )
    result.add_argument(
        "--cols", type=cli.flag_type(number(1, kind=int)), metavar="N", help="columns of a grid [as square as it gets]"
    )
    return result


def kind_of(out: Path) -> str:
    if out.suffix.lower() == ".png":
        return "grid"
    if out.suffix.lower() in images.ANIMATIONS:
        return "walk"
    if out.suffix and not out.is_dir():
        raise ValueError(f"--out: expected a name that ends in .png, .gif or .webp, or a folder, received {str(out)!r}")
    return "folder"


def labels_of(seeds: Sequence[int], wanted: str | None, classes: list[str], kind: str) -> np.ndarray | None:
    """A label for each seed, or None where the run knows no classes."""
    if not classes:
        if wanted is not None:
            raise ValueError(f"--class: expected a run that was trained with --conditional, received --class {wanted}")
        return None
    if wanted is None:
        if kind == "walk":
            raise ValueError(f"--class: expected the class to walk in, one of {', '.join(classes)}, received none")
        return np.array([seed % len(classes) for seed in seeds], np.int32)
    if wanted not in classes:
        raise ValueError(f"--class: expected one of {', '.join(classes)}, received {wanted!r}")
    return np.full(len(seeds), classes.index(wanted), np.int32)


if __name__ == "__main__":
    raise SystemExit(main())
