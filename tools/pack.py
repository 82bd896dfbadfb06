"""Any source of images -> TFRecord shards and an index, for clusters and buckets.

    python -m tools.pack --data ./imgs --out ./shards --size 64
    python -m keras_dcgan.fit --data './shards/*.tfrecord'       # or gs://bucket/shards/*.tfrecord, after copying the folder there

Images are prepared as `fit` prepares them, shuffled once, and written shard by shard; index.json, with what
was left out and why, comes last. Cut short, the same command goes on with the shards that are missing. For
several workers, choose --shards so that their number divides it: each worker then has as many images as the
others.
"""

import hashlib
import json
import pathlib

import numpy as np

from keras_dcgan import cli, data, files
from keras_dcgan.config import add_flag, number
from keras_dcgan.feed import INDEX

PREPARATION = (
    "size",
    "channels",
    "crop",
    "background",
    "max_pixels",
    "conditional",
    "cache",
)  # settings of fit
SHARD_MB = 32  # four shards are in memory together when they are read


def pack(
    images: data.ImageSet, out: pathlib.Path, encoding: str = "raw", shards: int | None = None, show=print
) -> dict:
    """Writes the shards and the index that it returns. encoding: "raw", or "png" (smaller, and slower to
    read)."""
    import tensorflow as tf

    total, megabytes = len(images.images), images.images.nbytes / 1e6
    shards = min(shards or max(1, round(megabytes / SHARD_MB)), total)
    order = np.random.RandomState(0).permutation(total)  # so that any few shards are a fair sample
    contents = np.array_split(order, shards)
    # The name of a shard says what is in it: one that is there needs not be written again.
    key = hashlib.sha256(json.dumps([images.manifest["fingerprint"], encoding, shards]).encode()).hexdigest()[
        :12
    ]
    names = [f"{key}-{number:05d}-of-{shards:05d}.tfrecord" for number in range(shards)]
    out.mkdir(parents=True, exist_ok=True)
    if others := sorted({path.name for path in out.glob("*.tfrecord")} - set(names)):
        raise ValueError(
            f"--out: expected a folder without the shards of something else, received {out} with {others[0]}"
        )
    if (out / INDEX).exists() and not _is_an_index(out / INDEX):
        raise ValueError(f"--out: expected a folder without an {INDEX} of something else, received {out}")
    for done, (name, rows) in enumerate(zip(names, contents), 1):
        if not (out / name).exists():
            unfinished = out / f"{name}.unfinished"
            try:
                with tf.io.TFRecordWriter(str(unfinished)) as writer:
                    for row in rows:
                        writer.write(_record(images, row, encoding))
            except tf.errors.OpError as error:
                raise OSError(f"--out: {error.message}") from error
            files.replace(unfinished, out / name)
            show(f"{done} of {shards}: {name}, {len(rows):,} images")
    about = [{"file": name, "records": len(rows)} for name, rows in zip(names, contents)]
    index = images.manifest | {"encoding": encoding, "shards": about}
    files.write(out / INDEX, json.dumps(index))
    return index


def _is_an_index(file: pathlib.Path) -> bool:
    try:
        return "shards" in json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, TypeError):
        return False


def _record(images: data.ImageSet, row: int, encoding: str) -> bytes:
    import tensorflow as tf

    pixels = images.images[row]
    content = tf.io.encode_png(pixels).numpy() if encoding == "png" else pixels.tobytes()
    features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))}
    if images.labels is not None:
        features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[images.labels[row]]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("tools.pack", "Packs images into TFRecord shards.")
    parser.add_argument(
        "--data", type=cli.source, required=True, help="a folder, a .zip, .npy or .npz, or demo"
    )
    parser.add_argument("--out", type=cli.path, required=True, help="folder for the shards")
    for name in PREPARATION:
        add_flag(parser, name)
    parser.add_argument("--encoding", choices=["raw", "png"], default="raw", help="[%(default)s]")
    parser.add_argument(
        "--shards", type=number(1, kind=int), metavar="N", help=f"how many [one for each {SHARD_MB} MB]"
    )
    args = parser.parse_args(arguments)
    with cli.user_errors(parser.verb):
        if args.data.endswith(".tfrecord"):
            raise ValueError(f"--data: expected images, received shards: {args.data}")
        images = data.prepare(
            args.data, **{name: value for name, value in vars(args).items() if name in PREPARATION}
        )
        print(data.report(images.manifest))
        index = pack(images, pathlib.Path(args.out), args.encoding, args.shards)
    print(f"{index['images']:,} images in {len(index['shards'])} shards; --data '{args.out}/*.tfrecord'")
    return 0


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
