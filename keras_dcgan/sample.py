"""Draws new images: `python -m keras_dcgan.sample --run runs/imgs --seeds 0-63 --out grid.png`.

`--out` says what comes out: `.png` one grid; `.gif`, `.webp` or `.mp4` a walk from seed to seed, and from
class to class, that ends where it began; anything else is a folder with one file a seed, seed-0000.png and so
on. A seed draws the same picture here, in the exported files and on every device. In place of seeds,
`--latent z.npy` takes latents that keras_dcgan.edit has found, and `--per-class 500` fills a folder for each
class and writes manifest.json: a labelled data set, as `fit --conditional` reads it.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from keras_dcgan import cli, files, images, latents, progress
from keras_dcgan.config import check_file, check_folder, check_trained, number

FRAMES_PER_SECOND = 25
BLOCK = 16 * images.CHUNK  # seeds whose latents are in memory at once


@cli.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors("sample"):
        out = Path(flags.out)
        kind = kind_of(out)
        check(flags, kind)
        check_trained(flags.run)
        with cli.quiet():
            from keras_dcgan import devices, runs

            devices.start()
        generator = runs.load_generator(flags.run)
        classes, latent_dim = runs.load_classes(flags.run), generator.inputs[0].shape[-1]
        check_classes(flags, classes)
        chosen = latents.chosen_classes(flags.wanted_class, classes)
        if flags.latent and classes and not chosen:
            raise ValueError(
                f"--class: expected the class of these latents, one of {', '.join(classes)}, received none"
            )
        given = latents.load(flags.latent, latent_dim) if flags.latent else None
        seeds = flags.seeds if given is None else range(len(given))
        if flags.per_class:
            seeds = range(flags.per_class * len(chosen or classes))
        labels = latents.labels(seeds, chosen, classes)

        def z_of(rows):
            z = latents.latents(seeds[rows], latent_dim) if given is None else given[rows]
            return latents.truncate(z, flags.truncation)

        with cli.writing("--out", out):
            if kind == "walk":
                a_leg = round(flags.seconds * FRAMES_PER_SECOND)
                frames = walk(generator, z_of(slice(None)), labels, a_leg)
                pictures = np.stack(list(progress.watched(frames, "drawing", a_leg * len(seeds), "frames")))
                images.save_animation(pictures, out, FRAMES_PER_SECOND)
            elif kind == "grid":
                pictures = np.stack(
                    list(progress.watched(draw(generator, z_of, len(seeds), labels), "drawing", len(seeds)))
                )
                images.save(images.grid(pictures, flags.cols), out)
            else:
                pictures = [f"{'seed' if given is None else 'latent'}-{number:04d}.png" for number in seeds]
                if flags.per_class:
                    pictures = [f"{classes[label]}/{file}" for label, file in zip(labels, pictures)]
                drawn = progress.watched(draw(generator, z_of, len(seeds), labels), "drawing", len(seeds))
                images.save_all(drawn, (out / file for file in pictures))
            if flags.per_class:
                rows = [
                    {"file": file, "class": classes[label], "seed": seed}
                    for file, label, seed in zip(pictures, labels, seeds)
                ]
                about = {"run": flags.run, "truncation": flags.truncation}
                files.write(out / "manifest.json", json.dumps(about | {"pictures": rows}, indent=1) + "\n")
    print(f"{cli.counted(len(pictures), 'frame' if kind == 'walk' else 'picture')} in {out}")
    return 0


def parser() -> cli.Parser:
    result = cli.Parser(
        "keras_dcgan.sample",
        "Draws new images from a run: a grid, single files, a walk, a labelled data set.",
    )
    result.add_argument("--run", type=cli.path, required=True, metavar="DIR", help="the run directory")
    which = result.add_mutually_exclusive_group()
    which.add_argument(
        "--seeds", type=cli.seeds, default=range(64), metavar="0-63", help="which: 0-63 or 1,5,9 [0-63]"
    )
    count = number(1, 10**6, kind=int)
    which.add_argument(
        "--per-class",
        type=count,
        metavar="N",
        help="instead: so many of each class, in folders, with a manifest",
    )
    about = "or those of these latents, as keras_dcgan.edit writes them"
    which.add_argument("--latent", type=cli.path, metavar="Z.npy", help=about)
    about = "NAME.png: a grid; NAME.gif, .webp or .mp4: a walk that ends where it began; else a folder [sample.png]"
    result.add_argument("--out", type=cli.path, default="sample.png", metavar="PATH", help=about)
    about = (
        "of a conditional run: these classes, one after the other [all of them; a seed's number says which]"
    )
    result.add_argument("--class", dest="wanted_class", metavar="A,B", help=about)
    scale, about = number(0, 2), "scales the latents: below 1 more typical, less varied [1]"
    result.add_argument("--truncation", type=scale, default=1.0, metavar="T", help=about)
    result.add_argument("--cols", type=count, metavar="N", help="columns of a grid [as square as it gets]")
    seconds = number(1 / FRAMES_PER_SECOND, 60)
    result.add_argument(
        "--seconds", type=seconds, default=1.0, metavar="S", help="of a walk, from one seed to the next [1]"
    )
    return result


def kind_of(out: Path) -> str:
    suffix = out.suffix.lower()
    if suffix == ".png":
        return "grid"
    if suffix in images.ANIMATIONS:
        return "walk"
    if out.is_file() or (suffix and not out.is_dir()):
        raise ValueError(
            "--out: expected a name that ends in .png, .gif, .webp or .mp4, or a folder, received "
            f"{str(out)!r}"
        )
    return "folder"


def check(flags, kind: str):
    """What can be told before anything is loaded."""
    out = Path(flags.out)
    (check_folder if kind == "folder" else check_file)("--out", out)
    if flags.per_class and (kind != "folder" or (out.is_dir() and os.listdir(out))):
        raise ValueError(f"--out: expected a new or empty folder for --per-class, received {out}")
    if kind == "walk" and len(flags.seeds) < 2:
        raise ValueError(f"--seeds: expected at least 2 seeds to walk between, received {len(flags.seeds)}")
    if out.suffix.lower() == ".mp4":
        images.video_encoder()


def check_classes(flags, classes: list[str]):
    if flags.per_class and not classes:
        raise ValueError(
            f"--per-class: expected a run that was trained with --conditional, received {flags.run}"
        )
    if flags.per_class and (
        odd := [name for name in classes if not name or name.startswith(".") or {"/", "\\"} & set(name)]
    ):
        raise ValueError(
            f"--per-class: expected classes that folders can be named after, received {odd[0]!r}"
        )


def draw(
    generator, z_of: Callable[[slice], np.ndarray], count: int, labels: np.ndarray | None
) -> Iterator[np.ndarray]:
    """The pictures one after the other: uint8 (height, width, channels). `z_of`: rows below `count` -> their
    latents."""
    import tensorflow as tf

    compiled = tf.function(generator, autograph=False)  # a quarter faster than Keras' own call
    for start in range(0, count, BLOCK):
        rows = slice(start, start + BLOCK)
        yield from images.draw(compiled, [z_of(rows)] if labels is None else [z_of(rows), labels[rows]])


def walk(generator, stops: np.ndarray, labels: np.ndarray | None, frames: int) -> Iterator[np.ndarray]:
    """The same of a closed way through latents, in so many frames from each to the next. What the generator
    has learned to be a class goes over into the next one's as z does."""
    import keras
    import tensorflow as tf

    paths = [latents.walk(stops, frames)]
    if labels is not None:
        meaning = generator.get_layer("meaning")
        paths.append(latents.walk(np.asarray(meaning.embeddings)[labels], frames))
        generator = keras.Model([generator.inputs[0], meaning.output], generator.output)
    yield from images.draw(tf.function(generator, autograph=False), paths)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
