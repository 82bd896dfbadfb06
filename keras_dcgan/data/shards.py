"""TFRecord shards, which `python -m keras_dcgan.pack` writes: for sets that fit into no memory and no disk of one
machine. NumPy only; TensorFlow comes with the stream, and for buckets.

    images = open_shards("shards/*.tfrecord", (64, 64), "auto", conditional=False)      # a ShardSet
"""

import dataclasses
import fnmatch
import glob
import hashlib
import json
import math
import os

import numpy as np

from keras_dcgan.addresses import is_bucket
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.errors import Refused, argument

INDEX = "index.json"  # beside the shards
SHARD_MB = 32  # four shards are in memory together when they are read


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
        """int32 (count,): the labels of `evenly(count)`."""
        from keras_dcgan.data import feed

        return feed.first_labels(self.files, count)

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
        find, opened, pattern = glob.glob, open, pattern.replace(os.sep, "/")
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
    wanted = [name for name in counts if fnmatch.fnmatchcase(name, _base(pattern))]
    if missing := sorted({*wanted} - {*map(_base, files)}):
        expected = (
            f"the {len(wanted)} shards of {folder}/{INDEX} that have such a name, or a narrower pattern"
        )
        raise Refused("source", expected, f"{len(files)}, without {missing[0]}")
    if tuple(size) != manifest.size or channels not in ("auto", manifest.channels):
        there, asked = ("x".join(map(str, of)) for of in (manifest.shape, (*size, channels)))
        raise Refused(("size", "channels"), f"the shards are of {there}, and {asked} is asked for")
    if conditional and not manifest.classes:
        raise Refused("conditional", f"shards packed with {argument('conditional')}", pattern)
    # A worker whose files are all empty would have nothing to read.
    used = [file for file in files if counts[_base(file)]]
    if not used:
        raise Refused("source", "shards with images in them", f"{pattern}, of which all are empty")
    records = [counts[_base(file)] for file in used]
    changed = {"source": pattern, "count": sum(records), "classes": manifest.classes if conditional else []}
    if len(files) < len(index["shards"]):  # a part of them is another set of images
        content = json.dumps([manifest.fingerprint, [_base(file) for file in files]])
        changed["fingerprint"] = hashlib.sha256(content.encode()).hexdigest()
    return ShardSet(used, records, encoding, dataclasses.replace(manifest, **changed))


def _base(file: str) -> str:
    return file.replace(os.sep, "/").rpartition("/")[2]


# ------------------------------------------------------------------------
# what is in them, whoever packs them


def in_shards(listed: int, shape: tuple[int, ...], shards: int | None) -> list[np.ndarray]:
    """The numbers of the listed names that go into each shard: known before any of them is decoded. Shuffled
    over the whole listing, so that any few shards are a fair sample, and no class or tar file has a shard of
    its own."""
    shards = shards or max(1, round(listed * math.prod(shape) / 1e6 / SHARD_MB))
    return np.array_split(np.random.RandomState(0).permutation(listed), min(shards, listed))


def shard_names(manifest: Manifest, encoding: str, shards: int) -> list[str]:
    """They say what is in them: a shard that is there needs not be written again."""
    said = [manifest.fingerprint, encoding, shards] + ([manifest.gaps] if manifest.gaps else [])
    key = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
    return [f"{key}-{place:05d}-of-{shards:05d}.tfrecord" for place in range(shards)]


def record(pixels: np.ndarray, label: int | None, encoding: str) -> bytes:
    import tensorflow as tf

    content = tf.io.encode_png(pixels).numpy() if encoding == "png" else pixels.tobytes()
    features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))}
    if label is not None:
        features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(
        deterministic=True
    )  # else the order of the two differs between processes


def index_of(manifest: Manifest, encoding: str, names: list[str], records: list[int]) -> dict:
    about = [{"file": name, "records": count} for name, count in zip(names, records)]
    return manifest.to_json() | {"encoding": encoding, "shards": about}


def is_index(text: str) -> bool:
    try:
        return "shards" in json.loads(text)
    except (ValueError, TypeError):
        return False
