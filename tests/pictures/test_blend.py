import numpy as np
import pytest

from keras_dcgan.pictures import blend


@pytest.mark.parametrize("rows", [slice(3, 12), slice(8, 16)])  # within; at the image's edge
def test_a_filled_hole_has_the_gradients_of_the_one_and_the_border_of_the_other(rows):
    drawn = np.random.default_rng(0).uniform(-0.2, 0.2, (16, 20, 3)).astype(np.float32)
    ramp = np.linspace(-0.5, 0.5, 20, dtype=np.float32)[
        :, np.newaxis
    ]  # harmonic, and level from top to bottom
    hole = np.zeros((16, 20), bool)
    hole[rows, 5:15] = True
    picture = np.where(hole[..., np.newaxis], 9, drawn + ramp)  # what lies in the hole is not looked at
    filled = blend.seamless(picture, drawn, hole)
    np.testing.assert_allclose(filled, drawn + ramp, atol=1e-3)
    np.testing.assert_allclose(filled[~hole], picture[~hole], atol=1e-6)


def test_a_drawn_picture_that_is_right_stays_and_one_that_is_too_dark_is_lit():
    picture = np.random.default_rng(0).uniform(-1, 1, (16, 20, 3)).astype(np.float32)
    small = blend.resized(picture, (8, 10), blend.Image.Resampling.LANCZOS)
    np.testing.assert_allclose(blend.sharpened(small, picture), picture, atol=1e-6)
    np.testing.assert_allclose(blend.sharpened(small, picture - 0.3), picture, atol=1e-5)


def test_noise_beside_the_drawn_picture_is_left_out_and_all_else_is_kept():
    random = np.random.default_rng(0)
    drawn = random.uniform(-1, 1, (32, 48, 3)).astype(np.float32)
    waves = 0.5 * np.sin(2 * np.pi * np.arange(48, dtype=np.float32) / 12)[:, np.newaxis]
    noise = random.normal(0, 0.2, drawn.shape).astype(np.float32)
    np.testing.assert_allclose(blend.denoised(drawn + waves, drawn, 0), drawn + waves, atol=1e-5)
    left = blend.denoised(drawn + waves + noise, drawn, 0.2) - drawn
    assert np.std(left - waves) < np.std(noise) / 3
    assert np.std(blend.denoised(drawn + noise, drawn, 0.2) - drawn) < np.std(noise) / 3
    as_strong = random.normal(0, 0.2, drawn.shape).astype(
        np.float32
    )  # no filter can tell it from the noise: half of the sum is kept
    kept = blend.denoised(drawn + as_strong + noise, drawn, 0.2) - drawn
    assert np.sum(kept * (as_strong + noise)) / np.sum((as_strong + noise) ** 2) == pytest.approx(
        0.5, abs=0.05
    )
