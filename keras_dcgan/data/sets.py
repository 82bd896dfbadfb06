"""Prepared images in one array: how many, of which classes, some from all over, and a stream of batches of them.
NumPy only; TensorFlow comes with the stream.

    images = prepare("./imgs")                # ImageSet; of TFRecord shards a ShardSet, which has the same members
    len(images), images.classes               # 3994, []
    images.evenly(64)                         # uint8 (64, height, width, channels)
"""

import dataclasses
import math

import numpy as np

from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.rows import OnDisk, even_rows


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """What `prepare` returns. `manifest` says what was left out, and why: manifest.left_out, .duplicates, .small."""

    images: np.ndarray  # uint8 (N, height, width, channels), a read-only memory map
    labels: np.ndarray  # int32 (N,); zeros where there are no classes
    manifest: Manifest

    most_workers = math.inf  # each can read all of it

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def classes(self) -> list[str]:
        return self.manifest.classes

    def evenly(self, count: int) -> np.ndarray:
        """uint8 (count, height, width, channels), from all over the set; images come round again if there are
        fewer."""
        return np.array(self.images[even_rows(len(self), count)])

    def on_disk(self, count: int) -> "np.ndarray | OnDisk":
        """The same, read when they are asked for: [slice or row numbers]."""
        return OnDisk(self.images, even_rows(len(self), count))

    def labels_of(self, count: int) -> np.ndarray:
        """int32 (count,): the labels of `evenly(count)`."""
        return self.labels[even_rows(len(self), count)]

    def in_order(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-> images and labels in this order of the rows."""
        return self.images[order], self.labels[order]

    def stream(self, batch: int, seed: int, start_step: int, index: int, count: int):
        """-> a tf.data.Dataset of (step, images, labels), endless: the rows of worker `index` of `count`."""
        from keras_dcgan.data import feed

        return feed.from_array(self.images, self.labels, batch, seed, start_step, index, count)
