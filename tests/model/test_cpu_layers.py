"""The same numbers as Keras' own layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan.model import cpu_layers


def outputs_and_gradients(layer, images):
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = layer(images)
        total = tf.reduce_sum(
            tf.cast(outputs, tf.float64) ** 3
        )  # not the square: of a batch norm that is always the same
    return [outputs, *tape.gradient(total, [images, *layer.trainable_variables])]


@pytest.mark.parametrize("name, side", [("Conv2D", (8, 6)), ("Conv2DTranspose", (4, 3))])
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 0.03)])
def test_gradients_are_those_of_float64(name, side, precision, tolerance, monkeypatch):
    """Against Keras' layer in float64, on a grid where the matrix products are taken (counted: not passed
    by)."""
    calls, products = [], cpu_layers.kernel_gradient
    monkeypatch.setattr(cpu_layers, "kernel_gradient", lambda *args: calls.append(1) or products(*args))
    plain = getattr(keras.layers, name)(5, 4, 2, "same", dtype="float64")
    ours = getattr(cpu_layers, name)(5, 4, 2, "same", dtype=precision)
    images = tf.random.stateless_normal((3, *side, 2), [1, 2], dtype=tf.float64)
    plain.build(images.shape), ours.build(images.shape)
    ours.set_weights(plain.get_weights())
    wanted, received = (
        outputs_and_gradients(plain, images),
        outputs_and_gradients(ours, tf.cast(images, tf.float32)),
    )
    assert calls == [1]
    for one, other in zip(wanted, received, strict=True):
        scale = float(tf.reduce_max(tf.abs(one)))
        np.testing.assert_allclose(tf.cast(other, tf.float64), one, atol=tolerance * scale)


@pytest.mark.parametrize(
    "name, side", [("Conv2D", (7, 8)), ("Conv2D", (64, 8)), ("Conv2DTranspose", (4, 32))]
)
def test_odd_and_large_grids_are_left_to_keras(name, side, monkeypatch):
    monkeypatch.setattr(cpu_layers, "kernel_gradient", None)
    ours = getattr(cpu_layers, name)(5, 4, 2, "same")
    plain = getattr(keras.layers, name)(5, 4, 2, "same")
    images = tf.random.stateless_normal((2, *side, 2), [1, 2])
    plain.build(images.shape), ours.build(images.shape)
    ours.set_weights(plain.get_weights())
    for one, other in zip(
        outputs_and_gradients(plain, images), outputs_and_gradients(ours, images), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", [{"scale": True}, {"scale": False}])
@pytest.mark.parametrize("precision, tolerance", [("float32", 1e-5), ("mixed_bfloat16", 0.03)])
def test_batch_norm_is_that_of_float64_and_one_operation(options, precision, tolerance, monkeypatch):
    calls, fused = [], tf.raw_ops.FusedBatchNormV3
    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", lambda **inputs: calls.append(1) or fused(**inputs))
    options |= {"momentum": 0.75, "epsilon": 1e-3}
    plain = keras.layers.BatchNormalization(dtype="float64", **options)
    ours = cpu_layers.BatchNormalization(dtype=precision, **options)
    images = 3 + 2 * tf.random.stateless_normal((3, 4, 6, 5), [1, 2], dtype=tf.float64)
    plain.build(images.shape), ours.build(images.shape)
    weights = [np.linspace(1, 2, 5) + number for number in range(len(plain.weights))]
    plain.set_weights(weights), ours.set_weights(weights)
    training = [lambda images, layer=layer: layer(images, training=True) for layer in (plain, ours)]
    for call, layer in zip(training, (plain, ours)):
        call.trainable_variables = layer.trainable_variables
    wanted, received = (
        outputs_and_gradients(training[0], images),
        outputs_and_gradients(training[1], tf.cast(images, tf.float32)),
    )
    assert calls == [1]
    wanted += [plain.moving_mean, plain.moving_variance, plain(images)]
    received += [ours.moving_mean, ours.moving_variance, ours(tf.cast(images, tf.float32))]
    assert calls == [1]  # for use there are the moving statistics
    for one, other in zip(wanted, received, strict=True):
        one, other = (tf.cast(tf.convert_to_tensor(part), tf.float64) for part in (one, other))
        np.testing.assert_allclose(other, one, atol=tolerance * float(tf.reduce_max(tf.abs(one))))


def test_batch_norm_of_several_devices_is_left_to_keras(monkeypatch):
    monkeypatch.setattr(tf.raw_ops, "FusedBatchNormV3", None)
    layer = cpu_layers.BatchNormalization(synchronized=True)
    assert layer(tf.random.stateless_normal((3, 4, 4, 2), [1, 2]), training=True).shape == (3, 4, 4, 2)


@pytest.mark.parametrize("name, arguments", [("Conv2D", (5, 4, 2, "same")), ("BatchNormalization", ())])
def test_the_penalty_sees_through_it(name, arguments):
    """R1 needs the second derivative."""
    ours, plain = getattr(cpu_layers, name)(*arguments), getattr(keras.layers, name)(*arguments)
    images = tf.random.stateless_normal((3, 8, 8, 2), [1, 2])
    plain.build(images.shape), ours.build(images.shape)
    ours.set_weights(plain.get_weights())

    def gradient_of_penalty(layer):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(images)
                total = tf.reduce_sum(tf.nn.softplus(3 * layer(images, training=True)))
            penalty = tf.reduce_sum(inner.gradient(total, images) ** 2)
        return outer.gradient(penalty, layer.trainable_variables[0])

    wanted = gradient_of_penalty(plain)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(gradient_of_penalty(ours), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
