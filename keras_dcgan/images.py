"""Pictures as arrays and as files: [-1, 1] <-> uint8, grids, PNG, GIF, WebP. NumPy and Pillow; no TensorFlow.

    save(grid(np.stack(list(draw(generator, [z]))), columns=8), "grid.png")

Everywhere an image batch is NHWC with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
"""

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ANIMATIONS = (".gif", ".webp")
CHUNK = 64  # pictures drawn at once: more would need more memory than training did


def to_uint8(images: np.ndarray) -> np.ndarray:
    """float in [-1, 1] -> uint8, half up: the same arithmetic as the exported graph's, so that both draw the same pixel."""
    return np.clip(np.floor(np.asarray(images, np.float32) * 127.5 + 128), 0, 255).astype(np.uint8)


def from_uint8(images: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1


def draw(generator: Callable, inputs: list[np.ndarray]) -> Iterator[np.ndarray]:
    """[z (N, latent_dim)] or [z, labels (N,)] -> N pictures, uint8 (height, width, channels), one after the other.

    Always a whole chunk, the last one padded: one shape, one graph, and a picture never depends on how many were asked for.
    """
    count = len(inputs[0])
    for start in range(0, count, CHUNK):
        rows = np.arange(start, start + CHUNK).clip(max=count - 1)
        chunk = [part[rows] for part in inputs]
        yield from to_uint8(generator(chunk if len(chunk) > 1 else chunk[0], training=False))[: count - start]


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """uint8 (N, H, W, C) -> one uint8 (rows*H, columns*W, C), row by row; as square as N allows if `columns` is None."""
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, channels)


def to_pillow(image: np.ndarray) -> Image.Image:
    """uint8 (H, W, C) -> a Pillow image: L, RGB or RGBA by the channels."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save(image: np.ndarray, path: str | Path):
    """Writes a uint8 (H, W, C) as PNG, beside its place and then renamed into it."""
    _write(path, lambda file: to_pillow(image).save(file, format="PNG"))


def save_animation(frames: np.ndarray, path: str | Path, frames_per_second: float = 25):
    """Writes uint8 (N, H, W, C) as an endless loop: `.gif` (256 colours a frame, no half transparency) or lossless `.webp`."""
    if Path(path).suffix.lower() not in ANIMATIONS:
        raise ValueError(f"expected a name that ends in {' or '.join(ANIMATIONS)}, received {str(path)!r}")
    first, *others = [to_pillow(frame) for frame in frames]
    options = {"save_all": True, "append_images": others, "duration": round(1000 / frames_per_second), "loop": 0}
    if Path(path).suffix.lower() == ".gif":
        _write(path, lambda file: first.save(file, format="GIF", disposal=2, **options))
    else:
        _write(path, lambda file: first.save(file, format="WEBP", lossless=True, **options))


def _write(path, write):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            write(file)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
