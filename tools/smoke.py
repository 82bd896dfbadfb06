"""Whether the installed package works on this system: a tiny training, resumed, sampled, measured, exported and drawn.

    python tools/smoke.py

It works in a temporary folder, so it tries what is installed and not the clone. It prints each command, and stops
with the status of the first one that fails.
"""

import shlex
import subprocess
import sys
import tempfile

FIT = "-m keras_dcgan.fit --data demo:64 --size 16 --filters 4 --batch 8 --tick-kimg 0.04 --run run --cache cache"
COMMANDS = (
    f"{FIT} --kimg 0.08",
    f"{FIT} --kimg 0.12",
    "-m keras_dcgan.sample --run run --seeds 0-3 --out grid.png",
    "-m keras_dcgan.evaluate --run run --samples 64",
    "-m keras_dcgan.export --run run --formats saved_model,fp32,fp16,int8 --out exported",
    "-m keras_dcgan.export.edge_sample --model exported --seeds 0-3 --out edge.png",
)


def main(place: str) -> int:
    for command in COMMANDS:
        print(f"+ python {command}", flush=True)
        done = subprocess.run([sys.executable, *shlex.split(command)], cwd=place)
        if done.returncode:
            print(
                f"smoke: expected status 0, received {done.returncode} of: python {command}", file=sys.stderr
            )
            return done.returncode
    print("all of it works")
    return 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        raise SystemExit(main(folder))
