from types import SimpleNamespace

import numpy as np
import pytest

from keras_dcgan.errors import Refused
from keras_dcgan.pictures.latents import directions, latents, load, save, slerp, threefry, truncate, walk


@pytest.mark.parametrize(
    "key, counter, expected",
    [  # the known answers that Random123 (Salmon et al.) ships for threefry2x32 with 20 rounds
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(key, counter, expected):
    assert tuple(int(word[0]) for word in threefry(key, counter)) == expected


def test_seeds_keep_their_latents_for_ever():
    # Golden values: whoever changes them changes every image that users have named by its seed.
    z = latents([0, 7, 2**32 - 1], 5)
    expected = [
        [-1.0654525, -0.7792130, 0.0323991, -1.5203084, 1.3601084],
        [-0.0404642, -0.4362647, -0.3205668, 0.7990275, 1.9440784],
        [0.8304964, -1.4310553, -1.1234566, -1.4371946, 1.7380916],
    ]
    assert z.dtype == np.float32
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-6)


def test_a_seed_does_not_depend_on_its_neighbours_nor_on_the_dimension():
    together, alone = latents(range(10), 100), latents([7], 33)
    np.testing.assert_array_equal(together[7, :33], alone[0])


def test_latents_are_standard_normal_and_uncorrelated():
    z = latents(range(4000), 50).astype(np.float64)
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
    assert abs((z**4).mean() - 3) < 0.1  # the kurtosis of a normal distribution
    correlation = np.corrcoef(z.T) - np.eye(50)
    assert np.abs(correlation).max() < 0.09  # 1225 pairs of 4000 draws each: 5.7 standard errors
    assert np.isfinite(z).all()


def test_truncation_scales():
    z = latents([3], 10)
    np.testing.assert_array_equal(truncate(z, 1), z)
    np.testing.assert_allclose(truncate(z, 0.5), z / 2)


def test_slerp_meets_both_ends_and_keeps_the_length():
    a, b = np.array([2.0, 0, 0]), np.array([0, 2.0, 0])
    np.testing.assert_allclose(slerp(a, b, 0), a, atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, 1), b, atol=1e-6)
    np.testing.assert_allclose(slerp(a, b, 0.5), [2**0.5, 2**0.5, 0], atol=1e-6)
    np.testing.assert_allclose(slerp(a, a, 0.3), a, atol=1e-6)


def test_a_walk_closes():
    stops = latents(range(3), 8)
    path = walk(stops, 10)
    assert path.shape == (30, 8)
    np.testing.assert_allclose(path[::10], stops, atol=1e-6)
    steps = np.linalg.norm(path - np.roll(path, -1, axis=0), axis=1)
    assert steps.max() < 3 * steps.mean()  # also from the last frame back to the first


def test_directions_are_the_principal_components_of_the_first_layers_activations():
    latent_dim, units = 5, 40
    kernel = np.random.default_rng(0).normal(size=(latent_dim, units))
    kernel *= np.array([1, 7, 1, 4, 2])[:, None]
    layer = SimpleNamespace(kernel=kernel)
    found = directions(SimpleNamespace(get_layer={"project": layer}.get), count=2)
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-5)

    # GANSpace: the components of many activations, and the z that each of them goes with by regression.
    z = latents(range(20_000), latent_dim).astype(np.float64)
    activations = z @ kernel
    components = np.linalg.eigh(np.cov(activations.T))[1].T[::-1][:2]
    along = np.linalg.lstsq(activations @ components.T, z, rcond=None)[0]
    cosines = np.abs(np.sum(along * found, axis=1)) / np.linalg.norm(along, axis=1)
    assert cosines.min() > 0.999
    assert (np.abs(found).argmax(axis=1) == [1, 3]).all() and (
        found.max(axis=1) == np.abs(found).max(axis=1)
    ).all()


def test_one_stop_is_no_walk():
    with pytest.raises(ValueError, match="expected at least 2 latents to walk between, received 1"):
        walk(latents([0], 8), 10)


def test_latents_are_read_as_they_were_written(tmp_path):
    save(latents([3, 4], 5), tmp_path / "new" / "z.npy")
    np.testing.assert_array_equal(load(tmp_path / "new" / "z.npy", 5), latents([3, 4], 5))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["z.npy"]
    np.save(tmp_path / "one.npy", np.arange(5.0))  # float64, and a single one
    one = load(tmp_path / "one.npy", 5)
    assert one.dtype == np.float32 and one.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    "content",
    [
        np.zeros((2, 4)),
        np.zeros((1, 1, 5)),
        np.zeros((0, 5)),
        np.full(5, np.nan),
        np.full(5, 1e39),  # float32 has no such number
        np.zeros(5, int),
        np.array([None] * 5),
        None,
    ],
)
def test_what_is_no_latent_is_refused(content, tmp_path):
    (tmp_path / "z.npy").write_text("")
    if content is not None:
        np.save(tmp_path / "z.npy", content, allow_pickle=True)
    with pytest.raises(
        Refused, match=r"^latent: expected a \.npy of float latents of length 5, received .*z\.npy"
    ):
        load(tmp_path / "z.npy", 5)
