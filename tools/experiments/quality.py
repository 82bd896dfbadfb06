"""`python -m tools.bench quality`: variants of the recipe, each trained for the same minutes and measured at
its end.

Each --variant is a name and flags of fit; "paper", "auto" and "classic" are there already. Every one is timed
first, so that it is told a --kimg that takes the minutes given. The figures are those of the last generator,
not of the best.
"""

import itertools
import json
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

from keras_dcgan import cli
from keras_dcgan.cli import number
from keras_dcgan.config import ADAPTIVE, CHOOSING, augmentation, batch

PRESETS = {name: ["--preset", name] for name in ("paper", "auto", "modern", "classic")}
CALIBRATION = 8.0  # kimg
METRICS = {
    "fid": ["fid"],
    "kid": ["kid"],
    "prdc": ["recall", "coverage"],
    "swd": ["swd"],
}  # of evaluate, and what is told of each


def arguments(parser):
    parser.add_argument("--data", type=cli.source, required=True, metavar="PATH", help="what to train on")
    parser.add_argument("--size", default="32", metavar="N|HxW", help="[32]")
    parser.add_argument(
        "--minutes", type=number(0, above=True), default=20, metavar="M", help="of each training [20]"
    )
    parser.add_argument(
        "--seeds", type=number(1, kind=int), default=3, metavar="N", help="trainings of each [3]"
    )
    parser.add_argument("--samples", default="10000", metavar="N", help="images measured [10000]")
    parser.add_argument("--variant", action="append", metavar="'NAME: FLAGS'", help="another contestant")
    parser.add_argument("--only", metavar="A,B", help="of the names, these [all]")
    parser.add_argument(
        "--features",
        type=cli.path_or("random"),
        action="append",
        metavar="random|FILE",
        help="or more [random]",
    )
    parser.add_argument("--keep", type=cli.path, metavar="DIR", help="keep the runs there [they are removed]")


def measure(args) -> dict:
    variants = PRESETS | {
        name.strip(): shlex.split(flags)
        for name, _, flags in (text.partition(":") for text in args.variant or [])
    }
    chosen = [name.strip() for name in args.only.split(",")] if args.only else list(variants)
    if unknown := set(chosen) - set(variants):
        cli.fail(
            "quality",
            f"--only: expected some of {', '.join(variants)}, received {', '.join(sorted(unknown))}",
        )
    found = {name: [] for name in chosen}
    with tempfile.TemporaryDirectory() as scratch:
        kept = pathlib.Path(args.keep or scratch)
        if there := [
            name for name in chosen for seed in range(args.seeds) if (kept / f"{name}-{seed}").exists()
        ]:
            cli.fail("quality", f"--keep: expected a folder without runs of {there[0]}, received {kept}")
        rates = {}
        for name in chosen:
            variants[name], rates[name] = settled(args, variants[name], pathlib.Path(scratch) / "rate")
        for seed in range(args.seeds):
            for name in chosen:  # in turns, so that a slow hour of the machine hits all of them
                kimg = round(rates[name] * 60 * args.minutes / 1000, 1)
                run = kept / f"{name}-{seed}"
                fit(args, variants[name], run, "--kimg", kimg, "--seed", seed)
                figures = {}
                for features in args.features or ["random"]:
                    figures[pathlib.Path(features).stem] = evaluate(run, features, args.samples)
                rows = [
                    json.loads(line)
                    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
                ]
                last_over_best = rows[-1]["swd"] / min(row["swd"] for row in rows)
                found[name].append(
                    {"kimg": kimg, "seconds": rows[-1]["seconds"], "swd_last_over_best": last_over_best}
                    | figures
                )
                print(f"{name} {seed}: {json.dumps(found[name][-1])}", flush=True)
    return summary(found) | {"minutes": args.minutes, "runs": found}


def fit(args, flags: list[str], run: pathlib.Path, *more):
    command = [
        sys.executable,
        "-m",
        "keras_dcgan.fit",
        "--data",
        args.data,
        "--size",
        args.size,
        "--run",
        run,
        *flags,
        *more,
    ]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL)


def settled(args, flags: list[str], run: pathlib.Path) -> tuple[list[str], float]:
    """-> the flags, with what auto chooses for a training of those minutes, and its images a second, once it
    is compiled."""
    while True:
        fit(args, flags, run, "--kimg", CALIBRATION, "--tick-kimg", CALIBRATION / 2)
        rate = json.loads((run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])["img_per_s"]
        config = json.loads((run / "config.json").read_text(encoding="utf-8"))["settings"]
        images = json.loads((run / "data.json").read_text(encoding="utf-8"))["images"]
        shutil.rmtree(run)
        if config["preset"] not in ADAPTIVE:
            return flags, rate
        kimg = rate * 60 * args.minutes / 1000
        chosen = {"augment": augmentation(images, kimg, config["preset"])[0]}
        if config["preset"] in CHOOSING:
            chosen["batch"] = batch(kimg)
        typed = {flag.partition("=")[0] for flag in flags}
        missing = {name: value for name, value in chosen.items() if f"--{name}" not in typed}
        flags = [*flags, *(part for name, value in missing.items() for part in (f"--{name}", str(value)))]
        if all(value == config[name] for name, value in missing.items()):
            return flags, rate


def evaluate(run: pathlib.Path, features: str, samples: str) -> dict:
    out = run / "evaluation.json"
    command = [
        sys.executable,
        "-m",
        "keras_dcgan.evaluate",
        "--run",
        run,
        "--last",
        "--samples",
        samples,
        "--features",
        features,
    ]
    subprocess.run(
        [*map(str, command), "--metrics", ",".join(METRICS), "--out", str(out)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(out.read_text(encoding="utf-8"))["metrics"]


def summary(found: dict) -> dict:
    """The median of each figure over the seeds, as "NAME FEATURES METRIC"."""
    return {
        f"{name} {features} {metric}": statistics.median(result[features][metric] for result in results)
        for name, results in found.items()
        for features in results[0]
        if isinstance(results[0][features], dict)
        for metric in itertools.chain(*METRICS.values())
    }
