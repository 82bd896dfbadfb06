"""Does a run of the built-in portraits draw clean ones, and every kind of them? A judge that names each trait
says so.

    python -m tools.experiments.portraits judge --out judge.keras              # minutes; says how often it is right
    python -m tools.experiments.portraits measure --judge judge.keras --run runs/demo

`measure` prints the Frechet distance in the judge's features, the grain (mean absolute Laplacian against that
of new portraits), and of each kind of hat, glasses, beard and haircut the share among the samples, as a
multiple of its share among the portraits.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_dcgan import cli, process
from keras_dcgan.cli import number
from keras_dcgan.data import portraits
from keras_dcgan.runs.directory import Run

# Trait -> what shows it; a trait that another one hides is not asked for.
TRAITS = {
    "background": lambda face: True,
    "skin": lambda face: True,
    "haircut": lambda face: True,
    "hair": lambda face: face.haircut != "bald",
    "beard": lambda face: True,
    "iris": lambda face: face.glasses != "dark",
    "mouth": lambda face: True,
    "glasses": lambda face: True,
    "frame": lambda face: face.glasses != "none",
    "hat": lambda face: True,
    "hat_colour": lambda face: face.hat != "none",
    "clothes": lambda face: True,
    "collar": lambda face: True,
    "collar_colour": lambda face: face.collar != "none",
}
KINDS = ("hat", "glasses", "beard", "haircut")
LEARNED, HELD_OUT = 16_000, 4_000  # portraits
SEED = 1_000_000  # of the judge's portraits: the demo's own have seed 0
WIDTHS = (32, 64, 96, 128)
FEATURES = 128
RATE = 2e-3
BATCH = 64


def words(trait: str) -> list[str]:
    """What the trait may be, in a fixed order."""
    seen = {getattr(face, trait): None for face in portraits.faces(2000, SEED)}
    return sorted(seen)


def drawn(count: int, seed: int, size: int = 64) -> tuple[np.ndarray, list[portraits.Face]]:
    """uint8 images (count, size, size, 3) and what they show."""
    return portraits.pictures(count, seed, size), list(portraits.faces(count, seed))


def labels(faces: list[portraits.Face]) -> dict[str, np.ndarray]:
    """Trait -> int32 (N,), -1 where nothing shows it."""
    result = {}
    for trait, is_shown in TRAITS.items():
        places = {word: place for place, word in enumerate(words(trait))}
        result[trait] = np.array(
            [places[getattr(face, trait)] if is_shown(face) else -1 for face in faces], np.int32
        )
    return result


def network(size: int):
    """Images in [-1, 1] -> the logits of each trait; the layer "features" is the vector before them."""
    import keras
    from keras import layers

    x = images = keras.Input((size, size, 3), name="images")
    for width in WIDTHS:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = layers.MaxPooling2D()(x)
    x = layers.Dense(FEATURES, use_bias=False, name="vector")(layers.Flatten()(x))
    x = layers.ReLU(name="features")(layers.BatchNormalization(momentum=0.9)(x))
    return keras.Model(images, {trait: layers.Dense(len(words(trait)), name=trait)(x) for trait in TRAITS})


def train(pictures: np.ndarray, faces: list[portraits.Face], epochs: int):
    """A judge after so many epochs of Adam, whose rate falls to 0. Portraits are shifted by up to two pixels
    at random."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    steps = epochs * len(pictures) // BATCH

    def vary(image, answers):
        padded = tf.pad(tf.cast(image, tf.float32) / 127.5 - 1, [[2, 2], [2, 2], [0, 0]], "REFLECT")
        return tf.image.random_crop(padded, image.shape), answers

    stream = (
        tf.data.Dataset.from_tensor_slices((pictures, labels(faces))).shuffle(len(pictures), seed=0).repeat()
    )
    stream = stream.map(vary, num_parallel_calls=2).batch(BATCH).prefetch(4)
    model = network(pictures.shape[1])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)),
        {trait: loss for trait in TRAITS},
    )
    model.fit(stream, steps_per_epoch=steps, verbose=0)
    return model


def look(model, pictures: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """uint8 (N, H, W, C) -> features (N, FEATURES) and, of each trait, the number of the likeliest word
    (N,)."""
    import keras

    both = keras.Model(
        model.inputs[0], [model.get_layer("features").output, *(model.output[trait] for trait in TRAITS)]
    )
    chunks = [
        both(pictures[at : at + 250] / np.float32(127.5) - 1, training=False)
        for at in range(0, len(pictures), 250)
    ]
    features, *answers = (np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*chunks))
    return features, {trait: answer.argmax(1) for trait, answer in zip(TRAITS, answers)}


def accuracy(model, pictures: np.ndarray, faces: list[portraits.Face]) -> dict[str, float]:
    """Trait -> how often the judge is right where the trait is shown."""
    _, answers = look(model, pictures)
    truth = labels(faces)
    return {trait: float(np.mean((answers[trait] == truth[trait])[truth[trait] >= 0])) for trait in TRAITS}


def grain(pictures: np.ndarray) -> float:
    """Mean absolute Laplacian of uint8 (N, H, W, C), in grey levels: high where neighbouring pixels
    differ."""
    total = 0.0
    for at in range(0, len(pictures), 500):
        x = pictures[at : at + 500].astype(np.float32)
        middle, around = x[:, 1:-1, 1:-1], x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]
        total += float(np.abs(4 * middle - around).mean(axis=(1, 2, 3)).sum())
    return total / len(pictures)


def halved_to(pictures: np.ndarray, side: int) -> np.ndarray:
    """uint8 (N, H, W, C) of a multiple of `side` -> (N, side, side, C), the means of square blocks."""
    count, height, _, channels = pictures.shape
    block = height // side
    blocks = pictures.reshape(count, side, block, side, block, channels)
    return np.round(blocks.mean(axis=(2, 4), dtype=np.float32)).astype(np.uint8)


class Reference:
    """What new portraits are to a judge; `compare` holds others against them."""

    def __init__(self, model, size: int = 64, count: int = HELD_OUT):
        from keras_dcgan.measure import metrics

        self.model = model
        pictures, faces = drawn(count, SEED + 1, size)
        features, self.answers = look(model, pictures)
        self.moments, self.grain = metrics.Moments(features), grain(pictures)

    def compare(self, pictures: np.ndarray) -> dict:
        """uint8 (N, H, W, C) -> {"distance", "grain" as a multiple, "kinds": {(trait, word): share as a
        multiple}}."""
        from keras_dcgan.measure import metrics

        features, answers = look(self.model, pictures)
        kinds = {}
        for trait in KINDS:
            for place, word in enumerate(words(trait)):
                if real := np.mean(self.answers[trait] == place):
                    kinds[trait, word] = float(np.mean(answers[trait] == place) / real)
        distance = metrics.frechet_distance(self.moments, metrics.Moments(features))
        return {"distance": distance, "grain": grain(pictures) / self.grain, "kinds": kinds}


def report(found: dict) -> Iterator[str]:
    yield f"distance {found['distance']:.1f}  grain {found['grain']:.2f}x  rarest {min(found['kinds'].values()):.2f}"
    for trait in KINDS:
        yield f"{trait}: " + ", ".join(
            f"{word} {share:.2f}" for (of, word), share in found["kinds"].items() if of == trait
        )


def make_judge(args) -> str:
    if not args.out.endswith(".keras"):
        raise ValueError(f"--out: expected NAME.keras, received {args.out}")
    Path(args.out).parent.mkdir(parents=True, exist_ok=True)  # before the minutes, and not after them
    pictures, faces = drawn(LEARNED, SEED)
    model = train(pictures, faces, args.epochs)
    model.save(args.out)
    right = accuracy(model, *drawn(HELD_OUT, SEED + 1))
    return f"right on {HELD_OUT:,} new portraits: " + ", ".join(
        f"{trait} {share:.1%}" for trait, share in right.items()
    )


def measure(args) -> str:
    import keras

    from keras_dcgan.pictures.draw import draw
    from keras_dcgan.pictures.latents import latents
    from keras_dcgan.runs.checkpoints import load_generator

    generator = load_generator(Run(args.run), last=args.last)
    z = latents(range(args.samples), generator.inputs[0].shape[-1])
    model = keras.saving.load_model(args.judge, compile=False)
    side, (height, width, channels) = model.input_shape[1], generator.output_shape[1:]
    if height != width or height % side or channels != 3:
        expected = f"square images of a multiple of {side} pixels, in colour"
        raise ValueError(f"--run: expected {expected}, received {generator.output_shape[1:]}")
    pictures = np.concatenate([halved_to(image[None], side) for image in draw(generator, z)])
    return "\n".join(report(Reference(model).compare(pictures)))


def main(arguments: list[str] | None = None) -> int:
    parser = cli.Parser("tools.experiments.portraits", __doc__)
    verbs = parser.add_subparsers(dest="what", required=True, metavar="judge|measure")
    whole = number(1, kind=int)
    verb = verbs.add_parser("judge", prog="tools.experiments.portraits judge", description="Trains a judge.")
    verb.add_argument("--out", required=True, metavar="NAME.keras", help="where it goes")
    verb.add_argument("--epochs", type=whole, default=6, metavar="N", help="[6]")
    verb.set_defaults(work=make_judge)
    verb = verbs.add_parser(
        "measure", prog="tools.experiments.portraits measure", description="Judges a run's samples."
    )
    verb.add_argument("--judge", required=True, metavar="NAME.keras", help="what `judge` wrote")
    verb.add_argument(
        "--run",
        required=True,
        metavar="DIR",
        help="trained on --data demo; larger pictures are brought down to the judge's 64x64",
    )
    verb.add_argument("--samples", type=number(8, kind=int), default=4000, metavar="N", help="[4000]")
    verb.add_argument("--last", action="store_true", help="generator_last.keras, not generator.keras")
    verb.set_defaults(work=measure)
    args = parser.parse_args(arguments)
    with cli.user_errors(parser.verb):
        with process.importing():
            from keras_dcgan import devices

            devices.start()
        print(args.work(args))
    return 0


if __name__ == "__main__":
    sys.exit(process.run(main))
