import hashlib

import keras
import numpy as np
import pytest
from conftest import discs

from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.measure import embeddings


def test_random_features_are_the_same_everywhere_and_tell_pictures_apart():
    embed = embeddings.load("random")
    vectors = embed(discs(8, size=32))
    assert vectors.shape == (8, 1920) and vectors.dtype == np.float32 and (vectors >= 0).all()
    np.testing.assert_allclose(vectors[0, [0, 500, 1919]], [0.28864, 0.50851, 0.54651], rtol=1e-4)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    noisy = embed(np.clip(discs(8, size=32).astype(int) + 3, 0, 255).astype(np.uint8))
    assert np.linalg.norm(noisy - vectors, axis=-1).max() < apart[apart > 0].min()


def test_they_are_the_same_whatever_arithmetic_keras_was_told_to_use():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        embed = embeddings.load("random")
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(embed(discs(2, size=32)), embeddings.load("random")(discs(2, size=32)))


def test_grey_and_transparent_and_large_pictures_are_the_colour_pictures_that_one_sees():
    embed = embeddings.load("random")
    grey = discs(3, size=32)[..., :1]
    np.testing.assert_allclose(embed(grey), embed(grey.repeat(3, -1)), rtol=1e-5)
    opaque = np.concatenate([discs(3, size=32), np.full((3, 32, 32, 1), 255, np.uint8)], -1)
    np.testing.assert_allclose(embed(opaque), embed(discs(3, size=32)), rtol=1e-5)
    np.testing.assert_allclose(
        embed(opaque * np.uint8([1, 1, 1, 0])), embed(np.full_like(discs(3, size=32), 255)), rtol=1e-5
    )
    large = discs(3, size=32).repeat(2, 1).repeat(2, 2)
    assert np.abs(embed(large) - embed(discs(3, size=32))).mean() < 0.05


def test_chunks_change_nothing(monkeypatch):
    pictures = discs(7, size=32)
    whole = embeddings.load("random")(pictures)
    monkeypatch.setattr(embeddings, "CHUNK", 3)
    np.testing.assert_allclose(embeddings.load("random")(pictures), whole, rtol=1e-4, atol=1e-6)


def test_any_model_from_images_to_vectors_will_do(tmp_path):
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.GlobalAveragePooling2D()(images)).save(tmp_path / "mean.keras")
    embed = embeddings.load(str(tmp_path / "mean.keras"))
    assert embed.name.startswith("mean-") and len(embed.name) == 13
    white = np.full((2, 16, 16, 3), 255, np.uint8)
    np.testing.assert_allclose(
        embed(white), 1, atol=1e-6
    )  # images are in [-1, 1], resized to what the model takes


def test_what_is_not_such_a_model_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(
        Unavailable,
        match="^features: expected random, inception or a .keras file, received nothing.keras",
    ):
        embeddings.load("nothing.keras")
    (tmp_path / "text.keras").write_text("no model")
    with pytest.raises(Refused, match="^features: expected a model that Keras can load"):
        embeddings.load(str(tmp_path / "text.keras"))
    images = keras.Input((8, 8, 1))
    keras.Model(images, images * 2).save(tmp_path / "images.keras")
    with pytest.raises(
        Refused, match=r"^features: expected a model from images \(N, H, W, 3\) to \(N, dim\)"
    ):
        embeddings.load(str(tmp_path / "images.keras"))
    keras.Sequential([keras.layers.Dense(2)]).save(tmp_path / "unbuilt.keras")
    with pytest.raises(Refused, match=r"to \(N, dim\), received None to None"):
        embeddings.load(str(tmp_path / "unbuilt.keras"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        Unavailable,
        match="^features: expected Inception's weights in .*; fetch https://storage.googleapis",
    ):
        embeddings.load("inception")
    with pytest.raises(Refused, match="^inception_weights: expected Inception's weights, received"):
        embeddings.load("inception", str(tmp_path / "text.keras"))


def test_inception_is_put_together_from_a_file_of_weights(tmp_path, monkeypatch):
    model = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=(299, 299, 3), pooling="avg"
    )
    model.save_weights(tmp_path / "some.weights.h5")
    before = model.get_weights()[0]
    model.set_weights([weight * 0 for weight in model.get_weights()])
    monkeypatch.setattr(
        keras.applications, "InceptionV3", lambda **options: model
    )  # building it again takes seconds
    embed = embeddings.load("inception", str(tmp_path / "some.weights.h5"))
    assert embed(discs(1, size=32)).shape == (1, 2048)
    assert (
        embed.name
        == f"inception-{hashlib.sha256((tmp_path / 'some.weights.h5').read_bytes()).hexdigest()[:8]}"
    )
    np.testing.assert_array_equal(model.get_weights()[0], before)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_vectors_of_a_network_in_half_the_bits_are_float32(precision, tmp_path):
    images = keras.Input((8, 8, 3))
    keras.Model(images, keras.layers.GlobalAveragePooling2D(dtype=precision)(images)).save(
        tmp_path / "half.keras"
    )
    assert embeddings.load(str(tmp_path / "half.keras"))(discs(2)).dtype == np.float32
