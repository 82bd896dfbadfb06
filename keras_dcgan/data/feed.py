"""Prepared images -> an endless tf.data.Dataset of shuffled uint8 batches, of which any step can be reached
at once.

    batches(images, 64, seed=0, start_step=12_000)      # (64, H, W, C) uint8, or (images, labels); exactly what step 12,000 had

The order is a pure function of (seed, position), so nothing about it needs saving.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import tensorflow as tf

from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.rows import row_reader
from keras_dcgan.errors import Refused

# These keep these random numbers apart from all others that are drawn from the same seed.
ORDER, FLIP = 0x6F7264, 0x666C70
WINDOW = 4  # shards that are shuffled together, and held in memory
MOST_OPEN = 64  # shards at a time, to look at some images of each


class Images(Protocol):
    """What an ImageSet and a ShardSet are to the feed."""

    manifest: Manifest

    def stream(self, batch: int, seed: int, start_step: int, index: int, count: int) -> tf.data.Dataset: ...


def batches(
    data: Images,
    batch: int,
    seed: int = 0,
    start_step: int = 0,
    *,
    flip: bool = False,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """-> an endless dataset of uint8 (batch, H, W, C), or (images, int32 labels) when there are classes.

    batch: images a step, over all workers. start_step: where to begin. flip: mirror half of the images.
    shard: (index, count) of this worker; it gets its batch / count rows of each batch. Every image comes
    exactly once an epoch, batches run on across the ends of epochs, and fewer images than a batch come round
    again. Of TFRecord shards each worker has files of its own, and an epoch of its own over those. (An
    iterator that is still a global variable when Python exits keeps TensorFlow 2.21 from letting go: delete
    it.)
    """
    if not hasattr(data, "manifest"):
        raise Refused("data", "what prepare returns", type(data).__name__)
    index, count = shard
    if not 0 <= index < count or batch < 1 or batch % count:
        received = f"{batch} for worker {index} of {count}"
        raise Refused("batch", "a multiple of the number of workers", received)
    rows = slice(index * (batch // count), (index + 1) * (batch // count))
    shape = (batch // count, *data.manifest.shape)
    has_labels = bool(data.manifest.classes)

    def finish(step, images, labels):
        images = tf.ensure_shape(images, shape)
        if flip:
            # Every worker tosses for the whole batch and looks at its own rows.
            key = tf.stack([tf.constant(seed ^ FLIP, tf.int64), step])
            coins = tf.random.stateless_uniform((batch,), key)
            # Select and reverse take 1.6 ms for 64 images of 64x64x3; tf.where (which broadcasts) and [:, :,
            # ::-1] take 13.
            images = tf.raw_ops.Select(condition=coins[rows] < 0.5, x=tf.reverse(images, [2]), y=images)
        return (images, tf.ensure_shape(labels, shape[:1])) if has_labels else images

    options = tf.data.Options()
    options.deterministic = True
    # `shard` says how it is split.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    finish = tf.autograph.experimental.do_not_convert(finish)  # to read its source would take 0.15 s
    dataset = data.stream(batch, seed, start_step, index, count).map(finish, num_parallel_calls=2)
    return dataset.prefetch(4).with_options(options)


def from_array(
    images: np.ndarray, labels: np.ndarray, batch: int, seed: int, start_step: int, index: int, count: int
) -> tf.data.Dataset:
    """-> a dataset of (step, images, labels)."""
    total, local, read = len(images), batch // count, row_reader(images)

    def look_up(step):
        positions = step * batch + index * local + tf.range(local, dtype=tf.int64)
        chosen = _shuffled(positions % total, total, positions // total, seed)
        found = tf.numpy_function(lambda rows: (read(rows), labels[rows]), [chosen], (tf.uint8, tf.int32))
        return step, *found

    look_up = tf.autograph.experimental.do_not_convert(look_up)
    return tf.data.Dataset.range(start_step, 2**62).map(look_up, num_parallel_calls=2)


def _shuffled(indices, total: int, epoch, seed: int, stream: int = ORDER) -> tf.Tensor:
    """Where `indices` (int64 vector below total) come to lie in that epoch's order. Any of them alone, in
    O(1).

    The op under tf.random.experimental.index_shuffle, which fixes the cipher's rounds at 4. That is too few:
    of 65,536 images two epochs in a row then had nearly the same order (correlation up to 0.998), and
    neighbours stayed together (0.38). With 8 both are where true randomness has them (measured on TensorFlow
    2.21 at 100 to 200,000 images).
    """
    columns = [tf.fill(tf.shape(indices), tf.constant(number, tf.int64)) for number in (stream, seed)]
    epochs = tf.broadcast_to(tf.cast(epoch, tf.int64), tf.shape(indices))
    key = tf.stack([columns[0], epochs, columns[1]], axis=1)
    last = tf.constant(total - 1, tf.int64)
    return tf.raw_ops.RandomIndexShuffle(index=indices, seed=key, max_index=last, rounds=8)


# ------------------------------------------------------------------------
# from shards


def from_shards(
    files: np.ndarray,
    counts: np.ndarray,
    encoding: str,
    shape: tuple[int, int, int],
    local: int,
    seed: int,
    start_step: int,
) -> tf.data.Dataset:
    """-> a dataset of (step, images, labels), `local` of them a step. In each epoch the shards come in
    another order, WINDOW at a time; the records of a window are shuffled together. Where a step begins is
    known from the counts alone: no shard before it is opened."""

    def windows() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        epoch, skipped = divmod(start_step * local, int(counts.sum()))
        while True:
            order = _shuffled(np.arange(len(files)), len(files), epoch, seed).numpy()
            for begin in range(0, len(order), WINDOW):
                window = order[begin : begin + WINDOW]
                total = int(counts[window].sum())
                if skipped < total:
                    rows = _shuffled(np.arange(skipped, total), total, epoch, seed, ORDER + 1 + begin)
                    yield files[window], rows.numpy()
                skipped = max(0, skipped - total)
            epoch += 1

    largest = int(np.sort(counts)[-WINDOW:].sum())

    def load(names, order):
        records = tf.data.TFRecordDataset(names, num_parallel_reads=WINDOW).batch(largest)
        return tf.gather(records.get_single_element(), order)

    signature = (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.int64))
    shuffled = tf.data.Dataset.from_generator(windows, output_signature=signature).map(load)
    parsed = (
        shuffled.prefetch(1)
        .unbatch()
        .map(_record_parser(encoding, shape), num_parallel_calls=tf.data.AUTOTUNE)
    )
    steps = parsed.batch(local, drop_remainder=True).enumerate(start_step)
    endless = tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY)
    return steps.map(lambda step, both: (step, *both)).apply(endless)


def first_images(files: list[str], encoding: str, shape: tuple[int, int, int], count: int) -> np.ndarray:
    """uint8 (count, *shape): the first of each of some shards, then the second of each, and so on."""
    parse = _record_parser(encoding, shape)
    return _first(files, lambda record: parse(record)[0], count)


def first_labels(files: list[str], count: int) -> np.ndarray:
    """int32 (count,): of the same images."""
    return _first(files, _label, count)


def _first(files: list[str], parse: Callable, count: int) -> np.ndarray:
    names = tf.data.Dataset.from_tensor_slices(files)
    records = names.interleave(tf.data.TFRecordDataset, min(len(files), MOST_OPEN), 1)
    each = records.map(parse).repeat().take(count).as_numpy_iterator()
    if (first := next(each, None)) is None:
        received = f"no image in any of {len(files)} shards, the first of them {files[0]}"
        raise tf.errors.DataLossError(None, None, received)
    found = np.empty((count, *np.shape(first)), first.dtype)  # a list of them all would hold them twice
    for row, value in enumerate(itertools.chain([first], each)):
        found[row] = value
    return found


LABEL = {"label": tf.io.FixedLenFeature([], tf.int64, 0)}


def _label(record):
    return tf.cast(tf.io.parse_single_example(record, LABEL)["label"], tf.int32)


def _record_parser(encoding: str, shape: tuple[int, int, int]) -> Callable:
    def parse(record):
        values = tf.io.parse_single_example(record, {"image": tf.io.FixedLenFeature([], tf.string), **LABEL})
        if encoding == "png":
            image = tf.ensure_shape(tf.io.decode_png(values["image"], shape[-1]), shape)
        else:
            image = tf.reshape(tf.io.decode_raw(values["image"], tf.uint8), shape)
        return image, tf.cast(values["label"], tf.int32)

    return parse
