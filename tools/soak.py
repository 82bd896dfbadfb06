"""Kills a training again and again, with SIGKILL at random moments, and compares it with one that nobody
disturbed.

    python -m tools.soak --kills 25

prints, and fails unless it is true, that weights, optimizers, metrics and samples are the same to the bit. On
a CPU, with --deterministic; takes about ten seconds a kill.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from keras_dcgan import cli
from keras_dcgan.cli import number

TICK = 0.4  # kimg
SMALL = f"--data demo --size 16 --filters 8 --batch 16 --tick-kimg {TICK} --deterministic".split()
TIMES = ("seconds", "img_per_s")  # the only columns that may differ


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("tools.soak", __doc__)
    parser.add_argument("--kills", type=number(1, 1000, kind=int), default=25, metavar="N", help="[25]")
    parser.add_argument("--seed", type=number(0, kind=int), default=0, metavar="N", help="of the moments [0]")
    flags = parser.parse_args(arguments)
    moments = random.Random(flags.seed)
    kimg = TICK * 3 * (flags.kills + 1)  # no life lasts longer than two ticks
    with tempfile.TemporaryDirectory() as folder:
        calm, killed = Path(folder) / "calm", Path(folder) / "killed"
        train(calm, kimg).wait()
        for kill in range(1, flags.kills + 1):
            process = train(killed, kimg)
            wait_for_a_moment(process, killed, moments)
            process.kill()
            if process.wait() != -signal.SIGKILL:
                print(f"the training was over before kill {kill}")
                return 1
            print(f"kill {kill}: {checkpoint_steps(killed)[-1:] or 'no checkpoint yet'}", flush=True)
        train(killed, kimg).wait()
        lost = differences(calm, killed)
    print(f"{flags.kills} kills, {len(lost)} differences" + "".join(f"\n  {line}" for line in lost))
    return 1 if lost else 0


def wait_for_a_moment(process: subprocess.Popen, run: Path, moments: random.Random):
    """Until some time before its first tick, once in four; else until some time in the tick after that."""
    if moments.random() < 0.25:
        time.sleep(moments.uniform(0, 8))
        return
    before = checkpoint_steps(run)[-1:]
    while checkpoint_steps(run)[-1:] == before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 0.5))


def train(run: Path, kimg: float) -> subprocess.Popen:
    command = [sys.executable, "-m", "keras_dcgan.fit", *SMALL, "--kimg", str(kimg), "--run", str(run)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def checkpoint_steps(run: Path) -> list[int]:
    return sorted(int(place.name.removeprefix("step-")) for place in (run / "checkpoints").glob("step-*"))


def differences(calm: Path, killed: Path) -> list[str]:
    """What two finished run directories do not have in common: [] when the second has lost nothing."""
    found = []
    if checkpoint_steps(calm) != checkpoint_steps(killed):
        found.append(f"checkpoints: {checkpoint_steps(calm)} and {checkpoint_steps(killed)}")
    else:
        newest = f"checkpoints/step-{checkpoint_steps(calm)[-1]:09d}/state"
        theirs, ours = (_variables(run / newest) for run in (calm, killed))
        found += [
            f"checkpoint: {name}"
            for name in theirs.keys() | ours.keys()
            if not np.array_equal(theirs.get(name), ours.get(name))
        ]
    theirs, ours = (_rows(run) for run in (calm, killed))
    found += [] if theirs == ours else [f"metrics.jsonl: {len(theirs)} and {len(ours)} rows, or other values"]
    theirs, ours = (_events(run) for run in (calm, killed))
    found += [f"logs: {tag}" for tag in theirs.keys() | ours.keys() if theirs.get(tag) != ours.get(tag)]
    theirs, ours = (
        {file.name: file.read_bytes() for file in (run / "samples").glob("*.png")} for run in (calm, killed)
    )
    found += [
        f"samples: {name}" for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)
    ]
    theirs, ours = (_weights(run / "generator.keras") for run in (calm, killed))
    found += [] if all(map(np.array_equal, theirs, ours)) else ["generator.keras"]
    return found


def _variables(state: Path) -> dict[str, np.ndarray]:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(state))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if "OBJECT_GRAPH" not in name
    }


def _rows(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def _events(run: Path) -> dict[str, list[int]]:
    """{tag: the steps of its events}."""
    import tensorflow as tf

    steps = {}
    for file in (run / "logs").glob("*.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(file)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    return {tag: sorted(found) for tag, found in steps.items()}


def _weights(file: Path) -> list[np.ndarray]:
    import keras

    return keras.saving.load_model(file).get_weights()


if __name__ == "__main__":
    raise SystemExit(main())
