import importlib.util
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_dcgan.pictures.images import (
    from_uint8,
    grid,
    save,
    save_all,
    save_animation,
    to_uint8,
    video_encoder,
)

needs_ffmpeg = pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None and "TEST_EVERYTHING" not in os.environ,
    reason="imageio-ffmpeg is absent",
)


def test_every_grey_survives_the_round_trip():
    greys = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(from_uint8(greys)), greys)


def test_ends_and_overshoot():
    np.testing.assert_array_equal(to_uint8(np.array([-1.5, -1, 0, 1, 1.5])), [0, 0, 128, 255, 255])


def test_grid_reads_like_a_page():
    pictures = np.stack([np.full((2, 3, 1), value, np.uint8) for value in (1, 2, 3, 4, 5)])
    sheet = grid(pictures, columns=3)
    assert sheet.shape == (4, 9, 1)
    np.testing.assert_array_equal(sheet[::2, ::3, 0], [[1, 2, 3], [4, 5, 0]])
    assert grid(pictures).shape == (4, 9, 1)  # 5 images: 3 columns are as square as it gets


@pytest.mark.parametrize("channels, mode", [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_png_holds_the_pixels(tmp_path, channels, mode):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    save(picture, tmp_path / "new" / "a.png")
    with Image.open(tmp_path / "new" / "a.png") as read:
        assert read.mode == mode
        np.testing.assert_array_equal(np.asarray(read).reshape(5, 7, channels), picture)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a.gif", "a.webp"])
def test_animation_loops_for_ever_with_every_frame(tmp_path, name):
    frames = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (0, 100, 200)])
    save_animation(frames, tmp_path / name, frames_per_second=20)
    with Image.open(tmp_path / name) as read:
        assert read.n_frames == 3
        assert read.info["loop"] == 0
        read.seek(1)
        assert abs(int(np.asarray(read.convert("RGB"))[4, 4, 0]) - 100) <= 1


@needs_ffmpeg
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_mp4_holds_every_frame_enlarged_and_over_white(tmp_path, channels, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = np.stack([np.full((5, 7, channels), value, np.uint8) for value in (0, 100, 200)])
    expected = [0, 100, 200]
    if channels == 4:
        frames[..., 3] = 51  # a fifth
        expected = [204, 224, 244]
    save_animation(frames, Path("12:30.mp4"), frames_per_second=20)
    decode = [
        video_encoder(),
        "-v",
        "error",
        "-i",
        tmp_path / "12:30.mp4",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "gray",
        "-",
    ]
    decoded = np.frombuffer(subprocess.run(decode, capture_output=True, check=True).stdout, np.uint8)
    # 52 times: an even number, and the shorter side has 256 or more.
    decoded = decoded.reshape(3, 5 * 52, 7 * 52)
    np.testing.assert_allclose(decoded.mean(axis=(1, 2)), expected, atol=2)
    assert [file.name for file in tmp_path.iterdir()] == ["12:30.mp4"]


def test_many_files_are_written_as_one_by_one_and_an_error_comes_through(tmp_path):
    count = 4 * 64 + 10  # more than may wait
    save_all(
        (np.full((2, 2, 1), i % 256, np.uint8) for i in range(count)),
        (tmp_path / f"{i}.png" for i in range(count)),
    )
    assert [int(np.asarray(Image.open(tmp_path / f"{i}.png"))[0, 0]) for i in range(count)] == [
        i % 256 for i in range(count)
    ]
    (tmp_path / "file").write_text("in the way")
    for bad in (0, count - 1):
        with pytest.raises(OSError):
            paths = [tmp_path / ("file/a.png" if i == bad else f"{i}.png") for i in range(count)]
            save_all([np.zeros((2, 2, 1), np.uint8)] * count, paths)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    save(np.zeros((4, 4, 3), np.uint8), path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save(np.zeros((4, 4, 3), np.float64), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_one_file_twice_is_no_race(tmp_path, monkeypatch):
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *names: time.sleep(0.01) or replace(*names))
    save_all([np.full((2, 2, 1), value, np.uint8) for value in range(8)], [tmp_path / "a.png"] * 8)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.png"]
