"""The fused Adam against Keras' own, and the learning rate over time."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan.model.optimizers import Adam, Decay, Fall


def after(optimizer, steps=5) -> list[np.ndarray]:
    """Two variables and the optimizer's own after some steps of given gradients."""
    random = np.random.default_rng(0)
    variables = [keras.Variable(random.normal(size=shape).astype(np.float32)) for shape in ((3, 4), (5,))]
    optimizer.build(variables)
    for _ in range(steps):
        optimizer.apply(
            [tf.constant(random.normal(size=variable.shape), tf.float32) for variable in variables], variables
        )
    return [variable.numpy() for variable in [*variables, *optimizer.variables]]


def test_fused_adam_is_keras_adam():
    rate = Decay(0.1, steps=8, share=0.5)
    wanted, received = (after(kind(rate, beta_1=0.5)) for kind in (keras.optimizers.Adam, Adam))
    for one, other in zip(wanted, received, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)  # of steps of 0.1


def test_fused_adam_takes_up_keras_adams_state(tmp_path):
    """A checkpoint of a run that was begun with Keras' optimizer goes on."""
    (begun, plain), (fresh, fused) = (built(kind) for kind in (keras.optimizers.Adam, Adam))
    for _ in range(3):
        plain.apply([tf.constant([[1.0, 2.0], [3.0, -4.0]])], [begun])
    tf.train.Checkpoint(o=plain).write(str(tmp_path / "state"))
    tf.train.Checkpoint(o=fused).read(str(tmp_path / "state")).assert_existing_objects_matched()
    fresh.assign(begun)
    for optimizer, weight in ((plain, begun), (fused, fresh)):
        optimizer.apply(
            [tf.constant([[-1.0, 2.0], [0.5, 1.0]])], [weight]
        )  # another direction: what was before shows
    np.testing.assert_allclose(fresh.numpy(), begun.numpy(), atol=1e-7)
    unaware, other = built(Adam)
    unaware.assign(tf.zeros_like(unaware))
    other.apply([tf.constant([[-1.0, 2.0], [0.5, 1.0]])], [unaware])
    assert np.abs(unaware.numpy() - (fresh.numpy() - begun.numpy())).max() > 1e-4


def built(kind):
    weight, optimizer = keras.Variable(np.zeros((2, 2), np.float32), name="weight"), kind(1e-3)
    optimizer.build([weight])
    return weight, optimizer


def test_every_replica_is_moved_by_the_sum_of_the_gradients():
    """On two virtual devices, which only a process of its own can have."""
    script = """
import keras, tensorflow as tf
from keras_dcgan.model.optimizers import Adam
cpu, split = tf.config.list_physical_devices("CPU")[0], tf.config.LogicalDeviceConfiguration()
tf.config.set_logical_device_configuration(cpu, [split, split])
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for kind in (keras.optimizers.Adam, Adam):
    with strategy.scope():
        weight, optimizer = keras.Variable([1.0, 2.0]), kind(0.1)
        optimizer.build([weight])
    step = tf.function(lambda: strategy.run(lambda: optimizer.apply([tf.constant([1.0, -1.0])], [weight])))
    step(), step()
    print(*(round(float(number), 4) for copy in strategy.experimental_local_results(weight.value) for number in copy))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-2:] == ["0.8 2.2 0.8 2.2"] * 2, done.stderr


def test_learning_rates_fall_to_zero_over_the_last_share():
    schedule = Decay(0.2, steps=100, share=0.25)
    found = [float(schedule(tf.constant(step))) for step in (0, 74, 75, 80, 100, 120)]
    np.testing.assert_allclose(found, [0.2, 0.2, 0.2, 0.16, 0, 0], atol=1e-7)
    assert float(Decay(0.2, 100, 0.0)(tf.constant(99))) == pytest.approx(0.2)


def test_a_weight_falls_exponentially_to_its_end_and_stays_there():
    fall = Fall(8.0, steps=200, end=0.01)
    assert [float(fall(tf.constant(step, tf.int64))) for step in (0, 100, 200, 900)] == pytest.approx(
        [8.0, 0.8, 0.08, 0.08]
    )
