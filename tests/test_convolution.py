"""The same numbers as Keras' own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan import convolution


def outputs_and_gradients(layer, images):
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images)
        total = tf.reduce_sum(tf.cast(outputs, tf.float64) ** 2)
    return [outputs, *tape.gradient(total, [images, *layer.trainable_variables])]


@pytest.mark.parametrize("name, side", [("Conv2D", (8, 6)), ("Conv2DTranspose", (4, 3))])
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 0.03)])
def test_gradients_are_those_of_float64(name, side, precision, tolerance, monkeypatch):
    """Against Keras' layer in float64, on a grid where the matrix products are taken (counted: not passed by)."""
    calls, products = [], convolution.kernel_gradient
    monkeypatch.setattr(convolution, "kernel_gradient", lambda *args: calls.append(1) or products(*args))
    plain = getattr(keras.layers, name)(5, 4, 2, "same", dtype="float64")
    ours = getattr(convolution, name)(5, 4, 2, "same", dtype=precision)
    images = tf.random.stateless_normal((3, *side, 2), [1, 2], dtype=tf.float64)
    plain.build(images.shape), ours.build(images.shape)
    ours.set_weights(plain.get_weights())
    wanted, received = outputs_and_gradients(plain, images), outputs_and_gradients(ours, tf.cast(images, tf.float32))
    assert calls == [1]
    for one, other in zip(wanted, received, strict=True):
        scale = float(tf.reduce_max(tf.abs(one)))
        np.testing.assert_allclose(tf.cast(other, tf.float64), one, atol=tolerance * scale)


@pytest.mark.parametrize("name, side", [("Conv2D", (7, 8)), ("Conv2D", (64, 8)), ("Conv2DTranspose", (4, 32))])
def test_odd_and_large_grids_are_left_to_keras(name, side, monkeypatch):
    monkeypatch.setattr(convolution, "kernel_gradient", None)
    ours = getattr(convolution, name)(5, 4, 2, "same")
    plain = getattr(keras.layers, name)(5, 4, 2, "same")
    images = tf.random.stateless_normal((2, *side, 2), [1, 2])
    plain.build(images.shape), ours.build(images.shape)
    ours.set_weights(plain.get_weights())
    for one, other in zip(outputs_and_gradients(plain, images), outputs_and_gradients(ours, images), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_penalty_sees_through_it():
    """R1 needs the second derivative."""
    ours, plain = convolution.Conv2D(5, 4, 2, "same"), keras.layers.Conv2D(5, 4, 2, "same")
    images = tf.random.stateless_normal((3, 8, 8, 2), [1, 2])
    plain.build(images.shape), ours.build(images.shape)
    ours.set_weights(plain.get_weights())

    def gradient_of_penalty(layer):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(images)
                total = tf.reduce_sum(tf.nn.softplus(layer(images)))
            penalty = tf.reduce_sum(inner.gradient(total, images) ** 2)
        return outer.gradient(penalty, layer.trainable_variables[0])

    np.testing.assert_allclose(gradient_of_penalty(ours), gradient_of_penalty(plain), rtol=1e-3, atol=1e-4)
