"""Any source of images -> one uint8 array, prepared once and kept in a cache, and a manifest of what was left
out and why.

    images = prepare("./imgs", (64, 64))       # a folder, a .zip, .npy/.npz, "shards/*.tfrecord" or "demo" -> ImageSet
    print(report(images.manifest))             # 3,994 images of 64x64x3 from ./imgs, 6 files left out: 4 truncated ...
    batches(images, 64, seed=0)                # feed.py: an endless tf.data.Dataset of (64, 64, 64, 3) uint8

    python -m keras_dcgan.data                 # what is in the cache; --clear empties it

Every image is decoded once, by a pool of threads (decode.py). Rows are appended to one file in the order of
the names and only when whole, so there is never a row without its picture; a cache entry is written beside
its place and renamed into it.
"""

import collections
import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

import numpy as np
from PIL import Image, ImageColor

from keras_dcgan import cli, files
from keras_dcgan.decode import EXTENSIONS, MAX_PIXELS, PASSING, Rejected, decode, pillow_for_threads, resized
from keras_dcgan.feed import ImageSet, batches, open_shards, preview  # noqa: F401 (batches and preview: for our callers)
from keras_dcgan.progress import Progress
from keras_dcgan.sources import CACHE_ENTRY, UNREADABLE, VANISHED, Source, digest, look, with_classes
from keras_dcgan.threads import Threads

VERSION = 2  # part of every cache key; raise it when the same files would now give other pixels
TRANSPARENT_SHARE = 0.2  # of the images: from here on, --channels auto keeps the alpha channel
CHUNK = 16 << 20  # bytes of rows handled at once
ABANDONED = 3600  # seconds
AT_ONCE = 8  # images a task: threads that hand over every single one wait for each other


def prepare(
    source: str,
    size: tuple[int, int] = (64, 64),
    channels: str | int = "auto",
    *,
    crop: str = "center",
    background: str | tuple[int, int, int] = "white",
    max_pixels: int = MAX_PIXELS,
    conditional: bool = False,
    cache: str | None = None,
    show: Callable[[str], None] = print,
) -> ImageSet:
    """-> the images of `source`, uint8 (N, height, width, channels) in the order of their names, from the
    cache if they are there.

    size: (height, width). channels: 1, 3, 4 or "auto": 4 if a fifth of the images is transparent somewhere,
    else 1 if all are grey, else 3. crop: "center", or "none" to squash. background: shows through where an
    image is transparent and the result may not be. max_pixels: larger images are left out. conditional: the
    first level of folders is the class. cache: where prepared images are kept [$KERAS_DCGAN_CACHE, else the
    user's cache folder]. show: takes the lines to tell the user.

    Raises ValueError or OSError for what the user can put right, its message starting with the flag of `fit`;
    never for a bad file.
    """
    _check("--channels", channels, ("auto", 1, 3, 4))
    _check("--crop", crop, ("center", "none"))
    if min(size) < 1:
        raise ValueError(f"--size: expected a height and a width of at least 1, received {size}")
    if source.endswith(".tfrecord"):
        shards = open_shards(source, size, channels, conditional)
        wanted, there = (
            (crop, _colour(background)),
            (shards.manifest["crop"], tuple(shards.manifest["background"])),
        )
        if wanted != there:
            raise ValueError(
                f"--crop, --background: expected {there}, as the shards have it, received {wanted}"
            )
        return shards
    settings = {
        "size": tuple(size),
        "channels": channels,
        "crop": crop,
        "background": _colour(background),
        "max_pixels": max_pixels,
        "conditional": conditional,
    }
    found = look(source, size)
    if not found.names and not found.left_out:
        raise ValueError(f"--data: no images in {source} (looked for {' '.join(EXTENSIONS)})")
    if conditional:
        found = with_classes(source, found)
    key = hashlib.sha256(json.dumps([VERSION, found.kind, found.state, settings]).encode()).hexdigest()[:32]
    entry = cache_folder(cache) / key
    if (entry / "manifest.json").exists():
        with contextlib.suppress(
            ValueError, KeyError, EOFError, FileNotFoundError
        ):  # spoilt by a power cut: made once more
            prepared = _read(entry, source, found)
            if not _are_back(prepared.manifest, found):
                return prepared
        _remove(entry)
    _fill(entry, source, found, settings, show)
    return _read(entry, source, found)


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
    the original.

    Raises OSError where it cannot be read, ValueError where it is no image."""
    with open(file, "rb") as stream, pillow_for_threads(max_pixels):
        try:
            rgba, original_size = decode(stream, size, crop, max_pixels, file)
        except Rejected as error:
            raise ValueError(f"expected an image that can be read, received {file} ({error})") from error
    return _with_channels(rgba[np.newaxis], channels, _colour(background))[0], original_size


def report(manifest: dict) -> str:
    """What a user should know about the data, in a few lines."""
    height, width = manifest["size"]
    lines = [
        f"{cli.counted(manifest['images'], 'image')} of {height}x{width}x{manifest['channels']} from {manifest['source']}"
    ]
    if manifest["classes"]:
        lines[0] += f" in {len(manifest['classes'])} classes"
    lines += _reasons_table(manifest["left_out"])
    if duplicates := manifest["duplicates"]:
        shown = [f"{_printable(pair['file'])} = {_printable(pair['same_as'])}" for pair in duplicates[:3]]
        lines.append(
            f"{cli.counted(len(duplicates), 'exact duplicate')}, kept: {_and_more(shown, duplicates)}"
        )
    if small := manifest["small"]:
        shown = [
            f"{_printable(image['file'])} ({image['size'][0]}x{image['size'][1]})" for image in small[:3]
        ]
        lines.append(f"{len(small):,} smaller than half of {height}x{width}, kept: {_and_more(shown, small)}")
    return "\n".join(lines + [f"note: {note}" for note in manifest["notes"]])


def cache_folder(cache: str | None = None) -> pathlib.Path:
    """`cache`, else $KERAS_DCGAN_CACHE, else keras_dcgan in the place where this system keeps a user's
    caches."""
    place = {"darwin": "~/Library/Caches", "win32": "~/AppData/Local"}.get(sys.platform, "~/.cache")
    usual = os.path.join(os.environ.get("XDG_CACHE_HOME") or place, "keras_dcgan")
    try:
        return pathlib.Path(cli.path(cache or os.environ.get("KERAS_DCGAN_CACHE") or usual))
    except ValueError as error:
        raise ValueError(f"--cache: {error}; $KERAS_DCGAN_CACHE can name one as well") from error


# -------------------------------------------------------------------------------------------------- from
# files to an array


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is seen of an image while decoding it."""

    size: tuple[int, int]  # height, width of the original
    is_grey: bool
    is_transparent: bool


def _read(entry: pathlib.Path, source: str, found: Source) -> ImageSet:
    manifest = json.loads((entry / "manifest.json").read_text(encoding="utf-8")) | {"source": source}
    # In place too a map of its own: of the other, which has been read through, every page counts as this
    # process's memory.
    images = np.load(found.array.filename if manifest["in_place"] else entry / "images.npy", mmap_mode="r")
    images = images[..., np.newaxis] if images.ndim == 3 else images
    return ImageSet(images, np.load(entry / "labels.npy") if manifest["classes"] else None, manifest)


def _are_back(manifest: dict, found: Source) -> bool:
    """Whether a file that could not be read when the others were prepared can be now: its disk may have been
    away."""
    missing = {item["file"] for item in manifest["left_out"] if item["reason"] in (VANISHED, UNREADABLE)}
    for number in (number for number, name in enumerate(found.names) if name in missing):
        with contextlib.suppress(OSError, Rejected), found.read(number) as file:
            file.read()
            return True
    return False


def _remove(entry: pathlib.Path):
    """A kill in the middle of it leaves no entry, and what the next preparation sweeps up."""
    doomed = _beside(entry)
    os.rename(entry, doomed)
    shutil.rmtree(doomed, ignore_errors=True)  # others sweep as well


def _beside(entry: pathlib.Path) -> pathlib.Path:
    # Not named after the process: in containers all have the same number, and a cache may be shared.
    return entry.with_name(f"{entry.name}.unfinished-{secrets.token_hex(8)}")


def _fill(entry: pathlib.Path, source: str, found: Source, settings: dict, show: Callable[[str], None]):
    """Makes the cache entry, or leaves nothing behind."""
    unfinished = _beside(entry)
    try:
        unfinished.mkdir(parents=True)
        _sweep(entry.parent)
    except OSError as error:
        raise OSError(
            f"--cache: expected a folder that can be written, received {entry.parent}: {error.strerror}"
        ) from error
    try:
        manifest = _prepare(unfinished, source, found, settings, show)
        (unfinished / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        if (
            entry.exists() and not (entry / "manifest.json").exists()
        ):  # half removed, by hand or by an older version
            _remove(entry)
        files.replace(unfinished, entry)
    except OSError as error:
        if not (entry / "manifest.json").exists():  # else another process was first, and its entry is as good
            if str(error).startswith("--"):
                raise
            raise OSError(
                f"--cache: expected to write into {entry.parent}, received: {error.strerror}"
            ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _sweep(cache: pathlib.Path):
    """Removes what killed preparations have left, in which nothing has been written for an hour."""
    for folder in cache.glob("*.unfinished-*"):
        with contextlib.suppress(OSError):  # another process sweeps as well
            if max(path.stat().st_mtime for path in [folder, *folder.iterdir()]) < time.time() - ABANDONED:
                shutil.rmtree(folder)


def _prepare(
    folder: pathlib.Path, source: str, found: Source, settings: dict, show: Callable[[str], None]
) -> dict:
    height, width = settings["size"]
    kept, facts, left_out = range(len(found.names)), [], found.left_out
    is_usable = _is_usable(found.array, settings)
    if is_usable:
        channels = found.array.shape[-1]
        digests = [_row_digest(row) for row in found.array]
    else:
        _check_free_space(folder, 2 * len(found.names) * 4 * height * width)
        rows = folder / "rgba"
        kept, facts, left_out = _decode_all(rows, found, settings, show)
        if not kept:
            show("\n".join(_reasons_table(left_out)))
            reasons = collections.Counter(item["reason"] for item in left_out).most_common()
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in reasons)
            raise ValueError(
                f"--data: none of the {cli.counted(len(left_out), 'file')} in {source} can be used: {reasons}"
            )
        channels = _channels(settings["channels"], facts)
        digests = _write_images(
            folder / "images.npy", rows, len(kept), settings["size"], channels, settings["background"]
        )
        rows.unlink()
    classes, labels = _labels(found, kept) if settings["conditional"] else ([], np.empty(0, np.int32))
    if classes:
        np.save(folder / "labels.npy", labels)
    first = {}
    same = [(i, first.setdefault(row, i)) for i, row in zip(kept, digests)]
    small = [
        (i, image.size)
        for i, image in zip(kept, facts)
        if 2 * image.size[0] < height or 2 * image.size[1] < width
    ]
    smaller = sum(image.size[0] < height or image.size[1] < width for image in facts)
    note = f"{smaller:,} of {len(kept):,} images are smaller than --size and were enlarged"
    note = note if len(kept) > 1 else "the image is smaller than --size and was enlarged"
    return {
        "source": source,
        "kind": found.kind,
        **settings,
        "channels": channels,
        "images": len(kept),
        "classes": classes,
        # Of what the network will see, not of names and dates: the same on another machine, and after a
        # `touch`.
        "fingerprint": digest([channels, classes, labels.tobytes(), *digests]),
        "in_place": is_usable,
        "left_out": sorted(left_out, key=lambda item: item["file"]),
        "duplicates": [{"file": found.names[i], "same_as": found.names[j]} for i, j in same if i != j],
        "small": [{"file": found.names[i], "size": size} for i, size in small],
        "notes": [note] if 2 * smaller > len(kept) else [],
    }


def _decode_all(rows: pathlib.Path, found: Source, settings: dict, show: Callable[[str], None]):
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
                raise OSError(
                    f"--data: {_printable(found.names[i])} cannot be read at the moment: {error.strerror}"
                ) from error
            return UNREADABLE
        red, green, blue, alpha = np.moveaxis(pixels, -1, 0)
        is_grey = np.array_equal(red, green) and np.array_equal(green, blue)
        return pixels.tobytes(), Facts(original_size, is_grey, float(np.mean(alpha < 255)) > 0.01)

    kept, facts, left_out = [], [], list(found.left_out)
    start = time.monotonic()
    with open(rows, "wb") as file, pillow_for_threads(settings["max_pixels"]) as screen:
        for i, result in enumerate(_in_order(work, len(found.names), screen)):
            if isinstance(result, str):
                left_out.append({"file": found.names[i], "reason": result})
            else:
                file.write(result[0])
                kept.append(i)
                facts.append(result[1])
    seconds = max(time.monotonic() - start, 1e-9)
    show(
        f"prepared {cli.counted(len(kept), 'image')} in {seconds:.1f} s ({len(kept) / seconds:,.0f} images/s)"
    )
    return kept, facts, left_out


def _in_order(work: Callable[[int], object], count: int, screen: TextIO) -> Iterator:
    """work(0), work(1) ... from a thread a core, with few results waiting; shows progress on `screen`."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    progress = Progress("preparing", count, stream=screen)
    pool, waiting = Threads(threads), collections.deque()
    tasks = [range(i, min(i + AT_ONCE, count)) for i in range(0, count, AT_ONCE)]
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


def _channels(wanted: str | int, facts: list[Facts]) -> int:
    if wanted != "auto":
        return wanted
    if sum(image.is_transparent for image in facts) >= TRANSPARENT_SHARE * len(facts):
        return 4
    return 1 if all(image.is_grey for image in facts) else 3


def _write_images(path, rows, count, size, channels, background) -> list[bytes]:
    """The RGBA in `rows` -> a .npy of so many channels. -> a digest of each image."""
    digests = []
    at_once = max(1, CHUNK // (4 * size[0] * size[1]))
    with open(rows, "rb") as source, open(path, "wb") as target:
        shape = (count, *size, channels)
        np.lib.format.write_array_header_1_0(target, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for begin in range(0, count, at_once):
            shape = (min(at_once, count - begin), *size, 4)
            rgba = np.frombuffer(source.read(int(np.prod(shape))), np.uint8).reshape(shape)
            images = np.ascontiguousarray(_with_channels(rgba, channels, background))
            digests += [_row_digest(image) for image in images]
            target.write(images)
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
    return hashlib.blake2b(row, digest_size=16).digest()


def _labels(found: Source, kept: list[int]) -> tuple[list[str], np.ndarray]:
    counts = collections.Counter({name: 0 for name in found.classes})
    counts.update(found.classes[i] for i in kept)
    classes = sorted(counts, key=lambda name: (int(name) if name.isdecimal() else -1, name))  # 2 before 10
    if few := [f"{_printable(name)}: {counts[name]}" for name in classes if counts[name] < 2]:
        raise ValueError(
            f"--conditional: expected two or more images in each class, received {', '.join(few)}"
        )
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[found.classes[i]] for i in kept], np.int32)


def _is_usable(array: np.ndarray | None, settings: dict) -> bool:
    """A .npy that already is what would be written is used where it lies."""
    if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
        return False
    return array.shape[1:3] == settings["size"] and settings["channels"] in ("auto", array.shape[-1])


# ------------------------------------------------------------------------
# small matters


def _check(flag: str, value, allowed: tuple):
    if value not in allowed:
        raise ValueError(
            f"{flag}: expected {', '.join(map(str, allowed[:-1]))} or {allowed[-1]}, received {value!r}"
        )


def _check_free_space(folder: pathlib.Path, needed: int):
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"--cache: expected {needed / 1e9:.1f} GB free in {folder.parent} while preparing, "
            f"received {free / 1e9:.1f} GB"
        )


def _colour(background: str | tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        colour = ImageColor.getrgb(background)[:3] if isinstance(background, str) else tuple(background)
    except ValueError:
        colour = ()
    if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
        raise ValueError(f"--background: expected a colour such as white or #ff8800, received {background!r}")
    return colour


def _reasons_table(left_out: list[dict]) -> list[str]:
    """A line a reason: how many files, and which."""
    names = collections.defaultdict(list)
    for item in left_out:
        names[item["reason"]].append(_printable(item["file"]))
    rows = sorted(names.items(), key=lambda row: (-len(row[1]), row[0]))
    table = [f"  {len(those):>7,}  {reason:<28} {_and_more(those[:2], those)}" for reason, those in rows]
    return [f"{len(left_out):,} left out:", *table] if left_out else []


def _and_more(shown: list[str], everything: list) -> str:
    return ", ".join(shown) + (
        f" and {len(everything) - len(shown):,} more" if len(everything) > len(shown) else ""
    )


def _printable(name: str) -> str:
    return (
        name if name.isprintable() else ascii(name)
    )  # a file name may hold anything, also what no terminal can show


def main():
    parser = cli.Parser("keras_dcgan.data", "Lists the prepared images in the cache.")
    parser.add_argument(
        "--cache", type=cli.path, metavar="DIR", help="[$KERAS_DCGAN_CACHE, else the user's cache folder]"
    )
    parser.add_argument("--clear", action="store_true", help="remove them all")
    args = parser.parse_args()
    with cli.user_errors(parser.verb):
        folder = cache_folder(args.cache)
        entries = [path for path in sorted(folder.glob("*")) if CACHE_ENTRY.fullmatch(path.name)]
        total = 0
        for entry in entries:
            length = sum(file.stat().st_size for file in entry.iterdir())
            total += length
            date = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.stat().st_mtime))
            print(f"{date} {length / 1e6:>9,.1f} MB  {_contents(entry)}")
            if args.clear:
                _remove(entry)
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    print(f"{folder}: {count}, {total / 1e6:,.1f} MB{', removed' if args.clear and entries else ''}")


def _contents(entry: pathlib.Path) -> str:
    try:
        manifest = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "unfinished: being prepared now, or cut short"
    except ValueError:
        return "spoilt"
    height, width = manifest["size"]
    return f"{manifest['images']:,} of {height}x{width}x{manifest['channels']} from {_printable(manifest['source'])}"


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
