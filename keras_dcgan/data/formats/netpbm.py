"""PBM, PGM and PPM of the kinds that Pillow reads byte by byte in Python, at 1 to 2 CPU seconds a megapixel.
NumPy.

read(content, max_pixels)     # a Pillow image of mode 1, L, RGB or I as Pillow would have it; None of kinds
that it reads fast
"""

import re
import warnings

import numpy as np
from PIL import Image

from keras_dcgan.data.formats.kinds import DAMAGED, TOO_LARGE, TRUNCATED, Rejected

NUMBER = re.compile(rb"(?:\s|#[^\r\n]*(?:[\r\n]|$))*(\d{1,10})")
WIDEST, SLACK = 16, 1 << 16  # bytes that are looked at for each number, and for comments
COMMENT = re.compile(rb"#[^\r\n]*")


def read(content: bytes, max_pixels: int) -> Image.Image | None:
    kind, position, numbers = content[1:2], 2, []
    for _ in range(2 if kind in b"14" else 3):
        found = NUMBER.match(content, position)
        if not found:
            raise Rejected(DAMAGED)
        numbers.append(int(found[1]))
        position = found.end()
    width, height, highest = (*numbers, 1)[:3]
    if kind == b"4" or (kind in b"56" and highest in (255, 65535) and (kind, highest) != (b"6", 65535)):
        return None
    if width < 1 or height < 1 or not 0 < highest < 65536:
        raise Rejected(DAMAGED)
    if width * height > max_pixels:
        raise Rejected(TOO_LARGE)
    shape = (height, width, 3) if kind in b"36" else (height, width)
    count = width * height * (3 if kind in b"36" else 1)
    if kind in b"56":  # one white space ends the header
        body = memoryview(content)[position + 1 :][: count * (1 + (highest > 255))]
        values = np.frombuffer(
            body[: len(body) & ~1] if highest > 255 else body, np.uint8 if highest < 256 else ">u2"
        )
    elif kind == b"1":  # digits, with or without space between them
        values = np.frombuffer(b"".join(COMMENT.sub(b" ", content[position:]).split()), np.uint8)[:count] - 48
    else:
        values = _numbers(COMMENT.sub(b" ", content[position : position + WIDEST * count + SLACK]))[:count]
    if len(values) < count:
        raise Rejected(TRUNCATED)
    if kind not in b"56" and (values.max() > highest or values.min() < 0):
        raise Rejected(DAMAGED)
    if kind == b"1":
        return Image.fromarray((1 - values.reshape(shape)) * np.uint8(255)).convert("1")
    top = 65535 if highest > 255 and kind in b"25" else 255
    scale = np.minimum(np.rint(np.arange(65536) / highest * top), top).astype(
        np.int32 if top > 255 else np.uint8
    )
    return Image.fromarray(scale[values].reshape(shape))


def _numbers(text: bytes) -> np.ndarray:
    """As many as there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that something else stands there: seen by what is missing
        try:
            return np.fromstring(text, np.int32, sep=" ")
        except ValueError:
            return np.empty(0, np.int32)
