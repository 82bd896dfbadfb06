"""Rows of an array on disk: which of them, and how they are read. NumPy only."""

import os
import weakref
from collections.abc import Callable

import numpy as np

from keras_dcgan.errors import Unavailable


def even_rows(total: int, count: int) -> np.ndarray:
    """`count` row numbers below total, evenly apart; they come round again where there are fewer."""
    return np.arange(count) * total // count if count <= total else np.arange(count) % total


def row_reader(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A memory map is read as a file: pages touched through the map count as this process's memory until it
    holds the whole file, and a file cut short would be SIGBUS instead of an exception. 300,000 rows of 12 kB
    a second on one core."""
    if not isinstance(images, np.memmap) or not images.filename or not hasattr(os, "preadv"):
        return images.__getitem__
    file = os.open(images.filename, os.O_RDONLY)
    length, first = images[0].nbytes, images.offset
    if not _holds(file, images):
        os.close(file)
        raise Unavailable(
            "source", f"{len(images)} images in {images.filename}", "a file that has changed or is cut short"
        )

    def read(rows):
        chosen = np.empty((len(rows), *images.shape[1:]), np.uint8)
        for row, into in zip(rows.tolist(), chosen, strict=True):
            if os.preadv(file, [into], first + row * length) != length:
                raise Unavailable(
                    "source", f"{len(images)} images in {images.filename}", "a file that is cut short"
                )
        return chosen

    weakref.finalize(read, os.close, file)
    return read


def _holds(file: int, images: np.memmap) -> bool:
    """Whether the file that has the map's name now can be that one: another process may have replaced it."""
    if not os.pread(file, 6, 0).startswith(np.lib.format.MAGIC_PREFIX):
        return images.offset == 0 and os.fstat(file).st_size >= images.nbytes  # of raw bytes
    try:
        now = np.load(str(images.filename), mmap_mode="r")
    except ValueError:  # cut short
        return False
    return (now.size, now.dtype, getattr(now, "offset", 0)) == (images.size, images.dtype, images.offset)


class OnDisk:
    """Rows of a prepared uint8 (N, height, width, C), read when they are asked for."""

    def __init__(self, images: np.ndarray, rows: np.ndarray):
        self.rows, self._read = rows, row_reader(images)
        self.shape = (len(rows), *images.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self._read(self.rows[rows])
