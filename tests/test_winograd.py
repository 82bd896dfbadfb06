"""TensorFlow's strided convolutions, in fewer products."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from keras_dcgan import winograd

FINE, COARSE, KERNEL = (2, 8, 12, 3), (2, 4, 6, 5), (4, 4, 3, 5)
USUAL = {
    "down": lambda fine, kernel: tf.nn.conv2d(fine, kernel, 2, "SAME"),
    "up": lambda coarse, kernel: tf.nn.conv2d_transpose(coarse, kernel, FINE, 2, "SAME"),
    "kernel_gradient": lambda fine, coarse: tf.raw_ops.Conv2DBackpropFilter(
        input=fine, filter_sizes=KERNEL, out_backprop=coarse, strides=[1, 2, 2, 1], padding="SAME"
    ),
}
INPUTS = {"down": (FINE, KERNEL), "up": (COARSE, KERNEL), "kernel_gradient": (FINE, COARSE)}


def random(shape, seed):
    return tf.random.stateless_normal(shape, [seed, 7])


def derivatives(function, inputs):
    """-> the outputs, the first derivatives, and the derivatives of those."""
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            outputs = function(*inputs)
            total = tf.reduce_sum(outputs**3)
        first = inner.gradient(total, inputs)
        penalty = tf.add_n([tf.reduce_sum(gradient**2) for gradient in first])
    return [outputs, *first, *outer.gradient(penalty, inputs)]


@pytest.mark.parametrize("name", USUAL)
def test_it_is_the_convolution_and_so_are_its_derivatives(name):
    inputs = [random(shape, seed) for seed, shape in enumerate(INPUTS[name])]
    wanted, received = derivatives(USUAL[name], inputs), derivatives(getattr(winograd, name), inputs)
    for one, other in zip(wanted, received, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5 * np.abs(one).max())


def test_what_two_gradients_share_is_split_once():
    """Forward and weight gradient read the same nine parts of the image: the graph that runs makes them once."""

    @tf.function
    def step(fine, kernel):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            total = tf.reduce_sum(winograd.down(fine, kernel) ** 2)
        return tape.gradient(total, kernel)

    context.enable_run_metadata()
    step(random(FINE, 0), random(KERNEL, 1))
    graphs = context.export_run_metadata().partition_graphs
    context.disable_run_metadata()
    calls = [node.attr["f"].func.name for graph in graphs for node in graph.node if node.op == "PartitionedCall"]
    assert sum("split_fine" in name for name in calls) == 1
