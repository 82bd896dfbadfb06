import threading

import numpy as np
import pytest
from PIL import Image

from keras_dcgan.data.prepare import prepare
from keras_dcgan.pictures import images
from keras_dcgan.threads import Threads


@pytest.fixture
def thread_limit(monkeypatch):
    """thread_limit(number): the system starts no more threads at a time."""
    start, others = threading.Thread.start, threading.active_count()

    def limit(number):
        def start_if_there_is_one_left(thread):
            if threading.active_count() - others >= number:
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", start_if_there_is_one_left)

    return limit


@pytest.mark.parametrize("limit", [0, 1, 99])
def test_images_are_prepared_and_saved_by_as_many_threads_as_there_are(folder, tmp_path, thread_limit, limit):
    expected = prepare(str(folder), (16, 16), cache=str(tmp_path / "a")).images
    thread_limit(limit)
    found = prepare(str(folder), (16, 16), cache=str(tmp_path / "b")).images
    np.testing.assert_array_equal(found, expected)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    images.save_all(found[:3], files)
    for file, image in zip(files, found):
        np.testing.assert_array_equal(np.asarray(Image.open(file)), image)


def test_an_error_of_the_work_comes_where_its_result_is_asked_for(thread_limit):
    thread_limit(0)
    with Threads(2) as pool:
        failed = pool.submit(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            failed.result()
