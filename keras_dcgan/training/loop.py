"""One training from its first step, or its last checkpoint, to its end.

    with opened(config, images, strategy) as (training, step):      # built, locked, restored
        end = train(training, step)
    end.failure or end.signal                                       # why it did not come to its last step

Every process of several runs this; one of them, the chief, writes.
"""

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from keras_dcgan import devices, process
from keras_dcgan.config import ADAPTIVE, TrainConfig, choices
from keras_dcgan.data import feed
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.data.shards import ShardSet
from keras_dcgan.errors import Refused, Unavailable, argument, counted, spelled
from keras_dcgan.model.gan import DCGAN
from keras_dcgan.pictures import images, latents
from keras_dcgan.progress import Progress
from keras_dcgan.runs import checkpoints, directory
from keras_dcgan.runs.directory import Run
from keras_dcgan.training import watchdog
from keras_dcgan.training.build import build
from keras_dcgan.training.forecast import Pace, outlook
from keras_dcgan.training.records import GRID_SIDE, Alarm, Board, MetricsFile, SampleGrids
from keras_dcgan.training.report import Report
from keras_dcgan.training.ticks import Ticks, file_errors

GRID = GRID_SIDE**2
ROLLBACKS = 3
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)


@dataclasses.dataclass(frozen=True)
class Training:
    """What a training works with. `spell`: how messages name settings. `ends_process`: so does a second signal."""

    config: TrainConfig
    images: ImageSet | ShardSet
    strategy: tf.distribute.Strategy
    gan: DCGAN
    run: Run
    spell: Callable[[str], str] = spelled
    ends_process: bool = True

    @property
    def is_chief(self) -> bool:
        return devices.worker(self.strategy)[0] == 0

    @functools.cached_property
    def report(self) -> Report:
        return Report(self.run, self.warn, self.spell)

    def tell(self, text: str):
        process.say(self.spell(text))

    def warn(self, text: str):
        process.say(self.spell(text), stream=sys.stderr)


@dataclasses.dataclass(frozen=True)
class End:
    """Why a training has ended: a signal, a failure with some advice, or neither: it is done."""

    step: int
    signal: int = 0
    failure: str = ""
    advice: str = ""

    @property
    def problem(self) -> str:
        """In a sentence or two; "" where there is none."""
        text = ". ".join(part for part in (self.failure, self.advice) if part)
        return " ".join(text.split())


def strategy_for(config: TrainConfig, data: ImageSet | ShardSet) -> tf.distribute.Strategy:
    """The devices of a training. Raises Refused where settings, images and devices do not fit each other."""
    strategy = devices.find_strategy(config.strategy)
    devices.check_batch(config.batch, strategy)
    devices.check_workers(data.most_workers, strategy)
    checkpoints.check_source(config, data.manifest)
    if config.on_collapse == "stop" and devices.worker(strategy)[1] > 1:
        # The one that writes knows of an alarm; the others would take it for lost.
        raise Refused("on_collapse", "warn with several processes", config.on_collapse)
    return strategy


def built(
    config: TrainConfig,
    data: ImageSet | ShardSet,
    strategy: tf.distribute.Strategy,
    spell: Callable[[str], str] = spelled,
    ends_process: bool = True,
) -> Training:
    """Networks that have learned nothing; nothing is written. Raises Refused."""
    with tensorflow_errors(), strategy.scope():
        gan = build(config, data.manifest.channels, len(data.classes))
    return Training(config, data, strategy, gan, Run(config.run, is_new=True), spell, ends_process)


@contextlib.contextmanager
def opened(
    config: TrainConfig,
    data: ImageSet | ShardSet,
    strategy: tf.distribute.Strategy,
    spell: Callable[[str], str] = spelled,
    ends_process: bool = True,
) -> Iterator[tuple[Training, int]]:
    """Yields the training and the step that it has reached. Raises Refused or Unavailable where settings,
    images, devices and the run directory do not fit each other."""
    # First: settings that cannot be built must not bind a new run.
    training = built(config, data, strategy, spell, ends_process)
    with contextlib.ExitStack() as stack:
        with tensorflow_errors():
            if training.is_chief:
                chosen = spell(choices(config, len(data))) if config.preset in ADAPTIVE else ""
                stack.enter_context(directory.begin(config, data.manifest, chosen))
            start_from_another(training)
            step = restore(training)
        yield training, step


def start_from_another(training: Training):
    """A new run with init_from: the networks of that run."""
    source, gan = training.config.init_from, training.gan
    if source and not training.run.checkpoints:
        networks = {
            "generator": gan.generator,
            "discriminator": gan.discriminator,
            "ema_generator": gan.ema_generator,
        }
        checkpoints.load_networks(Run(source), **networks)
        training.tell(f"Starting from the networks of {source}.")


def restore(training: Training) -> int:
    """-> the step of the newest checkpoint, 0 of a new run. Raises Refused where the workers do not see the
    same images and the same directory."""
    strategy, run, manifest = training.strategy, training.run, training.images.manifest
    # 20 bits, of which no sum is rounded.
    if not devices.agree(strategy, int(manifest.fingerprint[:5], 16)):
        received = f"{manifest.count:,} of fingerprint {manifest.fingerprint} here"
        raise Refused("data", "the same images for all workers", received)
    step, corrupt = checkpoints.restore(run, training.gan)
    if not devices.agree(strategy, step):
        received = f"{run.path}, which holds step {step} here"
        raise Refused("run", "a directory that all workers share", received)
    if corrupt:
        training.warn(f"Passed over corrupt checkpoints: {', '.join(corrupt)}.")
    if step:
        training.tell(f"Resuming {run.path} at {step} step{'s' if step > 1 else ''}.")
    return step


def is_finished(training: Training, step: int) -> bool:
    """Whether nothing is left to train; this is then said, and the report written anew: older versions left none."""
    config = training.config
    if step < config.total_steps:
        return False
    kimg = f"{step * config.batch / 1000:g} kimg"
    training.tell(
        f"{config.run} has been trained for {kimg} already; a larger {argument('kimg')} continues it."
    )
    if training.is_chief:
        training.report.write()
    return True


def train(training: Training, step: int) -> End:
    """Trains from `step` on."""
    end = train_with_rollbacks(training, step)
    if end.failure and training.is_chief:
        # On a full disk they are in the way of what the user wants to do next.
        with contextlib.suppress(OSError):
            training.run.sweep()
    spell = training.spell
    end = dataclasses.replace(end, failure=spell(end.failure), advice=spell(end.advice))
    if training.is_chief:
        training.report.write(problem=end.problem)
    return end


def train_with_rollbacks(training: Training, step: int) -> End:
    """A training that diverges is rolled back, where the settings say so."""
    while True:
        try:
            return train_from(training, step)
        except watchdog.Diverged as error:
            rollbacks = int(training.gan.stream.numpy())
            if training.config.on_nan == "stop" or rollbacks == ROLLBACKS:
                return given_up(training, error, rollbacks)
            if error.received:
                return End(training.gan.steps_taken, error.received, str(error))
            step, _ = checkpoints.restore(training.run, training.gan)
            training.gan.stream.assign(rollbacks + 1)
            which = f"Rollback {rollbacks + 1} of {ROLLBACKS}"
            training.tell(f"warning: {error}. {which}: from step {step} with other latents.")
        except tf.errors.InternalError:  # a mistake of ours, or of TensorFlow's
            raise
        except (tf.errors.OpError, OSError) as error:
            return failed(training, error)


def given_up(training: Training, error: watchdog.Diverged, rollbacks: int) -> End:
    rates = f"{argument('g_lr')} and {argument('d_lr')}"
    advice = f"Try a lower {rates} in another {argument('run')}, or {argument('precision')} float32"
    if rollbacks:
        return End(training.gan.steps_taken, 0, f"{error}, after {counted(rollbacks, 'rollback')}", advice)
    return End(training.gan.steps_taken, 0, str(error), f"{advice}, or {argument('on_nan')} rollback")


def failed(training: Training, error: tf.errors.OpError | OSError) -> End:
    """What went wrong, and what to do about it: the first row that fits."""
    why = error.message.splitlines()[0] if isinstance(error, tf.errors.OpError) else str(error)
    sizes = f"{argument('batch')} or {argument('filters')}"
    if isinstance(error, LOST) and devices.worker(training.strategy)[1] > 1:
        return End(0, 0, f"lost another worker ({why})", "Start every worker with the same command again")
    advice = {
        tf.errors.ResourceExhaustedError: f"Try a smaller {sizes} in another {argument('run')}",
        LOST: "Type the same command again",
        tf.errors.OpError: f"Look at {argument('data')}: if it is that, prepare or pack it elsewhere",
        Unavailable: f"Look at {argument('data')}",
        OSError: "Free some space, or make it writable",
    }
    return End(0, 0, why, next(row for kind, row in advice.items() if isinstance(error, kind)))


def train_from(training: Training, step: int) -> End:
    """Until the last step, a signal, or an alarm that is to stop it."""
    config, gan = training.config, training.gan
    ticks = chief_ticks(training, step) if training.is_chief else follower_ticks(training)
    callbacks = [ticks]
    if training.is_chief:
        callbacks.insert(0, Pace(config, lambda *pace: ticks.progress.note(outlook_text(training, *pace))))
    seed = config.seed + (int(gan.stream.numpy()) << 32)
    with ticks.signals(training.ends_process):
        gan.fit(
            batches(training, seed, step),
            steps_per_epoch=config.total_steps - step,
            shuffle=False,
            callbacks=callbacks,
            verbose=0,
        )
        if ticks.step == config.total_steps:
            # Who left before the chief has saved would be taken for a lost worker. To be left after that is
            # no harm.
            with contextlib.suppress(tf.errors.OpError):
                devices.agree(training.strategy, ticks.step)
    if ticks.step < config.total_steps:
        if ticks.received:
            return End(ticks.step, ticks.received)
        advice = f"{training.run.generator()} is the last good one"
        return End(ticks.step, 0, f"by {argument('on_collapse')} stop", advice)
    return End(ticks.step)


def batches(training: Training, seed: int, step: int):
    """Each process makes its own rows of the global batches; each of its devices takes its share of them."""
    config = training.config

    def of_this_process(context):
        shard = context.input_pipeline_id, context.num_input_pipelines
        dataset = feed.batches(training.images, config.batch, seed, step, flip=config.flip, shard=shard)
        # The last of several steps at once would go on beyond.
        dataset = dataset.take(config.total_steps - step)
        return dataset.rebatch(context.get_per_replica_batch_size(config.batch))

    return training.strategy.distribute_datasets_from_function(of_this_process)


def chief_ticks(training: Training, step: int) -> Ticks:
    """The ticks of the process that writes: samples, metrics, TensorBoard, alarms and checkpoints."""
    config, run = training.config, training.run
    aside = copy_aside(training) if devices.completes_ticks_aside(training.strategy) else None
    gan = aside or training.gan
    metrics = MetricsFile(run, step)
    if config.ticks(step) and not metrics.rows:
        training.warn(
            f"warning: {metrics.path} has no row up to here: the next tick's generator becomes generator.keras"
        )
    grids = SampleGrids(run.samples, gan.ema_generator, grid_inputs(training), config.grid_every)
    with file_errors():
        board = Board(run.logs, step, training.spell)
        if step == 0:
            board.introduce(config.to_json(), grids.write(images.grid(training.images.evenly(GRID)), "reals"))
            with tf.device(gan.step.value.device) if aside else contextlib.nullcontext():
                # One batch is enough for what has not learned anything.
                gan.recompute_statistics() if config.init_from else gan.recompute_statistics(batches=1)
                grids.draw(0)
                checkpoints.save(run, gan)
    training.report.write(metrics.rows)
    measure: Callable[[], dict[str, float]] = dict
    if config.metrics == "swd":
        count = watchdog.sample_count(1000 * config.tick_kimg)
        inputs = sample_inputs(training, count)
        measure = watchdog.Quality(training.images.evenly(count), gan.ema_generator, inputs)

    def save(rows: list[dict], seconds: float):
        checkpoints.save(run, gan, watchdog.best_step(rows), seconds, config.keep)

    return Ticks(
        config,
        Progress("", config.total_steps * config.batch, "kimg", sys.stdout),
        measure,
        (grids, metrics, Alarm(metrics.rows, config.on_collapse == "stop"), board, training.report),
        save,
        metrics.rows,
        run.seconds(step) or (metrics.rows[-1]["seconds"] if metrics.rows else 0.0),
        training.spell,
        aside,
    )


def copy_aside(training: Training) -> DCGAN:
    """The same networks in the same state, on the CPU."""
    manifest = training.images.manifest
    with tf.device("/CPU:0"):
        copy = build(training.config, manifest.channels, len(manifest.classes))
    copy.copy_state(training.gan)
    return copy


def follower_ticks(training: Training) -> Ticks:
    """The ticks of a worker that writes nothing: it counts, and keeps step with the others."""
    nowhere = open(os.devnull, "w", encoding="utf-8")
    return Ticks(training.config, Progress("", 1, "kimg", nowhere))


def dry_run(training: Training):
    """Takes the last step and then the first ones of a built training, and tells how they went; writes
    nothing."""
    config, gan = training.config, training.gan
    with tensorflow_errors():
        last = batches(training, config.seed, config.total_steps - 1)
        gan.fit(last, steps_per_epoch=1, shuffle=False, verbose=0)
        means = "  ".join(f"{name} {value:.3f}" for name, value in gan.current_means().items())
        training.tell(f"One step: {means}")
        gan.step.assign(0)
        whole = config.total_steps * config.batch
        is_alone = devices.worker(training.strategy)[1] == 1
        pace = Pace(
            config,
            lambda rate, left: training.tell(outlook_text(training, rate, whole)),
            stops=True,
            is_alone=is_alone,
        )
        gan.fit(
            batches(training, config.seed, 0),
            steps_per_epoch=config.total_steps,
            shuffle=False,
            verbose=0,
            callbacks=[pace],
        )


def outlook_text(training: Training, rate: float, left: int) -> str:
    grid_bytes = len(images.png_bytes(images.grid(training.images.evenly(GRID))))
    return outlook(training.config, training.gan, training.strategy, grid_bytes, rate, left)


def sample_inputs(training: Training, count: int) -> list[np.ndarray]:
    """The first seeds, with the labels of the real images that they are measured against."""
    z = latents.latents(range(count), training.config.latent_dim)
    return [z, training.images.labels_of(count)] if training.images.classes else [z]


def grid_inputs(training: Training) -> list[np.ndarray]:
    """What the sample grids show: the first seeds; of a conditional run each column a class, from left to
    right."""
    z = latents.latents(range(GRID), training.config.latent_dim)
    classes = len(training.images.classes)
    return [z, np.arange(GRID, dtype=np.int32) % GRID_SIDE % classes] if classes else [z]


@contextlib.contextmanager
def tensorflow_errors() -> Iterator[None]:
    """Turns what TensorFlow raises for too little memory or damaged data into what a user's mistake is."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        problem = f"expected what fits into memory: {error.message.splitlines()[0]}"
        raise Refused(("batch", "filters"), problem) from error
    except tf.errors.OpError as error:
        raise OSError(error.message.splitlines()[0]) from error
