"""What can be said of a source of images by its name alone: the built-in portraits, shards, a bucket. Stdlib only.

is_demo("demo:4000"), is_shards("shards/*.tfrecord"), is_bucket("gs://bucket/*.tfrecord")
"""

DEMO = "demo"


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
