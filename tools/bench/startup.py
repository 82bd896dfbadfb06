"""`python -m tools.bench startup`: how long a user waits for a command's first result, each in a process of
its own. 5 minutes."""

import os
import pty
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keras_dcgan.cli import number
from tools.bench.timing import seconds

BAR = "─".encode()


def arguments(parser):
    parser.add_argument("--repeats", type=number(1, kind=int), default=5, metavar="N", help="[5]")


def measure(args) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        commands = prepare(Path(scratch))
        times = {name: [] for name in commands}
        for _ in range(args.repeats):
            for name, command in commands.items():
                work = to_its_first_step if name == "fit_to_its_first_step" else run
                times[name].append(seconds(lambda command=command, work=work: work(command)))
    return {f"{name}_s": statistics.median(values) for name, values in times.items()}


def prepare(scratch: Path) -> dict[str, list]:
    """The commands, on a run of one step at 64x64 with 64 filters, its data prepared and its generator
    exported."""
    np.save(scratch / "images.npy", np.random.default_rng(0).integers(0, 256, (2000, 64, 64, 3), np.uint8))
    run_directory = scratch / "run"
    fit = ["-m", "keras_dcgan.fit", "--data", scratch / "images.npy", "--cache", scratch / "cache"]
    run([*fit, "--run", run_directory, "--kimg", "0.064"])
    run(["-m", "keras_dcgan.export", "--run", run_directory, "--formats", "int8"])
    edge = [
        "export/edge_sample.py",
        "--model",
        run_directory / "export",
        "--seeds",
        "0-15",
        "--out",
        scratch / "edge.png",
    ]
    return {
        "fit_help": ["-m", "keras_dcgan.fit", "--help"],
        "import_of_tensorflow_and_keras": [
            "-c",
            "from keras_dcgan import process\nwith process.importing():\n    import tensorflow, keras",
        ],
        "fit_to_its_first_step": [*fit, "--run", scratch / "new"],
        "sample_one_picture": [
            "-m",
            "keras_dcgan.sample",
            "--run",
            run_directory,
            "--seeds",
            "0",
            "--out",
            scratch / "one.png",
        ],
        "edge_sample_16_pictures": edge,
    }


def to_its_first_step(command: list):
    """A new run, until the bar of its first step is on the terminal."""
    ours, its = pty.openpty()
    shown = b""
    with subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=its, stderr=subprocess.DEVNULL
    ) as process:
        os.close(its)
        while BAR not in shown:
            shown += os.read(ours, 1024)
        process.kill()
    os.close(ours)
    shutil.rmtree(command[command.index("--run") + 1])


def run(command: list):
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True)
