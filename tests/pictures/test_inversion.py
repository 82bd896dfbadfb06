"""On images that the generator has drawn itself, so that the answer is known."""

import keras
import numpy as np
import pytest
from conftest import lively_generator
from PIL import Image

from keras_dcgan import devices
from keras_dcgan.pictures import inversion
from keras_dcgan.pictures.blend import resized, seamless, sharpened
from keras_dcgan.pictures.latents import latents

LATENT_DIM = 8
EFFORT = {"restarts": 8, "steps": 100}
whole = inversion.reduced((16, 16))


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(0)
    return lively_generator(latent_dim=LATENT_DIM)


@pytest.fixture(scope="module")
def pictures(generator):
    """Of seeds from which no search begins."""
    return inversion.generated(generator, latents([100, 101], LATENT_DIM)).numpy()


def batch_norm_of(generator):
    return [weight for weight in generator.weights if "moving" in weight.path]


def decibels(drawn, pictures):
    return 10 * np.log10(4 / np.mean((drawn - pictures) ** 2))


def test_a_picture_of_its_own_is_found_again(generator, pictures):
    z, labels = inversion.invert(generator, pictures, whole, **EFFORT)
    assert z.shape == (2, LATENT_DIM) and labels is None
    for drawn, picture in zip(inversion.generated(generator, z).numpy(), pictures):
        assert decibels(drawn, picture) > 35


def test_a_hole_is_filled_better_than_with_the_mean_or_with_what_is_nearest(generator, pictures):
    hole = np.zeros((16, 16), bool)
    hole[4:12, 4:12] = True
    degrade = inversion.known(hole)
    seen = np.where(hole[..., np.newaxis], 0, pictures)
    z, _ = inversion.invert(generator, degrade(seen).numpy(), degrade, **EFFORT)
    drawn = inversion.generated(generator, z).numpy()
    rows, columns = np.mgrid[:16, :16]
    ring = np.argwhere(~hole)
    nearest = ring[((ring[:, None] - np.argwhere(hole)) ** 2).sum(-1).argmin(axis=0)]
    for filled, picture in zip(map(seamless, seen, drawn, [hole] * 2), pictures):
        for fill in (picture[~hole].mean(axis=0), picture[tuple(nearest.T)]):
            assert decibels(filled[hole], picture[hole]) > decibels(fill, picture[hole]) + 6


def test_superresolution_beats_bicubic(generator, pictures):
    degrade = inversion.reduced((8, 8))
    small = degrade(pictures).numpy()
    z, _ = inversion.invert(generator, small, degrade, **EFFORT)
    for drawn, picture, observed in zip(inversion.generated(generator, z).numpy(), pictures, small):
        bicubic = resized(observed, (16, 16), Image.Resampling.BICUBIC)
        assert decibels(sharpened(observed, drawn), picture) > decibels(bicubic, picture) + 3


def test_the_best_of_the_starts_is_kept_and_its_class(generator):
    keras.utils.set_random_seed(0)
    conditional = lively_generator(latent_dim=LATENT_DIM, classes=3)
    starts = latents(range(16, 24), LATENT_DIM)
    picture = inversion.generated(conditional, starts[5:6], np.array([2])).numpy()
    labels = np.arange(8) % 3  # start number 5 is of class 2
    z, label = inversion.invert(conditional, picture, whole, labels, restarts=8, steps=1, seed=2)
    np.testing.assert_allclose(z[0], starts[5], atol=1.01 * inversion.RATE)
    assert label.tolist() == [2]


def test_it_gives_the_same_again_and_pictures_do_not_disturb_each_other(generator, pictures):
    devices.settle()  # as the verb does
    both, again = (inversion.invert(generator, pictures, whole, restarts=2, steps=10)[0] for _ in range(2))
    np.testing.assert_array_equal(both, again)
    alone = inversion.invert(generator, pictures[1:], whole, restarts=2, steps=10)[0]
    np.testing.assert_allclose(alone[0], both[1], atol=1e-3)


def test_the_likeliest_length_is_that_of_the_chi_distribution():
    lengths = np.linspace(1, 4, 301, dtype=np.float32)
    values = inversion.improbability(lengths[:, None] * np.array([[0.6, 0.8, 0, 0, 0]], np.float32)).numpy()
    assert lengths[values.argmin()] == pytest.approx(2)  # the square root of 5 - 1
    assert values[0] == pytest.approx(0.1)  # (1 - 4 log 1) / (2 * 5)


def test_tuning_comes_nearer_down_to_the_noise_and_leaves_batch_norm_alone():
    generator = lively_generator(latent_dim=LATENT_DIM)
    z, observed = latents([0], LATENT_DIM), np.full((1, 16, 16, 3), 0.5, np.float32)
    generator.trainable = False  # as of a generator.keras, which holds a moving average
    moving = [weight.numpy() for weight in batch_norm_of(generator)]
    before = inversion.errors(generator, z, None, observed, whole).numpy().item()
    inversion.tune(generator, z, observed, whole, steps=100, enough=before / 2)
    half = inversion.errors(generator, z, None, observed, whole).numpy().item()
    assert before / 4 < half <= before / 2
    inversion.tune(generator, z, observed, whole, steps=100)
    assert inversion.errors(generator, z, None, observed, whole).numpy().item() < before / 4
    for weight, old in zip(batch_norm_of(generator), moving):
        np.testing.assert_array_equal(weight, old)
