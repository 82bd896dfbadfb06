"""What lies where in a tar archive, and the classes that WebDataset keeps in it: 0001.cls has that of 0001.jpg.
Stdlib only.

    found = scan("imgs-000.tar")
    found.members[0]                       # Member("0001.jpg", 1536, 20480): read from the archive, never extracted
    found.labels["0001"]                   # "3"
"""

import dataclasses
import os
import tarfile
from collections.abc import Iterator

from keras_dcgan.data.formats.kinds import Rejected

NOT_A_TAR = "not a tar archive"
CUT = "the archive ends too early"
DAMAGED = "the rest of the archive is damaged"
REPLACED = "replaced by a later one of its name"
LABELS = ("cls", "cls.txt")
LONGEST_LABEL = 1024  # bytes


@dataclasses.dataclass(frozen=True)
class Member:
    name: str  # of plain parts: none of them is "..", and the first is no root
    offset: int
    size: int  # bytes
    is_regular: bool


@dataclasses.dataclass
class Contents:
    members: list[Member]  # in the order of their names
    labels: dict[str, str]  # by key: the name without what follows its first dot
    left_out: list[dict]
    problem: str = ""  # why there may be less than there was


def key(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def scan(path: str) -> Contents:
    """Raises Rejected where it is no tar archive, OSError where it cannot be read. 50,000 members take a second."""
    members: dict[str, Member] = {}
    found = Contents([], {}, [])
    with open(path, "rb") as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(0)
        try:
            archive = tarfile.open(fileobj=file, mode="r:")
        except OSError:
            raise
        except Exception as error:  # what is damaged raises whatever its parsers raise
            raise Rejected(NOT_A_TAR) from error
        # Names are only ever names: nothing is extracted, so none can point outside.
        for member in _until_damaged(archive, length, found):
            parts = [part for part in member.name.split("/") if part not in ("", ".", "..")]
            if member.isdir() or not parts:
                continue
            name = "/".join(parts)
            if parts[-1].partition(".")[2] in LABELS:
                file.seek(member.offset_data)
                label = file.read(min(member.size, LONGEST_LABEL))
                found.labels[key(name)] = label.decode(errors="replace").strip()
                continue
            if name in members:  # as `tar --append` adds newer files; unpacked, the last would be there
                found.left_out.append({"file": name, "reason": REPLACED})
            is_regular = member.isreg() and not member.issparse()
            members[name] = Member(name, member.offset_data, member.size, is_regular)
        if not found.problem:
            file.seek(archive.offset)
            end = file.read(tarfile.BLOCKSIZE)  # zeros; tarfile passes over anything else
            found.problem = CUT if len(end) < tarfile.BLOCKSIZE else DAMAGED if any(end) else ""
    found.members = sorted(members.values(), key=lambda member: member.name)
    return found


def _until_damaged(archive: tarfile.TarFile, length: int, found: Contents) -> Iterator[tarfile.TarInfo]:
    while not found.problem:
        try:
            member = archive.next()
        except OSError:
            raise
        except Exception:
            found.problem = DAMAGED
            return
        if member is None:
            return
        if not member.offset_data <= archive.offset <= length:
            found.problem = CUT
        if archive.offset < member.offset_data:
            return  # a size below 0, for which Python before 3.11.14 goes round for ever
        archive.members = []  # type: ignore[attr-defined]  # or it keeps them all
        yield member
