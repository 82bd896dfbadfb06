"""Why a file cannot be read, in a line: a newer version of a package has written it, or what the reader says.
Stdlib only.

why_not(error, newer({"keras": "3.99.0"}))      # "needs keras 3.99.0 or newer, here 3.15.1"
"""

import importlib.metadata
import json
import re
import textwrap
import zipfile
from pathlib import Path

import keras_dcgan

LONGEST = 200  # characters of another's error: Keras' own hold whole models


def newer(versions: dict[str, str]) -> str:
    """Of packages and the versions that something was written with, those that are newer than what is
    installed; '' if none is."""
    found = []
    for name, version in versions.items():
        try:
            here = (
                keras_dcgan.__version__ if name == keras_dcgan.__name__ else importlib.metadata.version(name)
            )
        except importlib.metadata.PackageNotFoundError:
            continue
        if _numbers(version) > _numbers(here):
            found.append(f"{name} {version} or newer, here {here}")
    return " and ".join(found)


def of_keras_file(file: Path) -> dict[str, str]:
    """{"keras": its version} as a .keras file has it; {} where it cannot be told."""
    try:
        with zipfile.ZipFile(file) as archive:
            return {"keras": json.loads(archive.read("metadata.json"))["keras_version"]}
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return {}


def why_not(error: Exception, needed: str) -> str:
    return (
        f"needs {needed}"
        if needed
        else textwrap.shorten(str(error), LONGEST, placeholder=" ...") or type(error).__name__
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", str(version))[:3]]
