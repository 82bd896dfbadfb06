import json
import sys
from pathlib import Path

import pytest

from tools.bench import page

ROOT = Path(__file__).parent.parent.parent
STEP = {
    "bench": "train",
    "command": "python -m tools.bench train",
    "machine": "2 cores of X, load 0.3",
    "size": 64,
    "filters": 32,
    "batch": 16,
    "step_gflop_per_image": 2.27,
    "ours_float32_img_per_s": 50.0,
}
RACED = STEP | {
    "torch_img_per_s": 40.0,
    "keras_as_usual_img_per_s": 25.0,
    "ours_float32_share_of_peak_float32": 0.912,
    "ours_float32_times_torch": 1.25,
    "ours_float32_times_keras_as_usual": 2.0,
    "ours_float32_times_best_of_torch (torch_compiled)": 1.125,
}


def test_the_page_says_what_the_records_say():
    records = [json.loads(path.read_text()) for path in sorted((ROOT / "docs" / "bench").glob("*.json"))]
    text = page.PAGE.read_text()
    assert text.partition(page.BEGIN)[2].partition(page.END)[0] == page.section(records)


def test_a_race_is_a_row_and_so_is_a_step_alone():
    text = page.section([RACED, STEP])
    assert "| 64x64 | 50 images/s, float32 | 40, **1.25x** | **1.12x** (compiled) | 25, 2.00x | 91% |" in text
    assert "| 64x64 | 32 | 16 | 2.3 | 50.0 | 20 s |" in text
    assert text.count("*`python -m tools.bench train` on 2 cores of X.*") == 2


def test_each_machine_has_a_table_of_its_own():
    gpu = RACED | {
        "machine": "NVIDIA Y, 16 cores of X, load 1.0",
        "ours_float32_times_best_of_torch (torch_compiled)": 0.5,
    }
    text = page.section([gpu, RACED, RACED | {"machine": "2 cores of X, load 0.9", "size": 128}])
    assert text.count("| one step of `paper` |") == 2
    places = [
        "| **0.50x** ",
        "on NVIDIA Y, 16 cores of X.*",
        "| **1.12x** ",
        "| 128x128 |",
        "on 2 cores of X.*",
    ]
    assert sorted(places, key=text.index) == places


def test_each_preset_has_a_table_of_its_own():
    auto = {name: value for name, value in RACED.items() if "keras" not in name and "peak" not in name}
    text = page.section([RACED, auto | {"preset": "auto"}])
    assert text.index("| one step of `paper` |") < text.index("| one step of `auto` |")
    assert "| 64x64 | 50 images/s, float32 | 40, **1.25x** | **1.12x** (compiled) | - | - |" in text


def test_small_rates_have_a_decimal():
    assert "| 19.5 images/s, float32 | 14,321, **1.25x** |" in page.section(
        [RACED | {"ours_float32_img_per_s": 19.5, "torch_img_per_s": 14321.0}]
    )


def test_auto_stands_where_it_is_bfloat16_and_not_where_it_is_float32_once_more():
    auto = {
        name.replace("ours_float32", "ours_auto").replace("peak_float32", "peak_bfloat16"): value
        for name, value in RACED.items()
    }
    auto |= RACED | {"ours_auto_img_per_s": 80.0, "ours_auto_times_torch": 1.6}
    assert "| 64x64 | 80 images/s, bfloat16 | 40, **1.60x** |" in page.section(
        [auto | {"auto_is": "mixed_bfloat16"}]
    )
    assert "| 64x64 | 50 images/s, float32 | 40, **1.25x** |" in page.section([auto | {"auto_is": "float32"}])


def test_memory_is_told_by_images_and_minutes_and_so_is_what_the_other_commands_hold():
    record = {"bench": "memory", "machine": "2 cores of X, load 0.3", "command": "C", "minutes": 5}
    hour = record | {"minutes": 60, "50000_images_peak_mb": 1500.0, "50000_images_growth_mb_per_hour": -1.6}
    short = record | {
        "2000_images_peak_mb": 1234.5,
        "2000_images_growth_mb_per_hour": 7.2,
        "sample_a_walk_peak_mb": 700.0,
    }
    assert page.section([hour, short]).splitlines()[3:6] == [
        "| `fit`, 2,000 images, 5 minutes | 1.23 GB |  |",
        "| `fit`, 50,000 images, 60 minutes | 1.50 GB | -2 MB an hour |",
        "| `sample`, a walk through 16 | 0.70 GB |  |",
    ]


def test_a_whole_training_is_told_by_its_bare_step():
    record = {"bench": "fit", "machine": "2 cores of X, load 0.3", "command": "C"}
    record |= {"fit_img_per_s": 43.21, "bare_step_img_per_s": 44.5, "swd_share_of_a_tick": 0.0123}
    record |= {"fit_times_bare_step": 0.9712, "tick_kimg": 1.0}
    assert "| 43 images/s | 97% of 44 | 1.2% |" in page.section([record])


def test_what_was_not_measured_has_no_table():
    assert page.section([]) == "\n"
    assert "from the command to" not in page.section([RACED])
    of_ours_alone = {
        name: value for name, value in RACED.items() if name in ("bench", "machine", "command", "size")
    }
    assert page.section([of_ours_alone | {"ours_auto_img_per_s": 80.0}]) == page.section([])


def test_without_records_the_tables_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    page.PAGE.write_text(f"{page.BEGIN}old{page.END}")
    monkeypatch.setattr(sys, "argv", ["page"])
    with pytest.raises(SystemExit, match="2"):
        page.main()
    assert "old" in page.PAGE.read_text() and capsys.readouterr().err.startswith("page: expected records")


def test_what_stands_around_it_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", tmp_path / "benchmarks.md")
    page.PAGE.write_text(f"before\n{page.BEGIN}old{page.END}after\n")
    (tmp_path / "a.json").write_text(json.dumps(RACED))
    assert page.main([str(tmp_path / "a.json")]) == 0
    written = page.PAGE.read_text()
    assert (
        written.startswith("before\n" + page.BEGIN)
        and written.endswith(page.END + "after\n")
        and "old" not in written
    )
    page.main([str(tmp_path / "a.json")])
    assert page.PAGE.read_text() == written


def test_races_with_other_batches_say_which():
    both = page.section([RACED, RACED | {"batch": 32}])
    assert "| 64x64, batches of 16 | 50 images/s" in both and "| 64x64, batches of 32 | 50 images/s" in both
