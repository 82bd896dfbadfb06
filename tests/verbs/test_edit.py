"""The verb, on images that the run's own generator has drawn: what it prints, what it leaves, what it
refuses."""

import json
import re
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import lively_generator
from PIL import Image

from keras_dcgan import edit
from keras_dcgan.config import TrainConfig
from keras_dcgan.data.prepare import prepare_one
from keras_dcgan.pictures import images, latents
from keras_dcgan.pictures.draw import draw
from keras_dcgan.runs import checkpoints
from keras_dcgan.runs.directory import SCHEMA

LATENT_DIM = 8
QUICK = ["--restarts", "4", "--steps", "60"]


def make_run(folder, classes=(), **options):
    """As much of a run directory as is read, and beside it what it draws of the seeds 100 and 101, as PNG and
    as an array."""
    keras.utils.set_random_seed(0)
    generator = lively_generator((16, 24), latent_dim=LATENT_DIM, classes=len(classes), **options)
    generator.trainable = False  # as a run's moving average is
    generator.save(folder / "generator.keras")
    config = TrainConfig(data="nowhere", size=(16, 24), latent_dim=LATENT_DIM)
    (folder / "config.json").write_text(json.dumps({"schema": SCHEMA, "settings": config.to_json()}))
    (folder / "data.json").write_text(json.dumps({"classes": list(classes)}))
    labels = np.array([1, 1]) if classes else None
    pictures = np.stack(list(draw(generator, latents.latents([100, 101], LATENT_DIM), labels)))
    for name, picture in zip("ab", pictures):
        images.save(picture, folder / f"{name}.png")
    return pictures.astype(int)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edit") / "run"
    folder.mkdir()
    return folder, make_run(folder)


@pytest.fixture
def editing(run, tmp_path, command):
    """The verb's answer to the given flags, with the first image if they name none, into out.png."""

    def call(task, *flags, image=(run[0] / "a.png",), out="out.png", quick=QUICK):
        common = ["--run", run[0], "--task", task, "--image", *image, "--out", tmp_path / out]
        return command("keras_dcgan.edit", *common, *quick, *flags)

    return call


def read(path):
    return np.asarray(Image.open(path)).astype(int)


def test_project_finds_its_own_picture_which_sample_then_draws_again(run, editing, tmp_path, command):
    done = editing("project")
    assert (done.returncode, done.stderr) == (0, "")
    assert float(re.search(r"a\.png: G\(z\) is ([\d.]+) dB from it\n", done.stdout)[1]) > 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-compared.png", "out-z.npy", "out.png"]
    result, compared = read(tmp_path / "out.png"), read(tmp_path / "out-compared.png")
    assert np.abs(result - run[1][0]).mean() < 4
    np.testing.assert_array_equal(compared, np.concatenate([run[1][0], result, result], axis=1))
    done = command(
        "keras_dcgan.sample", "--run", run[0], "--latent", tmp_path / "out-z.npy", "--out", tmp_path / "drawn"
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(read(tmp_path / "drawn" / "latent-0000.png"), result, atol=1)


def test_another_seed_starts_elsewhere(editing, tmp_path):
    found = []
    for seed in "01":
        assert editing("project", "--seed", seed, quick=["--restarts", "1", "--steps", "1"]).returncode == 0
        found.append(np.load(tmp_path / "out-z.npy")[0])
    assert np.abs(found[0] - found[1]).max() > 0.5


def test_inpaint_fills_the_white_of_the_mask_and_touches_nothing_else(run, editing, tmp_path):
    picture = run[1][0].astype(np.uint8)
    hole = np.zeros((16, 24), bool)
    hole[4:12, 6:18] = True
    degraded = np.where(hole[..., None], 255, picture).astype(np.uint8)
    # An image of any size, and a mask of that size.
    images.save(degraded.repeat(3, axis=0).repeat(3, axis=1), tmp_path / "large.png")
    Image.fromarray(hole).resize((72, 48)).save(tmp_path / "mask.png")
    done = editing("inpaint", "--mask", tmp_path / "mask.png", image=[tmp_path / "large.png"])
    assert done.returncode == 0, done.stderr
    prepared, _ = prepare_one(tmp_path / "large.png", (16, 24), 3)
    result = read(tmp_path / "out.png")
    untouched = (result == prepared).all(axis=-1)
    assert untouched[:2].all() and untouched[:, :4].all() and not untouched[hole].any()
    grey = np.abs(picture[~hole].mean(axis=0) - picture)[hole].mean()
    assert np.abs(result - picture)[hole].mean() < grey / 2
    shown = read(tmp_path / "out-compared.png")[:, :24]
    assert (shown[hole] == 127).all() and (shown[:2] == prepared[:2]).all()


def test_superres_makes_the_picture_that_many_times_larger(run, editing, tmp_path):
    small, _ = prepare_one(run[0] / "a.png", (8, 12), 3)
    images.save(small, tmp_path / "small.png")
    done = editing("superres", "--factor", "2", image=[tmp_path / "small.png"])
    assert done.returncode == 0, done.stderr
    enlarged = np.asarray(Image.fromarray(small).resize((24, 16), Image.Resampling.BICUBIC))
    by_the_run, by_bicubic = (
        np.mean((result - run[1][0]) ** 2) for result in (read(tmp_path / "out.png"), enlarged.astype(int))
    )
    assert by_the_run < by_bicubic / 4
    np.testing.assert_array_equal(
        read(tmp_path / "out-compared.png")[:, :24], small.repeat(2, axis=0).repeat(2, axis=1)
    )
    assert "note:" not in done.stdout
    done = editing("superres", "--factor", "2", image=[run[0] / "a.png"])
    assert done.stdout.startswith(
        f"note: {run[0] / 'a.png'} of 16x24 was made 8x12 first, which times 2 is the run's size\n"
    )


def test_denoise_takes_noise_out_and_tuning_stops_at_it(run, editing, tmp_path):
    noise = np.random.default_rng(0).normal(0, 20, run[1][0].shape)
    noisy = np.clip(run[1][0] + noise, 0, 255).astype(np.uint8)
    images.save(noisy, tmp_path / "noisy.png")
    done = editing("denoise", "--sigma", "20", "--tune", image=[tmp_path / "noisy.png"])
    assert done.returncode == 0, done.stderr
    distance = float(re.search(r"with tuned weights ([\d.]+) dB", done.stdout)[1])
    assert 20 < distance < 26  # noise of 20 in 255 is 22.1 dB
    result = read(tmp_path / "out.png")
    assert np.mean((result - run[1][0]) ** 2) < np.mean((noisy - run[1][0]) ** 2) / 4


def test_interpolate_walks_from_picture_to_picture(run, editing, tmp_path, command):
    done = editing("interpolate", image=[run[0] / "a.png", run[0] / "b.png"], out="walk.webp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("dB from it") == 2
    with Image.open(tmp_path / "walk.webp") as walk:
        assert walk.n_frames == 50
        for frame, picture in ((0, run[1][0]), (25, run[1][1])):
            walk.seek(frame)
            assert np.abs(np.asarray(walk.convert("RGB")).astype(int) - picture).mean() < 4
    assert read(tmp_path / "walk-compared.png").shape == (2 * 16, 3 * 24, 3)
    arguments = ["--run", run[0], "--latent", tmp_path / "walk-z.npy", "--out", tmp_path / "again.webp"]
    assert command("keras_dcgan.sample", *arguments).returncode == 0
    assert (tmp_path / "again.webp").read_bytes() == (tmp_path / "walk.webp").read_bytes()


def test_of_a_conditional_run_the_class_is_found_or_given(tmp_path, command):
    pictures = make_run(tmp_path, ["day", "night"], channels=1)  # grey
    common = [
        "--run",
        tmp_path,
        "--task",
        "project",
        "--image",
        tmp_path / "a.png",
        "--out",
        tmp_path / "out.png",
        *QUICK,
    ]
    done = command("keras_dcgan.edit", *common)
    assert done.returncode == 0 and "G(z) as night is" in done.stdout
    assert read(tmp_path / "out.png").shape == (16, 24)
    assert np.abs(read(tmp_path / "out.png") - pictures[0][..., 0]).mean() < 8
    again = ["--run", tmp_path, "--latent", tmp_path / "out-z.npy", "--out", tmp_path / "again.png"]
    told = "sample: --class: expected the class of these latents, one of day, night, received none\n"
    assert command("keras_dcgan.sample", *again).stderr == told
    assert command("keras_dcgan.sample", *again, "--class", "night").returncode == 0
    np.testing.assert_array_equal(read(tmp_path / "again.png"), read(tmp_path / "out.png"))
    done = command("keras_dcgan.edit", *common, "--class", "noon")
    assert (done.returncode, done.stderr) == (
        2,
        "edit: --class: expected one of day, night, received 'noon'\n",
    )
    walk = ["--run", tmp_path, "--task", "interpolate", "--image", tmp_path / "a.png", tmp_path / "b.png"]
    walk += ["--out", tmp_path / "walk.gif"]
    assert "edit: --class: expected the class to walk in" in command("keras_dcgan.edit", *walk).stderr
    done = command("keras_dcgan.edit", *walk, *QUICK, "--class", "day")
    assert done.returncode == 0 and done.stdout.count("G(z) as day is") == 2
    with Image.open(tmp_path / "walk.gif") as frames:
        assert frames.n_frames == 50


def test_no_class_goes_untried():
    flags = SimpleNamespace(task="project", wanted_class=None, restarts=2)
    assert edit.labels_of(flags, list("abcde")).tolist() == [0, 1, 2, 3, 4]
    flags.wanted_class = "e,b"
    assert edit.labels_of(flags, list("abcde")).tolist() == [4, 1]


def test_noise_shrinks_with_the_picture(tmp_path):
    flags = SimpleNamespace(task="denoise", factor=None, mask=None, sigma=127.5, image=[tmp_path / "a.png"])
    for size, crop, times in (((48, 64), "center", 2), ((48, 64), "none", 8**0.5), ((12, 8), "center", 1)):
        Image.new("RGB", size).save(tmp_path / "a.png")
        given = edit.read(flags, TrainConfig(data="x", crop=crop), (16, 24, 3))
        assert given.noise == pytest.approx(1 / times)


def test_what_cannot_be_written_is_one_line_and_told_as_soon_as_it_is_known(
    run, editing, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    done = editing("project", out="file/out.png")
    assert done.returncode == 2 and done.stderr.startswith("edit: ") and done.stderr.count("\n") == 1
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr(checkpoints, "load_generator", pytest.fail)
    done = editing("interpolate", image=[run[0] / "a.png", run[0] / "b.png"], out="walk.mp4")
    assert done.returncode == 2 and "imageio-ffmpeg" in done.stderr


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (["paint"], "--task: expected one of project, inpaint"),
        (["inpaint"], "--mask: expected one with --task inpaint, received none"),
        (["project", "--mask", "white.png"], "--mask: expected --task inpaint, received --task project"),
        (
            ["inpaint", "--mask", "small.png"],
            "--mask: expected one of the image's size, 16x24, received 8x12",
        ),
        (
            ["inpaint", "--mask", "white.png"],
            "--mask: expected black where to keep the image and white where not, received all white",
        ),
        (
            ["inpaint", "--mask", "text.png"],
            "--mask: expected an image that can be read, received text.png (not an image)",
        ),
        (["inpaint", "--mask", "nowhere.png"], "--mask: [Errno 2] No such file"),
        (["superres"], "--factor: expected one with --task superres, received none"),
        (["superres", "--factor", "3"], "--factor: expected one of 2, 4, 8, received '3'"),
        (["denoise"], "--sigma: expected one with --task denoise, received none"),
        (["interpolate"], "--out: expected a name that ends in .gif or .webp"),
        (["project", "--class", "day"], "--class: expected a run that was trained with --conditional"),
        (
            ["project", "--image", "text.png"],
            "--image: expected an image that can be read, received text.png (not an image)",
        ),
        (
            ["project", "--image", "text.png", "small.png"],
            "--image: expected one image to project, received 2",
        ),
        (["project", "--run", "nowhere"], "--run: expected a run directory"),
        (["project", "--out", "a.jpg"], "--out: expected a name that ends in .png, received 'a.jpg'"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(typed, complaint, run, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Image.new("L", (12, 8)).save("small.png")
    Image.new("L", (24, 16), 255).save("white.png")
    (tmp_path / "text.png").write_text("not an image")
    before = sorted(tmp_path.iterdir())
    done = command(
        "keras_dcgan.edit", "--run", run[0], "--image", run[0] / "a.png", "--out", "out.png", "--task", *typed
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"edit: {complaint}") and done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before
