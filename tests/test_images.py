import numpy as np
import pytest
from PIL import Image

from keras_dcgan.images import from_uint8, grid, save, save_animation, to_uint8


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
    assert grid(pictures).shape == (4, 9, 1)  # 5 pictures: 3 columns are as square as it gets


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


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.png"
    save(np.zeros((4, 4, 3), np.uint8), path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save(np.zeros((4, 4, 3), np.float64), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
