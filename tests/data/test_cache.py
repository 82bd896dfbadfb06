"""The cache: nothing is prepared twice, and nothing half."""

import errno
import os
import pathlib
import re
import time

import numpy as np
import pytest
from imagery import folder_of, noise, prepare, two_halves

from keras_dcgan import files
from keras_dcgan.data import __main__ as data
from keras_dcgan.data import cache as entries
from keras_dcgan.data import decode, sources
from keras_dcgan.data import prepare as preparing
from keras_dcgan.errors import Unavailable


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "gone"), OSError(errno.EIO, "Input/output error")]
)
def test_what_a_disk_that_was_away_had_is_taken_when_it_is_back(tmp_path, monkeypatch, error):
    folder_of(tmp_path / "in", a=two_halves(), b=noise())
    is_away, opened = [True], []

    def open_or_not(path, *args):
        opened.append(path.name)
        if is_away[0] and path.name == "b.png":
            raise error
        return open(path, *args)

    monkeypatch.setattr(sources, "open", open_or_not, raising=False)
    cache = str(tmp_path / "cache")
    assert prepare(tmp_path / "in", cache=cache).manifest.count == 1
    opened.clear()
    assert prepare(tmp_path / "in", cache=cache).manifest.count == 1 and opened == [
        "b.png"
    ]  # no more than a look
    is_away[0] = False
    assert prepare(tmp_path / "in", cache=cache).manifest.count == 2
    opened.clear()
    assert prepare(tmp_path / "in", cache=cache).manifest.count == 2 and not opened
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_an_entry_that_was_half_removed_is_made_anew(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", a=two_halves())
    prepare(tmp_path / "in", cache=str(tmp_path / "cache"))
    (entry,) = (tmp_path / "cache").iterdir()
    (entry / "manifest.json").unlink()
    assert len(prepare(tmp_path / "in", cache=str(tmp_path / "cache")).images) == 1
    removed = []
    # As a kill that comes then.
    monkeypatch.setattr(files.shutil, "rmtree", lambda path, **_: removed.append(path.name))
    monkeypatch.setattr("sys.argv", ["data", "--cache", str(tmp_path / "cache"), "--clear"])
    data.main()
    assert not entry.exists() and re.fullmatch(rf"\.{entry.name}\.[0-9a-f]{{16}}\.part", removed[0])


def test_an_entry_of_0_1_that_left_files_out_is_made_anew(tmp_path):
    folder_of(tmp_path / "in", a=two_halves(), c=noise())
    (tmp_path / "in" / "b.png").write_text("no image")
    before = prepare(tmp_path / "in", cache=str(tmp_path / "cache")).manifest
    assert before.gaps == [1]
    (entry,) = (tmp_path / "cache").iterdir()
    content = entries.description(entry)
    del content["gaps"]
    entries.describe(entry, content)
    assert prepare(tmp_path / "in", cache=str(tmp_path / "cache")).manifest == before


def test_a_disk_that_is_full_is_told_with_the_flag(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(
        Unavailable, match="^cache: expected to write into .*cache, received: No space left on device$"
    ):
        prepare(folder_of(tmp_path / "in", a=two_halves()), cache=str(tmp_path / "cache"))


@pytest.fixture
def decoded(monkeypatch):
    """Counts the images that are decoded."""
    calls = []
    monkeypatch.setattr(preparing, "decode", lambda *args: calls.append(args) or decode.decode(*args))
    return calls


def test_nothing_is_decoded_twice_until_something_changes(tmp_path, decoded):
    folder_of(tmp_path, a=two_halves(), b=noise())
    first = prepare(tmp_path)
    assert len(decoded) == 2
    again = prepare(tmp_path)
    assert len(decoded) == 2 and again.manifest == first.manifest
    np.testing.assert_array_equal(again.images, first.images)
    folder_of(tmp_path, c=noise())
    assert len(prepare(tmp_path).images) == 3 and len(decoded) == 5
    (tmp_path / "a.png").unlink()
    assert len(prepare(tmp_path).images) == 2 and len(decoded) == 7
    os.utime(tmp_path / "b.png", ns=(0, 0))
    assert len(prepare(tmp_path).images) == 2 and len(decoded) == 9
    prepare(tmp_path, crop="none")
    assert len(decoded) == 11


def test_the_fingerprint_is_of_the_pixels_not_of_names_places_and_dates(tmp_path):
    one = prepare(folder_of(tmp_path / "one", a=two_halves(), b=noise())).manifest.fingerprint
    os.utime(tmp_path / "one" / "a.png", ns=(0, 0))
    assert prepare(tmp_path / "one").manifest.fingerprint == one
    assert prepare(folder_of(tmp_path / "two", p=two_halves(), q=noise())).manifest.fingerprint == one
    assert (
        prepare(folder_of(tmp_path / "three", p=noise(), q=two_halves())).manifest.fingerprint != one
    )  # the order is part


def test_an_interruption_leaves_no_half_cache(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", **{f"p{i}": noise() for i in range(300)})
    calls = []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return decode.decode(*args)

    monkeypatch.setattr(preparing, "decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", cache=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(calls) < 300
    monkeypatch.undo()
    assert len(prepare(tmp_path / "in", cache=str(tmp_path / "cache")).images) == 300


def test_of_two_processes_at_once_both_get_the_images(tmp_path, monkeypatch):
    folder_of(tmp_path / "in", a=noise())
    monkeypatch.setattr(preparing, "decode", lambda *args: other() or decode.decode(*args))

    def other():
        monkeypatch.undo()  # the other process begins later and ends first
        monkeypatch.setattr(os, "getpid", lambda: 1)
        prepare(tmp_path / "in", cache=str(tmp_path / "cache"))

    assert len(prepare(tmp_path / "in", cache=str(tmp_path / "cache")).images) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_nor_do_two_that_have_the_same_number_in_their_containers(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 1)
    folder_of(tmp_path / "in", a=noise())
    folders, work = [], preparing._prepare

    def slowly(folder, *more):
        folders.append(folder)
        if len(folders) == 1:
            prepare(tmp_path / "in", cache=str(tmp_path / "cache"))  # the other one
        return work(folder, *more)

    monkeypatch.setattr(preparing, "_prepare", slowly)
    assert len(prepare(tmp_path / "in", cache=str(tmp_path / "cache")).images) == 1
    assert len(set(folders)) == 2 and len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("name", ["manifest.json", "images.npy"])
def test_what_a_power_cut_has_damaged_is_made_once_more_and_can_be_cleared(
    tmp_path, decoded, monkeypatch, capsys, name
):
    cache = tmp_path / "cache"
    wanted = np.array(prepare(folder_of(tmp_path / "in", a=noise()), cache=str(cache)).images)
    (entry,) = cache.iterdir()
    (entry / name).write_bytes(b"")
    np.testing.assert_array_equal(prepare(tmp_path / "in", cache=str(cache)).images, wanted)
    assert len(decoded) == 2
    (entry / "manifest.json").write_bytes(b"")
    monkeypatch.setattr("sys.argv", ["data", "--cache", str(cache), "--clear"])
    data.main()
    assert "damaged\n" in capsys.readouterr().out and not entry.exists()


def test_what_a_killed_preparation_has_left_is_removed_and_not_what_another_is_at(tmp_path):
    cache, hours = tmp_path / "cache", time.time() - 2 * entries.ABANDONED
    left, at_work = (f".{letter * 32}.{letter * 16}.part" for letter in "ab")
    for folder in (f"{left}/{'a' * 32}", f"{at_work}/{'b' * 32}", "c" * 32):
        (cache / folder).mkdir(parents=True)
        (cache / folder / "rgba").write_bytes(b"")
        for path in (cache / folder / "rgba", cache / folder, (cache / folder).parent):
            os.utime(path, (hours, hours))
    os.utime(cache / at_work / ("b" * 32) / "rgba")
    prepare(folder_of(tmp_path / "in", a=noise()), cache=str(cache))
    assert {at_work, "c" * 32} < {path.name for path in cache.iterdir()} and len(list(cache.iterdir())) == 3


def test_what_is_unfinished_is_listed_and_cleared_by_whatever_version(tmp_path, monkeypatch, capsys):
    for folder in (f".{'a' * 32}.{'0' * 16}.part/{'a' * 32}", "b" * 32 + ".unfinished-0123", "c" * 32):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "rgba").write_bytes(bytes(2_000_000))
    monkeypatch.setattr("sys.argv", ["data", "--cache", str(tmp_path), "--clear"])
    data.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[-1] == f"{tmp_path}: 3 entries, 6.0 MB, removed"
    assert all(line.endswith(" 2.0 MB  unfinished: being prepared now, or cut short") for line in lines[:3])
    assert not list(tmp_path.iterdir())


def test_the_cache_is_listed_and_cleared_and_nothing_else(tmp_path, monkeypatch, capsys):
    prepare(folder_of(tmp_path / "in", a=noise()), cache=str(tmp_path / "cache"))
    (tmp_path / "cache" / "thesis.txt").write_text("mine")
    (tmp_path / "cache" / ".thesis.part").mkdir()
    by_chance = [tmp_path / "cache" / ("0" * 32), tmp_path / "cache" / ("1" * 32)]
    by_chance[0].mkdir(), (by_chance[0] / "photo.raw").touch(), by_chance[1].touch()
    monkeypatch.setattr("sys.argv", ["data", "--cache", str(tmp_path / "cache")])
    data.main()
    listed = capsys.readouterr().out
    assert f"1 of 16x16x3 from {tmp_path / 'in'}" in listed and "1 entry, 0.0 MB\n" in listed
    monkeypatch.setattr("sys.argv", ["data", "--cache", str(tmp_path / "cache"), "--clear"])
    data.main()
    left = {path.name for path in (tmp_path / "cache").iterdir()}
    assert left == {"thesis.txt", ".thesis.part", *(path.name for path in by_chance)}


def test_a_user_without_a_home_needs_none_where_the_cache_is_told(monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("KERAS_DCGAN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert entries.folder() == pathlib.Path("/caches/keras_dcgan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    with pytest.raises(
        ValueError, match="^cache: expected a path of this machine, received '~/.*' .no such home"
    ):
        entries.folder()
