"""What a user types, end to end: in a process of its own where that matters, else through main(), which is
seconds faster."""

import contextlib
import gc
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import SMALL
from PIL import Image

import keras_dcgan.__main__
from keras_dcgan import cli, files, fit, process
from keras_dcgan.config import TrainConfig
from keras_dcgan.errors import Refused, argument, counted
from keras_dcgan.pictures.images import to_uint8
from keras_dcgan.pictures.latents import latents
from keras_dcgan.runs.directory import Run

ROOT = Path(__file__).parent.parent.parent


def python(module, *arguments):
    """`python -m module arguments`, as a user has it."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A run of two ticks, made by the command, and what the command printed."""
    path = tmp_path_factory.mktemp("runs") / "discs"
    done = python("keras_dcgan.fit", "--data", folder, "--run", path, "--kimg", "0.08", *SMALL)
    assert done.returncode == 0, done.stderr
    return path, done


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "run")
    return tmp_path / "run"


def test_fit_leaves_what_the_readme_says(run, folder):
    path, done = run
    assert sorted(file.name for file in path.iterdir() if not file.name.startswith(".")) == [
        "checkpoints", "config.json", "data.json", "generator.keras", "generator_last.keras", "logs", "metrics.jsonl",
        "report.html", "samples",
    ]  # fmt: skip
    assert sorted(file.name for file in (path / "samples").iterdir()) == [
        "000000.04kimg.png", "000000.08kimg.png", "000000kimg.png", "reals.png",
    ]  # fmt: skip
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["kimg"] for row in rows] == [0.04, 0.08]
    assert all(row["img_per_s"] > 0 and np.isfinite(row["d_loss"] + row["g_loss"]) for row in rows)
    assert all(0 <= row["real_acc"] <= 1 and 0 <= row["fake_acc"] <= 1 for row in rows)
    assert json.loads((path / "config.json").read_text())["settings"]["filters"] == 4
    assert json.loads((path / "data.json").read_text())["images"] == 40
    assert f"Watch: {path / 'report.html'}, or tensorboard" in done.stdout
    page = (path / "report.html").read_text()
    assert re.findall('data-kimg="(.*?)"', page) == ["0", "0.04", "0.08", ""]  # the last: the real images
    assert "Finished." in page and "--g-lr<td>0.01" in page


def test_fit_prints_one_line_a_tick_what_to_do_next_and_no_noise(run):
    path, done = run
    assert done.stderr == ""
    assert sum("kimg  " in line and "d_loss" in line for line in done.stdout.splitlines()) == 2
    assert "\r" not in done.stdout
    last = done.stdout.splitlines()[-3:]
    assert [f"--run {path}" in line or f"--logdir {path}" in line for line in last] == [True] * 3
    assert "keras_dcgan.sample" in last[0] and "tensorboard" in last[1] and "export" in last[2]


def test_the_same_command_resumes_and_the_log_goes_on(copy, folder, command):
    done = command("keras_dcgan.fit", "--data", folder, "--run", copy, "--kimg", "0.16", *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"Resuming {copy} at 10 steps" in done.stdout
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_a_finished_run_says_so(copy, folder, command):
    before = (copy / "generator.keras").read_bytes()
    (copy / "report.html").unlink()  # as in a run of an older version
    for kimg in ("0.08", "0.04"):
        done = command("keras_dcgan.fit", "--data", folder, "--run", copy, "--kimg", kimg, *SMALL)
        assert done.returncode == 0 and "trained for 0.08 kimg already" in done.stdout
    assert (copy / "generator.keras").read_bytes() == before
    assert "Finished." in (copy / "report.html").read_text()


def test_ctrl_c_saves_and_ends_with_128_and_its_number(copy, folder):
    arguments = ["--data", folder, "--run", copy, "--kimg", "100000", *SMALL]
    typed = [sys.executable, "-u", "-m", "keras_dcgan.fit", *map(str, arguments)]
    process = subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "d_loss" not in process.stdout.readline():  # the first tick
        assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    assert "The same command resumes from here" in out and err == ""
    newest = sorted((copy / "checkpoints").glob("step-*"))[-1].name
    assert f"{int(newest[5:]) * 8 / 1000:.1f} kimg, saved" in out


def interrupt():
    signal.raise_signal(signal.SIGINT)


def other_error():
    try:
        interrupt()
    except KeyboardInterrupt:
        raise RuntimeError("in user code") from None


def mistake():
    with cli.user_errors("fit"):
        try:
            interrupt()
        except KeyboardInterrupt:
            raise ValueError("--run: expected what can be loaded") from None


def noise():
    with process.quiet():
        os.write(2, b"TensorFlow's noise")
        other_error()


class Unraisable:
    def __del__(self):
        interrupt()


def unraisable():
    Unraisable()
    time.sleep(5)


def swallowed():
    with contextlib.suppress(KeyboardInterrupt):
        interrupt()
    time.sleep(5)


@pytest.mark.parametrize("hit", [interrupt, other_error, mistake, noise, unraisable, swallowed])
def test_ctrl_c_is_one_line_and_130_whatever_others_make_of_it(hit, capfd):
    before = signal.getsignal(signal.SIGINT)
    assert process.run(hit) == 130 and capfd.readouterr() == ("", "interrupted\n")
    assert signal.getsignal(signal.SIGINT) is before
    assert not process.interrupted and process.run(lambda: 7) == 7


def test_ctrl_c_that_the_parent_has_switched_off_stays_off(monkeypatch, capfd):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert process.run(interrupt) is None and capfd.readouterr().err == ""
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("program", [
    "import sys; sys.argv = ['-m']; import keras_dcgan, time, signal; signal.raise_signal(signal.SIGINT); time.sleep(5)",
    "from keras_dcgan.process import run; raise SystemExit(run(lambda: exec('import signal; signal.raise_signal(signal.SIGINT)')))",
])  # fmt: skip
def test_ctrl_c_is_130_to_the_parent_also_while_a_verb_is_imported(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (130, b"interrupted\n")


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_closed_streams_lead_to_nowhere_and_not_into_the_next_file(closed, tmp_path):
    program = """import sys; from keras_dcgan import process
def main():
    with open(sys.argv[1], "w") as file, process.quiet():
        print("out"), print("err", file=sys.stderr)
        file.write(str(file.fileno() > 2))
raise SystemExit(process.run(main))"""
    command = ["sh", "-c", f'exec "$0" -c "$1" "$2" {closed}', sys.executable, program, tmp_path / "file"]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    assert (tmp_path / "file").read_text() == "True"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_log_on_a_full_disk_is_a_line_and_no_traceback():
    program = "from keras_dcgan.process import run; raise SystemExit(run(lambda: print('out', flush=True)))"
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", program], stdout=full, stderr=subprocess.PIPE, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, b"stopped: [Errno 28] No space left on device\n")


def test_no_place_for_temporary_files_is_no_reason_to_stop(tmp_path, monkeypatch, capfd):
    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    with monkeypatch.context() as patch:
        for name, value in {"TemporaryFile": nowhere, "gettempdir": nowhere, "tempdir": None}.items():
            patch.setattr(process.tempfile, name, value)
        patch.setattr(process, "SHARED_MEMORY", str(tmp_path))
        with process.quiet():
            os.write(2, b"TensorFlow's noise")
        found = process.tempfile.tempdir
    assert capfd.readouterr().err == "" and found == str(tmp_path)


OUTLOOK = r"\d[\d,]* images/s on \d+ cores? of .+: about [\d:]+ left for {} kimg; "
OUTLOOK += r"{} will take about ([\d.]+) MB of the disk, of .+ free"


def test_after_the_first_steps_fit_says_on_what_how_fast_how_long_and_how_much(run):
    path, done = run
    lines = done.stdout.splitlines()
    (line,) = [line for line in lines if " images/s on " in line]
    found = re.fullmatch(OUTLOOK.format("0.0(?:4|48|56|64)", re.escape(str(path))), line)
    assert lines.index(line) + 1 == [index for index, line in enumerate(lines) if "d_loss" in line][0]
    taken = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert 0.7 < 1e6 * float(found[1]) / taken < 1.3
    assert any(
        line.startswith("16x16x3; parameters: ") and re.search(r" on \d+ cores? of ", line) for line in lines
    )


def test_dry_run_writes_nothing(folder, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = command("keras_dcgan.fit", "--data", folder, "--dry-run", *SMALL)
    assert "Watch: " not in done.stdout  # there is nothing to watch
    assert done.returncode == 0, done.stderr
    assert "40 images" in done.stdout and "One step: d_loss" in done.stdout
    assert re.fullmatch(OUTLOOK.format("1000", f"runs/{folder.name}"), done.stdout.splitlines()[-2])
    assert list(tmp_path.iterdir()) == []


def test_grey_and_rectangular_and_flipped_with_every_setting_of_the_recipe(tmp_path, command):
    for index in range(9):
        Image.fromarray(np.full((30, 20), 20 * index, np.uint8)).save(tmp_path / f"{index}.png")
    arguments = [
        "--data",
        tmp_path,
        "--run",
        tmp_path / "run",
        "--size",
        "24x16",
        "--channels",
        "1",
        "--filters",
        "2",
        "--batch",
        "4",
        "--kimg",
        "0.01",
    ]
    recipe = [
        "--loss",
        "relativistic",
        "--d-norm",
        "spectral",
        "--r1",
        "0.1",
        "--r2",
        "0.1",
        "--augment",
        "all",
    ]
    recipe += ["--decay", "0.5", "--ema-kimg", "1"]
    done = command(
        "keras_dcgan.fit", *arguments, "--flip", "--upsample", "nearest", "--precision", "bfloat16", *recipe
    )
    assert done.returncode == 0, done.stderr
    assert keras.saving.load_model(tmp_path / "run" / "generator.keras").output_shape == (None, 24, 16, 1)


def test_conditional_classes_are_asked_for_by_name(tmp_path, command):
    for name, grey in (("night", 20), ("day", 240)):
        (tmp_path / "sky" / name).mkdir(parents=True)
        for index in range(8):
            Image.fromarray(np.full((16, 16), grey + index, np.uint8)).save(
                tmp_path / "sky" / name / f"{index}.png"
            )
    run = tmp_path / "run"
    done = command(
        "keras_dcgan.fit", "--data", tmp_path / "sky", "--run", run, "--kimg", "0.04", *SMALL, "--conditional"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "data.json").read_text())["classes"] == ["day", "night"]
    draw = ["keras_dcgan.sample", "--run", run, "--seeds", "4-5", "--out"]
    assert command(*draw, tmp_path / "turns.png").returncode == 0
    assert command(*draw, tmp_path / "day.png", "--class", "day").returncode == 0
    turns, day = (np.asarray(Image.open(tmp_path / name)) for name in ("turns.png", "day.png"))
    np.testing.assert_array_equal(turns[:, :16], day[:, :16])  # seed 4 is a day, seed 5 a night
    assert (turns[:, 16:] != day[:, 16:]).any()
    done = command(*draw, tmp_path / "noon.png", "--class", "noon")
    assert (
        done.returncode == 2
        and done.stderr == "sample: --class: expected one of day, night, received 'noon'\n"
    )


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--data", "nowhere"], "--data: "),
        (["--data", "empty"], "--data: no images in empty"),
        (["--data", "empty", "--size", "9"], "--size: expected"),
        ([], "required: --data"),
    ],
)
def test_fit_mistakes_are_one_line_and_status_2(tmp_path, arguments, complaint, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    done = command("keras_dcgan.fit", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("fit: ") and complaint in done.stderr and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_settings_that_cannot_be_built_bind_no_run(folder, tmp_path, monkeypatch, command):
    from keras_dcgan.training import loop

    def cannot(*args):
        raise Refused("r1", f"0, or {argument('d_norm')} spectral or none, on several devices", 1)

    monkeypatch.setattr(loop, "build", cannot)
    done = command("keras_dcgan.fit", "--data", folder, "--run", tmp_path / "run", *SMALL)
    told = "fit: --r1: expected 0, or --d-norm spectral or none, on several devices, received 1\n"
    assert (done.returncode, done.stderr) == (2, told) and not (tmp_path / "run").exists()


def test_other_settings_are_refused_in_one_line_and_nothing_is_lost(copy, folder, command):
    before = {
        path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file() and path.name != ".lock"
    }
    done = command(
        "keras_dcgan.fit", "--data", folder, "--run", copy, "--kimg", "0.08", *SMALL, "--d-lr", "0.1"
    )
    assert done.returncode == 2
    assert (
        done.stderr.startswith("fit: --d-lr: the run has 0.0008, received 0.1")
        and done.stderr.count("\n") == 1
    )
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_sample_grid_files_and_walk_draw_what_the_generator_draws(run, tmp_path, monkeypatch, command):
    path, _ = run
    monkeypatch.chdir(tmp_path)
    assert command("keras_dcgan.sample", "--run", path).stdout == "64 images in sample.png\n"
    assert Image.open("sample.png").size == (8 * 16, 8 * 16)
    generator = keras.saving.load_model(path / "generator.keras")
    expected = to_uint8(generator.predict(latents(range(3, 9), 100), verbose=0))

    done = command(
        "keras_dcgan.sample", "--run", path, "--seeds", "3-8", "--out", tmp_path / "grid.png", "--cols", "2"
    )
    assert done.returncode == 0 and done.stderr == "" and "6 images in" in done.stdout
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (48, 32, 3)
    assert np.abs(grid[32:, 16:].astype(int) - expected[5]).max() <= 1  # seed 8: third row, second column

    assert (
        command("keras_dcgan.sample", "--run", path, "--seeds", "3,8", "--out", tmp_path / "files").returncode
        == 0
    )
    assert sorted(os.listdir(tmp_path / "files")) == ["seed-0003.png", "seed-0008.png"]
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "files" / "seed-0008.png")), grid[32:, 16:]
    )

    assert (
        command(
            "keras_dcgan.sample", "--run", path, "--seeds", "3,8", "--out", tmp_path / "walk.webp"
        ).returncode
        == 0
    )
    with Image.open(tmp_path / "walk.webp") as walk:
        assert walk.n_frames == 50
        walk.seek(25)  # the second stop
        np.testing.assert_array_equal(np.asarray(walk.convert("RGB")), grid[32:, 16:])

    assert (
        command(
            "keras_dcgan.sample",
            "--run",
            path,
            "--seeds",
            "3-4",
            "--out",
            tmp_path / "dull.png",
            "--truncation",
            "0",
        ).returncode
        == 0
    )
    dull = np.asarray(Image.open(tmp_path / "dull.png"))
    np.testing.assert_array_equal(dull[:, :16], dull[:, 16:])  # at truncation 0 every seed is the same image


def test_sample_draws_given_latents(run, tmp_path, command):
    np.save(tmp_path / "z.npy", latents([7, 3], 100))
    draw = ["keras_dcgan.sample", "--run", run[0], "--out"]
    assert command(*draw, tmp_path / "given", "--latent", tmp_path / "z.npy").returncode == 0
    assert command(*draw, tmp_path / "seeds", "--seeds", "7,3").returncode == 0
    for given, seed in (("latent-0000.png", "seed-0007.png"), ("latent-0001.png", "seed-0003.png")):
        assert (tmp_path / "given" / given).read_bytes() == (tmp_path / "seeds" / seed).read_bytes()
    np.save(tmp_path / "short.npy", np.zeros((1, 99)))
    done = command(*draw, tmp_path / "short.png", "--latent", tmp_path / "short.npy")
    assert (
        done.returncode == 2
        and "sample: --latent: expected a .npy of float latents of length 100" in done.stderr
    )


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (["--run", "nowhere", "--seeds", "1", "--out", "a.png"], "--run: expected a run directory"),
        (
            ["--run", "nowhere", "--seeds", "5-1", "--out", "a.png"],
            "--seeds: expected seeds such as 0-63 or 1,5,9",
        ),
        (["--run", "nowhere", "--seeds", "-1", "--out", "a.png"], "--seeds: expected"),
        (
            ["--run", "nowhere", "--seeds", "1", "--out", "a.gif"],
            "--seeds: expected at least 2 seeds to walk between, received 1",
        ),
        (
            ["--run", "nowhere", "--seeds", "1", "--out", "a.jpg"],
            "--out: expected a name that ends in .png, .gif, .webp or .mp4, or a folder",
        ),
        (
            ["--run", "nowhere", "--seeds", "1", "--latent", "z.npy", "--out", "a.png"],
            "--latent: not allowed with",
        ),
        (
            ["--run", "nowhere", "--seeds", "1", "--per-class", "2", "--out", "a"],
            "--per-class: not allowed with",
        ),
    ],
)
def test_sample_mistakes_are_one_line_and_status_2(typed, complaint, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = command("keras_dcgan.sample", *typed)
    assert done.returncode == 2
    assert done.stderr.startswith(f"sample: {complaint}") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_whole_line_from_pictures_to_a_picture_without_tensorflow(run, tmp_path, command):
    path, _ = run
    done = python("export", "--run", path, "--formats", "fp32")
    assert done.returncode == 0, done.stderr
    script = path / "export" / "edge_sample.py"
    arguments = ["--model", path / "export", "--seeds", "0-15", "--out", tmp_path / "edge.png"]
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (
        command(
            "keras_dcgan.sample", "--run", path, "--seeds", "0-15", "--out", tmp_path / "here.png"
        ).returncode
        == 0
    )
    edge, here = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("edge.png", "here.png"))
    assert edge.shape == (64, 64, 3) and edge.std() > 1
    assert np.abs(edge - here).max() <= 1


@pytest.mark.parametrize("is_there", [False, True])
def test_garbage_is_left_alone_only_while_tensorflow_is_imported(is_there, monkeypatch):
    if not is_there:
        monkeypatch.delitem(sys.modules, "tensorflow")
    with pytest.raises(ImportError), process.importing():
        assert gc.isenabled() == is_there
        raise ImportError
    assert gc.isenabled()


def test_a_reader_that_has_ended_is_no_traceback():
    program = "from keras_dcgan import process\ndef main():\n    while True: print('line')\nraise SystemExit(process.run(main))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (141, b"")


def test_no_data_is_not_the_folder_where_one_stands(folder, monkeypatch, command):
    monkeypatch.chdir(folder)
    done = command("keras_dcgan.fit", "--data", "")
    assert (
        done.returncode == 2
        and done.stderr.startswith("fit: --data: expected ")
        and done.stderr.endswith(", received ''\n")
    )
    assert not (folder / "runs").exists()


PATHS = {
    "keras_dcgan.fit": (["--data", "demo"], ["--data", "--run", "--cache", "--init-from"]),
    "keras_dcgan.sample": (["--run", "r"], ["--run", "--latent", "--out"]),
    "keras_dcgan.explore": (["--run", "r", "--out", "a.png"], ["--run", "--out"]),
    "keras_dcgan.edit": (
        ["--run", "r", "--image", "i", "--task", "project", "--out", "o.png"], ["--run", "--image", "--mask", "--out"]
    ),
    "keras_dcgan.evaluate": (
        ["--run", "r"], ["--run", "--data", "--held-out", "--features", "--inception-weights", "--out"]
    ),
    "keras_dcgan.features": (["--run", "r", "--out", "o"], ["--run", "--out", "--linear-probe"]),
    "keras_dcgan.data": ([], ["--cache"]),
    "keras_dcgan.demo": ([], ["folder"]),
    "keras_dcgan.export.__main__": (["--run", "r"], ["--run", "--out"]),
    "keras_dcgan.export.web.__main__": (["--run", "r"], ["--run"]),
    "keras_dcgan.export.edge_sample": (["--model", "m"], ["--model", "--latent", "--out"]),
    "tools.pack": (["--data", "demo", "--out", "o"], ["--data", "--out", "--cache"]),
    "tools.arm": (["--export", "e"], ["--export", "--work"]),
}  # fmt: skip


@pytest.mark.parametrize(
    "module, flag", [(module, flag) for module, (_, flags) in PATHS.items() for flag in flags]
)
@pytest.mark.parametrize("elsewhere", ["gs://bucket/x", "host:/x", ""])
def test_a_path_that_means_something_elsewhere_is_made_nowhere(
    module, flag, elsewhere, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    typed = [*PATHS[module][0], *([flag] if flag.startswith("-") else []), elsewhere]
    monkeypatch.setattr(sys, "argv", [module, *typed])
    if module == "keras_dcgan.data":  # a package
        module += ".__main__"
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(module).main()
    line = capsys.readouterr().err
    verb = module.removesuffix(".__main__").rpartition(".")[2]
    assert stop.value.code == 2 and line.count("\n") == 1 and os.listdir() == []
    assert line.startswith(f"{verb}: {flag}: expected a path of this machine, received {elsewhere!r}")


def test_a_leading_tilde_is_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    typed = ["--data", "~/imgs", "--run", "~/runs/a", "--init-from", "~", "--cache", "./~/b"]
    config = fit.settings_of(fit.read(typed))
    assert (config.data, config.run, config.init_from) == (
        f"{tmp_path}/imgs",
        f"{tmp_path}/runs/a",
        str(tmp_path),
    )
    assert config.cache == "./~/b"
    with pytest.raises(cli.Expected, match="received '~nobody-of-that-name/x' .no such home"):
        cli.path("~nobody-of-that-name/x")


def test_words_and_buckets_of_shards_are_taken_as_they_are():
    assert cli.source("demo") == "demo" and cli.source("gs://bucket/*.tfrecord") == "gs://bucket/*.tfrecord"
    assert cli.path_or("random")("random") == "random"
    with pytest.raises(ValueError, match="^run: expected a path of this machine, received gs:/bucket/x"):
        files.check_path(Path("gs://bucket/x"), "run")


@pytest.mark.parametrize(
    "typed, complaint",
    [
        ("fit --tick_kimg 8", "fit: --tick_kimg: did you mean --tick-kimg?"),
        ("fit --dta=x", "fit: --dta: did you mean --data?"),
        ("fit --Batch 3", "fit: --Batch: did you mean --batch?"),
        ("fit -data x", "fit: -data: did you mean --data?"),
        ("fit --data x --epochs 3", "fit: --epochs: there is --kimg"),
        ("fit --data x --batch_size 3", "fit: --batch_size: there is --batch"),
        ("sample --run x --num-images 3", "sample: --num-images: there is --seeds"),
        ("evaluate --run x --foo", "evaluate: --foo: expected one of the flags that --help lists"),
        ("export --run x --format web", "export: --format: there is --formats"),
        ("edit --run x --steps -3", "edit: --steps: expected a whole number from 1 to 1000000, received '-3'"),
        ("fitt --data x", "keras_dcgan: expected one of fit, sample, explore, edit, evaluate, features, demo, data, pack, "
         "export, export.web first, received 'fitt': did you mean fit?"),
        ("train", "received 'train': did you mean fit?"),
        ("--data x", "received '--data'"),
    ],
)  # fmt: skip
def test_a_verb_is_run_by_its_name_and_the_nearest_word_or_flag_is_named(
    typed, complaint, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["keras_dcgan", *typed.split()])
    for module in (f"keras_dcgan.{typed.split()[0]}", "keras_dcgan.export.__main__"):  # as in a new process
        monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as stop:
        keras_dcgan.__main__.main()
    out, err = capsys.readouterr()
    assert (stop.value.code, out) == (2, "") and err.endswith(f"{complaint}\n") and err.count("\n") == 1


def test_version_list_and_verbs_by_the_package(tmp_path, monkeypatch, capsys):
    for word, said in (
        ("--version", f"keras_dcgan {keras_dcgan.__version__}\n"),
        ("--help", "a folder of images in"),
    ):
        monkeypatch.setattr(sys, "argv", ["keras_dcgan", word])
        keras_dcgan.__main__.main()
        assert said in capsys.readouterr().out
    done = python("keras_dcgan", "demo", tmp_path / "faces", "--count", "1")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("wrote 1 image into")
    assert len(os.listdir(tmp_path / "faces")) == 1


def test_flags_of_a_part_of_a_verb_are_its_own():
    parser = cli.Parser("tools.bench", "")
    verb = parser.add_subparsers(dest="what").add_parser("train", prog="tools.bench train", description="")
    verb.add_argument("--repeats", type=int)
    assert parser.parse_args(["train", "--repeats", "3"]).repeats == 3
    with pytest.raises(SystemExit):
        parser.parse_args(["train", "--repeat", "3"])


def half_begun(run: Path, **settings):
    """What fit leaves of a run that is killed before its first tick ends."""
    (run / "checkpoints" / "step-000000000").mkdir(parents=True)
    config = TrainConfig(data="imgs", **settings).to_json()
    (run / "config.json").write_text(json.dumps({"schema": 1, "settings": config}))
    for name, content in (("data.json", "{}"), ("metrics.jsonl", ""), ("generator.keras", "")):
        (run / name).write_text(content)


@pytest.fixture
def before_tensorflow(monkeypatch):
    """Whatever is said after this is said too late: TensorFlow takes seconds to import."""
    for module in (process, importlib.import_module("keras_dcgan.export.__main__")):
        for name in ("quiet", "importing"):
            monkeypatch.setattr(
                module, name, lambda: pytest.fail("this should be known before TensorFlow is imported")
            )


READERS = {
    "keras_dcgan.sample": [],
    "keras_dcgan.explore": ["--out", "a.png"],
    "keras_dcgan.edit": ["--task", "project", "--image", "a.png", "--out", "b.png"],
    "keras_dcgan.evaluate": [],
    "keras_dcgan.features": ["--out", "a.keras"],
    "keras_dcgan.export": [],
}


@pytest.mark.parametrize("verb", READERS)
def test_missing_and_untrained_runs_are_told_at_once_and_which_there_are(
    verb, before_tensorflow, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    half_begun(tmp_path / "runs" / "new")
    name, module = (
        verb.removeprefix("keras_dcgan."),
        f"{verb}.__main__" if verb == "keras_dcgan.export" else verb,
    )
    done = command(module, "--run", "runs/old", *READERS[verb])
    missing = f"{name}: --run: expected a run directory, received runs/old (no runs/old/config.json; there are runs/new)\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", missing)
    done = command(module, "--run", "runs/new", *READERS[verb])
    untrained = f"{name}: --run: expected a trained run, received runs/new, which is untrained: it has not ended its first tick\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", untrained)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"] and not (
        tmp_path / "runs" / "new" / "export"
    ).exists()


def test_untrained_is_who_has_neither_ticks_nor_steps_nor_networks_of_another_run(tmp_path):
    half_begun(tmp_path / "run")
    for path, name in ((tmp_path / "run", "generator.keras"), (tmp_path / "run", "metrics.jsonl")):
        (path / name).unlink()  # killed sooner
        with pytest.raises(ValueError, match="untrained"):
            Run(path).check_trained()
    half_begun(tmp_path / "source", init_from="another")
    Run(tmp_path / "source").check_trained()
    half_begun(tmp_path / "stopped")
    (tmp_path / "stopped" / "checkpoints" / "step-000000003").mkdir()  # by Ctrl-C, within the first tick
    Run(tmp_path / "stopped").check_trained()
    half_begun(tmp_path / "trained")
    (tmp_path / "trained" / "metrics.jsonl").write_text('{"step": 5}\n')
    Run(tmp_path / "trained").check_trained()
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "generator.keras").touch()
    Run(tmp_path / "alone").check_trained()


@pytest.mark.parametrize(
    "verb, out, complaint",
    [
        (
            "sample",
            "file",
            "expected a name that ends in .png, .gif, .webp or .mp4, or a folder, received 'file'",
        ),
        ("sample", "file/a.png", "expected a directory, received the file file"),
        ("sample", "file/folder", "expected a directory, received the file file"),
        ("sample", "folder.png", "expected the name of a file, received the directory folder.png"),
        ("explore", "folder.png", "expected the name of a file, received the directory folder.png"),
        ("explore", "locked/a.png", "expected a directory that can be written, received locked"),
        ("edit", "file/a.png", "expected a directory, received the file file"),
        ("evaluate", "file/a.json", "expected a directory, received the file file"),
        ("evaluate", "folder.json", "expected the name of a file, received the directory folder.json"),
        ("features", "file/a.keras", "expected a directory, received the file file"),
    ],
)
def test_places_that_cannot_be_written_are_told_at_once(
    verb, out, complaint, before_tensorflow, tmp_path, monkeypatch, command
):
    monkeypatch.chdir(tmp_path)
    for folder in ("folder.png", "folder.json", "locked"):
        (tmp_path / folder).mkdir()
    (tmp_path / "file").touch()
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: "locked" not in str(path) and access(path, mode)
    )  # root may do all
    arguments = {name: value for name, value in zip(*[iter(READERS[f"keras_dcgan.{verb}"])] * 2)} | {
        "--out": out
    }
    done = command(
        f"keras_dcgan.{verb}", "--run", "nowhere", *[part for pair in arguments.items() for part in pair]
    )
    assert (done.returncode, done.stderr.replace(f"{tmp_path}/", "")) == (2, f"{verb}: --out: {complaint}\n")


def test_what_fails_while_it_is_written_names_the_flag_and_not_a_hidden_file(
    run, tmp_path, monkeypatch, command
):
    def full(*_):
        raise OSError(28, "No space left on device", "/somewhere/.a.png.123.part")

    monkeypatch.setattr(os, "replace", full)
    for verb, more in (("sample", []), ("sample", ["--seeds", "1"]), ("explore", ["--directions", "1"])):
        done = command(f"keras_dcgan.{verb}", "--run", run[0], "--out", tmp_path / "a.png", *more)
        expected = (
            f"{verb}: --out: expected to write {tmp_path / 'a.png'}, received: No space left on device\n"
        )
        assert (done.returncode, done.stderr) == (2, expected)


def test_one_is_no_plural(run, tmp_path, command):
    assert [counted(number, noun) for number, noun in ((0, "image"), (1, "image"), (2001, "image"), (2, "class"))] == [
        "0 images", "1 image", "2,001 images", "2 classes",
    ]  # fmt: skip
    done = command("keras_dcgan.sample", "--run", run[0], "--seeds", "1", "--out", tmp_path / "a.png")
    assert done.stdout == f"1 image in {tmp_path / 'a.png'}\n"
    done = command("keras_dcgan.explore", "--run", run[0], "--directions", "1", "--out", tmp_path / "a.png")
    assert done.stdout.startswith("1 direction, 1 strip each, ")


def test_one_image_or_an_address_is_no_data(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save("a.png")
    for source, complaint in (
        ("a.png", "received the single image a.png: give the folder of many such"),
        ("https://example.org/imgs.zip", "received 'https://example.org/imgs.zip', which lies elsewhere"),
    ):
        done = command("keras_dcgan.fit", "--data", source)
        assert done.returncode == 2 and done.stderr.startswith(
            ("fit: --data: expected a folder", "fit: --data: expected a path")
        )
        assert done.stderr.endswith(f"{complaint}\n") and done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_threads_that_are_quiet_at_once_give_stderr_back_when_the_last_one_ends(capfd):
    first_is_in, second_is_out = threading.Event(), threading.Event()

    def first():
        with process.quiet():
            first_is_in.set()
            second_is_out.wait()
            os.write(2, b"hidden\n")

    thread = threading.Thread(target=first)
    thread.start()
    first_is_in.wait()
    with process.quiet():
        os.write(2, b"hidden too\n")
    second_is_out.set()
    thread.join()
    os.write(2, b"shown\n")
    assert capfd.readouterr().err == "shown\n"


@pytest.mark.parametrize(
    "message, said",
    [
        ("truncated record at 12' failed\n\t [[{{node IteratorGetNext}}]]", "truncated record at 12' failed"),
        (
            "Graph execution error:\n\nDetected at node 'a' defined at (most recent call last):\n<stack traces>\n"
            "OOM when allocating tensor\n\t [[{{node a}}]] [Op:__inference_f_1]",
            "OOM when allocating tensor",
        ),
        ("", "ResourceExhaustedError"),
    ],
)
def test_of_what_tensorflow_raises_one_line_is_said(message, said, capsys):
    with pytest.raises(SystemExit, match="2"), cli.machine_errors("edit"):
        raise tf.errors.ResourceExhaustedError(None, None, message)
    assert capsys.readouterr().err == f"edit: {said}\n"
    for error in (tf.errors.InternalError(None, None, message), ValueError("ours")):
        with pytest.raises(type(error)), cli.machine_errors("edit"):
            raise error
