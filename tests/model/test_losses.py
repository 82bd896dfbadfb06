import math

import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan.model.losses import LOSSES, gradient_penalty

REAL, FAKE = [[2.0], [0.0]], [[-3.0], [1.0]]


@pytest.mark.parametrize(
    "name, discriminator, generator",
    [
        (
            "bce",
            # -log sigmoid(2), -log sigmoid(0); -log(1 - sigmoid(-3)), -log(1 - sigmoid(1))
            (math.log1p(math.exp(-2)) + math.log(2)) / 4
            + (math.log1p(math.exp(-3)) + math.log1p(math.e)) / 4,
            (math.log1p(math.exp(3)) + math.log1p(math.exp(-1))) / 2,
        ),
        ("hinge", (0 + 1) / 2 + (0 + 2) / 2, 1.0),
        ("least_squares", ((1 + 1) / 2 + (4 + 4) / 2) / 2, (16 + 0) / 4),
        ("wasserstein", -1 - 1, 1.0),
        # softplus(-3 - 2), softplus(1 - 0); the generator's the other way round
        (
            "relativistic",
            (math.log1p(math.exp(-5)) + math.log1p(math.e)) / 2,
            (math.log1p(math.exp(5)) + math.log1p(math.exp(-1))) / 2,
        ),
    ],
)
def test_losses_by_hand(name, discriminator, generator):
    loss = LOSSES[name]
    assert float(loss.discriminator(tf.constant(REAL), tf.constant(FAKE))) == pytest.approx(
        discriminator, rel=1e-6
    )
    assert float(loss.generator(tf.constant(REAL), tf.constant(FAKE))) == pytest.approx(generator, rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_pull_the_right_way_and_stay_finite_far_out(name):
    logits = tf.Variable([[-80.0], [80.0]])
    with tf.GradientTape(persistent=True) as tape:
        generator = LOSSES[name].generator(tf.constant(REAL), logits)
        on_real = LOSSES[name].discriminator(logits, tf.constant(FAKE))
        on_fake = LOSSES[name].discriminator(tf.constant(REAL), logits)
    for value in (generator, on_real, on_fake):
        assert math.isfinite(value)
    assert tape.gradient(generator, logits)[0, 0] < 0  # a fake that D sees through should score higher
    assert tape.gradient(on_real, logits)[0, 0] < 0
    assert tape.gradient(on_fake, logits)[1, 0] > 0


def test_gradient_penalty_is_the_closed_form():
    images = tf.constant(np.random.default_rng(0).normal(size=(5, 2, 2, 1)), tf.float32)
    # D(x) = 3 |x|^2 has the gradient 6 x.
    found = gradient_penalty(lambda x: 3 * tf.reduce_sum(x**2, axis=[1, 2, 3])[:, None], images)
    assert float(found) == pytest.approx(
        np.mean(np.sum((6 * images.numpy()) ** 2, axis=(1, 2, 3))) / 2, rel=1e-5
    )


def test_accuracies_are_told_by_the_sign_or_where_logits_are_relative_by_pairs():
    real, fake = tf.constant([[5.0], [7.0], [6.0], [2.0]]), tf.constant([[1.0], [8.0], [5.0], [1.0]])
    assert [float(share) for share in LOSSES["bce"].accuracies(real, fake)] == [1, 0]
    assert [float(share) for share in LOSSES["relativistic"].accuracies(real, fake)] == [0.75, 0.75]
