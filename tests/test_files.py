import ast
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_dcgan import files


@pytest.fixture
def done(monkeypatch):
    """What reaches the disk, and what is renamed, in order."""
    events, names = [], {}
    opened, sync, replace = os.open, os.fsync, os.replace

    def named(path, flags, *more, **options):
        descriptor = opened(path, flags, *more, **options)
        names[descriptor] = os.path.basename(path)
        return descriptor

    def synced(descriptor):
        events.append(names[descriptor])
        sync(descriptor)

    def replaced(beside, place):
        events.append(f"-> {os.path.basename(place)}")
        replace(beside, place)

    monkeypatch.setattr(os, "open", named)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return events


def test_a_file_is_on_the_disk_before_it_takes_the_place_of_the_old_one(tmp_path, done):
    (tmp_path / "a.json").write_text("old")
    files.write(tmp_path / "a.json", "new")
    assert done == ["a.json", "-> a.json", tmp_path.name]
    assert (tmp_path / "a.json").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_so_is_all_of_a_folder(tmp_path, done):
    with files.replacing(tmp_path / "whole") as beside:
        beside.mkdir()
        for name in ("one", "two"):
            (beside / name).write_text(name)
        assert beside.parent.parent == tmp_path and files.LEFTOVERS.fullmatch(beside.parent.name)
    assert sorted(done[:2]) == ["one", "two"] and done[2:] == ["whole", "-> whole", tmp_path.name]
    assert (tmp_path / "whole" / "two").read_text() == "two" and len(list(tmp_path.iterdir())) == 1


def test_what_can_be_drawn_again_need_not_be_on_the_disk(tmp_path, done):
    with files.replacing(tmp_path / "new" / "a.png", is_synced=False) as beside:
        beside.write_bytes(b"drawn")
    assert done == ["-> a.png"] and (tmp_path / "new" / "a.png").read_bytes() == b"drawn"


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path, done):
    (tmp_path / "a.json").write_text("old")
    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "a.json") as beside:
        beside.write_text("half of the n")
        raise KeyboardInterrupt
    assert done == [] and [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.parametrize("call", ["fsync", "open"])
@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_file_system_that_syncs_no_folders_is_written_to_all_the_same(tmp_path, monkeypatch, call, number):
    function = getattr(os, call)

    def refuse(what, *more):
        if os.path.isdir(what if call == "open" else f"/proc/self/fd/{what}"):
            raise OSError(number, os.strerror(number))
        return function(what, *more)

    monkeypatch.setattr(os, call, refuse)
    files.write(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_a_disk_that_fails_is_no_such_file_system(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        files.write(tmp_path / "a.json", "new")


ROOT = Path(__file__).parent.parent
SOURCES = [path for folder in ("keras_dcgan", "export", "tools") for path in (ROOT / folder).rglob("*.py")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_file_has_the_encoding_of_the_locale(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and "encoding" not in {keyword.arg for keyword in node.keywords}:
            called = ast.unparse(node.func)
            assert called.rpartition(".")[2] not in ("read_text", "write_text"), ast.unparse(node)
            if called == "open" and ast.unparse(node.args[0]) != "os.devnull":
                assert "b" in ast.unparse(node.args[1]), ast.unparse(node)


def in_ascii(program: str, *arguments) -> bytes:
    """What a Python prints that was started where the locale knows ASCII only."""
    ascii_only = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | ascii_only, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_is_utf_8_wherever_it_is_written(tmp_path):
    program = "import sys, pathlib; from keras_dcgan import files; files.write(pathlib.Path(sys.argv[1]), '\\xb1\\u2501\\udcff')"
    in_ascii(program, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_bytes() == "\xb1\u2501".encode() + b"\\udcff"


def test_a_terminal_gets_a_bar_that_it_can_show():
    program = "from keras_dcgan import process; process.run(lambda: print('\\u2501\\u2500 \\xb1 5 \\xe9'))"
    assert in_ascii(program) == b"=- +- 5 \\xe9\n"
