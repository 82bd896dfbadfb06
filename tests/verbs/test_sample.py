"""`python -m keras_dcgan.sample` on a generator that nobody trained: classes, walks, data sets. test_cli has
the plain grid."""

import json
import sys

import numpy as np
import pytest
from conftest import lively_generator
from PIL import Image

from keras_dcgan import sample
from keras_dcgan.data.prepare import prepare
from keras_dcgan.pictures import images
from keras_dcgan.pictures.draw import CHUNK
from keras_dcgan.pictures.latents import latents, slerp

CLASSES = ["blue", "red,ish", "white"]  # a name may have a comma of its own
LATENT_DIM = 9


@pytest.fixture(scope="module")
def model():
    return lively_generator(latent_dim=LATENT_DIM, classes=len(CLASSES))


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "tiny"
    path.mkdir()
    model.save(path / "generator.keras")
    (path / "data.json").write_text(json.dumps({"classes": CLASSES}))
    return path


@pytest.fixture
def draw(run, tmp_path, command):
    """draw(name, flags) -> what the command wrote as that name."""

    def call(name, *flags):
        done = command("keras_dcgan.sample", "--run", run, "--out", tmp_path / name, *flags)
        assert done.returncode == 0 and done.stderr == ""
        return tmp_path / name

    return call


def pictures(model, seeds, labels):
    return images.to_uint8(model([latents(seeds, LATENT_DIM), np.array(labels)])).astype(int)


def read(path):
    return np.asarray(Image.open(path)).astype(int)


def frames(path):
    with Image.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            yield np.asarray(file.convert("RGB")).astype(int)


def test_chosen_classes_come_one_after_the_other_and_otherwise_a_seed_has_its_own(draw, model):
    shown = read(draw("a.png", "--seeds", "5,1,2", "--class", "white,blue", "--cols", "1")).reshape(
        3, 16, 16, 3
    )
    assert np.abs(shown - pictures(model, [5, 1, 2], [2, 0, 2])).max() <= 1
    shown = read(draw("b.png", "--seeds", "5,1", "--class", "red,ish", "--cols", "1")).reshape(2, 16, 16, 3)
    assert np.abs(shown - pictures(model, [5, 1], [1, 1])).max() <= 1
    shown = read(draw("c.png", "--seeds", "5,1", "--cols", "1")).reshape(2, 16, 16, 3)
    assert np.abs(shown - pictures(model, [5, 1], [2, 1])).max() <= 1


def test_a_walk_goes_from_class_to_class_through_what_lies_between_and_back(draw, model):
    walk = list(frames(draw("walk.webp", "--seeds", "4,4", "--class", "blue,white", "--seconds", "0.16")))
    assert len(walk) == 8  # 4 from blue to white, 4 back
    blue, white = pictures(model, [4, 4], [0, 2])
    assert np.abs(walk[0] - blue).max() <= 1 and np.abs(walk[4] - white).max() <= 1
    meaning = model.get_layer("meaning").embeddings
    before = meaning.numpy()
    meaning.assign(np.stack([before[0], slerp(before[0], before[2], 0.5), before[2]]))
    (between,) = pictures(model, [4], [1])
    meaning.assign(before)
    assert np.abs(between - blue).max() > 20 and np.abs(between - white).max() > 20
    for halfway in walk[2], walk[6]:
        assert np.abs(halfway - between).max() <= 1


def test_a_data_set_has_so_many_of_each_class_and_says_which_seed_each_file_is(draw, model):
    folder = draw("set", "--per-class", "3", "--truncation", "0.5")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["truncation"] == 0.5
    assert [row["seed"] for row in manifest["pictures"]] == list(range(9))
    for row in manifest["pictures"]:
        label = row["seed"] % 3  # the class that this seed has in a grid as well
        assert row["class"] == CLASSES[label] and row["file"] == f"{row['class']}/seed-{row['seed']:04d}.png"
        expected = images.to_uint8(model([latents([row["seed"]], LATENT_DIM) / 2, np.array([label])]))[0]
        assert np.abs(read(folder / row["file"]) - expected).max() <= 1
    chosen = json.loads(
        (draw("few", "--per-class", "2", "--class", "white,blue") / "manifest.json").read_text()
    )
    assert [row["file"].split("/")[0] for row in chosen["pictures"]] == ["white", "blue", "white", "blue"]


def test_fit_reads_that_data_set_with_its_classes(draw):
    prepared = prepare(
        str(draw("set", "--per-class", "4")), (16, 16), conditional=True, show=lambda line: None
    )
    assert prepared.classes == prepared.manifest.classes == CLASSES and prepared.manifest.left_out == []
    assert np.bincount(prepared.labels).tolist() == [4, 4, 4]


def test_a_picture_is_the_same_in_whatever_block_it_is_drawn(model, monkeypatch):
    labels = np.arange(70, dtype=np.int32) % 3
    given = latents(range(70), LATENT_DIM)
    for z in (None, given):  # of seeds, or given ones
        order = sample.Order(range(70), z, LATENT_DIM, 1.0, labels, [])
        with monkeypatch.context() as patch:
            at_once = np.stack(list(sample.drawn(model, order)))
            patch.setattr(sample, "BLOCK", CHUNK)
            np.testing.assert_array_equal(np.stack(list(sample.drawn(model, order))), at_once)
        assert np.abs(at_once[69] - pictures(model, [69], [0])[0]).max() <= 1


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (
            ["--seeds", "1", "--class", "blue,green"],
            "--class: expected one of blue, red,ish, white, received 'green'",
        ),
        (
            ["--per-class", "2", "--out", "a.png"],
            "--out: expected a new or empty folder for --per-class, received a.png",
        ),
        (
            ["--per-class", "2", "--out", "."],
            "--out: expected a new or empty folder for --per-class, received .",
        ),
        (["--per-class", "2", "--seeds", "1"], "--seeds: not allowed with argument --per-class"),
        (["--cols", "3"], "--cols: expected a grid, such as --out NAME.png, received it with out"),
        (["--seconds", "2"], "--seconds: expected a walk, such as --out NAME.webp, received it with out"),
        (
            ["--seeds", "3", "--out", "a.gif"],
            "--seeds: expected at least 2 seeds to walk between, received 1",
        ),
        (
            ["--seeds", "0-999999,0-999999,0-999999", "--out", "a.png"],
            "--seeds: expected at most 2,796,202 in one file of this size, received 3,000,000",
        ),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(typed, complaint, run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("")
    done = command("keras_dcgan.sample", "--run", run, "--out", "out", *typed)
    assert done.returncode == 2 and done.stderr == f"sample: {complaint}\n"
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_the_latent_of_one_image_is_no_walk(run, tmp_path, command):
    np.save(tmp_path / "one.npy", latents([1], LATENT_DIM))
    typed = ["--latent", tmp_path / "one.npy", "--class", "blue", "--out", tmp_path / "a.gif"]
    done = command("keras_dcgan.sample", "--run", run, *typed)
    assert done.stderr == "sample: --latent: expected at least 2 latents to walk between, received 1\n"


def test_a_data_set_needs_classes_that_folders_can_be_named_after(run, tmp_path, command):
    (tmp_path / "data.json").write_text(json.dumps({"classes": []}))
    (tmp_path / "generator.keras").write_bytes((run / "generator.keras").read_bytes())
    arguments = ["keras_dcgan.sample", "--run", tmp_path, "--per-class", "1", "--out", tmp_path / "set"]
    assert "--per-class: expected a run that was trained with --conditional" in command(*arguments).stderr
    (tmp_path / "data.json").write_text(json.dumps({"classes": ["a", "n/a"]}))
    assert (
        "--per-class: expected classes that folders can be named after, received 'n/a'"
        in command(*arguments).stderr
    )
    assert not (tmp_path / "set").exists()


def test_without_an_encoder_mp4_is_refused_before_anything_is_loaded(tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    done = command("keras_dcgan.sample", "--run", "nowhere", "--seeds", "0-1", "--out", tmp_path / "walk.mp4")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(
        "sample: --out: expected imageio-ffmpeg to be installed for .mp4 (pip install imageio-ffmpeg"
    )
    assert list(tmp_path.iterdir()) == []
