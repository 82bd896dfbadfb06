"""The flavours of TIFF: which of them Pillow gets right, which can be put right, and which are left out with
that reason.

    image, mend = opened(file)      # raises Rejected("this kind of TIFF is not supported")
    image.load()
    image = mend(image)

Photometric interpretation, sample format, byte order and planes multiply to some hundreds of flavours; Pillow
knows some ninety, reads others as if they were of those, and mixes up the byte order of compressed ones. All
that tifffile can write were compared with it (Pillow 13.0).
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image, ImagePalette, TiffImagePlugin, UnidentifiedImageError

from keras_dcgan.data.formats.kinds import DAMAGED, RAW_PHOTO, TIFF_NOT_SUPPORTED, TRUNCATED, Rejected

II, MM = b"II", b"MM"
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
SEPARATE = 2
PHOTOMETRIC, BITS, SAMPLES, PLANAR, EXTRA, SAMPLE_FORMAT, COLOUR_MAP, INKS = (
    262,
    258,
    277,
    284,
    338,
    339,
    320,
    332,
)
DNG_VERSION, NEEDED = 50706, (256, 257)  # width, height
# Not in Pillow's table, whose reader does know them: float64, and grey of 16 and 32 bits in the other order
# or with white as 0.
MORE = {
    (order, photometric, (sample_format,), 1, (bits,), ()): modes
    for order in (II, MM)
    for photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO)
    for sample_format, bits, modes in [
        (FLOAT, 64, ("F", "F;64F")),
        (FLOAT, 32, ("F", "F;32F")),
        (UNSIGNED, 16, ("I;16", "I;16")),
        (UNSIGNED, 32, ("I", "I;32")),
        (SIGNED, 8, ("L", "L")),
        (SIGNED, 16, ("I", "I;16S")),
        (SIGNED, 32, ("I", "I;32S")),
    ]
}
# libtiff gives the machine's own byte order whatever the file's is.
NATIVE = {
    "F;64F": "F;64NF",
    "F;32F": "F;32NF",
    "F;32BF": "F;32NF",
    "I;16": "I;16N",
    "I;16B": "I;16N",
    "I;32": "I;32N",
    "I;16S": "I;16NS",
    "I;16BS": "I;16NS",
    "I;32S": "I;32NS",
    "I;32BS": "I;32NS",
}


@contextlib.contextmanager
def through_libtiff() -> Iterator[None]:
    """Around all decoding, since these are globals of Pillow's: of its two readers the other makes noise of
    planes of 16 bits."""
    usual, table = TiffImagePlugin.READ_LIBTIFF, dict(TiffImagePlugin.OPEN_INFO)
    TiffImagePlugin.READ_LIBTIFF = True
    TiffImagePlugin.OPEN_INFO.update({key: modes for key, modes in MORE.items() if key not in table})
    try:
        yield
    finally:
        TiffImagePlugin.READ_LIBTIFF = usual
        TiffImagePlugin.OPEN_INFO.clear()
        TiffImagePlugin.OPEN_INFO.update(table)


def opened(file: BinaryIO) -> tuple[Image.Image, Callable[[Image.Image], Image.Image]]:
    try:
        image = Image.open(file, formats=["TIFF"])
    except UnidentifiedImageError as error:
        raise Rejected(_why_not(file)) from error
    tags, grey = image.tag_v2, (WHITE_IS_ZERO, BLACK_IS_ZERO)
    photometric, samples, kinds = (
        tags.get(PHOTOMETRIC),
        tags.get(SAMPLES, 1),
        set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))),
    )
    if DNG_VERSION in tags:
        raise Rejected(RAW_PHOTO)
    if (
        (photometric is None and image.mode != "1")  # Pillow takes white for 0, others the contrary
        or len(kinds) > 1
        or (photometric == CMYK and tags.get(INKS, 1) != 1)
        or (photometric in (*grey, PALETTE, YCBCR) and samples > 1 and tags.get(PLANAR) == SEPARATE)
    ):
        raise Rejected(TIFF_NOT_SUPPORTED)
    kind, bits = kinds.pop(), max(tags.get(BITS, (1,)))
    rawmode, *more = image.tile[0][3]
    image.tile = [with_arguments(image.tile[0], (NATIVE.get(rawmode, rawmode), *more))]
    if image.mode == "I;16B":
        image._mode = "I;16"
    if (
        image.mode in ("P", "PA") and max(tags[COLOUR_MAP]) < 256
    ):  # of 8 bits, as some write it, where 16 are meant
        image.palette = ImagePalette.raw("RGB;L", bytes(tags[COLOUR_MAP]))

    def mend(image: Image.Image) -> Image.Image:
        """Values that Pillow has no mode for: moved or turned over, which makes no difference to what is
        scaled by its range."""
        if kind == SIGNED and bits == 8:
            image = Image.fromarray(np.asarray(image).view(np.int8).astype(np.int32))
        elif kind == UNSIGNED and bits == 32:
            image = Image.fromarray((np.asarray(image).view(np.uint32) ^ np.uint32(1 << 31)).view(np.int32))
        if photometric == WHITE_IS_ZERO and image.mode[0] in "IF":
            values = np.asarray(image)
            image = Image.fromarray(-values if image.mode == "F" else ~values)
        return image

    return image, mend


def with_arguments(tile: tuple, arguments) -> tuple:
    """A row of Image.tile that tells the decoder something else."""
    return getattr(tile, "_make", tuple)([*tile[:3], arguments])  # a named tuple since Pillow 11


def is_cut(image: Image.Image, length: int) -> bool:
    """Whether parts of the image lie behind the end of the file, which has so many bytes."""
    for place, size in ((273, 279), (324, 325)):  # offsets and byte counts of strips, of tiles
        for begin, count in zip(image.tag_v2.get(place, ()), image.tag_v2.get(size, ())):
            if begin + count > length:
                return True
    return False


def _why_not(file: BinaryIO) -> str:
    """Whether it is the flavour, or the file, that Pillow cannot make sense of."""
    try:
        file.seek(0)
        head = file.read(8)
        if head[:4] == b"MM\0+":  # BigTIFF, which in this order Pillow 13 reads as if its numbers had 4 bytes
            return TIFF_NOT_SUPPORTED
        head += file.read(8) if head[2] == 43 else b""
        tags = TiffImagePlugin.ImageFileDirectory_v2(head)
        if tags.next >= file.seek(0, io.SEEK_END):
            return TRUNCATED
        file.seek(tags.next)
        tags.load(file)
        is_whole = all(isinstance(tags.get(tag), int) for tag in NEEDED)
        is_raw = DNG_VERSION in tags
    except Exception:  # whatever its parser raises on damaged bytes
        return DAMAGED
    return RAW_PHOTO if is_raw else TIFF_NOT_SUPPORTED if is_whole else DAMAGED
