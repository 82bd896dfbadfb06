import tracemalloc

import numpy as np
import pytest
from conftest import discs
from PIL import Image, ImageFilter
from scipy import linalg
from scipy.spatial import distance

from keras_dcgan.measure import evaluation, metrics
from keras_dcgan.measure.metrics import (
    Moments,
    SlicedWasserstein,
    detail,
    frechet_distance,
    kernel_distance,
    laplacian_pyramid,
    memorisation,
    nearest,
    neighbourhoods,
    sharpness,
    spread,
)


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
    # One image of 7x7 is one patch for every draw; normalised, two ramps that differ by their sign differ
    # along a direction d by 2 |d . ramp|, and the mean of |d . ramp| is what the distance is.
    ramp = np.linspace(0, 255, 49).astype(np.uint8).reshape(1, 7, 7, 1)
    reference = SlicedWasserstein(ramp, patches=1, directions=500)
    directions = np.random.default_rng((0, 7)).standard_normal((500, 49), np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    flat = ramp.reshape(49).astype(np.float64)
    normal = (flat - flat.mean()) / flat.std()
    expected = 1000 * np.mean(np.abs(directions @ (normal + normal)))
    assert reference.distance(255 - ramp)["swd"] == pytest.approx(expected, rel=2e-2)


def test_swd_does_not_depend_on_the_chunks(monkeypatch):
    real, fake = discs(20, 32), discs(20, 32, seed=1)
    whole = SlicedWasserstein(real).distance(fake)
    for name, at_once in (
        ("CHUNK", 7),
        ("CHUNK_BYTES", 3 * real[0].size),
        ("CHUNK_BYTES", 1),
        ("BLOCK_SIZE", 10_000),
    ):
        monkeypatch.setattr(metrics, name, at_once)
        for keep in (True, False):
            assert SlicedWasserstein(real, keep=keep).distance(fake) == pytest.approx(whole, rel=1e-5)


def test_swd_is_repeatable_and_compares_sets_of_different_size():
    reference = SlicedWasserstein(discs(64))
    fakes = discs(48, seed=5)
    assert reference.distance(fakes) == SlicedWasserstein(discs(64)).distance(fakes)
    assert reference.distance(np.concatenate([fakes, fakes]))["swd"] == pytest.approx(
        reference.distance(fakes)["swd"], rel=0.35
    )
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


def test_sharpness_is_the_detail_of_each_level_over_that_of_real_images():
    real = discs(8, size=64)
    flat = (128 + (real.astype(int) - 128) // 2).astype(np.uint8)  # half the contrast
    assert sharpness(real, detail(real)) == {"sharpness": 1, "sharpness_64": 1, "sharpness_32": 1}
    assert sharpness(flat, detail(real))["sharpness"] == pytest.approx(0.5, abs=0.02)
    rng = np.random.default_rng(0)
    grainy = np.clip(real + rng.normal(0, 12, real.shape), 0, 255).astype(np.uint8)
    found = sharpness(grainy, detail(real))
    assert found["sharpness"] > found["sharpness_32"] > 1.2
    blurred = (real[:, :-1, :-1] // 4 + real[:, 1:, :-1] // 4 + real[:, :-1, 1:] // 4 + real[:, 1:, 1:] // 4)[
        :, :62, :62
    ]
    assert sharpness(blurred, detail(real[:, :62, :62]))["sharpness"] < 0.75
    assert sharpness(real, {64: 0.0, 32: 0.0}) == {} and set(detail(discs(2))) == {16}


def test_sharpness_of_images_too_small_for_a_pyramid_is_that_of_their_detail():
    real = discs(8, size=28)
    blurred = np.stack([np.asarray(Image.fromarray(each).filter(ImageFilter.BoxBlur(3))) for each in real])
    noise = np.random.default_rng(0).integers(0, 256, real.shape, np.uint8)
    found = [sharpness(images, detail(real))["sharpness"] for images in (real, 0 * real, blurred, noise)]
    assert found[0] == 1 and found[1] < 1e-6 and found[2] < 0.5 and found[3] > 2


def test_memory_for_what_a_tick_measures_does_not_grow_with_the_images(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), np.uint8)  # 0.8 MB
    whole = spread(images)
    monkeypatch.setattr(metrics, "CHUNK_BYTES", 2**16)

    def peak(work):
        tracemalloc.start()
        try:
            return work(), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    found, of_spread = peak(lambda: spread(images))
    assert found == whole and of_spread < 8 * 2**16  # 6.3 MB as float64 at once
    _, of_patches = peak(lambda: SlicedWasserstein(images, patches=1))
    assert of_patches < 60 * 2**16  # 24 times all of them: 19 MB


def gaussian(count: int, mean, deviations, seed: int = 0) -> np.ndarray:
    """Features whose mean and covariance are those exactly."""
    x = np.random.default_rng(seed).normal(size=(count, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
    return x * deviations + mean


def test_frechet_distance_of_two_gaussians_is_the_closed_form():
    a, b = gaussian(200, [0, 0, 0], [1, 2, 3]), gaussian(300, [1, 0, 2], [2, 2, 1], seed=1)
    # Same axes: |m - m'|^2 + sum (s - s')^2.
    assert frechet_distance(Moments(a), Moments(b)) == pytest.approx((1 + 4) + (1 + 0 + 4), rel=1e-9)
    assert frechet_distance(Moments(a), Moments(a)) == pytest.approx(0, abs=1e-9)


def test_moments_that_grow_after_a_distance_are_measured_anew():
    a, b, more = (np.random.default_rng(seed).normal(size=(30, 3)) for seed in range(3))
    grown = Moments(a)
    frechet_distance(grown, Moments(b))
    grown.add(more)
    whole = Moments(np.concatenate([a, more]))
    assert frechet_distance(grown, Moments(b)) == pytest.approx(frechet_distance(whole, Moments(b)), rel=1e-9)


def test_frechet_distance_of_turned_axes_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) for _ in range(2))
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(
        np.cov(a.T) + np.cov(b.T) - 2 * linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    )
    assert frechet_distance(Moments(a), Moments(b)) == pytest.approx(expected, rel=1e-9)


def test_moments_do_not_depend_on_the_chunks():
    x = np.random.default_rng(0).normal(5, 2, (100, 4))
    for parts in (1, 3, 100):
        moments = Moments(*np.array_split(x, parts))
        np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.covariance, np.cov(x.T), rtol=1e-9)


def test_kernel_distance_by_hand():
    two = np.array([[0.0], [1.0]])
    # (xy + 1)^3 is 1 but for 8 at (1, 1): twice the mean off the diagonal, 1, less twice the mean of all
    # four, 11 / 4.
    assert metrics._mmd(two, two) == pytest.approx(2 * 1 - 2 * 11 / 4)


def test_kernel_distance_is_about_zero_for_one_distribution_and_not_for_two():
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(2000, 8)).astype(np.float32) for _ in range(2))
    value, width = kernel_distance(a, b, block=200)
    assert abs(value) < 2 * width
    value, width = kernel_distance(a, b + 0.5, block=200)
    assert value > 5 * width
    assert kernel_distance(a, b + 0.5, block=200) == (value, width)
    with pytest.raises(ValueError, match="at least 8 images of each set, received 7"):
        kernel_distance(a[:7], b)


def test_neighbourhoods_of_points_worked_out_by_hand():
    real, fake = np.array([0, 1, 3, 300]), np.array([0.5, 5.5, 100, -1000])
    # k = 1, radii of real: 1, 1, 2, 297; of fake: 5, 5, 94.5, 1000.5.
    # 0.5 lies with 0 and 1; 5.5 and 100 with 300; -1000 with none. 3 holds no fake. 300 is in no fake's ball.
    direction = np.array([0.6, -0.8])
    found = neighbourhoods(real[:, None] * direction + 7, fake[:, None] * direction + 7, k=1)
    assert found == {"precision": 3 / 4, "recall": 3 / 4, "density": 4 / 4, "coverage": 3 / 4}
    with pytest.raises(ValueError, match="more than 5 images of each set, received 4 and 4"):
        neighbourhoods(real[:, None], fake[:, None])


def test_swd_of_many_images_is_as_exact_as_of_few():
    """Once the patches' mean and deviation were summed in an order in which float32 loses 1 % of the distance
    here, and more of more images."""
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, top, (1500, 16, 16, 3), np.uint8) for top in (256, 128))

    class Exact(metrics.SlicedWasserstein):
        def _patches(self, images, numbers):
            for first, found in super()._patches(images, numbers):
                yield first, {number: patches.astype(np.float64) for number, patches in found.items()}

    usual, exact = (kind(real).distance(fake)["swd"] for kind in (metrics.SlicedWasserstein, Exact))
    assert usual == pytest.approx(exact, rel=1e-4)


def test_neighbourhoods_tell_what_is_wrong():
    rng = np.random.default_rng(0)
    real, same = rng.normal(size=(600, 4)), rng.normal(size=(600, 4))
    healthy = neighbourhoods(real, same)
    assert min(healthy.values()) > 0.85
    narrow = neighbourhoods(real, 0.2 * same)  # typical images only
    assert narrow["precision"] > 0.95 and narrow["recall"] < 0.2 and narrow["coverage"] < 0.5
    off = neighbourhoods(real, same + 5)
    assert max(off.values()) < 0.1


def test_nearest_agrees_with_scipy_however_it_is_chunked(monkeypatch):
    rng = np.random.default_rng(0)
    a, b = rng.normal(100, 1, (53, 5)), rng.normal(100, 1, (40, 5))
    table = distance.cdist(a, b)
    whole, numbers = nearest(a, b, 3)
    np.testing.assert_array_equal(numbers, table.argsort(axis=1)[:, :3])
    np.testing.assert_allclose(whole, np.sort(table, axis=1)[:, :3], rtol=1e-9)
    for chunk in (1, 7, 53):
        pieces = list(metrics._squared_distances(a, b, chunk))
        assert [start for start, _ in pieces] == list(range(0, 53, chunk))
        np.testing.assert_allclose(np.concatenate([piece for _, piece in pieces]), table**2, rtol=1e-5)
    assert (nearest(a[:3], a, 1)[0] == 0).all()  # not nearly
    own = np.array([4, 30, 52])
    others = distance.cdist(a, a) + 1e9 * np.eye(53)
    found, numbers = nearest(a[own], a, 1, own)
    np.testing.assert_array_equal(numbers[:, 0], others[own].argmin(axis=1))
    np.testing.assert_allclose(found[:, 0], others[own].min(axis=1), rtol=1e-9)


def test_memorisation_knows_copies_from_new_images(monkeypatch):
    rng = np.random.default_rng(0)
    real, new = rng.normal(size=(500, 6)), rng.normal(size=(400, 6))
    copies = real[::2] + 1e-3 * rng.normal(size=(250, 6))
    share, numbers, ratio = memorisation(real, copies)
    assert share == 1 and (numbers == np.arange(0, 500, 2)).all() and ratio.max() < 0.1
    doubled = np.concatenate([real, real[:100]])  # duplicates must not hide copies
    assert memorisation(doubled, copies)[0] == 1
    for held_out in (None, rng.normal(size=(300, 6))):
        assert memorisation(real, new, held_out)[0] < 0.12
    monkeypatch.setattr(metrics, "USUAL", 200)  # of 500: each third
    assert memorisation(real, new)[0] < 0.12
    assert memorisation(real, copies)[0] == 1


@pytest.mark.parametrize("times", [2, 3])
def test_images_that_are_there_more_than_once_hide_no_copies_and_make_none(times):
    rng = np.random.default_rng(0)
    real, new = rng.normal(size=(500, 6)), rng.normal(size=(400, 6))
    copies = real[::2] + 1e-3 * rng.normal(size=(250, 6))
    share, numbers, _ = memorisation(np.repeat(real, times, 0), copies)
    assert share == 1 and (numbers == times * np.arange(0, 500, 2)).all()
    mostly = np.concatenate(
        [real, *[real[:450] * (1 + 1e-7 * rng.normal(size=(450, 6)))] * (times - 1)]
    )  # rounded otherwise
    assert memorisation(mostly, copies)[0] == 1
    assert memorisation(mostly, new)[0] == memorisation(real, new)[0] < 0.12
    seen = np.concatenate([new[:200], *[real[:300]] * times])  # held out, and trained on after all
    assert memorisation(real, copies, seen)[0] == 1
    assert memorisation(real, new[200:], seen)[0] == memorisation(real, new[200:], new[:200])[0]


def test_neighbourhoods_are_of_distinct_images():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 300, 4))
    once = neighbourhoods(real, fake)
    assert min(once.values()) > 0.8
    for more in (
        (np.repeat(real, 6, 0), fake),
        (real, np.repeat(fake, 6, 0)),
        (np.tile(real, (2, 1)), np.tile(fake, (6, 1))),
    ):
        assert neighbourhoods(*more) == pytest.approx(once)
    often = np.concatenate([fake, *[fake[:1] + 1000] * 100])  # what is drawn often counts as often
    assert neighbourhoods(real, often)["precision"] == pytest.approx(once["precision"] * 300 / 400)


def test_of_images_that_are_there_twice_every_class_is_compared():
    rng = np.random.default_rng(0)
    place = np.repeat([[0, 0], [100, 100]], 100, axis=0)  # two classes, one after the other
    real, fake = (place[::step] + rng.normal(size=(200 // step, 2)) for step in (2, 1))
    real = real.repeat(2, axis=0)
    found, _, notes = evaluation.of_features(["prdc"], real, np.arange(200), fake, None)
    assert found["coverage"] > 0.8 and notes == [
        "100 of 200 real images are distinct: prdc is of those and as many generated ones"
    ]


def test_too_few_distinct_images_are_told_in_place_of_a_figure():
    few = np.repeat(np.eye(4), 5, 0)
    with pytest.raises(
        ValueError, match="expected more than 5 images of each set, received 4 and 20 distinct ones"
    ):
        neighbourhoods(few, np.random.default_rng(0).normal(size=(20, 4)))
    with pytest.raises(ValueError, match="expected at least 2 distinct images, received 1 among 5"):
        memorisation(few[:5], few)
    with pytest.raises(
        ValueError, match="expected held-out images that are new, received 5 that were all trained on"
    ):
        memorisation(few, few, few[:5])


def test_distinct_finds_the_first_of_each_wherever_the_others_are(monkeypatch):
    rng = np.random.default_rng(0)
    for rows, chunk in ((rng.normal(size=(40, 3)), 7), (rng.integers(0, 256, (40, 12), np.uint8), 500)):
        monkeypatch.setattr(metrics, "ROWS", chunk)
        order = rng.permutation(np.repeat(np.arange(40), rng.integers(1, 5, 40)))
        assert metrics.distinct(rows[order]).tolist() == sorted(
            np.unique(order, return_index=True)[1].tolist()
        )
    assert metrics.distinct(np.ones((30, 4)) * (1 + 1e-8 * rng.normal(size=(30, 1)))).tolist() == [0]


@pytest.mark.parametrize("count, dim", [(40, 6), (6, 40)])  # as many equations as numbers, as many as rows
def test_ridge_is_where_the_gradient_of_its_loss_is_zero(count, dim):
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 1, (count, dim)).astype(np.float32), rng.normal(size=(count, 2)).astype(np.float32)
    for penalty, (weights, bias) in zip((0.1, 10), metrics.ridge(x, y, [0.1, 10])):
        error = x @ weights + bias - y
        np.testing.assert_allclose(x.T @ error / count + penalty * weights, 0, atol=1e-4)
        np.testing.assert_allclose(error.mean(axis=0), 0, atol=1e-5)


def test_a_linear_probe_is_right_where_a_line_tells_and_is_at_chance_where_none_does():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 5)).astype(np.float32) * [1, 100, 0.01, 1, 1] + [0, 0, 7, 0, 0]
    vectors[:, 4] = 3  # says nothing, and has no deviation to be divided by
    told = (vectors[:, 2] > 7).astype(int)  # by the smallest of the numbers
    assert metrics.linear_probe(vectors.astype(np.float32), told, 100) > 0.93
    assert 0.35 < metrics.linear_probe(vectors.astype(np.float32), rng.permutation(told), 100) < 0.65
    ring = (np.hypot(vectors[:, 0], vectors[:, 3]) > 1.18).astype(int)  # half of them, and no line
    assert 0.35 < metrics.linear_probe(vectors.astype(np.float32), ring, 100) < 0.65


def test_a_linear_probe_chooses_its_penalty():
    """200 numbers of noise and one that tells, 200 vectors to learn from: without a penalty the noise is
    overfit."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    vectors = rng.normal(size=(600, 201)).astype(np.float32)
    vectors[:, 0] += 3 * labels
    weights, bias = next(metrics.ridge(vectors[400:], np.eye(2, dtype=np.float32)[labels[400:]], [1e-3]))
    unpenalised = np.mean(np.argmax(vectors[:200] @ weights + bias, axis=1) == labels[:200])
    assert metrics.linear_probe(vectors, labels, 200) > unpenalised + 0.1
