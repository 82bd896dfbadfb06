"""One image file, whatever is in it -> a small uint8 RGBA array, or the reason why not. NumPy + Pillow; no TensorFlow.

    with open("cat.jpg", "rb") as file:
        pixels, original_size = decode(file, (64, 64))     # (64, 64, 4) uint8 and (375, 500); raises Rejected("truncated")

Always RGBA, so that what the channels of a whole folder should be can be decided when all of it has been seen.
"""

import contextlib
import errno
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import BinaryIO, TextIO

import numpy as np
from PIL import Image

# These and no others: among Pillow's forty formats are some that start programs (EPS), and many that nobody fuzzes.
Image.init()  # now: Pillow would load its plugins when the first file needs them, which is not meant for many threads
FORMATS = [name for name in "JPEG PNG WEBP GIF BMP TIFF AVIF PPM".split() if name in Image.OPEN]
EXTENSIONS = ".jpg .jpeg .png .webp .gif .bmp .tif .tiff .avif .ppm .pgm".split()
MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")
MAX_PIXELS = 89_478_485  # Pillow's own limit: 1 GB of RGB and the copies that a conversion needs

NOT_AN_IMAGE = "not an image"
TRUNCATED = "truncated"
DAMAGED = "damaged"
TOO_LARGE = "too large to decode safely"
PASSING = (errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE, errno.ENFILE)  # of a network disk, or of this process

# EXIF orientation -> what turns the stored picture upright.
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

# Images of more pixels than this are decoded one at a time: memory is then bounded however many threads there are.
LARGE = 16_000_000
one_large_image = threading.Lock()


class Rejected(Exception):
    """This file cannot be used; the message is the reason, from a short list, so that reasons can be counted."""


@contextlib.contextmanager
def pillow_for_threads() -> Iterator[TextIO]:
    """Around the threads that decode, since these are globals of the process: Pillow's warnings are off, its own limit on pixels
    gives way to `max_pixels`, and stderr is closed, on which libtiff prints what it thinks of a damaged file. -> stderr."""
    limit = Image.MAX_IMAGE_PIXELS
    with os.fdopen(os.dup(2), "w") as screen, open(os.devnull, "w") as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None
        sys.stderr.flush()
        os.dup2(nowhere.fileno(), 2)
        try:
            yield screen
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            screen.flush()
            os.dup2(screen.fileno(), 2)


def decode(
    file: BinaryIO, size: tuple[int, int], crop: str = "center", max_pixels: int = MAX_PIXELS
) -> tuple[np.ndarray, tuple[int, int]]:
    """-> (height, width, 4) uint8, and (height, width) as a viewer would show the original. Raises Rejected.

    The first frame, upright as EXIF has it; palettes and CMYK become RGB; grey of 16 bits or of floats is stretched over the range
    that it holds. `crop`: "center" keeps the proportions and cuts, "none" squashes.
    """
    with _reasons(file):
        image = Image.open(file, formats=FORMATS)
    with image:
        if image.width * image.height > max_pixels:
            raise Rejected(TOO_LARGE)
        original_size = image.size
        if image.format in ("JPEG", "MPO"):  # of others the orientation may be known only when they are decoded
            with _reasons(file):
                # To a half, a quarter or an eighth, whichever is not yet below what is needed: two to three times faster, and
                # 43 dB from a full decode, which is nearer than the JPEG is to what was photographed.
                image.draft(None, _as_stored(size, _orientation(image))[::-1])
        width, height = original_size if image.info.get("progressive") else image.size  # that holds all of its coefficients
        with one_large_image if width * height > LARGE else contextlib.nullcontext():
            with _reasons(file):
                image.load()
                orientation = _orientation(image)  # again: Pillow turns a TIFF upright while loading it
                channels = _plain_mode(image)
            pixels = resized(channels, _as_stored(size, orientation), crop)
    if orientation in UPRIGHT:
        pixels = pixels.transpose(UPRIGHT[orientation])
    return np.asarray(pixels.convert("RGBA")), _as_stored(original_size[::-1], orientation)


def resized(image: Image.Image, size: tuple[int, int], crop: str) -> Image.Image:
    """An L, RGB, RGBA or F (0 to 255) image at `size` (height, width); F comes back as L. Antialiased; alpha is weighed in."""
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
def _reasons(file: BinaryIO) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, MemoryError) as error:
        raise Rejected(TOO_LARGE) from error
    except Image.UnidentifiedImageError as error:
        file.seek(0)
        raise Rejected(DAMAGED if file.read(4).startswith(MAGIC) else NOT_AN_IMAGE) from error
    # The fuzzer saw SyntaxError, struct.error, EOFError ... : on damaged bytes Pillow may raise anything.
    except Exception as error:
        if getattr(error, "errno", None) in PASSING:
            raise
        raise Rejected(TRUNCATED if "truncated" in str(error).lower() else DAMAGED) from error


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # a broken EXIF block (anything may be raised) is no reason to lose the picture
        return 1


def _as_stored(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return size[::-1] if orientation in ON_ITS_SIDE else size


def _plain_mode(image: Image.Image) -> Image.Image:
    """Any mode of Pillow -> L, RGB, RGBA, or F from 0 to 255."""
    if image.mode.startswith(("I", "F")):
        return _stretched(np.asarray(image))
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _stretched(values: np.ndarray) -> Image.Image:
    """Medical and scientific files use 10 or 12 of 16 bits, or units of their own: their own range is the only one known."""
    is_finite = np.isfinite(values)
    if not is_finite.any():
        raise Rejected(DAMAGED)
    low, high = float(values[is_finite].min()), float(values[is_finite].max())
    stretched = np.where(is_finite, values, low).astype(np.float64)
    stretched -= low
    stretched *= 255 / (high - low) if high > low else 0
    return Image.fromarray(stretched.astype(np.float32))
