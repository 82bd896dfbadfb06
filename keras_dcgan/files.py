"""Files that are there whole or not at all, and paths that can be written. Stdlib only.

    write(Path("runs/imgs/config.json"), text)
    with replacing(Path("runs/imgs/generator.keras")) as beside:       # a file, or a folder of files
        model.save(beside)

They are written beside their place, synced, and renamed into it: a kill or a power cut leaves the old one or
the new one. What a kill leaves is hidden and named ...part, and `sweep` removes it.
"""

import contextlib
import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from keras_dcgan.errors import Refused, Unavailable

LEFTOVERS = re.compile(r"\..*\.[0-9a-f]{16}\.part")
PATTERN = "[]\\"  # in a path; TensorFlow takes what it reads for a pattern of these
# gs://bucket, https://host, host:/folder; written as a path it would be made here.
OF_ANOTHER_MACHINE = re.compile(r"[\w.@+-]{2,}:/")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")
# What a file system says that knows no fsync, or none of folders: network mounts, FUSE, WSL. A real fault is
# EIO, ENOSPC or EDQUOT.
UNKNOWN = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.EBADF,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.EACCES,
    errno.EISDIR,
)


@contextlib.contextmanager
def replacing(place: Path, is_synced: bool = True) -> Iterator[Path]:
    """Yields where to write what is to be `place`, under the same name in a hidden folder beside it; then
    renames it. An error leaves what was there. `is_synced`: also after a power cut; a drawing that can be
    drawn again need not be."""
    place.parent.mkdir(parents=True, exist_ok=True)
    # Not named after the process: in containers all have the same number, and a folder may be shared.
    workshop = place.with_name(f".{place.name[:40]}.{secrets.token_hex(8)}.part")
    workshop.mkdir()
    try:
        yield workshop / place.name
        if is_synced:
            _sync_all(workshop / place.name)
        os.replace(workshop / place.name, place)
        if is_synced:
            sync(place.parent)
    finally:
        try:
            workshop.rmdir()  # rmtree opens it, and some of those file systems open no folders either
        except OSError:  # something failed, and it is not empty
            shutil.rmtree(workshop, ignore_errors=True)


def rename(here: Path, there: Path):
    """Moves a file within a folder, as what is there after a power cut as well."""
    os.replace(here, there)
    sync(there.parent)


def discard(folder: Path):
    """Removes it; a kill in the middle of that leaves none of its name, and what `sweep` removes."""
    doomed = folder.with_name(f".{folder.name[:40]}.{secrets.token_hex(8)}.part")
    with contextlib.suppress(OSError):  # others sweep as well
        os.replace(folder, doomed)
        shutil.rmtree(doomed)


def write(path: Path, text: str):
    with replacing(path) as beside:
        # A file name may hold what is no UTF-8.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def sweep(folder: Path, older_than: float = 0.0, pattern: re.Pattern = LEFTOVERS):
    """Removes what killed processes have left in `folder`: all of it, or that in which nothing has been written
    for so many seconds, where others may be at work. `pattern`: of its names."""
    for leftover in folder.glob("*.*"):
        if not pattern.fullmatch(leftover.name):
            continue
        with contextlib.suppress(OSError):  # another process sweeps as well
            inside = leftover.rglob("*") if leftover.is_dir() else ()
            newest = max(path.stat().st_mtime for path in (leftover, *inside))
            if not older_than or newest < time.time() - older_than:
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def _sync_all(path: Path):
    for file in [*path.rglob("*"), path] if path.is_dir() else [path]:
        sync(file)


def sync(path: Path):
    """Returns when the file's content, or the folder's names, are on the disk and not in some memory; at once
    where the file system cannot tell: what has been renamed is then whole after a kill, if not after a power
    cut."""
    if os.name == "nt":  # opens no folders, and syncs nothing that is open for reading only
        return
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise


# ------------------------------------------------------------------------
# paths; `argument` is what an error names


def local_path(text: str) -> str:
    """`text` as a path of this machine, with a leading ~ expanded. What means something elsewhere raises
    ValueError: it would be made here."""
    expected = f"expected a path of this machine, received {text!r}"
    if text in ("", "-"):
        raise ValueError(expected)
    if OF_ANOTHER_MACHINE.match(text) or (DRIVE.match(text) and os.name != "nt"):
        raise ValueError(f"{expected}, which lies elsewhere")
    found = os.path.expanduser(text)
    if text[0] == "~" and found == text and not os.path.exists(text):
        raise ValueError(f"{expected} (no such home)")
    return found


def check_path(path: Path, argument: str):
    """Raises Refused where `path` is none of this machine, and where TensorFlow (2.21) could write and not
    read, or neither."""
    name = str(path)
    if OF_ANOTHER_MACHINE.match(path.as_posix()):  # gs://bucket is gs:/bucket by now
        raise Refused(argument, "a path of this machine", path)
    # TensorFlow writes names in UTF-8, Python in the locale's encoding.
    if name.encode(errors="replace") != os.fsencode(name):
        raise Refused(argument, "a path in UTF-8, or a locale of UTF-8 (LC_ALL=C.UTF-8)", path)
    if set(PATTERN) & set(path.as_posix()):
        expected = f"a path without any of {' '.join(PATTERN)}, which TensorFlow cannot read"
        raise Refused(argument, expected, path)


def check_place(path: Path, argument: str):
    """Raises also Unavailable where `path` is no folder that can be written, and none can be made there."""
    check_path(path, argument)
    check_folder(path, argument)


def check_folder(path: Path, argument: str):
    """Raises Unavailable where no files can be written into `path`, nor it be made."""
    there = next((folder for folder in (path, *path.absolute().parents) if os.path.exists(folder)), None)
    if there is None:  # a drive that Windows has not
        raise Unavailable(argument, "a directory that can be written", path)
    if not os.path.isdir(there):
        raise Unavailable(argument, "a directory", f"the file {there}")
    if not os.access(there, os.W_OK):
        raise Unavailable(argument, "a directory that can be written", path)


def check_file(path: Path, argument: str):
    """Raises Unavailable where no file can be written as `path`: before the work, and not after it."""
    if path.is_dir():
        raise Unavailable(argument, "the name of a file", f"the directory {path}")
    check_folder(path.parent, argument)
