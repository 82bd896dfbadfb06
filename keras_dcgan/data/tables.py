"""Images in the rows of parquet and Arrow files, as Hugging Face's `datasets` writes them: a column of encoded images,
perhaps one of classes. pyarrow reads them, and is imported with the first file.

    part = scan("data/train-00000-of-00002.parquet")       # Part: its columns, rows and labels; of the images nothing
    read = Images([part, ...])
    read(0)                                # the bytes of a JPEG
"""

import bisect
import contextlib
import dataclasses
import importlib.util
import itertools
import json
import os
import threading
from collections.abc import Iterator

from keras_dcgan.data import lists
from keras_dcgan.data.formats.kinds import DAMAGED, Rejected
from keras_dcgan.errors import Unavailable

MISSING = "parquet and Arrow files need: pip install 'keras_dcgan[parquet]'"
NO_IMAGES = "no column of images, or several"
EMPTY = "no image in this row"
PATH_ONLY = "a path in place of the image"
IMAGES = "image img picture photo jpg jpeg png webp".split()
ARROW_FILE = b"ARROW1"  # how Arrow's file format begins, unlike its streams
BATCH = 16  # rows decompressed at once
# Bytes. Without it pyarrow 26 reads a whole row group: of a file of 400 MB in a single one, memory rose to 742 MB, and
# to 454 MB with it.
BUFFER = 1 << 20
WAITING = 1 << 28  # bytes of rows that were passed on the way to others and may still be asked for


@dataclasses.dataclass(frozen=True)
class Part:
    """One file."""

    path: str
    image: str  # column
    groups: list[int]  # rows in each row group, or record batch
    labels: list[str] | None
    columns: list[str]


def check_installed():
    if importlib.util.find_spec("pyarrow") is None:
        raise Unavailable("source", MISSING)


def scan(path: str) -> Part:
    """Raises Rejected where it is no such file or has no images, OSError where it cannot be read."""
    with _damage(), contextlib.closing(_opened(path)) as file:
        image, label, names = _columns_of(file.schema)
        if sum(file.groups) > os.path.getsize(path):  # damaged, and about to fill the memory with names
            raise Rejected(DAMAGED)
        if image is None:
            raise Rejected(NO_IMAGES)
        labels = [_class_name(value, names) for value in file.values(label)] if label else None
        return Part(path, image, file.groups, labels, file.schema.names)


class Images:
    """The rows of all parts by number, as bytes. Rows cannot be read singly: they are read on and on, a row group
    again where a row lies behind, and what is passed waits until another thread asks for it."""

    def __init__(self, parts: list[Part]):
        self._groups = [(part, number) for part in parts for number in range(len(part.groups))]
        self._starts = [*itertools.accumulate((n for part in parts for n in part.groups), initial=0)]
        self._group, self._next = -1, 0  # where reading stands: the row group, the row
        self._batches: Iterator[list[bytes | str | None]] = iter(())
        self._waiting: dict[int, bytes | str | None] = {}
        self._held = 0  # bytes
        self._damaged: set[int] = set()
        self._file: _Parquet | _Arrow | None = None
        self._lock = threading.Lock()

    def __call__(self, row: int) -> bytes:
        with self._lock:
            group = bisect.bisect_right(self._starts, row) - 1
            while row not in self._waiting:
                if group in self._damaged:
                    raise Rejected(DAMAGED)
                if row < self._next or group > self._group + 1:
                    self._begin(group)
                self._read_on()
            content = self._taken(row)
        if not isinstance(content, bytes):  # Dataset.to_parquet keeps paths where it was given paths
            raise Rejected(PATH_ONLY if content else EMPTY)
        return content

    def _begin(self, group: int):
        self._group, self._next = group, self._starts[group]
        self._batches = self._batches_of(*self._groups[group]) if group < len(self._groups) else iter(())

    def _read_on(self):
        try:
            with _damage():
                batch = next(self._batches, None)
        except Rejected:
            batch = None
        if batch is None:
            if self._group >= 0 and self._next != self._starts[self._group + 1]:  # it ended too early
                self._damaged.add(self._group)
            self._begin(self._group + 1)
            return
        while self._held > WAITING:
            self._taken(next(iter(self._waiting)))
        for row, content in enumerate(batch, self._next):
            if row not in self._waiting:
                self._waiting[row] = content
                self._held += len(content or b"")
        self._next += len(batch)

    def _taken(self, row: int) -> bytes | str | None:
        content = self._waiting.pop(row)
        self._held -= len(content or b"")
        return content

    def _batches_of(self, part: Part, number: int) -> Iterator[list[bytes | str | None]]:
        if self._file is None or self._file.path != part.path:
            self._file = _opened(part.path)
        for values in self._file.batches(part.image, number):
            rows = values.to_pylist()
            yield [row.get("bytes") or row.get("path") if isinstance(row, dict) else row for row in rows]


class _Parquet:
    def __init__(self, path: str):
        from pyarrow import parquet

        self.path, self._file = path, parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
        self.schema, about = self._file.schema_arrow, self._file.metadata
        self.groups = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
        self.close = self._file.close

    def values(self, column: str) -> list:
        return self._file.read([column], use_threads=False).column(column).to_pylist()

    def batches(self, column: str, number: int) -> Iterator:
        for batch in self._file.iter_batches(BATCH, [number], [column], use_threads=False):
            yield batch.column(column)


class _Arrow:
    """What `Dataset.save_to_disk` leaves (a stream), or Feather and polars (a file). It is mapped: batches take no
    memory until their rows are looked at, except compressed ones, of which one at a time is unpacked."""

    def __init__(self, path: str):
        import pyarrow

        file = pyarrow.memory_map(path)
        if file.read(len(ARROW_FILE)) == ARROW_FILE:
            reader = pyarrow.ipc.open_file(file)
            count, self._batch = reader.num_record_batches, reader.get_batch
        else:
            file.seek(0)
            reader = pyarrow.ipc.open_stream(file)
            batches = [*reader]
            count, self._batch = len(batches), batches.__getitem__
        self.path, self.schema, self.close = path, reader.schema, file.close
        self.groups = [self._batch(number).num_rows for number in range(count)]

    def values(self, column: str) -> list:
        return [
            value for number in range(len(self.groups)) for value in self._column(column, number).to_pylist()
        ]

    def batches(self, column: str, number: int) -> Iterator:
        values = self._column(column, number)
        for start in range(0, len(values), BATCH):
            yield values.slice(start, BATCH)

    def _column(self, column: str, number: int):
        values = self._batch(number).column(column)
        values.validate(full=True)  # or damaged offsets end the process, in pyarrow 26
        return values


def _opened(path: str) -> _Parquet | _Arrow:
    return (_Arrow if path.lower().endswith(".arrow") else _Parquet)(path)


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """pyarrow has exceptions of its own for damage, and OSError without a number."""
    try:
        yield
    except Rejected:
        raise
    except Exception as error:
        if getattr(error, "errno", None):
            raise
        raise Rejected(DAMAGED) from error


def _columns_of(schema) -> tuple[str | None, str | None, list[str] | None]:
    """-> the column of images, that of labels, and the names of the classes where labels are numbers."""
    from pyarrow import types

    def is_image(kind) -> bool:
        if types.is_struct(kind):
            return any(field.name == "bytes" and is_image(field.type) for field in kind)
        return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)

    def is_label(kind) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
        return is_text or types.is_integer(kind)

    features = _features(schema)

    def column(is_suited, usual: list[str], feature: str, is_sole: bool) -> str | None:
        suited = [field.name for field in schema if is_suited(field.type)]
        marked = [name for name in suited if features.get(name, {}).get("_type") == feature]
        likely = marked or (suited if is_sole else [])
        return lists.chosen(marked or suited, usual) or (likely[0] if len(likely) == 1 else None)

    label = column(is_label, lists.LABELS, "ClassLabel", is_sole=False)
    names = features.get(label or "", {}).get("names")
    return column(is_image, IMAGES, "Image", is_sole=True), label, names if isinstance(names, list) else None


def _features(schema) -> dict[str, dict]:
    """What `datasets` notes of each column: {"label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: about for name, about in features.items() if isinstance(about, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}


def _class_name(value: object, names: list[str] | None) -> str:
    if names and isinstance(value, int):
        return str(names[value]) if 0 <= value < len(names) else ""
    return lists.as_label(value)
