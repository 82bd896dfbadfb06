"""`python -m keras_dcgan.explore`: every image of the sheet is where it says it is."""

import json

import numpy as np
import pytest
from conftest import lively_generator
from PIL import Image

from keras_dcgan.pictures import images
from keras_dcgan.pictures.latents import directions, latents

LATENT_DIM = 9


@pytest.fixture(scope="module", params=[0, 2], ids=["plain", "conditional"])
def run(request, tmp_path_factory):
    """-> the run's directory, its generator, its classes."""
    path = tmp_path_factory.mktemp("run")
    classes = ["day", "night"][: request.param]
    model = lively_generator(latent_dim=LATENT_DIM, classes=len(classes))
    model.save(path / "generator.keras")
    (path / "data.json").write_text(json.dumps({"classes": classes}))
    return path, model, classes


def test_a_strip_moves_along_its_direction_through_the_seeds_own_picture(run, tmp_path, command):
    path, model, classes = run
    flags = ["--seeds", "4,7", "--directions", "3", "--columns", "5", "--reach", "2", "--truncation", "0.5"]
    flags += ["--class", "night,day"] if classes else []
    done = command("keras_dcgan.explore", "--run", path, "--out", tmp_path / "a.png", *flags)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == f"3 directions, 2 strips each, from -2 to 2, in {tmp_path / 'a.png'}\n"
    sheet = np.asarray(Image.open(tmp_path / "a.png")).astype(int).reshape(6, 16, 5, 16, 3).swapaxes(1, 2)
    for row, (direction, seed) in enumerate(
        (direction, seed) for direction in directions(model, 3) for seed in (4, 7)
    ):
        for column, amount in enumerate((-2, -1, 0, 1, 2)):
            z = (latents([seed], LATENT_DIM) * 0.5 + amount * direction).astype("float32")
            expected = images.to_uint8(model([z, np.array([seed == 4])] if classes else z))[0]
            assert np.abs(sheet[row, column] - expected).max() <= 1
    assert np.abs(sheet[:, 0] - sheet[:, 4]).max(axis=(1, 2, 3)).min() > 10


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (["--out", "a.jpg"], "--out: expected a name that ends in .png, received a.jpg"),
        (
            ["--out", "a.png", "--columns", "8"],
            "--columns: expected an odd number from 3 to 99, received '8'",
        ),
        (["--out", "a.png", "--reach", "0"], "--reach: expected a number above 0 to 20, received '0'"),
        (["--out", "a.png", "--class", "noon"], "--class: expected "),
        (["--out", "a.png", "--seeds", "0-999999"], "--seeds: expected at most "),
    ],
)
def test_mistakes_are_one_line_and_status_2(run, typed, complaint, command):
    done = command("keras_dcgan.explore", "--run", run[0], *typed)
    assert (
        done.returncode == 2
        and done.stderr.startswith(f"explore: {complaint}")
        and done.stderr.count("\n") == 1
    )
