"""What each player of the game minimises: float32 logits (N, 1) -> a scalar. Pure functions, and the LOSSES table.

loss = LOSSES["bce"]
loss.discriminator(real_logits, fake_logits)
loss.generator(fake_logits)
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Loss:
    discriminator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor], tf.Tensor]


def bce_discriminator(real_logits, fake_logits):
    """Binary cross-entropy, the mean of its two halves (Goodfellow et al., arXiv:1406.2661, 2014, eq. 1).

    softplus(-x) is -log(sigmoid(x)) without the overflow: this is where the original's sigmoid went.
    """
    return (tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(tf.nn.softplus(fake_logits))) / 2


def bce_generator(fake_logits):
    """The non-saturating form, maximise log D(G(z)) (Goodfellow et al. 2014, section 3)."""
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def hinge_discriminator(real_logits, fake_logits):
    """Lim and Ye, "Geometric GAN", arXiv:1705.02894, 2017."""
    return tf.reduce_mean(tf.nn.relu(1 - real_logits)) + tf.reduce_mean(tf.nn.relu(1 + fake_logits))


def hinge_generator(fake_logits):
    return -tf.reduce_mean(fake_logits)


def least_squares_discriminator(real_logits, fake_logits):
    """Mao et al., "Least squares GANs", arXiv:1611.04076, 2017, with targets 1 and -1."""
    return (tf.reduce_mean(tf.square(real_logits - 1)) + tf.reduce_mean(tf.square(fake_logits + 1))) / 2


def least_squares_generator(fake_logits):
    return tf.reduce_mean(tf.square(fake_logits - 1)) / 2


LOSSES = {
    "bce": Loss(bce_discriminator, bce_generator),
    "hinge": Loss(hinge_discriminator, hinge_generator),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator),
}
