"""What a training will take, said before it begins and once its first steps are measured: parameters, time, disk.

plan(config, gan, strategy)                       # "64x64x3; parameters: generator 3.6 M, ..."
outlook(config, gan, strategy, grid_bytes, 245.0, 50_000)       # "245 images/s on 2 cores ...: about 3:24 left ..."
"""

import math
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from keras_dcgan import devices
from keras_dcgan.config import TrainConfig
from keras_dcgan.errors import argument
from keras_dcgan.model.gan import DCGAN
from keras_dcgan.progress import duration

RATED = 2.0  # seconds of steps that tell how fast they are
TICK_BYTES = 1_000  # of metrics.jsonl and of TensorBoard's scalars


def plan(config: TrainConfig, gan: DCGAN, strategy: tf.distribute.Strategy) -> str:
    """What is to be trained, on what, and for how long, in a few lines."""
    height, width, channels = gan.generator.output_shape[1:]
    parameters = [f"{model.count_params() / 1e6:.1f} M" for model in (gan.generator, gan.discriminator)]
    steps = f"{config.total_steps} step{'s' if config.total_steps > 1 else ''}"
    watch = f"\nWatch: {config.run}/report.html, or tensorboard --logdir {shlex.quote(config.run)}"
    replicas = strategy.num_replicas_in_sync
    found = [*devices.slowed(), no_groups(config.batch // replicas, config.minibatch_std)]
    warnings = "".join(f"warning: {why}\n" for why in found if why)
    return (
        f"{warnings}{height}x{width}x{channels}; parameters: generator {parameters[0]}, "
        f"discriminator {parameters[1]}; "
        f"{devices.precision(config.precision)} on {devices.names(strategy)}\n"
        f"{config.kimg:g} kimg are {steps} of {config.batch} images; a tick every {config.tick_kimg:g} kimg"
        f"{'' if config.dry_run else watch}"
    )


def no_groups(batch: int, most: int) -> str | None:
    """What is to be said where `MinibatchStd` has no group of 2 to `most` images, which would divide a device's batch."""
    if not most or any(batch % size == 0 for size in range(2, most + 1)):
        return None
    why = (
        f"no number from 2 to {most} divides a device's batch of {batch}"
        if most > 1
        else "one image has no spread"
    )
    return f"{argument('minibatch_std')} {most} does nothing: {why}"


def outlook(
    config: TrainConfig,
    gan: DCGAN,
    strategy: tf.distribute.Strategy,
    grid_bytes: int,
    rate: float,
    left: int,
) -> str:
    """What is to come, at so many images a second and with so many of them left. `grid_bytes`: of a sample
    grid as a file."""
    there = next(
        folder for folder in (Path(config.run), *Path(config.run).absolute().parents) if folder.is_dir()
    )
    needed, free = disk_bytes(config, gan, grid_bytes), shutil.disk_usage(there).free
    return (
        f"{rate:,.0f} images/s on {devices.names(strategy)}: about {duration(left / rate)} left for "
        f"{left / 1000:g} kimg; {config.run} will take about {_gigabytes(needed)} of the disk, of "
        f"{_gigabytes(free)} free"
    )


def disk_bytes(config: TrainConfig, gan: DCGAN, grid_bytes: int) -> int:
    """What the finished run will take of the disk."""

    def size(variables) -> int:
        return sum(4 * math.prod(variable.shape) for variable in variables)

    average = size(gan.ema_generator.weights)
    trained = size([*gan.generator.weights, *gan.discriminator.weights])
    trained += size([*gan.g_optimizer.variables, *gan.d_optimizer.variables])
    ticks = math.ceil(config.kimg / config.tick_kimg)
    checkpoints = min(ticks, config.keep) + 1  # the best of all may be an older one
    grids = ticks // config.grid_every + 2
    return checkpoints * (average + trained) + 2 * average + grids * 2 * grid_bytes + ticks * TICK_BYTES


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class Pace(keras.callbacks.Callback):
    """After the first steps (the very first, which builds the graph, does not count) tells once how fast they
    are: tell(images a second, images left). Not later than at the end of the first tick. `stops`: that was
    all that was wanted. `is_alone`: without other processes, which would go on to another step."""

    model: DCGAN

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
