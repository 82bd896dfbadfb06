"""TFRecord shards: packed once, and fed with the promises that the array keeps."""

import json
import pathlib
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from conftest import discs

from keras_dcgan import devices, pack
from keras_dcgan.data.feed import batches
from keras_dcgan.data.prepare import prepare, report
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.errors import Refused


@pytest.fixture
def packed(tmp_path):
    """50 images in 7 shards, of 7 or 8 records."""
    np.savez(tmp_path / "a.npz", images=discs(50), labels=np.arange(50) % 2)
    images = prepare(str(tmp_path / "a.npz"), (16, 16), conditional=True, show=len)
    pack.pack(images, tmp_path / "out", shards=7, show=len)
    return images, str(tmp_path / "out" / "*.tfrecord")


def opened(pattern: str, size: tuple[int, int] = (16, 16), **options):
    return prepare(pattern, size, **options)


def taken(dataset, steps: int) -> list:
    return list(dataset.take(steps).as_numpy_iterator())


def contents(shard: pathlib.Path) -> list[bytes]:
    """The images of a shard, in its order."""
    records = tf.data.TFRecordDataset(str(shard)).as_numpy_iterator()
    return [tf.train.Example.FromString(one).features.feature["image"].bytes_list.value[0] for one in records]


def which(images: ImageSet, steps: list[np.ndarray]) -> list[int]:
    """The numbers of the images in those batches."""
    number = {image.tobytes(): i for i, image in enumerate(images.images)}
    return [number[image.tobytes()] for batch in steps for image in batch]


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_every_image_comes_once_an_epoch_with_its_label(packed, tmp_path, encoding):
    images, _ = packed
    pack.pack(images, tmp_path / encoding, encoding, shards=7, show=len)
    steps = taken(batches(opened(str(tmp_path / encoding / "*.tfrecord"), conditional=True), 10, 0), 10)
    order = which(images, [batch for batch, _ in steps])
    assert sorted(order[:50]) == sorted(order[50:]) == list(range(50)) and order[:50] != order[50:]
    assert [label for _, labels in steps for label in labels] == [images.labels[i] for i in order]


@pytest.mark.parametrize("start", [0, 1, 3, 7, 12, 31])
def test_any_step_can_be_begun_with(packed, start):
    shards = opened(packed[1])
    straight = taken(batches(shards, 8, 3, flip=True), start + 2)
    np.testing.assert_array_equal(taken(batches(shards, 8, 3, start, flip=True), 2), straight[start:])
    straight = taken(batches(shards, 8, 3, flip=True, shard=(1, 4)), start + 2)
    np.testing.assert_array_equal(
        taken(batches(shards, 8, 3, start, flip=True, shard=(1, 4)), 2), straight[start:]
    )


def test_a_part_of_the_shards_is_another_set_of_images(packed):
    _, pattern = packed
    one, other = (opened(pattern.replace("*", f"*0000{number}-of*")).manifest for number in (0, 1))
    assert len({one.fingerprint, other.fingerprint, opened(pattern).manifest.fingerprint}) == 3
    assert opened(pattern).manifest.fingerprint == packed[0].manifest.fingerprint


def cluster_of(workers: int):
    """A strategy, as far as the number of its processes is asked for."""
    spec = tf.train.ClusterSpec({"worker": [f"host{number}:1" for number in range(workers)]})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(spec, task_type="worker", task_id=0)
    return SimpleNamespace(cluster_resolver=resolver)


def test_workers_share_the_shards_among_them(packed):
    images, pattern = packed
    parts = [which(images, taken(batches(opened(pattern), 6, 0, shard=(i, 3)), 60)) for i in range(3)]
    assert (
        set(parts[0]).isdisjoint(parts[1])
        and set(parts[1]).isdisjoint(parts[2])
        and set(parts[2]).isdisjoint(parts[0])
    )
    assert set().union(*parts) == set(range(50))
    with pytest.raises(Refused, match="^data: expected a shard or more for each of 8 workers, received 7"):
        devices.check_workers(opened(pattern).most_workers, cluster_of(8))
    devices.check_workers(opened(pattern).most_workers, cluster_of(7))
    devices.check_workers(images.most_workers, cluster_of(8))


def test_shards_without_a_record_are_nobodys(tmp_path, folder):
    shutil.copytree(folder, tmp_path / "corrupt")
    for name in ("001.png", "002.png", "more/000.png"):
        (tmp_path / "corrupt" / name).write_bytes(b"none")
    images = prepare(str(tmp_path / "corrupt"), (16, 16), show=len)
    index = pack.pack(images, tmp_path / "out", shards=len(images) + 3, show=len)  # a name each
    empty = [shard["file"] for shard in index["shards"] if not shard["records"]]
    shards = opened(str(tmp_path / "out" / "*.tfrecord"))
    assert len(empty) == 3 and shards.most_workers == len(shards) == len(images)
    assert shards.manifest.fingerprint == images.manifest.fingerprint
    with pytest.raises(
        Refused, match="^source: expected shards with images in them, received .*, of which all"
    ):
        opened(str(tmp_path / "out" / empty[0]))


def test_the_manifest_goes_along_and_a_pattern_may_name_a_part(packed):
    images, pattern = packed
    shards = opened(pattern, conditional=True)
    assert shards.manifest.fingerprint == images.manifest.fingerprint
    assert shards.manifest.classes == ["0", "1"] and len(shards) == 50
    assert "50 images of 16x16x3" in report(shards.manifest)
    assert shards.evenly(9).shape == (9, 16, 16, 3)
    some = opened(pattern.replace("*", "*-0000[01]-*"))
    assert len(some) == 15
    assert len(set(which(images, taken(batches(some, 5, 0), 3)))) == 15


def test_shards_that_are_missing_are_told(packed):
    _, pattern = packed
    first, *_ = sorted(pathlib.Path(pattern).parent.glob("*.tfrecord"))
    first.unlink()
    with pytest.raises(
        Refused, match=f"^source: expected the 7 shards of .*, received 6, without {first.name}$"
    ):
        opened(pattern)
    assert len(opened(pattern.replace("*", "*-0000[1-3]-*"))) in (21, 22, 23, 24)


def test_labels_are_those_of_the_images_shown(tmp_path):
    labels = np.arange(40) % 10 == 0  # one in ten
    np.savez(tmp_path / "a.npz", images=discs(40), labels=labels.astype(int))
    images = prepare(str(tmp_path / "a.npz"), (16, 16), conditional=True, show=len)
    pack.pack(images, tmp_path, shards=3, show=len)
    shards = opened(str(tmp_path / "*.tfrecord"), conditional=True)
    shown = [labels[number] for number in which(images, [shards.evenly(40)])]
    assert shards.labels_of(40).tolist() == shown and sum(shown) == 4


def test_packing_into_a_folder_of_the_images_resumes(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "imgs")
    for _ in range(2):  # the second finds the shards of the first among the images
        images = prepare(str(tmp_path / "imgs"), (16, 16), show=len)
        pack.pack(images, tmp_path / "imgs" / "shards", shards=2, show=len)
    assert len(list((tmp_path / "imgs" / "shards").glob("*.tfrecord"))) == 2


def test_packing_goes_on_with_the_shards_that_are_missing(packed, tmp_path):
    images, pattern = packed
    out = tmp_path / "out"
    files = sorted(out.glob("*.tfrecord"))
    content = {file: file.read_bytes() for file in files}
    (out / "index.json").unlink()
    files[2].unlink()
    files[0].write_bytes(b"kept")  # whole shards are not written again
    pack.pack(images, out, shards=7, show=len)
    assert files[0].read_bytes() == b"kept"
    assert all(file.read_bytes() == content[file] for file in files[1:])
    assert json.loads((out / "index.json").read_text())["images"] == 50


def test_batches_mix_what_was_listed_together(tmp_path):
    """Ten classes in the order of the listing: batches of 40 out of 40 shards are as mixed as by chance."""
    classes = np.arange(400) // 40
    np.savez(tmp_path / "a.npz", images=discs(400), labels=classes)
    images = prepare(str(tmp_path / "a.npz"), (16, 16), conditional=True, show=len)
    pack.pack(images, tmp_path / "out", shards=40, show=len)
    shards = opened(str(tmp_path / "out" / "*.tfrecord"), conditional=True)
    counts = [np.bincount(labels, minlength=10) for _, labels in taken(batches(shards, 40), 30)]
    # A batch's chi-square: 9 degrees of freedom * 360/399 = 8.1 where 40 of the 400 are drawn by chance; shards
    # that follow the listing have 82.
    assert 5 < np.mean([np.sum((each - 4) ** 2 / 4) for each in counts]) < 11


def test_what_is_left_out_moves_no_other_image_to_another_shard(folder, tmp_path):
    corrupt = tmp_path / "corrupt"
    shutil.copytree(folder, corrupt)
    for name in ("001.png", "002.png", "more/000.png"):
        (corrupt / name).write_bytes(b"none")
    whole = prepare(str(folder), (16, 16), show=len)
    sound = prepare(str(corrupt), (16, 16), show=len)
    left = [image.tobytes() for image in sound.images]
    pack.pack(whole, tmp_path / "whole", shards=4, show=len)
    pack.pack(sound, tmp_path / "less", shards=4, show=len)
    for before, after in zip(*(sorted((tmp_path / name).glob("*.tfrecord")) for name in ("whole", "less"))):
        assert contents(after) == [image for image in contents(before) if image in left]


def test_without_apache_beam_it_says_what_to_install(tmp_path, monkeypatch, command):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "keras_dcgan.data.beam", raising=False)
    monkeypatch.delattr("keras_dcgan.data.beam", raising=False)
    done = command("keras_dcgan.pack", "--data", "demo", "--out", tmp_path / "out", "--engine", "beam")
    assert done.returncode == 2
    assert done.stderr == "pack: --engine: expected Apache Beam: pip install 'keras_dcgan[beam]'\n"


def test_the_shards_of_something_else_are_left_alone(packed, tmp_path):
    with pytest.raises(ValueError, match="^out: expected a folder without the shards of something else"):
        pack.pack(packed[0], tmp_path / "out", shards=3, show=len)
    assert len(list((tmp_path / "out").glob("*.tfrecord"))) == 7


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"size": (8, 8)},
            "^size, channels: the shards are of 16x16x3, and 8x8",
        ),
        (
            {"crop": "none"},
            r"^crop, background: the shards are packed with \('center', \(255, 255, 255\)\), and",
        ),
        ({"conditional": True}, "^conditional: expected shards packed with conditional"),
    ],
)
def test_shards_that_do_not_fit_are_an_error(tmp_path, options, message):
    np.save(tmp_path / "a.npy", discs(4))
    pack.pack(prepare(str(tmp_path / "a.npy"), (16, 16)), tmp_path, show=len)
    with pytest.raises(ValueError, match=message):
        opened(str(tmp_path / "*.tfrecord"), **options)


@pytest.mark.parametrize(
    "typed, complaint",
    [
        (["--shards", "0"], "--shards: expected a whole number from 1 up, received '0'"),
        (["--max-pixels", "-5"], "--max-pixels: expected a whole number from 1 up, received '-5'"),
        (
            ["--out", "gs://b/s"],
            "--out: expected a path of this machine, received 'gs://b/s', which lies elsewhere",
        ),
        (["--out", "a[1]"], "--out: expected a path without any of [ ] "),
        (
            ["--", "--runner", "FlinkRunner"],
            "--engine: expected beam, for what follows --: --runner FlinkRunner, received local",
        ),
        (
            ["--engine", "beam", "--cache", "c"],
            "--cache: expected --engine local: beam prepares nothing on this machine, received c",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(typed, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        pack.main(["--data", "nowhere", "--out", "out", *typed])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and told.startswith(f"pack: {complaint}") and told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_packs_a_folder_and_tells_what_it_left_out(folder, tmp_path, capsys):
    argv = ["--data", str(folder), "--out", str(tmp_path / "out"), "--size", "16x24", "--encoding", "png"]
    assert pack.main(argv) == pack.main(argv) == 0  # its own index is no hindrance
    told = capsys.readouterr().out
    assert "40 images of 16x24x3" in told and told.endswith(
        f"40 images in 1 shards; --data '{tmp_path}/out/*.tfrecord'\n"
    )
    assert [
        pathlib.Path(file).suffix for file in opened(f"{tmp_path}/out/*.tfrecord", size=(16, 24)).files
    ] == [".tfrecord"]


@pytest.mark.parametrize("content", ["[]", '{"annotations": []}', "no JSON"])
def test_an_index_of_something_else_is_left_alone(folder, tmp_path, content, capsys):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(SystemExit, match="2"):
        pack.main(["--data", str(folder), "--out", str(tmp_path), "--size", "16"])
    assert "pack: --out: expected a folder without an index.json of something else" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["index.json"] and (
        tmp_path / "index.json"
    ).read_text() == content


def test_a_full_disk_is_one_line(folder, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.io, "TFRecordWriter", full)
    with pytest.raises(SystemExit, match="2"):
        pack.main(["--data", str(folder), "--out", str(tmp_path), "--size", "16"])
    assert capsys.readouterr().err == "pack: --out: No space left on device\n"
