"""How the benches take time: contestants in turns, medians, and a word about the machine."""

import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import time

WIDEST = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f", "avx2")


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
    gpus = f"{_gpus()}, " if shutil.which("nvidia-smi") else ""
    return f"{gpus}{len(os.sched_getaffinity(0))} cores of {_processor()}, load {os.getloadavg()[0]:.1f}"


def _gpus() -> str:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return " and ".join(subprocess.run(query, capture_output=True, text=True).stdout.split("\n")[:-1])


def _processor() -> str:
    """Its name, and the widest arithmetic that it knows: on that the ratios depend."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    about = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    known = [flag for flag in WIDEST if flag in about.get("flags", "").split()]
    return " with ".join(
        [
            about.get("model name", platform.processor()),
            *(flag.upper().replace("_", "-") for flag in known[:1]),
        ]
    )
