"""Several steps as one program: the same weights as so many single steps, wherever the data ends."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import discs, small_gan

import keras_dcgan as kd
from keras_dcgan.model import program
from keras_dcgan.model.augment import POLICIES
from keras_dcgan.model.losses import LOSSES

STEPS, AT_ONCE = 7, 3


def dataset(labels=False, steps=STEPS, batch=4):
    images = discs(8)
    data = (images, np.arange(8, dtype=np.int32) % 2) if labels else images
    return tf.data.Dataset.from_tensor_slices(data).repeat().batch(batch, drop_remainder=True).take(steps)


def trained(at_once, jit=False, classes=0, **options):
    gan = small_gan(ema_kimg=1.0, classes=classes)
    gan.compile(
        gan.g_optimizer,
        gan.d_optimizer,
        LOSSES["relativistic"],
        ema_kimg=1.0,
        steps_per_execution=at_once,
        jit_compile=jit,
        **options,
    )
    gan.fit(dataset(bool(classes)), steps_per_epoch=STEPS, verbose=0)
    return gan


def same(one, other, atol):
    assert one.steps_taken == other.steps_taken == STEPS
    for ours, theirs in zip(one.variables, other.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=atol, atol=atol)


@pytest.mark.parametrize(
    "options", [{}, {"classes": 2}, {"r1": 1.0, "penalty_every": 2, "augment": POLICIES["translation"]}]
)
def test_groups_of_steps_end_with_the_weights_of_single_ones(options, monkeypatch):
    grouped = []
    monkeypatch.setattr(
        program,
        "grouped",
        lambda *arguments, real=program.grouped: grouped.append(arguments[1]) or real(*arguments),
    )
    same(trained(AT_ONCE, **options), trained(1, **options), 1e-5)
    assert grouped == [AT_ONCE]


def test_so_they_do_compiled():
    same(trained(AT_ONCE, jit=True), trained(1, jit=True), 1e-5)


def test_a_training_broken_off_within_a_group_has_the_same_bits():
    whole, broken = small_gan(), small_gan()
    for gan in (whole, broken):
        gan.compile(
            gan.g_optimizer, gan.d_optimizer, LOSSES["bce"], ema_kimg=0.0, steps_per_execution=AT_ONCE
        )
    whole.fit(dataset(), steps_per_epoch=STEPS, verbose=0)
    broken.fit(dataset(steps=4), steps_per_epoch=4, verbose=0)
    assert broken.steps_taken == 4
    broken.fit(dataset(steps=STEPS).skip(4), steps_per_epoch=STEPS - 4, verbose=0)
    same(whole, broken, 0)


@pytest.mark.parametrize("steps, options", [(7, {}), (6, {"steps_per_epoch": 3})])
@pytest.mark.filterwarnings("error:.*ran out of data")
def test_epochs_are_counted_in_steps(steps, options):
    gan = small_gan()
    gan.compile(gan.g_optimizer, gan.d_optimizer, LOSSES["bce"], ema_kimg=0.0, steps_per_execution=AT_ONCE)
    gan.fit(dataset(steps=steps), epochs=4, verbose=0, shuffle=False, **options)
    assert gan.steps_taken == 4 * options.get("steps_per_epoch", steps)


def test_epochs_of_the_library_have_means_of_their_own():
    histories = []
    for at_once in (1, AT_ONCE):
        own = small_gan()
        gan = kd.DCGAN(own.generator, own.discriminator, own.ema_generator)
        gan.compile(steps_per_execution=at_once, ema_kimg=0)
        histories.append(gan.fit(dataset(), epochs=3, verbose=0).history)
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, atol=1e-4)


def test_a_model_of_several_devices_is_left_to_keras():
    """Also outside of its strategy's scope, where Keras' users call fit."""
    gan = small_gan()
    gan.compile(gan.g_optimizer, gan.d_optimizer, LOSSES["bce"], ema_kimg=0.0, steps_per_execution=AT_ONCE)
    batches = dataset()
    assert gan.grouped(batches) is not batches
    gan._distribute_strategy = tf.distribute.get_strategy()
    assert gan.grouped(batches) is batches


def test_a_last_group_is_filled_up_and_says_how_many_it_has():
    *_, last = program.grouped(dataset(labels=True), AT_ONCE)
    images, labels = last["batches"]
    assert last["steps"] == 1 and images.shape == (3, 4, 16, 16, 3) and labels.shape == (3, 4)
    assert images[0].numpy().any() and not images[1:].numpy().any()


def test_batches_of_several_shapes_are_left_to_keras():
    images = tf.data.Dataset.from_tensor_slices(discs(10)).batch(4)
    gan = small_gan()
    gan.compile(gan.g_optimizer, gan.d_optimizer, LOSSES["bce"], ema_kimg=0.0, steps_per_execution=AT_ONCE)
    gan.fit(images, verbose=0)
    assert gan.steps_taken == 3
