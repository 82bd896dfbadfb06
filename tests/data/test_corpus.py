"""The tool that judges what is read: it must see a wrong pixel, a crash and a hang."""

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from imagery import encoded, noise
from PIL import Image

from tools.experiments import corpus

PLAIN = dict(judge=None, processes=2, seconds=30, gigabytes=4)


def test_a_folder_is_sorted_by_what_came_of_each_file(tmp_path, capsys):
    (tmp_path / "in" / "more").mkdir(parents=True)
    noise().save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "more" / "b.png").write_bytes(encoded(noise(), "PNG")[:-3000])
    assert corpus.main([str(tmp_path / "in"), "--json", str(tmp_path / "out.json"), "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("2 files: 1 read, 1 left out, 0 ended by us\n") and "1  truncated" in printed
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["more/b.png"]["ours"]["reason"] == "truncated" and found["a.png"]["ours"]["reason"] is None


def test_a_process_that_dies_or_hangs_costs_its_file_alone(tmp_path, monkeypatch):
    script = "import sys, os, time, signal\nprint(flush=True)\nfor line in sys.stdin:\n"
    script += "    if 'crash' in line: os.kill(os.getpid(), signal.SIGSEGV)\n    if 'hang' in line: time.sleep(60)\n"
    script += '    print(\'{"reason": "fine"}\', flush=True)\n'
    watched = corpus.Watched("ours", 1.5, 4)
    (tmp_path / "worker.py").write_text(script)
    start = corpus.subprocess.Popen
    command = [corpus.sys.executable, str(tmp_path / "worker.py")]
    monkeypatch.setattr(corpus.subprocess, "Popen", lambda _, **more: start(command, **more))
    outcomes = []
    for name in ("a", "crash", "b", "hang", "c"):
        watched.seconds = 0.3 if name == "hang" else 60
        outcomes.append(watched.ask(Path(name)))
    watched.close()
    assert [(found["ended"], found["reason"]) for found in outcomes] == [
        (None, "fine"),
        (f"died of {int(signal.SIGSEGV)}", None),
        (None, "fine"),
        ("after 0.3 s", None),
        (None, "fine"),
    ]


@pytest.mark.parametrize("change, verdict", [(0, "same"), (1, "same"), (9, "differs")])
def test_pixels_are_compared(tmp_path, change, verdict):
    image = np.full((4, 4, 4), 100, np.uint8)
    for name, pixels in (("one", image), ("other", image + np.uint8(change))):
        np.save(tmp_path / f"{name}.npy", pixels)
    sides = [
        {"ended": None, "reason": None, "pixels": str(tmp_path / f"{name}.npy")} for name in ("one", "other")
    ]
    assert corpus.compared(*sides)["verdict"] == verdict
    assert not os.listdir(tmp_path)


def test_what_nobody_sees_is_no_difference():
    clear, other = np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 4), np.uint8)
    other[..., 0] = 200
    assert corpus.mean_difference(clear, other) == 0
    other[..., 3] = 255
    assert corpus.mean_difference(clear, other) == 255


def test_the_judges_agree_with_us(tmp_path):
    pytest.importorskip("tifffile")
    Image.fromarray(np.arange(256, dtype=np.float32).reshape(16, 16) * 3 - 7).save(tmp_path / "a.tif")
    noise().save(tmp_path / "b.tif")
    args = SimpleNamespace(**{**PLAIN, "judge": "tifffile", "processes": 1})
    results = corpus.examine([tmp_path / "a.tif", tmp_path / "b.tif"], args)
    assert [found["verdict"] for found in results.values()] == ["same", "same"]
