"""`python -m tools.bench.page docs/bench/*.json`: writes what the benches found into docs/benchmarks.md, between
its two marks.

Each file is what `python -m tools.bench VERB --json F` left. What was not measured is not in the tables.
"""

import json
import pathlib
import sys

from keras_dcgan import cli
from tools.bench.launches import FORMS, PRESETS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by tools.bench.page -->\n", "<!-- until here -->\n"


def main(arguments: list[str] | None = None) -> int:
    names = arguments or sys.argv[1:]
    if not names:
        cli.fail("page", "expected records such as docs/bench/*.json, received none")
    records = [json.loads(pathlib.Path(name).read_text(encoding="utf-8")) for name in names]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + BEGIN + section(records) + END + after, encoding="utf-8")
    return 0


def section(records: list[dict]) -> str:
    """The records of all verbs -> markdown. Records of one verb become rows of one table."""
    found = [
        write([record for record in records if record["bench"] == name]) for name, write in TABLES.items()
    ]
    return "\n".join(["", *(text for text in found if text)]) + "\n"


def table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines) + "\n"


def caption(records: list[dict], most: int = 3) -> str:
    """`most` of the commands: of many the others are told by their rows."""
    commands = ", ".join(f"`{record['command']}`" for record in records[:most]) + " and the like," * (
        len(records) > most
    )
    return f"\n*{commands} on {machine(records[0])}.*\n"


def machine(record: dict) -> str:
    return record["machine"].partition(", load")[0]


def step(records: list[dict]) -> str:
    """Against others, a table for each machine and preset, and how it grows."""
    raced = sorted(
        (record for record in records if "torch_img_per_s" in record), key=lambda record: record["size"]
    )

    def field(record: dict) -> tuple[str, str]:
        return machine(record), record.get("preset", "paper")

    races = [[record for record in raced if field(record) == one] for one in dict.fromkeys(map(field, raced))]
    needed = {"step_gflop_per_image", "ours_float32_img_per_s"}
    alone = [record for record in records if "torch_img_per_s" not in record and needed <= record.keys()]
    return "\n".join([*map(race, races), *([growth(alone)] if alone else [])])


def race(records: list[dict]) -> str:
    rows, are_alike = [], len({record["batch"] for record in records}) == 1
    for record in records:
        ours = "ours_auto" if record.get("auto_is") == "mixed_bfloat16" else "ours_float32"
        best = next(name for name in record if name.startswith(f"{ours}_times_best_of_torch"))
        peak = f"{ours}_share_of_peak_{'bfloat16' if ours == 'ours_auto' else 'float32'}"
        rows.append(
            [
                f"{record['size']}x{record['size']}"
                + ("" if are_alike else f", batches of {record['batch']}"),
                f"{rate(record[ours + '_img_per_s'])} images/s, {'bfloat16' if ours == 'ours_auto' else 'float32'}",
                f"{rate(record['torch_img_per_s'])}, **{record[ours + '_times_torch']:.2f}x**",
                f"**{record[best]:.2f}x** ({best.partition('(torch')[2][:-1].strip('_').replace('_', ' ') or 'as it is'})",
                f"{rate(record['keras_as_usual_img_per_s'])}, {record[ours + '_times_keras_as_usual']:.2f}x"
                if "keras_as_usual_img_per_s" in record
                else "-",
                f"{record[peak]:.0%}" if peak in record else "-",
            ]
        )
    header = [
        f"one step of `{records[0].get('preset', 'paper')}`",
        "here",
        "PyTorch in the form of its DCGAN example",
        "the best of its forms",
        "Keras as usual",
        "share of measured peak",
    ]
    return table(header, rows) + caption(records)


def rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


def growth(records: list[dict]) -> str:
    records = sorted(records, key=lambda record: record["step_gflop_per_image"])
    rows = [
        [
            f"{record['size']}x{record['size']}",
            record["filters"],
            record["batch"],
            f"{record['step_gflop_per_image']:.1f}",
            f"{record['ours_float32_img_per_s']:.1f}",
            f"{1000 / record['ours_float32_img_per_s']:.0f} s",
        ]
        for record in records
    ]
    return table(
        ["a step of `paper`, float32", "filters", "batch", "GFLOP an image", "images/s", "a kimg takes"], rows
    ) + caption(records, 1)


def launches(records: list[dict]) -> str:
    def counts(record: dict, preset: str, form: str) -> str:
        kinds = ("convolutions", "products")
        return ", ".join(f"{record[f'{preset}_as_{form}_{kind}']} {kind}" for kind in kinds)

    rows = [
        [f"`{preset}`, {record['size']}x{record['size']}", *(counts(record, preset, form) for form in FORMS)]
        for record in records
        for preset in PRESETS
    ]
    header = ["one step on a GPU, counted, not timed", "of Keras' own layers", "all written as products"]
    return table(header, rows) + caption(records) if rows else ""


def whole(records: list[dict]) -> str:
    rows = [
        [
            f"{record.get('tick_kimg', 8):g} kimg",
            f"{rate(record['fit_img_per_s'])} images/s",
            f"{record['fit_times_bare_step']:.0%} of {rate(record['bare_step_img_per_s'])}",
            f"{record['swd_share_of_a_tick']:.1%}",
        ]
        for record in records
    ]
    header = [
        "a tick",
        "`fit`, with its ticks, samples, metrics and checkpoints",
        "of the bare step's",
        "the metrics take",
    ]
    return table(header, rows) + caption(records) if rows else ""


def startup(records: list[dict]) -> str:
    names = {
        "fit_help_s": "`fit --help`",
        "fit_to_its_first_step_s": "`fit` on prepared data, to its first finished step",
        "import_of_tensorflow_and_keras_s": "of which the import of TensorFlow and Keras",
        "sample_one_picture_s": "`sample`, to the first image",
        "edge_sample_16_pictures_s": "`edge_sample.py`, 16 images",
    }
    rows = [[text, f"{record[name]:.2f} s"] for record in records[-1:] for name, text in names.items()]
    return table(["from the command to", "64x64, 64 filters"], rows) + caption(records) if rows else ""


def memory(records: list[dict]) -> str:
    users = {
        "evaluate_10000_samples": "`evaluate`, 10,000 samples",
        "sample_10000_seeds": "`sample`, 10,000 images",
        "sample_a_walk": "`sample`, a walk through 16",
    }
    rows = []
    for record in sorted(records, key=lambda record: record["minutes"]):
        for count in (int(name.partition("_")[0]) for name in record if name.endswith("_images_peak_mb")):
            peak, growth = (record[f"{count}_images_{name}"] for name in ("peak_mb", "growth_mb_per_hour"))
            growth = (
                f"{growth:+.0f} MB an hour" if record["minutes"] >= 30 else ""
            )  # in the first minutes all of it warms up
            rows.append([f"`fit`, {count:,} images, {record['minutes']:g} minutes", gigabytes(peak), growth])
    for name, text in users.items():
        peaks = [record[f"{name}_peak_mb"] for record in records if f"{name}_peak_mb" in record]
        rows += [[text, gigabytes(max(peaks)), ""]] if peaks else []
    return (
        table(["memory, 64x64, 64 filters, batch 64", "at most, mapped files included", "growth"], rows)
        + caption(records)
        if rows
        else ""
    )


def gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.2f} GB"


def edge(records: list[dict]) -> str:
    text = ""
    for record in records[-1:]:
        files = [name.removesuffix("_mb") for name in record if name.endswith("_mb")]
        rows = [
            [f"`generator_{name}.tflite`", f"{record[f'{name}_mb']:.2f}"]
            + [f"{record[f'{name}_{threads}_ms']:.2f}" for threads in ("1_thread", "2_threads")]
            for name in files
        ]
        peers = [name for name in record if name.endswith("_ms") and not name.startswith(tuple(files))]
        rows += [
            [name.removesuffix("_ms").replace("_", " "), "", f"{record[name]:.2f}", ""]
            for name in sorted(peers, key=record.get)
        ]
        text = table(
            ["drawing one image, 64x64, 64 filters", "MB", "ms, 1 thread", "ms, 2 threads"], rows
        ) + caption(records)
    return text


TABLES = {
    "train": step,
    "launches": launches,
    "fit": whole,
    "startup": startup,
    "memory": memory,
    "edge": edge,
}


if __name__ == "__main__":
    raise SystemExit(main())
