"""`python -m tools.bench edit --run runs/demo`: how well `keras_dcgan.edit` restores demo faces that were not
trained on.

Each face is degraded in every way of DEGRADED and restored by the verb. The figures are mean PSNR against the
face as it was, of a hole its pixels alone, beside what does without a generator: the smoothest filling of the
hole, bicubic enlargement, and for noise that of four Gaussian blurs which comes nearest to the answer.
"""

import contextlib
import os
import statistics
import tempfile

import numpy as np
from PIL import Image, ImageFilter

from keras_dcgan import cli, edit
from keras_dcgan.cli import number
from keras_dcgan.data import portraits
from keras_dcgan.pictures import blend, images
from tools.bench import timing

HOLE = np.zeros((64, 64, 1), bool)
HOLE[16:48, 16:48] = True
SIGMA = 25
DEGRADED = {
    "hole": ["--task", "inpaint", "--mask", "mask.png"],
    "half": ["--task", "superres", "--factor", "2"],
    "quarter": ["--task", "superres", "--factor", "4"],
    "eighth": ["--task", "superres", "--factor", "8"],
    "noise": ["--task", "denoise", "--sigma", str(SIGMA)],
}
SHOWN = ("hole", "quarter", "noise")


def arguments(parser):
    count = number(1, 10**4, kind=int)
    parser.add_argument(
        "--run", type=cli.path, required=True, metavar="DIR", help="a run of the demo images, 64x64"
    )
    parser.add_argument("--count", type=count, default=8, metavar="N", help="faces [8]")
    parser.add_argument(
        "--seed", type=count, default=1, metavar="N", help="of the faces; those of 0 were trained on [1]"
    )
    parser.add_argument("--flags", default="--tune", metavar="'FLAGS'", help="more of edit's own ['--tune']")
    parser.add_argument(
        "--picture", type=cli.path, metavar="F.png", help="two faces: degraded, G(z), restored, as they were"
    )


def measure(args) -> dict:
    faces, random, run = (
        portraits.pictures(args.count, args.seed),
        np.random.default_rng(0),
        os.path.abspath(args.run),
    )
    figures, seconds, sheet = {}, [], []
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        images.save(np.uint8(255) * HOLE, "mask.png")
        for name, flags in DEGRADED.items():
            where = HOLE if name == "hole" else np.ones_like(HOLE)
            scores = []
            for face in faces:
                degraded, without = degrade(name, face, random)
                images.save(degraded, "degraded.png")
                command = [
                    "--run",
                    run,
                    "--image",
                    "degraded.png",
                    "--out",
                    "out.png",
                    *flags,
                    *args.flags.split(),
                ]
                seconds.append(timing.seconds(lambda command=command: edit.main(command)))
                restored = np.asarray(Image.open("out.png"))
                scores.append(
                    [psnr(restored, face, where), max(psnr(picture, face, where) for picture in without)]
                )
                if name in SHOWN and len(scores) <= 2:
                    sheet += [*np.split(np.asarray(Image.open("out-compared.png")), 3, axis=1), face]
            figures |= zip(
                (f"{name}, dB", f"{name} without a generator, dB"), np.mean(scores, axis=0).tolist()
            )
    if args.picture:
        images.save(images.grid(np.stack(sheet), columns=8), args.picture)
    return figures | {"seconds an edit": statistics.median(seconds), "faces": args.count}


def degrade(name: str, face: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """-> what edit is given, and what it has to beat, all of them uint8 (height, width, 3)."""
    if name == "hole":
        smooth = blend.seamless(images.from_uint8(face), np.zeros(face.shape, np.float32), HOLE[..., 0])
        return np.where(HOLE, np.uint8(255), face), [images.to_uint8(smooth)]
    if name == "noise":
        noisy = np.clip(face + random.normal(0, SIGMA, face.shape), 0, 255).astype(np.uint8)
        blurs = (ImageFilter.GaussianBlur(radius) for radius in (0.6, 0.8, 1, 1.5))
        return noisy, [np.asarray(Image.fromarray(noisy).filter(blur)) for blur in blurs]
    side = 64 // int(DEGRADED[name][-1])
    small = Image.fromarray(face).resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(small), [np.asarray(small.resize((64, 64), Image.Resampling.BICUBIC))]


def psnr(picture: np.ndarray, face: np.ndarray, where: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((picture.astype(float) - face)[where[..., 0]] ** 2)))
