"""Images -> vectors in which nearness means likeness: what FID, KID and the like are measured in.

embed = load("random")                  # no download; or "inception", or a MODEL.keras
embed.name                              # "random-1": figures of different names must never be compared
embed(images)                           # uint8 (N, height, width, C), C 1, 3 or 4 -> float32 (N, dim)
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan import devices, versions
from keras_dcgan.errors import Refused, Unavailable

KERAS_HOME = os.environ.get("KERAS_HOME", "~/.keras")  # Keras' own cache
CHUNK = 100  # images at once
INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"
INCEPTION_URL = f"https://storage.googleapis.com/tensorflow/keras-applications/inception_v3/{INCEPTION_FILE}"


class Embedding:
    """A model from images (N, height, width, 3) in [-1, 1] to vectors, and its name."""

    def __init__(self, name: str, model: keras.Model):
        self.name, self.model = name, model
        self.size = model.input_shape[1:3]
        self.length = model.output_shape[-1]  # of a vector
        self._run = tf.function(self._embed, autograph=False)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        vectors = np.empty((len(images), self.length), np.float32)
        for start in range(0, len(images), CHUNK):
            vectors[start : start + CHUNK] = self._run(np.ascontiguousarray(images[start : start + CHUNK]))
        return vectors

    def _embed(self, images):
        pictures = tf.cast(images, tf.float32)
        if pictures.shape[-1] == 1:
            pictures = tf.repeat(pictures, 3, axis=-1)
        elif pictures.shape[-1] == 4:  # over white
            alpha = pictures[..., 3:] / 255
            pictures = pictures[..., :3] * alpha + 255 * (1 - alpha)
        if None not in self.size and pictures.shape[1:3] != self.size:
            pictures = tf.image.resize(pictures, self.size, antialias=True)
        return tf.cast(self.model(pictures / 127.5 - 1, training=False), tf.float32)


@devices.keras_defaults()
def load(features: str, inception_weights: str | None = None) -> Embedding:
    """random, inception, or the path of a MODEL.keras -> Embedding. Raises Refused or
    Unavailable."""
    if features == "random":
        return Embedding("random-1", random_network())
    if features == "inception":
        return inception(inception_weights)
    return from_file(features)


def random_network(side: int = 32, widths: Iterable[int] = (32, 64, 128, 256), seed: int = 0) -> keras.Model:
    """Convolutions of random weights in the shape of a small VGG: images (N, side, side, 3) in [-1, 1] -> (N,
    1920).

    Naeem et al. (arXiv:2002.09797, 2020) propose such features for images that no pretrained network knows.
    Weights N(0, 2 / inputs) (He et al., arXiv:1502.01852, 2015) from NumPy's generator, so that they are the
    same everywhere. The vector is each block's output, averaged over the quarters of the image.
    """
    rng = np.random.default_rng(seed)
    x = images = keras.Input((side, side, 3))
    pooled, kernels = [], []
    for width in widths:
        for _ in range(2):
            kernels.append(rng.normal(0, np.sqrt(2 / (9 * x.shape[-1])), (3, 3, x.shape[-1], width)))
            x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, activation="relu")(x)
        pooled.append(keras.layers.Flatten()(keras.layers.AveragePooling2D(x.shape[1] // 2)(x)))
        x = keras.layers.MaxPooling2D()(x)
    model = keras.Model(images, keras.layers.Concatenate()(pooled))
    model.set_weights(kernels)
    return model


def inception(weights: str | None) -> Embedding:
    """Keras' InceptionV3 up to its average pooling: 2,048 numbers. These weights are Keras' own, so figures
    are near those of the papers, which took another port, but not comparable with them."""
    file = Path(weights or os.path.expanduser(os.path.join(KERAS_HOME, "models", INCEPTION_FILE)))
    if not file.is_file():
        problem = f"expected Inception's weights in {file}; fetch {INCEPTION_URL} and put it there"
        raise Unavailable("inception_weights" if weights else "features", problem)
    model = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=(299, 299, 3), pooling="avg"
    )
    try:
        model.load_weights(file)
    except Exception as error:  # Keras raises whatever its HDF5 reader raises
        why = versions.why_not(error, "")
        raise Refused("inception_weights", "Inception's weights", f"{file} ({why})") from error
    return Embedding(f"inception-{_digest(file)}", model)


def from_file(path: str) -> Embedding:
    if not Path(path).is_file():
        raise Unavailable("features", "random, inception or a .keras file", path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        why = versions.why_not(error, versions.newer(versions.of_keras_file(Path(path))))
        raise Refused("features", "a model that Keras can load", f"{path} ({why})") from error
    names = "input_shape", "output_shape"  # none of an unbuilt one
    shapes: list = [getattr(model, name, None) for name in names]
    if [len(shape) if isinstance(shape, tuple) else 0 for shape in shapes] != [4, 2] or shapes[0][-1] != 3:
        expected = "a model from images (N, H, W, 3) to (N, dim)"
        raise Refused("features", expected, f"{shapes[0]} to {shapes[1]}")
    return Embedding(f"{Path(path).stem}-{_digest(Path(path))}", model)


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]
