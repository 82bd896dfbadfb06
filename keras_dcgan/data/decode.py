"""One image file, whatever is in it -> a small uint8 RGBA array, or the reason why not. NumPy + Pillow; no
TensorFlow.

    with open("cat.jpg", "rb") as file:
        pixels, original_size = decode(file, (64, 64))     # (64, 64, 4) uint8 and (375, 500); raises Rejected("truncated")

Always RGBA, so that what the channels of a whole folder should be can be decided when all of it has been
seen.
"""

import contextlib
import dataclasses
import errno
import io
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO, TextIO

import numpy as np
from PIL import Image

from keras_dcgan.data.formats import heic, kinds, netpbm, png, tiff
from keras_dcgan.data.formats.colour import is_for_cmyk, to_srgb
from keras_dcgan.data.formats.jpeg import Jpeg
from keras_dcgan.data.formats.kinds import (  # noqa: F401 (for our callers)
    DAMAGED,
    NOT_AN_IMAGE,
    NOT_SUPPORTED,
    TOO_LARGE,
    TRUNCATED,
    Rejected,
)

# What is not asked for is not opened: among Pillow's forty formats are some that start programs (EPS), and
# many that nobody fuzzes.
# now: Pillow would load its plugins when the first file needs them, which is not meant for many threads
Image.init()
EXTENSIONS = ".jpg .jpeg .png .webp .gif .bmp .tif .tiff .avif .ppm .pgm .heic".split()
MAX_PIXELS = 89_478_485  # Pillow's own limit: 1 GB of RGB and the copies that a conversion needs
TAIL = 64  # bytes
SHORT_EXIF = 1 << 13  # bytes
LARGEST_PROFILE = 1 << 22  # bytes
BMP_HEAD = 14 + 124  # bytes
LARGEST_FILE = 1 << 29  # bytes: files are read into memory whole
PASSING = (
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ENOTCONN,
    errno.EMFILE,
    errno.ENFILE,
)  # of a network disk, or of this process

# EXIF orientation -> what turns the stored image upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_ITS_SIDE = (5, 6, 7, 8)
ORIENTATION = 0x0112

# Images of more pixels than this are decoded one at a time: memory is then bounded however many threads there
# are.
LARGE = 16_000_000
STRIP = 1 << 20  # pixels that are calculated with at once
# JPEGs are decoded at a half, a quarter or an eighth, as long as that leaves so many times the pixels that
# are needed. On photos of 500x375 that is a full decode at 64x64, in twice the time; 1 was 43 dB from it, and
# 23 where edges are hard. Photos of 2 to 6 megapixels come to 54 to 56 dB from a full decode in a third of
# its time, where 1 had 52 to 54, and 33 where lines are thin.
DRAFT = 3
one_large_image = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Opened:
    """An image that is not yet decoded."""

    image: Image.Image
    profile: bytes | None = None  # ICC
    finish: Callable[[Image.Image], Image.Image] = lambda image: (
        image
    )  # when it is decoded: what its format wants put right
    again: Image.Image | None = None  # the same once more, which must come out the same
    is_cut: bool = False  # parts of it lie behind the end of the file


NO_AVIF = NOT_SUPPORTED.format("AVIF (by this Pillow)")


def now_known(reasons: set[str]) -> set[str]:
    """Those for which images are left out that hold no longer, since what decodes them is here by now."""
    here: dict[str, Callable[[], bool]] = {
        heic.MISSING: heic.is_installed,
        heic.NOT_LOADED: heic.loads,
        NO_AVIF: lambda: "AVIF" in Image.OPEN,
    }
    return {reason for reason, is_here in here.items() if reason in reasons and is_here()}


class _Pillow:
    """How many want its globals changed, in any thread."""

    changing = threading.Lock()
    limits: list[int] = []
    undo = contextlib.ExitStack()
    screen: TextIO


@contextlib.contextmanager
def pillow_for_threads(max_pixels: int = MAX_PIXELS) -> Iterator[TextIO]:
    """Around the threads that decode, since these are globals of the process: Pillow's warnings are off, its
    own limit on pixels is `max_pixels` (it also looks at frames that are larger than their canvas), and
    stderr is closed, on which libtiff prints what it thinks of a damaged file. -> stderr. Where several are on at
    once, the first changes them, and the last changes them back."""
    with _Pillow.changing:
        if not _Pillow.limits:
            _Pillow.screen = _Pillow.undo.enter_context(_changed())
        _limit([*_Pillow.limits, max_pixels])
    try:
        yield _Pillow.screen
    finally:
        with _Pillow.changing:
            _Pillow.limits.remove(max_pixels)
            _limit(_Pillow.limits)
            if not _Pillow.limits:
                _Pillow.undo.close()


def _limit(limits: list[int]):
    _Pillow.limits = limits
    # At twice its limit Pillow refuses, below that it warns.
    Image.MAX_IMAGE_PIXELS = max(limits, default=MAX_PIXELS) // 2


@contextlib.contextmanager
def _changed() -> Iterator[TextIO]:
    limit = Image.MAX_IMAGE_PIXELS
    with (
        os.fdopen(os.dup(2), "w") as screen,
        open(os.devnull, "w") as nowhere,
        warnings.catch_warnings(),
        tiff.through_libtiff(),
    ):
        warnings.simplefilter("ignore")
        sys.stderr.flush()
        os.dup2(nowhere.fileno(), 2)
        try:
            yield screen
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            screen.flush()
            os.dup2(screen.fileno(), 2)


def decode(
    file: BinaryIO, size: tuple[int, int], crop: str = "center", max_pixels: int = MAX_PIXELS, name: str = ""
) -> tuple[np.ndarray, tuple[int, int]]:
    """-> (height, width, 4) uint8, and (height, width) as a viewer would show the original. Raises Rejected.

    The first frame, upright as EXIF has it, its colours in sRGB; palettes and CMYK become RGB; grey of 16
    bits or of floats is stretched over the range that it holds. `crop`: "center" keeps the proportions and
    cuts, "none" squashes. `name`: says what a file is that is none of these.
    """
    with _reasons():
        kind = kinds.kind(file.read(kinds.HEAD), os.path.splitext(name)[1].lower())
        file.seek(0)
    with _reasons(kind):
        opened = OPEN[kind](file, max_pixels)
    with opened.image as image:
        if image.width * image.height > max_pixels:
            raise Rejected(TOO_LARGE)
        original_size = image.size
        if kind == "JPEG":  # of others the orientation may be known only when they are decoded
            with _reasons():
                stored = _as_stored(size, _orientation(image))
                for each in (image, opened.again):
                    if each:
                        each.draft(None, (DRAFT * stored[1], DRAFT * stored[0]))
        width, height = (
            original_size if image.info.get("progressive") else image.size
        )  # that holds all of its coefficients
        with one_large_image if width * height > LARGE else contextlib.nullcontext():
            with _reasons(kind, opened.is_cut):
                image.load()
                orientation = _orientation(image)  # again: Pillow turns a TIFF upright while loading it
                profile = opened.profile or image.info.get("icc_profile")
                channels = _plain_mode(opened.finish(image), profile)
                pixels = to_srgb(resized(channels, _as_stored(size, orientation), crop), profile)
    if orientation in UPRIGHT:
        pixels = pixels.transpose(UPRIGHT[orientation])
    return np.asarray(pixels.convert("RGBA")), _as_stored(original_size[::-1], orientation)


# ------------------------------------------------------------------------
# what each format wants beside Pillow


def _content(file: BinaryIO) -> bytes:
    content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise Rejected(TOO_LARGE)
    return content


def _refuse_a_tail_of_zeros(file: BinaryIO, end: int | None = None):
    """A download that was cut in a file of its full size. Codes that fill whole bytes evenly have no such
    tail, and no checksum. `end`: of the pixels, where something stands behind them."""
    file.seek(max(0, (file.seek(0, io.SEEK_END) if end is None else end) - TAIL))
    if file.read(TAIL) == bytes(TAIL):
        raise Rejected(TRUNCATED)
    file.seek(0)


def _end_of_webp(file: BinaryIO) -> int:
    """Without EXIF, to which Windows adds 2 kB of zeros."""
    length, place, found = file.seek(0, io.SEEK_END), 12, 0
    file.seek(4)
    end = min(length, 8 + int.from_bytes(file.read(4), "little"))
    while place < end:
        file.seek(place)
        kind, size = file.read(4), int.from_bytes(file.read(4), "little")
        if kind == bytes(4):
            break
        place += 8 + size + size % 2
        if kind in (b"VP8 ", b"VP8L", b"ANMF"):
            found = min(place, length)
    return found or end


def _end_of_heic(file: BinaryIO) -> int:
    """Without EXIF, as far as it is short and stands last."""
    length = file.seek(0, io.SEEK_END)
    start = max(0, length - SHORT_EXIF)
    file.seek(start)
    tail = file.read()
    places = [tail.rfind(b"Exif\0\0" + order) for order in (b"II*\0", b"MM\0*")]
    return start + max(places) if max(places) >= 0 else length


def _open_jpeg(file: BinaryIO, max_pixels: int) -> Opened:
    jpeg = Jpeg(_content(file))
    image, *more = (Image.open(stream, formats=["JPEG"]) for stream in jpeg.streams)
    again = more[0] if more else None
    if jpeg.exif:
        image.info["exif"] = jpeg.exif

    def check(image: Image.Image) -> Image.Image:
        jpeg.check([image.tobytes(), again.tobytes()] if again else [b""])
        return image

    return Opened(image, jpeg.profile, check, again)


def _open_png(file: BinaryIO, max_pixels: int) -> Opened:
    found = png.pixels_only(_content(file), max_pixels)
    image = Image.open(io.BytesIO(found.content), formats=["PNG"])
    if found.key is None:
        return Opened(image, found.profile)

    def with_key(image: Image.Image) -> Image.Image:
        if image.mode != "RGB":
            values = np.asarray(image).astype(int)
            key = found.key[0] if found.bits == 16 else found.key[0] * 255 // ((1 << found.bits) - 1)
            is_clear = values == (bool(key) if image.mode == "1" else key)
            grey = image.convert("L") if found.bits < 16 else _stretched(image, where=~is_clear).convert("L")
        # of 16 bits Pillow gives the upper 8; the others it gives where it is told that they come first
        else:
            lower = Image.open(io.BytesIO(found.content), formats=["PNG"])
            lower.tile = [tiff.with_arguments(tile, "RGB;16L") for tile in lower.tile]
            lower.load()
            values = np.asarray(image).astype(int) << 8 | np.asarray(lower)
            is_clear = (values == found.key).all(-1)
            grey = image.copy()
        grey.putalpha(Image.fromarray(np.where(is_clear, 0, 255).astype(np.uint8)))
        return grey

    return Opened(image, found.profile, with_key)


def _open_gif(file: BinaryIO, max_pixels: int) -> Opened:
    image = Image.open(file, formats=["GIF"])
    frame, profile = image.tile[0][1], _gif_profile(file)
    if frame == (0, 0, *image.size):
        return Opened(image, profile)

    def framed(image: Image.Image) -> Image.Image:
        """What the first frame leaves of the canvas is transparent, as browsers show it."""
        whole = Image.new("RGBA", image.size)
        whole.paste(image.crop(frame).convert("RGBA"), frame[:2])
        return whole

    return Opened(image, profile, framed)


def _gif_profile(file: BinaryIO) -> bytes | None:
    """What stands in its blocks before the image data, which Pillow passes over."""
    position = file.tell()
    file.seek(0)
    head, pieces = file.read(LARGEST_PROFILE), []
    file.seek(position)
    at = head.find(b"\x21\xff\x0bICCRGBG1012") + 14
    while at >= 14 and at < len(head) and head[at]:  # a length, and as many bytes
        pieces.append(head[at + 1 : at + 1 + head[at]])
        at += 1 + head[at]
    return b"".join(pieces) or None


def _open_tiff(file: BinaryIO, max_pixels: int) -> Opened:
    image, mend = tiff.opened(file)
    return Opened(image, finish=mend, is_cut=tiff.is_cut(image, file.seek(0, io.SEEK_END)))


def _open_netpbm(file: BinaryIO, max_pixels: int) -> Opened:
    head = file.read(2)
    file.seek(0)
    image = None if head in (b"P4", b"Pf") else netpbm.read(_content(file), max_pixels)
    file.seek(0)
    return Opened(image or Image.open(file, formats=["PPM"]))


def _open_heic(file: BinaryIO, max_pixels: int) -> Opened:
    if not heic.is_installed():
        raise Rejected(heic.MISSING)
    _refuse_a_tail_of_zeros(file, _end_of_heic(file))
    return Opened(heic.decoded(_content(file), max_pixels))


def _open_webp(file: BinaryIO, max_pixels: int) -> Opened:
    _refuse_a_tail_of_zeros(file, _end_of_webp(file))
    return Opened(Image.open(file, formats=["WEBP"]))


def _open_avif(file: BinaryIO, max_pixels: int) -> Opened:
    if "AVIF" not in Image.OPEN:
        raise Rejected(NO_AVIF)
    _refuse_a_tail_of_zeros(file)
    return Opened(Image.open(file, formats=["AVIF"]))


def _open_bmp(file: BinaryIO, max_pixels: int) -> Opened:
    """Pillow passes over the profile that a header of version 5 points to."""
    head, profile = file.read(BMP_HEAD), None
    if (
        len(head) == BMP_HEAD and head[14] == 124 and head[70:74] == b"DEBM"
    ):  # embedded, the letters from right to left
        start, length = (int.from_bytes(head[at : at + 4], "little") for at in (126, 130))
        file.seek(14 + start)
        profile = file.read(length) if length < LARGEST_PROFILE else None
    file.seek(0)
    return Opened(Image.open(file, formats=["BMP"]), profile)


OPEN = {
    "JPEG": _open_jpeg,
    "PNG": _open_png,
    "WEBP": _open_webp,
    "GIF": _open_gif,
    "BMP": _open_bmp,
    "TIFF": _open_tiff,
    "PPM": _open_netpbm,
    "AVIF": _open_avif,
    "HEIF": _open_heic,
}


def resized(image: Image.Image, size: tuple[int, int], crop: str) -> Image.Image:
    """An L, RGB, RGBA or F (0 to 255) image at `size` (height, width); F comes back as L. Antialiased; alpha
    is weighed in."""
    height, width = size
    left = top = 0.0
    if crop == "center":
        scale = min(image.width / width, image.height / height)
        left, top = max(0.0, (image.width - width * scale) / 2), max(0.0, (image.height - height * scale) / 2)
    box = (left, top, image.width - left, image.height - top)
    image = image.resize((width, height), Image.Resampling.LANCZOS, box)
    if image.mode == "F":
        image = Image.fromarray(np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8))
    return image


@contextlib.contextmanager
def _reasons(kind: str = "image", is_cut: bool = False) -> Iterator[None]:
    try:
        yield
    except Rejected:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Rejected(TOO_LARGE) from error
    # The fuzzer saw SyntaxError, struct.error, EOFError ... : on damaged bytes Pillow may raise anything.
    except Exception as error:
        if getattr(error, "errno", None) in (*PASSING, errno.EIO):  # the disk's fault, not the file's
            raise
        text = str(error).lower()
        if "unsupported" in text:
            raise Rejected(NOT_SUPPORTED.format("this kind of " + kind)) from error
        raise Rejected(TRUNCATED if is_cut or "truncated" in text else DAMAGED) from error


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a broken EXIF block (anything may be raised) is no reason to lose the image
        return 1
    if (
        isinstance(found, (bytes, tuple)) and found
    ):  # of another type than it should be: a byte, or several numbers
        found = found[0]
    return found if isinstance(found, int) else 1


def _as_stored(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation in ON_ITS_SIDE else size


def _plain_mode(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Any mode of Pillow -> L, RGB, RGBA, or F from 0 to 255; CMYK only where there is a profile to convert
    it by."""
    if image.mode.startswith(("I", "F")):
        return _stretched(image)
    if image.mode == "La":  # which Pillow makes no RGBA of
        image = image.convert("LA")
    if image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB") or (
        image.mode == "CMYK" and is_for_cmyk(profile)
    ):  # a convert would copy it
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _stretched(image: Image.Image, where: np.ndarray | None = None) -> Image.Image:
    """Medical and scientific files use 10 or 12 of 16 bits, or units of their own: their own range is the
    only one known. It is that of the pixels `where`; in strips, since whole copies in float64 would take
    gigabytes."""
    rows = max(1, STRIP // image.width)
    strips = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    low, high = np.inf, -np.inf
    for left, top, right, bottom in strips:
        values = np.asarray(image.crop((left, top, right, bottom)))
        counts = np.isfinite(values) if where is None else np.isfinite(values) & where[top:bottom]
        if counts.any():
            low, high = min(low, float(values[counts].min())), max(high, float(values[counts].max()))
    if low > high and where is None:
        raise Rejected(DAMAGED)
    stretched = Image.new("F", image.size)
    for box in strips:
        values = np.asarray(image.crop(box))
        values = np.where(np.isfinite(values), values, low).astype(np.float64)
        values -= low
        values *= 255 / (high - low) if high > low else 0
        stretched.paste(Image.fromarray(values.astype(np.float32)), box)
    return stretched
