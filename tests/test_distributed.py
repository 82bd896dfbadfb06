"""Each device count runs in a process of its own: TensorFlow splits its CPU once, and its collectives know one group."""

import subprocess
import sys

import numpy as np
import pytest
from conftest import discs

STEPS = 3


def train(replicas: int, out: str):
    from keras_dcgan import cli

    with cli.quiet():
        import keras
        import tensorflow as tf

        from keras_dcgan import devices
        from keras_dcgan.gan import DCGAN
        from keras_dcgan.losses import LOSSES
        from keras_dcgan.models import discriminator, generator

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
        strategy = devices.strategy("mirrored" if replicas > 1 else "single")
    assert strategy.num_replicas_in_sync == replicas
    with strategy.scope():
        keras.utils.set_random_seed(1)
        options = {"filters": 4, "synchronized": replicas > 1}
        gan = DCGAN(
            generator((16, 16), 3, latent_dim=6, **options),
            # Without batch norm in D, and with SGD: Adam's first step turns rounding into signs.
            discriminator((16, 16), 3, norm=False, **options),
            generator((16, 16), 3, latent_dim=6, filters=4),
        )
        gan.compile(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1), LOSSES["bce"], ema_kimg=1)
    networks = (gan.generator, gan.discriminator, gan.ema_generator)
    start = [weight.numpy() for network in networks for weight in network.weights]
    batches = tf.data.Dataset.from_tensor_slices(discs(16)).repeat().batch(8, drop_remainder=True)
    gan.fit(batches, steps_per_epoch=STEPS, verbose=0, shuffle=False)
    assert gan.steps_taken == STEPS
    weights = [weight.numpy() for network in networks for weight in network.weights]
    assert sum((a != b).any() for a, b in zip(start, weights)) > 10
    np.savez(out, *weights, means=list(gan.current_means().values()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """replicas -> the arrays that a process with so many devices ended with."""
    folder = tmp_path_factory.mktemp("distributed")
    counts = (1, 2, 4)
    started = [subprocess.Popen([sys.executable, __file__, str(count), str(folder / f"{count}.npz")]) for count in counts]
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    return {count: np.load(folder / f"{count}.npz") for count in counts}


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas_at_a_part_of_the_batch_train_as_one_at_the_whole(trained, replicas):
    assert len(trained[1].files) > 20
    for name in trained[1].files:
        np.testing.assert_allclose(trained[replicas][name], trained[1][name], atol=3e-6, rtol=1e-5, err_msg=name)


if __name__ == "__main__":
    train(int(sys.argv[1]), sys.argv[2])
