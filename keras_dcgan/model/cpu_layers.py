"""Keras' Conv2D and Conv2DTranspose of kernel 4, stride 2, "same", and its BatchNormalization, as a CPU
trains them faster. Weights and results are those of Keras' own layers, of which the averaged generator is
made.

    layer = Conv2D(512, 4, 2, "same", dtype="mixed_bfloat16")         # as keras.layers.Conv2D

oneDNN takes the weight gradient of a strided convolution on a small grid far below what the cores can do.
With 2x2 blocks of pixels folded into channels it is four matrix products, one for each of the blocks that a
4x4 kernel covers, and that is twice as fast in float32 at 8 -> 4 pixels, and in bfloat16 up to 16 -> 8
(TensorFlow 2.21, batch 64; `python -m tools.bench train`).

Keras makes batch norm of a dozen operations, each of which goes through the whole of its input; TensorFlow
has it as one, which takes half the time.
"""

import keras
import tensorflow as tf

GAINS_UP_TO = {"float32": 4, "bfloat16": 8}  # cells on the coarse side; on larger grids oneDNN is ahead


def kernel_gradient(fine: tf.Tensor, coarse: tf.Tensor) -> tf.Tensor:
    """Gradient of the 4x4 kernel between `fine` (N, 2R, 2C, channels) and `coarse` (N, R, C, filters), of
    which one is the layer's input and the other its output's gradient -> (4, 4, channels, filters)."""
    channels, (rows, columns, filters) = fine.shape[-1], coarse.shape[1:]
    blocks = tf.nn.space_to_depth(
        tf.pad(fine, [[0, 0], [1, 1], [1, 1], [0, 0]]), 2
    )  # "same" pads by a pixel on each side
    transposed = tf.reshape(coarse, [-1, filters])
    products = [
        tf.matmul(
            transposed,
            tf.reshape(blocks[:, y : y + rows, x : x + columns], [-1, 4 * channels]),
            transpose_a=True,
        )
        for y in (0, 1)
        for x in (0, 1)
    ]
    kernel = tf.reshape(
        tf.stack(products), [2, 2, filters, 2, 2, channels]
    )  # block's y and x, filter, pixel's y and x, channel
    return tf.reshape(tf.transpose(kernel, [0, 3, 1, 4, 5, 2]), [4, 4, channels, filters])


@tf.custom_gradient
def down(fine: tf.Tensor, kernel: tf.Tensor):
    """tf.nn.conv2d with stride 2."""

    def gradient(outwards):
        return tf.nn.conv2d_transpose(outwards, kernel, tf.shape(fine), 2, "SAME"), kernel_gradient(
            fine, outwards
        )

    return tf.nn.conv2d(fine, kernel, 2, "SAME"), gradient


@tf.custom_gradient
def up(coarse: tf.Tensor, kernel: tf.Tensor):
    """tf.nn.conv2d_transpose with stride 2."""
    rows, columns = coarse.shape[1:3]

    def gradient(outwards):
        return tf.nn.conv2d(outwards, kernel, 2, "SAME"), kernel_gradient(outwards, coarse)

    shape = [tf.shape(coarse)[0], 2 * rows, 2 * columns, kernel.shape[2]]
    return tf.nn.conv2d_transpose(coarse, kernel, shape, 2, "SAME"), gradient


def gains(layer: keras.Layer, rows: int, columns: int) -> bool:
    return max(rows, columns) <= GAINS_UP_TO.get(layer.compute_dtype, 0)


class Conv2D(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        rows, columns = inputs.shape[1:3]
        if rows % 2 or columns % 2 or not gains(self, rows // 2, columns // 2):
            return super().convolution_op(inputs, kernel)
        return down(inputs, tf.convert_to_tensor(kernel))


class Conv2DTranspose(keras.layers.Conv2DTranspose):
    def call(self, inputs):
        if not gains(self, *inputs.shape[1:3]):
            return super().call(inputs)
        outputs = up(inputs, tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs += tf.convert_to_tensor(self.bias)
        return self.activation(outputs)


class BatchNormalization(keras.layers.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable) or self.synchronized or self.compute_dtype == "float16":
            return super().call(inputs, training, mask)
        channels = inputs.shape[-1]
        scale, offset = (
            tf.convert_to_tensor(weight) if weight is not None else tf.fill([channels], value)
            for weight, value in ((self.gamma, 1.0), (self.beta, 0.0))
        )
        none = tf.zeros([0])  # of the statistics so far: the layer's own code mixes them in
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=none, variance=none, epsilon=self.epsilon
        )
        numbers = inputs.shape.num_elements() or tf.cast(tf.size(inputs), tf.float32)
        for moving, new in (
            (self.moving_mean, mean),
            (self.moving_variance, variance * (1 - channels / numbers)),
        ):  # not Bessel's
            moving.value.assign_sub((moving.value - new) * (1 - self.momentum))
        return outputs
