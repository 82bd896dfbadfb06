"""What a training does when something goes wrong: each cause is made to happen, and the run must name it and keep what is sound."""

import json
import resource
import shutil

import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL

from keras_dcgan import devices, runs
from keras_dcgan import fit as module
from keras_dcgan.gan import DCGAN


@pytest.fixture
def fit(folder, tmp_path, command):
    """Trains into tmp_path/run; a later call goes on."""

    def call(kimg, *more):
        return command("keras_dcgan.fit", "--data", folder, "--run", tmp_path / "run", "--kimg", kimg, *SMALL, *more)

    return call


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    """A run of three ticks."""
    run = tmp_path_factory.mktemp("trained") / "run"
    assert module.main(["--data", str(folder), "--run", str(run), "--kimg", "0.12", *SMALL]) == 0
    return run


@pytest.fixture
def go_on(trained, fit, tmp_path):
    """`fit`, into a copy of that run."""
    shutil.copytree(trained, tmp_path / "run")
    return fit


def rows(tmp_path):
    return [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def poison(monkeypatch):
    """poison(streams): the latents of step 7 hold a NaN, in so many of the streams."""

    def spoil(streams):
        sound = DCGAN._latents

        def latents(self, count, replica):
            is_bad = (tf.convert_to_tensor(self.step) == 7) & (tf.convert_to_tensor(self.stream) < streams)
            return sound(self, count, replica) * tf.where(is_bad, float("nan"), 1.0)

        monkeypatch.setattr(DCGAN, "_latents", latents)

    return spoil


def test_nan_stops_at_its_step_says_where_and_what_to_try(fit, poison, tmp_path):
    poison(1)
    done = fit(0.16)
    assert done.returncode == 1
    assert done.stderr.startswith("fit: stopped: after step 8 not a number: d_loss, g_loss, discriminator/down_0/kernel and ")
    assert "step-000000005 is sound. Try a lower --g-lr and --d-lr" in done.stderr and done.stderr.count("\n") == 1
    assert [row["step"] for row in rows(tmp_path)] == [5]
    assert tf.reduce_all(tf.math.is_finite(runs.load_generator(tmp_path / "run")(tf.ones((1, 100)))))


def test_nan_can_be_rolled_back_to_the_last_checkpoint_and_other_latents(fit, poison, tmp_path):
    poison(1)
    done = fit(0.16, "--on-nan", "rollback")
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert warning.endswith(" more weights. Rollback 1 of 3: from step 5 with other latents.")
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15, 20]


def test_nan_that_comes_back_ends_the_run(fit, poison, monkeypatch):
    monkeypatch.setattr(module, "ROLLBACKS", 1)  # of 3: each takes seconds
    poison(99)
    done = fit(0.16, "--on-nan", "rollback")
    assert done.returncode == 1 and done.stdout.count("Rollback 1 of 1") == 1
    assert "after 1 rollbacks; " in done.stderr and "step-000000005 is sound. Try a lower --g-lr" in done.stderr


def test_several_steps_at_once_train_the_same_and_end_their_ticks_a_little_later(fit, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "steps_at_once", lambda: 4)
    assert fit(0.12).returncode == 0
    assert [row["step"] for row in rows(tmp_path)] == [8, 12, 15]  # not 5, 10, 15
    weights = (runs.load_generator(run, last=True).get_weights() for run in (trained, tmp_path / "run"))
    for one_by_one, at_once in zip(*weights):
        np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)


def test_a_learning_rate_of_10_is_noticed(fit):
    done = fit(0.24, "--g-lr", "10", "--d-lr", "10", "--grid-every", "9")
    assert "warning: losses exploded at " in done.stdout and "; lower --d-lr and --g-lr" in done.stdout


def test_a_discriminator_that_wins_is_noticed(fit):
    done = fit(0.24, "--g-lr", "1e-9", "--d-lr", "0.01", "--grid-every", "9")
    assert "warning: discriminator won at " in done.stdout


def test_a_generator_that_answers_one_image_is_noticed_and_can_end_the_run(fit, monkeypatch, tmp_path):
    build = runs.build

    def build_a_dull_one(*arguments):
        gan = build(*arguments)
        for network in (gan.generator, gan.ema_generator):
            kernel = network.get_layer("project").kernel
            kernel.assign(tf.zeros_like(kernel))
        return gan

    monkeypatch.setattr(runs, "build", build_a_dull_one)
    done = fit(0.4, "--g-lr", "1e-9", "--on-collapse", "stop")
    assert "warning: collapse at " in done.stdout and "0.00 times as varied as the real images" in done.stdout
    assert done.returncode == 1 and "stopped: by --on-collapse stop" in done.stderr
    assert 3 <= len(rows(tmp_path)) < 10


@pytest.fixture
def file_limit():
    """file_limit(bytes): the system refuses to write longer files, as a full disk refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda length: resource.setrlimit(resource.RLIMIT_FSIZE, (length, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [10_000, 100_000])  # the generator's file; a checkpoint
def test_a_full_disk_ends_the_run_and_nothing_that_was_there(go_on, file_limit, tmp_path, limit):
    before = {file: file.read_bytes() for file in (tmp_path / "run" / "checkpoints").rglob("*") if file.is_file()}
    file_limit(limit)
    done = go_on(0.16)
    assert done.returncode == 1 and done.stderr.startswith("fit: stopped: ")
    assert "step-000000015 is sound. Free some space" in done.stderr and done.stderr.count("\n") == 1
    assert not list((tmp_path / "run").rglob("*.part"))
    assert {file: file.read_bytes() for file in before} == before
    assert runs.load_generator(tmp_path / "run").count_params() > 0


def test_a_run_that_cannot_be_written_is_refused(folder, tmp_path, command):
    (tmp_path / "file").write_text("in the way")
    done = command("keras_dcgan.fit", "--data", folder, "--run", tmp_path / "file" / "run", *SMALL)
    assert done.returncode == 2 and done.stderr.startswith("fit: ") and done.stderr.count("\n") == 1


def test_a_spoilt_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(go_on, tmp_path):
    data = next((tmp_path / "run" / "checkpoints" / "step-000000015").glob("state.data*"))
    data.write_bytes(data.read_bytes()[:-1])
    done = go_on(0.16)
    assert done.returncode == 0
    assert done.stderr == "Passed over spoilt checkpoints: step-000000015.\n" and "at 10 steps" in done.stdout
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15, 20]


def test_two_trainings_of_one_run_are_one_too_many(go_on, tmp_path):
    with runs._locked(tmp_path / "run"):
        done = go_on(0.16)
    assert done.returncode == 2 and "expected a run that nobody trains at the moment" in done.stderr
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15]
