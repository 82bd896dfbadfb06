"""Files that are there whole or not at all. Stdlib only.

    write(Path("runs/imgs/config.json"), text)
    replace(unfinished, place)                     # a file, or a folder of files

They are written beside their place, made sure of, and renamed into it: a kill or a power cut leaves the old
one or the new one.
"""

import errno
import os
from pathlib import Path

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


def write(path: Path, text: str):
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(
        text, encoding="utf-8", errors="backslashreplace"
    )  # a file name may hold what is no UTF-8
    replace(beside, path)


def replace(beside: Path, place: Path):
    """Renames `beside` to `place`, as what is there after a power cut as well."""
    for file in [*beside.iterdir(), beside] if beside.is_dir() else [beside]:
        sync(file)
    os.replace(beside, place)
    sync(place.parent)


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
