"""Any folder of images: what comes of each kind of file, and of whole sources; the cache; the feeding of
batches."""

import dataclasses
import errno
import io
import os
import pathlib
import re
import threading
import time
import warnings
import zipfile
import zlib
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageFile

from keras_dcgan import files
from keras_dcgan.data import __main__ as data
from keras_dcgan.data import cache as entries
from keras_dcgan.data import decode, feed, portraits, sources
from keras_dcgan.data import prepare as preparing
from keras_dcgan.data.formats import heic
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.rows import OnDisk, even_rows
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.errors import Refused, Unavailable

RED, BLUE = (220, 30, 20), (10, 20, 200)


def two_halves(mode: str = "RGB", size: tuple[int, int] = (48, 48)) -> Image.Image:
    """Red on the left, blue on the right: enough to see which way up it came out."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def sideways() -> tuple[Image.Image, Image.Exif]:
    """A camera held on its side: stored turned left, and EXIF says to turn it right."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return two_halves(size=(64, 48)).transpose(Image.Transpose.ROTATE_90), exif


def ramp(dtype, low: int, high: int) -> np.ndarray:
    return np.tile(np.linspace(low, high, 16).repeat(3), (48, 1)).astype(dtype)


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it has 3.6 thousand million pixels."""
    file = encoded(Image.new("L", (1, 1)), "PNG")
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + file[24:29]
    return file[:12] + header + zlib.crc32(header).to_bytes(4, "big") + file[33:]


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8))


def with_holes() -> np.ndarray:
    values = ramp(np.float32, -3, 5)
    values[:4] = np.nan
    values[4, 0] = np.inf
    return values


def interlaced() -> bytes:
    """8x8 grey in the seven passes of Adam7, which Pillow reads but cannot write."""
    grey = np.asarray(two_halves("L", (8, 8)))
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    lines = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in passes for row in grey[y::dy, x::dx])
    chunks = [(b"IHDR", b"\0\0\0\x08\0\0\0\x08\x08\0\0\0\1"), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    packed = (
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def prepare(source, size=(16, 16), channels="auto", **options):
    return preparing.prepare(str(source), size, channels, show=lambda line: None, **options)


def reasons(manifest: Manifest) -> dict[str, str]:
    return {item["file"]: item["reason"] for item in manifest.left_out}


# ------------------------------------------------------------------------
# every kind of file

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


def test_a_cache_among_the_images_is_none_of_them(tmp_path):
    folder_of(tmp_path / "in", a=two_halves(), b=noise())
    (tmp_path / "in" / ("0" * 32)).mkdir()  # a folder of the user's may be called so
    noise().save(tmp_path / "in" / ("0" * 32) / "c.png")
    cache = tmp_path / "in" / "cache"
    for _ in range(2):
        manifest = prepare(tmp_path / "in", cache=str(cache)).manifest
        assert manifest.count == 3 and manifest.left_out == []
    assert len(list(cache.iterdir())) == 1


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


def test_a_disk_that_is_full_is_told_with_the_flag(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(
        Unavailable, match="^cache: expected to write into .*cache, received: No space left on device$"
    ):
        prepare(folder_of(tmp_path / "in", a=two_halves()), cache=str(tmp_path / "cache"))


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


# ------------------------------------------------------------------------
# channels and size


def folder_of(root: pathlib.Path, **images: Image.Image) -> pathlib.Path:
    for name, image in images.items():
        path = root / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return root


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


# ------------------------------------------------------------------------
# sources


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
    monkeypatch.setattr(portraits, "pictures", None)
    assert prepare("demo", size=(16, 24)).manifest == images.manifest


def test_folders_are_classes_when_asked(tmp_path):
    pictures = {f"{name}__{i}": noise().rotate(90 * i) for name in ("dogs", "cats") for i in range(2)}
    images = prepare(folder_of(tmp_path, **pictures, stray=noise(), dogs__pups__x=noise()), conditional=True)
    assert images.manifest.classes == ["cats", "dogs"] and images.labels.tolist() == [0, 0, 1, 1, 1]
    assert reasons(images.manifest) == {"stray.png": "not in a class folder"}
    assert prepare(tmp_path).classes == [] and not prepare(tmp_path).labels.any()


def test_the_folder_that_was_zipped_is_not_a_class(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("all/cats/1.png", "all/cats/2.png", "all/dogs/1.png", "all/dogs/2.png", "all/stray.png"):
            archive.writestr(name, encoded(two_halves(), "PNG"))
    images = prepare(tmp_path / "a.zip", conditional=True)
    assert images.manifest.classes == ["cats", "dogs"] and images.labels.tolist() == [0, 0, 1, 1]
    assert reasons(images.manifest) == {"all/stray.png": "not in a class folder"}


PICTURE = encoded(two_halves(), "PNG")
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
        "conditional: expected two or more images in each class, received d: 1, e: 0",
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


# ------------------------------------------------------------------------
# the cache


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
    monkeypatch.setattr("sys.argv", ["data", "--cache", str(tmp_path / "cache")])
    data.main()
    listed = capsys.readouterr().out
    assert f"1 of 16x16x3 from {tmp_path / 'in'}" in listed and "1 entry, 0.0 MB\n" in listed
    monkeypatch.setattr("sys.argv", ["data", "--cache", str(tmp_path / "cache"), "--clear"])
    data.main()
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"thesis.txt", ".thesis.part"}


# ------------------------------------------------------------------------
# feeding


def numbered(count: int, labels: bool = False) -> ImageSet:
    """Image i is the number i, in 2 x 2 pixels that are not their own mirror image."""
    numbers = np.arange(count)
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, :, 0, 0], images[:, :, 0, 1], images[:, :, 1, 2] = (
        (numbers % 256)[:, None],
        (numbers // 256)[:, None],
        1,
    )
    manifest = Manifest(
        count=count,
        size=(2, 2),
        channels=3,
        classes=["even", "odd"] if labels else [],
        fingerprint="of numbers",
    )
    return ImageSet(images, (numbers % 2).astype(np.int32) if labels else np.zeros(count, np.int32), manifest)


def numbers(images: np.ndarray) -> np.ndarray:
    is_flipped = images[:, 0, 0, 2] == 1
    upright = np.where(is_flipped[:, None, None, None], images[:, :, ::-1], images).astype(int)
    return upright[:, 0, 0, 0] + 256 * upright[:, 0, 0, 1]


def taken(dataset, steps: int) -> list:
    return list(dataset.take(steps).as_numpy_iterator())


def test_every_image_comes_once_an_epoch_in_another_order_each_time():
    stream = numbers(
        np.concatenate(taken(feed.batches(numbered(30), 8, seed=1), 15))
    )  # 120 images: batches cross the ends
    epochs = stream.reshape(4, 30)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(30), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = numbers(np.concatenate(taken(feed.batches(numbered(30), 8, seed=2), 15)))
    assert (stream != other).any()


@pytest.mark.parametrize("flip", [False, True])
def test_any_step_can_be_begun_with(flip):
    straight = taken(feed.batches(numbered(30), 8, 1, flip=flip), 12)
    resumed = taken(feed.batches(numbered(30), 8, 1, 9, flip=flip), 3)
    np.testing.assert_array_equal(resumed, straight[9:])
    far = taken(feed.batches(numbered(30), 8, 1, 10**12, flip=flip), 1)[0]
    assert len(set(numbers(far))) == 8


def test_fewer_images_than_a_batch_come_round_again():
    batch = taken(feed.batches(numbered(3), 8, 0), 1)[0]
    assert sorted(numbers(batch)[:6]) == [0, 0, 1, 1, 2, 2]


def test_workers_together_see_what_one_would():
    alone = taken(feed.batches(numbered(30, labels=True), 8, 1, 2, flip=True), 5)
    parts = [
        taken(feed.batches(numbered(30, labels=True), 8, 1, 2, flip=True, shard=(i, 4)), 5) for i in range(4)
    ]
    for step in range(5):
        for part in (0, 1):
            np.testing.assert_array_equal(
                np.concatenate([worker[step][part] for worker in parts]), alone[step][part]
            )


def test_labels_stay_with_their_images():
    for images, labels in taken(feed.batches(numbered(30, labels=True), 8, 1), 5):
        np.testing.assert_array_equal(numbers(images) % 2, labels)


def test_half_of_the_images_are_flipped():
    images = np.concatenate(taken(feed.batches(numbered(500), 50, 0, flip=True), 20))
    assert 0.4 < (images[:, 0, 0, 2] == 1).mean() < 0.6


def test_two_epochs_of_a_large_set_have_nothing_to_do_with_each_other():
    # What TensorFlow's own index_shuffle gets wrong: 0.9 here.
    first, second = (feed._shuffled(np.arange(65536), 65536, epoch, 0).numpy() for epoch in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.05


def test_a_file_that_was_cut_short_is_an_error_not_garbage(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((64, 16, 16, 3), np.uint8))
    images = prepare(tmp_path / "a.npy")
    os.truncate(tmp_path / "a.npy", 10_000)
    with pytest.raises(Exception, match="cut short"):
        taken(feed.batches(images, 64, 0), 1)


def test_a_preview_is_spread_over_the_set():
    assert numbers(numbered(100).evenly(4)).tolist() == [0, 25, 50, 75]
    assert numbers(numbered(3).evenly(5)).tolist() == [0, 1, 2, 0, 1]
    for images, count in ((numbered(7, labels=True), 4), (numbered(3, labels=True), 5)):
        shown = images.evenly(count)
        np.testing.assert_array_equal(images.on_disk(count)[:], shown)
        np.testing.assert_array_equal(images.labels_of(count), numbers(shown) % 2)


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


def test_rows_that_lie_on_the_disk_are_those_of_the_array(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 6, 3), np.uint8)
    np.save(tmp_path / "a.npy", images)
    for there in (images, np.load(tmp_path / "a.npy", mmap_mode="r")):
        for chosen in (np.arange(10), even_rows(10, 23)):
            rows = OnDisk(there, chosen)
            assert (len(rows), rows.shape) == (len(chosen), (len(chosen), 4, 6, 3))
            for wanted in (slice(2, 5), slice(8, 20), np.array([7, 0, 7]), [3, 1]):
                np.testing.assert_array_equal(rows[wanted], images[chosen][wanted])


@pytest.mark.skipif(not pathlib.Path("/proc/self/smaps").exists(), reason="tells Linux's memory")
def test_an_array_that_stays_where_it_is_takes_no_memory(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.integers(0, 256, (10_000, 16, 16, 3), np.uint8))  # 7.7 MB
    images = prepare(tmp_path / "a.npy").images
    maps = pathlib.Path("/proc/self/smaps").read_text().split(f"{tmp_path}/a.npy\n")[1:]
    assert str(images.filename) == str(tmp_path / "a.npy") and maps
    assert sum(int(text.partition("Rss:")[2].split()[0]) for text in maps) < 2000  # kB
