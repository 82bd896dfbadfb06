"""All convolutions of a step as matrix products: for a race on a GPU, where XLA (TensorFlow 2.21) records products
in a CUDA graph, and starts convolutions one by one.

    with products.everywhere():
        gan = build(config, channels=3)

Those of kernel 4 and stride 2 are products of 2x2 blocks of pixels. Weights and results are those of Keras' own
layers. Not part of the package until a GPU has been seen to gain by it: `python -m tools.bench train --only
ours_auto,ours_auto_products`.
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

import keras
import tensorflow as tf

BatchNormalization = keras.layers.BatchNormalization
CORNERS = [(y, x) for y in (0, 1) for x in (0, 1)]  # of the blocks that a kernel covers


def _matrix(kernel: tf.Tensor) -> tf.Tensor:
    """(4, 4, fine, coarse) -> (16 * fine, coarse): block's y and x, pixel's y and x, channel."""
    fine, coarse = kernel.shape[2:]
    blocks = tf.reshape(kernel, [2, 2, 2, 2, fine, coarse])  # block's y, pixel's y, block's x, pixel's x
    return tf.reshape(tf.transpose(blocks, [0, 2, 1, 3, 4, 5]), [16 * fine, coarse])


def down(fine: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d with stride 2."""
    rows, columns = fine.shape[1] // 2, fine.shape[2] // 2
    blocks = tf.nn.space_to_depth(tf.pad(fine, [[0, 0], [1, 1], [1, 1], [0, 0]]), 2)
    covered = tf.concat([blocks[:, y : y + rows, x : x + columns] for y, x in CORNERS], axis=-1)
    return tf.matmul(covered, _matrix(kernel))


def up(coarse: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d_transpose with stride 2."""
    parts = tf.split(tf.matmul(coarse, _matrix(kernel), transpose_b=True), 4, axis=-1)
    blocks = tf.add_n(
        [tf.pad(part, [[0, 0], [y, 1 - y], [x, 1 - x], [0, 0]]) for part, (y, x) in zip(parts, CORNERS)]
    )
    return tf.nn.depth_to_space(blocks, 2)[:, 1:-1, 1:-1]


def slide(images: tf.Tensor, kernel: tf.Tensor, padding: str) -> tf.Tensor:
    """tf.nn.conv2d with stride 1 and a kernel of odd sides, or one that fits once."""
    height, width, channels, filters = kernel.shape
    if padding == "same":
        images = tf.pad(images, [[0, 0], [height // 2] * 2, [width // 2] * 2, [0, 0]])
    rows, columns = images.shape[1] - height + 1, images.shape[2] - width + 1
    corners = [(y, x) for y in range(height) for x in range(width)]
    covered = tf.concat([images[:, y : y + rows, x : x + columns] for y, x in corners], axis=-1)
    return tf.matmul(covered, tf.reshape(kernel, [height * width * channels, filters]))


class Conv2D(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        kernel = tf.convert_to_tensor(kernel)
        return down(inputs, kernel) if self.strides == (2, 2) else slide(inputs, kernel, self.padding)


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    def call(self, inputs):
        outputs = up(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return self.activation(outputs)


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """What is built meanwhile has no other convolutions."""
    from keras_dcgan.model import networks
    from keras_dcgan.training import build

    here = {"Conv2D": Conv2D, "Conv2DTranspose": Conv2DTranspose, "BatchNormalization": BatchNormalization}
    types = type("layers", (), here)
    with (
        mock.patch.object(build.keras, "layers", types),
        mock.patch.object(build, "cpu_layers", types),
        mock.patch.object(networks.layers, "Conv2D", Conv2D),
    ):
        yield
