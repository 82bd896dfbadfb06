"""The gradients of keras_dcgan.model.penalties against those that TensorFlow finds through second derivatives."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan.model import cpu_layers, networks
from keras_dcgan.model.losses import LOSSES, classification, gradient_penalty
from keras_dcgan.model.penalties import PiecewiseLinear, is_piecewise_linear


@pytest.mark.parametrize(
    "size, classes, group, stem, blocks, loss, layer_types",
    [
        ((16, 16), 0, 0, 0, 0, "relativistic", keras.layers),
        (
            (24, 17),
            0,
            4,
            2,
            1,
            "bce",
            cpu_layers,
        ),  # an odd side, and the gradient that cpu_layers takes otherwise
        ((16, 16), 3, 4, 3, 2, "relativistic", cpu_layers),
    ],
)
def test_the_gradient_is_that_of_loss_and_penalties(size, classes, group, stem, blocks, loss, layer_types):
    keras.utils.set_random_seed(0)
    network = networks.discriminator(
        size, 3, 4, classes, "none", group, stem, layer_types=layer_types, blocks=blocks
    )
    for layer in network.layers:
        if layer.name.endswith("_block_0_out"):  # 0 at the start, and then so are most gradients
            layer.kernel.assign(tf.random.normal(layer.kernel.shape, stddev=0.3))
    critic = PiecewiseLinear(network)
    body = keras.Model(network.inputs[0], critic.features)
    real, fakes = tf.random.normal((8, *size, 3)), tf.random.normal((8, *size, 3)) - 0.5
    labels = [tf.constant([0, 1, 2, 0, 1, 2, 0, 1])] if classes else []
    step = tf.function(
        lambda: critic.gradients(real, fakes, labels, LOSSES[loss], 0.7, 0.3, 2.0).gradients, autograph=False
    )
    found = step()

    def outputs(images):
        images = body(images)
        spread = [critic.deviation(tf.stop_gradient(images))] if group else []
        result = critic.head([images, *spread, *labels])
        return result if classes else [result]

    with tf.GradientTape() as tape:
        whole = LOSSES[loss].discriminator(outputs(real)[0], outputs(fakes)[0])
        whole += 0.7 * gradient_penalty(lambda images: outputs(images)[0], real)
        whole += 0.3 * gradient_penalty(lambda images: outputs(images)[0], fakes)
        whole += classification(labels[0], outputs(real)[1]) if classes else 0.0
        whole *= 2.0
    for ours, theirs in zip(found, tape.gradient(whole, critic.weights), strict=True):
        ours, theirs = tf.convert_to_tensor(ours).numpy(), tf.convert_to_tensor(theirs).numpy()
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * max(1e-3, np.abs(theirs).max()))


class Centred(keras.layers.Conv2D):
    def call(self, inputs):
        return super().call(inputs) - 1.0


def test_what_is_piecewise_linear():
    norms = {
        norm: is_piecewise_linear(networks.discriminator((16, 16), 1, 4, norm=norm))
        for norm in networks.NORMS
    }
    assert norms == {"none": True, "batch": False, "spectral": False}
    blocks = networks.discriminator((16, 16), 1, 4, norm="none", minibatch_std=2, blocks=1)
    assert is_piecewise_linear(blocks)
    layers = keras.layers

    def sequential(*body, score=layers.Conv2D):
        last = score(1, 1, name="score")
        return keras.Sequential([keras.Input((16, 16, 1)), *body, last, layers.Flatten(), layers.Dense(1)])

    assert is_piecewise_linear(
        sequential(layers.Conv2D(2, 4, use_bias=False), layers.LeakyReLU(0.1), layers.AveragePooling2D(2))
    )
    for body in (
        [],
        [layers.Conv2D(2, 4, activation="relu")],
        [layers.Conv2D(2, 4), layers.MaxPooling2D(2)],
        [layers.Conv2DTranspose(2, 4)],
        [layers.Conv2D(2, 4), layers.Activation("tanh")],
        [layers.Conv2D(2, 4), layers.BatchNormalization()],
        [layers.Conv2D(2, 4), layers.Rescaling(2.0, np.ones(2))],
        [Centred(2, 4)],
    ):
        assert not is_piecewise_linear(sequential(*body))
    tanh = layers.Conv2D(1, 1, activation="tanh", name="score")
    assert not is_piecewise_linear(sequential(layers.Conv2D(2, 4), score=lambda *_, **__: tanh))
    images = keras.Input((16, 16, 1))
    x = layers.Conv2D(2, 4)(images)
    for scored, last in (
        (layers.Concatenate()([x, layers.Activation("tanh")(x)]), []),
        (x, [layers.Activation("gelu")]),
        (x, [layers.ReLU()]),
    ):
        y = layers.Conv2D(1, 1, name="score")(scored)
        for layer in (*last, layers.Flatten(), layers.Dense(1)):
            y = layer(y)
        assert not is_piecewise_linear(keras.Model(images, y))
    spreads = [networks.MinibatchStd(2, name=name)(x) for name in ("one", "other")]
    for count, expected in ((1, True), (2, False)):
        scored = layers.Concatenate()([x, *spreads[:count]])
        logits = layers.Flatten()(layers.Conv2D(1, 13, name="score")(scored))
        one = keras.Model(images, logits)
        assert is_piecewise_linear(one) == expected
        assert PiecewiseLinear(one).deviation.name == "one"
    logits, of_features = layers.Flatten()(layers.Conv2D(1, 13, name="score")(x)), layers.Flatten()(x)
    product = layers.Add()([logits, layers.Dot(1)([of_features, of_features])])
    assert not is_piecewise_linear(keras.Model(images, product))
    one, other = (layers.Dense(1)(layers.Flatten()(x)) for _ in range(2))
    assert not is_piecewise_linear(keras.Model(images, layers.Add(name="score")([one, other])))
    nameless = keras.Sequential([keras.Input((16, 16, 1)), layers.Conv2D(2, 4), layers.Flatten()])
    assert not is_piecewise_linear(nameless)
    seen = networks.discriminator((16, 16), 1, 4, norm="none")
    early = layers.Flatten()(seen.get_layer("down_0_leaky").output)
    beside = layers.Add()([seen.output, layers.Dense(1)(early)])
    assert is_piecewise_linear(seen) and not is_piecewise_linear(keras.Model(seen.input, beside))
    twice = layers.LeakyReLU(0.2)
    shared = [layers.Conv2D(2, 4), twice, layers.Conv2D(2, 4), twice]
    assert not is_piecewise_linear(sequential(*shared))

    class Own(keras.Model):
        pass

    assert not is_piecewise_linear(Own())
