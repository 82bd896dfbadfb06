"""`python -m keras_dcgan.features`: what the vectors are, in every form, and that the probe finds what is
there to be found."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from keras_dcgan import fit
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.model import networks
from keras_dcgan.model.extractor import extractor
from keras_dcgan.runs import checkpoints, directory
from keras_dcgan.training.build import build

CLASSES = ["across", "down"]


@pytest.fixture(scope="module", params=["batch", "conditional", "spectral"])
def run(request, tmp_path_factory):
    """A run of one checkpoint, untrained, with statistics in its batch norm: its directory and its
    discriminator."""
    path, conditional = tmp_path_factory.mktemp(request.param) / "run", request.param == "conditional"
    typed = ["--data", "x", "--run", str(path), *"--size 24x16 --filters 4 --precision bfloat16".split()]
    typed += ["--conditional"] if conditional else ["--d-norm", request.param]
    config = fit.settings_of(fit.read(typed))
    gan = build(config, 3, len(CLASSES) * conditional)
    for layer in gan.discriminator.layers:
        layer.momentum = 0.5
    pictures = np.random.default_rng(0).uniform(-1, 1, (8, 24, 16, 3)).astype("float32")
    gan.discriminator([pictures, np.zeros(8, int)] if conditional else pictures, training=True)
    manifest = Manifest(count=8, size=config.size, channels=3, classes=CLASSES * conditional, fingerprint="x")
    with directory.begin(config, manifest) as begun:
        checkpoints.save(begun, gan)
    return path, gan.discriminator


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(1).uniform(-1, 1, (3, 24, 16, 3)).astype("float32")


def of_windows(layer, pool="max"):
    """(N, H, W, C) -> (N, 16 * C): the largest, or the mean, of each of 4 x 4 windows."""
    height, width = layer.shape[1:3]
    found = []
    for row in range(4):
        for column in range(4):
            top, left = row * (height // 4), column * (width // 4)
            bottom, right = top + height - 3 * (height // 4), left + width - 3 * (width // 4)
            found.append(getattr(layer[:, top:bottom, left:right], pool)(axis=(1, 2)))
    assert (bottom, right) == (height, width)
    return np.stack(found, axis=1).reshape(len(layer), -1)


def test_vectors_are_all_layers_pooled_and_the_same_in_every_form(run, pictures, tmp_path, command):
    path, discriminator = run
    outputs = [discriminator.get_layer(f"{name}_leaky").output for name in ("stem", "down_0", "down_1")]
    inner = keras.Model(discriminator.input, outputs)
    layers = inner(
        [pictures, np.zeros(3, int)] if len(discriminator.inputs) > 1 else pictures, training=False
    )
    expected = np.concatenate([of_windows(layer.numpy().astype("float32")) for layer in layers], axis=1)
    for name in ("new/features.keras", "features.tflite", "saved_model"):
        done = command("keras_dcgan.features", "--run", path, "--out", tmp_path / name)
        assert done.returncode == 0 and done.stderr == ""
        assert done.stdout == f"448 numbers an image, in {tmp_path / name}\n"  # 16 * (16 + 4 + 8)
    loaded = keras.saving.load_model(tmp_path / "new" / "features.keras", safe_mode=True)
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {
        "keras"
    }  # needs nothing of ours
    exact = loaded(pictures)
    np.testing.assert_allclose(exact, expected, atol=0.05)  # that was bfloat16
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["features"](images=pictures)[
        "features"
    ]
    np.testing.assert_allclose(served, exact, atol=1e-5)
    runner = Interpreter(str(tmp_path / "features.tflite")).get_signature_runner("features")
    assert runner.get_input_details()["images"]["shape_signature"].tolist() == [1, 24, 16, 3]
    np.testing.assert_allclose(runner(images=pictures[1:2])["features"], exact[1:2], atol=1e-5)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["features.tflite", "new", "saved_model"]


@pytest.mark.parametrize("size", [(16, 16), (20, 37), (100, 64), (16, 160)])
def test_any_size_becomes_a_grid_of_four(size):
    network = extractor(networks.discriminator(size, 1, filters=1))
    channels = sum(layer.filters for layer in network.layers if isinstance(layer, keras.layers.Conv2D))
    assert network.output_shape == (None, 16 * channels)
    last = next(layer for layer in reversed(network.layers) if isinstance(layer, keras.layers.MaxPooling2D))
    pooled = keras.Model(network.input, [last.input, last.output])
    before, after = pooled(np.random.default_rng(0).normal(size=(2, *size, 1)).astype("float32"))
    np.testing.assert_array_equal(after.numpy().reshape(2, -1), of_windows(before.numpy()))


def test_mean_takes_the_mean_of_each_cell(run, pictures, tmp_path, command):
    path, discriminator = run
    done = command("keras_dcgan.features", "--run", path, "--out", tmp_path / "mean.keras", "--pool", "mean")
    assert done.returncode == 0, done.stderr
    inner = keras.Model(discriminator.input, discriminator.get_layer("stem_leaky").output)
    layer = inner([pictures, np.zeros(3, int)] if len(discriminator.inputs) > 1 else pictures, training=False)
    expected = of_windows(layer.numpy().astype("float32"), "mean")
    found = keras.saving.load_model(tmp_path / "mean.keras", safe_mode=True).predict(pictures, verbose=0)
    np.testing.assert_allclose(
        found[:, : expected.shape[1]], expected, atol=0.02
    )  # the discriminator's own was bfloat16


@pytest.fixture(scope="module")
def stripes(tmp_path_factory):
    """Dark and light lines that go across or down, wherever they begin: every pixel of either class is as
    often dark as light."""
    root, rng = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for index in range(100):
            lines = ((np.arange(24) + rng.integers(8)) // 4 % 2 * 200).astype(np.uint8)
            picture = np.tile(lines[:, None], (1, 24)) if name == "across" else np.tile(lines, (24, 1))
            Image.fromarray(np.stack([picture] * 3, axis=-1)).save(root / name / f"{index}.png")
    return root


@pytest.mark.parametrize("run", ["conditional"], indirect=True)
def test_the_probe_finds_with_features_what_is_in_no_single_pixel(run, stripes, tmp_path, command):
    path, _ = run
    typed = ["--run", path, "--linear-probe", stripes, "--cache", tmp_path / "cache"]
    done = command("keras_dcgan.features", *typed)
    assert done.returncode == 0 and done.stderr == "" and len([*(tmp_path / "cache").iterdir()]) == 1
    *_, header, pixels, untrained, trained, note = done.stdout.splitlines()
    assert note.startswith("note: this run has learned from labels")
    assert header == "200 images in 2 classes, 40 of them held out (seed 0)"
    words = [line.split() for line in (pixels, untrained, trained)]
    assert [row[:-7] for row in words] == [["pixels"], ["random", "weights"], [str(path)]]
    assert [row[-7] for row in words] == ["1,152", "448", "448"]  # 24 * 16 * 3 pixels
    shares = [float(row[-5]) for row in words]
    assert shares[0] < 75 and shares[1] > 90 and shares[2] > 90


def test_a_probe_alone_does_not_mind_what_is_called_features(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features").mkdir()
    done = command("keras_dcgan.features", "--run", "nowhere", "--linear-probe", ".")
    assert done.returncode == 2 and done.stderr.startswith(
        "features: --run: expected a run directory, received nowhere"
    )


@pytest.mark.parametrize(
    "typed, complaint",
    [
        ([], "--out: expected it, or --linear-probe, or both, received neither"),
        (
            ["--out", "features.h5"],
            "--out: expected NAME.keras, NAME.tflite or a new folder, received features.h5",
        ),
        (
            ["--out", "a.keras", "--cache", "c"],
            "--cache: expected to stand with --linear-probe, received c",
        ),
        (["--out", "."], "--out: expected NAME.keras, NAME.tflite or a new folder, received ."),
        (["--out", "a.keras"], "--run: expected a run directory, received nowhere (no nowhere/config.json)"),
    ],
)
def test_mistakes_are_one_line_and_status_2(typed, complaint, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = command("keras_dcgan.features", "--run", "nowhere", *typed)
    assert done.returncode == 2 and done.stderr == f"features: {complaint}\n"
    assert list(tmp_path.iterdir()) == []
