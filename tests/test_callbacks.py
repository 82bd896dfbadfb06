import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_dcgan import callbacks
from keras_dcgan.callbacks import Board, MetricsFile, SampleGrids, kimg_name
from keras_dcgan.progress import Progress


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


def constant_generator(z, training):
    return tf.ones((len(z), 2, 2, 3)) * tf.reshape(tf.cast(z[:, 0], tf.float32), (-1, 1, 1, 1))


def test_metrics_after_the_checkpoint_and_torn_lines_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    for step in (1, 2, 3):
        first(row(step))
    with open(path, "a") as file:
        file.write('{"step": 4, "ki')
    again = MetricsFile(path, 2)
    assert [entry["step"] for entry in again.rows] == [1, 2]
    again(row(3, d_loss=0.125))
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
    for tick in (1, 2, 3, 4):
        grids(row(tick, kimg=4.0 * tick))
        assert (grids.newest is None) == bool(tick % 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["000008kimg.png", "000016kimg.png"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "000016kimg.png"))[::2, ::2, 0], [[0, 128], [255, 191]]
    )
    grids(row(4, kimg=18.0))  # the training's end, in the middle of a tick
    assert (tmp_path / "000016kimg.png").exists() and (tmp_path / "000018kimg.png").exists()


def events(folder):
    """{tag: [(step, value or picture)]} of all event files."""
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
        patch.setattr(callbacks.os, "replace", dies(os.replace))
        patch.setattr(Path, "unlink", dies(Path.unlink))
        callbacks._cut_events(tmp_path, 3)
    callbacks._cut_events(tmp_path, 3)
    assert [step for step, _ in events(tmp_path)["a"]] == [1, 2, 3]
    callbacks._cut_events(tmp_path, 3)
    assert [step for step, _ in events(tmp_path)["a"]] == [1, 2, 3]


def test_board_holds_scalars_grids_and_settings_and_resumes_without_doubles(tmp_path):
    grids = SampleGrids(tmp_path / "samples", constant_generator, [np.ones((4, 1))], every=1)

    def board_at(step):
        return Board(tmp_path / "logs", step, grids)

    board = board_at(0)
    board.introduce({"batch": 64, "loss": "bce", "data": "im\udce9gs"}, np.zeros((4, 4, 3), np.uint8))
    for step in (1, 2, 3):
        grids(row(step))
        board(row(step))
    board.writer.close()
    newest = next((tmp_path / "logs").glob("*.tfevents.*"))
    newest.write_bytes(newest.read_bytes()[:-7])  # killed in the middle of a record
    board = board_at(2)
    grids(row(3))
    board(row(3, d_loss=0.125))
    board.note(3, "warning: collapse")
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
    assert {tag for tag in found} == {*callbacks.SCALARS.values(), "samples", "real", "settings", "alarms"}
    assert [
        (step, str(value[()] if value.shape == () else value[0], "utf8")) for step, value in found["alarms"]
    ] == [(3, "warning: collapse")]
    assert not list((tmp_path / "logs").glob(".*"))


def alarm_for(rows, stops=False):
    """An Alarm, what it wrote on the screen, the steps it noted on the board, and the model it may stop."""
    out, noted, model = io.StringIO(), [], SimpleNamespace(stop_training=False)
    ticks = SimpleNamespace(progress=Progress("", 100, "kimg", out), model=model)
    board = SimpleNamespace(note=lambda step, text: noted.append(step))
    return callbacks.Alarm(rows, ticks, board, stops), out, noted, model


def test_an_alarm_is_told_once_until_it_is_over():
    healthy, bad = {"spread": 0.9, "swd": 10.0}, {"spread": 0.01, "swd": 15.0}
    rows = []
    alarm, out, noted, model = alarm_for(rows)
    for step, quality in enumerate([healthy, bad, bad, bad, bad, healthy, bad, bad, bad], 1):
        rows.append(row(step, **quality))
        alarm(rows[-1])
    assert noted == [4, 9]
    assert out.getvalue().count("warning: collapse at 4 kimg: the samples are 0.01 times as varied") == 1
    assert not model.stop_training
    resumed, _, noted, _ = alarm_for(rows)
    rows.append(row(10, **bad))
    resumed(rows[-1])
    assert noted == []


def test_an_alarm_can_stop_the_training():
    rows = [row(step, spread=0.01, swd=10.0 + step) for step in range(1, 4)]
    alarm, _, noted, model = alarm_for(rows, stops=True)
    rows.append(row(4, spread=0.01, swd=14.0))
    alarm(rows[-1])
    assert noted == [4] and model.stop_training


def test_what_a_checkpoint_vouches_for_is_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(callbacks.files, "sync", lambda path: synced.append(path.name))
    grids = callbacks.SampleGrids(
        tmp_path / "samples", lambda z, training: tf.zeros((len(z), 4, 4, 3)), [np.zeros((2, 5))], 1
    )
    board = callbacks.Board(tmp_path / "logs", 0, grids)
    grids.draw(1.0)
    board({"step": 1})
    assert synced[0] == "000001kimg.png" and [name.startswith("events.out.tfevents.") for name in synced] == [
        False,
        True,
    ]
