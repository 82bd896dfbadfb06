"""What can be said of a source of images by its name alone: the built-in portraits, shards, a bucket. Stdlib only.

is_demo("demo:4000"), is_shards("shards/*.tfrecord"), is_bucket("gs://bucket/*.tfrecord")
expanded("imgs-{00..02}.tar")           # "imgs-00.tar", "imgs-01.tar", "imgs-02.tar"
"""

import re
from collections.abc import Iterator

DEMO = "demo"
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
OF_A_PATTERN = re.compile(r"[*?\[{]")


def is_demo(source: str) -> bool:
    """Whether it names the built-in portraits: demo, or so many of them, demo:4000."""
    word, colon, count = source.partition(":")
    return word == DEMO and (not colon or (count.isdecimal() and 0 < int(count) <= 10**6))


def demo_count(source: str, default: int) -> int:
    """How many portraits it names."""
    return int(source.partition(":")[2] or default)


def is_shards(source: str) -> bool:
    """Whether it is a pattern of TFRecord files."""
    return source.endswith(".tfrecord")


def is_bucket(source: str) -> bool:
    """Whether they lie where TensorFlow alone can read them."""
    return is_shards(source) and "://" in source


def is_pattern(source: str) -> bool:
    """Whether it may name several files, as `find_images` reads it."""
    return source.endswith((".tar", ".parquet", ".arrow")) and bool(OF_A_PATTERN.search(source))


def without_pattern(pattern: str) -> str:
    """A file of that name, or the folder: "a/imgs-{000..009}.tar" -> "a/imgs.tar", "a/*.tar" -> "a"."""
    folder, slash, name = pattern.rpartition("/")
    begins = OF_A_PATTERN.split(name)[0].rstrip("-_.")
    return f"{folder}{slash}{begins}.tar" if begins else folder


def expanded(pattern: str) -> Iterator[str]:
    """With each number of its ranges, as bash and WebDataset have them: up or down, and of equal lengths where an
    end of the range begins with a zero."""
    if not (found := RANGE.search(pattern)):
        yield pattern
        return
    ends = found.groups()
    low, high = sorted(map(int, ends))
    is_padded = any(end.startswith("0") and len(end) > 1 for end in ends)
    digits = max(map(len, ends)) if is_padded else 1
    for number in range(low, high + 1):
        yield from expanded(pattern[: found.start()] + str(number).zfill(digits) + pattern[found.end() :])
