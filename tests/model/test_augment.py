import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan.model import augment
from keras_dcgan.model.augment import POLICIES, colour, cutout, translation


def pictures(count=6, size=(16, 24), channels=3):
    return tf.random.stateless_uniform((count, *size, channels), [1, 2], -1, 1)


def draws(count=6, seed=0):
    return tf.constant(np.random.default_rng(seed).random((count, augment.DRAWS)), tf.float32)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", POLICIES)
def test_shapes_stay_and_gradients_come_through(name, channels):
    images = pictures(channels=channels)
    with tf.GradientTape() as tape:
        tape.watch(images)
        changed = images
        for change in POLICIES[name]:
            changed = change(changed, draws())
        total = tf.reduce_sum(changed**2)
    assert changed.shape == images.shape and changed.dtype == tf.float32
    assert np.abs(changed - images).max() > 0.1 or name == "none"
    assert (np.abs(tape.gradient(total, images)).sum(axis=(1, 2, 3)) > 0).all()  # of every image


def test_an_image_is_changed_by_its_own_draws_alone():
    images, numbers = pictures(), draws()
    for change in POLICIES["all"]:
        whole = change(images, numbers)
        np.testing.assert_allclose(change(images[2:4], numbers[2:4]), whole[2:4], atol=1e-6)


def test_colour_by_hand():
    images = tf.constant([[[[0.2, 0.4, 0.6]], [[0.0, 0.0, 0.0]]]])
    np.testing.assert_allclose(colour(images, tf.constant([[0.75, 0.5, 0.5]])), images + 0.25, atol=1e-6)
    grey = colour(images, tf.constant([[0.5, 0.0, 0.5]]))  # no saturation
    np.testing.assert_allclose(grey[0, :, 0], [[0.4] * 3, [0.0] * 3], atol=1e-6)
    flat = colour(images, tf.constant([[0.5, 0.5, 0.0]]))  # half the contrast, about the mean of 0.2
    np.testing.assert_allclose(flat, 0.2 + (images - 0.2) / 2, atol=1e-6)


def test_colour_leaves_alpha_alone():
    images = pictures(channels=4)
    changed = colour(images, draws())
    assert np.abs(changed[..., :3] - images[..., :3]).max() > 0.1
    np.testing.assert_array_equal(changed[..., 3], images[..., 3])


def test_translation_moves_by_whole_pixels_both_ways_and_fills_with_grey():
    images = pictures(3)
    moved = translation(
        images, tf.constant([[0.0, 0.5, 0], [0.5, 0.999, 0], [0.5, 0.5, 0]])
    )  # 16 high: 2; 24 wide: 3
    np.testing.assert_array_equal(moved[0, 2:], images[0, :-2])
    np.testing.assert_array_equal(moved[0, :2], np.zeros((2, 24, 3)))
    np.testing.assert_array_equal(moved[1, :, :-3], images[1, :, 3:])
    np.testing.assert_array_equal(moved[2], images[2])


def test_cutout_is_half_of_each_side_about_its_middle():
    cut = cutout(tf.ones((2, 16, 24, 3)), tf.constant([[0.5, 0.5, 0], [0.0, 0.0, 0]])).numpy()
    assert (cut[0, 4:12, 6:18] == 0).all() and cut[0].sum() == 3 * (16 * 24 - 8 * 12)
    assert (cut[1, :4, :6] == 0).all() and cut[1].sum() == 3 * (16 * 24 - 4 * 6)
