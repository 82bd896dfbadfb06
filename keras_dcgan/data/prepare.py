"""Any source of images -> one uint8 array, prepared once and kept in a cache, and a manifest of what was left
out and why.

    images = prepare("./imgs", (64, 64))       # a folder, a .zip, .tar, .csv ... or "demo" -> ImageSet
    print(report(images.manifest))             # 3,994 images of 64x64x3 from ./imgs, 6 files left out: 4 truncated ...

Every image is decoded once, by a pool of threads (decode.py). Rows are appended to one file in the order of
the names and only when whole, so there is never a row without its image.
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import operator
import os
import pathlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TextIO

import numpy as np
from PIL import Image, ImageColor

from keras_dcgan.addresses import is_shards
from keras_dcgan.data import cache as entries
from keras_dcgan.data.decode import (
    EXTENSIONS,
    MAX_PIXELS,
    PASSING,
    Rejected,
    decode,
    now_known,
    pillow_for_threads,
    resized,
)
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.data.shards import ShardSet, open_shards
from keras_dcgan.data.sources import (
    IN_THE_ARCHIVE,
    UNREADABLE,
    VANISHED,
    Source,
    digest,
    find_images,
    from_memory,
    with_classes,
)
from keras_dcgan.errors import Refused, Unavailable, argument, counted, renamed
from keras_dcgan.progress import Progress
from keras_dcgan.threads import Threads

ALONE = "the only image of its class"
VERSION = 2  # part of every cache key; raise it when the same files would now give other pixels
TRANSPARENT_SHARE = 0.2  # of the images: from here on, channels "auto" keeps the alpha channel
CHUNK = 16 << 20  # bytes of rows handled at once
AT_ONCE = 8  # images a task: threads that hand over every single one wait for each other


def prepare(
    source: str | os.PathLike | np.ndarray,
    size: int | tuple[int, int] = (64, 64),
    channels: str | int = "auto",
    *,
    crop: str = "center",
    background: str | tuple[int, int, int] = "white",
    max_pixels: int = MAX_PIXELS,
    conditional: bool = False,
    labels: Sequence | np.ndarray | None = None,
    cache: str | None = None,
    show: Callable[[str], None] = print,
) -> ImageSet | ShardSet:
    """-> the images of `source`, uint8 (N, height, width, channels) in the order of their names, from the
    cache if they are there.

    source: a folder (of images, or of parquet or tar files), a .zip, .tar, .npy, .npz, .parquet or .csv,
    "imgs-{000..009}.tar", "shards/*.tfrecord", "demo", or uint8 images (N, height, width, 1, 3 or 4). size: (height,
    width), or the side of a square. channels: 1, 3, 4 or "auto": 4 if a fifth of the images is transparent somewhere,
    else 1 if all are grey, else 3. crop: "center", or "none" to squash. background: the colour behind transparent
    pixels where the result has no alpha. max_pixels: larger images are left out. conditional: the classes are the
    labels of the source, else its first level of folders. labels: of an array, a number or a name for each image; its
    classes then. cache: where prepared images are kept [$KERAS_DCGAN_CACHE,
    else the user's cache folder]. show: takes the lines to tell the user.

    Raises Refused or Unavailable (ValueError, OSError), naming the argument, for what the user can put right;
    never for a bad file.
    """
    settings = settings_of(size, channels, crop, background, max_pixels, conditional or labels is not None)
    if labels is not None and not isinstance(source, np.ndarray):
        raise Refused("labels", "an array of images beside them", source)
    if not isinstance(source, np.ndarray) and is_shards(os.fspath(source)):
        return _shards(os.fspath(source), settings)
    if isinstance(source, np.ndarray) and conditional and labels is None:
        raise Refused("conditional", f"{argument('labels')} beside an array", "none")
    found = listed(source, settings, labels=labels)
    source = f"an array of {len(source):,}" if isinstance(source, np.ndarray) else os.fspath(source)
    entry = entries.folder(cache) / entries.key(VERSION, found.kind, found.state, settings)
    if entries.is_whole(entry):
        # A power cut may have damaged it: made once more.
        with contextlib.suppress(ValueError, KeyError, TypeError, EOFError, FileNotFoundError):
            prepared = _read(entry, source, found)
            if not _are_back(prepared.manifest, found):
                return prepared
            del prepared  # Windows renames no folder with a file that is open
        entries.discard(entry)
    with entries.making(entry) as unfinished:
        with renamed(**({} if labels is None else {"conditional": "labels"})):
            manifest = _prepare(unfinished, entry.parent, source, found, settings, show)
        entries.describe(unfinished, manifest.to_json())
    return _read(entry, source, found)


def settings_of(
    size: int | tuple[int, int] = (64, 64),
    channels: str | int = "auto",
    crop: str = "center",
    background: str | tuple[int, int, int] = "white",
    max_pixels: int = MAX_PIXELS,
    conditional: bool = False,
) -> dict[str, Any]:
    """The arguments of `prepare`, checked, by their names in a manifest."""
    try:
        height, width = map(operator.index, size if isinstance(size, Iterable) else (size, size))
    except (TypeError, ValueError):
        raise Refused("size", "a side, or a height and a width", repr(size)) from None
    if min(height, width) < 1:
        raise Refused("size", "a height and a width of at least 1", size)
    _check("channels", channels, ("auto", 1, 3, 4))
    _check("crop", crop, ("center", "none"))
    return {
        "size": (height, width),
        "channels": channels,
        "crop": crop,
        "background": _colour(background),
        "max_pixels": max_pixels,
        "conditional": conditional,
    }


def listed(
    source: str | os.PathLike | np.ndarray,
    settings: dict,
    find: Callable[[str, tuple[int, int]], Source] = find_images,
    labels: Sequence | np.ndarray | None = None,
) -> Source:
    """What there is to decode, none of it opened. Raises Refused or Unavailable."""
    if isinstance(source, np.ndarray):
        found, source = from_memory(source, labels), f"an array of {len(source):,}"
    else:
        source = os.fspath(source)
        found = find(source, settings["size"])
    if not found.names and not found.left_out:
        raise Refused("source", f"no images in {source} (looked for {' '.join(EXTENSIONS)})")
    return (
        with_classes(source, found) if settings["conditional"] else dataclasses.replace(found, classes=None)
    )


def _shards(pattern: str, settings: dict) -> ShardSet:
    shards = open_shards(pattern, settings["size"], settings["channels"], settings["conditional"])
    wanted = settings["crop"], settings["background"]
    there = shards.manifest.crop, shards.manifest.background
    if wanted != there:
        raise Refused(
            ("crop", "background"), f"the shards are packed with {there}, and {wanted} is asked for"
        )
    return shards


def prepare_one(
    file: str,
    size: tuple[int, int],
    channels: int,
    *,
    crop: str = "center",
    background: str | tuple[int, int, int] = "white",
    max_pixels: int = MAX_PIXELS,
) -> tuple[np.ndarray, tuple[int, int]]:
    """One image file as `prepare` would have it, uint8 (height, width, channels), and the (height, width) of
    the original. Raises Unavailable where it cannot be read, Refused where it is no image."""
    try:
        with open(file, "rb") as stream, pillow_for_threads(max_pixels):
            rgba, original_size = decode(stream, size, crop, max_pixels, file)
    except Rejected as error:
        raise Refused("file", "an image that can be read", f"{file} ({error})") from error
    except OSError as error:
        raise Unavailable("file", str(error)) from error
    return _with_channels(rgba[np.newaxis], channels, _colour(background))[0], original_size


def report(manifest: Manifest) -> str:
    """What a user should know about the data, in a few lines."""
    height, width, channels = manifest.shape
    lines = [f"{counted(manifest.count, 'image')} of {height}x{width}x{channels} from {manifest.source}"]
    if manifest.classes:
        lines[0] += f" in {len(manifest.classes)} classes"
    lines += _reasons_table(manifest.left_out)
    if duplicates := manifest.duplicates:
        shown = [f"{printable(pair['file'])} = {printable(pair['same_as'])}" for pair in duplicates[:3]]
        lines.append(f"{counted(len(duplicates), 'exact duplicate')}, kept: {_and_more(shown, duplicates)}")
    if small := manifest.small:
        shown = [f"{printable(image['file'])} ({image['size'][0]}x{image['size'][1]})" for image in small[:3]]
        lines.append(f"{len(small):,} smaller than half of {height}x{width}, kept: {_and_more(shown, small)}")
    return "\n".join(lines + [f"note: {note}" for note in manifest.notes])


# ------------------------------------------------------------------------
# from files to an array


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is seen of an image while decoding it."""

    size: tuple[int, int]  # height, width of the original
    is_grey: bool
    is_transparent: bool


def _read(entry: pathlib.Path, source: str, found: Source) -> ImageSet:
    content = entries.description(entry)
    if content["left_out"] and "gaps" not in content:
        raise KeyError("gaps")  # of 0.1: where it lacks which rows is not known
    manifest = dataclasses.replace(Manifest.from_json(content), source=source)
    # In place too a map of its own: of the other, which has been read through, every page counts as this
    # process's memory.
    array = found.array if manifest.in_place else None
    file = array.filename if isinstance(array, np.memmap) else None
    images = np.load(file or entry / "images.npy", mmap_mode="r")
    images = images[..., np.newaxis] if images.ndim == 3 else images
    labels = np.load(entry / "labels.npy") if manifest.classes else np.zeros(len(images), np.int32)
    return ImageSet(images, labels, manifest)


def _are_back(manifest: Manifest, found: Source) -> bool:
    """Whether a file that could not be read when the others were prepared can be now: its disk may have been
    away, its archive damaged, or what decodes it not installed."""
    reasons = {item["reason"] for item in manifest.left_out}
    passing = {VANISHED, UNREADABLE, IN_THE_ARCHIVE} | now_known(reasons)
    missing = {item["file"] for item in manifest.left_out if item["reason"] in passing}
    for number in (number for number, name in enumerate(found.names) if name in missing):
        with contextlib.suppress(OSError, Rejected):
            item = found.read(number)
            if not isinstance(item, np.ndarray):
                with item as file:
                    file.read()
            return True
    return False


def _prepare(
    folder: pathlib.Path,
    cache: pathlib.Path,
    source: str,
    found: Source,
    settings: dict,
    show: Callable[[str], None],
) -> Manifest:
    height, width = settings["size"]
    # Too few of a class are told before hours of decoding.
    labels_of(found, range(len(found.names)))
    kept, facts, left_out = [*range(len(found.names))], [], found.left_out
    usable = _usable(found.array, settings)
    if usable is not None:
        channels = usable.shape[-1]
        digests = []
        for row in usable:
            if len(digests) % max(1, CHUNK // row.nbytes) == 0:
                os.utime(folder)  # a sign of life: what shows none for an hour is taken away by others
            digests.append(_row_digest(row))
    else:
        most = 4 if settings["channels"] == "auto" else settings["channels"]
        _check_free_space(cache, (4 + most) * len(found.names) * height * width)
        rows = folder / "rgba"
        kept, facts, left_out = decode_all(rows, found, settings, show)
        found, is_used, left_out = without_lonely(found, kept, left_out, show)
        kept, facts = (list(itertools.compress(row, is_used)) for row in (kept, facts))
        check_any(kept, left_out, source, show)
        channels = channels_of(settings["channels"], facts)
        target = folder / "images.npy"
        digests = write_images(target, rows, is_used, settings["size"], channels, settings["background"])
        rows.unlink()
    classes, labels = labels_of(found, kept)
    if classes:
        np.save(folder / "labels.npy", labels)
    sizes = [image.size for image in facts]
    about = settings | {"channels": channels, "in_place": usable is not None}
    return described(source, found, about, kept, sizes, digests, left_out)


def without_lonely(
    found: Source, kept: Sequence[int], left_out: list[dict], show: Callable[[str], None]
) -> tuple[Source, list[bool], list[dict]]:
    """The source without the classes of which decoding has left fewer than two images, whether each of `kept`
    stays, and all that is left out."""
    if found.classes is None:
        return found, [True] * len(kept), left_out
    counts = collections.Counter(found.classes[i] for i in kept)
    few = {name: counts[name] for name in sorted(set(found.classes)) if counts[name] < 2}
    if few:
        names = _and_more([f"{printable(name)}: {count}" for name, count in few.items()][:5], [*few])
        if kept and len(set(found.classes)) - len(few) < 2:
            raise Refused("conditional", "two or more classes of two or more images that can be used", names)
        show(f"left out {counted(len(few), 'class')} of fewer than two images that can be used: {names}")
    classes = [None if name in few else name for name in found.classes]
    alone = [{"file": found.names[i], "reason": ALONE} for i in kept if classes[i] is None]
    is_used = [classes[i] is not None for i in kept]
    return dataclasses.replace(found, classes=classes), is_used, left_out + alone


def check_any(kept: Sequence[int], left_out: list[dict], source: str, show: Callable[[str], None]):
    """Raises Refused where nothing can be used."""
    if kept:
        return
    show("\n".join(_reasons_table(left_out)))
    counts = collections.Counter(item["reason"] for item in left_out).most_common()
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts)
    files = counted(len(left_out), "file")
    raise Refused("source", f"none of the {files} in {source} can be used: {reasons}")


def described(
    source: str,
    found: Source,
    settings: dict,
    kept: Sequence[int],
    sizes: Sequence[tuple[int, int]],
    digests: Sequence[bytes],
    left_out: list[dict],
) -> Manifest:
    """`kept`: the numbers of the names that could be used; `sizes` (height, width) of the originals, where
    there are any, and `digests` of the rows: of those."""
    height, width = settings["size"]
    classes, labels = labels_of(found, kept)
    first: dict[bytes, int] = {}
    same = [(i, first.setdefault(row, i)) for i, row in zip(kept, digests)]
    small = [(i, size) for i, size in zip(kept, sizes) if 2 * size[0] < height or 2 * size[1] < width]
    return Manifest(
        source=source,
        kind=found.kind,
        **settings,
        count=len(kept),
        classes=classes,
        # Of what the network will see, not of names and dates: the same on another machine, and after a
        # `touch`.
        fingerprint=digest([settings["channels"], classes, labels.tobytes(), *digests]),
        gaps=np.setdiff1d(np.arange(len(found.names)), kept).tolist(),
        left_out=sorted(left_out, key=lambda item: item["file"]),
        duplicates=[{"file": found.names[i], "same_as": found.names[j]} for i, j in same if i != j],
        small=[{"file": found.names[i], "size": size} for i, size in small],
        notes=_notes(sizes, settings["size"]),
    )


def _notes(sizes: Sequence[tuple[int, int]], size: tuple[int, int]) -> list[str]:
    smaller = sum(height < size[0] or width < size[1] for height, width in sizes)
    if 2 * smaller <= len(sizes):
        return []
    wanted = "x".join(map(str, size))
    if len(sizes) == 1:
        return [f"the image is smaller than {wanted} and was enlarged"]
    return [f"{smaller:,} of {len(sizes):,} images are smaller than {wanted} and were enlarged"]


def decode_all(rows: pathlib.Path, found: Source, settings: dict, show: Callable[[str], None]):
    """Appends RGBA rows to the file `rows`. -> the numbers of the names that are in it, their Facts, and what
    was left out."""
    size, crop, max_pixels = settings["size"], settings["crop"], settings["max_pixels"]

    def work(i):
        try:
            item = found.read(i)
            if isinstance(item, np.ndarray):
                image = Image.fromarray(item[..., 0] if item.shape[-1] == 1 else item)
                pixels, original_size = np.asarray(resized(image, size, crop).convert("RGBA")), item.shape[:2]
            else:
                with item as file:
                    pixels, original_size = decode(file, size, crop, max_pixels, found.names[i])
        except Rejected as error:
            return str(error)
        except FileNotFoundError:
            return VANISHED
        except OSError as error:
            if error.errno in PASSING:  # no fault of the file's, to be remembered in the cache
                problem = f"{printable(found.names[i])} cannot be read at the moment: {error.strerror}"
                raise Unavailable("source", problem) from error
            return UNREADABLE
        red, green, blue, alpha = np.moveaxis(pixels, -1, 0)
        is_grey = np.array_equal(red, green) and np.array_equal(green, blue)
        return pixels.tobytes(), Facts(original_size, is_grey, float(np.mean(alpha < 255)) > 0.01)

    kept, facts, left_out = [], [], list(found.left_out)
    start = time.monotonic()
    with open(rows, "wb") as file, pillow_for_threads(settings["max_pixels"]) as screen:
        # A table is read on row by row: it holds some, and begins anew for one that is behind those.
        at_once = 1 if found.kind == "table" else AT_ONCE
        for i, result in enumerate(_in_order(work, len(found.names), screen, at_once)):
            if isinstance(result, str):
                left_out.append({"file": found.names[i], "reason": result})
            else:
                file.write(result[0])
                kept.append(i)
                facts.append(result[1])
    seconds = max(time.monotonic() - start, 1e-9)
    rate = f"{len(kept) / seconds:,.0f} images/s"
    show(f"prepared {counted(len(kept), 'image')} in {seconds:.1f} s ({rate})")
    return kept, facts, left_out


def _in_order(work: Callable[[int], object], count: int, screen: TextIO, at_once: int) -> Iterator:
    """work(0), work(1) ... from a thread a core, with few results waiting; shows progress on `screen`."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    progress = Progress("preparing", count, stream=screen)
    pool = Threads(threads)
    waiting: collections.deque[Future] = collections.deque()
    tasks = [range(i, min(i + at_once, count)) for i in range(0, count, at_once)]
    done = 0
    try:
        for task in [
            *tasks,
            *[range(0)] * 4 * threads,
        ]:  # the empty ones at the end push out what is still waiting
            waiting.append(pool.submit(lambda task: [work(i) for i in task], task))
            if len(waiting) > 4 * threads:
                results = waiting.popleft().result()
                yield from results
                done += len(results)
                progress.update(done)
    finally:  # also on Ctrl-C: what has not begun is dropped
        pool.shutdown(cancel_futures=True)
        progress.close()


def channels_of(wanted: str | int, facts: Sequence[Facts]) -> int:
    if isinstance(wanted, int):
        return wanted
    if sum(image.is_transparent for image in facts) >= TRANSPARENT_SHARE * len(facts):
        return 4
    return 1 if all(image.is_grey for image in facts) else 3


def write_images(path, rows, is_used: Sequence[bool], size, channels, background) -> list[bytes]:
    """Those of the RGBA images in `rows` that are used -> a .npy of so many channels. -> a digest of each."""
    digests, used = [], np.asarray(is_used, bool)
    at_once = max(1, CHUNK // (4 * size[0] * size[1]))
    with open(rows, "rb") as source, open(path, "wb") as target:
        shape = (int(used.sum()), *size, channels)
        np.lib.format.write_array_header_1_0(target, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for begin in range(0, len(used), at_once):
            shape = (len(used[begin : begin + at_once]), *size, 4)
            rgba = np.frombuffer(source.read(int(np.prod(shape))), np.uint8).reshape(shape)
            rgba = rgba[used[begin : begin + at_once]]
            images = np.ascontiguousarray(_with_channels(rgba, channels, background))
            digests += [_row_digest(image) for image in images]
            target.write(images.data)
    return digests


def _with_channels(rgba: np.ndarray, channels: int, background: tuple[int, int, int]) -> np.ndarray:
    if channels == 4:
        return rgba
    rgb, has_alpha = rgba[..., :3], (rgba[..., 3] < 255).any(axis=(1, 2))
    if has_alpha.any():
        rgb = rgb.copy()
        alpha = rgba[has_alpha][..., 3:].astype(np.uint16)
        rgb[has_alpha] = (
            rgb[has_alpha] * alpha + np.array(background, np.uint16) * (255 - alpha) + 127
        ) // 255
    if channels == 3:
        return rgb
    grey = rgb @ np.array([19595, 38470, 7471], np.uint32)  # BT.601 in 65,536ths, as Pillow has it
    return ((grey + 32768) >> 16).astype(np.uint8)[..., np.newaxis]


def _row_digest(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.data, digest_size=16).digest()


def labels_of(found: Source, kept: Sequence[int]) -> tuple[list[str], np.ndarray]:
    """The classes, and int32 the label of each name of `kept`; nothing where there are no classes."""
    names = found.classes
    if names is None:
        return [], np.empty(0, np.int32)
    counts = collections.Counter({name: 0 for name in names if name is not None})
    counts.update(names[i] for i in kept)
    classes = sorted(counts, key=lambda name: (int(name) if name.isdecimal() else -1, name))  # 2 before 10
    if few := [f"{printable(name)}: {counts[name]}" for name in classes if counts[name] < 2]:
        raise Refused("conditional", "two or more images in each class", _and_more(few[:5], few))
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[names[i]] for i in kept], np.int32)


def _usable(array: np.ndarray | None, settings: dict) -> np.ndarray | None:
    """A .npy that already is what would be written is used where it lies."""
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return None
    is_wanted = array.shape[1:3] == settings["size"] and settings["channels"] in ("auto", array.shape[-1])
    return array if is_wanted else None


# ------------------------------------------------------------------------
# small matters


def _check(name: str, value, allowed: tuple):
    if value not in allowed:
        raise Refused(name, f"{', '.join(map(str, allowed[:-1]))} or {allowed[-1]}", repr(value))


def _check_free_space(cache: pathlib.Path, needed: int):
    free = shutil.disk_usage(cache).free
    if needed > free:
        clear = "python -m keras_dcgan.data --clear empties it"
        expected = f"{needed / 1e9:.1f} GB free in {cache} while preparing ({clear})"
        raise Unavailable("cache", expected, f"{free / 1e9:.1f} GB")


def _colour(background: str | tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        colour = ImageColor.getrgb(background)[:3] if isinstance(background, str) else tuple(background)
    except ValueError:
        colour = ()
    if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
        raise Refused("background", "a colour such as white or #ff8800", repr(background))
    return colour


def _reasons_table(left_out: list[dict]) -> list[str]:
    """A line a reason: how many files, and which."""
    names = collections.defaultdict(list)
    for item in left_out:
        names[item["reason"]].append(printable(item["file"]))
    rows = sorted(names.items(), key=lambda row: (-len(row[1]), row[0]))
    table = [f"  {len(those):>7,}  {reason:<28} {_and_more(those[:2], those)}" for reason, those in rows]
    return [f"{len(left_out):,} left out:", *table] if left_out else []


def _and_more(shown: list[str], everything: list) -> str:
    return ", ".join(shown) + (
        f" and {len(everything) - len(shown):,} more" if len(everything) > len(shown) else ""
    )


def printable(name: str) -> str:
    return (
        name if name.isprintable() else ascii(name)
    )  # a file name may hold anything, also what no terminal can show
