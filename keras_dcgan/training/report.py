"""report.html: a run on one page, which needs no network and no server: settings, curves, grids of samples over
time, what was left out and what went wrong.

    write(Run("runs/imgs"))         # runs/imgs/report.html, below 3 MB however long the run

All of it comes from the run's other files, so it can be written at any time.
"""

import base64
import collections
import dataclasses
import datetime
import errno
import functools
import html
import io
import re
import string
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from PIL import Image

from keras_dcgan import files
from keras_dcgan.config import GROUPS, TrainConfig, as_begun, as_text, unasked
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.prepare import printable
from keras_dcgan.errors import argument, counted, spelled
from keras_dcgan.pictures.charts import STYLE, chart
from keras_dcgan.progress import duration
from keras_dcgan.runs.directory import Run
from keras_dcgan.training import watchdog
from keras_dcgan.training.records import BAD_IMAGES, GRID_SIDE
from keras_dcgan.training.ticks import Tick

TEMPLATE = string.Template(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SHARE = 0.01  # of a training's time that its report may take
GRID = re.compile(r"(\d{6,}(?:\.\d+)?)kimg\.png")
MOST_GRIDS = 24
MOST_BYTES = 2_300_000  # of all images in the page
SIDE = 768  # pixels; a larger grid is made smaller
SHARP = 512  # pixels; a smaller grid is enlarged pixel by pixel
# What lists show: the page must stay small, whatever was left out.
LONGEST = 160  # characters of a name
REASONS, NAMES, CLASSES, ALARMS, COLUMNS = 10, 5, 20, 8, 40

# title, columns and what they are called, values that the y axis includes
CHARTS: list[tuple[str, dict[str, str], tuple[float, ...]]] = [
    ("swd (lower is better)", {"swd": "swd"}, (0,)),
    ("Against real images (1: the same)", {"spread": "spread", "sharpness": "sharpness"}, (1,)),
    ("Losses", {"d_loss": "discriminator", "g_loss": "generator"}, ()),
    ("The discriminator's accuracy", {"real_acc": "on real", "fake_acc": "on generated"}, (0, 1)),
    ("Images per second", {"img_per_s": "images/s"}, (0,)),
]
COUNTERS = ("tick", "step", "kimg", "seconds", "rollbacks")  # columns that are no curves


class Report:
    """Keeps the page of a training up to date: at the end of every tick, or of fewer where that would take more
    than SHARE of the time. A page that cannot be written is told once and ends no training."""

    def __init__(self, run: Run, warn: Callable[[str], None], spell: Callable[[str], str]):
        self.run, self.warn, self.spell = run, warn, spell
        self.due = 0.0
        self.is_told = False

    def __call__(self, tick: Tick):
        if time.perf_counter() >= self.due:
            self.write(tick.rows)

    def write(self, rows: list[dict] | None = None, problem: str = ""):
        began = time.perf_counter()
        try:
            write(self.run, rows, problem, self.spell)
        except OSError as error:
            # The checkpoint, which comes next, ends the training on a full disk, and says so.
            is_said = problem or (rows is not None and error.errno in FULL)
            if not (self.is_told or is_said):
                self.is_told = True
                self.warn(f"warning: {self.run.report} cannot be written: {error.strerror or error}")
        now = time.perf_counter()
        self.due = now + (now - began) / SHARE


def write(
    run: Run,
    rows: list[dict] | None = None,
    problem: str = "",
    spell: Callable[[str], str] = spelled,
):
    """Writes run.report. rows: those of metrics.jsonl, where they are at hand. problem: what has stopped the
    training. spell: how to name settings. Raises Refused where the run cannot be read, OSError where the page
    cannot be written."""
    text = page(run, run.metrics if rows is None else rows, problem, spell)
    with files.replacing(run.report, is_synced=False) as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def page(run: Run, rows: list[dict], problem: str, spell: Callable[[str], str]) -> str:
    config, manifest = run.config, run.manifest
    reached = rows[-1]["kimg"] if rows else None
    went_wrong = [(f"At {kimg:g} kimg", spell(what)) for kimg, what in reversed(watchdog.began(rows))]
    if problem:
        went_wrong.insert(0, ("Stopped", problem))
    reals = figure(run.samples / "reals.png", "Real images")
    curves, more_curves = all_charts(rows)
    chosen, versions = run.about("chosen"), run.about("versions") or {}
    return TEMPLATE.substitute(
        chart_style=STYLE,
        run=escaped(str(run.path)),
        state=state(config, rows, problem),
        reached=f"{reached or 0:g}",
        total=f"{max(config.kimg, reached or 0):g}",
        facts=facts(config, manifest, rows, len(went_wrong)),
        alarms=alarms(went_wrong),
        grids=grids(run.samples, reached, MOST_BYTES - len(reals)),
        reals=reals,
        about_samples=about_samples(manifest.classes),
        curves=curves or "<p>The first tick is not over yet.</p>",
        more_curves=more_curves,
        axis=f"{reached or 1:g}",
        images=about_images(manifest),
        chosen=f"<p>{escaped(str(chosen), 2000)}</p>" if chosen else "",
        settings=settings(run, manifest.count, spell),
        versions=escaped(" · ".join(f"{name} {version}" for name, version in versions.items()), 1000),
    )


def escaped(text: str, longest: int = LONGEST) -> str:
    """A file name may hold anything: markup, what no page can show, 4,000 characters."""
    text = printable(text)
    return html.escape(text if len(text) <= longest else f"{text[: longest // 2]}…{text[-longest // 2 :]}")


def listed(items: Sequence[str], most: int) -> str:
    """'a, b, c and 1,204 more'"""
    shown = ", ".join(map(escaped, items[:most]))
    return f"{shown} and {len(items) - most:,} more" if len(items) > most else shown


def state(config: TrainConfig, rows: list[dict], problem: str) -> str:
    at = f"{datetime.datetime.now().astimezone():%d %B %Y, %H:%M %Z}"
    if problem:
        return f"Stopped. Written on {at}."
    if rows and rows[-1]["step"] >= config.total_steps:
        return f"Finished. Written on {at}."
    return f"Written on {at}. Reload the page to see what is new."


def facts(config: TrainConfig, manifest: Manifest, rows: list[dict], troubles: int) -> str:
    """What one looks for first."""
    last = rows[-1] if rows else {}
    found = [("Shown", f"{last.get('kimg', 0):g}", f"of {config.kimg:g} kimg")]
    if last.get("img_per_s"):
        left = max(0, config.kimg - last["kimg"]) * 1000 / last["img_per_s"]
        found.append(("Time", duration(last["seconds"]), f"about {duration(left)} left" if left else ""))
        found.append(("Speed", f"{last['img_per_s']:,.0f}", "images/s"))
    if "swd" in last:
        lowest = lowest_row(rows)
        found.append(("swd", f"{last['swd']:.1f}", f"lowest {lowest['swd']:.1f} at {lowest['kimg']:g} kimg"))
    left_out = f"{len(manifest.left_out):,} left out" if manifest.left_out else "none left out"
    found.append(("Images", f"{manifest.count:,}", left_out))
    found.append(("Alarms", f"{troubles:,}" if troubles else "none", ""))
    return "".join(
        f"<div><dt>{name}</dt><dd>{value} <small>{more}</small></dd></div>" for name, value, more in found
    )


def lowest_row(rows: list[dict]) -> dict:
    return min((row for row in rows if "swd" in row), key=lambda row: row["swd"])


def alarms(went_wrong: Sequence[tuple[str, str]]) -> str:
    """The newest first."""
    if not went_wrong:
        return ""
    items = [f"<li><b>{when}</b>: {escaped(what, 1000)}" for when, what in went_wrong[:ALARMS]]
    if len(went_wrong) > ALARMS:
        items.append(f"<li>and {len(went_wrong) - ALARMS:,} before")
    return f'<div class="alarms"><ul>{"".join(items)}</ul>What to do: {BAD_IMAGES}</div>'


# ------------------------------------------------------------------------
# samples


def grids(folder: Path, reached: float | None, room: int) -> str:
    """The grids of up to `reached` kimg, evenly thinned until they have at most `room` bytes; always the last.
    Every second one, fourth, ... is kept, so that a longer run needs none that it did not have before."""
    named = [(GRID.fullmatch(file.name), file) for file in folder.glob("*kimg.png")]
    found = sorted((float(match[1]), file) for match, file in named if match)
    if reached is not None:  # beyond lies what a killed training drew after its last checkpoint
        found = [(kimg, file) for kimg, file in found if kimg <= reached + 0.001]
    every = 1
    while True:
        chosen = found[::every] + (found[-1:] if len(found) % every != 1 and every > 1 else [])
        if len(chosen) <= MOST_GRIDS:
            shown = [figure(file, f"Samples after {kimg:g} kimg", f"{kimg:g}") for kimg, file in chosen]
            if sum(map(len, shown)) <= room:
                return "".join(shown) or "<p>None yet.</p>"
            if every >= len(found):  # nothing but noise
                return shown[-1]
        every *= 2


def figure(file: Path, caption: str, kimg: str = "") -> str:
    head = f'<figure data-kimg="{kimg}"><figcaption>{caption}</figcaption>'
    try:
        source, width, height = encoded(file, file.stat().st_mtime_ns)
    except Exception:  # Pillow raises anything on damaged bytes, and an image is no reason to lose the page
        return f"{head}<p>{file.name} cannot be read.</p></figure>"
    sharp = ' class="sharp"' if max(width, height) < SHARP else ""
    return f'{head}<img{sharp} alt="{caption}" width="{width}" height="{height}" src="{source}"></figure>'


@functools.lru_cache(2 * MOST_GRIDS)  # of all grids of a page only the last is new
def encoded(file: Path, changed: int) -> tuple[str, int, int]:
    """-> a data URI, width and height. `changed`: the file's time, for the cache."""
    with Image.open(file) as image:
        image.thumbnail((SIDE, SIDE))
        content = io.BytesIO()
        # A grid of 64 faces of 64x64: 66 kB (PNG 502, JPEG of the same quality 110) in 20 ms.
        image.save(content, "WEBP", quality=85, method=2)
        return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}", *image.size


def about_samples(classes: list[str]) -> str:
    about = "Always of the same latents, here compressed; samples/ has the originals."
    if classes:
        columns = [classes[column % len(classes)] for column in range(GRID_SIDE)]
        about += f" The columns, from left to right: {listed(columns, GRID_SIDE)}."
    return about


# ------------------------------------------------------------------------
# curves, data, settings


def all_charts(rows: list[dict]) -> tuple[str, str]:
    """-> those that everybody looks at, and those of the other columns, grouped as swd_64, swd_32, ..."""
    shown = ""
    for title, names, bounds in CHARTS:
        lowest = lowest_row(rows) if "swd" in names and any("swd" in row for row in rows) else None
        note = f"lowest {lowest['swd']:.1f} at {lowest['kimg']:g} kimg" if lowest else ""
        shown += chart(title, rows, names, bounds, note)
    known = {*COUNTERS, *(name for _, names, _ in CHARTS for name in names)}
    others = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in known]
    groups = collections.defaultdict(dict)
    for name in others[:COLUMNS]:
        groups[re.sub(r"_\d+$", "", name)[:LONGEST]][name] = name[:LONGEST]
    more = "".join(chart(title, rows, names) for title, names in groups.items())
    return shown, more and f'<details><summary>More</summary><div class="charts">{more}</div></details>'


def about_images(manifest: Manifest) -> str:
    height, width, channels = manifest.shape
    about = f"<p>{counted(manifest.count, 'image')} of {height}x{width}x{channels} from {escaped(manifest.source)}"
    if classes := manifest.classes:
        about += f" in {counted(len(classes), 'class')}: {listed(classes, CLASSES)}"
    names = collections.defaultdict(list)
    for item in manifest.left_out:
        names[item["reason"]].append(item["file"])
    reasons = sorted(names.items(), key=lambda row: (-len(row[1]), row[0]))
    if reasons:
        items = [
            f"<li><b>{len(those):,} {escaped(reason)}</b>: {listed(those, NAMES)}"
            for reason, those in reasons[:REASONS]
        ]
        if rest := sum(len(those) for _, those in reasons[REASONS:]):
            items.append(f"<li>and {rest:,} for other reasons: data.json has them")
        about += f"<h3>{counted(len(manifest.left_out), 'file')} left out</h3><ul>{''.join(items)}</ul>"
    if same := manifest.duplicates:
        pairs = [f"{pair['file']} = {pair['same_as']}" for pair in same]
        about += f"<h3>{counted(len(same), 'exact duplicate')}, kept</h3><p>{listed(pairs, NAMES)}"
    if small := [item["file"] for item in manifest.small]:
        about += (
            f"<h3>{len(small):,} smaller than half of {height}x{width}, kept</h3><p>{listed(small, NAMES)}"
        )
    return about + "".join(f"<p>{escaped(note, 1000)}" for note in manifest.notes[:REASONS])


def settings(run: Run, images: int, spell: Callable[[str], str]) -> str:
    """A table for each group; bold what the preset would not take by itself."""
    config = run.config
    usual = unasked(config, as_begun(config.preset, run.settings), images)
    found = ""
    for group in GROUPS:
        found += f"<table><caption>{group}</caption>"
        for row in dataclasses.fields(TrainConfig):
            if row.metadata["group"] != group or row.name == "dry_run":  # which leaves no run
                continue
            value = getattr(config, row.name)
            is_usual = row.name in ("data", "run", "preset") or value == getattr(usual, row.name)
            found += f"<tr{'' if is_usual else ' class=changed'}><th>{spell(argument(row.name))}"
            found += f"<td>{escaped(as_text(value))}"
        found += "</table>"
    return found
