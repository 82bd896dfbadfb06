"""Threads, as many as the system gives. Stdlib only.

with Threads(8) as pool:        # as concurrent.futures.ThreadPoolExecutor(8)
"""

import concurrent.futures
import threading
from collections.abc import Callable


class Threads(concurrent.futures.ThreadPoolExecutor):
    """`most` of them, or fewer where a container or a batch system sets a limit; where it gives none, work is
    done when it is handed in."""

    def __init__(self, most: int):
        self.count = _available(most)
        super().__init__(max(1, self.count))

    def submit(self, work: Callable, /, *arguments, **options) -> concurrent.futures.Future:
        if self.count:
            return super().submit(work, *arguments, **options)
        done = concurrent.futures.Future()
        try:
            done.set_result(work(*arguments, **options))
        except Exception as error:
            done.set_exception(error)
        return done


def _available(most: int) -> int:
    """How many can be started: the executor itself would start them when work comes, and lose the work with
    the error."""
    gate, started = threading.Event(), []
    try:
        for _ in range(most):
            thread = threading.Thread(target=gate.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:  # "can't start new thread"
        pass
    finally:
        gate.set()
    for thread in started:
        thread.join()
    return len(started)
