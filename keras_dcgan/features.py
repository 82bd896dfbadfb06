"""The discriminator as a pretrained network: `python -m keras_dcgan.features --run runs/imgs --out
features.keras`.

It has learned without labels what such pictures are made of. The file takes images, float32 in [-1, 1], and
answers vectors: the features of all layers, max-pooled to a grid of 4 x 4 (Radford et al. 2015, section 5),
or with `--pool mean` averaged. NAME.keras loads with plain Keras, NAME.tflite takes one image at a time, a
name without an ending becomes a SavedModel.

`--linear-probe DATA` measures what that is worth: how often a linear classifier is right on a folder of
classes with these vectors, with those of the same network before it has learned anything, and with bare
pixels.
"""

import math
import os
import tempfile
from pathlib import Path

import numpy as np

from keras_dcgan import cli, data, images, metrics, progress
from keras_dcgan.config import check_file, check_path, check_trained, load_config, one_of

GRID = 4
BATCH = 256
SEED = 0  # of the split, and of the weights that have learned nothing
FEWEST = 20  # images, of which a fifth is held out


@cli.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors("features"):
        check(flags)
        check_trained(flags.run)
        with cli.quiet():
            from keras_dcgan import devices, runs

            devices.start()
        config = load_config(flags.run)
        network = extractor(runs.load_discriminator(flags.run), flags.pool)
        if flags.out:
            with cli.writing("--out", flags.out), cli.quiet():
                write(network, Path(flags.out))
            print(f"{network.output_shape[1]:,} numbers an image, in {flags.out}")
        if flags.linear_probe:
            probe(flags.run, network, *labelled(flags.linear_probe, config, network.input_shape[-1]))
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
    return result


def check(flags):
    if not (flags.out or flags.linear_probe):
        raise ValueError("--out: expected it, or --linear-probe, or both, received neither")
    if flags.out and (Path(flags.out).suffix not in ("", ".keras", ".tflite") or Path(flags.out).is_dir()):
        raise ValueError(f"--out: expected NAME.keras, NAME.tflite or a new folder, received {flags.out}")
    if flags.out:
        check_file("--out", Path(flags.out))
    if flags.out and not flags.out.endswith(".keras"):  # TensorFlow writes it
        check_path("--out", Path(flags.out))


def extractor(discriminator, pool: str = "max"):
    """images (N, height, width, channels) in [-1, 1] -> features float32 (N, 16 times all layers'
    channels)."""
    import keras

    kind, pooled = {"max": keras.layers.MaxPooling2D, "mean": keras.layers.AveragePooling2D}[pool], []
    for layer in discriminator.layers:
        if isinstance(layer, keras.layers.LeakyReLU):
            # Windows of one size that cover everything, and overlap where the side is no multiple of the
            # grid's.
            strides = [side // GRID for side in layer.output.shape[1:3]]
            window = [side - (GRID - 1) * stride for side, stride in zip(layer.output.shape[1:3], strides)]
            pooled.append(keras.layers.Flatten()(kind(window, strides)(layer.output)))
    return keras.Model(
        discriminator.inputs[0], keras.layers.Concatenate(name="features")(pooled), name="features"
    )


def write(network, out: Path):
    """Beside its place first. The SavedModel and the .tflite file have one signature, `features`: images ->
    features."""
    import keras
    import tensorflow as tf

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".features.", suffix=".part", dir=out.parent) as workshop:
        beside, saved_model = Path(workshop) / out.name, Path(workshop) / "saved_model"
        if out.suffix == ".keras":
            network.save(beside)
        else:
            batch = (
                1 if out.suffix == ".tflite" else None
            )  # fixed: a dynamic one is slower, and GPU delegates refuse it
            inputs = [tf.TensorSpec((batch, *network.input_shape[1:]), tf.float32, "images")]
            archive = keras.export.ExportArchive()
            archive.add_endpoint(
                "features", lambda images: {"features": network(images, training=False)}, inputs
            )
            archive.write_out(str(saved_model), verbose=False)
            if out.suffix == ".tflite":
                converter = tf.lite.TFLiteConverter.from_saved_model(
                    str(saved_model), signature_keys=["features"]
                )
                beside.write_bytes(converter.convert())
        os.replace(beside if out.suffix else saved_model, out)


def labelled(source: str, config, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """-> the images, prepared as the run's own were, and their labels, in random order."""
    with cli.on_behalf_of("--linear-probe"), cli.on_behalf_of("--linear-probe", "--conditional"):
        prepared = data.prepare(source, config.size, channels, conditional=True, **config.preparation)
    if prepared.images is None or len(prepared.images) < FEWEST:
        raise ValueError(
            f"--linear-probe: expected {FEWEST} images or more, in folders or in a .zip or .npz, "
            f"received {source}"
        )
    count = len(metrics.distinct(prepared.images.reshape(len(prepared.images), -1)))
    if count < len(prepared.images):
        print(
            f"note: {count:,} of {len(prepared.images):,} images are distinct: some that are held "
            "out are learned from as well"
        )
    order = np.random.default_rng(SEED).permutation(len(prepared.images))
    return prepared.images[order], prepared.labels[order]


def probe(name: str, network, pictures: np.ndarray, labels: np.ndarray):
    rivals = {
        "pixels": lambda: images.from_uint8(pictures).reshape(len(pictures), -1),
        "random weights": lambda: vectors(with_random_weights(network, pictures[-BATCH:]), pictures),
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


def with_random_weights(network, pictures: np.ndarray):
    """The same network before it has learned anything, but with batch norm settled on these pictures: a fair
    rival."""
    import keras

    keras.utils.set_random_seed(SEED)
    result = keras.models.clone_model(network)
    for layer in result.layers:
        layer.momentum = 0.0  # of batch norm: one batch settles it
    result(images.from_uint8(pictures), training=True)
    return result


def vectors(network, pictures: np.ndarray) -> np.ndarray:
    """uint8 (N, height, width, channels) -> float32 (N, dim)."""
    chunks = (pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH))
    found = (network.predict_on_batch(images.from_uint8(chunk)) for chunk in chunks)
    return np.concatenate(
        list(progress.watched(found, "features", math.ceil(len(pictures) / BATCH), "batches"))
    )


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
