"""4x4 convolutions of stride 2 with 9 products where the usual way takes 16 (float32 on a CPU).

    outputs = down(fine, kernel)       # tf.nn.conv2d(fine, kernel, 2, "SAME")
    outputs = up(coarse, kernel)       # tf.nn.conv2d_transpose(coarse, kernel, ..., 2, "SAME")

With 2x2 blocks of pixels folded into channels such a convolution has a kernel of 2x2 blocks and stride 1. Winograd's minimal
filtering (Lavin and Gray, arXiv:1509.09308, 2016) makes two neighbours y0, y1 from three inputs b0, b1, b2 with three products, not
four:

    m0 = (b0 - b1) k0,   m1 = b1 (k0 + k1),   m2 = (b2 - b1) k1,   y0 = m0 + m1,   y1 = m1 + m2

and in two dimensions 2x2 outputs with 9 products, not 16. Fine image, coarse image and kernel each have their 9 parts; whichever of
the three is wanted, its parts are the products of the other two's. So the gradients cost as little, and theirs in turn.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

BORDER = [[1, 3], [1, 3]]  # "same" pads by a pixel on each side; two more, and there are as many odd blocks as even ones
BLOCKS = [[first + step for step in (0, 1, 4, 5)] for first in (0, 2, 8, 10)]  # of 4x4 pixels, row by row


def one_node(function: Callable) -> Callable:
    """A node of the step's graph, traced and optimized once for each shape, not at each of its dozen places: that would take
    seconds. The same node with the same inputs runs once. Nobody differentiates it: the products have gradients of their own."""
    compiled = tf.function(function, autograph=False, experimental_attributes={"_noinline": True})
    return functools.wraps(function)(lambda parts, *sides: compiled(tf.stop_gradient(parts), *sides))


@tf.custom_gradient
def down(fine: tf.Tensor, kernel: tf.Tensor):
    """(N, 4T, 4S, channels) and (4, 4, channels, filters) -> (N, 2T, 2S, filters)."""
    rows, columns = fine.shape[1] // 4, fine.shape[2] // 4
    outputs = join_coarse(tf.matmul(split_fine(fine), split_kernel_transposed(kernel), transpose_b=True), rows, columns)
    return outputs, lambda outwards: (up(outwards, kernel), kernel_gradient(fine, outwards))


@tf.custom_gradient
def up(coarse: tf.Tensor, kernel: tf.Tensor):
    """(N, 2T, 2S, filters) and (4, 4, channels, filters) -> (N, 4T, 4S, channels)."""
    rows, columns = coarse.shape[1] // 2, coarse.shape[2] // 2
    outputs = join_fine(tf.matmul(split_coarse(coarse), split_kernel(kernel), transpose_b=True), rows, columns)
    return outputs, lambda outwards: (down(outwards, kernel), kernel_gradient(outwards, coarse))


@tf.custom_gradient
def kernel_gradient(fine: tf.Tensor, coarse: tf.Tensor):
    """(N, 4T, 4S, channels) and (N, 2T, 2S, filters), one a layer's input and the other its output's gradient -> (4, 4, channels,
    filters)."""
    kernel = join_kernel(tf.matmul(split_fine(fine), split_coarse(coarse), transpose_a=True))
    return kernel, lambda outwards: (up(coarse, outwards), down(fine, outwards))


@one_node
def split_fine(fine: tf.Tensor) -> tf.Tensor:
    """-> (9, N T S, 4 channels): b0 - b1, b1 and b2 - b1 of the rows of blocks, and of the columns."""
    even_even, even_odd, odd_even, odd_odd = fold(fine)
    odd_even, even_odd, odd_odd = odd_even[:, :-1], even_odd[:, :, :-1], odd_odd[:, :-1, :-1]  # one more even block than odd ones

    def by_rows(even, odd):
        return even[:, :-1] - odd, odd, even[:, 1:] - odd

    def by_columns(even, odd):
        return even[:, :, :-1] - odd, odd, even[:, :, 1:] - odd

    pairs = zip(by_rows(even_even, odd_even), by_rows(even_odd, odd_odd))
    return merge([part for even, odd in pairs for part in by_columns(even, odd)])


@one_node
def join_fine(parts: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    """The transpose of split_fine."""
    parts = tf.unstack(tf.reshape(parts, [9, -1, rows, columns, parts.shape[-1]]))

    def along(axis, first, middle, last):
        """-> the even and the odd blocks, one more than `first` has of them."""
        before, after = ([[0, 0]] * axis + [border] + [[0, 0]] * (3 - axis) for border in ([1, 0], [0, 1]))
        return tf.pad(first, after) + tf.pad(last, before), tf.pad(middle - first - last, after)

    even, odd = zip(*(along(2, *parts[3 * row : 3 * row + 3]) for row in range(3)))
    (even_even, odd_even), (even_odd, odd_odd) = along(1, *even), along(1, *odd)
    return unfold([even_even, even_odd, odd_even, odd_odd])


@one_node
def split_coarse(coarse: tf.Tensor) -> tf.Tensor:
    """-> (9, N T S, filters): y0, y0 + y1 and y1 of the rows, and of the columns."""
    return merge(sums(*planes(coarse)))


@one_node
def join_coarse(parts: tf.Tensor, rows: int, columns: int) -> tf.Tensor:
    return interleave(sums_of_four(tf.reshape(parts, [9, -1, rows, columns, parts.shape[-1]])))


@one_node
def split_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """-> (9, 4 channels, filters): k0, k0 + k1 and k1 of the rows of blocks, and of the columns."""
    channels, filters = kernel.shape[2:]
    blocks = tf.transpose(tf.reshape(kernel, [2, 2, 2, 2, channels, filters]), [0, 2, 1, 3, 4, 5])
    return tf.stack(sums(*tf.unstack(tf.reshape(blocks, [4, 4 * channels, filters]))))


@one_node
def split_kernel_transposed(kernel: tf.Tensor) -> tf.Tensor:
    """-> (9, filters, 4 channels), which the product in `down` reads a quarter faster."""
    channels, filters = kernel.shape[2:]
    blocks = tf.transpose(tf.reshape(kernel, [2, 2, 2, 2, channels, filters]), [0, 2, 5, 1, 3, 4])
    return tf.stack(sums(*tf.unstack(tf.reshape(blocks, [4, filters, 4 * channels]))))


@one_node
def join_kernel(parts: tf.Tensor) -> tf.Tensor:
    channels, filters = parts.shape[1] // 4, parts.shape[2]
    blocks = tf.reshape(tf.stack(sums_of_four(parts)), [2, 2, 2, 2, channels, filters])
    return tf.reshape(tf.transpose(blocks, [0, 2, 1, 3, 4, 5]), [4, 4, channels, filters])


def sums(a, b, c, d) -> list:
    """Of a square (a, b), (c, d) each first, both, and second, by rows and by columns."""
    return [a, a + b, b, a + c, (a + b) + (c + d), b + d, c, c + d, d]


def sums_of_four(parts: tf.Tensor) -> list[tf.Tensor]:
    """The transpose of `sums`: of a square of 3x3 its four squares of 2x2, each added up."""
    parts = tf.unstack(parts)
    return [tf.add_n([parts[place + step] for step in (0, 1, 3, 4)]) for place in (0, 1, 3, 4)]


def fold(fine: tf.Tensor) -> list[tf.Tensor]:
    """The blocks of 2x2 pixels in even rows and even columns of blocks, in even and odd, odd and even, odd and odd ones: each
    (N, T + 1, S + 1, 4 channels)."""
    pixels = tf.split(tf.raw_ops.SpaceToBatchND(input=fine, block_shape=[4, 4], paddings=BORDER), 16)
    return [tf.concat([pixels[place] for place in block], -1) for block in BLOCKS]


def unfold(four: list[tf.Tensor]) -> tf.Tensor:
    pixels = dict(zip(sum(BLOCKS, []), (pixel for plane in four for pixel in tf.split(plane, 4, -1))))
    return tf.raw_ops.BatchToSpaceND(input=tf.concat([pixels[place] for place in range(16)], 0), block_shape=[4, 4], crops=BORDER)


def planes(coarse: tf.Tensor) -> list[tf.Tensor]:
    """Every other row and column, four times: each (N, T, S, filters)."""
    return tf.split(tf.raw_ops.SpaceToBatchND(input=coarse, block_shape=[2, 2], paddings=[[0, 0], [0, 0]]), 4)


def interleave(four: list[tf.Tensor]) -> tf.Tensor:
    return tf.raw_ops.BatchToSpaceND(input=tf.concat(four, 0), block_shape=[2, 2], crops=[[0, 0], [0, 0]])


def merge(nine: list[tf.Tensor]) -> tf.Tensor:
    return tf.reshape(tf.stack(nine), [9, -1, nine[0].shape[-1]])
