"""Draws new images: `python -m keras_dcgan.sample --run runs/imgs --seeds 0-63 --out grid.png`.

`--out` says what comes out: `.png` one grid; `.gif`, `.webp` or `.mp4` a walk from seed to seed, and from
class to class, that ends where it began; anything else is a folder with one file a seed, seed-0000.png and so
on. A seed draws the same image here, in the exported files and on every device. In place of seeds,
`--latent z.npy` takes latents that keras_dcgan.edit has found, and `--per-class 500` fills a folder for each
class and writes manifest.json: a labelled data set, as `fit --conditional` reads it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_dcgan import cli, files, process
from keras_dcgan.cli import number
from keras_dcgan.errors import Refused, argument, counted
from keras_dcgan.pictures import images, latents
from keras_dcgan.progress import watched
from keras_dcgan.runs.directory import Run

if TYPE_CHECKING:
    import keras

VERB = "sample"
FRAMES_PER_SECOND = 25
BLOCK = 1024  # seeds whose latents are in memory at once
MOST_BYTES = 2**31  # of a grid or a walk, which is in memory three times over


@process.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors(VERB):
        out = Path(flags.out)
        kind = kind_of(out)
        check(flags, kind)
        generator, classes = load(Run(flags.run))
        order = ordered(flags, generator.inputs[0].shape[-1], classes)
        seconds = flags.seconds or 1.0
        if kind != "folder":
            frames = round(seconds * FRAMES_PER_SECOND) if kind == "walk" else 1
            check_count(flags, kind, len(order), frames * math.prod(generator.output_shape[1:]))
        with cli.writing("out", out):
            if kind == "walk":
                count = write_walk(generator, order, out, seconds)
            elif kind == "grid":
                count = write_grid(generator, order, out, flags.cols)
            else:
                count = write_files(generator, order, out)
            if flags.per_class:
                write_manifest(order, out, flags)
    print(f"{counted(count, 'frame' if kind == 'walk' else 'image')} in {out}")
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
        "--seconds", type=seconds, metavar="S", help="of a walk, from one seed to the next [1]"
    )
    return result


def kind_of(out: Path) -> str:
    """What the name of the result says that it is: grid, walk or folder."""
    suffix = out.suffix.lower()
    if suffix == ".png":
        return "grid"
    if suffix in images.ANIMATIONS:
        return "walk"
    if out.is_file() or (suffix and not out.is_dir()):
        expected = "a name that ends in .png, .gif, .webp or .mp4, or a folder"
        raise Refused("out", expected, repr(str(out)))
    return "folder"


def check(flags: argparse.Namespace, kind: str):
    """What can be told before anything is loaded."""
    out = Path(flags.out)
    (files.check_folder if kind == "folder" else files.check_file)(out, "out")
    if flags.per_class and (kind != "folder" or (out.is_dir() and os.listdir(out))):
        raise Refused("out", f"a new or empty folder for {argument('per_class')}", out)
    if kind == "walk":
        check_count(flags, kind, 2 if flags.latent else len(flags.seeds), 1)
    for name, typed, fitting, ending in (
        ("cols", flags.cols, "grid", ".png"),
        ("seconds", flags.seconds, "walk", ".webp"),
    ):
        if typed and kind != fitting:
            raise Refused(name, f"a {fitting}, such as {argument('out')} NAME{ending}", f"it with {out}")
    if out.suffix.lower() == ".mp4":
        images.video_encoder()
    Run(flags.run).check_trained()


def check_count(flags: argparse.Namespace, kind: str, count: int, image_bytes: int):
    """Raises Refused where there are too few to walk between, or too many for one file, each of so many bytes."""
    name, most = "latent" if flags.latent else "seeds", MOST_BYTES // image_bytes
    if kind == "walk" and count < 2:
        raise Refused(name, f"at least 2 {'latents' if flags.latent else 'seeds'} to walk between", count)
    if kind == "walk" and most < 2:
        raise Refused("seconds", "less, for walks of images of this size", f"{flags.seconds or 1:g}")
    if count > most:
        raise Refused(name, f"at most {most:,} in one file of this size", f"{count:,}")


def load(run: Run) -> tuple[keras.Model, list[str]]:
    """-> the run's best generator and its classes."""
    with process.importing():
        from keras_dcgan import devices
        from keras_dcgan.runs import checkpoints

        devices.start()
    return checkpoints.load_generator(run), run.classes


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be drawn."""

    seeds: Sequence[int]  # or the numbers of given latents
    latents: np.ndarray | None  # those, float32 (N, latent_dim)
    latent_dim: int
    truncation: float
    labels: np.ndarray | None  # int32 (N,) of a conditional run
    names: list[str]  # of the files, where each image is one

    def __len__(self) -> int:
        return len(self.seeds)

    def z(self, rows: slice = slice(None)) -> np.ndarray:
        """float32 (N, latent_dim)"""
        given = self.latents
        z = latents.latents(self.seeds[rows], self.latent_dim) if given is None else given[rows]
        return latents.truncate(z, self.truncation)


def ordered(flags: argparse.Namespace, latent_dim: int, classes: list[str]) -> Order:
    """What the flags ask of a run of these classes. Raises Refused."""
    if flags.per_class:
        check_folder_names(classes, flags.run)
    chosen = latents.chosen_classes(flags.wanted_class, classes)
    if flags.latent and classes and not chosen:
        raise Refused("wanted", f"the class of these latents, one of {', '.join(classes)}", "none")
    given = latents.load(flags.latent, latent_dim) if flags.latent else None
    seeds = flags.seeds if given is None else range(len(given))
    if flags.per_class:
        seeds = range(flags.per_class * len(chosen or classes))
    labels = latents.labels(seeds, chosen, classes)
    names = [f"{'seed' if given is None else 'latent'}-{seed:04d}.png" for seed in seeds]
    if flags.per_class and labels is not None:
        names = [f"{classes[label]}/{file}" for label, file in zip(labels, names)]
    return Order(seeds, given, latent_dim, flags.truncation, labels, names)


def check_folder_names(classes: list[str], run: str):
    if not classes:
        raise Refused("per_class", f"a run that was trained with {argument('conditional')}", run)
    if odd := [name for name in classes if not name or name.startswith(".") or {"/", "\\"} & set(name)]:
        raise Refused("per_class", "classes that folders can be named after", repr(odd[0]))


def drawn(generator: keras.Model, order: Order) -> Iterator[np.ndarray]:
    """The images one after the other: uint8 (height, width, channels)."""
    from keras_dcgan.pictures.draw import draw

    for start in range(0, len(order), BLOCK):
        rows = slice(start, start + BLOCK)
        yield from draw(generator, order.z(rows), None if order.labels is None else order.labels[rows])


def write_grid(generator: keras.Model, order: Order, out: Path, columns: int | None = None) -> int:
    """All in one PNG -> how many."""
    found = np.stack(list(watched(drawn(generator, order), "drawing", len(order))))
    images.save(images.grid(found, columns), out)
    return len(found)


def write_files(generator: keras.Model, order: Order, out: Path) -> int:
    """A PNG each -> how many."""
    found = watched(drawn(generator, order), "drawing", len(order))
    images.save_all(found, (out / name for name in order.names))
    return len(order)


def write_walk(generator: keras.Model, order: Order, out: Path, seconds: float) -> int:
    """A closed way through the latents, so long from each to the next -> how many frames."""
    frames = round(seconds * FRAMES_PER_SECOND)
    found = watched(walk(generator, order, frames), "drawing", frames * len(order), "frames")
    images.save_animation(np.stack(list(found)), out, FRAMES_PER_SECOND)
    return frames * len(order)


def walk(generator: keras.Model, order: Order, frames: int) -> Iterator[np.ndarray]:
    """The images on that way, in so many frames from each to the next. What the generator has learned to be a
    class goes over into the next one's as z does."""
    import keras

    from keras_dcgan.pictures.draw import draw

    paths = [latents.walk(order.z(), frames)]
    if order.labels is not None:
        meaning = generator.get_layer("meaning")
        paths.append(latents.walk(np.asarray(meaning.embeddings)[order.labels], frames))
        generator = keras.Model([generator.inputs[0], meaning.output], generator.output)
    yield from draw(generator, *paths)


def write_manifest(order: Order, out: Path, flags: argparse.Namespace):
    """manifest.json: for each file its class and its seed."""
    rows = [
        {"file": name, "class": os.path.dirname(name), "seed": seed}
        for name, seed in zip(order.names, order.seeds)
    ]
    about = {"run": flags.run, "truncation": flags.truncation, "pictures": rows}
    files.write(out / "manifest.json", json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(process.run(main))
