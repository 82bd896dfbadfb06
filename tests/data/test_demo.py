import dataclasses
import random

import numpy as np
import pytest
from PIL import Image

from keras_dcgan import demo
from keras_dcgan.data import portraits


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["demo", *map(str, arguments)])
    demo.main()


def test_a_seed_is_a_picture():
    assert np.array_equal(portraits.draw(7), portraits.draw(7))
    assert not np.array_equal(portraits.draw(7), portraits.draw(8))


def test_pictures_are_uint8_and_more_of_them_begin_with_the_same():
    five = portraits.pictures(5, seed=3, size=32)
    assert (five.shape, five.dtype) == ((5, 32, 32, 3), np.uint8)
    assert np.array_equal(five[:2], portraits.pictures(2, seed=3, size=32))
    assert np.array_equal(five[0], portraits.draw(3, size=32))
    assert not np.array_equal(five, portraits.pictures(5, seed=4, size=32))


def test_size_changes_only_the_resolution():
    large = portraits.draw(1, size=128).reduce(2)
    assert np.abs(np.subtract(large, portraits.draw(1), dtype=float)).mean() < 2  # of 255


def test_pictures_are_varied():
    images = portraits.pictures(200).astype(float)
    assert (
        np.abs(images[:100] - images[100:]).mean() > 40
    )  # of 255: 54 in fact, 18 if only backgrounds differed
    assert len({tuple(image[0, 0]) for image in images}) == 11  # every background
    assert len(np.unique(images.reshape(200, -1), axis=0)) == 200


def test_eyes_are_at_the_same_place_in_every_picture():
    fair = dict(skin="#ffe0cd", hair="#f0d489", haircut="bald", hat="none", glasses="none", beard="none")
    for seed in range(50):
        face = dataclasses.replace(portraits.Face.random(random.Random(seed)), **fair)
        ink = np.asarray(portraits.paint(face))[28:42].max(axis=-1) < 100  # lashes and pupils
        y, x = np.nonzero(ink)
        assert np.hypot(y.mean() - 5, x.mean() - 31.5) < 1
        assert 5.5 < np.abs(x - 31.5).mean() < 8.5


def test_hats_and_beards_keep_to_their_haircuts():
    drawn = [portraits.Face.random(random.Random(seed)) for seed in range(400)]
    assert {face.haircut for face in drawn if face.beard != "none"} == set(portraits.WITH_A_BEARD)
    assert {face.haircut for face in drawn if face.hat != "none"} == set(portraits.UNDER_A_HAT)


@pytest.mark.parametrize("trait", ["haircut", "beard", "mouth", "collar", "glasses", "hat"])
def test_every_variant_of_a_trait_shows(trait):
    drawn = [portraits.Face.random(random.Random(seed)) for seed in range(200)]
    plain = dataclasses.replace(
        drawn[0], glasses="none", hat="none", frame="#2e2a33", hat_colour="#c8434a", collar_colour="#f0c14d"
    )
    variants = sorted({getattr(face, trait) for face in drawn})
    pixels = {
        portraits.paint(dataclasses.replace(plain, **{trait: variant})).tobytes() for variant in variants
    }
    assert len(pixels) == len(variants) > 2


def test_the_command_writes_the_pictures_and_says_what_is_next(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "new" / "my imgs"
    run(monkeypatch, folder, "--count", 3, "--seed", 5, "--size", 16)
    assert sorted(path.name for path in folder.iterdir()) == [
        "face-0000.png",
        "face-0001.png",
        "face-0002.png",
    ]
    read = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
    assert np.array_equal(read, portraits.pictures(3, seed=5, size=16))
    out = capsys.readouterr().out
    assert out == f"wrote 3 images into {folder}; next: python -m keras_dcgan.fit --data '{folder}'\n"


def test_the_command_leaves_other_files_alone(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "face-0001.png").write_text("an older one")
    run(monkeypatch, tmp_path, "--count", 1, "--size", 16)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (tmp_path / "face-0001.png").read_text() == "an older one"


@pytest.mark.parametrize(
    "flag, value, expected",
    [
        ("--count", "0", "from 1 to 1000000, received '0'"),
        ("--count", "many", "from 1 to 1000000, received 'many'"),
        ("--size", "9", "from 16 to 512, received '9'"),
        ("--size", "513", "from 16 to 512, received '513'"),
        ("--seed", "-1", "from 0 to 4294967295, received '-1'"),
    ],
)
def test_a_bad_number_is_one_line_and_exit_2(flag, value, expected, tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, tmp_path / "imgs", flag, value)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"demo: {flag}: expected a whole number {expected}\n"
    assert not (tmp_path / "imgs").exists()


def test_a_file_in_place_of_the_folder_is_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    file = tmp_path / "imgs"
    file.write_text("mine")
    why = f"folder: expected a folder to write into, received the file {file}\n"
    for folder, complaint in ((file, why), (file / "deeper", "")):
        with pytest.raises(SystemExit) as ended:
            run(monkeypatch, folder)
        error = capsys.readouterr().err
        assert ended.value.code == 2
        assert error.startswith(f"demo: {complaint}") and error.count("\n") == 1
