"""Where prepared images and their features are kept: a folder of entries, each whole or not there. Stdlib only.

entry = folder(None) / key("images", state, settings)
if not is_whole(entry):
    with making(entry) as unfinished:       # a folder to be filled
        np.save(unfinished / "images.npy", images)
        describe(unfinished, manifest.to_json())

python -m keras_dcgan.data                  # what is in it; --clear empties it
"""

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from keras_dcgan import files
from keras_dcgan.errors import Refused, Unavailable

MANIFEST = "manifest.json"  # written last
ENTRY = re.compile(r"[0-9a-f]{32}")
# What a killed `making` or `discard` leaves, and what one of 0.1 left.
UNFINISHED = re.compile(r"\.+[0-9a-f]{32}\..*\.part|[0-9a-f]{32}\.unfinished-[0-9a-f]+")
OURS = {MANIFEST, "images.npy", "rgba", "features.npy"}
ABANDONED = 3600  # seconds without a word


def folder(cache: str | None = None) -> Path:
    """`cache`, else $KERAS_DCGAN_CACHE, else keras_dcgan in the place where this system keeps a user's
    caches."""
    place = {"darwin": "~/Library/Caches", "win32": "~/AppData/Local"}.get(sys.platform, "~/.cache")
    usual = os.path.join(os.environ.get("XDG_CACHE_HOME") or place, "keras_dcgan")
    try:
        return Path(files.local_path(cache or os.environ.get("KERAS_DCGAN_CACHE") or usual))
    except ValueError as error:
        raise Refused("cache", f"{error}; $KERAS_DCGAN_CACHE can name one as well") from error


def key(*parts) -> str:
    """The name of an entry: of what JSON can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def is_whole(entry: Path) -> bool:
    return (entry / MANIFEST).exists()


def describe(entry: Path, content: dict):
    (entry / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


def description(entry: Path) -> dict:
    """Raises FileNotFoundError where it is unfinished, ValueError where a power cut has left it damaged."""
    return json.loads((entry / MANIFEST).read_text(encoding="utf-8"))


@contextlib.contextmanager
def making(entry: Path) -> Iterator[Path]:
    """Yields a folder to be filled, which then becomes the entry; leaves nothing behind on an error. Raises
    Unavailable where nothing can be written."""
    try:
        with contextlib.ExitStack() as stack:
            try:
                if not is_whole(entry):  # half removed, by hand or by an older version
                    discard(entry)
                unfinished = stack.enter_context(files.replacing(entry))
                files.sweep(entry.parent, ABANDONED, UNFINISHED)
                unfinished.mkdir()
            except OSError as error:
                received = f"{entry.parent}: {error.strerror}"
                raise Unavailable("cache", "a folder that can be written", received) from error
            yield unfinished
    except Unavailable:
        raise
    except OSError as error:
        if not is_whole(entry):  # else another process was first, and its entry is as good
            expected = f"expected to write into {entry.parent}, received: {error.strerror}"
            raise Unavailable("cache", expected) from error


def discard(entry: Path):
    if entry.exists():
        files.discard(entry)


def entries(cache: Path) -> list[Path]:
    """All that is there, also what is unfinished."""
    return [
        path for path in sorted(cache.glob("*")) if is_ours(path.name) and path.is_dir() and _holds_ours(path)
    ]


def _holds_ours(entry: Path) -> bool:
    """A folder may have such a name by chance, and be anybody's."""
    names = {path.name for path in entry.iterdir()}
    return bool(UNFINISHED.fullmatch(entry.name)) or not names or bool(names & OURS)


def is_ours(name: str) -> bool:
    """Whether a folder of this name is an entry, whole or unfinished."""
    return bool(ENTRY.fullmatch(name) or UNFINISHED.fullmatch(name))
