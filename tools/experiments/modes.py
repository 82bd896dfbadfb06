"""Does a generator draw every kind that is there? Portraits with caps of eight colours, some common and some
rare.

    python -m tools.experiments.modes draw --out caps                      # caps/red/0000.png, ...: the folders only serve to count
    python -m keras_dcgan.fit --data caps --size 32 --kimg 48  # does not look at the folders
    python -m tools.experiments.modes count --data caps --run runs/caps    # the share of each colour, real and generated

A small classifier counts (tools.experiments.classify); how often it is right on held-out portraits stands beside the
shares.
"""

import dataclasses
import random
import sys
from pathlib import Path

import numpy as np

from keras_dcgan import cli
from keras_dcgan.cli import number
from keras_dcgan.data import portraits
from keras_dcgan.data.prepare import prepare
from keras_dcgan.pictures import images, latents
from keras_dcgan.runs.directory import Run
from tools.experiments import classify

SIZE = 32
CAPS = {  # colour, share
    "red": ("#c8434a", 0.24),
    "blue": ("#2f5fae", 0.20),
    "yellow": ("#f0b73e", 0.16),
    "green": ("#3f8f3f", 0.12),
    "black": ("#26242f", 0.10),
    "white": ("#f3efe6", 0.08),
    "purple": ("#8c42b5", 0.06),
    "cyan": ("#3fc8d0", 0.04),
}
STEPS = 600  # of the classifier


def draw(args) -> str:
    rng = random.Random(args.seed)
    names, shares = list(CAPS), [share for _, share in CAPS.values()]
    for index in range(args.count):
        (name,) = rng.choices(names, shares)
        face = dataclasses.replace(
            portraits.Face.random(rng), haircut="crop", hat="cap", hat_colour=CAPS[name][0]
        )
        images.save(np.asarray(portraits.paint(face, SIZE)), Path(args.out) / name / f"{index:04d}.png")
    return f"{args.count} portraits with caps of {len(CAPS)} colours in {args.out}"


def count(args) -> str:
    from keras_dcgan.pictures.draw import draw
    from keras_dcgan.runs.checkpoints import load_generator

    real = prepare(args.data, SIZE, 3, conditional=True)
    pictures, labels = real.in_order(np.arange(len(real)))
    learnt, tested = classify.split(len(pictures))
    judge = classify.train(pictures[learnt], labels[learnt], len(real.classes), STEPS, batch=64)
    right = classify.accuracy(judge, pictures[tested], labels[tested])
    generator = load_generator(Run(args.run))
    drawn = draw(generator, latents.latents(range(args.samples), generator.inputs[0].shape[-1]))
    found = judge.predict(np.stack(list(drawn)) / np.float32(127.5) - 1, verbose=0).argmax(1)
    lines = [
        f"the classifier is right on {right:.1%} of held-out portraits; {args.samples:,} samples",
        "cap       real  generated",
    ]
    for label in np.argsort(-np.bincount(labels)):
        share, ours = np.mean(labels == label), np.mean(found == label)
        lines.append(f"{real.classes[label]:8}{share:6.1%}{ours:11.1%}   {ours / share:.2f} times")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("tools.experiments.modes", __doc__)
    verbs = parser.add_subparsers(dest="what", required=True, metavar="draw|count")
    whole = number(1, kind=int)
    verb = verbs.add_parser("draw", prog="tools.experiments.modes draw", description="Draws the portraits.")
    verb.add_argument(
        "--out", type=cli.path, required=True, metavar="DIR", help="a folder for each colour there"
    )
    verb.add_argument("--count", type=whole, default=4000, metavar="N", help="[4000]")
    verb.add_argument("--seed", type=number(0, kind=int), default=0, metavar="N", help="[0]")
    verb.set_defaults(work=draw)
    verb = verbs.add_parser("count", prog="tools.experiments.modes count", description="Counts the colours.")
    verb.add_argument("--data", type=cli.path, required=True, metavar="DIR", help="what `draw` wrote")
    verb.add_argument("--run", type=cli.path, required=True, metavar="DIR", help="trained on it")
    verb.add_argument("--samples", type=whole, default=4000, metavar="N", help="[4000]")
    verb.set_defaults(work=count)
    args = parser.parse_args(arguments)
    with cli.user_errors("modes"):
        print(args.work(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
