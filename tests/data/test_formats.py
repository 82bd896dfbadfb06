"""What files hold that looks right and is not, or looks wrong and is right: each made here, in a few
bytes."""

import errno
import io
import os
import pathlib
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from imagery import BLUE, RED, encoded, noise, prepare, reasons, two_halves
from PIL import GifImagePlugin, Image, ImageCms

from keras_dcgan.data import decode
from keras_dcgan.data.decode import DAMAGED, NOT_AN_IMAGE, TOO_LARGE, TRUNCATED
from keras_dcgan.data.formats import heic, kinds, netpbm
from keras_dcgan.data.formats.kinds import RAW_PHOTO, TIFF_NOT_SUPPORTED, Rejected


def decoded(content: bytes, size=(48, 48), name="", max_pixels=10**7) -> np.ndarray:
    with decode.pillow_for_threads(max_pixels):
        return decode.decode(io.BytesIO(content), size, "center", max_pixels, name)[0]


def reason(content: bytes, name="", max_pixels=10**7) -> str | None:
    try:
        decoded(content, (16, 16), name, max_pixels)
    except Rejected as error:
        return str(error)
    return None


def chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def png(colour_type: int, bits: int, rows: list[bytes], *chunks: bytes, width: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour_type, 0, 0, 0)
    stream = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", stream), chunk(b"IEND", b"")]
    )


def with_chunk(file: bytes, inserted: bytes) -> bytes:
    return file[:33] + inserted + file[33:]  # behind IHDR


# ------------------------------------------------------------------------
# PNG's checks


def test_a_flipped_bit_in_the_pixels_of_a_png_is_seen_by_its_checksum():
    content = encoded(noise().resize((160, 120), Image.Resampling.BICUBIC), "PNG")
    begin, end = content.index(b"IDAT") + 4, len(content) - 16
    for place in [
        *np.linspace(begin + 2, end - 1, 80).astype(int),
        end,
    ]:  # the last is in the checksum itself
        broken = bytearray(content)
        broken[place] ^= 1 << place % 8
        assert reason(bytes(broken)) == DAMAGED


def test_so_is_one_in_the_palette_the_header_and_the_transparency():
    content = encoded(two_halves("P"), "PNG", transparency=250)
    for name in (b"IHDR", b"PLTE", b"tRNS"):
        broken = bytearray(content)
        broken[content.index(name) + 4 + 3] ^= 1
        assert reason(bytes(broken)) == DAMAGED, name


def test_the_checksum_inside_the_stream_counts_and_so_does_a_stream_that_ends_early():
    good = png(0, 8, [b"\1\2\3\4"] * 4, width=4)
    assert reason(good) is None
    stream = bytearray(zlib.compress(b"\0\1\2\3\4" * 4))
    stream[-1] ^= 1
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0))
    begin, end = b"\x89PNG\r\n\x1a\n" + header, chunk(b"IEND", b"")
    assert reason(begin + chunk(b"IDAT", bytes(stream)) + end) == DAMAGED
    assert (
        reason(begin + chunk(b"IDAT", zlib.compress(b"\0\1\2\3\4" * 3)) + end) == TRUNCATED
    )  # three rows of four
    whole = zlib.compress(b"\0\1\2\3\4" * 4)
    assert (
        reason(begin + chunk(b"IDAT", whole[:9]) + chunk(b"IDAT", whole[9:])) is None
    )  # in two, and without an end


@pytest.mark.parametrize(
    "inserted",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"tEXt", b"Comment\0" + b"x" * (2 << 20)),
        chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(3 << 20))),
        chunk(b"tEXt", b"Comment\0hello")[:-1] + b"\0",  # a wrong checksum, of what no pixel needs
        chunk(b"gAMA", b"\0")[:-1] + b"\0",
        chunk(b"pHYs", b""),
        chunk(b"acTL", b"\0"),
        chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    ],
    ids=["zTXt", "tEXt", "iCCP", "tEXt checksum", "gAMA checksum", "pHYs", "acTL", "eXIf"],
)
def test_what_stands_beside_the_pixels_of_a_png_costs_only_itself(inserted):
    file = encoded(noise(), "PNG")
    np.testing.assert_array_equal(decoded(with_chunk(file, inserted)), decoded(file))


@pytest.mark.parametrize("place", ["zTXt", "iTXt"])
def test_an_orientation_that_stands_in_a_text_is_still_followed(place):
    if place == "zTXt":  # as ImageMagick writes it
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
        text = b"\nexif\n%8d\n%s\n" % (len(exif), exif.hex().encode())
        inserted = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
    else:
        inserted = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    file = encoded(two_halves().transpose(Image.Transpose.ROTATE_90), "PNG")
    np.testing.assert_allclose(decoded(with_chunk(file, inserted))[24, [5, 42], :3], [RED, BLUE], atol=2)


# ------------------------------------------------------------------------
# transparency


@pytest.mark.parametrize(
    "bits, clear", [(1, 1), (1, 0), (2, 1), (2, 3), (4, 5), (8, 77), (16, 40_000), (16, 3)]
)
def test_the_transparent_grey_of_a_png_is_clear_at_any_depth(bits, clear):
    other = {1: 1 - clear, 2: 2, 4: 9, 8: 78, 16: clear + 1}[bits]
    values = [clear, other] * 8
    if bits == 16:
        row = struct.pack(">16H", *values)
    else:
        packed = int("".join(format(value, f"0{bits}b") for value in values), 2)
        row = packed.to_bytes(2 * bits, "big")
    file = png(0, bits, [row] * 4, chunk(b"tRNS", clear.to_bytes(2, "big")), width=16)
    assert decoded(file, (4, 16))[2, :, 3].tolist() == [0, 255] * 8
    if bits < 16:
        assert decoded(file, (4, 16))[2, 1, :3].tolist() == [other * 255 // ((1 << bits) - 1)] * 3


def test_so_is_a_transparent_colour_of_16_bits_and_not_its_neighbour():
    row = struct.pack(">12H", *([1000, 2000, 3000] + [1000, 2000, 3001]) * 2)
    file = png(2, 16, [row] * 4, chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000)), width=4)
    assert decoded(file, (4, 4))[1, :, 3].tolist() == [0, 255, 0, 255]


@pytest.mark.parametrize("transparency", [None, 1])
def test_what_the_first_frame_of_a_gif_leaves_free_is_transparent(transparency):
    frame = Image.new("P", (8, 8), 2)
    frame.putpalette([255, 0, 0, 0, 255, 0, *BLUE])
    file = bytearray(
        encoded(frame, "GIF", **({} if transparency is None else {"transparency": transparency}))
    )
    file[6:10] = struct.pack("<HH", 16, 16)  # the canvas
    place = file.index(b",", 13) + 1
    file[place : place + 4] = struct.pack("<HH", 4, 4)
    pixels = decoded(bytes(file), (16, 16))
    assert pixels[8, 8].tolist() == [*BLUE, 255] and pixels[4, 11].tolist() == [*BLUE, 255]
    assert not pixels[[0, 3, 12, 15, 8, 8], [8, 8, 8, 8, 0, 15], 3].any()


# ------------------------------------------------------------------------
# colour profiles


def profile(primaries=None, gamma: float = 2.2, space: bytes = b"RGB ") -> bytes:
    """An ICC profile as small as they can be; primaries: XYZ (D50) of red, green and blue, a row each."""

    def number(value: float) -> bytes:
        return round(value * 65536).to_bytes(4, "big", signed=True)

    def xyz(row) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(number, row))

    curve = b"curv\0\0\0\0\0\0\0\1" + round(gamma * 256).to_bytes(2, "big") + b"\0\0"
    white = (0.9642, 1.0, 0.8249)
    text = b"desc\0\0\0\0\0\0\0\5test\0" + bytes(79)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0", b"wtpt": xyz(white)}
    if space == b"GRAY":
        tags |= {b"kTRC": curve}
    else:
        tags |= {name + b"XYZ": xyz(row) for name, row in zip((b"r", b"g", b"b"), primaries)}
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    table, body = [], b""
    for name, content in tags.items():
        table.append(
            name + (132 + 12 * len(tags) + len(body)).to_bytes(4, "big") + len(content).to_bytes(4, "big")
        )
        body += content + bytes(-len(content) % 4)
    size = 132 + 12 * len(tags) + len(body)
    head = (
        size.to_bytes(4, "big")
        + bytes(4)
        + b"\2\x10\0\0mntr"
        + space
        + b"XYZ "
        + bytes(12)
        + b"acsp"
        + bytes(28)
    )
    head += b"".join(map(number, white))
    return head.ljust(128, b"\0") + len(tags).to_bytes(4, "big") + b"".join(table) + body


DISPLAY_P3 = profile([(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)])
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IN_P3 = (234, 51, 35)  # what phones write for pure sRGB red


@pytest.mark.parametrize(
    "kind, options", [("JPEG", {"quality": 100}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]
)
def test_colours_of_a_profile_come_out_in_srgb(kind, options):
    pixel = decoded(encoded(Image.new("RGB", (48, 48), IN_P3), kind, icc_profile=DISPLAY_P3, **options))[
        20, 20
    ]
    np.testing.assert_allclose(pixel, [255, 0, 0, 255], atol=9)  # the profile here has a plain gamma of 2.2
    untouched = decoded(encoded(Image.new("RGB", (48, 48), IN_P3), kind, **options))[20, 20]
    np.testing.assert_allclose(untouched, [*IN_P3, 255], atol=1)


@pytest.mark.parametrize(
    "profile, expected", [(DISPLAY_P3, [255, 0, 0, 255]), (DISPLAY_P3[:90], [*IN_P3, 255])]
)
def test_so_do_those_of_gif_and_bmp_which_pillow_passes_over(profile, expected):
    image = Image.new("RGB", (48, 48), IN_P3)
    gif = encoded(image.quantize(2), "GIF")
    pieces = [profile[at : at + 255] for at in range(0, len(profile), 255)]
    blocks = b"".join(bytes([len(piece)]) + piece for piece in pieces)
    behind = 13 + 3 * (2 << (gif[10] & 7))  # the palette
    gif = gif[:behind] + b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0" + gif[behind:]
    np.testing.assert_allclose(decoded(gif)[20, 20], expected, atol=9)
    bmp = encoded(image, "BMP")
    header = (124).to_bytes(4, "little") + bmp[18:54] + bytes(16) + b"DEBM" + bytes(52)
    pixels = bmp[54:]
    header += b"".join(number.to_bytes(4, "little") for number in (124 + len(pixels), len(profile), 0))
    bmp = bmp[:10] + (138).to_bytes(4, "little") + header + pixels + profile
    np.testing.assert_allclose(decoded(bmp)[20, 20], expected, atol=9)


@pytest.mark.skipif("AVIF" not in Image.OPEN, reason="this Pillow has no AVIF")
def test_so_do_those_of_avif():
    file = encoded(Image.new("RGB", (48, 48), IN_P3), "AVIF", quality=100, icc_profile=DISPLAY_P3)
    np.testing.assert_allclose(decoded(file)[20, 20], [255, 0, 0, 255], atol=9)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_a_profile_leaves_transparency_alone(mode):
    image = Image.new("RGBA", (48, 48), (*IN_P3, 100))
    image.paste((*IN_P3, 0), (0, 0, 24, 48))
    if mode == "P":
        image = image.quantize(4)
    pixels = decoded(encoded(image, "PNG", icc_profile=DISPLAY_P3))
    np.testing.assert_allclose(pixels[20, 40], [255, 0, 0, 100], atol=9)
    assert pixels[20, 4, 3] == 0


def test_grey_with_a_profile_stays_grey_and_is_lighter_where_its_gamma_is_lower():
    image = Image.new("L", (48, 48), 100)
    pixel = decoded(encoded(image, "JPEG", quality=100, icc_profile=profile(space=b"GRAY", gamma=1.0)))[
        20, 20
    ]
    # 100 of 255 is a light of 0.392, which in sRGB is 1.055 * 0.392 ** (1 / 2.4) - 0.055 = 0.659 of 255.
    np.testing.assert_allclose(pixel, [168, 168, 168, 255], atol=2)
    assert pixel[0] == pixel[1] == pixel[2]


@pytest.mark.parametrize(
    "broken", [SRGB, b"", b"no profile", DISPLAY_P3[:200], bytes(3000), profile(space=b"GRAY"), b"x" * 70_000]
)
def test_srgb_by_its_name_and_what_is_no_profile_change_no_bit(broken):
    for kind in ("PNG", "JPEG"):
        np.testing.assert_array_equal(
            decoded(encoded(noise(), kind, icc_profile=broken)), decoded(encoded(noise(), kind))
        )


# ------------------------------------------------------------------------
# JPEG's warnings


def photo(**options) -> bytes:
    return encoded(noise().resize((160, 120)), "JPEG", quality=90, **options)


KINDS_OF_JPEG = [
    {},
    {"progressive": True},
    {"restart_marker_blocks": 7},
    {"subsampling": 0},
    {"optimize": True},
]


@pytest.mark.parametrize("options", KINDS_OF_JPEG, ids=str)
def test_a_jpeg_that_was_cut_is_left_out_whatever_stands_at_its_end(options):
    content = photo(**options)
    assert reason(content) is None
    for share in (0.5, 0.7, 0.9):
        cut = content[: int(share * len(content))]
        assert {reason(cut), reason(cut + b"\xff\xd9"), reason(cut + bytes(5000))} <= {TRUNCATED, DAMAGED}
    np.testing.assert_array_equal(decoded(content[:-2]), decoded(content))  # it lacks nothing but its end
    np.testing.assert_array_equal(decoded(content + b"a film, say" * 9), decoded(content))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_so_is_one_with_a_hole_of_zeros(mode):
    content = encoded(noise().resize((160, 120)).convert(mode), "JPEG", quality=90)
    middle = len(content) // 2
    assert reason(content[:middle] + bytes(1000) + content[middle + 1000 :]) in (DAMAGED, TRUNCATED)


def test_every_size_and_sampling_of_a_whole_jpeg_is_whole():
    for width, height, sampling in [(1, 1, 2), (7, 9, 2), (8, 8, 0), (17, 33, 1), (64, 64, 2), (200, 3, 2)]:
        for options in KINDS_OF_JPEG:
            for image in (
                Image.new("RGB", (width, height), RED),
                noise().resize((width, height)),
                noise().convert("L"),
            ):
                content = encoded(image, "JPEG", **{"subsampling": sampling, **options})
                with Image.open(io.BytesIO(content)) as plain:
                    wanted = np.asarray(plain.convert("RGB"))
                np.testing.assert_array_equal(decoded(content, wanted.shape[:2])[..., :3], wanted)


@pytest.mark.parametrize(
    "segment",
    [
        b"\xff\xe0\0\x08JFIF\0\1",
        b"\xff\xe0\0\2",
        b"\xff\xed\0\x12Photoshop 3.0\x008B",
        b"\xff\xee\0\x07Adobe",
    ],
)
def test_a_bogus_segment_costs_only_itself(segment):
    content = photo()
    np.testing.assert_array_equal(decoded(content[:2] + segment + content[2:]), decoded(content))


def test_edges_survive_what_is_saved_while_decoding_a_jpeg():
    rows, columns = np.mgrid[:375, :500]
    rings = np.where(np.sin((rows**2 + columns**2) / 1500) > 0, 255, 0).astype(np.uint8)
    content = encoded(Image.fromarray(rings), "JPEG", quality=90)
    whole = decode.resized(Image.open(io.BytesIO(content)), (64, 64), "center")
    error = decoded(content, (64, 64))[..., 0].astype(float) - np.asarray(whole)
    assert (
        10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)) > 40
    )  # 23 dB where it was decoded at half the size


# ------------------------------------------------------------------------
# other damage


@pytest.mark.parametrize(
    "kind, options", [("WEBP", {"quality": 90}), ("WEBP", {"lossless": True}), ("AVIF", {})]
)
def test_a_tail_of_zeros_is_a_download_that_was_cut(kind, options):
    if kind not in Image.OPEN:
        pytest.skip("this Pillow has no AVIF")
    content = encoded(noise(), kind, **options)
    assert reason(content) is None
    assert reason(content[:-400] + bytes(400)) == TRUNCATED


@pytest.mark.parametrize("kind", ["WEBP", "HEIF"])
def test_zeros_at_the_end_of_exif_are_none_of_the_image(kind):
    """Windows pads EXIF with them (tag 0xEA1C)."""
    exif = Image.Exif()
    exif[0x010E], exif[0xEA1C] = "a photo", bytes(2060)
    exif = exif.tobytes() + bytes(100)
    content = heic_file(noise(), exif=exif) if kind == "HEIF" else encoded(noise(), kind, exif=exif)
    assert content.rstrip(b"\0") != content and reason(content) is None
    end = content.rindex(b"EXIF" if kind == "WEBP" else b"Exif\0\0MM")
    assert reason(content[: end - 400] + bytes(400) + content[end:]) == TRUNCATED
    for left in (end // 4, end // 2, end - 400):
        assert reason(content[:left] + bytes(len(content) - left)) == TRUNCATED


# ------------------------------------------------------------------------
# bombs and monsters


def gif_of(canvas: int, frame: int) -> bytes:
    """With a frame that is to be painted over when it has been shown: what with, Pillow makes while it opens
    the file."""
    file = bytearray(encoded(Image.new("L", (1, 1)), "GIF"))
    file[6:10] = struct.pack("<HH", canvas, canvas)
    place = file.index(b",", 13) + 5
    file[place : place + 4] = struct.pack("<HH", frame, frame)
    return bytes(file[: place - 5] + b"!\xf9\4\x08\0\0\0\0" + file[place - 5 :])


@pytest.mark.parametrize("canvas, frame", [(1, 40_000), (1, 65_535), (4000, 1), (1, 3163)])
def test_a_frame_larger_than_its_canvas_is_counted_before_it_is_decoded(canvas, frame, monkeypatch):
    monkeypatch.setattr(GifImagePlugin.GifImageFile, "load", lambda self: pytest.fail("it was decoded"))
    assert reason(gif_of(canvas, frame), max_pixels=10**7) == TOO_LARGE


def test_the_limit_of_pillow_is_as_it_was_when_all_is_decoded(tmp_path):
    from PIL import TiffImagePlugin

    before = Image.MAX_IMAGE_PIXELS, TiffImagePlugin.READ_LIBTIFF, dict(TiffImagePlugin.OPEN_INFO)
    two_halves().save(tmp_path / "a.tif")
    prepare(tmp_path, max_pixels=5000)
    assert (Image.MAX_IMAGE_PIXELS, TiffImagePlugin.READ_LIBTIFF, TiffImagePlugin.OPEN_INFO) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tells Linux's memory")
def test_a_large_image_of_floats_needs_its_own_size_twice_over(tmp_path):
    Image.new("F", (4000, 3000)).save(tmp_path / "a.tif")  # 48 MB
    command = "import resource, sys; from keras_dcgan.data.prepare import prepare_one\n"
    command += "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
    command += "before = peak(); prepare_one(sys.argv[1], (16, 16), 1); print(peak() - before)"
    done = subprocess.run(
        [sys.executable, "-c", command, tmp_path / "a.tif"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) * 1024 < 3.2 * 48e6  # 6 times where it was calculated with copies in float64


# ------------------------------------------------------------------------
# kinds of TIFF


def tiff(pixels: np.ndarray, order: str = "<", planar: int = 1, compression: int = 1, **tags) -> bytes:
    """(H, W) or (H, W, samples); photometric, bits, sample_format, extra and colour_map are tags."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    height, width, samples = pixels.shape
    pixels = pixels.astype(pixels.dtype.newbyteorder(order))
    strips = (
        [np.ascontiguousarray(plane) for plane in np.moveaxis(pixels, -1, 0)] if planar == 2 else [pixels]
    )
    strips = [zlib.compress(strip.tobytes()) if compression == 8 else strip.tobytes() for strip in strips]
    bits = tags.get("bits", 8 * pixels.itemsize)
    sample_format = tags.get("sample_format", {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind])
    photometric = tags.get("photometric", 1 if samples < 3 else 2)
    entries = {
        256: [width],
        257: [height],
        258: [bits] * samples,
        259: [compression],
        262: [photometric],
        277: [samples],
    }
    entries |= {278: [height], 284: [planar], 339: [sample_format] * samples}
    entries |= {273: [0] * len(strips), 279: [len(strip) for strip in strips]}
    if "extra" in tags:
        entries[338] = [tags["extra"]]
    if "colour_map" in tags:
        entries[320] = tags["colour_map"]
    longs = (273, 279)
    table_end = 8 + 2 + 12 * len(entries) + 4
    sizes = {tag: len(values) * (4 if tag in longs else 2) for tag, values in entries.items()}
    begin = table_end + sum(size for size in sizes.values() if size > 4)
    entries[273] = [begin + sum(map(len, strips[:i])) for i in range(len(strips))]
    table, after = b"", b""
    for tag in sorted(entries):
        kind = "I" if tag in longs else "H"
        body = struct.pack(f"{order}{len(entries[tag])}{kind}", *entries[tag])
        table += struct.pack(f"{order}HHI", tag, 4 if tag in longs else 3, len(entries[tag]))
        if len(body) > 4:
            table += struct.pack(f"{order}I", table_end + len(after))
            after += body
        else:
            table += body.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(entries))
    return head + table + bytes(4) + after + b"".join(strips)


RAMP = np.tile(np.arange(16) / 15, (16, 1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize(
    "kind, low, high",
    [
        ("i1", -120, 120),
        ("u2", 0, 60_000),
        ("i2", -30_000, 30_000),
        ("u4", 10, 4e9),
        ("i4", -2e9, 2e9),
        ("f4", -0.5, 3.5),
        ("f8", -0.5, 3.5),
    ],
)
def test_grey_of_any_kind_of_number_is_scaled_by_its_own_range(
    kind, low, high, photometric, compression, order
):
    values = (low + RAMP * (high - low)).astype(kind)
    ramp = decoded(tiff(values, order, compression=compression, photometric=photometric), (16, 16))[8, :, 0]
    wanted = np.rint(255 * RAMP[8])
    np.testing.assert_allclose(ramp, wanted if photometric else 255 - wanted, atol=1.1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("kind, planar", [("u1", 2), ("u2", 1), ("u2", 2)])
def test_planes_of_colours_are_put_together(kind, planar, compression, order):
    colours = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (16, 16, 3)).astype(kind)
    wanted = colours >> (8 * (colours.itemsize - 1))
    pixels = decoded(tiff(colours, order, planar, compression), (16, 16))
    np.testing.assert_array_equal(pixels[..., :3], wanted)


def test_weighed_grey_is_what_it_was_before_it_was_weighed():
    grey_and_alpha = np.full((16, 16, 2), (50, 128), np.uint8)
    pixel = decoded(tiff(grey_and_alpha, extra=1), (16, 16))[8, 8]
    np.testing.assert_allclose(pixel, [100, 100, 100, 128], atol=1)


@pytest.mark.parametrize("scale", [1, 257])
def test_a_colour_map_is_taken_at_8_bits_where_it_has_no_more(scale):
    table = np.zeros((3, 256), int)
    table[:, 1], table[:, 2] = RED, BLUE
    numbers = np.repeat([[1, 2]], 8, 1).repeat(16, 0).astype(np.uint8)
    file = tiff(numbers, photometric=3, colour_map=(table * scale).ravel().tolist())
    np.testing.assert_array_equal(decoded(file, (16, 16))[8, [2, 13], :3], [RED, BLUE])


@pytest.mark.parametrize(
    "file",
    [
        tiff(np.zeros((16, 16), np.float16)),
        tiff(np.zeros((16, 16, 3), np.float32)),
        tiff(np.zeros((16, 16, 3), np.int8)),
        tiff(np.zeros((16, 16, 3), np.uint32)),
        tiff(np.zeros((16, 16, 2), np.uint16), extra=2),
        tiff(np.zeros((16, 16, 2), np.uint8), planar=2, extra=2),
        tiff(np.zeros((16, 16, 3), np.uint8), planar=2, photometric=6),
        tiff(np.zeros((16, 16, 3), np.uint8), photometric=32803),
        tiff(np.zeros((16, 16), np.uint16), photometric=3, colour_map=[0] * 768),
        tiff(np.zeros((16, 16), np.float32), sample_format=6),
        b"MM\0+\0\x08\0\0" + bytes(60),
    ],
)
def test_a_kind_of_tiff_that_is_not_read_is_named_so_and_not_damaged(file):
    assert reason(file) == TIFF_NOT_SUPPORTED


# ------------------------------------------------------------------------
# names and magic


def boxes(brand: bytes, *others: bytes) -> bytes:
    return (
        (16 + 4 * len(others)).to_bytes(4, "big") + b"ftyp" + brand + bytes(4) + b"".join(others) + b"\1" * 64
    )


@pytest.mark.parametrize(
    "name, content, wanted",
    [
        ("film.jpg", b"RIFF\x40\0\0\0AVI LIST" + bytes(50), NOT_AN_IMAGE),
        ("sound.webp", b"RIFF\x40\0\0\0WAVEfmt " + bytes(50), NOT_AN_IMAGE),
        ("cut.webp", b"RIFF\x40\0\0\0WEBPVP8 " + bytes(range(50)), DAMAGED),
        ("film.png", boxes(b"isom", b"mp42"), NOT_AN_IMAGE),
        ("BMW.txt.bmp", b"BMW: a car, and no bitmap at all", NOT_AN_IMAGE),
        ("cut.bmp", encoded(two_halves(), "BMP")[:40], TRUNCATED),
        ("a.jpg", b"P7\nWIDTH 4\nHEIGHT 4\n", "PAM is not supported"),
        ("a.png", b"\xff\x0a\xfa\x1f", "JPEG XL is not supported"),
        ("b.png", b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not supported"),
        ("a.gif", b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 is not supported"),
        ("a.tif", b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000 is not supported"),
        ("b.jpg", b"8BPS\0\1", "PSD is not supported"),
        ("c.png", b"\0\0\1\0\1\0\x10\x10", "ICO is not supported"),
        (
            "c.jpg",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "a Git LFS pointer in place of the image",
        ),
        ("d.jpg", b"II*\0\x10\0\0\0CR\2\0" + bytes(90), RAW_PHOTO),
        ("e.jpg", boxes(b"crx "), RAW_PHOTO),
        ("f.nef", encoded(two_halves(), "TIFF"), ".nef is not supported"),  # its small preview
        ("g.svg", b"<svg></svg>", ".svg is not supported"),
        ("h.jxl", b"nothing known", ".jxl is not supported"),
        ("i.heic", encoded(two_halves(), "JPEG"), None),
        ("j.nef", encoded(two_halves(), "JPEG"), None),
        ("k.jxl", encoded(two_halves(), "PNG"), None),
        ("l.dat", encoded(two_halves(), "GIF"), None),
        ("m.psd", encoded(two_halves(), "WEBP"), None),
    ],
)
def test_a_file_is_what_its_first_bytes_say(tmp_path, name, content, wanted):
    (tmp_path / name).write_bytes(content)
    two_halves().save(tmp_path / "other.png")
    manifest = prepare(tmp_path).manifest
    assert reasons(manifest).get(name) == wanted and manifest.count == (1 if wanted else 2)


def test_a_dng_is_a_raw_photo_and_not_damaged():
    image, tags = Image.new("L", (16, 16)), Image.Exif()
    tags[50706] = b"\1\4\0\0"
    assert reason(encoded(image, "TIFF", exif=tags), "photo.tif") == RAW_PHOTO


@pytest.mark.skipif("AVIF" not in Image.OPEN, reason="this Pillow has no AVIF")
def test_a_cut_avif_is_an_image_that_is_damaged():
    content = encoded(noise(), "AVIF")
    assert reason(content[: len(content) // 2]) in (DAMAGED, TRUNCATED)
    assert reason(boxes(b"mif1", b"miaf", b"avif")[:90] + b"\1" * 90) == DAMAGED


def test_bmp_that_pillow_does_not_know_is_named_so():
    content = bytearray(encoded(two_halves(), "BMP"))
    content[30] = 7  # a compression that there is not
    assert reason(bytes(content)) == "this kind of BMP is not supported"


# ------------------------------------------------------------------------
# HEIC


def heic_file(image: Image.Image, **options) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, quality=-1, chroma=444, **options)
    return file.getvalue()


def test_heic_is_upright_in_srgb_and_its_primary_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = two_halves(size=(64, 48)).transpose(Image.Transpose.ROTATE_90)
    image.info["icc_profile"] = DISPLAY_P3
    pixels = decoded(heic_file(image, exif=exif.tobytes()), name="IMG_0001.jpg")
    assert pixels.shape == (48, 48, 4)
    plain = decoded(encoded(two_halves(size=(64, 48)), "PNG", icc_profile=DISPLAY_P3))
    np.testing.assert_allclose(pixels[24, [5, 42]].astype(int), plain[24, [5, 42]].astype(int), atol=6)


def test_heic_has_the_limits_of_all_others():
    content = heic_file(two_halves())
    assert reason(content, max_pixels=1000) == TOO_LARGE
    assert reason(content[:-300]) == DAMAGED


def test_heic_is_read_by_a_process_that_finds_this_package(monkeypatch, tmp_path):
    """Also where it is only on sys.path, as a clone in a notebook."""
    content = heic_file(two_halves())
    monkeypatch.chdir(tmp_path)
    told, run = [], subprocess.run

    def noted(command, env, **more):
        told.append(env)
        return run(command, env=env, **more)

    monkeypatch.setattr(heic.subprocess, "run", noted)
    decoded(content)
    first = told[0]["PYTHONPATH"].split(os.pathsep)[0]
    assert (pathlib.Path(first) / "keras_dcgan" / "data" / "formats" / "heic.py").is_file()


def test_heic_that_takes_for_ever_is_ended(monkeypatch):
    content = heic_file(two_halves())
    monkeypatch.setattr(heic, "COMMAND", "import time; time.sleep(60)")
    monkeypatch.setattr(heic, "WAITING", 0.3)
    assert reason(content) == heic.TOO_SLOW
    monkeypatch.setattr(heic, "WAITING", 60)
    monkeypatch.setattr(
        heic, "COMMAND", "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)"
    )  # as its limit on time does
    assert reason(content) == heic.TOO_SLOW


def test_heic_that_found_no_memory_says_so(monkeypatch):
    content = heic_file(two_halves())
    with monkeypatch.context() as patch:
        patch.setattr(heic, "COMMAND", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert reason(content) == heic.NO_MEMORY

    def no_more(*_, **__):
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(heic.subprocess, "run", no_more)
    assert reason(content) == heic.NO_MEMORY


def test_without_pillow_heif_the_report_says_what_to_install(monkeypatch):
    monkeypatch.setattr(heic.importlib.util, "find_spec", lambda name: None)
    assert reason(boxes(b"heic", b"mif1"), "IMG_0001.jpg") == "HEIC needs: pip install 'keras_dcgan[heic]'"


# ------------------------------------------------------------------------
# PPM


def plain_ppm(kind: int, values: np.ndarray, highest: int | None) -> bytes:
    height, width = values.shape[:2]
    head = f"P{kind}\n# made here\n{width} {height}\n" + (f"{highest}\n" if highest else "")
    if kind in (5, 6):
        return head.encode() + values.astype(">u2" if highest > 255 else "u1").tobytes()
    rows = (" ".join(map(str, row.ravel())) for row in values)
    return (head + "\n# between\n".join(rows) + "\n").encode()


SLOW = [(1, None), (2, 255), (2, 1000), (3, 255), (3, 40), (5, 100), (5, 999), (6, 65535), (6, 77)]


@pytest.mark.parametrize("kind, highest", SLOW)
def test_slow_kinds_of_ppm_are_what_pillow_makes_of_them(kind, highest):
    shape = (9, 7, 3) if kind in (3, 6) else (9, 7)
    content = plain_ppm(kind, np.random.default_rng(kind).integers(0, (highest or 1) + 1, shape), highest)
    ours = netpbm.read(content, 10**6)
    with Image.open(io.BytesIO(content)) as theirs:
        theirs.load()
        assert ours.mode == theirs.mode
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert reason(content[:-12] if kind < 4 else content[:-1]) == TRUNCATED


@pytest.mark.parametrize(
    "content", [b"P3\n4 4\n255\n" + b"300 " * 48, b"P2 4 4 70000 1", b"P3 -4 4 255 1", b"P2\n2 2\n9\n1 2 x 4"]
)
def test_numbers_that_cannot_be_are_damage(content):
    assert reason(content) in (DAMAGED, TRUNCATED)


# ------------------------------------------------------------------------
# orientations


@pytest.mark.parametrize(
    "kind, value, turned",
    [
        (3, b"\0\6\0\0", True),
        (4, b"\0\0\0\6", True),
        (1, b"\6\0\0\0", True),
        (2, b"6\0\0\0", False),
        (11, b"\x40\xc0\0\0", False),
    ],
    ids=["short", "long", "byte", "text", "float"],
)
def test_an_orientation_of_another_type_is_a_number_or_none(kind, value, turned):
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12" + kind.to_bytes(2, "big") + b"\0\0\0\1" + value + bytes(4)
    content = encoded(two_halves().transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=exif)
    left, right = decoded(content)[24, [5, 42], :3].astype(int)
    assert (np.abs(left - RED).max() < 20 and np.abs(right - BLUE).max() < 20) == turned


def test_the_list_of_what_is_told_apart_is_told_apart():
    for signature, name in {**kinds.SIGNATURES, **kinds.OTHERS}.items():
        try:
            assert kinds.kind(signature.ljust(64, b"\0")) == name
        except Rejected as error:
            assert str(error) == f"{name} is not supported"
