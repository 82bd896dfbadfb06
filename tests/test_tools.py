"""The arithmetic inside the benches and the judge."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_dcgan import runs
from tools import classify, modes
from tools.bench import train


def test_the_work_of_a_step_is_counted_from_the_shapes():
    first, g = 100 * 8192, 16 * (16 * 512 * 256 + 64 * 256 * 128 + 256 * 128 * 64 + 1024 * 64 * 3)
    d = 16 * (1024 * 3 * 64 + 256 * 64 * 128 + 64 * 128 * 256 + 16 * 256 * 512 + 512)
    from_images = 16 * 1024 * 3 * 64  # nobody needs the gradient of images that D learns from
    assert train.multiply_adds(64, 64) == 2 * first + 3 * g + 2 * (3 * d - from_images) + 2 * d


def test_few_takes_so_many_of_each_class_and_none_that_are_held_out():
    learnt, tested = classify.split(100)
    labels = np.arange(100) % 3
    chosen = classify.few(labels, learnt, 7, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [7, 7, 7]
    assert not set(chosen) & set(tested) and len(set(chosen)) == 21
    assert len(tested) == 20


def test_a_classifier_learns_what_is_plain():
    images = np.where(np.arange(64)[:, None, None, None] % 2, 200, 40).repeat(16, 1).repeat(16, 2).repeat(3, 3).astype(np.uint8)
    labels = np.arange(64) % 2
    model = classify.train(images, labels, classes=2, steps=80, batch=16)
    assert classify.accuracy(model, images, labels) == 1.0


def test_caps_are_counted_by_their_colours(tmp_path, monkeypatch):
    assert sum(share for _, share in modes.CAPS.values()) == pytest.approx(1)
    few = {name: (modes.CAPS[name][0], share) for name, share in (("red", 0.7), ("blue", 0.3))}
    monkeypatch.setattr(modes, "CAPS", few)
    monkeypatch.setattr(modes, "STEPS", 40)
    modes.draw(SimpleNamespace(seed=0, count=60, out=str(tmp_path)))
    assert {path.name for path in tmp_path.iterdir()} == {"red", "blue"}
    blue = np.asarray(modes.demo.Image.open(next((tmp_path / "blue").iterdir()))) / np.float32(127.5) - 1
    draws_blue = lambda z, training=False: tf.tile(blue[None], (len(z), 1, 1, 1))  # noqa: E731
    draws_blue.inputs = [SimpleNamespace(shape=(None, 5))]
    monkeypatch.setattr(runs, "load_generator", lambda path: draws_blue)
    text = modes.count(SimpleNamespace(data=str(tmp_path), run="run", samples=32))
    shares = {name: (float(real), float(drawn)) for name, real, drawn in re.findall(r"(red|blue) +([\d.]+)% +([\d.]+)%", text)}
    assert shares["blue"][1] == 100 and shares["red"][1] == 0
    assert shares["red"][0] + shares["blue"][0] == pytest.approx(100) and shares["red"][0] > 50
