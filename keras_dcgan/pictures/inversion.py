"""GAN inversion: the latent whose image, degraded as the observed one was, comes nearest to it.

    degrade = known(hole)                                     # or reduced((32, 32)): what has happened to the image
    z, labels = invert(generator, degrade(image), degrade)
    tune(generator, z, degrade(image), degrade, steps=40)   # if wanted: the weights as well
    restored = generated(generator, z)

Images are float32 (N, height, width, C) in [-1, 1]; `observed` is always what degrade() makes of such.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan.pictures.latents import latents

RATE = 0.1  # Adam's, of latents; their components are about 1
TUNE_RATE = 3e-4  # of weights; at 1e-3 what was not observed fell apart
# weight of improbability(): with more, held-out images fare 0.1 dB better, and those drawn by G 10 dB worse
PRIOR = 0.03
STRIDE = 10  # steps between two looks at the clock


def known(hole: np.ndarray) -> Callable:
    """hole: bool (height, width) -> images (N, height, width, C) to their pixels outside of it, (N, pixels,
    C)."""
    return lambda pictures: tf.boolean_mask(pictures, ~hole, axis=1)


def reduced(size: tuple[int, int]) -> Callable:
    """-> images to smaller ones, by the filter that decode.py prepares them with; to the same ones if
    `size` is theirs."""
    return lambda pictures: tf.image.resize(pictures, size, "lanczos3", antialias=True)


def generated(generator: keras.Model, z, labels=None) -> tf.Tensor:
    """float32 (N, height, width, C) in [-1, 1], with a gradient."""
    inputs = [
        tf.convert_to_tensor(part) for part in (z, labels) if part is not None
    ]  # Keras takes no mixture with arrays
    return generator(inputs if len(inputs) > 1 else inputs[0], training=False)


def errors(generator: keras.Model, z, labels, observed, degrade: Callable) -> tf.Tensor:
    """The mean squared error of each of N images, (N,)."""
    apart = degrade(generated(generator, z, labels)) - observed
    return tf.reduce_mean(tf.reshape(apart, (len(z), -1)) ** 2, axis=1)


def invert(
    generator: keras.Model,
    observed: np.ndarray,
    degrade: Callable,
    labels: np.ndarray | None = None,
    *,
    restarts: int = 8,
    steps: int = 300,
    seed: int = 0,
    show: Callable[[float], None] = lambda share: None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """observed (N, ...) -> z (N, latent_dim) and, of a conditional generator, labels (N,).

    Adam on z, for each image from `restarts` latents at once; the one that ends best is kept. labels: int32
    (restarts,), of a conditional generator. `show` is told the share that is done.
    """
    count, latent_dim = len(observed), generator.inputs[0].shape[-1]
    starts = latents(np.arange(restarts) + seed * restarts, latent_dim)
    z = tf.Variable(np.tile(starts, (count, 1)))
    labels = None if labels is None else np.tile(labels, count)
    observed = np.repeat(observed, restarts, axis=0)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps))
    optimizer.build([z])

    @tf.function
    def losses():
        return errors(generator, z, labels, observed, degrade) + PRIOR * improbability(z)

    @tf.function
    def descend(count):
        for _ in tf.range(count):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(z)
                loss = losses()
            optimizer.apply(
                [tape.gradient(loss, z)], [z]
            )  # of the sum, and so each latent's own: none depends on another

    for done in range(0, steps, STRIDE):
        descend(tf.constant(min(STRIDE, steps - done)))
        show(min(done + STRIDE, steps) / steps)
    best = losses().numpy().reshape(count, restarts).argmin(axis=1) + restarts * np.arange(count)
    return z.numpy()[best], None if labels is None else labels[best]


def improbability(z: tf.Tensor) -> tf.Tensor:
    """The prior: -log p(|z|) a component for z ~ N(0, I), up to a constant; (N, latent_dim) -> (N,).

    Yeh et al. (arXiv:1607.07539, 2017) let the discriminator say how likely an image is, but generator.keras
    comes without one. The density of z itself would pull it to the origin, where it is highest, and where no
    latent of the training lay: in 100 dimensions they have |z|^2 near 100. So the length is held to its own
    law, the chi distribution, and the direction is free.
    """
    latent_dim, square = z.shape[-1], tf.reduce_sum(z * z, axis=-1)
    return (square - (latent_dim - 1) * tf.math.log(square)) / (2 * latent_dim)


def tune(
    generator: keras.Model,
    z: np.ndarray,
    observed: np.ndarray,
    degrade: Callable,
    labels: np.ndarray | None = None,
    *,
    steps: int,
    enough: float = 0.0,
    show: Callable[[float], None] = lambda share: None,
):
    """Changes the generator's weights, so that at z (N, latent_dim) it draws what was observed more nearly.

    Pivotal tuning (Roich et al., arXiv:2106.05744, 2021). Ends early where the mean squared error is down to
    `enough`: who comes nearer than the noise draws the noise.
    """
    generator.trainable = True  # the moving average that generator.keras holds was not
    weights = generator.trainable_variables
    optimizer = keras.optimizers.Adam(TUNE_RATE)
    optimizer.build(weights)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            error = tf.reduce_mean(errors(generator, z, labels, observed, degrade))
        optimizer.apply(tape.gradient(error, weights), weights)
        return error

    for done in range(steps):
        if step() <= enough:
            break
        show((done + 1) / steps)
