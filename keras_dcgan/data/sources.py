"""Where images come from: a folder, an archive, an array, tables, a list of files, or the built-in demo. Lists them;
decodes nothing.

    found = find_images("./imgs", (64, 64))       # Source: names, how to read each, and a state that changes when the files do
    found.names[0], found.read(0)          # "cats/0001.jpg", an open file

A folder of 50,000 files is listed in about a quarter of a second, which is all that a second run has to wait
for.
"""

import dataclasses
import glob
import hashlib
import io
import os
import pathlib
import re
import stat
import threading
import zipfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO

import numpy as np

from keras_dcgan.addresses import demo_count, expanded, is_demo, is_pattern
from keras_dcgan.data import cache, lists, portraits, tables, tars
from keras_dcgan.data.decode import EXTENSIONS, PASSING, TOO_LARGE, TRUNCATED, Rejected
from keras_dcgan.data.formats.kinds import GIT_LFS, HEAD, kind
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.layout import is_run

EMPTY = "zero bytes"
UNREADABLE = "unreadable"
VANISHED = "vanished, or a broken link"
IN_THE_ARCHIVE = "damaged in the archive"
ENCRYPTED = "encrypted"
NOT_A_FILE = "not a regular file"
OUTSIDE = "not in a class folder"
UNLABELLED = "without a class"
ABSENT = "does not exist"
NO_NAME = "no file name in this row"
BESIDE = "beside tables or archives"
POINTER = "a Git LFS pointer: git lfs pull"

# Plainly not images: never mentioned. Hidden files too (.DS_Store, .git, and the "._cat.jpg" that macOS
# adds to archives).
OTHER_EXTENSIONS = frozenset(
    ".txt .json .jsonl .csv .tsv .xml .yaml .yml .toml .md .html .htm .ini .cfg .log .db .py .ipynb .sh .md5 "
    ".sha256 .tfrecord".split()
)
OTHER_NAMES = frozenset(["__MACOSX", "@eaDir"])
VIDEOS = frozenset(".mp4 .mov .avi .webm .mkv .m4v".split())  # of gigabytes, perhaps: not worth a look

LARGEST_MEMBER = (
    1 << 29
)  # bytes, unpacked: a member is read into memory whole, and a small archive can claim anything

EXPECTED = "a folder, a .zip, .tar, .npy, .npz, .parquet or .csv file, a *.tfrecord pattern, or demo"
COMPRESSED = frozenset(".gz .tgz .bz2 .tbz .xz .txz .zst".split())


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
    classes: Sequence[Any] | None = None  # of each name; "" where it has none, None where it is left out
    array: np.ndarray | None = None
    columns: Sequence[str] = ()  # of a table
    # Number of a name -> the arguments with which `opened` reads it, for workers without this listing; None
    # where they need one of their own.
    location: Callable[[int], tuple] | None = None


def opened(path: str, first: int = 0, length: int | None = None) -> BinaryIO:
    """What is at a `location`: a file, or so many bytes of one. Raises OSError or Rejected."""
    if length is None:
        return open(pathlib.Path(path), "rb")
    if length > LARGEST_MEMBER:
        raise Rejected(TOO_LARGE)
    with open(path, "rb") as file:
        file.seek(first)
        content = file.read(length)
    if len(content) < length:
        raise Rejected(TRUNCATED)
    return io.BytesIO(content)


def find_images(source: str, size: tuple[int, int]) -> Source:
    """size (height, width) matters to the demo, which is drawn for it. Raises ValueError or OSError."""
    if is_demo(source):
        return _demo(demo_count(source, portraits.COUNT), max(size))
    path = pathlib.Path(source)
    if not source:  # an unset variable: as a path it would be the folder where one stands
        raise Refused("source", EXPECTED, "''")
    kinds = {".zip": _archive, ".npy": _array, ".npz": _array, ".csv": _list}
    if path.is_dir():
        return _packed(path, _folder(path))
    if "://" in source:
        raise Refused("source", EXPECTED, f"the address {source}: download it first")
    if path.suffix.lower() in COMPRESSED:  # nothing in it can be reached but through all that lies before
        raise Refused("source", EXPECTED, f"{source}, which is compressed: unpack it first")
    if is_pattern(source) and not path.exists():
        return SEVERAL[path.suffix](_matching(source))
    if not path.exists():
        raise Unavailable("source", EXPECTED, f"{source}, which does not exist")
    if path.suffix.lower() in EXTENSIONS:
        raise Refused("source", EXPECTED, f"the single image {source}: give the folder of many such")
    if path.suffix.lower() in SEVERAL:
        return SEVERAL[path.suffix.lower()]([path])
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
    """The same with the class of each name: the label that came with it, else its first folder. What has none is
    left out."""
    if found.kind in ("array", "demo"):
        if found.classes is None:
            raise Refused("conditional", "folders of classes, or a .npz with images and labels", source)
        return found
    classes, state, reason = found.classes, found.state, UNLABELLED
    if found.columns and classes is None:
        raise Refused("conditional", f"a column label in {source}", ", ".join(found.columns))
    if found.kind == "folder" and (labels := lists.labels(source, found.names)):
        classes, state = labels, digest([state, labels])
    if classes is None:
        classes, reason = _first_folders(found.names, found.kind == "zip"), OUTSIDE
    inside = [i for i, name in enumerate(classes) if name]
    those = [classes[i] for i in inside]
    if len(set(those)) < 2:
        received = f"only {those[0]}" if those else "none"
        expected = f"two or more folders of images in {source}, one a class, or labels of two or more"
        raise Refused("conditional", expected, received)
    outside = [{"file": name, "reason": reason} for name, each in zip(found.names, classes) if not each]
    location = found.location
    return dataclasses.replace(
        found,
        names=[found.names[i] for i in inside],
        read=lambda i: found.read(inside[i]),
        state=state,
        left_out=found.left_out + outside,
        classes=those,
        location=(lambda i: location(inside[i])) if location else None,
    )


def _first_folders(names: Sequence[str], is_archive: bool) -> list[str]:
    folders = [name.split("/")[:-1] for name in names]
    # The folder that was packed is not a class.
    level = 1 if is_archive and len({folder[0] if folder else "" for folder in folders}) == 1 else 0
    return [folder[level] if len(folder) > level else "" for folder in folders]


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
        if cache.is_ours(os.path.basename(folder)) and there & cache.OURS:
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


def _packed(root: pathlib.Path, found: Source) -> Source:
    """What lies in the folder's tables or tar archives, where it has these in place of images: as on Hugging Face."""
    if any(_extension(name) in EXTENSIONS for name in found.names):
        return found
    for read in (_tables, _tars):
        # `datasets` keeps what it has calculated beside its data, as cache-0123.arrow.
        names = [
            name
            for name in found.names
            if SEVERAL.get(_extension(name)) is read and not re.search(r"(^|/)cache-[^/]*\.arrow$", name)
        ]
        if not names:
            continue
        others = sorted({*found.names} - {*names})
        if any(_begins_as_image(root / name) for name in others if _extension(name) not in SEVERAL):
            break  # images need no extension
        packed = read(
            [root / name for name in names],
            found.left_out + [{"file": name, "reason": BESIDE} for name in others],
        )
        return dataclasses.replace(packed, state=digest([packed.state, found.left_out, others]))
    return found


def _begins_as_image(path: pathlib.Path) -> bool:
    try:
        with open(path, "rb") as file:
            kind(file.read(HEAD))
    except (Rejected, OSError):
        return False
    return True


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
        if members[i][1].flag_bits & 1:
            raise Rejected(ENCRYPTED)
        try:
            return io.BytesIO(archive.read(members[i][1]))
        except (
            OSError,
            RuntimeError,
            NotImplementedError,
        ) as error:  # the disk, or a compression that Python lacks
            if getattr(error, "errno", None) in PASSING:
                raise
            raise Rejected(UNREADABLE) from error
        except Exception as error:
            raise Rejected(IN_THE_ARCHIVE) from error

    state = digest([(name, member.file_size, member.CRC) for name, member in members] + left_out)
    return Source("zip", [name for name, _ in members], read, state, left_out)


def _tars(paths: list[pathlib.Path], left_out: Sequence[dict] = ()) -> Source:
    """Read in place, as a .zip is."""
    state = _state(paths)  # before they are listed: one that grows meanwhile is listed anew at the next start
    members, labels, left_out = [], [], [*left_out]  # a label of None: its archive has none
    for path, place in _placed(paths):
        if not (found := _scanned(tars.scan, path, place, left_out)):
            continue
        prefix = f"{place}/" if len(paths) > 1 else ""
        left_out += [item | {"file": prefix + item["file"]} for item in found.left_out]
        if found.problem:
            left_out.append({"file": place, "reason": found.problem})
        usable = []
        for member in found.members:
            parts = member.name.split("/")
            if any(_is_ignored(part, part is not parts[-1]) for part in parts):
                continue
            if reason := _reason_by_sight(parts[-1], member.size, member.is_regular):
                left_out.append({"file": prefix + member.name, "reason": reason})
            else:
                usable.append(member)
        names = [member.name for member in usable]
        labels += [found.labels.get(tars.key(name), "") if found.labels else None for name in names]
        members += [(path, prefix + member.name, member) for member in usable]

    def location(i):
        path, _, member = members[i]
        return str(path), member.offset, member.size

    # Of all such archives together: one may hold a single class.
    unlabelled = [member.name for label, (_, _, member) in zip(labels, members) if label is None]
    folders = iter(_first_folders(unlabelled, is_archive=True))
    classes = [next(folders) if label is None else label for label in labels]
    names = [name for _, name, _ in members]
    return Source("tar", names, lambda i: opened(*location(i)), state, left_out, classes, location=location)


def _tables(paths: list[pathlib.Path], left_out: Sequence[dict] = ()) -> Source:
    tables.check_installed()
    state = _state(paths)
    parts, names, left_out = [], [], [*left_out]
    for path, place in _placed(paths):
        if part := _scanned(tables.scan, path, place, left_out):
            parts.append(part)
            names += [f"{place}#{row}" for row in range(sum(part.groups))]
    classes = None
    if any(part.labels for part in parts):
        classes = [label for part in parts for label in part.labels or [""] * sum(part.groups)]
    images = tables.Images(parts)
    columns = dict.fromkeys(column for part in parts for column in part.columns)
    return Source(
        "table", names, lambda i: io.BytesIO(images(i)), state, left_out, classes, columns=[*columns]
    )


def _list(path: pathlib.Path) -> Source:
    """A .csv with a header. Its paths start from its own folder, and may be absolute."""
    listing = lists.read(str(path))
    if listing.files is None:
        expected = f"a header with a column such as file, path or image in {path}"
        raise Refused("source", expected, f"the columns {', '.join(listing.columns) or '(none)'}")
    files, left_out = [], []
    labels = listing.labels or [""] * len(listing.files)
    for row, (name, label) in enumerate(zip(listing.files, labels), 1):
        try:
            status = os.stat(path.parent / name)
        except (OSError, ValueError):  # ValueError: a NUL in it
            left_out.append({"file": name, "reason": ABSENT})
            continue
        if not name:
            left_out.append({"file": f"row {row}", "reason": NO_NAME})
        elif reason := _reason_by_sight(name, status.st_size, stat.S_ISREG(status.st_mode)):
            left_out.append({"file": name, "reason": reason})
        else:
            files.append((name, label, status.st_size, status.st_mtime_ns, status.st_mode))
    files.sort()

    def location(i):
        return (str(path.parent / files[i][0]),)

    return Source(
        "csv",
        [file[0] for file in files],
        lambda i: opened(*location(i)),
        digest([str(path.resolve()), *files, left_out]),
        left_out,
        None if listing.labels is None else [file[1] for file in files],
        columns=listing.columns,
        location=location,
    )


def _matching(pattern: str) -> list[pathlib.Path]:
    """The files of a pattern: of a range all, of a * what there is."""
    found: set[str] = set()
    for each in expanded(pattern):
        if not (files := glob.glob(each)):
            raise Unavailable("source", f"files called {pattern}", f"no {each}")
        found.update(files)
    return [pathlib.Path(file) for file in sorted(found)]


def _placed(paths: list[pathlib.Path]) -> Iterable[tuple[pathlib.Path, str]]:
    """With what each is called among the others."""
    common = os.path.commonpath([path.parent for path in paths])
    return [(path, path.relative_to(common).as_posix()) for path in paths]


def _scanned(scan: Callable, path: pathlib.Path, place: str, left_out: list[dict]):
    """What is in a file of several; None where it is no such file, with the reason in `left_out`."""
    try:
        with open(path, "rb") as file:
            if file.read(len(GIT_LFS)) == GIT_LFS:
                raise Rejected(POINTER)
        return scan(str(path))
    except Rejected as error:
        left_out.append({"file": place, "reason": str(error)})
        return None
    except OSError as error:  # thousands of images may lie in it
        raise Unavailable("source", f"{path}: {error.strerror}") from error


def _state(paths: list[pathlib.Path]) -> str:
    """Of files that are read in place."""
    try:
        about = [(path, path.stat()) for path in paths]
    except OSError as error:
        received = f"{error.filename} ({error.strerror})"
        raise Unavailable("source", "a file that can be read", received) from error
    return digest([(str(path.resolve()), of.st_size, of.st_mtime_ns, of.st_mode) for path, of in about])


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


def from_memory(images: np.ndarray, labels: Sequence | np.ndarray | None = None) -> Source:
    """uint8 (N, height, width, 1, 3 or 4), or grey ones without the last axis; and a number or a name for each."""
    images = images[..., np.newaxis] if images.ndim == 3 else images
    _check_images(images, "")
    names = [f"#{i}" for i in range(len(images))]
    state, classes = digest([images.shape, *(image.tobytes() for image in images)]), None
    if labels is not None:
        given = np.asarray(labels).ravel()
        if given.dtype.kind == "f" and (given == given.astype(np.int64)).all():
            given = given.astype(np.int64)
        classes = [str(label) for label in given.tolist()]
        if len(classes) != len(images):
            raise Refused("labels", f"one for each of {len(images)} images", len(classes))
        if len(set(classes)) < 2:
            raise Refused("labels", "two classes or more", f"only {classes[0]}")
        state = digest([state, classes])
    return Source("array", names, images.__getitem__, state, classes=classes)


def _check_images(images: np.ndarray, place: str):
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3, 4) or not images.size:
        shape = "uint8 images of (N, height, width, 1, 3 or 4)"
        raise Refused("source", f"{shape}{place}", f"{images.dtype} of {images.shape}")


def _demo(count: int, side: int) -> Source:
    faces: list[portraits.Face] = []  # made at the first read: a second run finds the cache
    making = threading.Lock()

    def read(i):
        with making:
            if not faces:
                faces.extend(portraits.faces(count, 0))
        return np.asarray(portraits.paint(faces[i], side))

    state = digest([pathlib.Path(portraits.__file__).read_bytes(), count, side])
    return Source("demo", [f"#{i}" for i in range(count)], read, state)


SEVERAL: dict[str, Callable] = {".tar": _tars, ".parquet": _tables, ".arrow": _tables}


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


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
