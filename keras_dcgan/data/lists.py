"""Lists of image files and their classes: a .csv of the user's, metadata.csv and metadata.jsonl as Hugging Face
has them. Stdlib only.

    found = read("pets.csv")               # Listing(files=["cats/1.jpg", ...], labels=["cat", ...], columns=["file", "label"])
    labels("./pets", ["cats/1.jpg"])       # ["cat"] of ./pets/metadata.csv or ./pets/cats/metadata.jsonl; None without such
"""

import codecs
import csv
import dataclasses
import io
import json
import os
import posixpath
from collections.abc import Iterable

from keras_dcgan.errors import Refused, Unavailable

# The first of these that is there; case, spaces and dashes do not count.
FILES = "file_name filename file file_path filepath path image_path image_file image img".split()
LABELS = "label labels class class_name category target".split()
METADATA = ("metadata.csv", "metadata.jsonl")


@dataclasses.dataclass(frozen=True)
class Listing:
    files: list[str] | None  # as they are written there, Windows' \ as /; "" where a row has none
    labels: list[str] | None
    columns: list[str]


def chosen(columns: Iterable[str], usual: list[str]) -> str | None:
    """The column that is called as usual."""
    plain = {
        column.strip().casefold().replace(" ", "_").replace("-", "_"): column
        for column in reversed([*columns])
    }
    return next((plain[name] for name in usual if name in plain), None)


def as_label(value: object) -> str:
    """What a class is called; "" where there is none. -1 stands for none in `datasets`."""
    if isinstance(value, bool):
        return str(value).lower()  # as JSON has it
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas writes 1 as 1.0 where another row has none
    return str(value).strip() if isinstance(value, (str, int)) and value != -1 else ""


def read(path: str) -> Listing:
    """Raises Refused where it is no table."""
    try:
        columns, rows = _json_rows(path) if path.endswith(".jsonl") else _csv_rows(path)
    except (ValueError, csv.Error) as error:  # UnicodeDecodeError and JSONDecodeError among them
        raise Refused("source", "a table in UTF-8", f"{path}: {error}") from error
    except OSError as error:
        raise Unavailable("source", f"{path}: {error.strerror}") from error
    file, label = chosen(columns, FILES), chosen(columns, LABELS)
    return Listing(
        None if file is None else [str(row.get(file) or "").strip().replace("\\", "/") for row in rows],
        None if label is None else [as_label(row.get(label)) for row in rows],
        columns,
    )


def labels(root: str, names: list[str]) -> list[str] | None:
    """Of each name, by the metadata of its folder or of one above it."""
    folders = {""}
    for folder in {posixpath.dirname(name) for name in names}:
        while folder not in folders:
            folders.add(folder)
            folder = posixpath.dirname(folder)
    known: dict[str, str] = {}
    for folder in sorted(folders):
        for path in (os.path.join(root, folder, name) for name in METADATA):
            found = read(path) if os.path.isfile(path) else Listing(None, None, [])
            for name, label in zip(found.files or (), found.labels or ()):
                known[posixpath.normpath(posixpath.join(folder, name))] = label
    result = [known.get(name, "") for name in names]
    return result if any(result) else None


def _csv_rows(path: str) -> tuple[list[str], list[dict]]:
    with open(path, "rb") as file:
        content = file.read()
    # Excel writes UTF-16 as "Unicode text", and a mark before its UTF-8.
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if is_utf16 else "utf-8-sig").lstrip("\r\n ")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)  # Excel takes ; where a comma is decimal
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [*(rows.fieldnames or ())], [*rows]


def _json_rows(path: str) -> tuple[list[str], list[dict]]:
    with open(path, encoding="utf-8-sig") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no object")
    return [*dict.fromkeys(name for row in rows for name in row)], rows
