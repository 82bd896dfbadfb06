"""Trains a DCGAN on a folder of images: `python -m keras_dcgan.fit --data ./imgs`. The same command again
resumes.

What it leaves in runs/imgs/: the generator (generator.keras), a page to look at (report.html), grids of
samples, metrics.jsonl, logs for TensorBoard, checkpoints.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keras_dcgan import cli, process
from keras_dcgan.config import (
    ADAPTIVE,
    GROUPS,
    TrainConfig,
    choices,
    default_text,
    expectations,
)
from keras_dcgan.runs.directory import Run, check_fits, settings_of

if TYPE_CHECKING:  # --help needs neither NumPy nor TensorFlow
    from keras_dcgan.data.sets import ImageSet
    from keras_dcgan.data.shards import ShardSet
    from keras_dcgan.training.loop import End, Training

VERB = "fit"


@process.tidy
def main(arguments: list[str] | None = None) -> int:
    typed = read(arguments)
    with cli.user_errors(VERB):
        config = settings_of(typed)
        check_fits(config)
        images = load_images(config)
        config = settings_of(typed, len(images))
    describe(config, images)
    with cli.user_errors(VERB), process.importing():
        from keras_dcgan import devices
        from keras_dcgan.training import loop

        warning = devices.start(config.threads, config.deterministic)
    if warning:
        print(f"warning: {cli.with_flags(warning)}", file=sys.stderr)
    with contextlib.ExitStack() as stack:
        with cli.user_errors(VERB):
            strategy = loop.strategy_for(config, images)
            if config.dry_run:
                return dry_run(loop.built(config, images, strategy, cli.with_flags))
            training, step = stack.enter_context(loop.opened(config, images, strategy, cli.with_flags))
        if loop.is_finished(training, step):
            return farewell(training.run)
        tell_plan(training)
        return tell_end(training, loop.train(training, step))


def read(arguments: list[str] | None = None) -> dict:
    """The command line (sys.argv without arguments) -> what was typed."""
    parser = cli.Parser(
        "keras_dcgan.fit", "Trains a DCGAN on a folder of images. Run the same command again to resume."
    )
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for row in dataclasses.fields(TrainConfig):
        cli.add_setting(groups[row.metadata["group"]], row, default_text(row))
    return vars(parser.parse_args(arguments))


def load_images(config: TrainConfig) -> ImageSet | ShardSet:
    from keras_dcgan.data.prepare import prepare

    how = {"conditional": config.conditional, "show": process.say, **config.preparation}
    return prepare(config.data, config.size, config.channels, **how)


def describe(config: TrainConfig, images: ImageSet | ShardSet):
    """What was prepared, what an adaptive preset chose for it, and what to expect of it."""
    from keras_dcgan.data.prepare import report

    lines = [report(images.manifest)]
    if config.preset in ADAPTIVE:
        lines.append(choices(config, len(images)))
    lines += expectations(config, len(images) - len(images.manifest.duplicates))
    process.say(cli.with_flags("\n".join(lines)))


def tell_plan(training: Training):
    from keras_dcgan.training import forecast

    training.tell(forecast.plan(training.config, training.gan, training.strategy))


def dry_run(training: Training) -> int:
    """The first steps of everything in memory."""
    from keras_dcgan.training import loop

    tell_plan(training)
    with cli.user_errors(VERB):
        loop.dry_run(training)
    print(f"Dry run: nothing was written to {training.config.run}.")
    return 0


def tell_end(training: Training, end: End) -> int:
    """-> the exit status."""
    if end.signal:
        kimg = end.step * training.config.batch / 1000
        if end.failure:
            print(f"Stopped: {end.failure}. The same command resumes from the last checkpoint.")
        else:
            print(f"Stopped after {kimg:.1f} kimg, saved. The same command resumes from here.")
        return 128 + end.signal
    if end.failure:
        sound = training.run.checkpoints[-1:]
        kept = f"{sound[0]} is sound" if sound else "there is no checkpoint yet"
        text = f"stopped: {' '.join(end.failure.split())}; {kept}. {end.advice}."
        print(f"{VERB}: {cli.with_flags(text)}", file=sys.stderr)
        return 1
    return farewell(training.run) if training.is_chief else 0


def farewell(run: Run) -> int:
    # The grid goes there, or `--data .` would learn from it.
    grid, path = (shlex.quote(str(place)) for place in (Path(run.path) / "grid.png", run.path))
    print(
        f"Next:  python -m keras_dcgan.sample --run {path} --seeds 0-63 --out {grid}\n"
        f"       tensorboard --logdir {path}\n"
        f"       python -m keras_dcgan.export --run {path}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(process.run(main))
