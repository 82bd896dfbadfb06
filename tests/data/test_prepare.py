"""Any folder of images: what comes of each kind of file, of channels and of sizes."""

import contextlib
import dataclasses
import errno
import io
import os
import threading
import warnings
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
from imagery import (
    BLUE,
    PICTURE,
    RED,
    bomb,
    encoded,
    folder_of,
    interlaced,
    noise,
    prepare,
    ramp,
    reasons,
    sideways,
    two_halves,
    with_holes,
)
from PIL import Image, ImageFile

from keras_dcgan.data import decode, portraits, sources
from keras_dcgan.data import prepare as preparing
from keras_dcgan.data.formats import heic
from keras_dcgan.errors import Refused, Unavailable

# name -> content, and what must come of it: "halves" (red left, blue right), "ramp" (dark left, bright
# right), "grey halves", "used" (no more is asked), None (never mentioned), or the reason for leaving it out.
NASTY = {
    "plain.jpg": (lambda: encoded(two_halves(), "JPEG", quality=95), "halves"),
    "UPPER.JPEG": (lambda: encoded(two_halves(), "JPEG", quality=95), "halves"),
    "progressive.jpg": (lambda: encoded(two_halves(), "JPEG", quality=95, progressive=True), "halves"),
    "large.jpg": (lambda: encoded(two_halves(size=(900, 600)), "JPEG", quality=95), "halves"),
    "cmyk.jpg": (lambda: encoded(two_halves("CMYK"), "JPEG", quality=95), "halves"),
    "grey.jpg": (lambda: encoded(two_halves("L"), "JPEG", quality=95), "grey halves"),
    "png-in-truth.jpg": (lambda: encoded(two_halves(), "PNG"), "halves"),
    "jpeg-in-truth.png": (lambda: encoded(two_halves(), "JPEG", quality=95), "halves"),
    "no-extension": (lambda: encoded(two_halves(), "PNG"), "halves"),
    "exif.jpg": (lambda: encoded(sideways()[0], "JPEG", quality=95, exif=sideways()[1]), "halves"),
    "exif.png": (lambda: encoded(sideways()[0], "PNG", exif=sideways()[1]), "halves"),
    "exif.webp": (lambda: encoded(sideways()[0], "WEBP", lossless=True, exif=sideways()[1]), "halves"),
    "exif.tiff": (lambda: encoded(sideways()[0], "TIFF", exif=sideways()[1]), "halves"),
    "broken-exif.jpg": (
        lambda: encoded(two_halves(), "JPEG", quality=95, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "halves",
    ),
    "palette.png": (lambda: encoded(two_halves("P"), "PNG"), "halves"),
    "one-bit.png": (lambda: encoded(two_halves("1"), "PNG"), "used"),
    "grey-alpha.png": (lambda: encoded(two_halves("LA"), "PNG"), "grey halves"),
    "alpha.png": (lambda: encoded(two_halves("RGBA"), "PNG"), "halves"),
    "palette-alpha.png": (lambda: encoded(two_halves("P"), "PNG", transparency=250), "halves"),
    "sixteen-bit.png": (lambda: encoded(Image.fromarray(ramp(np.uint16, 0, 65535)), "PNG"), "ramp"),
    "interlaced.png": (interlaced, "grey halves"),
    "animated.png": (
        lambda: encoded(two_halves(), "PNG", save_all=True, append_images=[Image.new("RGB", (48, 48))]),
        "halves",
    ),
    "lossy.webp": (lambda: encoded(two_halves(), "WEBP", quality=95), "halves"),
    "animated.webp": (
        lambda: encoded(
            two_halves(), "WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (48, 48))]
        ),
        "halves",
    ),
    "plain.bmp": (lambda: encoded(two_halves(), "BMP"), "halves"),
    "plain.gif": (lambda: encoded(two_halves(), "GIF"), "halves"),
    "animated.gif": (
        lambda: encoded(two_halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (48, 48))]),
        "halves",
    ),
    "plain.tif": (lambda: encoded(two_halves(), "TIFF"), "halves"),
    "lzw.tif": (lambda: encoded(two_halves(), "TIFF", compression="tiff_lzw"), "halves"),
    "cmyk.tif": (lambda: encoded(two_halves("CMYK"), "TIFF"), "halves"),
    "twelve-of-sixteen-bits.tif": (
        lambda: encoded(Image.fromarray(ramp(np.uint16, 1000, 5000)), "TIFF"),
        "ramp",
    ),
    "big-endian.tif": (lambda: encoded(Image.fromarray(ramp(">u2", 1000, 5000)), "TIFF"), "ramp"),
    "float-with-holes.tif": (lambda: encoded(Image.fromarray(with_holes()), "TIFF"), "ramp"),
    "plain.ppm": (lambda: encoded(two_halves(), "PPM"), "halves"),
    "one-pixel.png": (lambda: encoded(Image.new("RGB", (1, 1), RED), "PNG"), "used"),
    "needle.png": (lambda: encoded(two_halves(size=(3000, 2)), "PNG"), "used"),
    "line\nbreak \udcff.png": (lambda: encoded(two_halves(), "PNG"), "halves"),
    "truncated.jpg": (lambda: encoded(two_halves(), "JPEG", quality=95)[:-300], decode.TRUNCATED),
    "truncated.png": (lambda: encoded(noise(), "PNG")[:-3000], decode.TRUNCATED),
    "truncated.webp": (lambda: encoded(noise(), "WEBP", lossless=True)[:-3000], decode.DAMAGED),
    "truncated.gif": (lambda: encoded(noise(), "GIF")[:-900], decode.TRUNCATED),
    "truncated.bmp": (lambda: encoded(noise(), "BMP")[:-900], decode.TRUNCATED),
    "truncated.tif": (lambda: encoded(noise(), "TIFF")[:-900], decode.TRUNCATED),
    "first-bytes.jpg": (lambda: encoded(two_halves(), "JPEG")[:20], decode.DAMAGED),
    "zeros.jpg": (lambda: bytes(1000), decode.NOT_AN_IMAGE),
    "web-page.jpg": (lambda: b"<!DOCTYPE html><title>404</title>", decode.NOT_AN_IMAGE),
    "script.eps": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", ".eps is not supported"),
    "photo.HEIC": (
        lambda: b"\0\0\0\x18ftypheic",
        decode.DAMAGED if find_spec("pillow_heif") else heic.MISSING,
    ),
    "postscript-in-truth.png": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        decode.NOT_AN_IMAGE,
    ),
    "empty.png": (lambda: b"", "zero bytes"),
    "bomb.png": (bomb, decode.TOO_LARGE),
    "archive.rar": (lambda: b"Rar!\x1a\x07\0", decode.NOT_AN_IMAGE),
    "notes.txt": (lambda: b"hello", None),
    "labels.json": (lambda: b"{}", None),
    ".DS_Store": (lambda: b"\0\0\0\1Bud1", None),
    "Thumbs.db": (lambda: b"\xd0\xcf\x11\xe0", None),
    "._plain.jpg": (lambda: b"\0\5\x16\7", None),
    "__MACOSX/x.jpg": (lambda: b"\0\5\x16\7", None),
}
SEEN = ("halves", "grey halves", "ramp", "used")
USED = sorted(["linked.png"] + [name for name, (_, outcome) in NASTY.items() if outcome in SEEN])


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    root = tmp_path_factory.mktemp("nasty")
    for name, (content, _) in NASTY.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content())
    (root / "dangling.png").symlink_to(root / "nothing")
    os.mkfifo(root / "pipe.png")
    (root / "sub").mkdir()
    (root / "sub" / "loop").symlink_to(root)
    (root / "linked.png").symlink_to(root / "plain.bmp")
    return root


@pytest.fixture(scope="module")
def prepared(nasty):
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        images = prepare(nasty, channels=3)
    assert not warned
    return images


def test_every_kind_of_file_is_used_or_left_out_with_its_reason(prepared):
    expected = {name: outcome for name, (_, outcome) in NASTY.items() if outcome and outcome not in SEEN}
    assert reasons(prepared.manifest) == expected | {
        "dangling.png": "vanished, or a broken link",
        "pipe.png": "not a regular file",
    }
    assert prepared.manifest.count == len(prepared.images) == len(USED)


@pytest.mark.parametrize("name", [name for name in USED if name in NASTY and NASTY[name][1] != "used"])
def test_pixels_come_out_upright_and_in_their_colours(prepared, name):
    image = prepared.images[USED.index(name)].astype(int)
    left, right = image[3:-3, 2:6].mean((0, 1)), image[3:-3, -6:-2].mean((0, 1))
    match NASTY[name][1]:
        case "halves":
            np.testing.assert_allclose([left, right], [RED, BLUE], atol=12)
        case "grey halves":  # 0.299 R + 0.587 G + 0.114 B
            np.testing.assert_allclose([left, right], [[86] * 3, [38] * 3], atol=6)
        case "ramp":
            assert image[8, 0, 0] < 10 and image[8, -1, 0] > 245 and (np.diff(image[8, :, 0]) > 10).all()


def test_the_report_counts_by_reason_and_can_be_printed_anywhere(prepared):
    text = preparing.report(prepared.manifest)
    assert text.isprintable() or set(char for char in text if not char.isprintable()) == {"\n"}
    assert f"{len(USED)} images of 16x16x3" in text
    assert "        5  truncated " in text and "        4  not an image " in text
    assert "exact duplicates" in text
    strange = dataclasses.replace(
        prepared.manifest, left_out=[{"file": "a\n\udcff.png", "reason": "damaged"}]
    )
    assert r"damaged                      'a\n\udcff.png'" in preparing.report(strange)


def test_an_unreadable_and_a_vanished_file_are_left_out(tmp_path, monkeypatch):
    for name in ("a.png", "gone.png", "locked.png"):
        two_halves().save(tmp_path / name)

    def opened(path, *args):
        if path.name == "locked.png":
            raise PermissionError(13, "Permission denied")  # a chmod would not stop root
        if path.name == "gone.png":
            path.unlink()
        return open(path, *args)

    monkeypatch.setattr(sources, "open", opened, raising=False)
    assert reasons(prepare(tmp_path).manifest) == {
        "gone.png": "vanished, or a broken link",
        "locked.png": "unreadable",
    }


@pytest.mark.parametrize("fails_when", ["opened", "read"])
def test_a_disk_that_does_not_answer_is_no_fault_of_the_file_to_be_remembered(
    tmp_path, monkeypatch, fails_when
):
    two_halves().save(tmp_path / "a.png")
    two_halves().save(tmp_path / "b.png")

    class Away(io.BytesIO):
        def read(self, *args):
            raise OSError(errno.ESTALE, "Stale file handle")

    def opened(path, *args):
        if path.name != "b.png":
            return open(path, *args)
        return Away() if fails_when == "read" else Away().read()

    monkeypatch.setattr(sources, "open", opened, raising=False)
    with pytest.raises(Unavailable, match="^source: b.png cannot be read at the moment: Stale file handle"):
        prepare(tmp_path, cache=str(tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_that_fails_within_a_file_is_asked_again(tmp_path, monkeypatch):
    for name in "ab":
        two_halves().save(tmp_path / f"{name}.png")

    class Failing(io.BytesIO):
        def read(self, *args):
            raise OSError(errno.EIO, "Input/output error")

    def opened(path, *args):
        return Failing() if path.name == "b.png" else open(path, *args)

    cache = str(tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(sources, "open", opened, raising=False)
        assert reasons(prepare(tmp_path, cache=cache).manifest) == {"b.png": "unreadable"}
    assert len(prepare(tmp_path, cache=cache)) == 2


def test_an_archive_that_was_repaired_is_looked_at_again(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in "ab":
            archive.writestr(f"{name}.png", PICTURE)
    whole = (tmp_path / "a.zip").read_bytes()
    place = whole.rindex(PICTURE)  # the table of contents, and what is known of it, stay
    (tmp_path / "a.zip").write_bytes(whole[:place] + bytes(20) + whole[place + 20 :])
    cache = str(tmp_path / "cache")
    assert reasons(prepare(tmp_path / "a.zip", cache=cache).manifest) == {"b.png": "damaged in the archive"}
    (tmp_path / "a.zip").write_bytes(whole)
    assert len(prepare(tmp_path / "a.zip", cache=cache)) == 2


def test_what_wanted_a_decoder_is_looked_at_once_there_is_one(tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    two_halves().save(tmp_path / "a.png")
    pillow_heif.from_pillow(two_halves()).save(tmp_path / "b.heic")
    cache = str(tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(heic, "is_installed", lambda: False)
        for _ in range(2):
            assert reasons(prepare(tmp_path, cache=cache).manifest) == {"b.heic": heic.MISSING}
    assert len(prepare(tmp_path, cache=cache)) == 2


def test_what_lacks_memory_beside_others_is_decoded_once_more_alone(monkeypatch):
    answers = [decode.Rejected(heic.NO_MEMORY), two_halves()]

    def answer(*_):
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        assert heic.one_at_a_time.locked()
        return found

    monkeypatch.setattr(heic, "_decoded", answer)
    assert heic.decoded(b"", 100).size == (48, 48) and not heic.one_at_a_time.locked()


def test_what_wanted_a_decoder_that_loads_is_looked_at_when_it_does(tmp_path, monkeypatch):
    two_halves().save(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heicmif1")
    cache, asked = str(tmp_path / "cache"), []
    monkeypatch.setattr(heic, "is_installed", lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(heic, "COMMAND", f"import sys; sys.modules['pillow_heif'] = None; {heic.COMMAND}")
        patch.setattr(heic, "loads", lambda: asked.append("no"))
        for _ in range(2):
            assert reasons(prepare(tmp_path, cache=cache).manifest) == {"b.heic": heic.NOT_LOADED}
    monkeypatch.setattr(heic, "loads", lambda: True)
    monkeypatch.setattr(heic, "decoded", lambda *_: two_halves())
    assert len(prepare(tmp_path, cache=cache)) == 2 and asked == ["no"]


def test_a_class_that_corrupt_files_leave_alone_is_none(tmp_path):
    for name in ("cats/a", "cats/b", "dogs/a", "dogs/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise().save(tmp_path / f"{name}.png")
    (tmp_path / "dogs/b.png").write_bytes(b"\x89PNG")
    with pytest.raises(Refused, match="^conditional: expected two or more classes .*, received dogs: 1$"):
        prepare(tmp_path, conditional=True)


def test_a_class_of_one_image_is_told_before_anything_is_decoded(tmp_path, monkeypatch):
    for name in ("cats/a", "cats/b", "dogs/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        two_halves().save(tmp_path / f"{name}.png")
    monkeypatch.setattr(preparing, "decode_all", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(Refused, match="^conditional: expected two or more images .*, received dogs: 1$"):
        prepare(tmp_path, conditional=True)


def test_a_class_that_corrupt_files_leave_with_one_image_is_left_out_and_the_others_are_prepared(tmp_path):
    for name in ("cats/a", "dogs/a", "dogs/b", "emus/a", "emus/b", "foxes/a", "foxes/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise().save(tmp_path / f"{name}.png")
    noise(seed=1).save(tmp_path / "cats" / "b.png")
    for name in ("dogs/b", "emus/a", "emus/b"):
        (tmp_path / f"{name}.png").write_bytes((tmp_path / f"{name}.png").read_bytes()[:-40])
    lines = []
    images = preparing.prepare(tmp_path, (16, 16), conditional=True, show=lines.append)
    assert images.classes == ["cats", "foxes"] and images.labels.tolist() == [0, 0, 1, 1]
    assert reasons(images.manifest) == {
        "dogs/a.png": preparing.ALONE,
        **{f"{name}.png": decode.TRUNCATED for name in ("dogs/b", "emus/a", "emus/b")},
    }
    assert "left out 2 classes of fewer than two images that can be used: dogs: 1, emus: 0" in lines
    assert images.manifest.gaps == [2, 3, 4, 5]
    same, other = (images.images[i] for i in (0, 1))
    np.testing.assert_array_equal(images.images[2], same)  # foxes/a.png has the pixels of cats/a.png
    assert (other != same).any()


def test_a_preparation_asks_for_the_space_that_it_takes(tmp_path, monkeypatch):
    noise().save(tmp_path / "a.png")
    free = preparing.shutil.disk_usage(tmp_path)._replace(free=5 * 16 * 16)
    monkeypatch.setattr(preparing.shutil, "disk_usage", lambda path: free)
    assert len(prepare(tmp_path, (16, 16), 1)) == 1
    with pytest.raises(Unavailable, match=r"GB free in .* --clear empties it"):
        prepare(tmp_path, (16, 16))


def test_while_an_array_is_looked_through_its_folder_shows_signs_of_life(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((9, 16, 16, 3), np.uint8))
    monkeypatch.setattr(preparing, "CHUNK", 3 * 16 * 16 * 3)
    signs = []
    monkeypatch.setattr(preparing.os, "utime", signs.append)
    prepare(tmp_path / "a.npy", (16, 16))
    assert len(signs) == 3 and len(set(signs)) == 1


def test_the_demo_paints_each_face_when_it_is_asked_for(monkeypatch):
    painted = []
    paint = portraits.paint
    monkeypatch.setattr(portraits, "paint", lambda *face: painted.append(face) or paint(*face))
    found = sources.find_images("demo:5", (16, 16))
    image = found.read(3)
    assert len(painted) == 1
    np.testing.assert_array_equal(image, portraits.pictures(5, size=16)[3])


def test_pillow_is_as_it_was_when_the_last_of_several_threads_has_decoded():
    def state():
        return Image.MAX_IMAGE_PIXELS, os.path.samestat(os.fstat(2), os.stat(os.devnull))

    before = state()
    with contextlib.ExitStack() as first, contextlib.ExitStack() as second:
        first.enter_context(decode.pillow_for_threads(10))
        second.enter_context(decode.pillow_for_threads(20))
        both = state()
        first.close()
        one = state()
    assert both == one == (10, True) and state() == before != one


def test_so_it_is_with_a_disk_that_holds_an_archive(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", PICTURE)

    def away(*_):
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(zipfile.ZipFile, "read", away)
    with pytest.raises(
        Unavailable, match="^source: a.png cannot be read at the moment: Connection timed out"
    ):
        prepare(tmp_path / "a.zip", cache=str(tmp_path / "cache"))


def test_one_large_image_at_a_time_whatever_it_is_stored_as(tmp_path, monkeypatch):
    large, held = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)), []
    large.save(tmp_path / "a.png")
    large.save(
        tmp_path / "b.jpg", progressive=True
    )  # drafted to 32x32, it still needs all of its coefficients
    large.save(tmp_path / "c.jpg")
    large.save(tmp_path / "d.webp")
    lock, load = threading.Lock(), ImageFile.ImageFile.load

    def loaded(image):
        held.append((image.format, bool(image.info.get("progressive")), lock.locked()))
        return load(image)

    monkeypatch.setattr(decode, "LARGE", 64 * 64)
    monkeypatch.setattr(decode, "one_large_image", lock)
    monkeypatch.setattr(ImageFile.ImageFile, "load", loaded)
    assert prepare(tmp_path).manifest.count == 4
    assert set(held) == {
        ("PNG", False, True),
        ("JPEG", True, True),
        ("JPEG", False, False),
        ("WEBP", False, True),
    }


def test_the_limit_on_pixels_is_the_one_given(tmp_path):
    Image.new("L", (40, 25)).save(tmp_path / "a.png")
    Image.new("L", (41, 25)).save(tmp_path / "b.png")
    assert reasons(prepare(tmp_path, max_pixels=1000).manifest) == {"b.png": decode.TOO_LARGE}


@pytest.mark.parametrize(
    "grey, coloured, transparent, channels",
    [(3, 0, 0, 1), (3, 1, 0, 3), (0, 4, 1, 4), (0, 5, 1, 3), (4, 0, 1, 4)],
)
def test_auto_takes_the_channels_that_the_images_need(tmp_path, grey, coloured, transparent, channels):
    images = {f"g{i}": two_halves("L").convert("RGB") for i in range(grey)}
    images |= {f"c{i}": two_halves() for i in range(coloured)}
    images |= {f"t{i}": Image.new("RGBA", (8, 8), (*RED, 100)) for i in range(transparent)}
    assert prepare(folder_of(tmp_path, **images)).images.shape == (len(images), 16, 16, channels)


def test_an_alpha_channel_that_hides_nothing_is_dropped(tmp_path):
    assert prepare(folder_of(tmp_path, a=two_halves("RGBA"))).images.shape[-1] == 3


def test_transparency_shows_the_background(tmp_path):
    folder_of(tmp_path, a=Image.new("RGBA", (8, 8), (200, 100, 0, 51)))
    assert prepare(tmp_path, channels=4).images[0, 0, 0].tolist() == [200, 100, 0, 51]
    # A fifth of the colour, four fifths of what is behind.
    assert prepare(tmp_path, channels=3).images[0, 0, 0].tolist() == [244, 224, 204]
    assert prepare(tmp_path, channels=3, background="#0000ff").images[0, 0, 0].tolist() == [40, 20, 204]
    assert prepare(tmp_path, channels=1, background="black").images[0, 0, 0].tolist() == [
        24
    ]  # 0.299 x 40 + 0.587 x 20


def test_colours_hidden_by_transparency_do_not_bleed(tmp_path):
    image = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    image.paste((*RED, 255), (0, 0, 32, 64))
    green = prepare(folder_of(tmp_path, a=image), channels=3, background=RED).images[..., 1]
    assert green.max() <= RED[1] + 1


def test_centre_crop_keeps_the_middle_and_none_squashes(tmp_path):
    image = Image.new("RGB", (90, 30), BLUE)
    image.paste(RED, (30, 0, 60, 30))
    folder_of(tmp_path, a=image)
    assert np.abs(prepare(tmp_path).images[0, 4:-4, 4:-4] - np.array(RED)).max() <= 1
    squashed = prepare(tmp_path, size=(8, 9), crop="none").images[0]
    assert squashed.shape == (8, 9, 3)
    np.testing.assert_allclose(squashed[4, [1, 4, 7]], [BLUE, RED, BLUE], atol=12)


def test_small_images_and_duplicates_are_kept_and_reported(tmp_path):
    images = prepare(
        folder_of(tmp_path, a=two_halves(size=(7, 30)), b=noise(), c=noise(), d=two_halves(size=(8, 8)))
    )
    assert images.manifest.small == [{"file": "a.png", "size": [30, 7]}]
    assert images.manifest.duplicates == [{"file": "c.png", "same_as": "b.png"}]
    assert images.manifest.notes == [] and len(images.images) == 4
    assert prepare(tmp_path, size=(40, 40)).manifest.notes == []  # half of them is not most
    assert prepare(tmp_path, size=(64, 64)).manifest.notes == [
        "4 of 4 images are smaller than 64x64 and were enlarged"
    ]


def test_one_file_is_prepared_as_a_whole_folder_is(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 4), np.uint8))
    image.save(tmp_path / "a.png")
    for channels in (1, 3, 4):
        pixels, original_size = preparing.prepare_one(
            str(tmp_path / "a.png"), (16, 24), channels, background="red"
        )
        of_folder = preparing.prepare(
            str(tmp_path), (16, 24), channels, background="red", show=lambda line: None
        ).images
        np.testing.assert_array_equal(pixels, of_folder[0])
        assert original_size == (40, 60)


def test_one_file_that_is_no_image_says_why(tmp_path):
    (tmp_path / "a.png").write_text("words")
    with pytest.raises(
        Refused, match=r"^file: expected an image that can be read, received .*a\.png \(not an image\)$"
    ):
        preparing.prepare_one(str(tmp_path / "a.png"), (16, 16), 3)
    with pytest.raises(Unavailable, match="^file: .*No such file or directory: .*b.png"):
        preparing.prepare_one(str(tmp_path / "b.png"), (16, 16), 3)
