"""How the benches take time: contestants in turns, medians, and a word about the machine."""

import os
import pathlib
import platform
import statistics
import time


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternating(repeats: int, **contestants) -> dict[str, float]:
    """Median seconds of each, taken in turns."""
    times = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, work in contestants.items():
            times[name].append(seconds(work))
    return {name: statistics.median(values) for name, values in times.items()}


def machine() -> str:
    return f"{len(os.sched_getaffinity(0))} cores of {_processor()}, load {os.getloadavg()[0]:.1f}"


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
