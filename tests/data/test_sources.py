"""Whole sources: folders, archives, arrays, the demo; classes; and every mistake in naming one."""

import pathlib
import zipfile

import numpy as np
import pytest
from imagery import PICTURE, encoded, folder_of, noise, prepare, reasons, two_halves

from keras_dcgan.data import decode, portraits, sources
from keras_dcgan.errors import Refused, Unavailable


def test_a_cache_among_the_images_is_none_of_them(tmp_path):
    folder_of(tmp_path / "in", a=two_halves(), b=noise())
    (tmp_path / "in" / ("0" * 32)).mkdir()  # a folder of the user's may be called so
    noise().save(tmp_path / "in" / ("0" * 32) / "c.png")
    cache = tmp_path / "in" / "cache"
    for _ in range(2):
        manifest = prepare(tmp_path / "in", cache=str(cache)).manifest
        assert manifest.count == 3 and manifest.left_out == []
    assert len(list(cache.iterdir())) == 1


def test_a_zip_is_read_in_place_and_no_name_in_it_can_escape(tmp_path):
    path = tmp_path / "in" / "images.zip"
    path.parent.mkdir()
    picture = encoded(two_halves(), "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            "all/cats/a.png",
            "all/../../evil.png",
            "/all/root.png",
            "all/dogs/",
            "__MACOSX/all/._a.png",
            "all/notes.txt",
        ):
            archive.writestr(name, picture)
        archive.writestr("all/bad.png", picture[:40])
        archive.writestr("all/empty.png", b"")
    images = prepare(path)
    assert len(images.images) == 3
    assert reasons(images.manifest) == {"all/empty.png": "zero bytes", "all/bad.png": decode.DAMAGED}
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["images.zip", "in"]


def test_a_damaged_member_of_a_zip_costs_only_itself(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encoded(two_halves(), "PNG"))
        archive.writestr("b.png", encoded(noise(), "PNG"))
    content = bytearray(path.read_bytes())
    content[content.index(b"b.png") + 500] ^= 255
    path.write_bytes(content)
    assert reasons(prepare(path).manifest) == {"b.png": "damaged in the archive"}


def test_so_does_one_of_another_compression_and_a_damaged_table_of_contents_is_an_error(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", encoded(two_halves(), "PNG"))
        archive.writestr("lzma.png", encoded(noise(), "PNG"))
    content = bytearray(path.read_bytes())
    content[content.index(b"lzma.png") + len("lzma.png") + 4] = 255  # no such properties
    path.write_bytes(content)
    assert reasons(prepare(path).manifest) == {"lzma.png": "damaged in the archive"}
    content[content.index(b"PK\1\2") + 6] = 99  # the version that is needed to unpack it
    path.write_bytes(content)
    with pytest.raises(ValueError, match="^source: expected a zip archive, received"):
        prepare(path)


def test_a_run_among_the_images_is_not_learnt_from_and_a_folder_may_be_called_anything(tmp_path):
    folder_of(tmp_path / "cats.db", a=two_halves(), b=noise())
    before = prepare(tmp_path).manifest
    folder_of(tmp_path / "runs" / "imgs" / "samples", grid=noise())
    for name in ("config.json", "data.json", ".lock"):
        (tmp_path / "runs" / "imgs" / name).write_text("")
    assert prepare(tmp_path).manifest == before and before.count == 2  # killed before its first checkpoint
    (tmp_path / "runs" / "imgs" / ".lock").rename(tmp_path / "runs" / "imgs" / "checkpoints")
    assert prepare(tmp_path).manifest == before


def test_a_member_that_would_fill_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST_MEMBER", 5000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", encoded(two_halves(), "PNG"))
        archive.writestr("bomb.png", bytes(5001))
    assert reasons(prepare(tmp_path / "a.zip").manifest) == {"bomb.png": decode.TOO_LARGE}


def test_a_fitting_npy_is_used_where_it_lies_and_another_is_resized(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    np.save(tmp_path / "a.npy", pixels)
    images = prepare(tmp_path / "a.npy")
    assert pathlib.Path(images.images.filename) == tmp_path / "a.npy"
    np.testing.assert_array_equal(images.images, pixels)
    assert prepare(tmp_path / "a.npy", size=(8, 8)).images.shape == (5, 8, 8, 3)
    np.save(tmp_path / "grey.npy", pixels[..., 0])
    np.testing.assert_array_equal(prepare(tmp_path / "grey.npy").images, pixels[..., :1])


def test_a_npz_brings_images_and_labels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "a.npz", images=pixels, labels=[10, 2, 2, 10])
    images = prepare(tmp_path / "a.npz", conditional=True)
    assert images.manifest.classes == ["2", "10"] and images.labels.tolist() == [1, 0, 0, 1]
    assert images.labels.dtype == np.int32
    np.testing.assert_array_equal(images.images, pixels)
    unlabelled = prepare(tmp_path / "a.npz")
    assert unlabelled.classes == [] and unlabelled.labels.tolist() == [0] * 4


def test_the_demo_is_drawn_once_at_the_size_asked_for(monkeypatch):
    monkeypatch.setattr(portraits, "COUNT", 6)
    images = prepare("demo", size=(16, 24))
    assert images.images.shape == (6, 16, 24, 3)
    monkeypatch.setattr(portraits, "paint", None)
    assert prepare("demo", size=(16, 24)).manifest == images.manifest


def test_folders_are_classes_when_asked(tmp_path):
    pictures = {f"{name}__{i}": noise().rotate(90 * i) for name in ("dogs", "cats") for i in range(2)}
    images = prepare(folder_of(tmp_path, **pictures, stray=noise(), dogs__pups__x=noise()), conditional=True)
    assert images.manifest.classes == ["cats", "dogs"] and images.labels.tolist() == [0, 0, 1, 1, 1]
    assert reasons(images.manifest) == {"stray.png": "not in a class folder"}
    assert prepare(tmp_path).classes == [] and not prepare(tmp_path).labels.any()


def test_an_encrypted_member_of_a_zip_is_called_that(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", PICTURE)
        archive.writestr("b.png", PICTURE)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # of the last member
        content[content.rindex(header) + flags] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert reasons(prepare(tmp_path / "a.zip").manifest) == {"b.png": "encrypted"}


def test_the_folder_that_was_zipped_is_not_a_class(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("all/cats/1.png", "all/cats/2.png", "all/dogs/1.png", "all/dogs/2.png", "all/stray.png"):
            archive.writestr(name, encoded(two_halves(), "PNG"))
    images = prepare(tmp_path / "a.zip", conditional=True)
    assert images.manifest.classes == ["cats", "dogs"] and images.labels.tolist() == [0, 0, 1, 1]
    assert reasons(images.manifest) == {"all/stray.png": "not in a class folder"}


FLOATS = (
    b"\x93NUMPY\1\0v\0"
    + f"{{'descr': '<f4', 'fortran_order': False, 'shape': (2, 8, 8, 3)}}{'':57}\n".encode()
    + bytes(1536)
)
# Mistake -> files to write, what to give as --data, options, and the message that must come.
MISTAKES = {
    "missing": (
        {},
        "./nowhere",
        {},
        "source: expected a folder, .* received ./nowhere, which does not exist",
    ),
    "one image": ({"a.png": PICTURE}, "a.png", {}, "source: expected a folder, .* received .*a.png"),
    "empty": ({"a.txt": b"x"}, "", {}, r"source: no images in .* \(looked for .jpg"),
    "all bad": (
        {"a.png": b"", "b.png": b"x" * 99},
        "",
        {},
        "source: none of the 2 files in .*: 1 zero bytes, 1 not an image",
    ),
    "no zip": ({"a.zip": b"no"}, "a.zip", {}, "source: expected a zip archive, received .*a.zip"),
    "floats": (
        {"a.npy": FLOATS},
        "a.npy",
        {},
        r"source: expected uint8 images of \(N.* received float32 of \(2, 8",
    ),
    "a pickle": ({"a.npy": b"\x80\4N."}, "a.npy", {}, "source: expected uint8 images in .*a.npy"),
    "no classes": (
        {"a.png": PICTURE},
        "",
        {"conditional": True},
        "conditional: expected two or more folders .* none",
    ),
    "one class": (
        {"c/a.png": PICTURE},
        "",
        {"conditional": True},
        "conditional: expected two or more folders .* only c",
    ),
    "few": (
        {"c/1.png": PICTURE, "c/2.png": PICTURE, "d/1.png": PICTURE, "e/1.png": b"bad"},
        "",
        {"conditional": True},
        "conditional: expected two or more images in each class, received d: 1, e: 1",
    ),
    "channels": ({"a.png": PICTURE}, "", {"channels": 2}, "channels: expected auto, 1, 3 or 4, received 2"),
    "crop": ({"a.png": PICTURE}, "", {"crop": "left"}, "crop: expected center or none, received 'left'"),
    "colour": (
        {"a.png": PICTURE},
        "",
        {"background": "whitish"},
        "background: expected a colour .* received 'whitish'",
    ),
    "cache": (
        {"a.png": PICTURE, "file": b""},
        "",
        {"cache": "file"},
        "cache: expected a folder that can be written",
    ),
    "shade": (
        {"a.png": PICTURE},
        "",
        {"background": "rgb(300,0,0)"},
        r"background: expected a colour .* 'rgb\(300,0,0\)'",
    ),
    "nobody": (
        {"a.png": PICTURE},
        "",
        {"cache": "~nobody-at-all/x"},
        "cache: .* received '~nobody-at-all/x' .no such home",
    ),
    "no shards": (
        {},
        "*.tfrecord",
        {},
        "source: expected shards and index.json.* no shards found as .*tfrecord",
    ),
    "no index": (
        {"a.tfrecord": b""},
        "*.tfrecord",
        {},
        "source: expected shards and index.json.* No such file",
    ),
    "other index": (
        {"a.tfrecord": b"", "index.json": b"{}"},
        "*.tfrecord",
        {},
        "source: expected shards.* KeyError: 'shards'",
    ),
    "list": (
        {"a.tfrecord": b"", "index.json": b"[1]"},
        "*.tfrecord",
        {},
        "source: expected shards.* TypeError",
    ),
    "no header": (
        {"a.npy": FLOATS.replace(b"{'d", b"(('d")},
        "a.npy",
        {},
        "source: expected uint8 images in .*a.npy",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_with_the_flag_and_what_was_received(tmp_path, name):
    files, source, options, message = MISTAKES[name]
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    if options.get("cache") == "file":
        options = {"cache": str(tmp_path / options["cache"])}
    with pytest.raises((Refused, Unavailable), match="^" + message):
        prepare(source if source.startswith("./") else tmp_path / source, **options)
