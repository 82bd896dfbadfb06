import html.parser
import json
import os
import re
import shutil

import numpy as np
import pytest
from conftest import discs

from keras_dcgan.config import TrainConfig
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.pictures import images
from keras_dcgan.runs.directory import Run
from keras_dcgan.training import report
from keras_dcgan.training.records import kimg_name
from keras_dcgan.training.ticks import Tick

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
NASTY = "<img src='http://x/y.png' onerror='alert(1)'>"


def rows(count):
    means = {"d_loss": 0.5, "g_loss": 1.25, "real_acc": 0.75, "fake_acc": 0.75}
    return [
        {
            "tick": n,
            "step": n,
            "kimg": 1.0 * n,
            "seconds": 2.0 * n,
            "img_per_s": 500.0,
            **means,
            "swd": 30.0 - n,
        }
        for n in range(1, count + 1)
    ]


@pytest.fixture
def run(tmp_path):
    """run(rows, kimgs of the grids, what data.json says besides)."""

    def make(rows, kimgs=(), pictures=None, **about):
        folder = tmp_path / "a <run> & more"
        config = TrainConfig(data="x", batch=1000, tick_kimg=1, kimg=100, g_lr=0.03)
        manifest = {
            "classes": [],
            "fingerprint": "0",
            "size": (8, 8),
            "channels": 3,
            "count": 9,
            "source": "x",
        }
        content = {
            "config.json": {"schema": 1, "settings": config.to_json(), "versions": {"keras": "3.15"}},
            "data.json": Manifest(**manifest | about).to_json(),
        }
        folder.mkdir(exist_ok=True)
        for name, value in content.items():
            (folder / name).write_text(json.dumps(value))
        (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        grid = images.grid(discs(4, 8) if pictures is None else pictures)
        for name in ["reals", *map(kimg_name, kimgs)]:
            images.save(grid, folder / "samples" / f"{name}.png")
        return Run(folder)

    return make


def written(run):
    report.write(run)
    return run.report.read_text(encoding="utf-8")


def kimgs(page):
    return [float(kimg) for kimg in re.findall(r'<figure data-kimg="([\d.]+)">', page)]


class Tags(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def test_the_page_is_one_file_that_asks_no_network_and_shows_names_as_names(run):
    many = [{"file": f"{NASTY}{n}\n\udce9" + "y" * 4000, "reason": "truncated"} for n in range(1209)]
    classes = ["cat", NASTY, *map(str, range(300))]
    page = written(run(rows(3), [0, 1, 2, 3], classes=classes, left_out=many, source=NASTY, notes=[NASTY]))
    tags = Tags(page).found
    assert {tag for tag, _ in tags} & {"iframe", "object", "base"} == set()
    addresses = [
        value for _, attributes in tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert len(addresses) == 6 and all(address.startswith("data:") for address in addresses)
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert sum(tag == "script" for tag, _ in tags) == 1
    assert "<h1>" in page and "a &lt;run&gt; &amp; more</h1>" in page
    assert "<b>1,209 truncated</b>" in page and " and 1,204 more" in page and " and 282 more" in page
    assert "--" not in re.findall("<th>(.*?)<td>0.03", page)[0]  # in Python settings have no dashes
    assert "<tr class=changed><th>g_lr<td>0.03" in page and "<tr><th>d_lr<td>0.0002" in page
    assert "keras 3.15" in page and len(page) < 100_000


def test_curves_show_every_column_and_alarms_are_told_from_the_rows(run):
    bad = {"swd": 40.0, "spread": 0.01, "swd_16": 3.5, "novel": 1}
    page = written(run([row | (bad if row["step"] > 3 else {}) for row in rows(7)]))
    assert "lowest 27.0 at 3 kimg" in page and "swd 40" in page
    assert "swd_16 3.5" in page and "novel 1" in page and "tick 7" not in page
    told = re.findall("<li><b>(.*?)</b>: (.*?) ", page)
    assert told == [("At 6 kimg", "collapse:")] and "docs/bad-images.md" in page
    assert 'alarms"><ul>' not in written(run(rows(7)))


def test_grids_are_thinned_evenly_to_what_the_page_can_hold(run, monkeypatch):
    assert (
        kimgs(written(run(rows(50), range(51)))) == [*range(0, 49, 4), 50] == sorted({*range(0, 51, 4), 50})
    )


def test_images_have_room_however_many_and_noisy_they_are(run, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)
    there = run(rows(24), range(24), noise)
    assert kimgs(written(there)) == [*range(24)]
    monkeypatch.setattr(report, "MOST_BYTES", 60_000)
    page = written(there)
    assert (
        kimgs(page) == [*range(0, 24, 4), 23] and sum(map(len, re.findall("data:image.*?>", page))) < 60_000
    )
    monkeypatch.setattr(report, "SIDE", 32)  # a larger grid is made smaller
    report.encoded.cache_clear()
    assert 'width="32" height="32"' in written(there) and len(kimgs(written(there))) == 24


def test_what_lies_beyond_the_last_row_is_not_shown_and_what_is_damaged_is_named(run):
    there = run(rows(3), [0, 1, 2, 3, 4, 0.5])
    (there.samples / "000001kimg.png").write_bytes(b"damaged")
    (there.samples / "mykimg.png").write_bytes(b"not ours")
    page = written(there)
    assert kimgs(page) == [0, 0.5, 1, 2, 3] and page.count("data:image/webp") == 5
    assert page.count("000001kimg.png cannot be read") == 1 and "mykimg" not in page
    shutil.rmtree(there.samples)
    assert "reals.png cannot be read" in written(there)


def test_a_run_that_has_just_begun_has_a_page(run):
    page = written(run([], [0]))
    assert kimgs(page) == [0] and "The first tick is not over yet" in page and "NaN" not in page


def test_a_page_that_cannot_be_written_is_told_once_and_ends_nothing(run):
    warned, there = [], run(rows(3))
    there.report.mkdir()
    keep = report.Report(there, warned.append, str)
    keep.write()
    keep.write([])
    keep.write(problem="what the screen says already")
    assert len(warned) == 1 and warned[0].startswith(f"warning: {there.report} cannot be written: ")
    assert os.listdir(there.report) == [] and not list(there.path.glob(".*.part"))


def test_the_page_takes_one_hundredth_of_the_time_at_most(run, monkeypatch):
    clock, wrote = [0.0], []

    def write(run, rows, *_):
        wrote.append(clock[0])
        clock[0] += 0.5

    monkeypatch.setattr(report, "write", write)
    monkeypatch.setattr(report.time, "perf_counter", lambda: clock[0])
    keep = report.Report(run([]), print, str)
    for _ in range(30):
        keep(Tick({}, []))
        clock[0] += 10.0
    assert wrote == [0, 50.5, 101, 151.5, 202, 252.5]


@pytest.mark.skipif(
    not os.environ.get("TEST_EVERYTHING"), reason="a browser is tested with TEST_EVERYTHING=1 only"
)
def test_the_scrubber_shows_one_grid_at_a_time_and_without_javascript_all(run):
    from playwright.sync_api import sync_playwright

    there, complaints = run(rows(3), [0, 1, 2, 3]), []
    written(there)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for has_script in (True, False):
            context = browser.new_context(
                viewport={"width": 390, "height": 844}, java_script_enabled=has_script
            )
            page = context.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(there.report.as_uri())
            grids = page.locator(".strip img")
            shown = [grids.nth(number).is_visible() for number in range(grids.count())]
            assert shown == ([False, False, False, True] if has_script else [True] * 4)
            assert page.locator("input").is_visible() == has_script
            if has_script:
                page.locator("input").focus()
                page.keyboard.press("ArrowLeft")
                assert page.locator(".strip figcaption:visible").inner_text() == "Samples after 2 kimg"
                assert page.evaluate("[innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        browser.close()
    assert complaints == []
