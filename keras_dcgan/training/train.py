"""What the verb `fit` does, for scripts and notebooks. `keras_dcgan.train` is this one.

run = train(prepare("./imgs"), "runs/imgs", filters=32, kimg=100)       # the same again resumes
run.metrics[-1]["swd"], run.load_generator()
"""

import dataclasses
import os

from keras_dcgan import devices, process
from keras_dcgan.config import ADAPTIVE, TrainConfig, choices
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.data.shards import ShardSet
from keras_dcgan.errors import Refused, spelled
from keras_dcgan.library import Run
from keras_dcgan.runs.directory import check_fits, settings_of
from keras_dcgan.training import forecast, loop

# Of fit's settings, those that the images or `run` tell.
PREPARATION = ("size", "channels", "conditional", "crop", "background", "max_pixels", "cache")
ELSEWHERE = ("data", "run", *PREPARATION, "dry_run")
SETTINGS = [row.name for row in dataclasses.fields(TrainConfig) if row.name not in ELSEWHERE]


def prepared(about: Manifest) -> dict:
    """The settings with which `fit` would prepare these images."""
    return {
        "data": about.source,
        "size": about.size,
        "channels": about.channels,
        "conditional": about.conditional,
        "crop": about.crop,
        "background": "#{:02x}{:02x}{:02x}".format(*about.background),
    }


def train(images: ImageSet | ShardSet, run: str | os.PathLike, **settings) -> Run:
    """Trains on prepared images, as `python -m keras_dcgan.fit` does, and writes all that it does into the
    directory `run`: sample grids, metrics.jsonl, TensorBoard's logs, checkpoints, the best generator. The same
    call again resumes, to the same bits; a larger `kimg` goes on.

    `settings`: the flags of `fit` with underscores, with its defaults and its check of each: preset, kimg, filters,
    batch, seed, augment, metrics, on_nan and the others (docs/cli.md). What the run began with need not be
    repeated.

    Raises Refused or Unavailable, naming the argument; RuntimeError with the reason where the training fails,
    and KeyboardInterrupt after an interrupt. All that was trained until then is in the run."""
    if not hasattr(images, "manifest"):
        raise Refused("images", "what prepare returns", type(images).__name__)
    unknown = sorted(settings.keys() - set(SETTINGS))
    if unknown:
        raise Refused(unknown[0], f"one of {', '.join(SETTINGS)}", repr(settings[unknown[0]]))
    typed = {"run": os.fspath(run), **prepared(images.manifest), **settings}
    if Run(typed["run"], is_new=True).has_begun:  # whether these are its images, their fingerprint tells
        typed = {name: value for name, value in typed.items() if name not in PREPARATION}
    check_fits(settings_of(typed))
    config = settings_of(typed, len(images))
    with devices.keras_defaults(), process.quiet():
        devices.settle()
        strategy = loop.strategy_for(config, images)
    if config.preset in ADAPTIVE:
        print(spelled(choices(config, len(images))), flush=True)
    with devices.keras_defaults(), loop.opened(config, images, strategy) as (training, step):
        if step < config.total_steps:
            training.tell(forecast.plan(config, training.gan, strategy))
            end = loop.train(training, step)
            if end.signal:
                raise KeyboardInterrupt(f"{config.run} is saved at step {end.step}")
            if end.failure:
                raise RuntimeError(f"{config.run}: {end.failure}. {end.advice}")
    return Run(config.run)
