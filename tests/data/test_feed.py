"""The feeding of batches: every image once an epoch, any step at once."""

import os
import pathlib

import numpy as np
import pytest
from imagery import prepare

from keras_dcgan.data import feed
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.rows import OnDisk, even_rows
from keras_dcgan.data.sets import ImageSet


def numbered(count: int, labels: bool = False) -> ImageSet:
    """Image i is the number i, in 2 x 2 pixels that are not their own mirror image."""
    numbers = np.arange(count)
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, :, 0, 0], images[:, :, 0, 1], images[:, :, 1, 2] = (
        (numbers % 256)[:, None],
        (numbers // 256)[:, None],
        1,
    )
    manifest = Manifest(
        count=count,
        size=(2, 2),
        channels=3,
        classes=["even", "odd"] if labels else [],
        fingerprint="of numbers",
    )
    return ImageSet(images, (numbers % 2).astype(np.int32) if labels else np.zeros(count, np.int32), manifest)


def numbers(images: np.ndarray) -> np.ndarray:
    is_flipped = images[:, 0, 0, 2] == 1
    upright = np.where(is_flipped[:, None, None, None], images[:, :, ::-1], images).astype(int)
    return upright[:, 0, 0, 0] + 256 * upright[:, 0, 0, 1]


def taken(dataset, steps: int) -> list:
    return list(dataset.take(steps).as_numpy_iterator())


def test_every_image_comes_once_an_epoch_in_another_order_each_time():
    stream = numbers(
        np.concatenate(taken(feed.batches(numbered(30), 8, seed=1), 15))
    )  # 120 images: batches cross the ends
    epochs = stream.reshape(4, 30)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(30), (4, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 4
    other = numbers(np.concatenate(taken(feed.batches(numbered(30), 8, seed=2), 15)))
    assert (stream != other).any()


@pytest.mark.parametrize("flip", [False, True])
def test_any_step_can_be_begun_with(flip):
    straight = taken(feed.batches(numbered(30), 8, 1, flip=flip), 12)
    resumed = taken(feed.batches(numbered(30), 8, 1, 9, flip=flip), 3)
    np.testing.assert_array_equal(resumed, straight[9:])
    far = taken(feed.batches(numbered(30), 8, 1, 10**12, flip=flip), 1)[0]
    assert len(set(numbers(far))) == 8


def test_fewer_images_than_a_batch_come_round_again():
    batch = taken(feed.batches(numbered(3), 8, 0), 1)[0]
    assert sorted(numbers(batch)[:6]) == [0, 0, 1, 1, 2, 2]


def test_workers_together_see_what_one_would():
    alone = taken(feed.batches(numbered(30, labels=True), 8, 1, 2, flip=True), 5)
    parts = [
        taken(feed.batches(numbered(30, labels=True), 8, 1, 2, flip=True, shard=(i, 4)), 5) for i in range(4)
    ]
    for step in range(5):
        for part in (0, 1):
            np.testing.assert_array_equal(
                np.concatenate([worker[step][part] for worker in parts]), alone[step][part]
            )


def test_labels_stay_with_their_images():
    for images, labels in taken(feed.batches(numbered(30, labels=True), 8, 1), 5):
        np.testing.assert_array_equal(numbers(images) % 2, labels)


def test_half_of_the_images_are_flipped():
    images = np.concatenate(taken(feed.batches(numbered(500), 50, 0, flip=True), 20))
    assert 0.4 < (images[:, 0, 0, 2] == 1).mean() < 0.6


def test_two_epochs_of_a_large_set_have_nothing_to_do_with_each_other():
    # What TensorFlow's own index_shuffle gets wrong: 0.9 here.
    first, second = (feed._shuffled(np.arange(65536), 65536, epoch, 0).numpy() for epoch in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.05


def test_a_file_that_was_cut_short_is_an_error_not_garbage(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((64, 16, 16, 3), np.uint8))
    images = prepare(tmp_path / "a.npy")
    os.truncate(tmp_path / "a.npy", 10_000)
    with pytest.raises(Exception, match="cut short"):
        taken(feed.batches(images, 64, 0), 1)


def test_an_array_that_another_has_replaced_is_an_error_not_other_images(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((64, 16, 16, 3), np.uint8))
    images = prepare(tmp_path / "a.npy")
    for other in (np.zeros((65, 16, 16, 3), np.uint8), np.zeros((64, 16, 16, 3), np.float32)):
        np.save(tmp_path / "b.npy", other)
        os.replace(tmp_path / "b.npy", tmp_path / "a.npy")
        with pytest.raises(Exception, match="a file that has changed"):
            taken(feed.batches(images, 64, 0), 1)


def test_what_stands_behind_an_array_in_its_file_is_no_fault(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.save(file, np.full((4, 16, 16, 3), 7, np.uint8))
        np.save(file, np.arange(4))
    images = prepare(tmp_path / "a.npy")
    (pixels,) = taken(feed.batches(images, 4, 0), 1)
    assert pixels.shape == (4, 16, 16, 3) and (pixels == 7).all()


def test_a_preview_is_spread_over_the_set():
    assert numbers(numbered(100).evenly(4)).tolist() == [0, 25, 50, 75]
    assert numbers(numbered(3).evenly(5)).tolist() == [0, 1, 2, 0, 1]
    for images, count in ((numbered(7, labels=True), 4), (numbered(3, labels=True), 5)):
        shown = images.evenly(count)
        np.testing.assert_array_equal(images.on_disk(count)[:], shown)
        np.testing.assert_array_equal(images.labels_of(count), numbers(shown) % 2)


def test_rows_that_lie_on_the_disk_are_those_of_the_array(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 4, 6, 3), np.uint8)
    np.save(tmp_path / "a.npy", images)
    for there in (images, np.load(tmp_path / "a.npy", mmap_mode="r")):
        for chosen in (np.arange(10), even_rows(10, 23)):
            rows = OnDisk(there, chosen)
            assert (len(rows), rows.shape) == (len(chosen), (len(chosen), 4, 6, 3))
            for wanted in (slice(2, 5), slice(8, 20), np.array([7, 0, 7]), [3, 1]):
                np.testing.assert_array_equal(rows[wanted], images[chosen][wanted])


@pytest.mark.skipif(not pathlib.Path("/proc/self/smaps").exists(), reason="tells Linux's memory")
def test_an_array_that_stays_where_it_is_takes_no_memory(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.integers(0, 256, (10_000, 16, 16, 3), np.uint8))  # 7.7 MB
    images = prepare(tmp_path / "a.npy").images
    maps = pathlib.Path("/proc/self/smaps").read_text().split(f"{tmp_path}/a.npy\n")[1:]
    assert str(images.filename) == str(tmp_path / "a.npy") and maps
    assert sum(int(text.partition("Rss:")[2].split()[0]) for text in maps) < 2000  # kB
