"""What a generator draws: latents -> images, chunk by chunk, compiled.

for image in draw(generator, latents(range(64), 100)): ...      # uint8 (height, width, channels)
"""

import weakref
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from keras_dcgan.pictures.images import to_uint8

CHUNK = 64  # images at once: more would need more memory than training did
_compiled: weakref.WeakKeyDictionary = (
    weakref.WeakKeyDictionary()
)  # a generator's own: to trace it takes half a second


def draw(generator: Callable, z: np.ndarray, labels: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """z float32 (N, latent_dim), and int32 labels (N,) of a conditional generator -> N images, uint8 (height,
    width, channels), one after the other.

    Always a whole chunk, the last one padded: one shape, one graph, and an image never depends on how many
    were asked for. Compiled, which is a quarter faster than Keras' own call.
    """
    call = compiled(generator)
    for start in range(0, len(z), CHUNK):
        rows = np.arange(start, start + CHUNK).clip(max=len(z) - 1)
        inputs = [part[rows] for part in (z, labels) if part is not None]
        images = call(inputs if len(inputs) > 1 else inputs[0])
        yield from to_uint8(images)[: len(z) - start]


def compiled(generator: Callable) -> Callable:
    """generator(inputs, training=False) as one graph."""
    if generator not in _compiled:
        alive = weakref.proxy(generator)  # or the graph would keep its own key
        _compiled[generator] = tf.function(lambda inputs: alive(inputs, training=False), autograph=False)
    return _compiled[generator]
