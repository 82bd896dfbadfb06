"""Where images come from: a folder, a .zip, a .npy or .npz, or the built-in demo. Lists them; decodes
nothing.

    found = find_images("./imgs", (64, 64))       # Source: names, how to read each, and a state that changes when the files do
    found.names[0], found.read(0)          # "cats/0001.jpg", an open file

A folder of 50,000 files is listed in about a quarter of a second, which is all that a second run has to wait
for.
"""

import dataclasses
import hashlib
import io
import os
import pathlib
import stat
import threading
import zipfile
from collections.abc import Callable, Iterable
from typing import BinaryIO

import numpy as np

from keras_dcgan.addresses import demo_count, is_demo
from keras_dcgan.data import cache, portraits
from keras_dcgan.data.decode import EXTENSIONS, PASSING, TOO_LARGE, Rejected
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.layout import is_run

EMPTY = "zero bytes"
UNREADABLE = "unreadable"
VANISHED = "vanished, or a broken link"
NOT_A_FILE = "not a regular file"
OUTSIDE = "not in a class folder"

# Plainly not images: never mentioned. Hidden files too (.DS_Store, .git, and the "._cat.jpg" that macOS
# adds to archives).
OTHER_EXTENSIONS = frozenset(
    ".txt .json .jsonl .csv .tsv .xml .yaml .yml .toml .md .html .htm .ini .cfg .log .db .py .ipynb .sh .md5 .sha256".split()
)
OTHER_NAMES = frozenset(["__MACOSX", "@eaDir"])
VIDEOS = frozenset(".mp4 .mov .avi .webm .mkv .m4v".split())  # of gigabytes, perhaps: not worth a look

LARGEST_MEMBER = (
    1 << 29
)  # bytes, unpacked: a member is read into memory whole, and a small archive can claim anything

EXPECTED = "a folder, a .zip, .npy or .npz file, a *.tfrecord pattern, or demo"


@dataclasses.dataclass(frozen=True)
class Source:
    kind: str
    names: list[str]  # in the order of the rows to come; of folders and archives the path inside, with "/"
    read: Callable[
        [int], BinaryIO | np.ndarray
    ]  # number of a name -> an open file or the pixels; raises OSError or Rejected
    state: str  # changes whenever the files do
    left_out: list[dict] = dataclasses.field(
        default_factory=list
    )  # {"file", "reason"}: what can be told without opening it
    classes: list[str] | None = None  # of each name
    array: np.ndarray | None = None
    # Number of a name -> the arguments with which `opened` reads it, for workers without this listing; None
    # where they need one of their own.
    location: Callable[[int], tuple] | None = None


def opened(path: str) -> BinaryIO:
    """What is at a `location`; raises OSError or Rejected."""
    return open(pathlib.Path(path), "rb")


def find_images(source: str, size: tuple[int, int]) -> Source:
    """size (height, width) matters to the demo, which is drawn for it. Raises ValueError or OSError."""
    if is_demo(source):
        return _demo(demo_count(source, portraits.COUNT), max(size))
    path = pathlib.Path(source)
    if not source:  # an unset variable: as a path it would be the folder where one stands
        raise Refused("source", EXPECTED, "''")
    kinds = {".zip": _archive, ".npy": _array, ".npz": _array}
    if path.is_dir():
        return _folder(path)
    if "://" in source:
        raise Refused("source", EXPECTED, f"the address {source}: download it first")
    if not path.exists():
        raise Unavailable("source", EXPECTED, f"{source}, which does not exist")
    if path.suffix.lower() in EXTENSIONS:
        raise Refused("source", EXPECTED, f"the single image {source}: give the folder of many such")
    if path.suffix.lower() not in kinds:
        raise Refused("source", EXPECTED, source)
    return kinds[path.suffix.lower()](path)


def from_listing(
    root: str, files: Iterable[tuple[str, int, float]], read: Callable[[str], BinaryIO]
) -> Source:
    """Of what a bucket tells of its files: the name below `root`, bytes, and when it was written. `read`: of the
    whole address."""
    kept, left_out = [], []
    for name, size, written in files:
        *folders, last = name.split("/")
        if not last or any(_is_ignored(folder, True) for folder in folders) or _is_ignored(last, False):
            continue
        if reason := _reason_by_sight(last, size, is_regular=True):
            left_out.append({"file": name, "reason": reason})
        else:
            kept.append((name, size, written))
    kept.sort()

    def location(i):
        return (root + kept[i][0],)

    names = [file[0] for file in kept]
    state = digest([root, *kept, left_out])
    return Source("bucket", names, lambda i: read(*location(i)), state, left_out, location=location)


def with_classes(source: str, found: Source) -> Source:
    """The same with the class of each name: its first folder. What lies in none is left out."""
    if found.kind in ("array", "demo"):
        if found.classes is None:
            raise Refused("conditional", "folders of classes, or a .npz with images and labels", source)
        return found
    folders = [name.split("/")[:-1] for name in found.names]
    # The folder that was zipped is not a class.
    level = 1 if found.kind == "zip" and len({folder[0] if folder else "" for folder in folders}) == 1 else 0
    inside = [i for i, folder in enumerate(folders) if len(folder) > level]
    classes = [folders[i][level] for i in inside]
    if len(set(classes)) < 2:
        received = f"only {classes[0]}" if classes else "none"
        expected = f"two or more folders of images in {source}, one a class"
        raise Refused("conditional", expected, received)
    outside = [
        {"file": name, "reason": OUTSIDE}
        for name, folder in zip(found.names, folders)
        if len(folder) <= level
    ]
    names = [found.names[i] for i in inside]
    left_out = found.left_out + outside
    location = found.location
    return dataclasses.replace(
        found,
        names=names,
        read=lambda i: found.read(inside[i]),
        left_out=left_out,
        classes=classes,
        location=(lambda i: location(inside[i])) if location else None,
    )


def digest(parts: list) -> str:
    result = hashlib.blake2b(digest_size=16)
    for part in parts:
        result.update(part if isinstance(part, bytes) else repr(part).encode())
        result.update(b"\0")
    return result.hexdigest()


def _folder(root: pathlib.Path) -> Source:
    top = root.stat()
    files, left_out, visited, folders = [], [], {(top.st_dev, top.st_ino)}, [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError:
            left_out.append({"file": folder or ".", "reason": UNREADABLE})
            continue
        there = {entry.name for entry in entries}
        if is_run(there):
            # a run directory, as `fit --data .` makes one: what it has drawn is nothing to learn from
            continue
        if cache.is_ours(os.path.basename(folder)) and there & {
            "manifest.json",
            "images.npy",
            "rgba",
        }:
            continue  # of data.py's cache
        for entry in sorted(entries, key=lambda entry: entry.name):
            name = f"{folder}/{entry.name}" if folder else entry.name
            try:
                if _is_ignored(entry.name, entry.is_dir()):
                    continue
                status = entry.stat()
            except OSError:
                left_out.append({"file": name, "reason": VANISHED})
                continue
            if stat.S_ISDIR(status.st_mode):
                status = os.stat(root / name)  # on Windows an entry's own tells no folder from another
                # Links are followed. A folder met before, by whatever way, is not entered again: so no loop
                # is endless.
                if (status.st_dev, status.st_ino) not in visited:
                    visited.add((status.st_dev, status.st_ino))
                    folders.append(name)
            elif reason := _reason_by_sight(name, status.st_size, stat.S_ISREG(status.st_mode)):
                left_out.append({"file": name, "reason": reason})
            else:
                # The mode counts as well: after a chmod an unreadable file is worth another look.
                files.append((name, status.st_size, status.st_mtime_ns, status.st_mode))
    files.sort()
    names = [file[0] for file in files]

    def location(i):
        return (os.path.join(root, names[i]),)

    return Source(
        "folder",
        names,
        lambda i: opened(*location(i)),
        digest([str(root.resolve()), *files, left_out]),
        left_out,
        location=location,
    )


def _archive(path: pathlib.Path) -> Source:
    """Read in place. Names inside are only ever names: nothing is extracted, so none can point outside."""
    try:
        archive = zipfile.ZipFile(path)
    except (
        Exception
    ) as error:  # what is damaged raises whatever its parsers raise; so below, and in decode.py
        raise Refused("source", "a zip archive", f"{path}: {error}") from error
    members, left_out = [], []
    for member in archive.infolist():
        parts = [
            part for part in member.filename.replace("\\", "/").split("/") if part not in ("", ".", "..")
        ]
        if member.is_dir() or not parts or any(_is_ignored(part, part is not parts[-1]) for part in parts):
            continue
        if reason := _reason_by_sight(parts[-1], member.file_size, is_regular=True):
            left_out.append({"file": "/".join(parts), "reason": reason})
        else:
            members.append(("/".join(parts), member))
    members.sort(key=lambda pair: pair[0])

    def read(i):
        if members[i][1].file_size > LARGEST_MEMBER:
            raise Rejected(TOO_LARGE)
        try:
            return io.BytesIO(archive.read(members[i][1]))
        except (
            OSError,
            RuntimeError,
            NotImplementedError,
        ) as error:  # the disk, a password, or a compression that Python lacks
            if getattr(error, "errno", None) in PASSING:
                raise
            raise Rejected(UNREADABLE) from error
        except Exception as error:
            raise Rejected("damaged in the archive") from error

    state = digest([(name, member.file_size, member.CRC) for name, member in members] + left_out)
    return Source("zip", [name for name, _ in members], read, state, left_out)


def _array(path: pathlib.Path) -> Source:
    classes = None
    try:
        images = np.load(
            path, mmap_mode="r", allow_pickle=False
        )  # a .npz is read into memory while it is prepared
        if not isinstance(images, np.ndarray):
            arrays = images
            if "images" not in arrays.files and len(arrays.files) != 1:
                raise ValueError(
                    f"no array is called images, but {', '.join(arrays.files) or 'there is none'}"
                )
            images = arrays["images" if "images" in arrays.files else arrays.files[0]]
            if "labels" in arrays.files:
                classes = [str(label) for label in arrays["labels"].ravel().tolist()]
    except Exception as error:
        raise Refused("source", f"expected uint8 images in {path}: {error}") from error
    if images.ndim == 3:
        images = images[..., np.newaxis]
    _check_images(images, f" in {path}")
    if classes is not None and len(classes) != len(images):
        raise Refused("source", f"a label for each of {len(images)} images in {path}", len(classes))
    status = path.stat()
    state = digest([str(path.resolve()), status.st_size, status.st_mtime_ns])
    return Source(
        "array",
        [f"#{i}" for i in range(len(images))],
        images.__getitem__,
        state,
        classes=classes,
        array=images,
    )


def from_memory(images: np.ndarray) -> Source:
    """uint8 (N, height, width, 1, 3 or 4), or grey ones without the last axis."""
    images = images[..., np.newaxis] if images.ndim == 3 else images
    _check_images(images, "")
    names = [f"#{i}" for i in range(len(images))]
    state = digest([images.shape, *(image.tobytes() for image in images)])
    return Source("array", names, images.__getitem__, state)


def _check_images(images: np.ndarray, place: str):
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or not images.size:
        shape = "uint8 images of (N, height, width, 1, 3 or 4)"
        raise Refused("source", f"{shape}{place}", f"{images.dtype} of {images.shape}")


def _demo(count: int, side: int) -> Source:
    drawing = threading.Lock()
    drawn: list[np.ndarray] = []  # at the first read: a second run finds the cache and need not draw

    def read(i):
        with drawing:
            if not drawn:
                drawn.append(portraits.pictures(count, size=side))
        return drawn[0][i]

    state = digest([pathlib.Path(portraits.__file__).read_bytes(), count, side])
    return Source("demo", [f"#{i}" for i in range(count)], read, state)


def _is_ignored(name: str, is_folder: bool) -> bool:
    if name.startswith(".") or name in OTHER_NAMES:
        return True
    return not is_folder and os.path.splitext(name)[1].lower() in OTHER_EXTENSIONS


def _reason_by_sight(name: str, length: int, is_regular: bool) -> str | None:
    extension = os.path.splitext(name)[1].lower()
    if not is_regular:
        return NOT_A_FILE  # never opened: reading a pipe would wait for ever
    if extension in VIDEOS:
        return f"{extension} is not supported"
    return None if length else EMPTY
