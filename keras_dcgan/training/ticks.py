"""What happens around the training step: counting, progress, the end of a tick, signals, divergence.

    ticks = Ticks(config, progress, measure, actions=[grids, metrics_file, alarm, board], save=save)
    gan.fit(batches, steps_per_epoch=config.total_steps - step, callbacks=[ticks], verbose=0)

Ticks are counted from the start of the run and not of the process. What happens at the end of one stands in
`Ticks.end_tick` and `Ticks.complete`, top to bottom; the checkpoint comes last, so that all it vouches for is on disk
by then.
"""

import contextlib
import dataclasses
import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from keras_dcgan.config import TrainConfig
from keras_dcgan.errors import spelled
from keras_dcgan.model.gan import DCGAN
from keras_dcgan.progress import Progress
from keras_dcgan.training import watchdog

# On a tick's line.
SHOWN = {"d_loss": ".3f", "g_loss": ".3f", "real_acc": ".2f", "fake_acc": ".2f", "swd": ".1f"}


@dataclasses.dataclass
class Tick:
    """What a tick's actions hand on to each other, and what comes of them."""

    row: dict[str, float]  # of metrics.jsonl
    rows: list[dict]  # of the whole run so far, this one last
    grid: np.ndarray | None = None  # what was drawn, uint8 (height, width, channels)
    messages: list[str] = dataclasses.field(default_factory=list)  # for the screen and TensorBoard
    stop: bool = False  # the training is to end here


Action = Callable[[Tick], None]


class Ticks(keras.callbacks.Callback):
    """Counts steps, shows progress, ends ticks; on SIGINT or SIGTERM ends the training after the step that is
    under way. Where the model takes several steps per execution, as on a GPU, all of this happens after the
    last of them.

    `measure()` adds to the tick's row {tick, step, kimg, seconds, img_per_s, d_loss, g_loss, real_acc,
    fake_acc}; `save(rows, seconds)` saves the model. `rows`, `seconds`: of earlier processes. `spell`: how
    messages name settings. After a signal `received` holds its number; a second one ends the process at once.
    Raises Diverged after a step whose loss is no number, and before anything of it is saved.

    `aside`: a copy of the model on a device that does not train; `measure`, `actions` and `save` look at it. A tick
    is then completed there in another thread while training goes on; the next one waits for it, and so does the
    end of the training.
    """

    model: DCGAN

    def __init__(
        self,
        config: TrainConfig,
        progress: Progress,
        measure: Callable[[], dict[str, float]] = dict,
        actions: Sequence[Action] = (),
        save: Callable[[list[dict], float], None] = lambda rows, seconds: None,
        rows: Sequence[dict] = (),
        seconds: float = 0.0,
        spell: Callable[[str], str] = spelled,
        aside: DCGAN | None = None,
    ):
        super().__init__()
        self.config, self.progress = config, progress
        self.measure, self.actions, self.save = measure, actions, save
        self.rows, self.seconds_before, self.spell = list(rows), seconds, spell
        self.received: int | None = None
        self.is_stopped = False  # by an action
        self.aside = aside
        self.helper = ThreadPoolExecutor(1) if aside else None
        self.pending: Future | None = None  # the tick that is being completed there
        self.lines: list[Callable[[], None]] = []  # of it, for the screen
        self.saved = 0  # the step of the newest checkpoint of this process

    @property
    def seconds(self) -> float:
        """Training time until now, of earlier processes as well."""
        return round(self.seconds_before + time.perf_counter() - self.began, 3)

    def on_train_begin(self, logs=None):
        self.step = self.tick_start = self.model.steps_taken
        self.began = self.tick_began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        before, total = self.step, self.config.total_steps
        self.step = min(self.step + self.model.steps_per_execution, total)
        # Of shape (1,) where a cluster has one worker: Keras 3.15 reduces them where there are several.
        if names := [name for name, value in logs.items() if not np.isfinite(value).all()]:
            raise self.diverged(names, self.model, self.step)
        self.progress.update(self.step * self.config.batch)
        received = self.received  # once: it may come at any moment
        self.settle(wait=False)
        if self.config.ticks(self.step) > self.config.ticks(before) or self.step == total:
            self.end_tick()
        elif received:
            self.save_within_a_tick()
        if received or self.is_stopped:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.settle()
        if self.aside and self.saved < self.step:  # it went on beyond the tick that stopped it
            self.save_within_a_tick()

    def end_tick(self):
        self.settle()
        row, model = self.counted(), self.model
        model.reset_means()
        if self.aside is None:
            self.complete(model, row)
            return
        self.aside.copy_state(model)
        self.pending = self.helper.submit(self.complete, self.aside, row)

    def complete(self, model: DCGAN, row: dict[str, float]):
        """All of a tick's end that looks at the model and not at the training."""
        with self.where_aside_is():
            self.look_and_save(model, row)

    def look_and_save(self, model: DCGAN, row: dict[str, float]):
        self.check_weights(model, int(row["step"]))
        model.recompute_statistics()
        row |= self.measure()
        self.rows.append(row)
        self.say(lambda: self.show(row))
        tick = Tick(row, self.rows)
        with file_errors():
            for action in self.actions:
                action(tick)
            for message in tick.messages:
                self.say(functools.partial(self.progress.note, self.spell(message)))
            self.save(self.rows, self.seconds)
        self.saved = int(row["step"])
        self.is_stopped |= tick.stop

    def where_aside_is(self) -> contextlib.AbstractContextManager:
        """A device is a thread's own choice."""
        return tf.device(self.aside.step.value.device) if self.aside else contextlib.nullcontext()

    def say(self, line: Callable[[], None]):
        """On the screen, which is the training thread's."""
        if self.aside is None:
            line()
        else:
            self.lines.append(line)

    def settle(self, wait: bool = True):
        """Says what the pending tick has come to, or raises it; unless told to wait, only if it is done."""
        if self.pending is None or not (wait or self.pending.done()):
            return
        error, self.pending = self.pending.exception(), None
        self.say_the_rest()
        if isinstance(error, watchdog.Diverged):
            error.received = self.received
        if error:
            raise error

    def say_the_rest(self):
        lines, self.lines = self.lines, []
        for line in lines:
            line()

    def save_within_a_tick(self):
        """It goes on in the next process: the means so far are part of the checkpoint."""
        self.settle()
        model = self.model
        if self.aside:
            self.aside.copy_state(model)
            model = self.aside
        with self.where_aside_is():
            self.check_weights(model, self.step)
            model.recompute_statistics()
            with file_errors():
                self.save(self.rows, self.seconds)
        self.saved = self.step

    def counted(self) -> dict[str, float]:
        """The tick's row, as far as nothing is measured for it."""
        now, batch = time.perf_counter(), self.config.batch
        rollbacks = int(self.model.stream.numpy())
        row = {
            "tick": self.config.ticks(self.step),
            "step": self.step,
            "kimg": round(self.step * batch / 1000, 6),
            "seconds": self.seconds,
            "img_per_s": round((self.step - self.tick_start) * batch / (now - self.tick_began), 2),
            **self.model.current_means(),
            **({"rollbacks": rollbacks} if rollbacks else {}),
        }
        self.tick_began, self.tick_start = now, self.step
        return row

    def show(self, row: dict[str, float]):
        shown = (f"  {name} {row[name]:{digits}}" for name, digits in SHOWN.items() if name in row)
        self.progress.facts = "".join(shown)
        self.progress.leave(row["step"] * self.config.batch)

    def check_weights(self, model: DCGAN, step: int):
        if watchdog.not_finite(model):
            raise self.diverged([], model, step)

    def diverged(self, losses: list[str], model: DCGAN, step: int) -> watchdog.Diverged:
        weights = watchdog.not_finite(model)
        more = f" and {len(weights) - 1} more weights" if len(weights) > 1 else ""
        names = ", ".join([*losses, *weights[:1]])
        error = watchdog.Diverged(f"after step {step} not a number: {names}{more}")
        error.received = self.received
        return error

    def close(self):
        """A tick that is being completed is not broken off; what it has come to is said, also where something else
        has ended the training."""
        if self.helper:
            self.helper.shutdown()
            self.say_the_rest()
            if self.pending and (error := self.pending.exception()):
                self.progress.note(self.spell(f"warning: the last tick was not saved: {error}"))
        self.progress.close()

    @contextlib.contextmanager
    def signals(self, ends_process: bool = True) -> Iterator[None]:
        """Takes SIGINT and SIGTERM meanwhile; what came is noted in `received`. Not where Python has no say
        in them: off the main thread. One that the parent process has switched off (nohup, a shell's &) stays
        off."""

        def note(number, frame):
            self.received = number
            # The second one is not asked what it wants; in a notebook it interrupts what is being saved.
            signal.signal(number, signal.SIG_DFL if ends_process else before[number])

        before = {}
        if threading.current_thread() is threading.main_thread():
            handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            ours = {None, signal.SIG_IGN}
            before = {number: handler for number, handler in handlers.items() if handler not in ours}
        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            try:
                self.close()
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)


@contextlib.contextmanager
def file_errors() -> Iterator[None]:
    """Turns what TensorFlow raises when it cannot write into OSError. Keras takes one of those,
    OutOfRangeError, for the end of the data, and would end the training as if all were well."""
    try:
        yield
    except tf.errors.DataLossError:  # of what was read: a damaged shard
        raise
    except tf.errors.OpError as error:
        raise OSError(error.message.splitlines()[0]) from error
