"""What a training does when something goes wrong: each cause is made to happen, and the run must name it and
keep what is sound."""

import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL, from_flags

from keras_dcgan import devices, pack
from keras_dcgan import fit as module
from keras_dcgan.config import resolve
from keras_dcgan.data.prepare import prepare
from keras_dcgan.model.gan import DCGAN
from keras_dcgan.progress import Progress
from keras_dcgan.runs import checkpoints, directory
from keras_dcgan.runs.checkpoints import load_generator
from keras_dcgan.runs.directory import Run
from keras_dcgan.training import forecast, loop, records
from keras_dcgan.training.build import build
from keras_dcgan.training.ticks import Ticks
from tools.soak import checkpoint_steps, differences


@pytest.fixture
def fit(folder, tmp_path, command):
    """Trains into tmp_path/run; a later call goes on."""

    def call(kimg, *more):
        return command(
            "keras_dcgan.fit", "--data", folder, "--run", tmp_path / "run", "--kimg", kimg, *SMALL, *more
        )

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


def test_a_run_starts_from_anothers_networks_with_optimizers_and_steps_of_its_own(trained, fit, tmp_path):
    done = fit(0.04, "--init-from", trained, "--grid-every", "9")
    assert done.returncode == 0, done.stderr
    assert f"Starting from the networks of {trained}." in done.stdout
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["init_from"] == str(trained)
    assert [row["step"] for row in rows(tmp_path)] == [5]

    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000000005")  # what is left is how it began
    began, source = (restored(path) for path in (tmp_path / "run", trained))
    assert (began.steps_taken, source.steps_taken) == (0, 15)
    for network in ("generator", "discriminator", "ema_generator"):
        for ours, theirs in zip(getattr(began, network).weights, getattr(source, network).weights):
            np.testing.assert_allclose(ours, theirs, atol=1e-6, err_msg=ours.path)
    moments = [
        [variable for variable in gan.g_optimizer.variables if "momentum" in variable.path]
        for gan in (began, source)
    ]
    assert [any(np.any(variable) for variable in variables) for variables in moments] == [False, True]


def test_residual_networks_resume_with_the_same_bits(fit, tmp_path):
    options = ("--preset", "modern")
    assert fit(0.08, *options).returncode == 0
    (tmp_path / "run").rename(tmp_path / "undisturbed")
    assert fit(0.04, *options).returncode == 0
    resumed = fit(0.08)  # what it began with need not be typed again
    assert resumed.returncode == 0 and "Resuming" in resumed.stdout
    assert differences(tmp_path / "undisturbed", tmp_path / "run") == []
    gan = restored(tmp_path / "run")
    assert gan.critic
    assert np.any(gan.generator.get_layer("up_0_block_0_out").kernel)


def restored(path):
    gan = build(Run(path).config, 3)
    checkpoints.restore(Run(path), gan)
    return gan


def test_a_run_that_has_begun_needs_its_source_no_more_but_stays_of_it(trained, fit, tmp_path):
    shutil.copytree(trained, tmp_path / "source")
    assert fit(0.04, "--init-from", tmp_path / "source").returncode == 0
    shutil.rmtree(tmp_path / "source")
    done = fit(0.08, "--init-from", tmp_path)
    received = f"--init-from: the run has {tmp_path / 'source'}, received {tmp_path}"
    assert done.returncode == 2 and received in done.stderr
    done = fit(0.08)  # what it began with need not be typed again
    assert done.returncode == 0 and "Starting from" not in done.stdout and "Resuming" in done.stdout
    assert [row["step"] for row in rows(tmp_path)] == [5, 10]


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (
            ["--filters", "8", "--latent-dim", "7"],
            "expected a run of the same networks, received {} with latent_dim 100, here 7; filters 4, here 8",
        ),
        (["--blocks", "1"], "expected a run of the same networks, received {} with blocks 0, here 1"),
        (["--max-width", "1"], "expected a run of the same networks, received {} with max_width 2, here 1"),
        (["--channels", "4"], "expected a run of the same networks, received {} with channels 3, here 4"),
        (["--init-from", "nowhere"], "expected a run directory, received nowhere"),
    ],
)
def test_networks_that_would_not_fit_are_refused_before_a_run_is_there(
    trained, fit, tmp_path, typed, complaint
):
    done = fit(0.04, "--init-from", trained, *typed)
    assert done.returncode == 2 and done.stderr.startswith("fit: --init-from: " + complaint.format(trained))
    assert done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()


def test_other_classes_or_no_sound_checkpoint_are_refused_too(trained, fit, tmp_path):
    shutil.copytree(trained, tmp_path / "source")
    data = json.loads((trained / "data.json").read_text())
    (tmp_path / "source" / "data.json").write_text(json.dumps(data | {"classes": ["cat", "dog"]}))
    assert "with classes ['cat', 'dog'], here []" in fit(0.04, "--init-from", tmp_path / "source").stderr
    shutil.rmtree(tmp_path / "source" / "checkpoints")
    done = fit(0.04, "--init-from", tmp_path / "source")
    assert (
        done.returncode == 2 and "fit: --init-from: expected a run directory with checkpoints" in done.stderr
    )
    assert not (tmp_path / "run").exists()


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
    assert done.stderr.startswith(
        "fit: stopped: after step 8 not a number: d_loss, g_loss, discriminator/stem/kernel and "
    )
    assert (
        "step-000000005 is sound. Try a lower --g-lr and --d-lr" in done.stderr
        and done.stderr.count("\n") == 1
    )
    assert [row["step"] for row in rows(tmp_path)] == [5]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<b>Stopped</b>: after step 8 not a number: d_loss" in page and "Try a lower --g-lr and" in page
    assert tf.reduce_all(tf.math.is_finite(load_generator(Run(tmp_path / "run"))(tf.ones((1, 100)))))


def test_nan_can_be_rolled_back_to_the_last_checkpoint_and_other_latents(fit, poison, tmp_path):
    poison(1)
    done = fit(0.16, "--on-nan", "rollback")
    assert done.returncode == 0, done.stderr
    (warning,) = [line for line in done.stdout.splitlines() if "Rollback" in line]
    assert warning.endswith(" more weights. Rollback 1 of 3: from step 5 with other latents.")
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15, 20]
    assert [row.get("rollbacks") for row in rows(tmp_path)] == [None, 1, 1, 1]
    assert (tmp_path / "run" / "report.html").read_text().count("rollback 1: ") == 1


def test_nan_that_comes_back_ends_the_run(fit, poison, monkeypatch):
    monkeypatch.setattr(loop, "ROLLBACKS", 1)  # of 3: each takes seconds
    poison(99)
    done = fit(0.16, "--on-nan", "rollback")
    assert done.returncode == 1 and done.stdout.count("Rollback 1 of 1") == 1
    assert (
        "after 1 rollback; " in done.stderr and "step-000000005 is sound. Try a lower --g-lr" in done.stderr
    )


def test_a_signal_in_the_step_that_diverges_ends_the_run_for_now(fit, poison, monkeypatch, tmp_path):
    poison(1)
    diverged = Ticks.diverged

    def receive_and_diverge(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return diverged(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Ticks, "diverged", receive_and_diverge)
        done = fit(0.12, "--on-nan", "rollback")
    assert done.returncode == 128 + signal.SIGTERM and "Rollback" not in done.stdout
    assert "Stopped: after step 8 not a number: " in done.stdout and done.stderr == ""
    assert fit(0.12, "--on-nan", "rollback").returncode == 0
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15]


def test_several_steps_at_once_train_the_same_and_end_their_ticks_a_little_later(
    fit, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(devices, "steps_at_once", lambda: 4)
    assert fit(0.12).returncode == 0
    assert [row["step"] for row in rows(tmp_path)] == [8, 12, 15]  # not 5, 10, 15
    weights = (load_generator(Run(run), last=True).get_weights() for run in (trained, tmp_path / "run"))
    for one_by_one, at_once in zip(*weights):
        np.testing.assert_allclose(at_once, one_by_one, atol=1e-5)


@pytest.fixture
def aside(monkeypatch):
    """As with a GPU: ticks are completed while training goes on."""
    monkeypatch.setattr(devices, "completes_ticks_aside", lambda strategy: True)


def test_ticks_completed_aside_leave_the_same_run(fit, trained, aside, tmp_path):
    done = fit(0.12)
    assert done.returncode == 0 and done.stderr == ""
    assert differences(trained, tmp_path / "run") == []
    ticks = [line.split()[0] for line in done.stdout.splitlines() if "swd" in line]
    assert ticks == ["0.0/0.1", "0.1/0.1", "0.1/0.1"]  # of the tick, not of when it was told


def test_a_signal_finds_the_tick_that_is_completed_aside(fit, trained, aside, tmp_path, monkeypatch):
    complete, end_tick, is_next = Ticks.complete, Ticks.end_tick, threading.Event()

    def with_a_signal(self, model, row):
        complete(self, model, row)
        if row["step"] == 5:
            assert is_next.wait(60)  # then training has looked for signals, and goes on
            signal.raise_signal(signal.SIGTERM)

    def and_waits(self):
        if self.step == 10:
            is_next.set()
        end_tick(self)

    with monkeypatch.context() as patch:
        patch.setattr(Ticks, "complete", with_a_signal)
        patch.setattr(Ticks, "end_tick", and_waits)
        assert fit(0.12).returncode == 128 + signal.SIGTERM
    assert rows(tmp_path)[0]["step"] == 5
    assert fit(0.12).returncode == 0
    (one,) = differences(trained, tmp_path / "run")  # that it stopped within a tick
    assert one.startswith("checkpoints: ")


def test_a_signal_after_the_last_step_finds_a_finished_run(fit, tmp_path, monkeypatch):
    complete = Ticks.complete

    def with_a_signal(self, model, row):
        complete(self, model, row)
        if row["step"] == 10:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Ticks, "complete", with_a_signal)
    done = fit(0.08)
    assert done.returncode == 0 and "Stopped" not in done.stdout and rows(tmp_path)[-1]["step"] == 10


def test_it_stops_aside_as_well_and_saves_what_it_has_trained_meanwhile(fit, aside, tmp_path, monkeypatch):
    has_gone_on, end_tick = threading.Event(), Ticks.end_tick

    def stop(file, tick):
        if tick.row["step"] == 10:
            tick.stop = has_gone_on.wait(60)

    def noted(self):
        if self.step == 15:
            has_gone_on.set()
        end_tick(self)

    monkeypatch.setattr(records.MetricsFile, "__call__", stop)
    monkeypatch.setattr(Ticks, "end_tick", noted)
    done = fit(0.4)
    assert done.returncode == 1 and "stopped: by --on-collapse stop" in done.stderr
    assert done.stdout.count("swd") == 3
    assert checkpoint_steps(tmp_path / "run")[-1] == 15 and "step-000000015 is sound" in done.stderr


def test_a_signal_counts_though_the_tick_before_it_has_diverged(fit, aside, monkeypatch):
    def spoil_and_receive(self, model, row):
        model.ema_generator.weights[0].assign(model.ema_generator.weights[0] * float("nan"))
        try:
            look(self, model, row)
        finally:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.2)

    look = Ticks.look_and_save
    monkeypatch.setattr(Ticks, "look_and_save", spoil_and_receive)
    done = fit(0.16, "--on-nan", "rollback")
    assert done.returncode == 128 + signal.SIGTERM and "Rollback" not in done.stdout


def test_what_goes_wrong_aside_ends_the_training(fit, aside, tmp_path, monkeypatch):
    def full(file, tick):
        if tick.row["step"] == 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(records.MetricsFile, "__call__", full)
    done = fit(0.16)
    assert done.returncode == 1 and "fit: stopped: " in done.stderr and "No space left" in done.stderr
    assert checkpoint_steps(tmp_path / "run") == [0, 5]


def test_seconds_count_what_was_spent_before_a_stop_within_a_tick(fit, tmp_path, monkeypatch):
    end = Ticks.on_train_batch_end

    def stop_at_step_7(self, batch, logs):
        if self.step + 1 == 7:
            self.received = signal.SIGTERM
            self.seconds_before += 1000
        end(self, batch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(Ticks, "on_train_batch_end", stop_at_step_7)
        assert fit(0.12).returncode == 128 + signal.SIGTERM
    assert [row["step"] for row in rows(tmp_path)] == [5]
    assert fit(0.12).returncode == 0
    seconds = {row["step"]: row["seconds"] for row in rows(tmp_path)}
    assert seconds[5] < 1000 < seconds[10] < seconds[15]


def test_seconds_of_a_checkpoint_that_does_not_tell_are_those_of_the_last_tick(go_on, tmp_path):
    file = tmp_path / "run" / "checkpoints" / "step-000000015" / "sha256.json"
    content = json.loads(file.read_text())
    assert content.pop("seconds") > 0
    file.write_text(json.dumps(content))
    before = rows(tmp_path)[-1]["seconds"]
    assert go_on(0.16).returncode == 0
    assert rows(tmp_path)[-1]["seconds"] > before


def test_as_many_checkpoints_stay_as_were_asked_for(go_on, trained, tmp_path):
    assert steps_kept(trained) == [5, 10, 15]
    assert go_on(0.2, "--keep", "1").returncode == 0
    *best, newest = steps_kept(tmp_path / "run")
    assert newest == 25 and len(best) <= 1


def steps_kept(run):
    return [int(place.name.removeprefix("step-")) for place in Run(run).checkpoints]


def test_networks_that_have_learned_nothing_are_nothing_to_start_from(trained, fit, tmp_path):
    shutil.copytree(trained, tmp_path / "source")
    (tmp_path / "source" / "metrics.jsonl").write_text("")
    for step in (5, 10, 15):
        shutil.rmtree(tmp_path / "source" / "checkpoints" / f"step-{step:09d}", ignore_errors=True)
    done = fit(0.04, "--init-from", tmp_path / "source")
    assert done.returncode == 2 and done.stdout == ""  # before images are prepared
    assert (
        done.stderr.startswith("fit: --init-from: expected a trained run, received ")
        and "untrained" in done.stderr
    )


def test_a_learning_rate_of_10_is_noticed(fit):
    done = fit(0.48, "--g-lr", "10", "--d-lr", "10", "--grid-every", "9")
    assert "warning: losses exploded at " in done.stdout and "; lower --d-lr and --g-lr" in done.stdout


def test_a_discriminator_that_wins_is_noticed(fit):
    done = fit(0.32, "--g-lr", "1e-9", "--d-lr", "0.01", "--augment", "none", "--grid-every", "9")
    assert "warning: discriminator won at " in done.stdout


def test_a_generator_that_answers_one_image_is_noticed_and_can_end_the_run(fit, monkeypatch, tmp_path):
    def build_a_dull_one(*arguments):
        gan = build(*arguments)
        for network in (gan.generator, gan.ema_generator):
            kernel = network.get_layer("project").kernel
            kernel.assign(tf.zeros_like(kernel))
        return gan

    monkeypatch.setattr(loop, "build", build_a_dull_one)
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
    before = {
        file: file.read_bytes() for file in (tmp_path / "run" / "checkpoints").rglob("*") if file.is_file()
    }
    file_limit(limit)
    done = go_on(0.16)
    assert done.returncode == 1 and done.stderr.startswith("fit: stopped: ")
    assert "step-000000015 is sound. Free some space" in done.stderr and done.stderr.count("\n") == 1
    assert not list((tmp_path / "run").rglob("*.part"))
    assert {file: file.read_bytes() for file in before} == before
    assert load_generator(Run(tmp_path / "run")).count_params() > 0


def flip_a_byte(content: bytearray):
    content[len(content) // 2] ^= 255


@pytest.mark.parametrize(
    "damage", [flip_a_byte, bytearray.clear]
)  # as a bad disk, and as a copy that was cut short
def test_a_damaged_shard_ends_the_run_with_what_to_do(folder, tmp_path, damage, command):
    assert pack.main(["--data", str(folder), "--out", str(tmp_path / "shards"), "--size", "16"]) == 0
    (shard,) = (tmp_path / "shards").glob("*.tfrecord")
    content = bytearray(shard.read_bytes())
    damage(content)
    shard.write_bytes(content)
    source = ["--data", tmp_path / "shards" / "*.tfrecord", "--run", tmp_path / "run"]
    arguments = [*source, "--kimg", "0.04", *SMALL, "--metrics", "none"]
    done = command("keras_dcgan.fit", *arguments)
    assert done.returncode == 1 and done.stderr.startswith("fit: stopped: ") and done.stderr.count("\n") == 1
    assert "Look at --data" in done.stderr
    done = command("keras_dcgan.fit", *arguments, "--dry-run")
    assert done.returncode == 2 and done.stderr.startswith("fit: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "batch, most, is_told", [(25, 4, True), (16, 1, True), (1, 4, True), (9, 4, False), (7, 0, False)]
)
def test_a_spread_within_groups_of_one_image_is_told(batch, most, is_told):
    """Which is 0 whatever the generator draws."""
    told = forecast.no_groups(batch, most)
    assert bool(told) == is_told and (not told or f" {most} does nothing: " in told)


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_networks_that_do_not_fit_into_memory_are_told_in_one_line(fit, more, monkeypatch, tmp_path):
    def fail(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nmore about it")

    monkeypatch.setattr(loop, "build", fail)
    done = fit(0.04, *more)
    assert (done.returncode, done.stderr) == (
        2,
        "fit: --batch, --filters: expected what fits into memory: OOM when allocating\n",
    )
    assert not (tmp_path / "run").exists()


def test_in_python_settings_are_called_by_their_names(folder, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM")

    monkeypatch.setattr(loop, "train_from", fail)
    settings = {"data": str(folder), "run": str(tmp_path / "run"), "size": (16, 16), "filters": 4, "batch": 8}
    config, images = resolve(settings, 40), prepare(str(folder), 16, show=lambda line: None)
    with loop.opened(config, images, devices.find_strategy("single")) as (training, step):
        end = loop.train(training, step)
    assert end == loop.End(0, 0, "OOM", "Try a smaller batch or filters in another run")
    chosen = json.loads((tmp_path / "run" / "config.json").read_text())["chosen"]
    assert chosen.startswith("preset auto: ema_kimg 10 precision auto ") and "\0" not in chosen
    assert capsys.readouterr().out == ""


def test_a_finished_run_tells_how_it_was_trained_whatever_is_typed_then(go_on, tmp_path):
    files = [tmp_path / "run" / name for name in ("config.json", "data.json")]
    before = [file.read_bytes() for file in files]
    done = go_on(0.04)
    assert done.returncode == 0 and "has been trained for 0.12 kimg already" in done.stdout
    assert [file.read_bytes() for file in files] == before


def test_what_to_type_next_can_be_typed(capsys):
    module.farewell(Run("runs/My Photos", is_new=True))
    assert capsys.readouterr().out.count(" 'runs/My Photos'") == 3


@pytest.mark.parametrize("text", ["[]", "{}", "no JSON"])
def test_a_cluster_that_is_none_is_told(text, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(
        ValueError, match="^strategy: expected TF_CONFIG with a cluster in the environment, received "
    ):
        devices.find_strategy("multiworker")


def test_several_processes_do_not_stop_at_an_alarm_that_one_of_them_knows_of(folder, monkeypatch):
    monkeypatch.setattr(devices, "worker", lambda strategy: (0, 2))
    config = from_flags(["--data", str(folder), "--size", "16", "--on-collapse", "stop"])
    with pytest.raises(ValueError, match="^on_collapse: expected warn with several processes, received stop"):
        loop.strategy_for(config, prepare(folder, (16, 16)))


def test_a_port_that_is_taken_is_told(monkeypatch):
    def join():
        raise tf.errors.UnknownError(None, None, "Could not start gRPC server")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", join)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["127.0.0.1:1"]}}')
    with pytest.raises(
        ValueError, match="^strategy: expected TF_CONFIG of a cluster that can be joined: Could not start"
    ):
        devices.find_strategy("multiworker")


def test_a_run_that_cannot_be_written_is_refused(folder, tmp_path, command):
    (tmp_path / "file").write_text("in the way")
    done = command("keras_dcgan.fit", "--data", folder, "--run", tmp_path / "file" / "run", *SMALL)
    assert done.returncode == 2 and done.stdout == ""  # before images are prepared
    assert done.stderr == f"fit: --run: expected a directory, received the file {tmp_path / 'file'}\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            tf.errors.NotFoundError(None, None, "a.tfrecord; No such file"),
            "a.tfrecord; No such file; there is no checkpoint yet. Look at --data",
        ),
        (tf.errors.PermissionDeniedError(None, None, "a.tfrecord"), "Look at --data"),
        (
            tf.errors.UnavailableError(None, None, "the bucket"),
            "the bucket; there is no checkpoint yet. Type the same command again",
        ),
        (OSError("read-only"), "read-only; there is no checkpoint yet. Free some space"),
    ],
)
def test_what_tensorflow_raises_is_a_line(folder, tmp_path, monkeypatch, capsys, error, says):
    def raised(*_):
        raise error

    monkeypatch.setattr(loop, "train_from", raised)
    sweep = Run.sweep

    def remove(run):
        if (run.path / "data.json").exists():  # not at the start
            raise OSError(errno.EROFS, "Read-only file system")
        sweep(run)

    monkeypatch.setattr(Run, "sweep", remove)
    assert module.main(["--data", str(folder), "--run", str(tmp_path / "run"), "--kimg", "0.04", *SMALL]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fit: stopped: ") and says in line


def test_a_corrupt_checkpoint_is_named_and_the_run_goes_on_from_the_one_before(go_on, tmp_path):
    data = next((tmp_path / "run" / "checkpoints" / "step-000000015").glob("state.data*"))
    data.write_bytes(data.read_bytes()[:-1])
    done = go_on(0.16)
    assert done.returncode == 0
    assert (
        done.stderr == "Passed over corrupt checkpoints: step-000000015.\n" and "at 10 steps" in done.stdout
    )
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15, 20]


def test_two_trainings_of_one_run_are_one_too_many(go_on, tmp_path):
    with directory._locked(tmp_path / "run"):
        done = go_on(0.16)
    assert done.returncode == 2 and "expected a run that nobody trains at the moment" in done.stderr
    assert [row["step"] for row in rows(tmp_path)] == [5, 10, 15]


def contents(folder):
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name != ".lock"}


@pytest.mark.parametrize("what_is_left", ["generator.keras", "generator_last.keras", "metrics.jsonl"])
def test_lost_checkpoints_are_no_beginning(go_on, tmp_path, what_is_left):
    run = tmp_path / "run"
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()  # the place where a disk was
    for name in {"generator.keras", "generator_last.keras", "metrics.jsonl"} - {what_is_left}:
        (run / name).unlink()
    before = contents(run)
    done = go_on(0.16)
    left = "0.12 kimg in metrics.jsonl" if what_is_left == "metrics.jsonl" else what_is_left
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(
        f"fit: --run: expected checkpoints to resume from, received {run} with {left} and nothing in "
    )
    assert done.stderr.count("\n") == 1 and contents(run) == before


def test_a_run_killed_before_its_first_checkpoint_starts(fit, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_sha256", lambda file: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(0.12)
    assert not list(run.glob("generator*.keras")) and (run / "metrics.jsonl").exists()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_save_generators", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fit(0.12)
    assert [place.name for place in (run / "checkpoints").glob("step-*")] == ["step-000000000"]
    assert fit(0.04).returncode == 0 and [row["step"] for row in rows(tmp_path)] == [5]


def test_other_things_that_are_gone_are_no_beginning_either(go_on, tmp_path):
    run = tmp_path / "run"
    (run / "data.json").unlink()
    done = go_on(0.16)
    assert done.returncode == 2 and "fit: --run: expected the data.json of a run, received " in done.stderr
    assert done.stderr.count("\n") == 1 and not (run / "data.json").exists()


def test_a_generator_or_rows_that_are_gone_are_told_or_written_again(go_on, tmp_path):
    run = tmp_path / "run"
    (run / "metrics.jsonl").unlink()
    (run / "generator.keras").unlink()
    done = go_on(0.16)
    assert done.returncode == 0 and (run / "generator.keras").exists()
    assert (
        done.stderr
        == f"warning: {run}/metrics.jsonl has no row up to here: the next tick's generator becomes generator.keras\n"
    )


@pytest.fixture
def odd_keras():
    """Keras as a ~/.keras/keras.json, the environment or a notebook may have set it -> what it says of
    itself."""
    odd = {
        "floatx": "float16",
        "epsilon": 0.1,
        "image_data_format": "channels_first",
        "max_steps_per_epoch": 1,
        "max_epochs": 0,
    }
    names = [name for name in [*odd, "dtype_policy"] if hasattr(keras.config, name)]
    before = {name: getattr(keras.config, name)() for name in names}
    for name in names:
        getattr(keras.config, f"set_{name}")(odd.get(name, "mixed_float16"))
    yield lambda: [str(getattr(keras.config, name)()) for name in names]
    for name in names:
        getattr(keras.config, f"set_{name}")(before[name])


def test_in_a_notebook_the_bits_are_the_same_and_what_was_there_stays(fit, trained, tmp_path, odd_keras):
    """In a thread, where no signal can be taken; TensorFlow has begun; Keras has other settings."""
    before = odd_keras(), random.getstate(), np.random.get_state()[1].tolist()
    done = []
    thread = threading.Thread(target=lambda: done.append(fit(0.12, "--threads", "7")))
    thread.start()
    thread.join()
    assert (odd_keras(), random.getstate(), np.random.get_state()[1].tolist()) == before
    assert done[0].returncode == 0, done[0].stderr
    assert done[0].stderr.startswith("warning: --threads: TensorFlow has begun before, and keeps to ")
    ours, theirs = (load_generator(Run(run), last=True).get_weights() for run in (tmp_path / "run", trained))
    for one, other in zip(ours, theirs):
        np.testing.assert_array_equal(one, other)


def test_a_keras_of_another_backend_is_a_line(fit, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    done = fit(0.04)
    complaint = (
        "KERAS_BACKEND: expected tensorflow, received jax, with which Keras was imported before keras_dcgan"
    )
    assert (done.returncode, done.stderr) == (2, f"fit: {complaint}\n")


def test_a_foreign_keras_backend_in_the_environment_is_overridden():
    program = "import keras_dcgan, os; print(os.environ['KERAS_BACKEND'])"
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    assert subprocess.check_output([sys.executable, "-c", program], env=environment) == b"tensorflow\n"


def test_a_cluster_cannot_be_joined_any_more_where_tensorflow_has_begun(monkeypatch):
    def join():
        raise RuntimeError("Collective ops must be configured at program startup")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", join)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["127.0.0.1:1"]}}')
    with pytest.raises(
        ValueError,
        match="^strategy: expected TF_CONFIG of a cluster that can be joined: Collective ops must",
    ):
        devices.find_strategy("multiworker")


def test_a_signal_that_the_parent_has_switched_off_stays_off():
    ticks = Ticks(from_flags(["--data", "x"]), Progress(""))
    before = [signal.signal(signal.SIGINT, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)]
    try:
        with ticks.signals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert callable(signal.getsignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert signal.getsignal(signal.SIGTERM) == before[1]
