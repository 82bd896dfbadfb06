import io
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_dcgan import cli
from keras_dcgan.config import TrainConfig
from keras_dcgan.errors import argument
from keras_dcgan.progress import Progress
from keras_dcgan.runs.directory import Run
from keras_dcgan.training import records
from keras_dcgan.training.records import Alarm, Board, MetricsFile, SampleGrids, kimg_name
from keras_dcgan.training.ticks import Tick, Ticks


def row(step, **more):
    means = {"d_loss": 0.5, "g_loss": 1.25, "real_acc": 0.75, "fake_acc": 1.0}
    quality = {"swd": 30.0, "spread": 0.9, "sharpness": 1.2}
    return {
        "tick": step,
        "step": step,
        "kimg": step * 1.0,
        "seconds": 2.0 * step,
        "img_per_s": 500.0,
        **means,
        **quality,
        **more,
    }


def tick(step, **more):
    """The end of a tick, before its actions."""
    ended = row(step, **more)
    return Tick(ended, [ended])


def constant_generator(z, training):
    return tf.ones((z.shape[0], 2, 2, 3)) * tf.reshape(tf.cast(z[:, 0], tf.float32), (-1, 1, 1, 1))


def test_metrics_after_the_checkpoint_and_torn_lines_are_dropped(tmp_path):
    path, run = tmp_path / "metrics.jsonl", Run(tmp_path, is_new=True)
    first = MetricsFile(run, 0)
    for step in (1, 2, 3):
        first(tick(step))
    with open(path, "a") as file:
        file.write('{"step": 4, "ki')
    again = MetricsFile(run, 2)
    assert [entry["step"] for entry in again.rows] == [1, 2]
    again(tick(3, d_loss=0.125))
    assert [json.loads(line)["d_loss"] for line in path.read_text().splitlines()] == [0.5, 0.5, 0.125]


def test_grid_names_sort_by_kimg_and_do_not_collide():
    names = [kimg_name(kimg) for kimg in (0.0, 0.5, 0.75, 1.0, 12.0, 250.25)]
    assert names == [
        "000000kimg",
        "000000.5kimg",
        "000000.75kimg",
        "000001kimg",
        "000012kimg",
        "000250.25kimg",
    ]


def test_grids_are_drawn_every_so_many_ticks_from_the_same_latents(tmp_path):
    z = np.array([[-1.0], [0.0], [1.0], [0.5]])
    grids = SampleGrids(tmp_path, constant_generator, [z], every=2)
    for number in (1, 2, 3, 4):
        ended = tick(number, kimg=4.0 * number)
        ended.rows = [*map(row, range(1, number)), ended.row]
        grids(ended)
        assert (ended.grid is None) == bool(number % 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["000008kimg.png", "000016kimg.png"]
    np.testing.assert_array_equal(ended.grid, np.asarray(Image.open(tmp_path / "000016kimg.png")))
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "000016kimg.png"))[::2, ::2, 0], [[0, 128], [255, 191]]
    )
    grids(tick(4, kimg=18.0))  # the training's end, in the middle of a tick
    assert (tmp_path / "000016kimg.png").exists() and (tmp_path / "000018kimg.png").exists()
    together = tick(7, kimg=28.0)  # with tick 6, by a GPU's many steps at once
    together.rows = [{"tick": 5}, together.row]
    grids(together)
    assert (tmp_path / "000028kimg.png").exists()


def events(folder):
    """{tag: [(step, value or image)]} of all event files."""
    found = {}
    for file in sorted(folder.glob("*.tfevents.*")):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor)))
    return found


@pytest.mark.parametrize("killed_at", range(4))
def test_a_kill_while_events_are_cut_neither_loses_nor_doubles_them(tmp_path, monkeypatch, killed_at):
    for steps in (1, 2), (3, 4):
        writer = tf.summary.create_file_writer(str(tmp_path))
        with writer.as_default():
            for step in steps:
                tf.summary.scalar("a", 1.0, step)
        writer.close()
    calls = []

    class Killed(BaseException):
        pass

    def dies(work):
        def call(*arguments, **options):
            calls.append(arguments)
            if len(calls) - 1 == killed_at:
                raise Killed
            return work(*arguments, **options)

        return call

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "replace", dies(os.replace))
        patch.setattr(Path, "unlink", dies(Path.unlink))
        records._cut_events(tmp_path, 3)
    for _ in range(2):
        records._cut_events(tmp_path, 3)
        # Sorted: the files of one second are numbered, and by name the tenth comes before the ninth.
        assert sorted(step for step, _ in events(tmp_path)["a"]) == [1, 2, 3]


def test_board_holds_scalars_grids_and_settings_and_resumes_without_doubles(tmp_path):
    grids = SampleGrids(tmp_path / "samples", constant_generator, [np.ones((4, 1))], every=1)

    def board_at(step):
        return Board(tmp_path / "logs", step)

    def end(ended):
        grids(ended)
        board(ended)

    board = board_at(0)
    board.introduce({"batch": 64, "loss": "bce", "data": "im\udce9gs"}, np.zeros((4, 4, 3), np.uint8))
    for step in (1, 2, 3):
        end(tick(step))
    board.writer.close()
    newest = next((tmp_path / "logs").glob("*.tfevents.*"))
    newest.write_bytes(newest.read_bytes()[:-7])  # killed in the middle of a record
    board = board_at(2)
    last = tick(3, d_loss=0.125)
    last.messages.append("warning: collapse")
    end(last)
    board.writer.close()

    found = events(tmp_path / "logs")
    assert [(step, float(value)) for step, value in found["loss/discriminator"]] == [
        (1, 0.5),
        (2, 0.5),
        (3, 0.125),
    ]
    assert [step for step, _ in found["samples"]] == [1, 2, 3]
    assert [step for step, _ in found["real"]] == [0]
    assert "| batch | 64 |" in str(found["settings"][0][1]) and "im\\\\udce9gs" in str(
        found["settings"][0][1]
    )
    assert {tag for tag in found} == {*records.SCALARS.values(), "samples", "real", "settings", "alarms"}
    assert [
        (step, str(value[()] if value.shape == () else value[0], "utf8")) for step, value in found["alarms"]
    ] == [(3, "warning: collapse")]
    assert not list((tmp_path / "logs").glob(".*"))


class StillModel:
    """What Ticks asks of a DCGAN, without any step being taken."""

    stop_training, steps_per_execution, stream = False, 1, tf.constant(0)
    generator = discriminator = ema_generator = keras.Sequential()

    def __init__(self, steps_taken):
        self.steps_taken = steps_taken

    def recompute_statistics(self):
        pass

    def reset_means(self):
        pass

    def current_means(self):
        return {name: row(0)[name] for name in ("d_loss", "g_loss", "real_acc", "fake_acc")}


def ticks_of(qualities, actions, rows=(), save=lambda rows, seconds: None, **options):
    """A training after it has measured these at its ticks, and what was on the screen."""
    out, quality = io.StringIO(), iter(qualities)
    config = TrainConfig(data="x", batch=1000, tick_kimg=1, kimg=100)
    progress = Progress("", 100_000, "kimg", out)
    ticks = Ticks(config, progress, lambda: next(quality), actions, save, rows, **options)
    ticks.set_model(StillModel(len(rows)))
    ticks.on_train_begin()
    for _ in qualities:
        ticks.on_train_batch_end(0, {})
    return ticks, out.getvalue()


def test_an_alarm_is_told_once_until_it_is_over():
    healthy, bad = {"spread": 0.9, "swd": 10.0}, {"spread": 0.01, "swd": 15.0}
    noted = []

    def board(ended):
        noted.extend(ended.row["step"] for _ in ended.messages)

    qualities = [healthy, bad, bad, bad, bad, healthy, bad, bad, bad]
    ticks, screen = ticks_of(qualities, [Alarm([], False), board])
    assert noted == [4, 9]
    assert screen.count("warning: collapse at 4 kimg: the samples are 0.01 times as varied") == 1
    assert screen.count("(what to do: docs/bad-images.md)") == 2
    assert not ticks.model.stop_training
    noted.clear()
    resumed, screen = ticks_of([bad], [Alarm(ticks.rows, False), board], ticks.rows)
    assert noted == [] and "warning" not in screen and len(resumed.rows) == 10


def test_a_cluster_of_one_tells_its_losses_in_vectors():
    config = TrainConfig(data="x", batch=1000, tick_kimg=2, kimg=100)
    ticks = Ticks(config, Progress("", 100_000, "kimg", io.StringIO()))
    ticks.set_model(StillModel(0))
    ticks.on_train_begin()
    ticks.on_train_batch_end(0, {"d_loss": np.array([0.5], np.float32)})
    with pytest.raises(ArithmeticError, match="after step 2 not a number: g_loss"):
        ticks.on_train_batch_end(0, {"d_loss": np.array([0.5]), "g_loss": np.array([np.inf])})


def test_training_goes_on_while_a_tick_is_completed_aside():
    going_on = threading.Event()
    copied = []

    def measure():
        assert going_on.wait(20)
        return {"swd": 10.0}

    class Copy(StillModel):
        step = SimpleNamespace(value=tf.Variable(0.0))

        def copy_state(self, model):
            copied.append(model)

    out = io.StringIO()
    config = TrainConfig(data="x", batch=1000, tick_kimg=2, kimg=100)
    ticks = Ticks(config, Progress("", 100_000, "kimg", out), measure, aside=Copy(0))
    ticks.set_model(StillModel(0))
    ticks.on_train_begin()
    for _ in range(3):
        ticks.on_train_batch_end(0, {})
    assert ticks.step == 3 and ticks.rows == [] and "swd" not in out.getvalue()
    going_on.set()
    ticks.settle()
    assert [row["step"] for row in ticks.rows] == [2] and copied == [ticks.model]
    assert "2.0/100.0 kimg" in out.getvalue() and "swd 10.0" in out.getvalue()


def test_what_comes_of_a_tick_aside_is_told_though_the_training_has_failed():
    class Copy(StillModel):
        step = SimpleNamespace(value=tf.Variable(0.0))

        def copy_state(self, model):
            pass

    def full(rows, seconds):
        raise OSError("the disk is full")

    out = io.StringIO()
    config = TrainConfig(data="x", batch=1000, tick_kimg=2, kimg=100)
    ticks = Ticks(config, Progress("", 100_000, "kimg", out), save=full, aside=Copy(0))
    ticks.set_model(StillModel(0))
    with pytest.raises(ArithmeticError), ticks.signals():
        ticks.on_train_begin()
        ticks.on_train_batch_end(0, {})
        ticks.on_train_batch_end(0, {})
        raise ArithmeticError
    assert "2.0/100.0 kimg" in out.getvalue() and "not saved: the disk is full" in out.getvalue()


def test_messages_name_settings_as_python_does_unless_they_are_spelled_otherwise(tmp_path):
    told = []

    def warn(ended):
        ended.messages.append(f"warning: lower {argument('g_lr')}")

    for number, spelling in enumerate([{}, {"spell": cli.with_flags}]):
        board = Board(tmp_path / str(number), 0, **spelling)
        _, screen = ticks_of([{}], [warn, board], **spelling)
        ((_, event),) = events(tmp_path / str(number))["alarms"]
        told.append([screen.splitlines()[-1], event.item().decode()])
    assert told == [2 * ["warning: lower g_lr"], 2 * ["warning: lower --g-lr"]]


def test_an_alarm_can_stop_the_training():
    rows = [row(step, spread=0.01, swd=10.0 + step) for step in range(1, 4)]
    noted, saved = [], []

    def save(rows, seconds):
        saved.append([row["step"] for row in rows])

    ticks, _ = ticks_of([{"spread": 0.01, "swd": 14.0}], [Alarm(rows, True), noted.append], rows, save)
    (ended,) = noted
    assert ended.row["step"] == 4 and len(ended.messages) == 1 and ended.stop
    assert ticks.model.stop_training and saved == [[1, 2, 3, 4]]


def test_what_a_checkpoint_vouches_for_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(records.files, "sync", lambda path: synced.append(path.name))
    black = lambda z, training: tf.zeros((z.shape[0], 4, 4, 3))  # noqa: E731
    grids = SampleGrids(tmp_path / "samples", black, [np.zeros((2, 5))], 1)
    board = Board(tmp_path / "logs", 0)
    grids.draw(1.0)
    board(Tick({"step": 1}, []))
    assert synced[0] == "000001kimg.png" and [name.startswith("events.out.tfevents.") for name in synced] == [
        False,
        True,
    ]
