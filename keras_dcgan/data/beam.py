"""Shards packed by many workers, as an Apache Beam pipeline: on the cores of this machine, Dataflow, Flink or
Spark. Needs pip install 'keras_dcgan[beam]'; only `pack --engine beam` imports it.

    pack("./imgs", "./shards", settings_of(64), flags=["--direct_running_mode=multi_processing", "--direct_num_workers=8"])

The names are dealt out to the shards before any file is opened. So a worker makes a whole shard from its own
names, and no image passes between workers. Until all shards are made, a hidden folder in `out` holds them:

    00012.todo        numbers, labels, names and locations of what goes into shard 12
    00012.seen        channels "auto" only: what these images have
    00012.tfrecord    the shard
    00012.done        what was kept and what was left out; written after the shard
    lonely            the classes of which decoding has left fewer than two images, where there are any

Resuming makes each shard that is not done, or not of the length that was written. Where classes turn out to be
lonely, all are made once more without them, since the labels of the others change. The index, which comes
last, also stays in the hidden folder: the same command again then has nothing to do.
"""

import contextlib
import dataclasses
import errno
import functools
import io
import itertools
import json
import os
import pathlib
import re
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO, cast

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from keras_dcgan.data import lists
from keras_dcgan.data.formats.kinds import Rejected
from keras_dcgan.data.prepare import (
    ALONE,
    Facts,
    channels_of,
    check_any,
    decode_all,
    described,
    labels_of,
    listed,
    without_lonely,
    write_images,
)
from keras_dcgan.data.shards import INDEX, in_shards, index_of, is_index, record, shard_names
from keras_dcgan.data.sources import Source, digest, find_images, from_listing, opened
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.threads import Threads

DIGEST = 16  # bytes
AT_ONCE = 32  # files that are read, written or moved
LONELY = -1  # the label of an image whose class is left out
HIDDEN = ".packing-"  # and a digest of what decides about the shards
OF_THE_SYSTEM = re.compile(r"(\[Errno \d+\] .*|Unavailable: .*|errors_impl\.\w+: .*) \[while running")
gfile = tf.io.gfile  # buckets as well
# The threads of a worker take turns: a shard is held in memory, and decoding changes globals of the process.
one_shard = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Job:
    """What every worker has to know; pickled."""

    source: str
    kind: str
    state: str  # of the source when it was listed
    settings: dict[str, Any]
    encoding: str
    folder: str  # the hidden one

    def file(self, place: int, kind: str) -> str:
        return f"{self.folder}/{place:05d}.{kind}"


def pack(
    source: str,
    out: str,
    settings: dict[str, Any],
    encoding: str = "raw",
    shards: int | None = None,
    flags: Sequence[str] = (),
    show: Callable[[str], None] = print,
) -> dict:
    """Writes the shards and the index that it returns: the same bytes as from one process.

    source: of this machine, or a bucket that Beam reads. out: a folder, or a bucket that TensorFlow writes.
    settings: of `settings_of`. flags: of Beam, for PipelineOptions. Raises Refused or Unavailable.
    """
    options = _options(flags)
    in_bucket = functools.partial(_in_bucket, conditional=settings["conditional"])
    found = listed(source, settings, in_bucket if "://" in source else find_images)
    if found.array is not None:
        raise Refused("engine", "local for images that are one array already", "beam")
    check_any(range(len(found.names)), found.left_out, source, show)
    # Where the images decide about the channels, the number of shards is that for 3.
    channels = 3 if settings["channels"] == "auto" else settings["channels"]
    parts = in_shards(len(found.names), (*settings["size"], channels), shards)
    said = [found.state, sorted(settings.items()), encoding, len(parts)]
    job = Job(source, found.kind, found.state, settings, encoding, f"{out}/{HIDDEN}{digest(said)}")
    try:
        _check_out(out, job.folder)
        index = _index_of_made(out, job.folder)
        if not index:
            index = _make_all(job, found, parts, options, show)
        _move_all(out, job, index)
    except tf.errors.OpError as error:
        raise Unavailable("out", error.message) from error
    return index


def silent(line: str):
    """In the place of `show`."""


def _options(flags: Sequence[str]) -> PipelineOptions:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):  # argparse's usage is a page
            options = PipelineOptions(list(flags))
            standard = options.view_as(StandardOptions)
            # Beam's own choice, DirectRunner, loads another program (Prism) from GitHub and runs that where it can.
            standard.runner = standard.runner or "FnApiRunner"
            options.get_all_options()
            beam.Pipeline(options=options)  # these two check them
    except (SystemExit, ValueError, ImportError) as error:
        reason = said.getvalue().rstrip().rpartition("error: ")[2] or str(error)
        raise Refused("engine", f"expected flags of Apache Beam after --: {reason}") from error
    return options


def _check_out(out: str, folder: str):
    expected = "a folder without the shards of something else"
    gfile.makedirs(out)
    index = f"{out}/{INDEX}"
    if gfile.exists(index) and not is_index(_read(index).decode(errors="replace")):
        raise Refused("out", f"a folder without an {INDEX} of something else", out)
    if gfile.exists(folder):
        return
    if others := sorted(gfile.glob([f"{out}/*.tfrecord", f"{out}/{HIDDEN}*"])):
        raise Refused("out", expected, f"{out} with {os.path.basename(others[0])}")


def _index_of_made(out: str, folder: str) -> dict | None:
    """Where all shards are made, and some or all of them moved."""
    if not gfile.exists(f"{folder}/{INDEX}"):
        return None
    index = json.loads(_read(f"{folder}/{INDEX}"))
    moved, waiting = set(gfile.listdir(out)), set(gfile.listdir(folder))
    shards = enumerate(index["shards"])
    whole = all(shard["file"] in moved or f"{place:05d}.tfrecord" in waiting for place, shard in shards)
    return index if whole else None


def _make_all(job: Job, found: Source, parts: list[np.ndarray], options, show) -> dict:
    gfile.makedirs(job.folder)
    known = f"{job.folder}/lonely"
    lonely = json.loads(_read(known)) if gfile.exists(known) else []
    labels = _labels(found, lonely)
    there = set(gfile.listdir(job.folder))

    def write_todo(place):
        numbers = parts[place]
        names = [found.names[i] for i in numbers] if found.location else []
        locations = [found.location(i) for i in numbers] if found.location else []
        _save(
            job.file(place, "todo"),
            numbers=numbers,
            labels=labels[numbers] if found.classes else labels,
            names=_text([names, locations]),
        )

    _each(write_todo, [place for place in range(len(parts)) if f"{place:05d}.todo" not in there])
    if job.settings["channels"] == "auto":
        show("channels auto: every image is decoded twice, first to see what they have")
        _run(options, "look", look, len(parts), job)
        seen = _seen(job, "seen", len(parts))
        _, is_used, left_out = without_lonely(found, seen["kept"].tolist(), _left_out(found, seen), silent)
        check_any([*itertools.compress(seen["kept"], is_used)], left_out, job.source, show)
        both = itertools.compress(zip(seen["is_grey"].tolist(), seen["is_transparent"].tolist()), is_used)
        facts = [Facts((0, 0), *each) for each in both]
        job = dataclasses.replace(job, settings=job.settings | {"channels": channels_of("auto", facts)})
    _run(options, "make", make, len(parts), job)
    seen = _seen(job, "done", len(parts))
    kept = seen["kept"].tolist()
    check_any(kept, _left_out(found, seen), job.source, show)
    rest, _, left_out = without_lonely(found, kept, _left_out(found, seen), silent if lonely else show)
    if found.classes is not None and (alone := sorted({*found.classes} - {*(rest.classes or ())})) != lonely:
        for kind in ("todo", "done"):
            _each(gfile.remove, gfile.glob(f"{job.folder}/*.{kind}"))
        _write(known, json.dumps(alone).encode())
        return _make_all(job, found, parts, options, show)
    digests = [row.tobytes() for row in seen["digests"]]
    sizes = [(height, width) for height, width in seen["sizes"].tolist()]
    manifest = described(job.source, rest, job.settings, kept, sizes, digests, left_out)
    names = shard_names(manifest, job.encoding, len(parts))
    index = index_of(manifest, job.encoding, names, seen["records"].tolist())
    _write(f"{job.folder}/{INDEX}", json.dumps(index).encode())
    return index


def _labels(found: Source, lonely: Sequence[str]) -> np.ndarray:
    """int32 of each name; LONELY of those whose class is left out. Nothing where there are no classes."""
    if found.classes is None:
        return np.empty(0, np.int32)
    few = set(lonely)
    left = [None if name in few else name for name in found.classes]
    used = [i for i, name in enumerate(left) if name is not None]
    labels = np.full(len(left), LONELY, np.int32)
    labels[used] = labels_of(dataclasses.replace(found, classes=left), used)[1]
    return labels


def _run(options: PipelineOptions, label: str, work: Callable, count: int, job: Job):
    try:
        with beam.Pipeline(options=options) as pipeline:
            # Without Reshuffle all shards would be one worker's.
            _ = pipeline | beam.Create(range(count)) | beam.Reshuffle() | label >> beam.Map(work, job)
    except RuntimeError as error:
        # All that comes back of a worker's error is its traceback, as text.
        if found := OF_THE_SYSTEM.search(str(error)):
            raise Unavailable("engine", f"a worker of Apache Beam stopped: {found[1]}") from error
        raise


def _move_all(out: str, job: Job, index: dict):
    waiting = set(gfile.listdir(job.folder))
    places = [f"{place:05d}.tfrecord" for place in range(len(index["shards"]))]
    pairs = [(here, shard["file"]) for here, shard in zip(places, index["shards"]) if here in waiting]
    _each(lambda pair: gfile.rename(f"{job.folder}/{pair[0]}", f"{out}/{pair[1]}", overwrite=True), pairs)
    _write(f"{out}/{INDEX}", json.dumps(index).encode())
    left = [name for name in gfile.listdir(job.folder) if name != INDEX]
    _each(lambda name: gfile.remove(f"{job.folder}/{name}"), left)


def _each(work: Callable, items: Iterable) -> list:
    """In a bucket each is a request to wait for: many at once."""
    with Threads(AT_ONCE) as pool:
        return list(pool.map(work, items))


def _seen(job: Job, kind: str, count: int) -> dict[str, np.ndarray]:
    """Of all shards, in the order of the listing; the number of records of each as well."""
    each = _each(lambda place: _load(job.file(place, kind)), range(count))
    seen = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    order = np.argsort(seen["kept"])
    of_kept = ("kept", "sizes", "is_grey", "is_transparent", "digests")
    seen |= {name: seen[name][order] for name in of_kept if name in seen}
    return seen | {"records": np.array([len(one["kept"]) for one in each])}


def _left_out(found: Source, seen: dict[str, np.ndarray]) -> list[dict]:
    order = np.argsort(seen["left_out"])
    pairs = zip(seen["left_out"][order].tolist(), seen["reasons"][order].tolist())
    return found.left_out + [{"file": found.names[i], "reason": reason} for i, reason in pairs]


# ------------------------------------------------------------------------
# in a worker


def look(place: int, job: Job):
    """What the images of a shard have."""
    if not gfile.exists(job.file(place, "seen")):
        with one_shard, tempfile.TemporaryDirectory() as folder:
            _save(job.file(place, "seen"), **_decoded(pathlib.Path(folder) / "rgba", place, job)[0])


def make(place: int, job: Job):
    """A shard, and what was seen."""
    shard, done = job.file(place, "tfrecord"), job.file(place, "done")
    with one_shard, tempfile.TemporaryDirectory() as folder:
        if gfile.exists(done) and gfile.exists(shard):
            if int(_load(done)["length"][0]) == gfile.stat(shard).length:
                return
        rows, target = pathlib.Path(folder) / "rgba", pathlib.Path(folder) / "images.npy"
        seen, is_used, labels = _decoded(rows, place, job)
        size, channels, background = (job.settings[name] for name in ("size", "channels", "background"))
        digests = write_images(target, rows, is_used, size, channels, background)
        images = np.load(target)
        with _replacing(shard) as beside, tf.io.TFRecordWriter(beside) as writer:
            for pixels, label in zip(images, labels):
                writer.write(record(pixels, label, job.encoding))
        seen["digests"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST)
        _save(done, **seen, length=[gfile.stat(shard).length])


def _decoded(rows: pathlib.Path, place: int, job: Job) -> tuple[dict[str, Any], list[bool], list[int | None]]:
    """-> what was seen, whether each row is used, and the labels of those that are."""
    todo = _load(job.file(place, "todo"))
    numbers = todo["numbers"]
    found, facts, left_out = decode_all(rows, _part(job, todo, rows.with_name("table")), job.settings, silent)
    labels = todo["labels"][found].tolist() if len(todo["labels"]) else [None] * len(found)
    is_used = [label != LONELY for label in labels]
    used = np.array([i for i, label in zip(found, labels) if label != LONELY], int)
    about = [*itertools.compress(facts, is_used)]
    reasons = dict(zip(np.delete(numbers, found), (item["reason"] for item in left_out)))
    others = np.delete(numbers, used)
    seen = {
        "kept": numbers[used],
        "sizes": np.array([image.size for image in about], np.int32).reshape(-1, 2),
        "is_grey": np.array([image.is_grey for image in about], bool),
        "is_transparent": np.array([image.is_transparent for image in about], bool),
        "left_out": others,
        "reasons": np.array([reasons.get(number, ALONE) for number in others], np.str_),
    }
    return seen, is_used, [*itertools.compress(labels, is_used)]


def _part(job: Job, todo: dict[str, np.ndarray], beside: pathlib.Path) -> Source:
    numbers = todo["numbers"]
    names, locations = json.loads(todo["names"].tobytes())
    if locations:
        read = _opened_in_bucket if job.kind == "bucket" else opened
        return Source(job.kind, names, lambda i: read(*locations[i]), "")
    found = _listing(job.source, job.state, job.settings["size"], job.settings["conditional"])
    names = [found.names[i] for i in numbers]
    if job.kind == "table":
        return Source(job.kind, names, _once(found, numbers, beside), "")
    return Source(job.kind, names, lambda i: found.read(numbers[i]), "")


def _once(found: Source, numbers: np.ndarray, beside: pathlib.Path) -> Callable[[int], BinaryIO]:
    """Reads these rows of a table from its beginning on, and gives them in their order from a file: by itself it
    would begin a group of rows anew for nearly each of them."""
    places: dict[int, tuple[int, int] | Exception] = {}
    with open(beside, "wb") as file:
        for number in sorted(numbers):
            try:
                content = cast(BinaryIO, found.read(number)).read()
            except (Rejected, OSError) as error:  # it is told when its turn comes
                places[number] = error
                continue
            places[number] = file.tell(), len(content)
            file.write(content)

    def read(i: int) -> BinaryIO:
        place = places[numbers[i]]
        if isinstance(place, Exception):
            raise place
        return opened(str(beside), *place)

    return read


@functools.lru_cache(1)
def _listing(source: str, state: str, size: tuple[int, int], conditional: bool) -> Source:
    """Once a process."""
    found = listed(source, {"size": size, "conditional": conditional})
    if found.state != state:
        raise Unavailable("source", "what was listed when packing began", f"{source}, which has changed")
    return found


# ------------------------------------------------------------------------
# images in a bucket: of any kind that Beam knows


def _in_bucket(source: str, size: tuple[int, int], conditional: bool) -> Source:
    root = source.rstrip("/") + "/"
    try:
        (matched,) = FileSystems.match([f"{root}**"])
    except (OSError, ValueError) as error:  # ValueError: what reads such buckets is not installed
        raise Unavailable("source", f"expected images in {source}: {error}") from error
    about = [
        (file.path.removeprefix(root), file.size_in_bytes, file.last_updated_in_seconds)
        for file in matched.metadata_list
    ]
    for path, *_ in about if conditional else ():
        if path.rpartition("/")[2] in lists.METADATA and _has_labels(root + path):
            raise Refused("conditional", "classes by the folders of a bucket", f"labels in {root}{path}")
    return from_listing(root, about, _opened_in_bucket)


def _has_labels(address: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / address.rpartition("/")[2]
        file.write_bytes(_opened_in_bucket(address).read())
        return lists.read(str(file)).labels is not None


def _opened_in_bucket(address: str) -> BinaryIO:
    try:
        with FileSystems.open(address) as file:
            return io.BytesIO(file.read())
    except FileNotFoundError:
        raise
    except OSError as error:  # the bucket's, and no reason to leave an image out: the runner tries again
        raise OSError(errno.ETIMEDOUT, str(error)) from error


# ------------------------------------------------------------------------
# files of ours, also in a bucket


@contextlib.contextmanager
def _replacing(place: str):
    """Yields where to write what is to be `place`; two workers may be at the same one, where a runner tries
    twice."""
    beside = f"{place}.{secrets.token_hex(8)}.part"
    yield beside
    gfile.rename(beside, place, overwrite=True)


def _write(place: str, content: bytes):
    with _replacing(place) as beside, gfile.GFile(beside, "wb") as file:
        file.write(content)


def _read(place: str) -> bytes:
    with gfile.GFile(place, "rb") as file:
        return file.read()


def _save(place: str, **arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    _write(place, content.getvalue())


def _load(place: str) -> dict[str, np.ndarray]:
    return dict(np.load(io.BytesIO(_read(place))))


def _text(names: list[list]) -> np.ndarray:
    # As JSON: a name may hold what is no UTF-8.
    return np.frombuffer(json.dumps(names).encode(), np.uint8)
