"""Measures a run against real images: `python -m keras_dcgan.evaluate --run runs/imgs`. Prints a table,
writes JSON and a page.

swd and msssim are taken of pixels, the others of features (`--features`). Figures of different features,
sizes or numbers of images cannot be compared, so each comes with all three.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from keras_dcgan import cli, files, process
from keras_dcgan.addresses import is_shards
from keras_dcgan.cli import number
from keras_dcgan.config import TrainConfig
from keras_dcgan.errors import Refused, Unavailable, argument
from keras_dcgan.measure.metrics import FEW, FEWEST, METRICS, OF_FEATURES
from keras_dcgan.progress import Progress
from keras_dcgan.runs.directory import Run

if TYPE_CHECKING:
    import keras

    from keras_dcgan.data.sets import ImageSet
    from keras_dcgan.data.shards import ShardSet
    from keras_dcgan.measure.evaluation import Measured

VERB = "evaluate"
BEST = dict.fromkeys(("precision", "recall", "density", "coverage"), "higher") | {
    "sharpness": "near 1",
    "memorised": "near 0.05",
}


@process.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors(VERB):
        out = out_of(flags)
        check(flags, out)
        run = Run(flags.run)
        run.check_trained()
        with process.importing():
            from keras_dcgan import devices
            from keras_dcgan.measure import embeddings
            from keras_dcgan.measure.evaluation import measure
            from keras_dcgan.measure.page import page
            from keras_dcgan.runs import checkpoints

            devices.start()
        config, classes = run.config, run.classes
        generator, sha256 = checkpoints.load_generator_and_sha256(run, flags.last)
        with cli.writing("out", out):
            out.parent.mkdir(parents=True, exist_ok=True)
        needs_features = bool(OF_FEATURES & set(flags.metrics))
        embed = embeddings.load(flags.features, flags.inception_weights) if needs_features else None
        config = dataclasses.replace(config, cache=flags.cache or config.cache)
        with cli.user_errors(VERB, dict.fromkeys(cli.OF_IMAGES, "--data")):
            real = real_images(flags.data or config.data, config, classes, generator)
        has_changed = not flags.data and real.manifest.fingerprint != run.manifest.fingerprint
        check_real(real, has_changed, config, classes, generator)
        with cli.user_errors(VERB, dict.fromkeys(cli.OF_IMAGES, "--held-out")):
            held_out = real_images(flags.held_out, config, classes, generator) if flags.held_out else None
    with cli.machine_errors(VERB), Progress() as progress:
        measured = measure(
            generator,
            real,
            metrics=flags.metrics,
            samples=flags.samples,
            embed=embed,
            held_out=held_out,
            cache=config.cache,
            progress=progress,
        )
    result = as_json(flags, sha256, real, embed.name if embed else None, measured)
    result["notes"] += [f"{config.data} has changed since the training"] * has_changed
    process.say(table(result))
    out = out if flags.out else without_loss(out, result)
    with cli.user_errors(VERB), cli.writing("out", out):
        files.write(out, json.dumps(result, indent=1) + "\n")
        files.write(out.with_suffix(".html"), page(flags.run, table(result), measured, run.metrics))
    print(f"{out}\n{out.with_suffix('.html')}")
    return 0


def parser() -> cli.Parser:
    result = cli.Parser("keras_dcgan.evaluate", "Measures the generator of a run against real images.")
    result.add_argument("--run", type=cli.path, required=True, metavar="DIR", help="the run directory")
    result.add_argument(
        "--data", type=cli.source, metavar="PATH", help="the real images [those of the training]"
    )
    about = "real images that were not trained on, for the check for copies"
    result.add_argument("--held-out", type=cli.source, metavar="PATH", help=about)
    result.add_argument(
        "--metrics", type=names, default=METRICS, metavar="A,B", help=f"which of {','.join(METRICS)} [all]"
    )
    result.add_argument("--cache", type=cli.path, metavar="DIR", help=cli.CACHE)
    count = number(FEWEST, 10**6, kind=int)
    about = "generated images, seeds 0 to N-1, and as many real ones if there are [10000]"
    result.add_argument("--samples", type=count, default=FEW, metavar="N", help=about)
    features, about = (
        cli.path_or("random", "inception"),
        "what to compare by; FILE.keras: any model of RGB images in [-1, 1] [random]",
    )
    result.add_argument(
        "--features", type=features, default="random", metavar="random|inception|FILE", help=about
    )
    result.add_argument(
        "--inception-weights", type=cli.path, metavar="FILE", help="of Keras' InceptionV3 [from Keras' cache]"
    )
    result.add_argument("--last", action="store_true", help="measure generator_last.keras [generator.keras]")
    about = "the figures; the page goes beside it [DIR/evaluation/FEATURES.json; -last, -2, ... behind FEATURES keep others]"
    result.add_argument("--out", type=cli.path, metavar="F.json", help=about)
    return result


def out_of(flags: argparse.Namespace) -> Path:
    """Where the figures go."""
    usual = f"{Path(flags.features).stem}{'-last' * flags.last}.json"
    out = Path(flags.out or Run(flags.run, is_new=True).evaluation / usual)
    if out.suffix != ".json":
        raise Refused("out", "a name that ends in .json", flags.out)
    return out


def without_loss(usual: Path, result: dict) -> Path:
    """Where to write these figures: `usual`, or with a number behind it where others of the same generator would be
    lost."""

    def loses(file: Path) -> bool:
        try:
            there = json.loads(file.read_text(encoding="utf-8"))
            return there["generator_sha256"] == result["generator_sha256"] and (
                not set(there["metrics"]) <= set(result["metrics"])
                or there["features"] not in (None, result["features"])
                or any(result["images"].get(name) != count for name, count in there["images"].items())
                or there["data"]["fingerprint"] != result["data"]["fingerprint"]
            )
        except (OSError, ValueError, LookupError, TypeError):
            return False

    names = itertools.chain([usual], (usual.with_stem(f"{usual.stem}-{i}") for i in itertools.count(2)))
    return next(file for file in names if not loses(file))


def check(flags: argparse.Namespace, out: Path):
    """Whether the flags fit each other, and whether the figures can be written. Raises Refused or Unavailable."""
    if flags.inception_weights and flags.features != "inception":
        expected = f"to stand with {argument('features')} inception"
        raise Refused("inception_weights", f"expected {expected}, received it with {flags.features}")
    if flags.features != "random" and not OF_FEATURES & set(flags.metrics):
        expected = f"one of {', '.join(sorted(OF_FEATURES))} among {argument('metrics')}"
        raise Refused("features", expected, ",".join(flags.metrics))
    if flags.held_out and "memorisation" not in flags.metrics:
        expected = f"memorisation among {argument('metrics')}"
        raise Refused("held_out", expected, ",".join(flags.metrics))
    if flags.out:
        files.check_file(out, "out")
        files.check_file(out.with_suffix(".html"), "out")


def names(text: str) -> tuple[str, ...]:
    wanted = tuple(part.strip() for part in text.split(","))
    if unknown := set(wanted) - set(METRICS):
        raise cli.Expected(f"expected some of {','.join(METRICS)}, received {', '.join(sorted(unknown))!r}")
    return wanted


def real_images(
    source: str, config: TrainConfig, classes: list[str], generator: keras.Model
) -> ImageSet | ShardSet:
    """Prepared as the run's own were: with its classes, if these are of them."""
    from keras_dcgan.data.prepare import prepare

    is_own = source == config.data  # what training prepared is in the cache
    return prepare(
        source,
        config.size,
        config.channels if is_own else generator.output_shape[-1],
        conditional=config.conditional and (is_own or are_of(classes, source, config)),
        show=lambda line: print(line, file=sys.stderr),
        **config.preparation,
    )


def are_of(classes: list[str], source: str, config: TrainConfig) -> bool:
    """Whether the images there are of the very classes of the training. Nothing is decoded for it."""
    from keras_dcgan.data.prepare import listed, prepare, settings_of

    try:
        if is_shards(source):
            return prepare(source, config.size, conditional=True, **config.preparation).classes == classes
        found = listed(source, settings_of(config.size, conditional=True))
    except (Refused, Unavailable):
        return False
    return sorted(set(found.classes or ())) == sorted(classes)


def check_real(
    real: ImageSet | ShardSet,
    has_changed: bool,
    config: TrainConfig,
    classes: list[str],
    generator: keras.Model,
):
    """Raises Refused where they cannot be compared with what the generator draws."""
    if len(real) < FEWEST:
        raise Refused("source", f"{FEWEST} images or more", len(real))
    since = f": {config.data} has changed since"
    if (has_changed or real.classes) and real.classes != classes:
        raise Refused("source", "the classes of the training", f"others{since}")
    there, here = real.manifest.channels, generator.output_shape[-1]
    if there != here:
        raise Refused("source", f"images of {here} channels", f"{there}{since}")


def as_json(
    flags: argparse.Namespace,
    sha256: str,
    real: ImageSet | ShardSet,
    features: str | None,
    measured: Measured,
) -> dict:
    """What the file holds."""
    counts = {"real": measured.compared, "fake": measured.compared}
    if "memorisation" in flags.metrics:
        counts |= {"memorised_real": len(measured.training), "memorised_fake": len(measured.fakes)}
    return {
        "run": flags.run,
        "generator": "last" if flags.last else "best",
        "generator_sha256": sha256,
        "data": {"source": real.manifest.source, "fingerprint": real.manifest.fingerprint},
        "features": features,
        "size": list(measured.fakes.shape[1:]),
        "images": counts,
        "seed": 0,
        "metrics": measured.figures,
        "notes": list(measured.notes),
    }


def table(result: dict) -> str:
    fake, real, size = result["images"]["fake"], result["images"]["real"], "x".join(map(str, result["size"]))
    rows = [f"{fake:,} generated and {real:,} real images of {size}; features: {result['features']}"]
    for name, value in result["metrics"].items():
        if name in ("kid_ci95", "msssim_real") or name.startswith("sharpness_"):
            continue
        more = f"± {result['metrics']['kid_ci95']:.5f}" if name == "kid" else ""
        more = f"real images: {result['metrics']['msssim_real']:.4f}" if name == "msssim" else more
        if name == "sharpness":
            levels = [
                (label, ratio) for label, ratio in result["metrics"].items() if label.startswith("sharpness_")
            ]
            more = ", ".join(f"{label.rpartition('_')[2]} px: {ratio:.2f}" for label, ratio in levels)
        if name == "memorised" and result["images"]["memorised_fake"] > result["images"]["fake"]:
            more = f"of {result['images']['memorised_fake']:,} generated"
        rows.append(f"  {name:<12}{value:>12.4f}  {more:<24} {BEST.get(name, 'lower')}")
    return "\n".join(rows + [f"note: {note}" for note in result["notes"]])


if __name__ == "__main__":
    raise SystemExit(process.run(main))
