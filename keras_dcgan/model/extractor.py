"""The discriminator as a pretrained network: the features of all of its layers, max-pooled to a grid of 4 x 4
(Radford et al. 2015, section 5).

    network = extractor(load_discriminator(run))       # images float32 (N, H, W, C) in [-1, 1] -> (N, dim)
    write(network, Path("features.keras"))
    vectors(network, images)                           # uint8 (N, H, W, C) -> float32 (N, dim)
"""

import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan import files
from keras_dcgan.model.networks import levels
from keras_dcgan.pictures import images
from keras_dcgan.progress import watched

GRID = 4
BATCH = 256


def extractor(discriminator: keras.Model, pool: str = "max") -> keras.Model:
    """images (N, height, width, channels) in [-1, 1] -> features float32 (N, 16 times the
    channels of all levels)."""
    kind, pooled = {"max": keras.layers.MaxPooling2D, "mean": keras.layers.AveragePooling2D}[pool], []
    for found in levels(discriminator):
        # Windows of one size that cover everything, and overlap where the side is no multiple of the grid's.
        strides = [side // GRID for side in found.shape[1:3]]
        window = [side - (GRID - 1) * stride for side, stride in zip(found.shape[1:3], strides)]
        pooled.append(keras.layers.Flatten()(kind(window, strides)(found)))
    return keras.Model(
        discriminator.inputs[0], keras.layers.Concatenate(name="features")(pooled), name="features"
    )


def write(network: keras.Model, out: Path):
    """NAME.keras, NAME.tflite, or the folder of a SavedModel. The latter two have one signature, `features`:
    images -> features."""
    with files.replacing(out) as beside:
        if out.suffix == ".keras":
            network.save(beside)
            return
        is_tflite = out.suffix == ".tflite"
        # A dynamic batch is slower, and GPU delegates refuse it.
        shape = (1 if is_tflite else None, *network.input_shape[1:])
        archive = keras.export.ExportArchive()
        archive.add_endpoint(
            "features",
            lambda images: {"features": network(images, training=False)},
            [tf.TensorSpec(shape, tf.float32, "images")],
        )
        saved_model = str(beside.with_suffix(""))
        archive.write_out(saved_model, verbose=False)
        if is_tflite:
            converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["features"])
            beside.write_bytes(converter.convert())


def with_random_weights(network: keras.Model, pictures: np.ndarray, seed: int) -> keras.Model:
    """The same network before it has learned anything, but with batch norm settled on these images: a fair
    rival."""
    keras.utils.set_random_seed(seed)
    result = keras.models.clone_model(network)
    for layer in result.layers:
        layer.momentum = 0.0  # of batch norm: one batch settles it
    result(images.from_uint8(pictures), training=True)
    return result


def vectors(network: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """uint8 (N, height, width, channels) -> float32 (N, dim)."""
    chunks = (pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH))
    found = (network.predict_on_batch(images.from_uint8(chunk)) for chunk in chunks)
    return np.concatenate(list(watched(found, "features", math.ceil(len(pictures) / BATCH), "batches")))
