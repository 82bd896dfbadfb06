"""What `pip install` leaves: one top-level name, every command, and nothing that only a clone has."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IN_A_CLONE = ("keras_dcgan", "export", "tests", "tools", "docs", "examples")
COMMANDS = (
    "fit sample explore edit evaluate features demo data pack export export.web export.edge_sample".split()
)


def python(*arguments, **options):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of a wheel and a source archive of this tree."""
    tree = tmp_path_factory.mktemp("tree")
    for name in IN_A_CLONE:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in (*ROOT.glob("*.*"), ROOT / "LICENSE"):
        if file.is_file():
            shutil.copy(file, tree)
    done = python("-m", "build", "--no-isolation", tree)
    assert done.returncode == 0, done.stdout + done.stderr
    return tree / "dist"


def code(top: str) -> set[str]:
    """All files of a folder of the tree, as the wheel names them."""
    inside = "" if top == "keras_dcgan" else "keras_dcgan/"
    found = (path for path in (ROOT / top).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {inside + path.relative_to(ROOT).as_posix() for path in found}


def test_the_wheel_holds_one_package_whole(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (about,) = (archive.read(name).decode() for name in archive.namelist() if name.endswith("METADATA"))
    android = {name for name in code("export") if name.startswith("keras_dcgan/export/android/")}
    assert names == code("keras_dcgan") | code("export") - android
    assert {"Requires-Python: <3.14,>=3.11", "License: Apache-2.0"} <= set(about.splitlines())
    assert "Development Status ::" in about


def test_the_source_archive_can_be_tested(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        names = {name.partition("/")[2] for name in content.getnames()}
    for path in ("tests/conftest.py", "tests/runs/test_runs.py", "tools/lowest.sh", "docs/demo.png"):
        assert (ROOT / path).is_file() and path in names
    assert "export/android/app/src/main/kotlin/Generator.kt" in names
    assert not [name for name in names if "__pycache__" in name]


def test_both_are_as_an_index_wants_them(built):
    done = python("-m", "twine", "check", "--strict", *built.iterdir())
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_command_answers_where_only_the_wheel_is(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (tmp_path / "export.py").write_text("raise SystemExit('a module of the user')")
    place = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(tmp_path / "site")}}
    for command in COMMANDS:
        done = python("-m", f"keras_dcgan.{command}", "--help", **place)
        assert done.returncode == 0 and done.stdout.startswith("usage: "), (command, done.stderr)
    where = "import keras_dcgan.export.convert as module; print(module.__file__)"
    assert python("-c", where, **place).stdout.startswith(str(tmp_path / "site"))


def test_a_clone_takes_both_names_of_export():
    for name in ("export", "export.web"):
        of_clone, of_package = (
            python("-m", prefix + name, "--help", cwd=ROOT) for prefix in ("", "keras_dcgan.")
        )
        assert of_clone.stdout == of_package.stdout != "" and of_clone.returncode == 0


def test_the_docs_show_commands_that_a_wheel_has():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    assert not [line for line in lines if re.search(r"-m export\b", line) and "in a clone" not in line]
