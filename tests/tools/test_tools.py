"""The arithmetic inside the benches and the judge."""

import json
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import discs, lively_generator
from PIL import Image

from keras_dcgan import pack
from keras_dcgan.runs import checkpoints
from tools.bench import launches, products, train
from tools.experiments import classify, modes, quality


def test_the_work_of_a_step_is_counted_from_the_shapes():
    first, g = 100 * 8192, 16 * (16 * 512 * 256 + 64 * 256 * 128 + 256 * 128 * 64 + 1024 * 64 * 3)
    d = 16 * (1024 * 3 * 64 + 256 * 64 * 128 + 64 * 128 * 256 + 16 * 256 * 512 + 512)
    from_images = 16 * 1024 * 3 * 64  # nobody needs the gradient of images that D learns from
    assert train.multiply_adds(64, 64) == 2 * first + 3 * g + 2 * (3 * d - from_images) + 2 * d


@pytest.mark.parametrize(
    "name, arguments",
    [("Conv2D", (5, 4, 2, "same")), ("Conv2D", (5, 3, 1, "same")), ("Conv2D", (5, (8, 6), 1, "valid"))]
    + [("Conv2DTranspose", (5, 4, 2, "same"))],
)
def test_convolutions_as_products_are_keras_own(name, arguments):
    plain, ours = (getattr(module, name)(*arguments) for module in (keras.layers, products))
    images = tf.random.stateless_normal((3, 8, 6, 2), [1, 2])
    plain.build(images.shape), ours.build(images.shape)
    ours.set_weights([*plain.get_weights()[:1], np.arange(5.0)])
    plain.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(images), plain(images), atol=1e-5)


def test_a_step_of_products_has_no_convolution():
    own, as_products = (launches.count(launches.program_text("auto", 16, 4, form)) for form in (False, True))
    assert own["convolutions"] > 30 and as_products["convolutions"] == 0
    assert as_products["products"] == own["convolutions"] + own["products"]


def test_few_takes_so_many_of_each_class_and_none_that_are_held_out():
    learnt, tested = classify.split(100)
    labels = np.arange(100) % 3
    chosen = classify.few(labels, learnt, 7, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [7, 7, 7]
    assert not set(chosen) & set(tested) and len(set(chosen)) == 21
    assert len(tested) == 20


def test_a_classifier_learns_what_is_plain():
    images = (
        np.where(np.arange(64)[:, None, None, None] % 2, 200, 40)
        .repeat(16, 1)
        .repeat(16, 2)
        .repeat(3, 3)
        .astype(np.uint8)
    )
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
    blue = np.asarray(Image.open(next((tmp_path / "blue").iterdir()))) / np.float32(127.5) - 1
    draws_blue = lambda z, training=False: tf.tile(blue[None], (z.shape[0], 1, 1, 1))  # noqa: E731
    draws_blue.inputs = [SimpleNamespace(shape=(None, 5))]
    monkeypatch.setattr(checkpoints, "load_generator", lambda run: draws_blue)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "generator.keras").touch()
    text = modes.count(SimpleNamespace(data=str(tmp_path), run=str(tmp_path / "run"), samples=32))
    shares = {
        name: (float(real), float(drawn))
        for name, real, drawn in re.findall(r"(red|blue) +([\d.]+)% +([\d.]+)%", text)
    }
    assert shares["blue"][1] == 100 and shares["red"][1] == 0
    assert shares["red"][0] + shares["blue"][0] == pytest.approx(100) and shares["red"][0] > 50


def folders(root, *names):
    for name in names:
        (root / name).mkdir(parents=True)
        for index in range(2):
            Image.fromarray(discs(1, seed=index)[0]).save(root / name / f"{index}.png")
    return str(root)


def test_the_judge_and_the_study_want_the_same_classes_everywhere(tmp_path, monkeypatch, capsys):
    real, other = folders(tmp_path / "real", "a", "b", "c"), folders(tmp_path / "other", "b", "c")
    with pytest.raises(SystemExit) as stop:
        classify.main(["help", "--data", real, "--synthetic", other, "--size", "16"])
    assert (
        stop.value.code == 2
        and "--synthetic: expected the classes of --data, received b, c" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        classify.main(["judge", "--data", real, "--out", "judge"])
    assert "--out: expected NAME.keras, received judge" in capsys.readouterr().err
    classify.classifier((16, 16), 3, 2).save(tmp_path / "judge.keras")
    lively_generator(latent_dim=4, classes=3).save(tmp_path / "generator_last.keras")
    (tmp_path / "generator.keras").touch()
    (tmp_path / "data.json").write_text(json.dumps({"classes": list("abc")}))
    with pytest.raises(SystemExit):
        classify.main(
            ["agree", "--judge", str(tmp_path / "judge.keras"), "--run", str(tmp_path), "--samples", "3"]
        )
    assert "--judge: expected one of the run's 3 classes, received one of 2" in capsys.readouterr().err


def test_shards_have_no_images_for_the_judge_and_are_refused(tmp_path, capsys):
    source = folders(tmp_path / "real", "a", "b")
    assert (
        pack.main(
            [
                "--data",
                source,
                "--out",
                str(tmp_path / "shards"),
                "--size",
                "16",
                "--channels",
                "3",
                "--conditional",
            ]
        )
        == 0
    )
    shards = str(tmp_path / "shards" / "*.tfrecord")
    for verb in (
        ["judge", "--data", shards, "--out", str(tmp_path / "j.keras")],
        ["help", "--data", source, "--synthetic", shards],
    ):
        with pytest.raises(SystemExit):
            classify.main([*verb, "--size", "16"])
        flag = "--data" if verb[0] == "judge" else "--synthetic"
        assert (
            capsys.readouterr().err
            == f"classify: {flag}: expected images in folders, or in a .zip or .npz, received {shards}\n"
        )


def test_the_judge_makes_the_folder_that_it_goes_into(tmp_path, monkeypatch):
    monkeypatch.setattr(classify, "train", lambda *more: classify.classifier((16, 16), 3, 2))
    source = folders(tmp_path / "real", "a", "b")
    out = tmp_path / "new" / "judge.keras"
    assert classify.main(["judge", "--data", source, "--out", str(out), "--size", "16"]) == 0
    assert out.is_file()


def test_half_of_a_mixture_is_of_each_kind(tmp_path, monkeypatch):
    real, synthetic = folders(tmp_path / "real", "a", "b"), folders(tmp_path / "synthetic", "a", "b")
    few = folders(tmp_path / "few", "a", "b")
    for name in "ab":
        (tmp_path / "synthetic" / name / "1.png").unlink()
        Image.new("RGB", (16, 16)).save(tmp_path / "synthetic" / name / "1.png")
    seen = []
    monkeypatch.setattr(classify, "train", lambda images, labels, *more: seen.append(len(labels)))
    monkeypatch.setattr(classify, "accuracy", lambda *more: 0.5)
    for index in range(2, 8):
        Image.fromarray(discs(1, seed=index)[0]).save(tmp_path / "few" / "a" / f"{index}.png")
    classify.main(
        [
            "help",
            "--data",
            real,
            "--synthetic",
            synthetic,
            "--learn-from",
            few,
            "--size",
            "16",
            "--seeds",
            "1",
        ]
    )
    assert seen == [10, 20, 4]  # real, both, synthetic


def test_quality_times_the_training_that_it_will_run(tmp_path, monkeypatch):
    typed = []

    def fit(args, flags, run, *more):
        typed.append(flags)
        run.mkdir()
        chosen = dict(zip(flags[::2], flags[1::2]))
        settings = {"augment": chosen.get("--augment", "none"), "batch": int(chosen.get("--batch", 16))}
        (run / "metrics.jsonl").write_text(json.dumps({"img_per_s": 100.0}))
        (run / "config.json").write_text(json.dumps({"settings": {"preset": "auto", **settings}}))
        (run / "data.json").write_text(json.dumps({"images": 6000}))

    monkeypatch.setattr(quality, "fit", fit)
    flags = ["--preset", "auto", "--augment", "translation", "--batch", "16"]
    assert quality.settled(SimpleNamespace(minutes=20), flags[:2], tmp_path / "rate") == (flags, 100.0)
    assert typed == [flags[:2], flags]
    assert quality.settled(SimpleNamespace(minutes=1), flags[:2], tmp_path / "rate") == (
        [*flags[:3], "none", *flags[4:]],
        100.0,
    )
    assert len(typed) == 3
    large = [*flags[:5], "32"]
    assert quality.settled(SimpleNamespace(minutes=50), flags[:2], tmp_path / "rate") == (large, 100.0)
    assert typed[-1] == large  # what a batch of 32 is timed with
    own = [*flags[:2], "--augment=none", "--batch=8"]
    assert quality.settled(SimpleNamespace(minutes=50), own, tmp_path / "rate") == (own, 100.0)


@pytest.mark.parametrize(
    "typed, complaint",
    [
        ({"only": "papr"}, "quality: --only: expected some of paper, auto, modern, classic, received papr"),
        ({"only": "auto, paper"}, "quality: --keep: expected a folder without runs of paper, received "),
    ],
)
def test_quality_refuses_names_that_it_does_not_know_and_runs_that_are_there(
    typed, complaint, tmp_path, capsys
):
    (tmp_path / "paper-1").mkdir()
    flags = {"variant": None, "keep": str(tmp_path), "seeds": 2}
    with pytest.raises(SystemExit, match="2"):
        quality.measure(SimpleNamespace(**flags, **typed))
    assert capsys.readouterr().err.startswith(complaint)
