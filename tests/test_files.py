import os

import pytest

from keras_dcgan import files


@pytest.fixture
def done(monkeypatch):
    """What reaches the disk, and what is renamed, in order."""
    events, names = [], {}
    opened, sync, replace = os.open, os.fsync, os.replace

    def named(path, flags):
        descriptor = opened(path, flags)
        names[descriptor] = path.name
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
    assert done == [".a.json.part", "-> a.json", tmp_path.name]
    assert (tmp_path / "a.json").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_so_is_all_of_a_folder(tmp_path, done):
    (tmp_path / "part").mkdir()
    for name in ("one", "two"):
        (tmp_path / "part" / name).write_text(name)
    files.replace(tmp_path / "part", tmp_path / "whole")
    assert sorted(done[:2]) == ["one", "two"] and done[2:] == ["part", "-> whole", tmp_path.name]
    assert (tmp_path / "whole" / "two").read_text() == "two"
