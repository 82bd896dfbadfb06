"""Trains a DCGAN on a folder of images: `python -m keras_dcgan.fit --data ./imgs`. The same command again resumes.

What it leaves in runs/imgs/: the generator (generator.keras), grids of samples, metrics.jsonl, logs for TensorBoard, checkpoints.
"""

import contextlib
import sys

import numpy as np

from keras_dcgan import cli, data, feed, latents
from keras_dcgan.config import TrainConfig, from_flags

GRID_SIDE = 8  # pictures across a sample grid
GRID = GRID_SIDE**2
ROLLBACKS = 3


def main(arguments: list[str] | None = None) -> int:
    config = from_flags(arguments)
    with cli.user_errors("fit"):
        prepared = prepare(config)
    print(data.report(prepared.manifest), flush=True)
    with cli.quiet():
        from keras_dcgan import devices

        devices.start(config.threads, config.deterministic)
    with cli.user_errors("fit"):
        strategy = devices.strategy(config.strategy)
        devices.check_batch(config.batch, strategy)
    return dry_run(config, prepared, strategy) if config.dry_run else train(config, prepared, strategy)


def prepare(config: TrainConfig) -> feed.ImageSet | feed.ShardSet:
    return data.prepare(
        config.data,
        config.size,
        config.channels,
        crop=config.crop,
        background=config.background,
        max_pixels=config.max_pixels,
        conditional=config.conditional,
        cache=config.cache or None,
    )


def train(config: TrainConfig, prepared: feed.ImageSet | feed.ShardSet, strategy) -> int:
    from keras_dcgan import runs, watchdog

    with contextlib.ExitStack() as stack:
        with cli.user_errors("fit"):
            run = stack.enter_context(runs.open_run(config, prepared.manifest))
            with strategy.scope():
                gan = runs.build(config, prepared.manifest["channels"], len(prepared.manifest["classes"]))
            step = restore(run, gan)
        if step >= config.total_steps:
            print(f"{run.path} has been trained for {config.kimg:g} kimg already; a larger --kimg goes on.")
            return farewell(config, run)
        print(plan(config, gan, strategy), flush=True)
        while True:
            try:
                return train_from(step, config, prepared, run, gan)
            except watchdog.Diverged as error:
                rollbacks = int(gan.stream.numpy())
                if config.on_nan == "stop" or rollbacks == ROLLBACKS:
                    return give_up(error, run, rollbacks)
                step, _ = run.restore(gan)
                gan.stream.assign(rollbacks + 1)
                print(
                    f"warning: {error}. Rollback {rollbacks + 1} of {ROLLBACKS}: from step {step} with other latents.", flush=True
                )


def train_from(step: int, config: TrainConfig, prepared: feed.ImageSet | feed.ShardSet, run, gan) -> int:
    from keras_dcgan import callbacks, watchdog

    metrics = callbacks.MetricsFile(run.path / "metrics.jsonl", step)
    classes = len(prepared.manifest["classes"])
    grid = grid_inputs(config.latent_dim, classes)
    grids = callbacks.SampleGrids(run.path / "samples", gan.ema_generator, grid, config.grid_every, config.tick_kimg)
    board = callbacks.Board(run.path / "logs", step, grids)
    if step == 0:
        board.introduce(config.to_json(), grids.reals(feed.preview(prepared, GRID)))
        grids.draw(0)
        run.save(gan)

    def measure() -> dict:
        return {}

    if config.metrics == "swd":
        count = watchdog.sample_count(1000 * config.tick_kimg)
        measure = watchdog.Quality(
            feed.preview(prepared, count), gan.ema_generator, sample_inputs(count, config.latent_dim, classes)
        )

    def stop():
        gan.stop_training = True

    ticks = callbacks.Ticks(
        config,
        measure,
        actions=[grids, metrics, board],
        save=lambda: run.save(gan, watchdog.best_step(metrics.rows)),
        seconds=metrics.rows[-1]["seconds"] if metrics.rows else 0.0,
    )
    alarm = callbacks.Alarm(metrics.rows, ticks.progress, board.note, stop if config.on_collapse == "stop" else None)
    ticks.actions.append(alarm)
    stream = int(gan.stream.numpy()) << 32
    with ticks.signals():
        gan.fit(
            feed.batches(prepared, config.batch, config.seed + stream, step, flip=config.flip),
            steps_per_epoch=config.total_steps - step,
            shuffle=False,
            callbacks=[ticks],
            verbose=0,
        )
    if ticks.received:
        print(f"Stopped after {ticks.step * config.batch / 1000:.1f} kimg, saved. The same command goes on from here.")
        return 128 + ticks.received
    if ticks.step < config.total_steps:
        print(f"Stopped by --on-collapse stop: {', '.join(alarm.ringing)}. {run.path}/generator.keras is the best so far.")
        return 1
    return farewell(config, run)


def dry_run(config: TrainConfig, prepared: feed.ImageSet | feed.ShardSet, strategy) -> int:
    """One step of everything in memory."""
    from keras_dcgan import runs

    with strategy.scope():
        gan = runs.build(config, prepared.manifest["channels"], len(prepared.manifest["classes"]))
    print(plan(config, gan, strategy), flush=True)
    gan.fit(feed.batches(prepared, config.batch, config.seed), steps_per_epoch=1, shuffle=False, verbose=0)
    means = "  ".join(f"{name} {value:.3f}" for name, value in gan.current_means().items())
    print(f"One step: {means}\nDry run: nothing was written to {config.run}.")
    return 0


def sample_inputs(count: int, latent_dim: int, classes: int) -> list[np.ndarray]:
    """The first seeds, with the classes in turn."""
    z = latents.latents(range(count), latent_dim)
    return [z, np.arange(count, dtype=np.int32) % classes] if classes else [z]


def grid_inputs(latent_dim: int, classes: int) -> list[np.ndarray]:
    """What the sample grids show: the first seeds; of a conditional run each column a class, from left to right."""
    z, *labels = sample_inputs(GRID, latent_dim, classes)
    return [z, np.arange(GRID, dtype=np.int32) % GRID_SIDE % classes] if labels else [z]


def restore(run, gan) -> int:
    step, spoilt = run.restore(gan)
    if spoilt:
        print(f"Passed over spoilt checkpoints: {', '.join(spoilt)}.", file=sys.stderr)
    if step:
        print(f"Resuming {run.path} at {step} steps.")
    return step


def plan(config: TrainConfig, gan, strategy) -> str:
    from keras_dcgan import devices

    height, width, channels = gan.generator.output_shape[1:]
    parameters = [f"{model.count_params() / 1e6:.1f} M" for model in (gan.generator, gan.discriminator)]
    replicas = strategy.num_replicas_in_sync
    return (
        f"{height}x{width}x{channels}; parameters: generator {parameters[0]}, discriminator {parameters[1]}; "
        f"{devices.precision(config.precision)} on {replicas} device{'s' if replicas > 1 else ''}\n"
        f"{config.kimg:g} kimg are {config.total_steps} steps of {config.batch} images; a tick every {config.tick_kimg:g} kimg\n"
        f"Watch: {config.run}/samples, or tensorboard --logdir {config.run}"
    )


def give_up(error: Exception, run, rollbacks: int) -> int:
    kept = run.checkpoints()[-1].name
    after = f" after {rollbacks} rollbacks" if rollbacks else ""
    print(
        f"fit: stopped{after}: {error}. {run.path}/checkpoints/{kept} is sound. Try a lower --g-lr and --d-lr, "
        "--precision float32, or --on-nan rollback.",
        file=sys.stderr,
    )
    return 1


def farewell(config: TrainConfig, run) -> int:
    print(
        f"Next:  python -m keras_dcgan.sample --run {run.path} --seeds 0-63 --out grid.png\n"
        f"       tensorboard --logdir {run.path}\n"
        f"       python -m export --run {run.path}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
