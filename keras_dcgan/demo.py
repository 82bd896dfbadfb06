"""Draws the built-in portraits as files, to have something to train on: `python -m keras_dcgan.demo ./imgs`.

face-0000.png ... face-3999.png; then: python -m keras_dcgan.fit --data ./imgs
"""

import pathlib
import shlex

from keras_dcgan import cli, files, process
from keras_dcgan.cli import number
from keras_dcgan.data.portraits import COUNT as ALL
from keras_dcgan.data.portraits import faces, paint
from keras_dcgan.errors import counted
from keras_dcgan.progress import watched

COUNT = 4000


def main():
    parser = cli.Parser(
        "keras_dcgan.demo", "Draws cartoon portraits into a folder, to have something to train on."
    )
    parser.add_argument("folder", type=cli.path, help="where face-0000.png ... go; made if missing")
    parser.add_argument(
        "--count",
        type=number(1, 10**6, kind=int),
        default=COUNT,
        help=f"how many images; --data demo has {ALL} [%(default)s]",
    )
    parser.add_argument(
        "--size", type=number(16, 512, kind=int), default=64, help="width and height in pixels [%(default)s]"
    )
    parser.add_argument(
        "--seed",
        type=number(0, 2**32 - 1, kind=int),
        default=0,
        help="another seed, other faces [%(default)s]",
    )
    args = parser.parse_args()
    folder = pathlib.Path(args.folder)
    if folder.is_file():
        parser.error(f"folder: expected a folder to write into, received the file {args.folder}")
    with cli.user_errors(parser.verb, {"folder": "folder"}), cli.writing("folder", folder):
        for index, face in enumerate(watched(faces(args.count, args.seed), "drawing", args.count)):
            path = folder / f"face-{index:04d}.png"
            with files.replacing(path, is_synced=False) as beside:
                paint(face, args.size).save(beside, "PNG")
    wrote = counted(args.count, "image")
    print(
        f"wrote {wrote} into {args.folder}; next: python -m keras_dcgan.fit --data {shlex.quote(args.folder)}"
    )


if __name__ == "__main__":
    raise SystemExit(process.run(main))
