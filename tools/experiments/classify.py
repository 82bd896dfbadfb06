"""A small classifier of labelled images, as a judge of synthetic ones. Folders are classes.

    python -m tools.experiments.classify judge --data imgs --out judge.keras     # trains it; says how often it is right
    python -m tools.experiments.classify agree --judge judge.keras --run runs/imgs   # how often it finds the class asked for
    python -m tools.experiments.classify help --data imgs --synthetic folder          # whether synthetic images help it

For an honest answer the generator must not have seen what is held out: give it a folder of some of the
others, and `help` the same one by --learn-from.

judge.keras maps images to classes; judge.features.keras, written beside it, to the vector before them, for
`keras_dcgan.evaluate --features`.
"""

import statistics
import sys
from pathlib import Path

import numpy as np

from keras_dcgan import cli, process
from keras_dcgan.cli import number, side_lengths
from keras_dcgan.data.prepare import prepare
from keras_dcgan.errors import Refused, renamed
from keras_dcgan.pictures import latents
from keras_dcgan.runs.directory import Run

HELD_OUT = 5  # every fifth image is judged, and not learnt from
WIDTHS = (32, 64, 128)
RATE = 3e-3


def classifier(size: tuple[int, int], channels: int, classes: int, widths=WIDTHS):
    """Images in [-1, 1] -> logits; the layer "features" is the vector before them."""
    import keras
    from keras import layers

    x = images = keras.Input((*size, channels))
    for level, width in enumerate(widths):
        for _ in range(2 if level else 1):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Flatten(name="features")(layers.AveragePooling2D((x.shape[1] // 2, x.shape[2] // 2))(x))
    return keras.Model(images, layers.Dense(classes, name="logits")(layers.Dropout(0.3)(x)))


def train(images: np.ndarray, labels: np.ndarray, classes: int, steps: int, batch: int, seed: int = 0):
    """uint8 (N, H, W, C), int (N,) -> a classifier after so many steps of Adam, whose rate falls to 0. Images
    are mirrored and shifted at random."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)

    def vary(image, label):
        image = tf.image.random_flip_left_right(tf.cast(image, tf.float32) / 127.5 - 1)
        side = max(1, image.shape[0] // 8)
        return tf.image.random_crop(
            tf.pad(image, [[side, side], [side, side], [0, 0]], "REFLECT"), image.shape
        ), label

    stream = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images), seed=seed).repeat()
    stream = stream.map(vary, num_parallel_calls=2).batch(batch).prefetch(4)
    model = classifier(images.shape[1:3], images.shape[3], classes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)), loss)
    model.fit(stream, steps_per_epoch=steps, shuffle=False, verbose=0)
    return model


def accuracy(model, images: np.ndarray, labels: np.ndarray) -> float:
    found = [
        model.predict_on_batch(images[at : at + 500] / np.float32(127.5) - 1)
        for at in range(0, len(images), 500)
    ]
    return float(np.mean(np.concatenate(found).argmax(1) == labels))


def judge(args) -> str:
    import keras

    if not args.out.endswith(".keras"):
        raise Refused("out", "NAME.keras", args.out)
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)  # not after minutes
    images, labels, classes = prepared(args, "data", args.data)
    learnt, tested = split(len(images))
    steps = round(args.epochs * len(learnt) / args.batch)
    model = train(images[learnt], labels[learnt], len(classes), steps, args.batch)
    model.save(args.out)
    keras.Model(model.inputs, model.get_layer("features").output).save(
        args.out.removesuffix(".keras") + ".features.keras"
    )
    right = accuracy(model, images[tested], labels[tested])
    return f"right on {right:.1%} of {len(tested):,} images it has not seen"


def agree(args) -> str:
    import keras

    from keras_dcgan.pictures.draw import draw
    from keras_dcgan.runs.checkpoints import load_generator

    run = Run(args.run)
    generator, classes = load_generator(run, last=True), run.classes
    if not classes:
        raise Refused("run", "a run that was trained with --conditional", args.run)
    labels = np.arange(args.samples, dtype=np.int32) % len(classes)
    z = latents.latents(range(args.samples), generator.inputs[0].shape[-1])
    pictures = np.stack(list(draw(generator, z, labels)))
    model = keras.saving.load_model(args.judge, compile=False)
    if model.output_shape[-1] != len(classes):
        received = f"one of {model.output_shape[-1]}"
        raise Refused("judge", f"one of the run's {len(classes)} classes", received)
    each = [
        accuracy(model, pictures[labels == label], labels[labels == label]) for label in range(len(classes))
    ]
    by_class = ", ".join(f"{name} {share:.0%}" for name, share in zip(classes, each))
    return (
        f"the class that was asked for: {statistics.mean(each):.1%} of {args.samples:,} samples ({by_class})"
    )


def study(args) -> str:
    """With and without, by turns, as many steps of each; the figures are of the same held-out real images."""
    images, labels, classes = prepared(args, "data", args.data)
    others = {
        name: prepared(args, name, getattr(args, name))
        for name in ("synthetic", "learn_from")
        if getattr(args, name)
    }
    for name, (*_, theirs) in others.items():
        if theirs != classes:
            raise Refused(name, "the classes of --data", ", ".join(theirs))
    learnt, tested = split(len(images))
    found = {"real": [], "real and synthetic": [], "synthetic": []}
    for seed in range(args.seeds):
        some = few(labels, learnt, args.per_class, seed)
        sets = {
            "real": others["learn_from"][:2] if "learn_from" in others else (images[some], labels[some]),
            "synthetic": others["synthetic"][:2],
        }
        # Each half of the batches is of one kind: more images of one kind would drown the other.
        most = max(len(labels) for _, labels in sets.values())
        sets["real and synthetic"] = tuple(
            np.concatenate([a[np.arange(most) % len(a)], b[np.arange(most) % len(b)]])
            for a, b in zip(sets["real"], sets["synthetic"])
        )
        for name in found:
            model = train(*sets[name], len(classes), args.steps, args.batch, seed)
            found[name].append(accuracy(model, images[tested], labels[tested]))
    counts = [len(sets[name][1]) for name in ("real", "synthetic")]
    how_many = f"{counts[0]:,} real images, {counts[1]:,} synthetic ones, {args.seeds} seeds"
    rows = [
        f"{name:20} {statistics.mean(values):.1%}  ({min(values):.1%} to {max(values):.1%})"
        for name, values in found.items()
    ]
    return "\n".join([f"{how_many}, right on {len(tested):,} held out:", *rows])


def few(labels: np.ndarray, among: np.ndarray, per_class: int, seed: int) -> np.ndarray:
    """Row numbers: so many of each class."""
    mixed = np.random.default_rng(seed).permutation(among)
    return np.concatenate([mixed[labels[mixed] == label][:per_class] for label in np.unique(labels)])


def split(total: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(total)
    return rows[rows % HELD_OUT != 0], rows[rows % HELD_OUT == 0]


def prepared(args, name: str, source: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """-> images, labels and classes of a folder of classes."""
    with renamed(source=name, conditional=name):
        found = prepare(source, args.size, 3, conditional=True)
        return *found.in_order(np.arange(len(found))), found.classes


def parser() -> cli.Parser:
    result = cli.Parser("tools.experiments.classify", __doc__)
    verbs = result.add_subparsers(dest="what", required=True, metavar="judge|agree|help")
    count = number(1, kind=int)

    def verb(name, work, *required):
        made = verbs.add_parser(
            name, prog=f"tools.experiments.classify {name}", description=work.__doc__ or __doc__
        )
        for flag in required:
            made.add_argument(flag, type=cli.path, required=True, metavar="PATH")
        if work is not agree:
            made.add_argument("--size", type=side_lengths, default=(32, 32), metavar="N|HxW", help="[32]")
            made.add_argument("--batch", type=count, default=64, metavar="N", help="[64]")
        made.set_defaults(work=work)
        return made

    verb("judge", judge, "--data", "--out").add_argument(
        "--epochs", type=count, default=4, metavar="N", help="[4]"
    )
    verb("agree", agree, "--judge", "--run").add_argument(
        "--samples", type=count, default=5000, metavar="N", help="[5000]"
    )
    made = verb("help", study, "--data", "--synthetic")
    about = "the real images to learn from [--per-class of --data at random]"
    made.add_argument("--learn-from", type=cli.path, metavar="PATH", help=about)
    for flag, default in (("--per-class", 50), ("--steps", 2000), ("--seeds", 3)):
        made.add_argument(flag, type=count, default=default, metavar="N", help=f"[{default}]")
    return result


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    with cli.user_errors("classify"):
        with process.importing():
            from keras_dcgan import devices

            devices.start()
        print(args.work(args))
    return 0


if __name__ == "__main__":
    sys.exit(main())
