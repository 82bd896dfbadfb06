"""Shards packed by Apache Beam: the bytes that one process writes. Needs the extra [beam], which .ci/run installs
for this file alone: it holds Pillow and protobuf back."""

import dataclasses
import os
import shutil
import zipfile

import pytest
from conftest import discs
from PIL import Image

pytest.importorskip("apache_beam")

from apache_beam.io.filesystem import BeamIOError, MatchResult  # noqa: E402
from apache_beam.io.localfilesystem import LocalFileSystem  # noqa: E402

from keras_dcgan.data import beam, tables  # noqa: E402 (it imports Apache Beam)
from keras_dcgan.data.prepare import settings_of  # noqa: E402
from keras_dcgan.errors import Refused  # noqa: E402

TWO_PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture
def animals(tmp_path):
    """30 grey images in two folders, a copy, and three files that cannot be used."""
    root = tmp_path / "animals"
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
    for number, picture in enumerate(discs(30, 24)):
        Image.fromarray(picture).convert("L").save(root / ("dog", "cat", "cat")[number % 3] / f"{number}.png")
    (root / "dog" / "copy.png").write_bytes((root / "cat" / "1.png").read_bytes())
    (root / "dog" / "cut.png").write_bytes((root / "cat" / "1.png").read_bytes()[:90])
    (root / "cat" / "text.jpg").write_text("no image")
    (root / "cat" / "empty.jpg").write_bytes(b"")
    return root


@pytest.fixture
def begun(animals, tmp_path, monkeypatch):
    """A packing that was stopped when its shards were made; -> the hidden folder."""

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(beam, "described", stop)
        beam.pack(str(animals), str(tmp_path / "out"), settings_of(16, 3), shards=4, show=len)
    return next((tmp_path / "out").iterdir())


def nobody(*_):
    raise AssertionError("not in this process")


def packed(command, source, out, *typed) -> tuple[dict[str, bytes], list[str]]:
    """-> the files that are to be seen, and what was told of the images."""
    done = command("keras_dcgan.pack", "--data", source, "--out", out, "--size", 16, "--shards", 4, *typed)
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if not line.startswith(("prepared", "channels auto"))]
    files = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    return files, [line for line in told if " of 4: " not in line and "--data" not in line]


def test_two_processes_write_what_one_writes(animals, tmp_path, command, monkeypatch):
    alone = packed(command, animals, tmp_path / "alone", "--conditional", "--channels", "3")
    monkeypatch.setattr(beam, "decode_all", nobody)
    typed = ["--conditional", "--channels", "3", "--engine", "beam", "--", *TWO_PROCESSES]
    assert packed(command, animals, tmp_path / "many", *typed) == alone
    files, told = alone
    assert len(files) == 5 and told[:2] == [
        f"31 images of 16x16x3 from {animals} in 2 classes",
        "3 left out:",
    ]


@pytest.mark.parametrize("channels", ["3", "auto"])
def test_a_class_that_corrupt_files_empty_is_left_out(channels, animals, tmp_path, command, monkeypatch):
    (animals / "bird").mkdir()
    Image.new("RGB", (24, 24), "red").save(animals / "bird" / "a.png")  # the only image with colours
    (animals / "bird" / "b.png").write_bytes(b"no image")
    typed = ["--conditional", "--channels", channels]
    alone = packed(command, animals, tmp_path / "alone", *typed)
    assert packed(command, animals, tmp_path / "many", *typed, "--engine", "beam") == alone
    (line,) = [line for line in alone[1] if "class of" in line]
    assert line == "left out 1 class of fewer than two images that can be used: bird: 1"
    monkeypatch.setattr(beam, "decode_all", nobody)  # and the same command has nothing to do
    done = command(
        "keras_dcgan.pack", "--data", animals, "--out", tmp_path / "many", "--size", 16, "--shards", 4, *typed,
        "--engine", "beam",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_of_an_archive_the_images_say_how_many_channels(kind, animals, tmp_path, command, monkeypatch):
    archive = shutil.make_archive(str(tmp_path / "animals"), kind, animals)
    alone = packed(command, archive, tmp_path / "alone", "--encoding", "png")
    if kind == "tar":
        monkeypatch.setattr(beam, "_listing", nobody)  # workers know where in the file their images are
    typed = ["--encoding", "png", "--engine", "beam"]
    assert packed(command, archive, tmp_path / "many", *typed) == alone
    assert "31 images of 16x16x1" in alone[1][0]


def test_of_a_table_each_group_of_rows_is_begun_once_a_shard(animals, tmp_path, command, monkeypatch):
    pytest.importorskip("pyarrow")
    from pyarrow import Table, parquet

    rows = [
        {"image": {"bytes": path.read_bytes(), "path": path.name}} for path in sorted(animals.rglob("*.*"))
    ]
    parquet.write_table(Table.from_pylist(rows), tmp_path / "a.parquet", row_group_size=9)
    monkeypatch.setattr(tables, "WAITING", 0)
    monkeypatch.setattr(tables, "BATCH", 1)
    begun, begin = [], tables.Images._begin
    monkeypatch.setattr(
        tables.Images, "_begin", lambda self, group: begun.append(group) or begin(self, group)
    )
    alone = packed(command, tmp_path / "a.parquet", tmp_path / "alone", "--channels", "3")
    begun.clear()
    typed = ["--channels", "3", "--engine", "beam"]
    assert packed(command, tmp_path / "a.parquet", tmp_path / "many", *typed) == alone
    assert len(begun) <= 4 * 5  # of four shards


def test_labels_beside_the_images_of_a_bucket_are_not_passed_over(animals):
    (animals / "metadata.csv").write_text("file_name,text\n")
    assert len(beam._in_bucket(str(animals), (16, 16), True).names) == 33
    (animals / "metadata.csv").write_text("file_name,label\n")
    with pytest.raises(
        Refused, match="^conditional: expected classes by the folders .* labels in .*metadata.csv"
    ):
        beam._in_bucket(str(animals), (16, 16), True)
    assert len(beam._in_bucket(str(animals), (16, 16), False).names) == 33


def test_a_place_that_no_shards_can_be_read_from_is_refused_first(animals, tmp_path, command):
    done = command("keras_dcgan.pack", "--data", animals, "--out", tmp_path / "a[1]", "--engine", "beam")
    assert done.returncode == 2 and "--out: " in done.stderr and not (tmp_path / "a[1]").exists()


def test_resuming_makes_the_shards_that_are_missing_or_cut_short(
    begun, animals, tmp_path, command, monkeypatch
):
    monkeypatch.setattr(beam, "_listing", nobody)  # of a folder, workers know where their files are
    os.truncate(begun / "00001.tfrecord", 100)
    (begun / "00002.done").unlink()
    whole = {name: os.stat(begun / f"{name}.tfrecord").st_mtime_ns for name in ("00000", "00003")}
    typed = ["--channels", "3", "--engine", "beam"]
    assert packed(command, animals, tmp_path / "out", *typed) == packed(
        command, animals, tmp_path / "alone", *typed[:2]
    )
    written = sorted((tmp_path / "out").glob("*.tfrecord"))
    assert [os.stat(written[int(name)]).st_mtime_ns for name in whole] == list(whole.values())
    assert [path.name for path in begun.iterdir()] == ["index.json"]


def test_what_is_made_is_moved_without_being_made_again(animals, tmp_path, command, monkeypatch):
    typed = ["--channels", "3", "--engine", "beam"]
    first = packed(command, animals, tmp_path / "out", *typed)
    (hidden,) = (tmp_path / "out").glob(".packing-*")
    shard = sorted((tmp_path / "out").glob("*.tfrecord"))[2]
    shard.rename(hidden / "00002.tfrecord")  # as a kill between two shards leaves them
    (tmp_path / "out" / "index.json").unlink()
    monkeypatch.setattr(beam, "decode_all", nobody)
    assert packed(command, animals, tmp_path / "out", *typed) == first


class Bucket(LocalFileSystem):
    """test://bucket/a.png, which is /bucket/a.png of this machine."""

    @classmethod
    def scheme(cls):
        return "test"

    def match(self, patterns, limits=None):
        (found,) = super().match([pattern.removeprefix("test:/") for pattern in patterns], limits)
        for file in found.metadata_list:
            file.path = f"test:/{file.path}"
        return [MatchResult(patterns[0], found.metadata_list)]

    def open(self, path, *options):
        return super().open(path.removeprefix("test:/"), *options)


def test_a_bucket_is_packed_from_its_listing(animals, tmp_path, command):
    alone = packed(command, animals, tmp_path / "alone", "--conditional", "--channels", "1")
    typed = ["--conditional", "--channels", "1", "--engine", "beam"]
    bucket = packed(command, f"test:/{animals}", tmp_path / "many", *typed)
    shards = [
        {name: content for name, content in files.items() if name != "index.json"}
        for files in (alone[0], bucket[0])
    ]
    assert shards[0] == shards[1]
    assert bucket[1][1:] == alone[1][1:]


def test_a_bucket_that_does_not_answer_is_no_fault_of_the_image(animals, tmp_path, command, monkeypatch):
    def away(self, path, *options):
        raise BeamIOError("503 Service Unavailable")

    monkeypatch.setattr(Bucket, "open", away)
    argv = ["--data", f"test:/{animals}", "--out", tmp_path / "out", "--size", 16, "--channels", 3]
    done = command("keras_dcgan.pack", *argv, "--engine", "beam")
    told = "cannot be read at the moment: 503 Service Unavailable"
    assert done.returncode == 2 and told in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").glob("*/*.done"))


def test_a_bucket_that_cannot_be_read_is_one_line(tmp_path, command):
    argv = ["--data", "nowhere://bucket/imgs", "--out", tmp_path / "out", "--engine", "beam"]
    done = command("keras_dcgan.pack", *argv)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("pack: --data: expected images in nowhere://bucket/imgs: ")


def test_where_every_file_is_left_out_by_sight_it_says_so(tmp_path, command):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(b"")
    done = command(
        "keras_dcgan.pack", "--data", tmp_path / "in", "--out", tmp_path / "out", "--engine", "beam"
    )
    told = f"pack: --data: none of the 1 file in {tmp_path}/in can be used: 1 zero bytes\n"
    assert done.returncode == 2 and done.stderr == told and not (tmp_path / "out").exists()


def test_other_shards_are_left_alone(begun, animals, tmp_path, command):
    before = {path.name for path in begun.iterdir()}
    argv = ["--data", animals, "--out", tmp_path / "out", "--size", 16, "--shards", 3, "--engine", "beam"]
    done = command("keras_dcgan.pack", *argv)
    expected = "pack: --out: expected a folder without the shards of something else, received "
    assert done.returncode == 2 and done.stderr == f"{expected}{tmp_path}/out with {begun.name}\n"
    assert {path.name for path in begun.iterdir()} == before


def test_an_archive_that_changes_meanwhile_is_one_line(animals, tmp_path, command, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(animals / "cat" / "1.png", "1.png")
    listed, states = beam.listed, iter(["before"])

    def changing(*arguments):
        found = listed(*arguments)
        return dataclasses.replace(found, state=next(states, found.state))

    monkeypatch.setattr(beam, "listed", changing)
    argv = ["--data", tmp_path / "a.zip", "--out", tmp_path / "out", "--size", 16, "--channels", 3]
    done = command("keras_dcgan.pack", *argv, "--engine", "beam")
    expected = (
        "pack: --engine: a worker of Apache Beam stopped: Unavailable: source: expected what was listed when"
    )
    assert done.returncode == 2 and expected in done.stderr


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (["--", "--direct_num_workers=x"], "argument --direct_num_workers: invalid int value: 'x'"),
        (["--", "--runner=Nobody"], "Unexpected pipeline runner: Nobody."),
    ],
)
def test_flags_that_beam_refuses_are_one_line(folder, tmp_path, typed, complaint, command):
    argv = ["--data", folder, "--out", tmp_path / "out", "--engine", "beam", *typed]
    done = command("keras_dcgan.pack", *argv)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"pack: --engine: expected flags of Apache Beam after --: {complaint}")
    assert not (tmp_path / "out").exists()
