"""Any folder of files through `prepare_one`, and their pixels against another decoder: so a change of what is
read is judged.

    python -m tools.experiments.corpus ~/images --judge pyvips --json result.json

    23,021 files: 15,210 read, 7,804 left out, 7 ended by us
      truncated                     1,204  a.jpg, b.png and 1,202 more
      ...
    against pyvips: 14,800 the same, 12 differ, 390 that only we read, 21 that only pyvips reads

Each file is decoded in a process that is killed when it takes too long, and has no more memory than it is
given; so are those of the judge: `pyvips` or `tifffile` (pip install pyvips[binary], tifffile and
imagecodecs), or `magick` (ImageMagick, apt-get install imagemagick). Pixels are compared at the file's own
size. Exit status: 1 if any process was ended or died, or any pixels differ.
"""

import collections
import json
import queue
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from keras_dcgan import cli
from keras_dcgan.cli import number

SIZE = (64, 64)
COMPARED = 4_000_000  # pixels: larger images are decoded, but not compared
ALIKE = 2.0  # of 255, mean absolute difference: decoders round, and scale colours up, in different ways
JUDGES = ("pyvips", "tifffile", "magick")


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("tools.experiments.corpus", __doc__)
    parser.add_argument("folder", metavar="FOLDER", help="searched through all its subfolders")
    parser.add_argument("--judge", choices=JUDGES, help="the other decoder [none: nothing is compared]")
    parser.add_argument("--processes", type=number(1, 256, kind=int), default=2, metavar="N", help="[2]")
    parser.add_argument(
        "--seconds", type=number(0.1, 3600), default=20, metavar="S", help="that a file may take [20]"
    )
    parser.add_argument(
        "--gigabytes", type=number(0.5, 1024), default=4, metavar="GB", help="of memory for a process [4]"
    )
    parser.add_argument("--json", metavar="FILE", help="what came of each file")
    parser.add_argument("--worker", choices=("ours", *JUDGES), help="(what the processes are started with)")
    args = parser.parse_args(arguments)
    if args.worker:
        return work(args.worker, args.gigabytes)
    root = Path(args.folder)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    if not files:
        parser.error(f"FOLDER: expected a folder with files in it, received {args.folder}")
    results = examine(files, args)
    if args.json:
        table = {str(file.relative_to(root)): found for file, found in results.items()}
        Path(args.json).write_text(json.dumps(table, indent=1), encoding="utf-8")
    print(summary(results, root, args.judge))
    return (
        1
        if any(
            found["ours"]["ended"] is not None or found["verdict"] == "differs" for found in results.values()
        )
        else 0
    )


# ------------------------------------------------------------------------
# the processes, watched


class Watched:
    """A process that answers a line of JSON for each path; another takes its place when it dies or is
    late."""

    def __init__(self, kind: str, seconds: float, gigabytes: float):
        command = [
            sys.executable,
            "-m",
            "tools.experiments.corpus",
            ".",
            "--worker",
            kind,
            "--gigabytes",
            str(gigabytes),
        ]
        self.start = lambda: subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.seconds, self.process = seconds, None

    def ask(self, path: Path) -> dict:
        """-> {"ended": None or why, "reason": why the file was left out, "pixels": where they lie, ...}."""
        if self.process is None:
            self.process = self.start()
            self.process.stdout.readline()  # it is ready: its imports do not count
        began = time.monotonic()
        self.process.stdin.write(json.dumps(str(path)).encode() + b"\n")
        self.process.stdin.flush()
        answer = b""
        if select.select([self.process.stdout], [], [], self.seconds)[0]:
            answer = self.process.stdout.readline()
        if not answer:
            self.process.kill()
            status = self.process.wait()
            self.process = None
            late = time.monotonic() - began >= self.seconds
            return {"ended": f"after {self.seconds:g} s" if late else f"died of {-status}", "reason": None}
        return {"ended": None, "seconds": round(time.monotonic() - began, 3), **json.loads(answer)}

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def examine(files: list[Path], args) -> dict[Path, dict]:
    waiting, results = queue.SimpleQueue(), {}
    for file in files:
        waiting.put(file)

    def thread():
        ours = Watched("ours", args.seconds, args.gigabytes)
        judge = Watched(args.judge, args.seconds, args.gigabytes) if args.judge else None
        while True:
            try:
                file = waiting.get_nowait()
            except queue.Empty:
                break
            found = ours.ask(file)
            theirs = judge.ask(file) if judge else None
            results[file] = {"ours": found, "judge": theirs, **compared(found, theirs)}
        for process in filter(None, (ours, judge)):
            process.close()

    threads = [threading.Thread(target=thread) for _ in range(args.processes)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return {file: results[file] for file in files}


def compared(ours: dict, theirs: dict | None) -> dict:
    """-> {"verdict": ..., "difference": mean absolute, of 255}; takes the pixels out of both."""
    mine, other = (
        Path(each.pop("pixels")) if each and each.get("pixels") else None for each in (ours, theirs)
    )
    try:
        if theirs is None or ours["ended"] or (mine is None and not ours["reason"]):
            return {"verdict": None}
        if mine is None or other is None:
            return {
                "verdict": "neither"
                if not (mine or other)
                else "only we read it"
                if mine
                else "only the judge reads it"
            }
        pixels, others = np.load(mine), np.load(other)
        if pixels.shape != others.shape:
            return {"verdict": "differs", "difference": f"{pixels.shape[:2]} and {others.shape[:2]}"}
        difference = mean_difference(pixels, others)
        return {"verdict": "same" if difference <= ALIKE else "differs", "difference": round(difference, 2)}
    finally:
        for path in filter(None, (mine, other)):
            path.unlink()


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Of RGBA, over grey: what colour an invisible pixel has is no difference."""
    alpha = [pixels[..., 3:] / 255.0 for pixels in (one, other)]
    shown = [pixels[..., :3] * part + 128 * (1 - part) for pixels, part in zip((one, other), alpha)]
    return float(max(np.abs(shown[0] - shown[1]).mean(), 255 * np.abs(alpha[0] - alpha[1]).mean()))


def summary(results: dict[Path, dict], root: Path, judge: str | None) -> str:
    groups, verdicts = collections.defaultdict(list), collections.defaultdict(list)
    for file, found in results.items():
        ended, reason = found["ours"]["ended"], found["ours"]["reason"]
        groups[("ended", ended) if ended else ("left out", reason) if reason else ("read", "")].append(
            str(file.relative_to(root))
        )
        verdicts[found["verdict"]].append(f"{file.relative_to(root)} {found.get('difference', '')}".rstrip())
    counts = collections.Counter()
    for (group, _), those in groups.items():
        counts[group] += len(those)
    lines = [
        f"{len(results):,} files: {counts['read']:,} read, {counts['left out']:,} left out, {counts['ended']:,} ended by us"
    ]
    for (group, why), those in sorted(groups.items(), key=lambda row: -len(row[1])):
        if group != "read":
            lines.append(f"  {len(those):>7,}  {why:<40} {', '.join(map(repr, those[:3]))}")
    slowest = sorted(results, key=lambda file: -results[file]["ours"].get("seconds", 0))[:3]
    lines += [
        f"  slow: {results[file]['ours'].get('seconds', 0):.1f} s  {file.relative_to(root)}"
        for file in slowest
    ]
    if judge:
        parts = ", ".join(f"{len(those):,} {verdict}" for verdict, those in verdicts.items() if verdict)
        lines.append(f"against {judge}: {parts}")
        lines += [f"  differs: {line}" for line in verdicts["differs"]]
    return "\n".join(lines)


# ------------------------------------------------------------------------
# inside a process


def work(kind: str, gigabytes: float) -> int:
    import resource
    import tempfile

    decode = {"ours": ours, "pyvips": with_pyvips, "tifffile": with_tifffile, "magick": with_magick}[kind]
    resource.setrlimit(resource.RLIMIT_AS, (int(gigabytes * 1e9),) * 2)
    answers, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        answer = {"reason": None}
        try:
            pixels = decode(json.loads(line))
            if pixels is not None:
                with tempfile.NamedTemporaryFile(suffix=".npy", delete=False) as file:
                    np.save(file, pixels)
                answer["pixels"] = file.name
        except Exception as error:  # of any decoder, for the report
            answer["reason"] = str(error)
            if kind == "ours":  # of which ValueError is the one that is meant, "... (the reason)"
                is_meant = isinstance(error, ValueError)
                answer["reason"] = (
                    str(error).rpartition(" (")[2][:-1]
                    if is_meant
                    else f"TRACEBACK {type(error).__name__}: {error}"
                )
        answer["megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps(answer), file=answers, flush=True)
    return 0


def ours(path: str) -> np.ndarray | None:
    """RGBA at the size of the file, None where that is not compared."""
    from keras_dcgan.data.prepare import prepare_one

    _, (height, width) = prepare_one(path, SIZE, 4)
    return prepare_one(path, (height, width), 4)[0] if height * width <= COMPARED else None


def with_pyvips(path: str) -> np.ndarray:
    import pyvips

    image = pyvips.Image.new_from_file(path, fail_on="error", access="sequential").copy_memory().autorot()
    if (
        image.interpretation in ("b-w", "grey16", "multiband", "matrix")
        and image.bands <= 2
        and image.format != "uchar"
    ):
        grey = stretched(image[0].numpy())
        return rgba(
            grey,
            image[1].numpy() / (65535 if image.format == "ushort" else 255) * 255
            if image.bands == 2
            else None,
        )
    if image.get_typeof("icc-profile-data"):
        image = image.icc_transform("srgb", embedded=True, intent="relative", black_point_compensation=True)
    image = image.colourspace("srgb").cast("uchar")
    pixels = image.numpy().reshape(image.height, image.width, image.bands)
    return rgba(
        pixels[..., : 3 if image.bands > 2 else 1], pixels[..., -1] if image.bands in (2, 4) else None
    )


def with_tifffile(path: str) -> np.ndarray:
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        pixels = page.asarray()
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            pixels = np.moveaxis(pixels, 0, -1)
        pixels = pixels.reshape(page.imagelength, page.imagewidth, -1)
        photometric, extra = int(page.photometric), tuple(map(int, page.extrasamples))
        if photometric not in (0, 1, 2, 3) or page.tags.get(274, None) and page.tags[274].value != 1:
            raise ValueError("colours, or an orientation, that tifffile leaves to its caller")
        alpha = pixels[..., 3 if photometric == 2 else 1] if extra and extra[0] in (1, 2) else None
        if photometric == 3:
            return rgba((np.moveaxis(page.colormap, 0, -1) >> 8).astype(np.uint8)[pixels[..., 0]], alpha)
        if photometric == 2:
            colours = pixels[..., :3] >> (8 * (pixels.itemsize - 1))
            return rgba(
                colours,
                None if alpha is None else alpha >> (8 * (pixels.itemsize - 1)),
                is_weighed=extra[:1] == (1,),
            )
        grey = pixels[..., 0].astype(np.float64)
        if page.bitspersample <= 8 and pixels.dtype.kind == "u":
            grey = grey * 255 / ((1 << page.bitspersample) - 1)
        if photometric == 0:
            grey = 255 - grey if page.bitspersample <= 8 else -grey
        if page.bitspersample > 8 or pixels.dtype.kind != "u":
            grey = stretched(grey)
        return rgba(grey, alpha, is_weighed=extra[:1] == (1,))


def with_magick(path: str) -> np.ndarray:
    """ImageMagick's first frame, upright, in sRGB."""
    options = ["-auto-orient", "-colorspace", "sRGB", "-depth", "8", "PAM:-"]
    for program in ("magick", "convert"):
        try:
            done = subprocess.run([program, f"{path}[0]", *options], capture_output=True, check=True)
        except FileNotFoundError:
            continue
        head, _, body = done.stdout.partition(b"ENDHDR\n")
        fields = dict(line.split(maxsplit=1) for line in head.splitlines()[1:] if b" " in line)
        pixels = np.frombuffer(body, np.uint8).reshape(
            int(fields[b"HEIGHT"]), int(fields[b"WIDTH"]), int(fields[b"DEPTH"])
        )
        depth = pixels.shape[-1]
        return rgba(pixels[..., : 3 if depth > 2 else 1], pixels[..., -1] if depth in (2, 4) else None)
    raise FileNotFoundError("ImageMagick is not installed")


def stretched(values: np.ndarray) -> np.ndarray:
    """As decode.py has it: the range that the image holds becomes 0 to 255."""
    values = values.astype(np.float64).reshape(values.shape[:2])
    is_finite = np.isfinite(values)
    low, high = values[is_finite].min(), values[is_finite].max()
    return (np.where(is_finite, values, low) - low) * (255 / (high - low) if high > low else 0)


def rgba(colours: np.ndarray, alpha: np.ndarray | None = None, is_weighed: bool = False) -> np.ndarray:
    """0 to 255, grey (H, W) or (H, W, 1) or RGB, weighed with alpha or not -> uint8 (H, W, 4)."""
    height, width = colours.shape[:2]
    result = np.full((height, width, 4), 255.0)
    result[..., :3] = colours.reshape(height, width, -1)
    if alpha is not None:
        result[..., 3] = alpha.reshape(height, width)
        if is_weighed:
            result[..., :3] *= 255 / np.maximum(result[..., 3:], 1)
    return np.rint(result.clip(0, 255)).astype(np.uint8)


if __name__ == "__main__":
    raise SystemExit(main())
