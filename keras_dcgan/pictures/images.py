"""Images as arrays and as files: [-1, 1] <-> uint8, grids, PNG, GIF, WebP, MP4. NumPy and Pillow; no
TensorFlow.

    save(grid(images, columns=8), "grid.png")

Everywhere an image batch is NHWC with 1 (grey), 3 (RGB) or 4 (RGBA) channels.
"""

import collections
import io
import math
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_dcgan import files
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.threads import Threads

ANIMATIONS = (".gif", ".webp", ".mp4")
WAITING = 256  # images whose files are being written
VIDEO_SIDE = 256  # of an .mp4, at least: players show them as small as they are


def to_uint8(images: np.ndarray) -> np.ndarray:
    """float in [-1, 1] -> uint8, half up: the same arithmetic as the exported graph's, so that both draw the
    same pixel."""
    return np.clip(np.floor(np.asarray(images, np.float32) * 127.5 + 128), 0, 255).astype(np.uint8)


def from_uint8(images: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1


def grid(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """uint8 (N, H, W, C) -> one uint8 (rows*H, columns*W, C), row by row; as square as N allows if `columns`
    is None."""
    count, height, width, channels = images.shape
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
    sheet[:count] = images
    sheet = sheet.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, channels)


def show(images: np.ndarray, columns: int | None = None) -> Image.Image:
    """A grid of images (N, height, width, channels), uint8 or float in [-1, 1], as a Pillow image, which a
    notebook shows; as square as N allows if `columns` is None."""
    found = np.asarray(images)
    if found.ndim != 4 or not len(found) or found.shape[-1] not in (1, 3, 4):
        raise Refused("images", "(N, height, width, 1, 3 or 4)", found.shape)
    return to_pillow(grid(found if found.dtype == np.uint8 else to_uint8(found), columns))


def to_pillow(image: np.ndarray) -> Image.Image:
    """uint8 (H, W, C) -> a Pillow image: L, RGB or RGBA by the channels."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def save(image: np.ndarray, path: str | Path):
    """Writes a uint8 (H, W, C) as PNG, beside its place and then renamed into it."""
    with files.replacing(Path(path), is_synced=False) as beside:
        to_pillow(image).save(beside, format="PNG")


def png_bytes(image: np.ndarray) -> bytes:
    """A uint8 (H, W, C) as the content of a PNG file."""
    file = io.BytesIO()
    to_pillow(image).save(file, format="PNG")
    return file.getvalue()


def save_all(images: Iterable[np.ndarray], paths: Iterable[str | Path]):
    """`save` for many, in threads, while the next images are being drawn."""
    with Threads(min(32, 4 + (os.cpu_count() or 1))) as pool:
        waiting = collections.deque()
        for image, path in zip(images, paths):
            waiting.append(pool.submit(save, image, path))
            if len(waiting) > WAITING:
                waiting.popleft().result()
        for file in waiting:
            file.result()


def save_animation(frames: np.ndarray, path: str | Path, frames_per_second: float = 25):
    """Writes uint8 (N, H, W, C) as an endless loop, `.gif` (256 colours a frame, no half transparency) or
    lossless `.webp`, or once as `.mp4` (H.264, over white, enlarged)."""
    suffix = Path(path).suffix.lower()
    if suffix not in ANIMATIONS:
        raise Refused("path", f"a name that ends in {' or '.join(ANIMATIONS)}", repr(str(path)))
    with files.replacing(Path(path), is_synced=False) as beside:
        if suffix == ".mp4":
            _encode(frames, beside, frames_per_second)
            return
        first, *others = [to_pillow(frame) for frame in frames]
        options: dict[str, Any] = {"save_all": True, "append_images": others, "loop": 0}
        options["duration"] = round(1000 / frames_per_second)  # milliseconds
        if suffix == ".gif":
            first.save(beside, "GIF", disposal=2, **options)
        else:
            first.save(beside, "WEBP", lossless=True, **options)


def video_encoder() -> str:
    """The path of ffmpeg, which imageio-ffmpeg carries. Raises ValueError where that is not installed."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        expected = (
            "imageio-ffmpeg to be installed for .mp4 (pip install imageio-ffmpeg, or take .gif or .webp)"
        )
        raise Refused("path", expected, error) from error


def _encode(frames: np.ndarray, path: Path, frames_per_second: float):
    height, width, channels = frames.shape[1:]
    if channels == 4:
        alpha = frames[..., 3:] / 255
        frames = to_uint8((frames[..., :3] * alpha + 255 * (1 - alpha)) / 127.5 - 1)
    # H.264 as all players take it has even sides, and colours at half the resolution: twice as large, each
    # pixel keeps its own.
    times = 2 * math.ceil(VIDEO_SIDE / 2 / min(height, width))
    source = ["-f", "rawvideo", "-pix_fmt", "gray" if channels == 1 else "rgb24", "-s", f"{width}x{height}"]
    target = [
        "-vf",
        f"scale=iw*{times}:ih*{times}:flags=neighbor",
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libx264",
        "-crf",
        "17",
    ]
    command = [
        video_encoder(),
        "-v",
        "error",
        "-y",
        *source,
        "-r",
        f"{frames_per_second}",
        "-i",
        "-",
        *target,
        "-f",
        "mp4",
        str(path.absolute()),  # a name with a colon would be an address
    ]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True)
    if done.returncode:
        raise Unavailable("path", f"ffmpeg to write {path}", done.stderr.decode(errors="replace"))
