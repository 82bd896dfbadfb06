"""What happens around the training step: ticks, progress, metrics.jsonl, sample grids, TensorBoard. No
training math.

    ticks = Ticks(config, measure=dict, actions=[grids, metrics_file, board], save=lambda: run.save(gan))
    gan.fit(batches, steps_per_epoch=config.total_steps - step, callbacks=[ticks], verbose=0)

Ticks are counted from the start of the run and not of the process. At the end of one, each action is called
with the tick's row, a dict, in the order given; the checkpoint comes last, so that all it vouches for is on
disk by then.
"""

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan import files, images, watchdog
from keras_dcgan.config import TrainConfig, read_rows
from keras_dcgan.progress import Progress

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
SHOWN = {
    "d_loss": ".3f",
    "g_loss": ".3f",
    "real_acc": ".2f",
    "fake_acc": ".2f",
    "swd": ".1f",
}  # on a tick's line
RATED = 2.0  # seconds of steps that tell how fast they are


class Outlook(keras.callbacks.Callback):
    """After the first steps (the very first, which builds the graph, does not count) tells once how fast they
    are: tell(images a second, images left). Not later than at the end of the first tick. `stops`: that was
    all that was wanted. `is_alone`: without other processes, which would go on to another step."""

    def __init__(
        self,
        config: TrainConfig,
        tell: Callable[[float, int], None],
        stops: bool = False,
        is_alone: bool = True,
    ):
        super().__init__()
        self.config, self.tell, self.stops, self.is_alone = config, tell, stops, is_alone
        self.first, self.is_told, self.calls = None, False, 0

    def on_train_batch_end(self, batch, logs=None):
        if self.is_told:
            return
        now, step = time.monotonic(), min(self.model.steps_taken, self.config.total_steps)
        self.first, self.calls = self.first or (now, step), self.calls + 1
        since, before = self.first
        is_over = step == self.config.total_steps or self.config.ticks(step) > self.config.ticks(before)
        if step > before and (is_over or (now - since >= RATED if self.is_alone else self.calls == 4)):
            rate = (step - before) * self.config.batch / max(now - since, 1e-9)
            self.tell(rate, (self.config.total_steps - step) * self.config.batch)
            self.is_told = True
        self.model.stop_training |= self.stops and (self.is_told or is_over)


class Ticks(keras.callbacks.Callback):
    """Counts steps, shows progress, ends ticks; on SIGINT or SIGTERM ends the training after the step that is
    under way. Where the model takes several steps per execution, as on a GPU, all of this happens after the
    last of them.

    `measure()` adds to the tick's row {tick, step, kimg, seconds, img_per_s, d_loss, g_loss, real_acc,
    fake_acc}; `actions` take the row; `save()` saves the model. `seconds`: training time before this process.
    After a signal `received` holds its number; a second one ends the process at once. Raises Diverged after a
    step whose loss is no number, and before anything of it is saved.
    """

    def __init__(
        self,
        config: TrainConfig,
        measure: Callable[[], dict],
        actions: list[Callable[[dict], None]],
        save: Callable[[], None],
        seconds: float = 0.0,
        is_silent: bool = False,
    ):
        super().__init__()
        self.config, self.batch = config, config.batch
        self.measure, self.actions, self.save = measure, actions, save
        self.seconds_before = seconds
        self.received = None
        stream = open(os.devnull, "w") if is_silent else sys.stdout
        self.progress = Progress("", config.total_steps * config.batch, "kimg", stream)

    @property
    def seconds(self) -> float:
        """Training time until now, of earlier processes as well."""
        return round(self.seconds_before + time.perf_counter() - self.began, 3)

    def on_train_begin(self, logs=None):
        self.step = self.tick_start = self.model.steps_taken
        self.began = self.tick_began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        before, self.step = (
            self.step,
            min(self.step + self.model.steps_per_execution, self.config.total_steps),
        )
        if not all(map(math.isfinite, logs.values())):
            self.diverge([name for name, value in logs.items() if not math.isfinite(value)])
        self.progress.update(self.step * self.batch)
        received = self.received  # once: it may come at any moment
        if self.config.ticks(self.step) > self.config.ticks(before) or self.step == self.config.total_steps:
            self._end_tick()
        elif received:
            if watchdog.not_finite(self.model):
                self.diverge([])
            self.model.settle()
            with file_errors():
                # the tick goes on in the next process: the means so far are part of the checkpoint
                self.save()
        if received:
            self.model.stop_training = True

    def _end_tick(self):
        if watchdog.not_finite(self.model):
            self.diverge([])
        self.model.settle()
        now = time.perf_counter()
        row = {
            "tick": self.config.ticks(self.step),
            "step": self.step,
            "kimg": round(self.step * self.batch / 1000, 6),
            "seconds": self.seconds,
            "img_per_s": round((self.step - self.tick_start) * self.batch / (now - self.tick_began), 2),
            **self.model.current_means(),
            **self.measure(),
        }
        self.tick_began, self.tick_start = now, self.step
        self.progress.facts = "".join(
            f"  {name} {row[name]:{digits}}" for name, digits in SHOWN.items() if name in row
        )
        self.progress.leave()
        self.model.reset_means()
        with file_errors():
            for action in self.actions:
                action(row)
            self.save()

    def diverge(self, losses: list[str]):
        weights = watchdog.not_finite(self.model)
        more = f" and {len(weights) - 1} more weights" if len(weights) > 1 else ""
        named = [*losses, *weights[:1]]
        error = watchdog.Diverged(f"after step {self.step} not a number: {', '.join(named)}{more}")
        error.received = self.received
        raise error

    @contextlib.contextmanager
    def signals(self):
        """Takes SIGINT and SIGTERM meanwhile; what came is noted in `received`. Not where Python has no say
        in them: off the main thread. One that the parent process has switched off (nohup, a shell's &) stays
        off."""

        def note(number, frame):
            self.received = number
            signal.signal(number, signal.SIG_DFL)  # the second one is not asked what it wants

        before = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            before = {
                number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)
            }
        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            self.progress.close()
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def file_errors():
    """Turns what TensorFlow raises when it cannot write into OSError. Keras takes one of those,
    OutOfRangeError, for the end of the data, and would end the training as if all were well."""
    try:
        yield
    except tf.errors.DataLossError:  # of what was read: a damaged shard
        raise
    except tf.errors.OpError as error:
        raise OSError(error.message.splitlines()[0]) from error


class MetricsFile:
    """metrics.jsonl: one row a tick, all of them also in `rows`. Those after `step`, which a killed process
    wrote after its last checkpoint, are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        self.rows = [row for row in read_rows(path) if row["step"] <= step]
        files.write(path, "".join(json.dumps(row) + "\n" for row in self.rows))

    def __call__(self, row: dict):
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        files.sync(self.path)  # before the checkpoint, which vouches for it


class SampleGrids:
    """samples/: every `every` ticks what the averaged generator draws of the same `inputs`, beside the real
    images."""

    def __init__(self, folder: Path, generator: Callable, inputs: list[np.ndarray], every: int):
        self.folder, self.generator, self.inputs, self.every = folder, generator, inputs, every
        self.newest = None  # what the last tick drew, if it drew

    def reals(self, real: np.ndarray) -> np.ndarray:
        sheet = images.grid(real)
        images.save(sheet, self.folder / "reals.png")
        return sheet

    def __call__(self, row: dict):
        self.newest = None
        if row["tick"] % self.every == 0:
            self.draw(row["kimg"])

    def draw(self, kimg: float):
        self.newest = images.grid(np.stack(list(images.draw(self.generator, self.inputs))))
        file = self.folder / f"{kimg_name(kimg)}.png"
        images.save(self.newest, file)
        files.sync(file)


def kimg_name(kimg: float) -> str:
    """12.0 -> '000012kimg', 0.5 -> '000000.5kimg'."""
    return f"{kimg:010.3f}".rstrip("0").rstrip(".") + "kimg"


class Board:
    """logs/ for TensorBoard: settings and real images once, scalars and grids a tick. The x axis is steps.

    Events after `step`, which a killed process wrote after its last checkpoint, are dropped.
    """

    def __init__(self, folder: Path, step: int, grids: SampleGrids):
        self.grids = grids
        self.folder = folder
        _cut_events(folder, step or -1)  # at the start of a run it introduces itself again
        self.writer = tf.summary.create_file_writer(str(folder))

    def introduce(self, settings: dict, reals: np.ndarray):
        table = "\n".join(
            [
                "| setting | value |",
                "| --- | --- |",
                *(f"| {name} | {value} |" for name, value in settings.items()),
            ]
        )
        table = table.encode(errors="backslashreplace").decode()  # a path may hold what is no UTF-8
        with self.writer.as_default(step=0):
            tf.summary.text("settings", table)
            tf.summary.image("real", reals[None])

    def __call__(self, row: dict):
        with self.writer.as_default(step=row["step"]):
            for name, tag in SCALARS.items():
                if name in row:
                    tf.summary.scalar(tag, row[name])
            if self.grids.newest is not None:
                tf.summary.image("samples", self.grids.newest[None])
        self.writer.flush()
        for file in self.folder.glob("*.tfevents.*"):
            files.sync(file)

    def note(self, step: int, text: str):
        with self.writer.as_default(step=step):
            tf.summary.text("alarms", text)
        self.writer.flush()


class Alarm:
    """Says once, on the screen and in TensorBoard, when something begins to be wrong; with `stops` it ends
    the training then."""

    def __init__(self, rows: list[dict], ticks: Ticks, board: Board, stops: bool):
        self.rows, self.ticks, self.board, self.stops = rows, ticks, board, stops
        self.ringing = watchdog.alarms(rows)

    def __call__(self, row: dict):
        found = watchdog.alarms(self.rows)
        for name in found.keys() - self.ringing.keys():
            text = f"warning: {name} at {row['kimg']:g} kimg: {found[name]}"
            self.ticks.progress.note(text)
            self.board.note(row["step"], text)
        self.ringing = found
        if found and self.stops:
            self.ticks.model.stop_training = True


def _cut_events(folder: Path, step: int):
    """What came up to `step`, in one file, in place of those that are there. A kill at any moment loses and
    doubles nothing."""
    old, merged = sorted(folder.glob("*.tfevents.*")), folder / ".events.merged"
    if not old and not merged.exists():
        return
    if not merged.exists():  # else a kill came between the next lines, and it holds everything
        beside = folder / ".events.part"
        with tf.io.TFRecordWriter(str(beside)) as writer:
            for file in old:
                try:
                    for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
                        if tf.compat.v1.Event.FromString(record).step <= step:
                            writer.write(record)
                except (
                    tf.errors.DataLossError
                ):  # torn by a kill in the middle of a record: what came before it is kept
                    continue
        files.replace(beside, merged)
    for file in old:
        file.unlink()
    files.replace(merged, folder / "events.out.tfevents.0")
