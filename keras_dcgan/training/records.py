"""What a training writes at each tick beside its checkpoint: metrics.jsonl, sample grids, TensorBoard's logs; and
the alarm, which says when something begins to be wrong.

Each is called with the tick (ticks.Tick), and adds to it what the later ones show.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_dcgan import files
from keras_dcgan.errors import spelled
from keras_dcgan.pictures import images
from keras_dcgan.pictures.draw import draw
from keras_dcgan.runs.directory import Run
from keras_dcgan.training import watchdog
from keras_dcgan.training.ticks import Tick

SCALARS = {
    "d_loss": "loss/discriminator",
    "g_loss": "loss/generator",
    "real_acc": "accuracy of D/on real",
    "fake_acc": "accuracy of D/on fake",
    "img_per_s": "speed/images per second",
    "swd": "samples/sliced Wasserstein distance",
    "spread": "samples/spread against real",
    "sharpness": "samples/sharpness against real",
}

GRID_SIDE = 8  # images across a sample grid
BAD_IMAGES = "docs/bad-images.md"  # has a row for every alarm


class SampleGrids:
    """samples/: every `every` ticks what the averaged generator draws of the same `inputs`, beside the real
    images."""

    def __init__(self, folder: Path, generator: Callable, inputs: list[np.ndarray], every: int):
        self.folder, self.generator, self.inputs, self.every = folder, generator, inputs, every

    def __call__(self, tick: Tick):
        now = tick.row["tick"]
        before = tick.rows[-2]["tick"] if len(tick.rows) > 1 else 0
        # Several ticks may have ended at once, where they are shorter than what a GPU does at once.
        if now % self.every == 0 or now // self.every > before // self.every:
            tick.grid = self.draw(tick.row["kimg"])

    def draw(self, kimg: float) -> np.ndarray:
        """Writes the grid, named after the thousands of images so far, and returns it."""
        grid = images.grid(np.stack(list(draw(self.generator, *self.inputs))))
        return self.write(grid, kimg_name(kimg))

    def write(self, grid: np.ndarray, name: str) -> np.ndarray:
        file = self.folder / f"{name}.png"
        images.save(grid, file)
        files.sync(file)
        return grid


def kimg_name(kimg: float) -> str:
    """12.0 -> '000012kimg', 0.5 -> '000000.5kimg'."""
    return f"{kimg:010.3f}".rstrip("0").rstrip(".") + "kimg"


class MetricsFile:
    """metrics.jsonl: one row a tick. Those after `step`, which a killed process wrote after its last
    checkpoint, are dropped."""

    def __init__(self, run: Run, step: int):
        self.path = run.metrics_file
        self.rows = [row for row in run.metrics if row["step"] <= step]
        files.write(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def __call__(self, tick: Tick):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(tick.row) + "\n")
        files.sync(self.path)  # before the checkpoint, which vouches for it


class Alarm:
    """Says once when something begins to be wrong; with `stops` it ends the training then. `rows`: those of
    earlier processes."""

    def __init__(self, rows: list[dict], stops: bool):
        self.stops = stops
        self.ringing = watchdog.alarms(rows)

    def __call__(self, tick: Tick):
        found = watchdog.alarms(tick.rows)
        for name in found.keys() - self.ringing.keys():
            tick.messages.append(
                f"warning: {name} at {tick.row['kimg']:g} kimg: {found[name]} (what to do: {BAD_IMAGES})"
            )
        self.ringing = found
        tick.stop |= bool(found) and self.stops


class Board:
    """logs/ for TensorBoard: settings and real images once, scalars, grids and alarms a tick. The x axis is
    steps. `spell`: how messages name settings.

    Events after `step`, which a killed process wrote after its last checkpoint, are dropped.
    """

    def __init__(self, folder: Path, step: int, spell: Callable[[str], str] = spelled):
        self.folder, self.spell = folder, spell
        _cut_events(folder, step or -1)  # at the start of a run it introduces itself again
        self.writer = tf.summary.create_file_writer(str(folder))

    def introduce(self, settings: dict, reals: np.ndarray):
        rows = [f"| {name} | {value} |" for name, value in settings.items()]
        table = "\n".join(["| setting | value |", "| --- | --- |", *rows])
        table = table.encode(errors="backslashreplace").decode()  # a path may hold what is no UTF-8
        with self.writer.as_default(step=0):
            tf.summary.text("settings", table)
            tf.summary.image("real", reals[None])

    def __call__(self, tick: Tick):
        with self.writer.as_default(step=tick.row["step"]):
            for name, tag in SCALARS.items():
                if name in tick.row:
                    tf.summary.scalar(tag, tick.row[name])
            if tick.grid is not None:
                tf.summary.image("samples", tick.grid[None])
            for message in tick.messages:
                tf.summary.text("alarms", self.spell(message))
        self.writer.flush()
        for file in self.folder.glob("*.tfevents.*"):
            files.sync(file)


def _cut_events(folder: Path, step: int):
    """What came up to `step`, in one file, in place of those that are there. A kill at any moment loses and
    doubles nothing."""
    old, merged = sorted(folder.glob("*.tfevents.*")), folder / ".events.merged"
    if not old and not merged.exists():
        return
    if not merged.exists():  # else a kill came between the next lines, and it holds everything
        with files.replacing(merged) as beside, tf.io.TFRecordWriter(str(beside)) as writer:
            for file in old:
                # Torn by a kill in the middle of a record: what came before it is kept.
                with contextlib.suppress(tf.errors.DataLossError):
                    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                        if tf.compat.v1.Event.FromString(record).step <= step:
                            writer.write(record)
    for file in old:
        file.unlink()
    files.rename(merged, folder / "events.out.tfevents.0")
