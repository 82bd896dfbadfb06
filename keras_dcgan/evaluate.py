"""Measures a run against real images: `python -m keras_dcgan.evaluate --run runs/imgs`. Prints a table,
writes JSON and a page.

swd and msssim are taken of pixels, the others of features (`--features`). Figures of different features,
sizes or numbers of images cannot be compared, so each comes with all three.
"""

import base64
import contextlib
import hashlib
import html
import io
import json
import secrets
import sys
from pathlib import Path

import numpy as np

from keras_dcgan import cli, data, feed, files, images, latents, metrics
from keras_dcgan.config import check_file, check_trained, load_config, number, read_rows
from keras_dcgan.progress import Progress

METRICS = ("swd", "sharpness", "fid", "kid", "prdc", "msssim", "memorisation")
BEST = dict.fromkeys(("precision", "recall", "density", "coverage"), "higher") | {
    "sharpness": "near 1",
    "memorised": "near 0.05",
}
PAIRS = 8  # of fakes and their nearest training images on the page
FEW, FEWEST = 10_000, 16
PIECE = 100  # images whose features are made between two looks at the clock
TRAINING = 50_000  # images among which copies are looked for, at most


@cli.tidy
def main(arguments: list[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    with cli.user_errors("evaluate"):
        out = Path(flags.out or Path(flags.run) / "evaluation" / f"{Path(flags.features).stem}.json")
        if out.suffix != ".json":
            raise ValueError(f"--out: expected a name that ends in .json, received {flags.out}")
        check_flags(flags)
        if flags.out:
            check_file("--out", out)
            check_file("--out", out.with_suffix(".html"))
        check_trained(flags.run)
        with cli.quiet():
            from keras_dcgan import devices, embeddings, runs

            devices.start()
        config, classes = load_config(flags.run), runs.load_classes(flags.run)
        generator = runs.load_generator(flags.run, flags.last)
        with cli.writing("--out", out):
            out.parent.mkdir(parents=True, exist_ok=True)
        needs_features = bool({"fid", "kid", "prdc", "memorisation"} & set(flags.metrics))
        embed = embeddings.load(flags.features, flags.inception_weights) if needs_features else None
        real = real_images(flags.data or config.data, config, generator)
        if real.manifest["images"] < FEWEST:
            raise ValueError(f"--data: expected {FEWEST} images or more, received {real.manifest['images']}")
        changed = not flags.data and real.manifest["fingerprint"] != runs.of_data(flags.run, "fingerprint")
        if (changed or real.labels is not None) and real.manifest["classes"] != classes:
            raise ValueError(
                f"--data: expected the classes of the training, received others: {config.data} has "
                "changed since"
            )
        if real.manifest["channels"] != generator.output_shape[-1]:
            there, here = real.manifest["channels"], generator.output_shape[-1]
            raise ValueError(
                f"--data: expected images of {here} channels, received {there}: {config.data} has "
                "changed since"
            )
        held_out = None
        if flags.held_out:
            with cli.on_behalf_of("--held-out"):
                held_out = real_images(flags.held_out, config, generator)
    # Copies are looked for among all that was trained on; the other figures take as many real images as
    # generated ones.
    total, most = real.manifest["images"], TRAINING if "memorisation" in flags.metrics else 0
    most = min(most, int(2e9 / np.prod(generator.output_shape[1:])))
    count = min(total, max(most, flags.samples))
    training = feed.preview(real, count) if real.images is None or count < total else feed.OnDisk(real.images)
    rows = feed.preview_rows(len(training), min(flags.samples, len(training)))
    labels = None
    if classes:
        in_turn = np.arange(flags.samples, dtype=np.int32) % len(classes)
        labels = in_turn if real.labels is None else real.labels[feed.preview_rows(total, flags.samples)]
    result = {
        "run": flags.run,
        "generator": "last" if flags.last else "best",
        "data": {"source": real.manifest["source"], "fingerprint": real.manifest["fingerprint"]},
        "features": embed.name if embed else None,
        "size": list(generator.output_shape[1:]),
        "images": {"real": len(rows), "fake": len(rows)},
        "seed": 0,
    }
    with Progress() as progress:
        fakes = draw(generator, flags.samples, progress, labels)
        result["metrics"], pairs, caveats = (
            of_pixels(flags.metrics, training[rows], fakes[: len(rows)], progress),
            [],
            [],
        )
        if embed:  # after the pixels: the swd takes much memory, and TensorFlow keeps what it has taken
            vectors = cached_features(embed, real, training, config.cache, progress)
            fake_vectors, new_vectors = vectors_of(embed, fakes, progress, "generated"), None
            if held_out:
                new = feed.preview(held_out, min(held_out.manifest["images"], FEW))
                new_vectors = cached_features(embed, held_out, new, config.cache, progress)
            progress.begin("comparing the features")
            found, pairs, caveats = of_features(flags.metrics, vectors, rows, fake_vectors, new_vectors)
            result["metrics"] |= found
    if "memorisation" in flags.metrics:
        result["images"] |= {"memorised_real": len(training), "memorised_fake": len(fakes)}
    result["notes"] = notes(result) + caveats + [f"{config.data} has changed since the training"] * changed
    print(table(result))
    with cli.user_errors("evaluate"), cli.writing("--out", out):
        files.write(out, json.dumps(result, indent=1) + "\n")
        files.write(out.with_suffix(".html"), page(result, training, fakes, pairs, Path(flags.run)))
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
    count = number(FEWEST, 10**6, kind=int)
    about = "generated images, seeds 0 to N-1, and as many real ones if there are [10000]"
    result.add_argument("--samples", type=count, default=FEW, metavar="N", help=about)
    features, about = cli.path_or("random", "inception"), "what to compare by; FILE.keras: any model [random]"
    result.add_argument(
        "--features", type=features, default="random", metavar="random|inception|FILE", help=about
    )
    result.add_argument(
        "--inception-weights", type=cli.path, metavar="FILE", help="of Keras' InceptionV3 [from Keras' cache]"
    )
    result.add_argument(
        "--last", action="store_true", help="measure generator_last.keras [generator.keras, the best]"
    )
    about = "the figures; the page goes beside it [DIR/evaluation/FEATURES.json]"
    result.add_argument("--out", type=cli.path, metavar="F.json", help=about)
    return result


def check_flags(flags):
    if flags.inception_weights and flags.features != "inception":
        raise ValueError(
            "--inception-weights: expected to stand with --features inception, received it with "
            f"{flags.features}"
        )
    if flags.held_out and "memorisation" not in flags.metrics:
        raise ValueError(
            f"--held-out: expected memorisation among --metrics, received {','.join(flags.metrics)}"
        )


def names(text: str) -> tuple[str, ...]:
    wanted = tuple(part.strip() for part in text.split(","))
    if unknown := set(wanted) - set(METRICS):
        raise cli.Expected(f"expected some of {','.join(METRICS)}, received {', '.join(sorted(unknown))!r}")
    return wanted


def real_images(source: str, config, generator) -> feed.ImageSet | feed.ShardSet:
    """Prepared as the run's own were."""
    channels = (
        config.channels if source == config.data else generator.output_shape[-1]
    )  # what training prepared is in the cache
    conditional = config.conditional and source == config.data
    return data.prepare(
        source,
        config.size,
        channels,
        conditional=conditional,
        show=lambda line: print(line, file=sys.stderr),
        **config.preparation,
    )


def draw(generator, count: int, progress: Progress, labels: np.ndarray | None) -> np.ndarray:
    """The pictures of seeds 0 to count - 1, of a conditional run with these labels: uint8 (count, H, W,
    C)."""
    pictures = np.empty((count, *generator.output_shape[1:]), np.uint8)
    progress.begin("drawing", count)
    for start in range(0, count, FEW):
        seeds = np.arange(start, min(start + FEW, count))
        inputs = [
            latents.latents(seeds, generator.inputs[0].shape[-1]),
            *([] if labels is None else [labels[seeds]]),
        ]
        for seed, picture in zip(seeds, images.draw(generator, inputs)):
            pictures[seed] = picture
            progress.update(int(seed) + 1)
    return pictures


def vectors_of(embed, pictures: np.ndarray, progress: Progress, kind: str) -> np.ndarray:
    progress.begin(f"features, {kind}", len(pictures))
    vectors = None
    for start in range(0, len(pictures), PIECE):
        some = embed(pictures[start : start + PIECE])
        vectors = np.empty((len(pictures), some.shape[1]), some.dtype) if vectors is None else vectors
        vectors[start : start + len(some)] = some
        progress.update(start + len(some))
    return vectors


def cached_features(embed, prepared, pictures: np.ndarray, cache: str, progress: Progress) -> np.ndarray:
    """The vectors of real images, from the cache if they are there; `python -m keras_dcgan.data` lists and
    clears them too."""
    digest = hashlib.blake2b()  # of the pictures: shards have the fingerprint of a folder in another order
    for start in range(0, len(pictures), images.CHUNK):
        digest.update(np.ascontiguousarray(pictures[start : start + images.CHUNK]))
    key = json.dumps([digest.hexdigest(), embed.name])
    entry = data.cache_folder(cache or None) / hashlib.sha256(key.encode()).hexdigest()[:32]
    file, beside = entry / "features.npy", entry / f".features.{secrets.token_hex(8)}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):  # not there yet, or spoilt
        return np.load(file, mmap_mode="r")
    vectors = vectors_of(embed, pictures, progress, "real")
    about = {name: prepared.manifest[name] for name in ("size", "channels")}
    about |= {"images": len(pictures), "source": f"{prepared.manifest['source']}, features {embed.name}"}
    with contextlib.suppress(OSError):  # a full disk: no figure needs the cache
        entry.mkdir(parents=True, exist_ok=True)
        try:
            files.write(entry / "manifest.json", json.dumps(about))
            np.save(beside, vectors)
            files.replace(beside, file)
        finally:
            beside.unlink(missing_ok=True)
        return np.load(file, mmap_mode="r")
    return vectors


def of_pixels(wanted, real: np.ndarray, fake: np.ndarray, progress: Progress) -> dict[str, float]:
    found = {}
    if "swd" in wanted:
        progress.begin("swd", 100, "%")
        reference = metrics.SlicedWasserstein(real, keep=False)
        found["swd"] = reference.distance(fake, show=lambda share: progress.update(100 * share))["swd"]
    if "sharpness" in wanted:
        found |= metrics.sharpness(fake, metrics.detail(real))
    if "msssim" in wanted:
        progress.begin("msssim")
        found["msssim"], found["msssim_real"] = metrics.ms_ssim(fake), metrics.ms_ssim(real)
    return found


def of_features(
    wanted, training, rows, every_fake, new
) -> tuple[dict[str, float], list[tuple[int, int]], list[str]]:
    """Vectors of training images, generated ones and ones held out, or None -> the figures, the pairs (number
    of a fake, number of its nearest training image) that are nearest to each other, and what is to be said of
    them. `rows`: which of the training images the fakes are compared with as a set."""
    found, pairs, caveats = {}, [], []
    real, fake = training[rows], every_fake[: len(rows)]  # sets of one size: more of either would look better
    if "fid" in wanted:
        found["fid"] = metrics.frechet_distance(metrics.Moments(real), metrics.Moments(fake))
    if "kid" in wanted:
        found["kid"], found["kid_ci95"] = metrics.kernel_distance(real, fake)
    if "prdc" in wanted:
        with unless_too_few("precision, recall, density and coverage", caveats):
            count = distinct_count(real)
            if count < len(real):
                caveats.append(
                    f"{count:,} of {len(real):,} real images are distinct: prdc is of those and as "
                    "many generated ones"
                )
            found |= metrics.neighbourhoods(real, fake[:count])
    if "memorisation" in wanted:
        with unless_too_few("memorised", caveats):
            distinct_count(training)
            found["memorised"], numbers, ratio = metrics.memorisation(training, every_fake, new)
            pairs = [(int(i), int(numbers[i])) for i in ratio.argsort()[:PAIRS]]
    return found, pairs, caveats


def distinct_count(real: np.ndarray) -> int:
    count = len(metrics.distinct(real))
    if count < FEWEST:
        raise ValueError(
            f"expected at least {FEWEST} distinct real images, received {count} among {len(real):,}"
        )
    return count


@contextlib.contextmanager
def unless_too_few(figures: str, caveats: list[str]):
    """A figure for which there are too few distinct images, real or generated, is not given, and it is said
    why."""
    try:
        yield
    except ValueError as error:
        caveats.append(f"no {figures}: {error}")


def notes(result: dict) -> list[str]:
    found, few = [], result["images"]["fake"]
    if "fid" in result["metrics"] and few < FEW:
        found.append(f"fid of {few:,} images is too high by chance; kid is not: prefer it below {FEW:,}")
    if result["metrics"].get("memorised", 0) > 0.1:
        found.append(
            "more generated images than by chance lie close to a training image: look at the pairs "
            "on the page"
        )
    return found


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


# ------------------------------------------------------------------------
# page


def page(result: dict, real: np.ndarray, fake: np.ndarray, pairs: list[tuple[int, int]], run: Path) -> str:
    """One file of HTML, with its pictures inside."""
    sets = {"Generated": fake, "Real": real}
    parts = [
        f"<h1>{html.escape(result['run'])}</h1><pre>{html.escape(table(result))}</pre>",
        *(
            figure(title, images.grid(some[feed.preview_rows(len(some), min(64, len(some)))], 8))
            for title, some in sets.items()
        ),
    ]
    if pairs:
        both = np.stack([fake[[i for i, _ in pairs]], real[[j for _, j in pairs]]])
        title = "The generated images nearest to a training image (above), and that image (below)"
        parts.append(figure(title, images.grid(both.reshape(-1, *both.shape[2:]), len(pairs))))
    parts += [curve(run / "metrics.jsonl", name) for name in ("swd", "d_loss", "g_loss")]
    style = "body{font:16px system-ui;max-width:960px;margin:2em auto;padding:0 1em;color-scheme:light dark}"
    style += "img{image-rendering:pixelated;max-width:100%}figure{margin:1em 0}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(result["run"])}</title><style>{style}</style>'
    return f"{head}{''.join(parts)}</html>\n"


def figure(title: str, picture: np.ndarray) -> str:
    file = io.BytesIO()
    images.to_pillow(picture).save(file, format="PNG")
    source = base64.b64encode(file.getvalue()).decode()
    return f'<figure><figcaption>{title}</figcaption><img alt="{title}" src="data:image/png;base64,{source}"></figure>'


def curve(file: Path, name: str) -> str:
    """A column of metrics.jsonl over kimg, as SVG; nothing where it is not there."""
    points = [(row["kimg"], row[name]) for row in read_rows(file) if name in row]
    if len(points) < 2:
        return ""
    x, y = np.array(points).T
    low, high = float(y.min()), float(y.max())
    across, down = 600 * x / x.max(), 120 - 110 * (y - low) / max(high - low, 1e-9)
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down))
    drawn = f'<polyline fill="none" stroke="#e8710a" stroke-width="2" points="{line}"/>'
    drawn = f'<svg viewBox="0 0 600 125" width="100%">{drawn}</svg>'
    return f"<figure><figcaption>{name}: {low:.3g} to {high:.3g} over {x.max():g} kimg</figcaption>{drawn}</figure>"


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
