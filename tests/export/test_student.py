"""`python -m keras_dcgan.export --student`: a smaller generator learns from the run's own."""

import json
import shutil

import conftest
import numpy as np
import pytest

from keras_dcgan import devices
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.export import edge_sample
from keras_dcgan.export.__main__ import main
from keras_dcgan.pictures.latents import latents
from keras_dcgan.runs import checkpoints, directory
from keras_dcgan.training import student
from keras_dcgan.training.build import build

LATENT_DIM = 12
CLASSES = ["blue", "green", "red"]
SETTINGS = "--data x --size 16 --filters 8 --batch 8 --precision float32"
SEEDS = range(48)


def run_of(path, classes=(), preset="demo", rate="0.002", blocks=0):
    """A run whose generator draws more than one that has learned for seconds."""
    typed = ["--preset", preset, "--g-lr", rate, "--d-lr", rate, "--latent-dim", str(LATENT_DIM)]
    # as of one that began before residual ones had 0.99
    typed += ["--blocks", str(blocks), "--beta2", "0.999"]
    config = conftest.from_flags([*SETTINGS.split(), *typed, "--run", str(path)])
    devices.settle()
    gan = build(config, 3, len(classes))
    options = {"latent_dim": LATENT_DIM, "classes": len(classes), "blocks": blocks}
    lively = conftest.lively_generator(**options)
    gan.ema_generator.set_weights(lively.get_weights())
    gan.step.assign(1)
    manifest = Manifest(count=16, size=(16, 16), channels=3, classes=list(classes), fingerprint="abc")
    with directory.begin(config, manifest) as run:
        checkpoints.save(run, gan)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def out(run):
    """The user's own command, once, beside an earlier export."""
    run.export.mkdir()
    (run.export / "model.json").write_text("{}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student, "KIMG", 1.2)
        main(["--run", str(run.path), "--student", "6", "--formats", "int8", "--samples", "16"])
    return run.path / "export-student-6"


def far(images, others):
    return float(np.mean(np.abs(np.asarray(images, np.float32) - np.asarray(others, np.float32))))


def of_file(file, **inputs):
    return np.stack(list(edge_sample.draw(edge_sample.load(file, signature="sample")[0], inputs)))


def test_a_student_comes_nearer_to_what_its_teacher_draws_of_the_same_latents(run, out):
    teacher, z = checkpoints.load_generator(run), latents(SEEDS, LATENT_DIM)
    game, _ = student.begin(run, teacher, 6, kimg=0.1)
    game.recompute_statistics()
    wanted = teacher(z)
    learned = far(of_file(out / "generator_int8.tflite", z=z), wanted)
    assert learned < 0.8 * far(game.ema_generator(z), wanted)
    assert learned < 0.5 * far(np.roll(wanted, 1, axis=0), wanted)  # what it draws of others


def test_of_a_run_in_large_batches_a_student_has_steps_enough(run, tmp_path):
    copy = directory.Run(shutil.copytree(run.path, tmp_path / "run"))
    settings = json.loads((copy.path / "config.json").read_text())
    settings["settings"]["batch"] = 1024
    (copy.path / "config.json").write_text(json.dumps(settings))
    _, config = student.begin(copy, checkpoints.load_generator(copy), 6, kimg=64)
    assert config.total_steps == 2000


def test_a_student_has_a_folder_of_its_own_and_says_whose_it_is(run, out):
    assert (run.export / "model.json").read_text() == "{}"
    told = json.loads((out / "model.json").read_text())
    assert told["name"] == "tiny-student-6" and list(told["files"]) == ["generator_int8.tflite"]
    about = told["student"]
    assert about["filters"] == 6 and about["teacher"] == {"name": "tiny", "filters": 8}
    assert about["distance"]["samples"] == 16 and about["distance"]["swd"] > 0
    assert edge_sample.read_description(out / "generator_int8.tflite")["student"] == about
    assert "of 6 filters, from 1,200 images drawn by a generator of 8" in (out / "README.md").read_text()


def test_the_same_run_gives_the_same_student(run):
    teacher, z = checkpoints.load_generator(run), latents(SEEDS, LATENT_DIM)
    first, second, of_another_seed = (student.begin(run, teacher, 6, kimg=0.1) for _ in range(3))
    of_another_seed[0].seed += 1
    images = [student.learn(*each)(z) for each in (first, second, of_another_seed)]
    np.testing.assert_array_equal(images[0], images[1])
    assert far(images[0], images[2]) > 0.01


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_student_of_a_conditional_run_learns_the_classes(tmp_path, blocks):
    run = run_of(tmp_path / "conditional", CLASSES, blocks=blocks)
    teacher, z = checkpoints.load_generator(run), latents(SEEDS, LATENT_DIM)
    game, config = student.begin(run, teacher, 6, kimg=0.8)
    assert config.beta2 == (0.99 if blocks else 0.999)
    game.recompute_statistics()
    inputs = [[z, np.full(len(z), label)] for label in range(len(CLASSES))]
    before = [far(game.ema_generator(each), teacher(each)) for each in inputs]
    learned = student.learn(game, config)
    after = [far(learned(each), teacher(each)) for each in inputs]
    assert all(end < 0.84 * start for start, end in zip(before, after, strict=True))


def test_a_student_of_a_run_without_penalties_comes_nearer_too(tmp_path):
    run = run_of(tmp_path / "classic", preset="classic", rate="0.0004")
    teacher, z = checkpoints.load_generator(run), latents(SEEDS, LATENT_DIM)
    game, config = student.begin(run, teacher, 6, kimg=1.6)
    game.recompute_statistics()
    before = far(game.ema_generator(z), teacher(z))
    assert far(student.learn(game, config)(z), teacher(z)) < before


def test_an_interrupted_student_leaves_the_last_one(run, out, monkeypatch):
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    monkeypatch.setattr(student.Progress, "update", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        main(["--run", str(run.path), "--student", "6", "--samples", "0"])
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == before


def test_a_student_that_cannot_be_is_refused_in_one_line(run, tmp_path, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in ("generator.keras", "data.json"):
        shutil.copy(run.path / file, alone)
    for typed, expected in (
        (["--run", run.path, "--student", "8"], "expected fewer filters than the 8 of "),
        (["--run", alone, "--student", "6"], "expected a run with checkpoints, whose discriminator judges"),
        (["--run", run.path, "--student", "0"], "expected a whole number from 1 up, received '0'"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in typed])
        assert stop.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"export: --student: {expected}")
    assert not (run.path / "export-student-8").exists()
