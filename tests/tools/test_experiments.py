import dataclasses

import keras
import numpy as np
import pytest

from keras_dcgan.data.portraits import faces
from tools.experiments import portraits


def test_grain_is_the_mean_absolute_laplacian():
    flat = np.full((2, 5, 5, 3), 100, np.uint8)
    assert portraits.grain(flat) == 0
    flat[0, 2, 2] = 110  # of 9 inner pixels one has 4 x 10, and four have 10; the other image has none
    assert portraits.grain(flat) == pytest.approx((40 + 4 * 10) / 9 / 2)


def test_a_trait_that_nothing_shows_is_not_asked_for():
    face = next(face for face in faces(100, 0) if face.hat == "cap")
    found = portraits.labels([face, dataclasses.replace(face, hat="none", glasses="none")])
    assert portraits.words("hat") == ["beanie", "brim", "cap", "none"]
    assert (
        found["hat"].tolist() == [2, 3]
        and found["hat_colour"][1] == found["frame"][1] == -1 != found["hat_colour"][0]
    )


def test_larger_pictures_are_brought_down_by_the_means_of_blocks():
    small = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    large = small.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(portraits.halved_to(large, 4), small)
    large[:, ::2, ::2] += 2
    assert np.array_equal(portraits.halved_to(large, 4), np.round(small + 0.5).astype(np.uint8))


def test_the_same_portraits_are_at_no_distance_and_have_every_kind():
    keras.utils.set_random_seed(1)  # not every judge that has learned nothing tells kinds apart
    reference = portraits.Reference(portraits.network(16), size=16, count=60)
    pictures, _ = portraits.drawn(60, portraits.SEED + 1, 16)
    same = reference.compare(pictures)
    assert (
        same["distance"] == pytest.approx(0, abs=1e-3)
        and same["grain"] == 1
        and set(same["kinds"].values()) <= {1.0}
    )
    other = reference.compare(pictures[:1].repeat(60, 0))
    assert other["distance"] > same["distance"] + 0.01 and min(other["kinds"].values()) == 0
    assert next(portraits.report(other)).startswith("distance ")


def test_a_judge_of_another_name_is_refused_before_the_minutes(capsys):
    with pytest.raises(SystemExit) as stop:
        portraits.main(["judge", "--out", "judge.h5"])
    assert (
        stop.value.code == 2
        and capsys.readouterr().err == "portraits: --out: expected NAME.keras, received judge.h5\n"
    )
