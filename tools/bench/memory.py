"""`python -m tools.bench memory`: what a whole training holds in memory, by the number of images and by the
time, and what the commands hold that use it. 20 minutes."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from keras_dcgan.cli import number

SIZE, FILTERS, BATCH = 64, 64, 64


def arguments(parser):
    count = number(2_000, kind=int)
    parser.add_argument(
        "--images",
        type=count,
        nargs="+",
        default=[2_000, 50_000],
        metavar="N",
        help="to train on [2000 50000]",
    )
    parser.add_argument(
        "--minutes", type=number(1), default=5, metavar="M", help="of training, for each number [5]"
    )


def measure(args) -> dict:
    figures = {"minutes": args.minutes, "size": SIZE, "filters": FILTERS, "batch": BATCH}
    for count in args.images:
        with tempfile.TemporaryDirectory() as scratch:
            np.save(
                f"{scratch}/images.npy",
                np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8),
            )
            seconds, held, peak = watch(Path(scratch), 60 * args.minutes)
            half = len(seconds) // 2  # by then it is compiled, and has seen a tick
            slope, _ = np.polyfit(seconds[half:], held[half:], 1)
            figures |= {f"{count}_images_peak_mb": peak, f"{count}_images_growth_mb_per_hour": 3600 * slope}
            if count == args.images[-1]:
                figures |= {
                    f"{name}_peak_mb": most(command) for name, command in users(Path(scratch)).items()
                }
    return figures


def users(scratch: Path) -> dict[str, list]:
    """The commands that draw many images of a run, or hold many against it."""
    of = ["--run", scratch / "run"]
    return {
        "evaluate_10000_samples": ["keras_dcgan.evaluate", *of],
        "sample_10000_seeds": ["keras_dcgan.sample", *of, "--seeds", "0-9999", "--out", scratch / "drawn"],
        "sample_a_walk": ["keras_dcgan.sample", *of, "--seeds", "0-15", "--out", scratch / "walk.webp"],
    }


def most(command: list) -> float:
    """The MB that were resident at once, at most, of `python -m command`."""
    process = subprocess.Popen([sys.executable, "-m", *map(str, command)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"expected {command[0]} to end well, received status {status}")
    return usage.ru_maxrss / 1000


def watch(scratch: Path, duration: float) -> tuple[list[float], list[float], float]:
    """-> seconds, MB of its own at each of them, and the most that was resident, mapped files included."""
    paths = ["--data", scratch / "images.npy", "--cache", scratch, "--run", scratch / "run"]
    shape = ["--size", SIZE, "--filters", FILTERS, "--batch", BATCH, "--tick-kimg", 2, "--kimg", 10**6]
    command = [sys.executable, "-m", "keras_dcgan.fit", *paths, *shape]
    training = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL)
    began, seconds, held, peak = time.monotonic(), [], [], 0.0
    while time.monotonic() - began < duration:
        time.sleep(1)
        if training.poll() is not None:
            raise RuntimeError(
                f"expected a training that goes on, received exit status {training.returncode}"
            )
        status = dict(
            re.findall(r"(\w+):\s+(\d+) kB", Path(f"/proc/{training.pid}/status").read_text(encoding="utf-8"))
        )
        seconds.append(time.monotonic() - began)
        held.append(int(status["RssAnon"]) / 1000)
        peak = int(status["VmHWM"]) / 1000
    training.send_signal(signal.SIGKILL)
    training.wait()
    return seconds, held, peak
