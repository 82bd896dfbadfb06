"""The verb end to end, on a run whose generator draws from the data, and on one that cannot."""

import dataclasses
import io
import json
import re
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import SMALL, discs
from PIL import Image

from keras_dcgan import pack, progress
from keras_dcgan.data.prepare import prepare
from keras_dcgan.evaluate import are_of
from keras_dcgan.fit import main
from keras_dcgan.measure import evaluation, page
from keras_dcgan.pictures import images
from keras_dcgan.runs import checkpoints
from keras_dcgan.runs.directory import Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on 80 discs, and 40 more that it has not seen."""
    root = tmp_path_factory.mktemp("evaluate")
    for name, seed, count in (("seen", 0, 80), ("new", 1, 40)):
        (root / name).mkdir()
        for index, picture in enumerate(discs(count, seed=seed)):
            Image.fromarray(picture).save(root / name / f"{index:03d}.png")
    assert main(["--data", str(root / "seen"), "--run", str(root / "run"), "--kimg", "0.04", *SMALL]) == 0
    return root


@pytest.fixture
def evaluate(trained, command):
    return lambda *more: command("keras_dcgan.evaluate", "--run", trained / "run", "--samples", "60", *more)


def with_generator(trained, tmp_path, pictures):
    """A copy of the run whose generator answers those images in turn, by the sign bits of z."""
    run = tmp_path / "run"
    shutil.copytree(trained / "run", run)
    z = keras.Input((100,))
    bits = keras.ops.cast(z[:, :6] > 0, "int32") * np.array([1, 2, 4, 8, 16, 32], np.int32)
    number = keras.ops.sum(bits, axis=1)[:, None]
    table = keras.layers.Embedding(64, 16 * 16 * 3, trainable=False)
    model = keras.Model(z, keras.layers.Reshape((16, 16, 3))(table(number)))
    table.embeddings.assign(pictures[:64].reshape(64, -1) / np.float32(127.5) - 1)
    model.save(run / "generator.keras")
    return run


def test_everything_is_measured_printed_and_written(trained, evaluate):
    done = evaluate()
    assert done.returncode == 0, done.stderr
    result = json.loads((trained / "run" / "evaluation" / "random.json").read_text())
    assert set(result["metrics"]) == {
        "swd", "sharpness", "sharpness_16",
        "fid", "kid", "kid_ci95", "precision", "recall", "density", "coverage", "msssim", "msssim_real", "memorised",
    }  # fmt: skip
    assert (
        result["features"] == "random-1" and result["generator"] == "best" and result["size"] == [16, 16, 3]
    )
    assert result["generator_sha256"] == Run(trained / "run").generator_sha256()
    assert done.stdout.startswith("60 generated and 60 real images of 16x16x3; features: random-1\n")
    assert result["images"] == {"real": 60, "fake": 60, "memorised_real": 80, "memorised_fake": 60}
    assert all(np.isfinite(value) for value in result["metrics"].values())
    for name in ("swd", "sharpness", "fid", "kid", "precision", "coverage", "msssim", "memorised"):
        assert f"  {name} " in done.stdout
    assert "note: fid of 60 images is too high by chance" in done.stdout
    page = (trained / "run" / "evaluation" / "random.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and "<script" not in page and "http" not in page
    again = evaluate("--metrics", "kid,swd", "--out", trained / "again.json")
    assert again.returncode == 0, again.stderr
    metrics = json.loads((trained / "again.json").read_text())["metrics"]
    assert metrics == {name: result["metrics"][name] for name in ("swd", "kid", "kid_ci95")}


def test_of_fewer_real_images_as_many_fakes_are_measured_but_copies_are_looked_for_among_all(
    trained, evaluate
):
    done = evaluate("--data", trained / "new", "--out", trained / "few.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("40 generated and 40 real images") and "of 60 generated" in done.stdout
    counts = json.loads((trained / "few.json").read_text())["images"]
    assert counts == {"real": 40, "fake": 40, "memorised_real": 40, "memorised_fake": 60}


def test_images_that_have_changed_since_the_training_are_told(trained, tmp_path, monkeypatch, command):
    shutil.copytree(trained / "run", tmp_path / "run")
    about = json.loads((tmp_path / "run" / "data.json").read_text())
    (tmp_path / "run" / "data.json").write_text(json.dumps(about | {"fingerprint": "another"}))
    arguments = ["--run", tmp_path / "run", "--samples", "16", "--metrics", "swd"]
    assert (
        f"note: {trained / 'seen'} has changed since the training"
        in command("keras_dcgan.evaluate", *arguments).stdout
    )
    (tmp_path / "run" / "data.json").write_text(
        json.dumps(about | {"fingerprint": "another", "classes": ["a", "b"]})
    )
    done = command("keras_dcgan.evaluate", *arguments)
    assert (
        done.returncode == 2
        and "--data: expected the classes of the training, received others" in done.stderr
    )
    about["fingerprint"] = "another"
    (tmp_path / "run" / "data.json").write_text(json.dumps(about))
    monkeypatch.setattr(
        checkpoints, "load_generator", lambda *_: SimpleNamespace(output_shape=(None, 16, 16, 1))
    )
    done = command("keras_dcgan.evaluate", *arguments)
    assert done.returncode == 2 and "--data: expected images of 1 channels, received 3" in done.stderr


def test_a_run_that_is_not_there_is_not_made(tmp_path, command):
    done = command("keras_dcgan.evaluate", "--run", tmp_path / "nowhere")
    assert done.returncode == 2 and list(tmp_path.iterdir()) == []


def test_each_part_of_the_work_shows_that_it_goes_on(evaluate, trained, monkeypatch):
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    done = evaluate("--metrics", "swd,kid", "--last")
    assert done.stdout.splitlines()[-2:] == [  # beside the figures of generator.keras
        str(trained / "run" / "evaluation" / f"random-last.{kind}") for kind in ("json", "html")
    ]
    assert done.stderr.startswith("drawing\ndrawing 2 of 60 images  ")
    assert "\nswd\nswd 100 %" in done.stderr and done.stderr.endswith(
        "\nfeatures, generated\ncomparing the features\n"
    )


def test_real_features_are_made_once(trained, evaluate, monkeypatch):
    from keras_dcgan.measure import embeddings

    assert evaluate("--metrics", "kid").returncode == 0
    embedded, call = [], embeddings.Embedding.__call__
    monkeypatch.setattr(
        embeddings.Embedding,
        "__call__",
        lambda self, images: embedded.append(len(images)) or call(self, images),
    )
    assert evaluate("--metrics", "kid").returncode == 0
    assert embedded == [60]  # the fakes


def test_features_that_are_corrupt_or_cannot_be_kept_are_made_anew(tmp_path, monkeypatch):
    prepared = prepare("demo:40", (16, 16), 3, cache=str(tmp_path / "prepared"))
    pictures, cache = prepared.images[:8], str(tmp_path / "cache")

    def embed(images):
        return images.mean(axis=(1, 2), dtype=np.float32)

    embed.name, embed.length = "mean colour", 3
    exact, quiet = embed(pictures), progress.Progress(stream=io.StringIO())
    for _ in range(2):
        np.testing.assert_array_equal(evaluation.kept_vectors(embed, prepared, pictures, cache, quiet), exact)
    (file,) = (tmp_path / "cache").rglob("features.npy")
    for corrupt in (file.read_bytes()[:-4], b""):
        file.write_bytes(corrupt)
        np.testing.assert_array_equal(evaluation.kept_vectors(embed, prepared, pictures, cache, quiet), exact)
    turned = pictures[::-1]  # as shards have the images of a folder
    np.testing.assert_array_equal(evaluation.kept_vectors(embed, prepared, turned, cache, quiet), exact[::-1])
    file.unlink()

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full)
    np.testing.assert_array_equal(evaluation.kept_vectors(embed, prepared, pictures, cache, quiet), exact)
    (other,) = (tmp_path / "cache").iterdir()  # of the turned ones; nothing half made beside it
    assert other != file.parent and (other / "features.npy").is_file()


def test_copies_are_found(trained, tmp_path, command):
    run = with_generator(trained, tmp_path, discs(80))
    done = command("keras_dcgan.evaluate", "--run", run, "--samples", "64", "--held-out", trained / "new")
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "evaluation" / "random.json").read_text())["metrics"]["memorised"] == 1
    assert "note: more generated images than by chance lie close to a training image" in done.stdout


def test_duplicates_hide_no_copies_and_too_few_distinct_images_are_told(trained, tmp_path, command):
    run = with_generator(trained, tmp_path, discs(80))
    np.save(tmp_path / "twice.npy", np.repeat(discs(80), 2, 0))
    arguments = ["--run", run, "--samples", "128", "--metrics", "prdc,memorisation", "--data"]
    done = command("keras_dcgan.evaluate", *arguments, tmp_path / "twice.npy")
    found = json.loads((run / "evaluation" / "random.json").read_text())["metrics"]
    assert done.returncode == 0 and found["memorised"] == 1 and found["precision"] > 0
    assert "note: more generated images than by chance" in done.stdout
    assert "note: 80 of 128 real images are distinct: prdc is of those" in done.stdout
    np.save(tmp_path / "one.npy", np.repeat(discs(1), 40, 0))
    done = command("keras_dcgan.evaluate", *arguments, tmp_path / "one.npy")
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "evaluation" / "random-2.json").read_text())["metrics"] == {}
    assert (
        json.loads((run / "evaluation" / "random.json").read_text())["metrics"] == found
    )  # of the other images
    for figures in ("precision, recall, density and coverage", "memorised"):
        assert (
            f"note: no {figures}: expected at least 16 distinct real images, received 1 among 40"
            in done.stdout
        )


@pytest.mark.parametrize(
    "more, complaint",
    [
        (
            ["--metrics", "swd,is"],
            "--metrics: expected some of swd,sharpness,fid,kid,prdc,msssim,memorisation, received 'is'",
        ),
        (["--samples", "3"], "--samples: expected a whole number from 16 to 1000000, received '3'"),
        (["--features", "vgg"], "--features: expected random, inception or a .keras file, received vgg"),
        (["--data", "nowhere"], "--data: "),
        (["--held-out", "nowhere"], "--held-out: expected a folder"),
        (
            ["--held-out", "new", "--metrics", "fid,kid"],
            "--held-out: expected memorisation among --metrics, received fid,kid",
        ),
        (
            ["--features", "nowhere.keras", "--metrics", "swd,msssim"],
            "--features: expected one of fid, kid, memorisation, prdc among --metrics, received swd,msssim",
        ),
        (
            ["--inception-weights", "w.h5"],
            "--inception-weights: expected to stand with --features inception, received it with ",
        ),
        (["--out", "table.csv"], "--out: expected a name that ends in .json, received table.csv"),
        (["--out", f"{__file__}/table.json"], f"--out: expected a directory, received the file {__file__}"),
    ],
)
def test_mistakes_are_one_line_and_status_2(evaluate, more, complaint):
    done = evaluate(*more)
    assert done.returncode == 2
    assert done.stderr.startswith(f"evaluate: {complaint}") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("flag", ["--data", "--held-out"])
def test_shards_of_another_size_are_complained_of_by_the_flag_that_names_them(
    evaluate, trained, tmp_path, flag
):
    pack.main(["--data", str(trained / "new"), "--out", str(tmp_path), "--size", "32"])
    done = evaluate(flag, tmp_path / "*.tfrecord")
    assert done.returncode == 2 and done.stderr.startswith(
        f"evaluate: {flag}: the shards are of 32x32x3, and 16x16x3 is asked for"
    )


def test_a_shard_that_breaks_off_is_one_line(trained, evaluate, tmp_path):
    images = prepare(str(trained / "new"), (16, 16), show=len)
    pack.pack(images, tmp_path, shards=1, show=len)
    (shard,) = tmp_path.glob("*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-100])
    done = evaluate("--data", tmp_path / "*.tfrecord")
    assert done.returncode == 2, done.stderr
    assert re.match(r"evaluate: .*(truncated|corrupt|cut short)", done.stderr.splitlines()[-1])


def test_too_few_real_images_are_told_before_anything_is_drawn(trained, evaluate, tmp_path):
    np.save(tmp_path / "few.npy", discs(15))
    done = evaluate("--data", tmp_path / "few.npy")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "evaluate: --data: expected 16 images or more, received 15",
    )


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """A run on ten discs in each of four folders."""
    root = tmp_path_factory.mktemp("conditional")
    for index, picture in enumerate(discs(40)):
        (root / "imgs" / "abcd"[index // 10]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(root / "imgs" / "abcd"[index // 10] / f"{index:03d}.png")
    assert (
        main(
            [
                "--data",
                str(root / "imgs"),
                "--run",
                str(root / "run"),
                "--kimg",
                "0.04",
                "--conditional",
                *SMALL,
            ]
        )
        == 0
    )
    return root


def test_all_classes_are_drawn_also_where_the_real_images_have_no_labels(
    conditional, tmp_path, monkeypatch, command
):
    labels, drawn = [], evaluation.drawn
    monkeypatch.setattr(
        evaluation, "drawn", lambda *arguments: labels.append(arguments[-1]) or drawn(*arguments)
    )
    np.save(tmp_path / "images.npy", discs(40))
    for more in ([], ["--data", tmp_path / "images.npy"]):
        arguments = ["--run", conditional / "run", "--samples", "20", "--metrics", "swd", *more]
        done = command("keras_dcgan.evaluate", *arguments, "--out", tmp_path / "e.json")
        assert done.returncode == 0, done.stderr
    assert [np.bincount(found).tolist() for found in labels] == [[5] * 4, [5] * 4]


def test_the_images_of_the_training_by_another_path_are_measured_with_their_classes(
    conditional, tmp_path, command
):
    copy = shutil.copytree(conditional / "imgs", tmp_path / "elsewhere")
    found = []
    for more in ([], ["--data", copy]):
        arguments = ["--run", conditional / "run", "--samples", "20", "--metrics", "swd", *more]
        done = command("keras_dcgan.evaluate", *arguments, "--out", tmp_path / "e.json")
        assert done.returncode == 0, done.stderr
        told = json.loads((tmp_path / "e.json").read_text())
        found.append((told["data"]["fingerprint"], told["metrics"]))
    assert found[0] == found[1]


def test_shards_that_were_cut_like_the_training_are_of_its_classes(conditional, tmp_path):
    config = dataclasses.replace(Run(conditional / "run").config, crop="none")
    typed = [
        "--data",
        conditional / "imgs",
        "--out",
        tmp_path,
        "--size",
        "16",
        "--conditional",
        "--crop",
        "none",
    ]
    pack.main([str(word) for word in typed])
    assert are_of(list("abcd"), f"{tmp_path}/*.tfrecord", config)
    assert not are_of(list("abce"), f"{tmp_path}/*.tfrecord", config)


def test_a_cache_of_another_machine_can_be_replaced(conditional, tmp_path, command):
    run = shutil.copytree(conditional / "run", tmp_path / "run")
    settings = json.loads((run / "config.json").read_text())
    settings["settings"]["cache"] = f"{__file__}/there"
    (run / "config.json").write_text(json.dumps(settings))
    arguments = ["keras_dcgan.evaluate", "--run", run, "--samples", "20", "--metrics", "swd"]
    assert "--cache: expected a folder that can be written" in command(*arguments).stderr
    assert command(*arguments, "--cache", tmp_path / "here").returncode == 0


def test_other_classes_than_those_of_the_training_are_refused_however_the_images_are_given(
    conditional, tmp_path, command
):
    shutil.copytree(conditional, tmp_path / "copy")
    config = tmp_path / "copy" / "run" / "config.json"
    config.write_text(config.read_text().replace(str(conditional), str(tmp_path / "copy")))
    (tmp_path / "copy" / "imgs" / "a").rename(tmp_path / "copy" / "imgs" / "e")
    for more in ([], ["--data", tmp_path / "copy" / "imgs"]):
        done = command("keras_dcgan.evaluate", "--run", tmp_path / "copy" / "run", "--samples", "20", *more)
        assert (
            done.returncode == 2
            and "evaluate: --data: expected the classes of the training, received" in done.stderr
        )


def test_the_page_shows_images_from_all_over_both_sets(monkeypatch):
    shown = []
    monkeypatch.setattr(
        images, "grid", lambda pictures, columns: shown.append(pictures[:, 0, 0, 0].tolist()) or pictures[0]
    )
    numbers = np.arange(128, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    measured = evaluation.Measured({}, numbers[:20], numbers, compared=20, pairs=[], notes=[])
    page.page("r", "", measured, [])
    assert shown == [list(range(0, 128, 2)), list(range(20))]
