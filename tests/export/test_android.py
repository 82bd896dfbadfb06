"""The Android sample, as far as it can be held against the rest without an Android SDK: names, constants,
golden values."""

import re
from pathlib import Path

import pytest
from conftest import lively_generator

from keras_dcgan.export import convert
from keras_dcgan.pictures import latents

ANDROID = Path(convert.__file__).parent / "android"
SOURCES = ANDROID / "app" / "src"


@pytest.fixture(scope="module")
def kotlin():
    return (SOURCES / "main" / "kotlin" / "Generator.kt").read_text()


@pytest.fixture(scope="module")
def about():
    return convert.describe(lively_generator(latent_dim=12, classes=2), "tiny", ("blue", "red"))


def numbers(text: str) -> list[float]:
    return [float(number.rstrip("f")) for number in re.findall(r"-?\d+\.?\d*f?", text)]


def test_golden_latents_are_those_of_model_json():
    text = (SOURCES / "test" / "kotlin" / "LatentsTest.kt").read_text()
    found = {int(seed): numbers(z) for seed, z in re.findall(r"(\d+)L to floatArrayOf\(([^)]*)\)", text)}
    assert found == {
        golden["seed"]: golden["z"] for golden in (convert.golden(seed, 100) for seed in convert.GOLDEN_SEEDS)
    }


def test_the_generator_of_random_numbers_has_the_same_constants():
    text = (SOURCES / "main" / "kotlin" / "Latents.kt").read_text()
    (rotations,) = re.findall(r"ROTATIONS = (.*)", text)
    assert numbers(rotations) == [rotation for group in latents.ROTATIONS for rotation in group]
    assert f"PARITY = 0x{latents.PARITY:X}" in text


def test_files_signatures_and_tensors_are_called_as_export_calls_them(kotlin, about):
    (file,), (signature,) = re.findall(r'FILE = "(.*)"', kotlin), re.findall(r'SIGNATURE = "(.*)"', kotlin)
    assert file in [variant.file for variant in convert.VARIANTS.values()]
    assert (
        set(re.findall(r'createInputBuffer\("(\w+)"', kotlin))
        == about["signatures"][signature]["inputs"].keys()
    )
    assert (
        set(re.findall(r'createOutputBuffer\("(\w+)"', kotlin))
        == about["signatures"][signature]["outputs"].keys()
    )
    (pixels,) = about["signatures"][signature]["outputs"].values()
    assert (pixels["shape"][-1], pixels["dtype"]) == (4, "uint8")  # ARGB_8888
    keys = re.findall(r'about\.get\w+\("(\w+)"', kotlin)
    assert len(keys) == 5 and set(keys) <= about.keys()


def test_what_to_copy_is_what_the_app_opens(kotlin):
    (copied,) = re.findall(r"export/\{(.*)\}", (ANDROID / "settings.gradle.kts").read_text())
    assert sorted(copied.split(",")) == sorted(
        re.findall(r'open\("(.*?)"\)', kotlin) + re.findall(r'FILE = "(.*)"', kotlin)
    )


def test_a_missing_library_a_rotation_and_the_keyboard_are_seen_to():
    """Each was a fault on a phone; a text is all that can be looked at here."""
    activity = (SOURCES / "main" / "kotlin" / "MainActivity.kt").read_text()
    assert "catch (error: LinkageError)" in activity
    assert "putString(SEED" in activity and "getString(SEED)" in activity
    assert "hideSoftInputFromWindow" in activity
    assert "abiFilters" in (ANDROID / "app" / "build.gradle.kts").read_text()
