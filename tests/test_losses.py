import math

import pytest
import tensorflow as tf

from keras_dcgan.losses import LOSSES

REAL, FAKE = [[2.0], [0.0]], [[-3.0], [1.0]]


@pytest.mark.parametrize(
    "name, discriminator, generator",
    [
        (
            "bce",
            # -log sigmoid(2), -log sigmoid(0); -log(1 - sigmoid(-3)), -log(1 - sigmoid(1))
            (math.log1p(math.exp(-2)) + math.log(2)) / 4 + (math.log1p(math.exp(-3)) + math.log1p(math.e)) / 4,
            (math.log1p(math.exp(3)) + math.log1p(math.exp(-1))) / 2,
        ),
        ("hinge", (0 + 1) / 2 + (0 + 2) / 2, 1.0),
        ("least_squares", ((1 + 1) / 2 + (4 + 4) / 2) / 2, (16 + 0) / 4),
    ],
)
def test_losses_by_hand(name, discriminator, generator):
    loss = LOSSES[name]
    assert float(loss.discriminator(tf.constant(REAL), tf.constant(FAKE))) == pytest.approx(discriminator, rel=1e-6)
    assert float(loss.generator(tf.constant(FAKE))) == pytest.approx(generator, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_pull_the_right_way_and_stay_finite_far_out(name):
    logits = tf.Variable([[-80.0], [80.0]])
    with tf.GradientTape(persistent=True) as tape:
        generator = LOSSES[name].generator(logits)
        on_real = LOSSES[name].discriminator(logits, tf.constant(FAKE))
        on_fake = LOSSES[name].discriminator(tf.constant(REAL), logits)
    for value in (generator, on_real, on_fake):
        assert math.isfinite(value)
    assert tape.gradient(generator, logits)[0, 0] < 0  # a fake that D sees through should score higher
    assert tape.gradient(on_real, logits)[0, 0] < 0
    assert tape.gradient(on_fake, logits)[1, 0] > 0
