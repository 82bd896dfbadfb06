"""The discriminator as a pretrained network: `python -m keras_dcgan.features --run runs/imgs --out
features.keras`.

It has learned without labels what such images are made of. The file takes images, float32 in [-1, 1], and
answers vectors: the features of all layers, max-pooled to a grid of 4 x 4 (Radford et al. 2015, section 5),
or with `--pool mean` averaged. NAME.keras loads with plain Keras, NAME.tflite takes one image at a time, a
name without an ending becomes a SavedModel.

`--linear-probe DATA` measures what that is worth: how often a linear classifier is right on a folder of
classes with these vectors, with those of the same network before it has learned anything, and with bare
pixels.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_dcgan import cli, files, process
from keras_dcgan.cli import one_of
from keras_dcgan.config import TrainConfig
from keras_dcgan.data.prepare import prepare
from keras_dcgan.errors import Refused, argument
from keras_dcgan.measure import metrics
from keras_dcgan.pictures import images
from keras_dcgan.runs.directory import Run

if TYPE_CHECKING:
    import keras

VERB = "features"

SEED = 0  # of the split, and of the weights that have learned nothing
FEWEST = 20  # images, of which a fifth is held out


@process.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors(VERB):
        check(flags)
        run = Run(flags.run)
        run.check_trained()
        config = dataclasses.replace(run.config, cache=flags.cache or run.config.cache)
        with process.importing():
            from keras_dcgan import devices
            from keras_dcgan.model.extractor import extractor, write
            from keras_dcgan.runs import checkpoints

            devices.start()
        network = extractor(checkpoints.load_discriminator(run), flags.pool)
        if flags.out:
            with cli.writing("out", flags.out), process.quiet():
                write(network, Path(flags.out))
            print(f"{network.output_shape[1]:,} numbers an image, in {flags.out}")
        if flags.linear_probe:
            with cli.user_errors(VERB, dict.fromkeys(cli.OF_IMAGES, "--linear-probe")):
                pictures, labels = labelled(flags.linear_probe, config, network.input_shape[-1])
            probe(flags.run, network, pictures, labels)
            if config.conditional:
                print("note: this run has learned from labels; judge it by images that it has not seen")
    return 0


def parser() -> cli.Parser:
    result = cli.Parser(
        "keras_dcgan.features", "Makes a feature extractor of a run's discriminator, and measures it."
    )
    result.add_argument("--run", type=cli.path, required=True, metavar="DIR", help="the run directory")
    result.add_argument(
        "--out",
        type=cli.path,
        metavar="PATH",
        help="NAME.keras, NAME.tflite, or a new folder for a SavedModel",
    )
    about = "of each cell of the grid the largest or the mean; mean where labels are many [max]"
    result.add_argument("--pool", type=one_of("max", "mean"), default="max", metavar="max|mean", help=about)
    about = "folders that are classes: measure a linear classifier on them"
    result.add_argument("--linear-probe", type=cli.source, metavar="DATA", help=about)
    result.add_argument("--cache", type=cli.path, metavar="DIR", help=cli.CACHE)
    return result


def check(flags: argparse.Namespace):
    """What can be told before anything is loaded."""
    if not (flags.out or flags.linear_probe):
        raise Refused("out", f"it, or {argument('linear_probe')}, or both", "neither")
    if flags.cache and not flags.linear_probe:
        raise Refused("cache", f"to stand with {argument('linear_probe')}", flags.cache)
    if not flags.out:
        return
    out = Path(flags.out)
    if out.suffix not in ("", ".keras", ".tflite") or out.is_dir():
        raise Refused("out", "NAME.keras, NAME.tflite or a new folder", out)
    files.check_file(out, "out")
    if out.suffix != ".keras":  # TensorFlow writes it
        files.check_path(out, "out")


def labelled(source: str, config: TrainConfig, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """-> the images, prepared as the run's own were, and their labels, in random order."""
    prepared = prepare(source, config.size, channels, conditional=True, **config.preparation)
    pictures, labels = prepared.in_order(np.random.default_rng(SEED).permutation(len(prepared)))
    if len(pictures) < FEWEST:
        expected = f"{FEWEST} images or more, in folders or in a .zip or .npz"
        raise Refused("source", expected, source)
    count = len(metrics.distinct(pictures.reshape(len(pictures), -1)))
    if count < len(pictures):
        print(
            f"note: {count:,} of {len(pictures):,} images are distinct: some that are held "
            "out are learned from as well"
        )
    return pictures, labels


def probe(name: str, network: keras.Model, pictures: np.ndarray, labels: np.ndarray):
    """Prints how often a linear classifier is right with its vectors, and with those of two rivals."""
    from keras_dcgan.model.extractor import BATCH, vectors, with_random_weights

    rivals = {
        "pixels": lambda: images.from_uint8(pictures).reshape(len(pictures), -1),
        "random weights": lambda: vectors(with_random_weights(network, pictures[-BATCH:], SEED), pictures),
        name: lambda: vectors(network, pictures),
    }
    held_out = len(labels) // 5
    print(
        f"{len(labels):,} images in {labels.max() + 1} classes, {held_out:,} of them held out (seed {SEED})"
    )
    for rival, of_pictures in rivals.items():
        found = of_pictures()
        right = metrics.linear_probe(found, labels, held_out)
        error = np.sqrt(right * (1 - right) / held_out)
        print(
            f"  {rival:<32}{found.shape[1]:>8,} numbers{100 * right:>8.1f} % right, ± {100 * error:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    raise SystemExit(process.run(main))
