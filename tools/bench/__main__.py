"""Every speed figure in docs/: each a ratio against something else that ran on the same machine in the
same minutes.

    python -m tools.bench data|train|launches|fit|memory|startup|edge|edit|quality [--json F]

Repeats alternate between the contestants, and the figure is the median: other programs on the machine then
slow both.
"""

import importlib
import json
import pathlib
import re
import sys

from keras_dcgan import cli

BENCHES = ("data", "train", "launches", "fit", "memory", "startup", "edge", "edit", "quality")


def main():
    parser = cli.Parser("tools.bench", __doc__)
    verbs = parser.add_subparsers(dest="what", required=True, metavar="|".join(BENCHES))
    for name in BENCHES:
        folder = "experiments" if name == "quality" else "bench"
        bench = importlib.import_module(f"tools.{folder}.{name}")
        verb = verbs.add_parser(name, description=bench.__doc__, prog=f"tools.bench {name}")
        verb.add_argument("--json", type=cli.path, metavar="F", help="write the figures there as well")
        bench.arguments(verb)
        verb.set_defaults(bench=bench)
    args = parser.parse_args()
    from tools.bench import timing

    command = re.sub(r" --json[= ]\S+", "", " ".join(["python -m tools.bench", *sys.argv[1:]]))
    figures = args.bench.measure(args) | {"bench": args.what, "command": command, "machine": timing.machine()}
    for name, value in figures.items():
        print(f"{name:60} {value:,.3f}" if isinstance(value, float) else f"{name:60} {value}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
