"""Prepared images -> an endless tf.data.Dataset of shuffled uint8 batches, of which any step can be reached
at once.

    batches(images, 64, seed=0, start_step=12_000)      # (64, H, W, C) uint8, or (images, labels); exactly what step 12,000 had

The order is a pure function of (seed, position), so nothing about it needs saving. TensorFlow is imported
where it is used: the images are prepared before it is loaded.
"""

import dataclasses
import glob
import hashlib
import json
import os
import weakref
from collections.abc import Callable, Iterator

import numpy as np

INDEX = "index.json"  # beside the shards; written by tools/pack.py
ORDER, FLIP = (
    0x6F7264,
    0x666C70,
)  # keep these random numbers apart from all others that are drawn from the same seed
WINDOW = 4  # shards that are shuffled together, and held in memory
MOST_OPEN = 64  # shards at a time, to look at some images of each


@dataclasses.dataclass(frozen=True)
class ImageSet:
    images: np.ndarray  # uint8 (N, height, width, channels), a read-only memory map
    labels: np.ndarray | None  # int32 (N,)
    manifest: dict  # what data.json holds


@dataclasses.dataclass(frozen=True)
class ShardSet:
    """TFRecord files in place of arrays."""

    files: list[str]
    counts: list[int]  # records in each file
    encoding: str  # "png" or "raw"
    manifest: dict
    images = labels = None


def batches(
    data: ImageSet | ShardSet, batch: int, seed: int, start_step: int = 0, *, flip: bool = False, shard=(0, 1)
):
    """-> an endless tf.data.Dataset of uint8 (batch, H, W, C), or (images, int32 labels) when there are
    classes.

    batch: images a step, over all workers. start_step: where to begin. flip: mirror half of the images.
    shard: (index, count) of this worker; it gets its batch / count rows of each batch. Every image comes
    exactly once an epoch, batches run on across the ends of epochs, and fewer images than a batch come round
    again. Of TFRecord shards each worker has files of its own, and an epoch of its own over those. (An
    iterator that is still a global variable when Python exits keeps TensorFlow 2.21 from letting go: delete
    it.)
    """
    import tensorflow as tf

    index, count = shard
    if not 0 <= index < count or batch < 1 or batch % count:
        raise ValueError(
            f"--batch: expected a multiple of the number of workers, received {batch} for worker "
            f"{index} of {count}"
        )
    rows = slice(index * (batch // count), (index + 1) * (batch // count))
    shape = (batch // count, *data.manifest["size"], data.manifest["channels"])
    has_labels = bool(data.manifest["classes"])

    def finish(step, images, labels):
        images = tf.ensure_shape(images, shape)
        if flip:
            # Every worker tosses for the whole batch and looks at its own rows.
            coins = tf.random.stateless_uniform(
                (batch,), tf.stack([tf.constant(seed ^ FLIP, tf.int64), step])
            )
            # Select and reverse take 1.6 ms for 64 images of 64x64x3; tf.where (which broadcasts) and [:, :,
            # ::-1] take 13.
            images = tf.raw_ops.Select(condition=coins[rows] < 0.5, x=tf.reverse(images, [2]), y=images)
        return (images, tf.ensure_shape(labels, shape[:1])) if has_labels else images

    stream = _from_shards if isinstance(data, ShardSet) else _from_array
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.OFF
    )  # `shard` says how it is split
    finish = tf.autograph.experimental.do_not_convert(finish)  # to read its source would take 0.15 s
    dataset = stream(data, batch, seed, start_step, index, count).map(finish, num_parallel_calls=2)
    return dataset.prefetch(4).with_options(options)


def preview_rows(total: int, n: int) -> np.ndarray:
    """Which images `preview` shows: n row numbers below total, evenly apart."""
    return np.arange(n) * total // n if n <= total else np.arange(n) % total


def preview(data: ImageSet | ShardSet, n: int) -> np.ndarray:
    """-> (n, H, W, C) uint8: real images from all over the set; they come round again if there are fewer."""
    if isinstance(data, ImageSet):
        return np.array(data.images[preview_rows(len(data.images), n)])
    import tensorflow as tf

    records = tf.data.Dataset.from_tensor_slices(data.files).interleave(
        tf.data.TFRecordDataset, min(len(data.files), MOST_OPEN), 1
    )
    found = list(
        records.map(_record_parser(data)).map(lambda image, label: image).repeat().take(n).as_numpy_iterator()
    )
    if not found:
        raise tf.errors.DataLossError(
            None, None, f"no image in any of {len(data.files)} shards, the first of them {data.files[0]}"
        )
    return np.stack(found)


# ------------------------------------------------------------------------------------------------------ from
# one big array


def _from_array(data: ImageSet, batch: int, seed: int, start_step: int, index: int, count: int):
    """-> a dataset of (step, images, labels)."""
    import tensorflow as tf

    total, local = len(data.images), batch // count
    read = _row_reader(data.images)
    labels = np.zeros(total, np.int32) if data.labels is None else data.labels

    def look_up(step):
        positions = step * batch + index * local + tf.range(local, dtype=tf.int64)
        chosen = _shuffled(positions % total, total, positions // total, seed)
        return step, *tf.numpy_function(
            lambda rows: (read(rows), labels[rows]), [chosen], (tf.uint8, tf.int32)
        )

    look_up = tf.autograph.experimental.do_not_convert(look_up)
    return tf.data.Dataset.range(start_step, 2**62).map(look_up, num_parallel_calls=2)


def _shuffled(indices, total: int, epoch, seed: int, stream: int = ORDER):
    """Where `indices` (int64 vector below total) come to lie in that epoch's order. Any of them alone, in
    O(1).

    The op under tf.random.experimental.index_shuffle, which fixes the cipher's rounds at 4. That is too few:
    of 65,536 images two epochs in a row then had nearly the same order (correlation up to 0.998), and
    neighbours stayed together (0.38). With 8 both are where true randomness has them (measured on TensorFlow
    2.21 at 100 to 200,000 images).
    """
    import tensorflow as tf

    columns = [tf.fill(tf.shape(indices), tf.constant(number, tf.int64)) for number in (stream, seed)]
    epochs = tf.broadcast_to(tf.cast(epoch, tf.int64), tf.shape(indices))
    key = tf.stack([columns[0], epochs, columns[1]], axis=1)
    return tf.raw_ops.RandomIndexShuffle(
        index=indices, seed=key, max_index=tf.constant(total - 1, tf.int64), rounds=8
    )


def _row_reader(images: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A memory map is read as a file: pages touched through the map count as this process's memory until it
    holds the whole file, and a file cut short would be SIGBUS instead of an exception. 300,000 rows of 12 kB
    a second on one core."""
    if not isinstance(images, np.memmap) or not hasattr(os, "preadv"):
        return images.__getitem__
    file = os.open(images.filename, os.O_RDONLY)
    length, first = images[0].nbytes, images.offset

    def read(rows):
        chosen = np.empty((len(rows), *images.shape[1:]), np.uint8)
        for row, into in zip(rows.tolist(), chosen, strict=True):
            if os.preadv(file, [into], first + row * length) != length:
                raise OSError(
                    f"--data: expected {len(images)} images in {images.filename}, received a file "
                    "that is cut short"
                )
        return chosen

    weakref.finalize(read, os.close, file)
    return read


class OnDisk:
    """Rows of a prepared uint8 (N, height, width, C), read when they are asked for: images[slice or row
    numbers]."""

    def __init__(self, images: np.ndarray):
        self.shape, self._read = images.shape, _row_reader(images)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self._read(np.arange(len(self))[rows])


# ------------------------------------------------------------------------
# from shards


def open_shards(pattern: str, size: tuple[int, int], channels: str | int, conditional: bool) -> ShardSet:
    """The shards that tools/pack.py wrote, as far as `pattern` names them; "gs://..." and the like go through
    TensorFlow."""
    if "://" in pattern:
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
    except Exception as error:  # TensorFlow raises its own where a bucket is not there, or may not be read
        why = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"--data: expected shards and {INDEX}, as python -m tools.pack writes them: {why}"
        ) from error
    if unknown := [name for name in map(_base, files) if name not in counts]:
        raise ValueError(f"--data: expected the shards of {folder}/{INDEX}, received also {unknown[0]}")
    manifest = {key: value for key, value in index.items() if key not in ("shards", "encoding")}
    shape = (*manifest["size"], manifest["channels"])
    if tuple(size) != shape[:2] or channels not in ("auto", shape[2]):
        raise ValueError(
            f"--size, --channels: expected {shape}, as the shards have it, received {size} and {channels}"
        )
    if conditional and not manifest["classes"]:
        raise ValueError(f"--conditional: expected shards packed with --conditional, received {pattern}")
    if len(files) < len(counts):  # a part of them is another set of images
        content = json.dumps([manifest["fingerprint"], [_base(file) for file in files]])
        manifest["fingerprint"] = hashlib.sha256(content.encode()).hexdigest()
    counts = [counts[_base(file)] for file in files]
    manifest |= {
        "source": pattern,
        "images": sum(counts),
        "classes": manifest["classes"] if conditional else [],
    }
    return ShardSet(files, counts, index["encoding"], manifest)


def check_workers(prepared: ImageSet | ShardSet, count: int):
    """Raises ValueError where there are not as many shards as workers, each of which reads its own."""
    if isinstance(prepared, ShardSet) and count > len(prepared.files):
        raise ValueError(
            f"--data: expected a shard or more for each of {count} workers, received {len(prepared.files)}"
        )


def _from_shards(data: ShardSet, batch: int, seed: int, start_step: int, index: int, count: int):
    """-> a dataset of (step, images, labels). In each epoch the shards come in another order, WINDOW at a
    time; the records of a window are shuffled together. Where a step begins is known from the counts alone:
    no shard before it is opened."""
    import tensorflow as tf

    files, counts = np.array(data.files[index::count]), np.array(data.counts[index::count])
    local = batch // count

    def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        epoch, skipped = divmod(start_step * local, int(counts.sum()))
        while True:
            order = _shuffled(np.arange(len(files)), len(files), epoch, seed).numpy()
            for begin in range(0, len(order), WINDOW):
                window = order[begin : begin + WINDOW]
                total = int(counts[window].sum())
                if skipped < total:
                    yield (
                        files[window],
                        _shuffled(np.arange(skipped, total), total, epoch, seed, ORDER + 1 + begin).numpy(),
                    )
                skipped = max(0, skipped - total)
            epoch += 1

    largest = int(np.sort(counts)[-WINDOW:].sum())

    def load(names, order):
        records = tf.data.TFRecordDataset(names, num_parallel_reads=WINDOW).batch(largest)
        return tf.gather(records.get_single_element(), order)

    signature = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64))
    records = (
        tf.data.Dataset.from_generator(windows, output_signature=signature).map(load).prefetch(1).unbatch()
    )
    images = records.map(_record_parser(data), num_parallel_calls=tf.data.AUTOTUNE).batch(
        local, drop_remainder=True
    )
    return images.enumerate(start_step).map(lambda step, both: (step, *both))


def _record_parser(data: ShardSet) -> Callable:
    import tensorflow as tf

    shape = (*data.manifest["size"], data.manifest["channels"])

    def parse(record):
        features = {
            "image": tf.io.FixedLenFeature([], tf.string),
            "label": tf.io.FixedLenFeature([], tf.int64, 0),
        }
        values = tf.io.parse_single_example(record, features)
        if data.encoding == "png":
            image = tf.ensure_shape(tf.io.decode_png(values["image"], shape[-1]), shape)
        else:
            image = tf.reshape(tf.io.decode_raw(values["image"], tf.uint8), shape)
        return image, tf.cast(values["label"], tf.int32)

    return parse


def _base(file: str) -> str:
    return file.replace(os.sep, "/").rpartition("/")[2]
