"""What each player of the game minimises: float32 logits (N, 1) -> a scalar. Pure functions, and the LOSSES
table.

    loss = LOSSES["bce"]
    loss.discriminator(real_logits, fake_logits)
    loss.generator(real_logits, fake_logits)        # the relativistic one looks at both
    gradient_penalty(discriminate, images)          # R1 of real images, R2 of generated ones
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Loss:
    """What the two networks minimise: functions of real and fake logits, each float32 (N, 1), to a scalar."""

    discriminator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    is_relative: bool = False  # only the difference between real and fake logits counts, and not where 0 lies

    def accuracies(self, real_logits, fake_logits) -> tuple[tf.Tensor, tf.Tensor]:
        """The shares of real and of fake images that are told rightly: by the side of 0 that their logits lie
        on or, where logits are relative, by which of a pair has the higher one; both shares are the same
        then."""
        real, fake = (fake_logits, real_logits) if self.is_relative else (0.0, 0.0)
        return tuple(
            tf.reduce_mean(tf.cast(right, tf.float32)) for right in (real_logits > real, fake_logits < fake)
        )


def bce_discriminator(real_logits, fake_logits):
    """Binary cross-entropy, the mean of its two halves (Goodfellow et al., arXiv:1406.2661, 2014, eq. 1).

    softplus(-x) is -log(sigmoid(x)) without the overflow: this is where the original's sigmoid went.
    """
    return (tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(tf.nn.softplus(fake_logits))) / 2


def bce_generator(real_logits, fake_logits):
    """The non-saturating form, maximise log D(G(z)) (Goodfellow et al. 2014, section 3)."""
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def hinge_discriminator(real_logits, fake_logits):
    """Lim and Ye, "Geometric GAN", arXiv:1705.02894, 2017."""
    return tf.reduce_mean(tf.nn.relu(1 - real_logits)) + tf.reduce_mean(tf.nn.relu(1 + fake_logits))


def hinge_generator(real_logits, fake_logits):
    return -tf.reduce_mean(fake_logits)


def least_squares_discriminator(real_logits, fake_logits):
    """Mao et al., "Least squares GANs", arXiv:1611.04076, 2017, with targets 1 and -1."""
    return (tf.reduce_mean(tf.square(real_logits - 1)) + tf.reduce_mean(tf.square(fake_logits + 1))) / 2


def least_squares_generator(real_logits, fake_logits):
    return tf.reduce_mean(tf.square(fake_logits - 1)) / 2


def wasserstein_discriminator(real_logits, fake_logits):
    """Arjovsky et al., arXiv:1701.07875, 2017. Needs a discriminator that cannot grow steep: --r1."""
    return tf.reduce_mean(fake_logits) - tf.reduce_mean(real_logits)


def wasserstein_generator(real_logits, fake_logits):
    return -tf.reduce_mean(fake_logits)


def relativistic_discriminator(real_logits, fake_logits):
    """RpGAN: each real image is to be more real than a generated one (Jolicoeur-Martineau, arXiv:1807.00734,
    2018, section 4.3)."""
    return tf.reduce_mean(tf.nn.softplus(fake_logits - real_logits))


def relativistic_generator(real_logits, fake_logits):
    return tf.reduce_mean(tf.nn.softplus(real_logits - fake_logits))


def gradient_penalty(discriminate: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Half the mean squared norm of the logits' gradient with respect to float32 images (N, H, W, C): R1 of
    real images, R2 of generated ones (Mescheder et al., arXiv:1801.04406, 2018, eq. 9)."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(
            discriminate(images)
        )  # each image's own gradient, as far as batch norm leaves it one
    return tf.reduce_mean(tf.reduce_sum(tf.square(tape.gradient(total, images)), axis=[1, 2, 3])) / 2


def classification(labels: tf.Tensor, guesses: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of int32 labels (N,) and logits (N, classes): AC-GAN (Odena et al., arXiv:1610.09585,
    2017)."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, guesses))


LOSSES = {
    "bce": Loss(bce_discriminator, bce_generator),
    "hinge": Loss(hinge_discriminator, hinge_generator),
    "least_squares": Loss(least_squares_discriminator, least_squares_generator),
    "wasserstein": Loss(wasserstein_discriminator, wasserstein_generator),
    "relativistic": Loss(relativistic_discriminator, relativistic_generator, is_relative=True),
}
