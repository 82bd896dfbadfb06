import numpy as np
import pytest
from conftest import discs

from keras_dcgan.metrics import SlicedWasserstein, laplacian_pyramid, spread


def test_swd_of_a_set_with_itself_is_zero_and_grows_with_the_damage():
    real = discs(64, size=32)
    reference = SlicedWasserstein(real)
    assert reference.distance(real) == {"swd": 0, "swd_32": 0, "swd_16": 0}
    noise = np.random.default_rng(0).integers(-20, 21, real.shape)
    a_little, much = (np.clip(real + amount * noise, 0, 255).astype(np.uint8) for amount in (1, 4))
    others, little, worst = (reference.distance(images) for images in (discs(64, 32, seed=1), a_little, much))
    assert 0 < others["swd"] < little["swd"] < worst["swd"]
    assert little["swd_32"] > 3 * little["swd_16"]  # noise is fine detail


def test_swd_between_one_patch_and_its_shift_is_worked_out_by_hand():
    # One image of 7x7 is one patch for every draw; normalised, two ramps that differ by their sign differ along a direction d by
    # 2 |d . ramp|, and the mean of |d . ramp| is what the distance is.
    ramp = np.linspace(0, 255, 49).astype(np.uint8).reshape(1, 7, 7, 1)
    reference = SlicedWasserstein(ramp, patches=1, directions=500)
    directions = np.random.default_rng((0, 0)).standard_normal((500, 49), np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    flat = ramp.reshape(49).astype(np.float64)
    normal = (flat - flat.mean()) / flat.std()
    expected = 1000 * np.mean(np.abs(directions @ (normal + normal)))
    assert reference.distance(255 - ramp)["swd"] == pytest.approx(expected, rel=2e-2)


def test_swd_is_repeatable_and_compares_sets_of_different_size():
    reference = SlicedWasserstein(discs(64))
    fakes = discs(48, seed=5)
    assert reference.distance(fakes) == SlicedWasserstein(discs(64)).distance(fakes)
    assert reference.distance(np.concatenate([fakes, fakes]))["swd"] == pytest.approx(reference.distance(fakes)["swd"], rel=0.35)
    with pytest.raises(ValueError, match=r"expected images of shape \(16, 16, 3\), received \(8, 8, 3\)"):
        reference.distance(discs(4, size=8))


def test_pyramid_adds_up_again():
    images = discs(3, size=64)
    levels = laplacian_pyramid(images)
    assert [level.shape[1] for level in levels] == [64, 32, 16]
    flat = laplacian_pyramid(np.full((2, 64, 64, 3), 200, np.uint8))
    np.testing.assert_allclose(flat[2], 200 / 127.5 - 1, atol=1e-6)
    assert np.abs(flat[0][:, 4:-4, 4:-4]).max() < 1e-6  # nothing but the last level where there is no detail


def test_spread_is_the_mean_distance_over_all_pairs():
    images = discs(6).astype(np.float64)
    squares = [np.mean((a - b) ** 2) for i, a in enumerate(images) for b in images[:i]]
    assert spread(images.astype(np.uint8)) == pytest.approx(np.sqrt(np.mean(squares)))
    assert spread(np.repeat(images[:1], 5, 0).astype(np.uint8)) == 0
    with pytest.raises(ValueError, match="at least 2 images, received 1"):
        spread(images[:1])
