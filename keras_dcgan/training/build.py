"""Settings -> networks, optimizers and loss, ready to train.

gan = build(config, channels=3, classes=0)
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_dcgan import devices
from keras_dcgan.config import TrainConfig
from keras_dcgan.errors import Refused, argument
from keras_dcgan.model import cpu_layers
from keras_dcgan.model.augment import POLICIES
from keras_dcgan.model.gan import DCGAN, Weight
from keras_dcgan.model.losses import LOSSES
from keras_dcgan.model.networks import discriminator, generator
from keras_dcgan.model.optimizers import Adam, Decay, Fall


@devices.keras_defaults()
def build(config: TrainConfig, channels: int, classes: int = 0) -> DCGAN:
    """Call it in the scope of the strategy that trains. Raises Refused for what cannot be done on several
    devices."""
    check_penalties(config.d_norm == "batch", config.r1, config.r2)
    gan = DCGAN(*networks(config, channels, classes), seed=config.seed)
    compile_for_training(gan, config)
    return gan


def check_penalties(has_batch_norm: bool, r1: Weight, r2: Weight):
    """Raises Refused for what the strategy of this scope computes wrongly."""
    if tf.distribute.get_strategy().num_replicas_in_sync > 1 and has_batch_norm and (r1 or r2):
        # The second derivative through what replicas tell each other of their batches came out 4 % off
        # (TensorFlow 2.21).
        expected = f"0, or {argument('d_norm')} spectral or none, on several devices"
        raise Refused("r1" if r1 else "r2", expected, r1 or r2)


def compile_for_training(gan: DCGAN, config: TrainConfig):
    precision = devices.precision(config.precision)
    gan.compile(
        optimizer(config, config.g_lr, precision),
        optimizer(config, config.d_lr, precision),
        LOSSES[config.loss],
        config.ema_kimg,
        r1=penalty(config, config.r1),
        r2=penalty(config, config.r2),
        penalty_every=config.penalty_every,
        augment=POLICIES[config.augment],
        jit_compile=devices.compiles(config.jit),
        steps_per_execution=devices.steps_at_once(),
        merged=devices.has_gpu(),
    )


@devices.keras_defaults()
def networks(
    config: TrainConfig, channels: int, classes: int = 0, **of_generator: int
) -> tuple[keras.Model, keras.Model, keras.Model]:
    """-> generator, discriminator and averaged generator, of the layers that are fast on this machine; in the
    scope of the strategy that trains. `of_generator`: what networks.generator
    is told in place of config's."""
    keras.utils.set_random_seed(config.seed)

    def build_network(network: Callable[..., keras.Model], options: dict, **training) -> keras.Model:
        return network(size=config.size, channels=channels, classes=classes, **options, **training)

    training = {
        "precision": devices.precision(config.precision),
        "synchronized": tf.distribute.get_strategy().num_replicas_in_sync > 1,
        "layer_types": keras.layers if devices.has_gpu() else cpu_layers,
    }
    options = config.generator_options | of_generator
    return (
        build_network(generator, options, **training),
        build_network(discriminator, config.discriminator_options, **training),
        build_network(generator, options),
    )


def penalty(config: TrainConfig, weight: float) -> float | Fall:
    if not weight or config.penalty_end == 1:
        return weight
    return Fall(weight, config.total_steps, config.penalty_end)


def optimizer(config: TrainConfig, rate: float, precision: str) -> keras.Optimizer:
    """Adam at this rate; in float16 with a scale of the loss."""
    decay = Decay(rate, config.total_steps, config.decay)
    adam = Adam(decay, beta_1=config.beta1, beta_2=config.beta2)
    return keras.optimizers.LossScaleOptimizer(adam) if precision == "mixed_float16" else adam
