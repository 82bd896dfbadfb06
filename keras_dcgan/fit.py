"""Trains a DCGAN on a folder of images: `python -m keras_dcgan.fit --data ./imgs`. The same command again
resumes.

What it leaves in runs/imgs/: the generator (generator.keras), grids of samples, metrics.jsonl, logs for
TensorBoard, checkpoints.
"""

from __future__ import annotations

import contextlib
import io
import math
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_dcgan import cli, progress
from keras_dcgan.config import (
    ADAPTIVE,
    TrainConfig,
    check_run,
    check_trained,
    checkpoints,
    choices,
    expectations,
    from_flags,
)

if TYPE_CHECKING:  # --help needs no NumPy, which takes longer than all the rest
    import numpy as np

    from keras_dcgan.feed import ImageSet, ShardSet

GRID_SIDE = 8  # pictures across a sample grid
GRID = GRID_SIDE**2
ROLLBACKS = 3
TICK_BYTES = 1_000  # of metrics.jsonl and of TensorBoard's scalars


@cli.tidy
def main(arguments: list[str] | None = None) -> int:
    config = from_flags(arguments)
    with cli.user_errors("fit"):
        check_run(config)
        if config.init_from and not checkpoints(config.run):
            check_trained(config.init_from, "--init-from")
        from keras_dcgan import data

        prepared = prepare(config)
    print(data.report(prepared.manifest), flush=True)
    images = prepared.manifest["images"]
    config = from_flags(arguments, images)
    if config.preset in ADAPTIVE:
        print(choices(config, images), flush=True)
    for note in expectations(config, images - len(prepared.manifest["duplicates"])):
        print(note, flush=True)
    with cli.user_errors("fit"), cli.quiet():
        from keras_dcgan import devices, feed, runs

        warning = devices.start(config.threads, config.deterministic)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    with cli.user_errors("fit"):
        strategy = devices.strategy(config.strategy)
        devices.check_batch(config.batch, strategy)
        feed.check_workers(prepared, devices.worker(strategy)[1])
        runs.check_source(config, prepared.manifest)
    return dry_run(config, prepared, strategy) if config.dry_run else train(config, prepared, strategy)


def prepare(config: TrainConfig) -> ImageSet | ShardSet:
    from keras_dcgan import data

    return data.prepare(
        config.data, config.size, config.channels, conditional=config.conditional, **config.preparation
    )


@dataclass(frozen=True)
class Session:
    """What the steps of a training pass on to each other; run and gan are a runs.Run and a gan.DCGAN."""

    config: TrainConfig
    prepared: ImageSet | ShardSet
    strategy: object
    run: object
    gan: object
    is_chief: bool = True

    @property
    def classes(self) -> int:
        return len(self.prepared.manifest["classes"])


def train(config: TrainConfig, prepared: ImageSet | ShardSet, strategy) -> int:
    from keras_dcgan import devices, runs

    is_chief = devices.worker(strategy)[0] == 0
    with contextlib.ExitStack() as stack:
        with cli.user_errors("fit"), tensorflow_errors():
            gan = build(
                config, prepared, strategy
            )  # first: settings that cannot be built shall not bind a new run
            opened = (
                runs.open_run(config, prepared.manifest)
                if is_chief
                else contextlib.nullcontext(runs.Run(Path(config.run)))
            )
            session = Session(config, prepared, strategy, stack.enter_context(opened), gan, is_chief)
            step = restore(session)
        if step >= config.total_steps:
            print(
                f"{config.run} has been trained for {step * config.batch / 1000:g} kimg already; a "
                "larger --kimg goes on."
            )
            return farewell(config.run)
        print(plan(session), flush=True)
        return train_with_rollbacks(session, step)


def build(config: TrainConfig, prepared: ImageSet | ShardSet, strategy):
    from keras_dcgan import runs

    with strategy.scope():
        return runs.build(config, prepared.manifest["channels"], len(prepared.manifest["classes"]))


@contextlib.contextmanager
def tensorflow_errors():
    """Turns what TensorFlow raises for too little memory or damaged data into what a user's mistake is."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise ValueError(
            f"--batch, --filters: expected what fits into memory: {error.message.splitlines()[0]}"
        ) from error
    except tf.errors.OpError as error:
        raise OSError(error.message.splitlines()[0]) from error


def restore(session: Session) -> int:
    from keras_dcgan import devices, runs

    source, gan = session.config.init_from, session.gan
    if source and not session.run.checkpoints():
        runs.load_networks(
            source, generator=gan.generator, discriminator=gan.discriminator, ema_generator=gan.ema_generator
        )
        print(f"Starting from the networks of {source}.")
    images, fingerprint = (session.prepared.manifest[name] for name in ("images", "fingerprint"))
    if not devices.agree(session.strategy, int(fingerprint[:5], 16)):  # 20 bits, of which no sum is rounded
        raise ValueError(
            f"--data: expected the same images for all workers, received {images:,} of fingerprint "
            f"{fingerprint} here"
        )
    step, spoilt = session.run.restore(gan)
    if not devices.agree(session.strategy, step):
        raise ValueError(
            f"--run: expected a directory that all workers share, received {session.run.path}, "
            f"which holds step {step} here"
        )
    if spoilt:
        print(f"Passed over spoilt checkpoints: {', '.join(spoilt)}.", file=sys.stderr)
    if step:
        print(f"Resuming {session.run.path} at {step} step{'s' if step > 1 else ''}.")
    return step


def train_with_rollbacks(session: Session, step: int) -> int:
    import tensorflow as tf

    from keras_dcgan import devices, watchdog

    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError)
    while True:
        try:
            return train_from(session, step)
        except watchdog.Diverged as error:
            rollbacks = int(session.gan.stream.numpy())
            if session.config.on_nan == "stop" or rollbacks == ROLLBACKS:
                advice = "Try a lower --g-lr and --d-lr in another --run, or --precision float32"
                if rollbacks:
                    return stopped(session, f"{error}, after {cli.counted(rollbacks, 'rollback')}", advice)
                return stopped(session, error, f"{advice}, or --on-nan rollback")
            if error.received:
                print(f"Stopped: {error}. The same command goes on from the last checkpoint.")
                return 128 + error.received
            step, _ = session.run.restore(session.gan)
            session.gan.stream.assign(rollbacks + 1)
            print(
                f"warning: {error}. Rollback {rollbacks + 1} of {ROLLBACKS}: from step {step} with "
                "other latents.",
                flush=True,
            )
        except tf.errors.ResourceExhaustedError as error:
            return stopped(
                session, error.message.splitlines()[0], "Try a smaller --batch or --filters in another --run"
            )
        except lost as error:
            why = error.message.splitlines()[0]
            if devices.worker(session.strategy)[1] > 1:
                return stopped(
                    session, f"lost another worker ({why})", "Start every worker with the same command again"
                )
            return stopped(session, why, "Type the same command again")
        except tf.errors.OpError as error:
            if isinstance(error, tf.errors.InternalError):  # a mistake of ours, or of TensorFlow's
                raise
            return stopped(
                session,
                error.message.splitlines()[0],
                "Look at --data: if it is that, prepare or pack it elsewhere",
            )
        except OSError as error:
            return stopped(session, error, "Free some space, or make it writable")


def train_from(session: Session, step: int) -> int:
    import tensorflow as tf

    from keras_dcgan import callbacks, devices

    config, gan = session.config, session.gan
    ticks = observe(session, step) if session.is_chief else follow(session)
    first = (
        [callbacks.Outlook(config, lambda *pace: ticks.progress.note(outlook(session, *pace)))]
        if session.is_chief
        else []
    )
    seed = config.seed + (int(gan.stream.numpy()) << 32)
    with ticks.signals():
        gan.fit(
            batches(session, seed, step),
            steps_per_epoch=config.total_steps - step,
            shuffle=False,
            callbacks=[*first, ticks],
            verbose=0,
        )
        if ticks.step == config.total_steps:
            # Who left before the chief has saved would be taken for a lost worker. To be left after that is
            # no harm.
            with contextlib.suppress(tf.errors.OpError):
                devices.agree(session.strategy, ticks.step)
    if ticks.received:
        print(
            f"Stopped after {ticks.step * config.batch / 1000:.1f} kimg, saved. The same command "
            "goes on from here."
        )
        return 128 + ticks.received
    if ticks.step < config.total_steps:
        return stopped(
            session, "by --on-collapse stop", f"{session.run.path}/generator.keras is the best so far"
        )
    return farewell(session.run.path) if session.is_chief else 0


def batches(session: Session, seed: int, step: int):
    """Each process makes its own rows of the global batches; each of its devices takes its share of them."""
    from keras_dcgan import feed

    config = session.config

    def of_this_process(context):
        shard = context.input_pipeline_id, context.num_input_pipelines
        dataset = feed.batches(session.prepared, config.batch, seed, step, flip=config.flip, shard=shard)
        dataset = dataset.take(
            config.total_steps - step
        )  # the last of several steps at once would go on beyond
        return dataset.rebatch(context.get_per_replica_batch_size(config.batch))

    return session.strategy.distribute_datasets_from_function(of_this_process)


def observe(session: Session, step: int):
    """The ticks of the process that writes: samples, metrics, TensorBoard, alarms and checkpoints."""
    from keras_dcgan import callbacks, feed, watchdog

    config, run, gan = session.config, session.run, session.gan
    metrics = callbacks.MetricsFile(run.path / "metrics.jsonl", step)
    if config.ticks(step) and not metrics.rows:
        print(
            f"warning: {metrics.path} has no row up to here: the next tick's generator counts as the best",
            file=sys.stderr,
        )
    sampler = gan.sampler()
    grids = callbacks.SampleGrids(run.path / "samples", sampler, grid_inputs(session), config.grid_every)
    reals = feed.preview(session.prepared, GRID) if step == 0 else None
    with callbacks.file_errors():
        board = callbacks.Board(run.path / "logs", step, grids)
        if step == 0:
            board.introduce(config.to_json(), grids.reals(reals))
            if config.init_from:
                gan.settle()
            else:
                gan.settle(batches=1)  # enough for what has not learned anything
            grids.draw(0)
            run.save(gan)
    measure = dict
    if config.metrics == "swd":
        count = watchdog.sample_count(1000 * config.tick_kimg)
        measure = watchdog.Quality(
            feed.preview(session.prepared, count), sampler, sample_inputs(session, count)
        )
    ticks = callbacks.Ticks(
        config,
        measure,
        actions=[grids, metrics, board],
        save=lambda: run.save(gan, watchdog.best_step(metrics.rows), ticks.seconds),
        seconds=run.seconds(step) or (metrics.rows[-1]["seconds"] if metrics.rows else 0.0),
    )
    ticks.actions.append(callbacks.Alarm(metrics.rows, ticks, board, stops=config.on_collapse == "stop"))
    return ticks


def follow(session: Session):
    """The ticks of a worker that writes nothing: it counts, and keeps step with the others."""
    from keras_dcgan import callbacks

    return callbacks.Ticks(session.config, measure=dict, actions=[], save=lambda: None, is_silent=True)


def dry_run(config: TrainConfig, prepared: ImageSet | ShardSet, strategy) -> int:
    """The first steps of everything in memory."""
    from keras_dcgan import callbacks, devices

    with cli.user_errors("fit"), tensorflow_errors():
        session = Session(config, prepared, strategy, None, build(config, prepared, strategy))
        print(plan(session), flush=True)
        gan = session.gan
        gan.fit(
            batches(session, config.seed, config.total_steps - 1), steps_per_epoch=1, shuffle=False, verbose=0
        )
        means = "  ".join(f"{name} {value:.3f}" for name, value in gan.current_means().items())
        print(f"One step: {means}", flush=True)
        gan.step.assign(0)
        pace = []
        is_alone = devices.worker(strategy)[1] == 1
        first = callbacks.Outlook(config, lambda *found: pace.append(found), stops=True, is_alone=is_alone)
        gan.fit(
            batches(session, config.seed, 0),
            steps_per_epoch=config.total_steps,
            shuffle=False,
            verbose=0,
            callbacks=[first],
        )
        for rate, _ in pace:
            print(outlook(session, rate, config.total_steps * config.batch))
    print(f"Dry run: nothing was written to {config.run}.")
    return 0


def outlook(session: Session, rate: float, left: int) -> str:
    """What is to come, at so many images a second and with so many of them left."""
    from keras_dcgan import devices

    config = session.config
    needed, free = disk_space(session)
    return (
        f"{rate:,.0f} images/s on {devices.names(session.strategy)}: about "
        f"{progress.duration(left / rate)} left for "
        f"{left / 1000:g} kimg; {config.run} will take about {_gigabytes(needed)} of the disk, of "
        f"{_gigabytes(free)} free"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def disk_space(session: Session) -> tuple[int, int]:
    """Bytes that the finished run will take, and those that are free where it lies."""
    from keras_dcgan import feed, images

    config, gan = session.config, session.gan
    optimizers = [
        variable for optimizer in (gan.g_optimizer, gan.d_optimizer) for variable in optimizer.variables
    ]
    of_average, of_others = (
        sum(4 * math.prod(variable.shape) for variable in variables)
        for variables in (
            gan.ema_generator.weights,
            [*gan.generator.weights, *gan.discriminator.weights, *optimizers],
        )
    )
    sheet = io.BytesIO()
    images.to_pillow(images.grid(feed.preview(session.prepared, GRID))).save(sheet, format="PNG")
    ticks = math.ceil(config.kimg / config.tick_kimg)
    checkpoints = min(ticks, config.keep) + 1  # the best of all may be an older one
    grids = ticks // config.grid_every + 2
    needed = (
        checkpoints * (of_average + of_others)
        + 2 * of_average
        + grids * 2 * sheet.tell()
        + ticks * TICK_BYTES
    )
    there = next(
        folder for folder in (Path(config.run), *Path(config.run).absolute().parents) if folder.is_dir()
    )
    return needed, shutil.disk_usage(there).free


def sample_inputs(session: Session, count: int) -> list[np.ndarray]:
    """The first seeds, with the labels of the real images that they are measured against."""
    import numpy as np

    from keras_dcgan import feed, latents

    z, real = latents.latents(range(count), session.config.latent_dim), session.prepared
    if not session.classes:
        return [z]
    in_turn = np.arange(count, dtype=np.int32) % session.classes  # of shards, whose labels are not in memory
    return [z, in_turn if real.labels is None else real.labels[feed.preview_rows(len(real.labels), count)]]


def grid_inputs(session: Session) -> list[np.ndarray]:
    """What the sample grids show: the first seeds; of a conditional run each column a class, from left to
    right."""
    import numpy as np

    z, *labels = sample_inputs(session, GRID)
    return [z, np.arange(GRID, dtype=np.int32) % GRID_SIDE % session.classes] if labels else [z]


def plan(session: Session) -> str:
    from keras_dcgan import devices

    config, gan = session.config, session.gan
    height, width, channels = gan.generator.output_shape[1:]
    parameters = [f"{model.count_params() / 1e6:.1f} M" for model in (gan.generator, gan.discriminator)]
    steps = f"{config.total_steps} step{'s' if config.total_steps > 1 else ''}"
    warning = "".join(f"warning: {why}\n" for why in [devices.unused_gpu()] if why)
    return (
        f"{warning}{height}x{width}x{channels}; parameters: generator {parameters[0]}, "
        f"discriminator {parameters[1]}; "
        f"{devices.precision(config.precision)} on {devices.names(session.strategy)}\n"
        f"{config.kimg:g} kimg are {steps} of {config.batch} images; a tick every {config.tick_kimg:g} kimg\n"
        f"Watch: {config.run}/samples, or tensorboard --logdir {shlex.quote(config.run)}"
    )


def stopped(session: Session, why: str | Exception, advice: str) -> int:
    if session.is_chief:
        with contextlib.suppress(OSError):  # the disk may be the reason
            # on a full one they are in the way of what the user wants to do next
            session.run.remove_leftovers()
    sound = session.run.checkpoints()[-1:]
    kept = f"{sound[0]} is sound" if sound else "there is no checkpoint yet"
    print(f"fit: stopped: {' '.join(str(why).split())}; {kept}. {advice}.", file=sys.stderr)
    return 1


def farewell(path: str | Path) -> int:
    grid, path = (
        shlex.quote(str(place)) for place in (Path(path) / "grid.png", path)
    )  # there, lest `--data .` learns from it
    print(
        f"Next:  python -m keras_dcgan.sample --run {path} --seeds 0-63 --out {grid}\n"
        f"       tensorboard --logdir {path}\n"
        f"       python -m export --run {path}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
