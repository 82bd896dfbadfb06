import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan.model.networks import (
    MinibatchStd,
    SpectralNormalization,
    discriminator,
    generator,
    is_halved,
    levels,
    plain,
)
from keras_dcgan.model.shapes import base_grid, widths


def test_at_64_pixels_they_are_the_papers():
    G, D = generator((64, 64), 3), discriminator((64, 64), 3)
    shapes = [
        layer.output.shape[1:]
        for layer in G.layers
        if layer.name in ("reshape", "up_0", "up_1", "up_2", "to_image")
    ]
    assert shapes == [(4, 4, 512), (8, 8, 256), (16, 16, 128), (32, 32, 64), (64, 64, 3)]
    shapes = [layer.output.shape[1:] for layer in D.layers if isinstance(layer, keras.layers.Conv2D)]
    assert shapes == [(32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512), (1, 1, 1)]
    # 100*8192 + 4*8192 norm, then kernels 4*4*in*out and 4 numbers a channel of batch norm, then 4*4*64*3 + 3
    assert (
        G.count_params()
        == 100 * 8192 + 4 * 512 + 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 4 * (256 + 128 + 64) + 3
    )
    assert not any(layer.name == "down_0_norm" for layer in D.layers)


def test_weights_start_from_the_papers_distribution():
    for model in (generator((32, 32), 3), discriminator((32, 32), 3)):
        kernels = np.concatenate([w.numpy().ravel() for w in model.weights if w.name == "kernel"])
        assert abs(kernels.mean()) < 1e-3 and abs(kernels.std() - 0.02) < 1e-3


@pytest.mark.parametrize("classes", [0, 3])
def test_no_two_layers_start_from_the_same_numbers(classes):
    for model in (generator((32, 32), 3, classes=classes), discriminator((32, 32), 3, classes=classes)):
        starts = [tuple(w.numpy().ravel()[:4]) for w in model.weights if w.name in ("kernel", "embeddings")]
        assert len(set(starts)) == len(starts) > 3


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (28, 28), (64, 48), (100, 37), (16, 160), (512, 512)])
@pytest.mark.parametrize("upsample", ["transpose", "nearest"])
def test_any_size_and_channels(size, upsample):
    for channels in (1, 3, 4):
        G = generator(size, channels, latent_dim=5, filters=2, upsample=upsample)
        D = discriminator(size, channels, filters=2)
        assert G.output_shape == (None, *size, channels) and G.input_shape == (None, 5)
        assert D.input_shape == (None, *size, channels) and D.output_shape == (None, 1)


def test_base_grids_are_four_to_six_cells_and_cover_the_size():
    for side in range(16, 513):
        (cells, _), doublings = base_grid((side, side))
        assert 4 <= cells <= 6
        assert 0 <= cells * 2**doublings - side < 2**doublings


def test_widths_are_capped():
    assert widths(8, 6) == [8, 16, 32, 64, 64, 64]


def test_an_odd_size_is_the_middle_of_the_grid():
    G = generator(
        (21, 21), 1, latent_dim=4, filters=2
    )  # 6 cells times 4 are 24: one row off at the top, two at the bottom
    uncropped = keras.Model(G.input, G.get_layer("to_image").output)
    z = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    np.testing.assert_allclose(
        G.predict(z, verbose=0), np.tanh(uncropped.predict(z, verbose=0)[:, 1:22, 1:22]), atol=1e-6
    )


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_in_mixed_precision_weights_and_results_stay_float32(precision):
    G, D = (
        generator((16, 16), 3, filters=2, precision=precision),
        discriminator((16, 16), 3, filters=2, precision=precision),
    )
    assert {w.dtype for w in G.weights + D.weights} == {"float32"}
    images = G(np.zeros((1, 100), "float32"))
    assert images.dtype == "float32" and D(images).dtype == "float32"
    assert G.get_layer("up_0").compute_dtype == precision.removeprefix("mixed_")


def test_unknown_upsampling_is_named():
    with pytest.raises(ValueError, match="transpose.*received upsample='bilinear'"):
        generator((16, 16), 3, upsample="bilinear")


def test_conditional_networks_take_a_label_that_matters():
    G, D = (
        generator((16, 16), 3, latent_dim=6, filters=4, classes=3),
        discriminator((16, 16), 3, filters=4, classes=3),
    )
    z, label = np.ones((3, 6), "float32"), np.arange(3)
    pictures = G([z, label]).numpy()
    assert pictures.shape == (3, 16, 16, 3) and not np.allclose(pictures[0], pictures[1])
    one_picture = pictures[:1].repeat(3, 0)
    logits, guesses = (output.numpy() for output in D([one_picture, label]))
    np.testing.assert_array_equal(guesses, guesses[:1].repeat(3, 0))
    # Projection: the logits of two classes differ by the summed features times the difference of their
    # vectors.
    features = keras.Model(D.inputs, D.get_layer("features").output)([one_picture, label]).numpy() * 16
    meaning = D.get_layer("meaning").embeddings.numpy()
    np.testing.assert_allclose(
        logits[1] - logits[0], features[0] @ (meaning[1] - meaning[0]), rtol=1e-3, atol=1e-6
    )


def test_what_z_says_keeps_its_size_whatever_the_classes_say():
    """Or a generator learns to leave z out, and a class is one image."""
    G = generator((16, 16), 3, latent_dim=6, filters=4, classes=3)
    G.get_layer("project").kernel.assign(G.get_layer("project").kernel * 10)
    inputs = [np.random.default_rng(0).normal(size=(64, 6)).astype("float32"), np.arange(64) % 3]
    of_z = keras.Model(G.inputs, G.get_layer("project_norm").output)(inputs, training=True).numpy()
    np.testing.assert_allclose(
        of_z.std(axis=(0, 1, 2)), 1, atol=0.2
    )  # in the square root there is an epsilon
    assert [weight.name for weight in G.get_layer("project_norm").trainable_weights] == ["beta"]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_spectral_normalisation_divides_by_the_largest_singular_value(precision):
    keras.utils.set_random_seed(0)  # two values that are nearly the same take it many more steps
    plain = keras.layers.Conv2D(
        3, 4, 2, "same", kernel_initializer="glorot_normal", bias_initializer="ones", dtype=precision
    )
    bounded = SpectralNormalization(plain)
    pictures = np.random.default_rng(0).normal(size=(2, 8, 8, 5)).astype("float32")
    for _ in range(60):  # of the power iteration
        outputs = bounded(pictures, training=True)
    kernel = plain.kernel.numpy()
    largest = np.linalg.svd(kernel.reshape(-1, 3))[1][0]
    assert outputs.dtype == plain.compute_dtype
    wanted = (plain(pictures) - 1) / largest + 1
    np.testing.assert_allclose(
        outputs.numpy().astype("float32"),
        wanted.numpy().astype("float32"),
        atol=1e-4 if precision == "float32" else 0.06,
    )


def test_spectral_normalisation_has_a_gradient_through_the_value():
    """The outputs do not depend on the kernel's scale, so the gradient has no part along the kernel."""
    bounded = SpectralNormalization(keras.layers.Conv2D(3, 4, 2, "same", use_bias=False))
    pictures = np.random.default_rng(0).normal(size=(2, 8, 8, 5)).astype("float32")
    for _ in range(60):
        bounded(pictures, training=True)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(bounded(pictures) ** 2)
    gradient, kernel = (
        tape.gradient(total, bounded.layer.kernel.value).numpy().ravel(),
        bounded.layer.kernel.numpy().ravel(),
    )
    assert abs(gradient @ kernel) < 1e-3 * np.linalg.norm(gradient) * np.linalg.norm(kernel)


@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_without_batch_norm_each_logit_is_its_own_image_s(norm):
    D = discriminator((16, 16), 3, filters=4, norm=norm)
    pictures = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    alone, among_others = D(pictures[:1]), D(pictures, training=True)[:1]
    np.testing.assert_allclose(among_others, alone, atol=1e-6)


def test_unknown_norm_is_named():
    with pytest.raises(ValueError, match="spectral.*received norm='layer'"):
        discriminator((16, 16), 3, norm="layer")


def test_spread_within_groups_is_a_channel_of_its_own():
    """Worked out by hand: two groups of two, the first of equal images, the second of 1 and 3 in one of two
    channels."""
    images = np.zeros((4, 1, 2, 2), np.float32)
    images[1, ..., 0], images[3, ..., 0] = 1, 3  # groups are every other image: 0 and 2, 1 and 3
    found = MinibatchStd(2)(images).numpy()
    assert found.shape == (4, 1, 2, 1)
    np.testing.assert_allclose(found[:, 0, 0, 0], [0, 0.5, 0, 0.5], atol=1e-4)
    np.testing.assert_allclose(
        MinibatchStd(4)(images[:3]).numpy().ravel(), 6 * [np.sqrt(2) / 3 / 2], rtol=1e-3
    )  # three
    np.testing.assert_allclose(MinibatchStd(4)(images[1:2]).numpy(), 1e-4)  # of one image


def test_spread_of_a_batch_reaches_each_logit():
    keras.utils.set_random_seed(0)
    D = discriminator((16, 16), 3, filters=4, norm="none", minibatch_std=4)
    pictures = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    assert np.abs(D(pictures[:1]) - D(pictures)[:1]).max() > 1e-3


def test_what_looks_at_a_whole_batch_out_of_sight_is_not_cut_into_halves():
    assert is_halved(discriminator((16, 16), 3, 4, classes=2, minibatch_std=4, stem=2))
    assert not is_halved(discriminator((16, 16), 3, 4, norm="spectral"))
    norm = keras.Sequential([keras.layers.BatchNormalization()])
    spectral = keras.layers.SpectralNormalization(keras.layers.Dense(1))
    for layer in (norm, spectral):
        assert not is_halved(keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), layer]))


def test_what_is_found_at_a_level_is_what_the_next_one_reads():
    D = discriminator((16, 16), 3, filters=2, norm="none", stem=3, blocks=2)
    assert [found.shape[1:] for found in levels(D)] == [(16, 16, 3), (8, 8, 2), (4, 4, 4)]
    readers = [D.get_layer(name).input for name in ("down_0", "down_1", "score")]
    assert all(found is read for found, read in zip(levels(D), readers))
    chain = discriminator((16, 16), 3, filters=2, norm="none")
    leaky = [layer.output for layer in chain.layers if isinstance(layer, keras.layers.LeakyReLU)]
    assert all(found is output for found, output in zip(levels(chain), leaky, strict=True))


@pytest.mark.parametrize("build", [generator, discriminator])
def test_of_one_side_an_image_is_square(build):
    assert build(16, 3, filters=2).count_params() == build((16, 16), 3, filters=2).count_params()
    with pytest.raises(
        ValueError, match=r"^expected size to be a side or \(height, width\), received size='16'"
    ):
        build("16", 3)


@pytest.mark.parametrize("size, coarse", [((64, 64), 3), ((128, 64), 2)])
def test_blocks_are_where_a_grid_is_no_finer_than_16x16(size, coarse):
    """4x4, 8x8 and 16x16; 8x4 and 16x8, but not 32x16. Each goes through a quarter of the channels."""
    G = generator(size, 3, latent_dim=6, filters=4, blocks=1)
    D = discriminator(size, 3, filters=4, norm="none", blocks=1)
    for network in (G, D):
        necks = [layer for layer in network.layers if layer.name.endswith("_block_0_in")]
        grids = [np.prod(layer.output.shape[1:3]) for layer in necks]
        assert len(necks) == coarse and max(grids) <= 256
        assert all(4 * layer.filters == layer.input.shape[-1] for layer in necks)


def test_blocks_of_the_generator_have_norms_and_change_nothing_at_first():
    G = generator((16, 16), 3, latent_dim=6, filters=2, blocks=2)
    inner = [layer for layer in G.layers if layer.name.endswith("_in")]
    assert len(inner) == 4 and not any(layer.use_bias for layer in inner)
    for layer in inner:
        assert isinstance(G.get_layer(f"{layer.name}_norm"), keras.layers.BatchNormalization)
    z = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    before, after = (
        keras.Model(G.input, G.get_layer(name).output)(z, training=True)
        for name in ("up_0_relu", "up_0_block_1")
    )
    np.testing.assert_array_equal(before, after)
    D = discriminator((16, 16), 3, filters=2, norm="none", blocks=2)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in D.layers)


def test_bounded_blocks_are_bounded_and_loaded_without_this_package():
    keras.utils.set_random_seed(0)
    D = discriminator((16, 16), 3, filters=2, norm="spectral", blocks=1)
    pictures = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    for _ in range(60):  # of the power iteration
        D(pictures, training=True)
    largest = [
        np.linalg.svd(layer.divided()[0].numpy().reshape(-1, layer.layer.filters))[1][0]
        for layer in D.layers
        if isinstance(layer, SpectralNormalization) and "_block_" in layer.name
    ]
    np.testing.assert_allclose(largest, 4 * [1], atol=0.02)
    used = plain(D)
    assert not any(isinstance(layer, SpectralNormalization) for layer in used.layers)
    np.testing.assert_allclose(used(pictures), D(pictures), atol=1e-5)
