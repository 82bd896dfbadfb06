"""`export/edge_sample.py`: alone with numpy, pillow and ai-edge-litert it draws what Keras draws, seed by
seed."""

import ast
import functools
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import conftest
import numpy as np
import pytest
from PIL import Image

from keras_dcgan.export import convert, edge_sample, metadata
from keras_dcgan.pictures import images
from keras_dcgan.pictures.latents import labels, latents

SCRIPT = Path(edge_sample.__file__).resolve()
CLASSES = ("blue", "2", "red")  # a class may be called by a number that is not its own
LATENT_DIM = 9  # odd: the last Box-Muller pair is cut in two
ALONE = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "keras_dcgan", "export"):
            raise ImportError(name + " is not on this device")
sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


lively_generator = functools.partial(conftest.lively_generator, (16, 20), latent_dim=LATENT_DIM)


@pytest.fixture(scope="module")
def model():
    return lively_generator()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("export")
    convert.export(model, ["fp32", "int8"], out, name="tiny", licence="CC0-1.0", data_note="drawn\nby us")
    return out


@pytest.fixture(scope="module")
def conditional_model():
    return lively_generator(classes=len(CLASSES))


@pytest.fixture(scope="module")
def conditional_folder(conditional_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("conditional")
    convert.export(conditional_model, ["fp32"], out, name="tiny", classes=CLASSES)
    return out


def keras_pictures(model, seeds, labels=None):
    z = latents(seeds, LATENT_DIM)
    return images.to_uint8(model(z if labels is None else [z, np.array(labels)]))


def pictures_of(*flags):
    """What the command writes into the folder `flags` ends with, in the order of the seeds."""
    edge_sample.main([str(flag) for flag in flags])
    return np.stack([read(path) for path in sorted(Path(flags[-1]).iterdir())])


def read(path):
    return np.asarray(Image.open(path)).astype(int)


def refusal(capsys, *flags):
    """The one line on stderr of a command that ends with status 2."""
    with pytest.raises(SystemExit) as stop:
        edge_sample.main([str(flag) for flag in flags])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("edge_sample: ")
    return line


@pytest.mark.parametrize("latent_dim", [1, 9, 100])
def test_a_seed_is_the_same_latent_to_the_bit(latent_dim):
    seeds = [*range(101), 2**32 - 1]
    ours = edge_sample.latents(seeds, latent_dim)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, latents(seeds, latent_dim))


def test_alone_on_a_device_it_draws_the_grid_that_keras_draws(model, folder, tmp_path):
    flags = ["--model", folder, "--seeds", "0-4,4294967295", "--cols", "4", "--out", "grid.png"]
    environment = {**os.environ, "PYTHONPATH": ""}
    device = subprocess.run(
        [sys.executable, "-c", ALONE, SCRIPT, *flags],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (device.returncode, device.stderr) == (0, "")
    assert "generator_fp32.tflite" in device.stdout
    expected = images.grid(keras_pictures(model, [0, 1, 2, 3, 4, 2**32 - 1]), columns=4)
    drawn = read(tmp_path / "grid.png")
    assert drawn.shape == expected.shape == (32, 80, 3)
    assert np.abs(drawn - expected).max() <= 1
    assert [path.name for path in tmp_path.iterdir()] == ["grid.png"]


def test_with_nothing_but_a_model_it_draws_16_pictures_here(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    edge_sample.main(["--model", str(folder)])
    assert read(tmp_path / "sample.png").shape == (64, 80, 3)


def test_a_folder_gets_one_file_a_seed(model, folder, tmp_path):
    edge_sample.main(
        ["--model", str(folder), "--seeds", "2,10000", "--out", str(tmp_path / "new" / "pictures")]
    )
    paths = sorted((tmp_path / "new" / "pictures").iterdir())
    assert [path.name for path in paths] == ["seed-0002.png", "seed-10000.png"]
    for path, expected in zip(paths, keras_pictures(model, [2, 10000]), strict=True):
        assert np.abs(read(path) - expected).max() <= 1


def test_given_latents_are_drawn_in_place_of_seeds(model, folder, tmp_path, capsys):
    np.save(tmp_path / "z.npy", latents([2, 7], LATENT_DIM))
    shown = pictures_of("--model", folder, "--latent", tmp_path / "z.npy", "--out", tmp_path / "pictures")
    assert [path.name for path in sorted((tmp_path / "pictures").iterdir())] == [
        "latent-0000.png",
        "latent-0001.png",
    ]
    assert np.abs(shown - keras_pictures(model, [2, 7])).max() <= 1
    np.save(tmp_path / "one.npy", latents([7], LATENT_DIM)[0].astype(np.float64))
    edge_sample.main(
        ["--model", str(folder), "--latent", str(tmp_path / "one.npy"), "--out", str(tmp_path / "one.png")]
    )
    assert np.abs(read(tmp_path / "one.png") - shown[1]).max() <= 1
    np.save(tmp_path / "short.npy", np.zeros((1, LATENT_DIM - 1)))
    assert f"--latent: expected latents of length {LATENT_DIM}, received" in refusal(
        capsys, "--model", folder, "--latent", tmp_path / "short.npy", "--out", "a.png"
    )
    assert "not allowed with" in refusal(
        capsys, "--model", folder, "--latent", "z.npy", "--seeds", "1", "--out", "a.png"
    )


def test_the_most_exact_file_of_a_folder_is_taken(tmp_path):
    for name in ("generator_int8.tflite", "generator_fp16.tflite", "generator_fp32.tflite"):
        (tmp_path / name).touch()
        assert edge_sample.choose(tmp_path).name == name
        assert edge_sample.choose(tmp_path / "generator_int8.tflite").name == "generator_int8.tflite"


def test_a_file_alone_is_enough(folder, tmp_path):
    alone = tmp_path / "mine.tflite"
    alone.write_bytes((folder / "generator_int8.tflite").read_bytes())
    edge_sample.main(["--model", str(alone), "--out", str(tmp_path / "grid.png")])
    assert read(tmp_path / "grid.png").shape == (4 * 16, 4 * 20, 3)


def test_truncation_0_draws_one_picture_for_all(folder, tmp_path):
    edge_sample.main(["--model", str(folder), "--seeds", "0-1", "--truncation", "0", "--out", str(tmp_path)])
    np.testing.assert_array_equal(read(tmp_path / "seed-0000.png"), read(tmp_path / "seed-0001.png"))


def test_a_class_is_drawn_by_its_name_or_its_number(conditional_model, conditional_folder, tmp_path):
    shown = {}
    for wanted, label in (("blue", 0), ("red", 2), ("1", 1), ("2", 1)):  # a name goes before a number
        shown[label] = pictures_of(
            "--model", conditional_folder, "--seeds", "3,4", "--class", wanted, "--out", tmp_path / wanted
        )
        assert np.abs(shown[label] - keras_pictures(conditional_model, [3, 4], [label] * 2)).max() <= 1
    assert min(np.abs(shown[one] - shown[other]).max() for one, other in ((0, 1), (1, 2), (0, 2))) > 64


def test_without_a_class_a_seed_draws_the_class_that_sample_draws(
    conditional_model, conditional_folder, tmp_path
):
    seeds = [1, 3, 5, 4294967295]
    shown = pictures_of("--model", conditional_folder, "--seeds", "1,3,5,4294967295", "--out", tmp_path)
    assert (
        np.abs(shown - keras_pictures(conditional_model, seeds, labels(seeds, None, list(CLASSES)))).max()
        <= 1
    )


def test_a_file_alone_knows_its_classes(conditional_model, conditional_folder, tmp_path):
    alone = tmp_path / "mine.tflite"
    alone.write_bytes((conditional_folder / "generator_fp32.tflite").read_bytes())
    shown = pictures_of("--class", "red", "--model", alone, "--seeds", "3", "--out", tmp_path / "pictures")
    assert np.abs(shown - keras_pictures(conditional_model, [3], [2])).max() <= 1


def test_a_file_without_metadata_still_draws_but_a_class(folder, conditional_folder, tmp_path, capsys):
    for source in (folder, conditional_folder):
        content = (source / "generator_fp32.tflite").read_bytes()
        (tmp_path / f"{source.name}.tflite").write_bytes(content[: content.rindex(b"PK\3\4")])
    flags = ("--seeds", "3", "--out", tmp_path / "pictures")
    for wanted in ((), ("--class", "red"), ("--class", "1")):
        line = refusal(capsys, "--model", tmp_path / f"{conditional_folder.name}.tflite", *flags, *wanted)
        assert "--class: expected a file that names its classes, received" in line
    assert not (tmp_path / "pictures").exists()
    assert len(pictures_of("--model", tmp_path / f"{folder.name}.tflite", *flags)) == 1


def test_a_class_that_is_not_there_is_refused(folder, conditional_folder, capsys):
    for wanted in ("green", "3", "-1", ""):
        line = refusal(capsys, "--model", conditional_folder, "--out", "grid.png", "--class", wanted)
        assert f"--class: expected one of blue, 2, red, or a number below 3, received {wanted!r}" in line
    assert "--class: expected a generator that was" in refusal(
        capsys, "--model", folder, "--out", "grid.png", "--class", "blue"
    )


def test_benchmark_prints_time_and_rate_that_fit(folder, capsys):
    edge_sample.main(["--model", str(folder), "--benchmark", "--threads", "2"])
    printed = capsys.readouterr().out
    ms, rate = re.search(
        r"([\d.]+) ms an image \(95 % below [\d.]+\), (\d+) images/s, on 2 CPU threads, \d+ MB", printed
    ).groups()
    assert float(ms) * float(rate) == pytest.approx(
        1000, rel=0.5
    )  # ms has two decimals, and the model is tiny


def test_the_gpu_alone_or_a_clear_line(folder, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ai_edge_litert.compiled_model", None)  # as of an older ai-edge-litert
        patch.delattr("ai_edge_litert.compiled_model")
        assert "--gpu: expected a GPU that takes the whole of" in refusal(
            capsys, "--model", folder, "--benchmark", "--gpu"
        )
    from ai_edge_litert import compiled_model

    def refuse(path, hardware_accel):
        raise RuntimeError("no such device")

    monkeypatch.setattr(compiled_model.CompiledModel, "from_file", refuse)
    line = refusal(capsys, "--model", folder, "--benchmark", "--gpu")
    assert "--gpu: expected a GPU that takes the whole of" in line and "no such device" in line


def test_compiled_on_the_cpu_it_draws_the_same(folder):
    file, inputs = folder / "generator_fp32.tflite", {"z": latents([3, 4], LATENT_DIM)}
    for signature in ("sample", "sample_rgb", "sample_rgba"):
        runners = edge_sample.compiled(file, "CPU", signature), edge_sample.load(file, signature=signature)[0]
        compiled, plain = (np.stack(list(edge_sample.draw(runner, inputs))) for runner in runners)
        np.testing.assert_allclose(compiled, plain, atol=1e-6)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_a_grid_is_that_of_keras_dcgan_and_its_file_has_the_models_channels(channels, mode, tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (5, 2, 3, channels), np.uint8)
    for columns in (None, 1, 2, 99):
        np.testing.assert_array_equal(edge_sample.grid(pictures, columns), images.grid(pictures, columns))
    edge_sample.save(pictures[0], tmp_path / "one.png")
    assert Image.open(tmp_path / "one.png").mode == mode
    np.testing.assert_array_equal(read(tmp_path / "one.png").reshape(2, 3, channels), pictures[0])


def test_other_golden_latents_are_refused(folder, tmp_path, capsys):
    model, content = tmp_path / "generator_int8.tflite", (folder / "generator_int8.tflite").read_bytes()
    model.write_bytes(content[: content.rindex(b"PK\3\4")])
    about = json.loads((folder / "model.json").read_text())
    about["seed"]["golden"][1]["z"][0] += 0.001
    metadata.append(model, about)
    assert "expected seed 1 to be" in refusal(capsys, "--model", model, "--out", tmp_path / "grid.png")
    assert not (tmp_path / "grid.png").exists()


def test_a_mistake_is_one_line_and_status_2(folder, tmp_path, capsys):
    (tmp_path / "garbage.tflite").write_text("not a model")
    assert "received" in refusal(capsys, "--model", tmp_path / "nowhere", "--out", "grid.png")
    assert "expected a .tflite file, or a folder with" in refusal(
        capsys, "--model", tmp_path, "--out", "grid.png"
    )
    assert "garbage.tflite" in refusal(capsys, "--model", tmp_path / "garbage.tflite", "--out", "grid.png")
    for complaint, *typed in (
        ("--out: expected what can be written, received", "--out", tmp_path / "garbage.tflite" / "grid.png"),
        ("--out: expected a name that ends in .png, or a folder, received 'a.jpg'", "--out", "a.jpg"),
        ("--cols: expected a grid as --out, such as grid.png, received set", "--cols", 3, "--out", "set"),
        ("--threads: expected no --gpu", "--threads", 2, "--gpu"),
        ("--seeds: expected fewer in one grid", "--seeds", "0-999999,0-999999", "--out", "grid.png"),
    ):
        assert complaint in refusal(capsys, "--model", folder, *typed)
    for flag, number, expected in (
        ("--cols", "0", "1 on"),
        ("--threads", "0", "1 to 256"),
        ("--threads", "3000000000", "1 to 256"),
    ):
        line = refusal(capsys, "--model", folder, "--out", "grid.png", flag, number)
        assert line == f"edge_sample: {flag}: expected a whole number from {expected}, received '{number}'"
    for seeds in ("5-3", "one", "4294967296", "1-2-3", ""):
        assert "--seeds: expected seeds from 0" in refusal(
            capsys, "--model", folder, "--out", "grid.png", "--seeds", seeds
        )
    assert "--seeds: expected at most a million" in refusal(capsys, "--model", folder, "--seeds", "0-1000000")
    for amount in ("nan", "inf", "-1", "much"):
        line = refusal(capsys, "--model", folder, "--out", "grid.png", f"--truncation={amount}")
        assert line == f"edge_sample: --truncation: expected a number from 0 to 2, received '{amount}'"


def test_a_name_that_the_terminal_cannot_show_is_shown_in_escapes():
    model = os.fsdecode(b"caf\xe9.tflite")
    done = subprocess.run([sys.executable, str(SCRIPT), "--model", model], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr and r"caf\udce9.tflite" in done.stderr


def test_another_tools_zip_at_the_end_and_damaged_latents_end_in_no_traceback(
    folder, conditional_folder, tmp_path, capsys
):
    model = tmp_path / "mine.tflite"
    content = (folder / "generator_fp32.tflite").read_bytes()
    model.write_bytes(content[: content.rindex(b"PK\3\4")])
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("labels.txt", "cat")
    assert len(pictures_of("--model", model, "--seeds", "3", "--out", tmp_path / "pictures")) == 1
    (tmp_path / "z.npy").write_bytes(b"")
    assert "--latent: expected latents" in refusal(
        capsys, "--model", model, "--latent", tmp_path / "z.npy", "--out", "grid.png"
    )
    np.save(tmp_path / "z.npy", np.zeros((1, LATENT_DIM), np.float32))
    line = refusal(capsys, "--model", conditional_folder, "--latent", tmp_path / "z.npy", "--out", "grid.png")
    assert "--class: expected the class of these latents" in line


@pytest.mark.parametrize(
    "values, received",
    [
        (np.zeros((0, LATENT_DIM)), "none"),
        (np.full((1, LATENT_DIM), np.nan), "others"),
        (np.full((1, LATENT_DIM), 1e39), "others"),  # finite as it lies there
        (np.full((1, LATENT_DIM), 3e38), "others"),  # and this one but for the truncation
        (np.zeros((1, LATENT_DIM), complex), "dtype complex128"),
        (np.zeros((1, LATENT_DIM), bool), "dtype bool"),
        (np.array(["1"] * LATENT_DIM), "dtype <U1"),
        (np.zeros(LATENT_DIM, [("x", "f4")]), "dtype [('x', '<f4')]"),
    ],
)
def test_latents_that_are_no_finite_real_numbers_are_refused(values, received, folder, tmp_path, capsys):
    file = tmp_path / "odd.npy"
    np.save(file, values)
    typed = ["--model", folder, "--latent", file, "--truncation", "2", "--out", tmp_path / "images"]
    line = refusal(capsys, *typed)
    assert line.startswith("edge_sample: --latent: expected ") and line.endswith(f"{file} with {received}")
    assert not (tmp_path / "images").exists()


def test_whole_numbers_and_several_arrays_as_latents(folder, tmp_path, capsys):
    np.save(tmp_path / "ones.npy", np.ones((1, LATENT_DIM), np.int64))
    assert len(shown_for(folder, tmp_path / "ones.npy", tmp_path / "images")) == 1
    np.savez(tmp_path / "two.npz", a=np.ones(LATENT_DIM), b=np.ones(LATENT_DIM))
    line = refusal(capsys, "--model", folder, "--latent", tmp_path / "two.npz", "--out", "a.png")
    assert line.endswith("two.npz with several arrays")


def shown_for(folder, latent, out):
    return pictures_of("--model", folder, "--latent", latent, "--out", out)


@pytest.mark.parametrize(
    "told",
    [
        "{",
        "[]",
        '{"seed": 3}',
        '{"seed": {"golden": [{"seed": -1, "z": [1]}]}}',
        '{"seed": {"golden": [{"seed": 1, "z": ["one"]}]}}',
        '{"classes": "abc"}',
        '{"classes": [1, 2]}',
        '{"licence": 3}',
    ],
)
def test_metadata_of_another_shape_are_refused(told, folder, tmp_path, capsys):
    model, content = tmp_path / "mine.tflite", (folder / "generator_int8.tflite").read_bytes()
    model.write_bytes(content[: content.rindex(b"PK\3\4")])
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("metadata.json", told)
    line = refusal(capsys, "--model", model, "--out", tmp_path / "grid.png")
    assert (
        f"--model: expected metadata as python -m keras_dcgan.export writes them, received {model} with others"
        in line
    )
    assert not (tmp_path / "grid.png").exists()


def test_licence_and_origin_of_the_images_are_shown(folder, tmp_path, capsys):
    edge_sample.main(["--model", str(folder), "--out", str(tmp_path / "grid.png")])
    assert capsys.readouterr().out.splitlines()[1:] == ["licence: CC0-1.0", "data note: drawn by us"]


def test_it_is_python_of_the_oldest_boards():
    """3.9, for which tflite-runtime has its wheels of ARM."""
    source = SCRIPT.read_text()
    tree = ast.parse(source, feature_version=(3, 9))
    assert "from __future__ import annotations\n" in source  # else X | None fails when a function is defined
    zips = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip"
    ]
    assert zips and not any(node.keywords for node in zips)  # strict= is of 3.10
    assert not any(isinstance(node, ast.Match) for node in ast.walk(tree))


def test_where_litert_is_absent_its_older_name_is_taken(tmp_path):
    """tflite_runtime, or else the message that names ai_edge_litert."""
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text("Interpreter = 'old'")
    command = f"import sys; sys.modules['ai_edge_litert'] = None; sys.path[:0] = {[str(SCRIPT.parent)]}\n"
    command += "import edge_sample; print(edge_sample.Interpreter)"
    for path, printed in ((tmp_path, "old\n"), (tmp_path / "nowhere", "")):
        done = subprocess.run(
            [sys.executable, "-c", command],
            env={**os.environ, "PYTHONPATH": str(path)},
            capture_output=True,
            text=True,
        )
        assert done.stdout == printed
        assert printed or "ai_edge_litert" in done.stderr and "tflite_runtime" not in done.stderr
