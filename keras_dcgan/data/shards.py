"""TFRecord shards, which `python -m keras_dcgan.pack` writes: for sets that fit into no memory and no disk of one
machine. NumPy only; TensorFlow comes with the stream, and for buckets.

    images = open_shards("shards/*.tfrecord", (64, 64), "auto", conditional=False)      # a ShardSet
"""

import dataclasses
import glob
import hashlib
import json
import os

import numpy as np

from keras_dcgan.addresses import is_bucket
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.errors import Refused, argument

INDEX = "index.json"  # beside the shards


@dataclasses.dataclass(frozen=True)
class ShardSet:
    """TFRecord files in place of an array; the members of an ImageSet."""

    files: list[str]
    counts: list[int]  # records in each file
    encoding: str  # "png" or "raw"
    manifest: Manifest

    @property
    def most_workers(self) -> int:
        return len(self.files)  # each reads files of its own

    def __len__(self) -> int:
        return self.manifest.count

    @property
    def classes(self) -> list[str]:
        return self.manifest.classes

    def evenly(self, count: int) -> np.ndarray:
        """uint8 (count, height, width, channels): some of each of the first shards."""
        from keras_dcgan.data import feed

        return feed.first_images(self.files, self.encoding, self.manifest.shape, count)

    on_disk = evenly

    def labels_of(self, count: int) -> np.ndarray:
        """int32 (count,): each class in turn, since the labels are not in memory."""
        return np.arange(count, dtype=np.int32) % max(1, len(self.classes))

    def in_order(self, order: np.ndarray):
        raise Refused("source", "images in folders, or in a .zip or .npz", self.manifest.source)

    def stream(self, batch: int, seed: int, start_step: int, index: int, count: int):
        """-> a tf.data.Dataset of (step, images, labels), endless: of worker `index` of `count`."""
        from keras_dcgan.data import feed

        files, counts = np.array(self.files[index::count]), np.array(self.counts[index::count])
        return feed.from_shards(
            files, counts, self.encoding, self.manifest.shape, batch // count, seed, start_step
        )


def open_shards(pattern: str, size: tuple[int, int], channels: str | int, conditional: bool) -> ShardSet:
    """The shards as far as `pattern` names them; "gs://..." and the like go through TensorFlow. Raises
    Refused."""
    if is_bucket(pattern):
        import tensorflow as tf

        find, opened = tf.io.gfile.glob, tf.io.gfile.GFile
    else:
        find, opened = glob.glob, open
    folder = pattern.rpartition("/")[0] or "."
    try:
        files = sorted(find(pattern))
        if not files:
            raise FileNotFoundError(f"no shards found as {pattern}")
        with opened(f"{folder}/{INDEX}") as file:
            index = json.load(file)
        counts = {shard["file"]: shard["records"] for shard in index["shards"]}
        encoding, manifest = index["encoding"], Manifest.from_json(index)
    except Exception as error:  # TensorFlow raises its own where a bucket is not there, or may not be read
        why = f"{type(error).__name__}: {error}"
        expected = f"expected shards and {INDEX}, as python -m keras_dcgan.pack writes them: {why}"
        raise Refused("source", expected) from error
    if unknown := [name for name in map(_base, files) if name not in counts]:
        raise Refused("source", f"the shards of {folder}/{INDEX}", f"also {unknown[0]}")
    if tuple(size) != manifest.size or channels not in ("auto", manifest.channels):
        expected = f"{manifest.shape}, as the shards have it"
        raise Refused(("size", "channels"), expected, f"{size} and {channels}")
    if conditional and not manifest.classes:
        raise Refused("conditional", f"shards packed with {argument('conditional')}", pattern)
    records = [counts[_base(file)] for file in files]
    changed = {"source": pattern, "count": sum(records), "classes": manifest.classes if conditional else []}
    if len(files) < len(index["shards"]):  # a part of them is another set of images
        content = json.dumps([manifest.fingerprint, [_base(file) for file in files]])
        changed["fingerprint"] = hashlib.sha256(content.encode()).hexdigest()
    return ShardSet(files, records, encoding, dataclasses.replace(manifest, **changed))


def _base(file: str) -> str:
    return file.replace(os.sep, "/").rpartition("/")[2]
