"""Any source of images -> TFRecord shards and an index, for clusters and buckets: by this process, or by many
through Apache Beam.

    python -m keras_dcgan.pack --data ./imgs --out ./shards --size 64
    python -m keras_dcgan.fit --data './shards/*.tfrecord'       # or gs://bucket/shards/*.tfrecord, after copying the folder there
    python -m keras_dcgan.pack --data ./imgs --out ./shards --size 64 --engine beam -- --runner FlinkRunner ...

Images are prepared as `fit` prepares them, shuffled once, and written shard by shard; index.json, with what
was left out and why, comes last. Cut short, the same command resumes with the shards that are missing. For
several workers, choose --shards so that their number divides it: each worker then has as many images as the
others.
"""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from keras_dcgan import cli, files, process
from keras_dcgan.addresses import is_shards
from keras_dcgan.cli import number
from keras_dcgan.config import TrainConfig, default_text
from keras_dcgan.data.manifest import Manifest
from keras_dcgan.data.prepare import prepare, report, settings_of
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.data.shards import INDEX, SHARD_MB, in_shards, index_of, is_index, record, shard_names
from keras_dcgan.errors import Refused, Unavailable, argument

PREPARATION = (
    "size",
    "channels",
    "crop",
    "background",
    "max_pixels",
    "conditional",
    "cache",
)  # settings of fit
ABANDONED = 3600  # seconds since a killed packing wrote its last


def pack(images: ImageSet, out: Path, encoding: str = "raw", shards: int | None = None, show=print) -> dict:
    """Writes the shards and the index that it returns. encoding: "raw", or "png" (smaller, and slower to
    read)."""
    import tensorflow as tf

    gaps = images.manifest.gaps
    rows = np.full(len(images) + len(gaps), -1)  # the row of each listed name; -1: it was left out
    rows[np.delete(np.arange(len(rows)), gaps)] = np.arange(len(images))
    contents = [rows[part][rows[part] >= 0] for part in in_shards(len(rows), images.manifest.shape, shards)]
    names = shard_names(images.manifest, encoding, len(contents))
    out.mkdir(parents=True, exist_ok=True)
    if others := sorted({path.name for path in out.glob("*.tfrecord")} - set(names)):
        expected = "a folder without the shards of something else"
        raise Refused("out", expected, f"{out} with {others[0]}")
    if (out / INDEX).exists() and not is_index((out / INDEX).read_text(encoding="utf-8")):
        raise Refused("out", f"a folder without an {INDEX} of something else", out)
    files.sweep(out, ABANDONED)
    for done, (name, of_shard) in enumerate(zip(names, contents), 1):
        if not (out / name).exists():
            try:
                with files.replacing(out / name) as beside, tf.io.TFRecordWriter(str(beside)) as writer:
                    for row in of_shard:
                        label = images.labels[row] if images.classes else None
                        writer.write(record(images.images[row], label, encoding))
            except tf.errors.OpError as error:
                raise Unavailable("out", error.message) from error
            show(f"{done} of {len(names)}: {name}, {len(of_shard):,} images")
    index = index_of(images.manifest, encoding, names, list(map(len, contents)))
    files.write(out / INDEX, json.dumps(index))
    return index


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("keras_dcgan.pack", "Packs images into TFRecord shards.")
    parser.add_argument(
        "--data",
        type=_or_address(cli.source),
        required=True,
        help="a folder, a .zip, .tar, .npy, .npz, .parquet or .csv, or demo; of beam also a bucket",
    )
    parser.add_argument(
        "--out",
        type=_or_address(cli.path),
        required=True,
        help="folder for the shards; of beam also a bucket",
    )
    for name in PREPARATION:
        row = TrainConfig.__dataclass_fields__[name]
        cli.add_setting(parser, row, default_text(row))
    parser.add_argument("--encoding", choices=["raw", "png"], default="raw", help="[%(default)s]")
    parser.add_argument(
        "--shards", type=number(1, kind=int), metavar="N", help=f"how many [one for each {SHARD_MB} MB]"
    )
    parser.add_argument(
        "--engine",
        choices=["local", "beam"],
        default="local",
        help="this process, or Apache Beam: pip install 'keras_dcgan[beam]'; flags after -- are for Beam, such as "
        "-- --runner DataflowRunner [%(default)s]",
    )
    typed = list(sys.argv[1:] if arguments is None else arguments)
    end = typed.index("--") if "--" in typed else len(typed)
    args, of_beam = parser.parse_args(typed[:end]), typed[end + 1 :]
    with cli.user_errors(parser.verb):
        if is_shards(args.data):
            raise Refused("data", "images", f"shards: {args.data}")
        settings = {name: value for name, value in vars(args).items() if name in PREPARATION}
        index = (_with_beam if args.engine == "beam" else _in_this_process)(args, settings, of_beam)
    print(
        f"{index['images']:,} images in {len(index['shards'])} shards; --data {shlex.quote(f'{args.out}/*.tfrecord')}"
    )
    return 0


def _or_address(read: Callable[[str], str]) -> Callable[[str], str]:
    """A reader that takes addresses such as gs://bucket/imgs as they are."""
    return lambda text: text if re.match(r"\w+://\w", text) else read(text)


def _in_this_process(args, settings: dict, of_beam: list[str]) -> dict:
    if of_beam:
        raise Refused("engine", f"beam, for what follows --: {' '.join(of_beam)}", args.engine)
    for name in ("data", "out"):
        if "://" in vars(args)[name]:
            raise Refused(name, "a path of this machine", f"{vars(args)[name]!r}, which lies elsewhere")
    files.check_place(Path(args.out), "out")
    images = cast(ImageSet, prepare(args.data, **settings))  # of shards alone another
    print(report(images.manifest))
    return pack(images, Path(args.out), args.encoding, args.shards)


def _with_beam(args, settings: dict, of_beam: list[str]) -> dict:
    if "cache" in settings:
        raise Refused(
            "cache", f"{argument('engine')} local: beam prepares nothing on this machine", settings["cache"]
        )
    try:
        with process.importing():
            from keras_dcgan.data import beam
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise Refused("engine", "expected Apache Beam: pip install 'keras_dcgan[beam]'") from error
    if "://" not in args.out:
        files.check_place(Path(args.out), "out")
    index = beam.pack(args.data, args.out, settings_of(**settings), args.encoding, args.shards, of_beam)
    print(report(Manifest.from_json(index)))
    return index


if __name__ == "__main__":
    raise SystemExit(process.run(main))
