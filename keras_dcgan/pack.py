"""Any source of images -> TFRecord shards and an index, for clusters and buckets.

    python -m keras_dcgan.pack --data ./imgs --out ./shards --size 64
    python -m keras_dcgan.fit --data './shards/*.tfrecord'       # or gs://bucket/shards/*.tfrecord, after copying the folder there

Images are prepared as `fit` prepares them, shuffled once, and written shard by shard; index.json, with what
was left out and why, comes last. Cut short, the same command goes on with the shards that are missing. For
several workers, choose --shards so that their number divides it: each worker then has as many images as the
others.
"""

import hashlib
import json
from pathlib import Path
from typing import cast

import numpy as np

from keras_dcgan import cli, files, process
from keras_dcgan.addresses import is_shards
from keras_dcgan.cli import number
from keras_dcgan.config import TrainConfig, default_text
from keras_dcgan.data.prepare import prepare, report
from keras_dcgan.data.sets import ImageSet
from keras_dcgan.data.shards import INDEX
from keras_dcgan.errors import Refused, Unavailable

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
SHARD_MB = 32  # four shards are in memory together when they are read


def pack(images: ImageSet, out: Path, encoding: str = "raw", shards: int | None = None, show=print) -> dict:
    """Writes the shards and the index that it returns. encoding: "raw", or "png" (smaller, and slower to
    read)."""
    import tensorflow as tf

    total, megabytes = len(images), images.images.nbytes / 1e6
    shards = min(shards or max(1, round(megabytes / SHARD_MB)), total)
    order = np.random.RandomState(0).permutation(total)  # so that any few shards are a fair sample
    contents = np.array_split(order, shards)
    # The name of a shard says what is in it: one that is there needs not be written again.
    key = hashlib.sha256(json.dumps([images.manifest.fingerprint, encoding, shards]).encode()).hexdigest()[
        :12
    ]
    names = [f"{key}-{place:05d}-of-{shards:05d}.tfrecord" for place in range(shards)]
    out.mkdir(parents=True, exist_ok=True)
    if others := sorted({path.name for path in out.glob("*.tfrecord")} - set(names)):
        expected = "a folder without the shards of something else"
        raise Refused("out", expected, f"{out} with {others[0]}")
    if (out / INDEX).exists() and not _is_an_index(out / INDEX):
        raise Refused("out", f"a folder without an {INDEX} of something else", out)
    files.sweep(out, ABANDONED)
    for done, (name, rows) in enumerate(zip(names, contents), 1):
        if not (out / name).exists():
            try:
                with files.replacing(out / name) as beside, tf.io.TFRecordWriter(str(beside)) as writer:
                    for row in rows:
                        writer.write(_record(images, row, encoding))
            except tf.errors.OpError as error:
                raise Unavailable("out", error.message) from error
            show(f"{done} of {shards}: {name}, {len(rows):,} images")
    about = [{"file": name, "records": len(rows)} for name, rows in zip(names, contents)]
    index = images.manifest.to_json() | {"encoding": encoding, "shards": about}
    files.write(out / INDEX, json.dumps(index))
    return index


def _is_an_index(file: Path) -> bool:
    try:
        return "shards" in json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, TypeError):
        return False


def _record(images: ImageSet, row: int, encoding: str) -> bytes:
    import tensorflow as tf

    pixels = images.images[row]
    content = tf.io.encode_png(pixels).numpy() if encoding == "png" else pixels.tobytes()
    features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))}
    if images.classes:
        features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[images.labels[row]]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("keras_dcgan.pack", "Packs images into TFRecord shards.")
    parser.add_argument(
        "--data",
        type=cli.source,
        required=True,
        help="a folder, a .zip, .tar, .npy, .npz, .parquet or .csv, or demo",
    )
    parser.add_argument("--out", type=cli.path, required=True, help="folder for the shards")
    for name in PREPARATION:
        row = TrainConfig.__dataclass_fields__[name]
        cli.add_setting(parser, row, default_text(row))
    parser.add_argument("--encoding", choices=["raw", "png"], default="raw", help="[%(default)s]")
    parser.add_argument(
        "--shards", type=number(1, kind=int), metavar="N", help=f"how many [one for each {SHARD_MB} MB]"
    )
    args = parser.parse_args(arguments)
    with cli.user_errors(parser.verb):
        if is_shards(args.data):
            raise Refused("data", "images", f"shards: {args.data}")
        typed = {name: value for name, value in vars(args).items() if name in PREPARATION}
        images = cast(ImageSet, prepare(args.data, **typed))  # of shards alone another
        print(report(images.manifest))
        index = pack(images, Path(args.out), args.encoding, args.shards)
    print(f"{index['images']:,} images in {len(index['shards'])} shards; --data '{args.out}/*.tfrecord'")
    return 0


if __name__ == "__main__":
    raise SystemExit(process.run(main))
