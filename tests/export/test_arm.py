"""`tools.arm`, but for the emulation: that takes minutes and 600 MB."""

import sys

import numpy as np
import pytest
from conftest import lively_generator

from keras_dcgan.export import convert
from keras_dcgan.pictures import images
from keras_dcgan.pictures.latents import latents
from tools import arm


def test_both_processors_draw_what_a_user_would(tmp_path):
    model = lively_generator(latent_dim=9, classes=2, blocks=1)
    convert.export(model, ["fp32"], tmp_path, "tiny", ("blue", "red"))
    drawn, grid = arm.draw([sys.executable], tmp_path / "generator_fp32.tflite")
    expected = model([latents(range(16), 9), np.arange(16) % 2]).numpy()
    np.testing.assert_allclose(drawn, expected, atol=1e-4)
    assert np.abs(grid.astype(int) - images.grid(images.to_uint8(expected))).max() <= 1


def test_differences_by_hand():
    here = np.array([0.5, -1.0], np.float32), np.array([[1, 2], [3, 4]], np.uint8)
    there = np.array([0.5, -0.75], np.float32), np.array([[1, 255], [3, 5]], np.uint8)
    assert arm.differences(here, there) == (0.25, 2)
    assert arm.differences(here, here) == (0, 0)


@pytest.mark.parametrize(
    "name, error, code",
    [
        ("fp32", 9e-6, 0),
        ("fp16", 2e-5, 1),
        ("fp32", np.nan, 1),
        ("int8", 0.01, 0),
        ("int8_full", 0, 0),
        ("int8_full", 1e-6, 1),
    ],
)
def test_what_is_too_far(name, error, code, tmp_path, monkeypatch, capsys):
    (tmp_path / f"generator_{name}.tflite").touch()
    monkeypatch.setattr(arm, "prepare", lambda work: work)
    monkeypatch.setattr(arm, "emulated", lambda root, processor: [processor])
    monkeypatch.setattr(arm, "draw", lambda python, file: python)
    monkeypatch.setattr(arm, "differences", lambda here, there: (error, 0))
    assert arm.main(["--export", str(tmp_path)]) == code
    assert ("Too far" in capsys.readouterr().out) == bool(code)


def test_a_mistake_is_one_line_and_status_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        arm.main(["--export", str(tmp_path)])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith(
        "arm: --export: expected a folder with .tflite files, received "
    )


def test_a_command_that_fails_says_why():
    with pytest.raises(OSError, match="failed with 3: no such board"):
        arm.run([sys.executable, "-c", "import sys; print('no such board', file=sys.stderr); sys.exit(3)"])
