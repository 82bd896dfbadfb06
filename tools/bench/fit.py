"""`python -m tools.bench fit`: a whole training against its bare step. 6 to 18 minutes."""

import dataclasses
import statistics
import tempfile
import time

import numpy as np

from keras_dcgan import fit, process
from keras_dcgan.cli import number, side_lengths
from tools.bench.timing import seconds


def arguments(parser):
    parser.add_argument(
        "--size", type=side_lengths, default=(64, 64), metavar="N|HxW", help="of the images [64]"
    )
    parser.add_argument("--filters", type=number(1, kind=int), default=64, metavar="N", help="[64]")
    parser.add_argument("--ticks", type=number(1, kind=int), default=3, metavar="N", help="that count [3]")
    parser.add_argument("--tick-kimg", type=number(0, above=True), default=8.0, metavar="N", help="[8]")


def measure(args) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        return everything(args, scratch)


def everything(args, scratch: str) -> dict:
    """Ticks of `fit` with all that it does by default, and a quarter as many steps of the bare train function
    between them."""
    images = np.random.default_rng(0).integers(0, 256, (20_000, *args.size, 3), np.uint8)
    np.save(f"{scratch}/images.npy", images)
    typed = fit.read(
        [
            "--data",
            f"{scratch}/images.npy",
            "--run",
            f"{scratch}/run",
            "--size",
            "x".join(map(str, args.size)),
        ]
        + ["--filters", str(args.filters), "--cache", f"{scratch}/cache", "--tick-kimg", str(args.tick_kimg)]
    )
    config = fit.settings_of(typed)
    per_tick = round(1000 * config.tick_kimg / config.batch)  # steps
    config = dataclasses.replace(
        config,
        tick_kimg=per_tick * config.batch / 1000,
        kimg=(args.ticks + 1) * per_tick * config.batch / 1000,
    )
    prepared = fit.load_images(config)
    with process.importing():
        import tensorflow as tf

        from keras_dcgan import devices
        from keras_dcgan.training import build, loop

        strategy = devices.find_strategy("single")
    bare = build.build(config, 3)
    stream = iter(bare.grouped(tf.data.Dataset.from_tensors(images[: config.batch]).repeat()))
    at_once = bare.steps_per_execution
    bare.make_train_function()
    bare.train_function(stream)  # traced
    measured, bare_seconds, rows = [], [], []

    with loop.opened(config, prepared, strategy) as (training, _):
        ticks = loop.chief_ticks(training, 0)
        quality = ticks.measure

        def timed_quality():
            began = time.perf_counter()
            figures = quality()
            measured.append(time.perf_counter() - began)
            return figures

        def bare_steps() -> float:
            return seconds(lambda: [bare.train_function(stream) for _ in range(per_tick // 4 // at_once)])

        def end_of_tick(tick):
            rows.append(tick.row)
            if not ticks.aside:  # else the training goes on meanwhile
                bare_seconds.append(bare_steps())
                ticks.tick_began += bare_seconds[-1]  # not part of the tick that has begun

        ticks.measure = timed_quality
        ticks.actions = (*ticks.actions, end_of_tick)
        steps = config.total_steps
        batches = loop.batches(training, 0, 0)
        before = bare_steps() if ticks.aside else 0.0
        training.gan.fit(batches, steps_per_epoch=steps, shuffle=False, callbacks=[ticks], verbose=0)
        if ticks.aside:
            bare_seconds = [(before + bare_steps()) / 2] * len(rows)
    # A row's rate holds the end of the tick before it: the first, which has compiled the step, had none.
    rates = [row["img_per_s"] for row in rows[1:]]
    bare_rates = [per_tick // 4 // at_once * at_once * config.batch / value for value in bare_seconds[:-1]]
    tick_seconds = [per_tick * config.batch / rate for rate in rates]
    return {
        "fit_img_per_s": statistics.median(rates),
        "bare_step_img_per_s": statistics.median(bare_rates),
        "fit_times_bare_step": statistics.median(
            rate / bare for rate, bare in zip(rates, bare_rates, strict=True)
        ),
        "tick_kimg": args.tick_kimg,
        "swd_share_of_a_tick": statistics.median(measured[:-1]) / statistics.median(tick_seconds),
    }
