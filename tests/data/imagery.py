"""Images of every kind to prepare, drawn here, and `prepare` as the tests call it."""

import io
import pathlib
import zlib

import numpy as np
from PIL import Image

from keras_dcgan.data import prepare as preparing
from keras_dcgan.data.manifest import Manifest

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


def noise(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (48, 48, 3), np.uint8))


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


def folder_of(root: pathlib.Path, **images: Image.Image) -> pathlib.Path:
    for name, image in images.items():
        path = root / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return root


PICTURE = encoded(two_halves(), "PNG")
