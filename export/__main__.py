"""Turns a run into files for servers and devices: `python -m keras_dcgan.export --run runs/imgs`.

Writes a SavedModel, four .tflite files, a web page, model.json, a model card (README.md) and edge_sample.py
to runs/imgs/export, or to --out, and prints what each weighs, how near it is to the Keras generator, how fast
it is and the oldest TensorFlow Lite that reads it; of a quantised one also how far its images are from Keras'
own as a set. What misses its threshold is not left there, and the exit status is 1.
"""

import atexit
import os
import shlex
import sys
from pathlib import Path

from keras_dcgan import process
from keras_dcgan.cli import Expected, Parser, fail, flag, place, user_errors, writing
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.export import card, web
from keras_dcgan.export.convert import (
    EDGE_SAMPLE,
    FORMATS,
    Artefact,
    alone,
    check_place,
    chosen_formats,
    export,
    not_ours,
)
from keras_dcgan.export.parity import TIMED_RUNS
from keras_dcgan.process import at_end, importing, nobody_reads, quiet, tidy
from keras_dcgan.runs.directory import Run

VERB = "export"


@tidy
def main(argv: list[str] | None = None):
    flags = read_flags(argv)
    out, argument = (flags.out, "out") if flags.out else (Run(flags.run, is_new=True).export, "run")
    with user_errors(VERB):
        check_place(out, argument)
        trained = Run(flags.run)
        trained.check_trained()
        at_end.enter_context(alone(out, argument))
        generator, classes = load(trained)
        history, foreign = card.of_run(trained), not_ours(out)
    import tensorflow as tf

    told = (("licence", flags.licence), ("author", flags.author), ("data_note", flags.data_note))
    options = {"report": print_row, "samples": flags.samples, "history": history}
    options |= {name: text for name, text in told if text}
    tell(f"exporting {flags.run} to {out}: {', '.join(flags.formats)}")
    print_header(flags.samples)
    try:
        with writing(argument, out), quiet():
            artefacts = export(generator, flags.formats, out, flags.run.resolve().name, classes, **options)
    except Unavailable as error:
        fail(VERB, error.told(flag))
    except (OSError, tf.errors.OpError) as error:  # a full disk
        fail(VERB, error)
    if "web" in flags.formats and any(
        artefact.parity.ms and not artefact.parity.faults for artefact in artefacts
    ):
        with user_errors(VERB):
            has_runtime = web.install(out)
        where = "LiteRT.js beside it" if has_runtime else f"LiteRT.js from {web.CDN}: npm could not fetch it"
        print(
            f"{'web/':27}{'':24}    {where}; to see it: python -m keras_dcgan.export.web --run {shlex.quote(str(out))}"
        )
    if any(not artefact.parity.faults for artefact in artefacts):
        print_card(history, flags.licence, foreign)
    print_next([artefact for artefact in artefacts if not artefact.parity.faults], out)
    refuse([artefact for artefact in artefacts if artefact.parity.faults])


def read_flags(argv):
    parser = Parser("keras_dcgan.export", __doc__)
    add = parser.add_argument
    add(
        "--run",
        type=place,
        required=True,
        metavar="DIR",
        help="the run directory of `python -m keras_dcgan.fit`",
    )
    add(
        "--formats",
        type=formats,
        default=FORMATS,
        metavar="A,B",
        help=f"of {','.join(FORMATS)} [all of them]",
    )
    about = "where to [export in the run]; it then holds what this export made, no earlier one"
    add("--out", type=place, metavar="DIR", help=about)
    add("--licence", metavar="TEXT", help="of the generator, to be told by every file [none]")
    add("--author", metavar="TEXT", help="who made it, likewise [none]")
    add("--data-note", metavar="TEXT", help="where the training images came from, likewise [none]")
    about = "images by which a quantised file is held against Keras as a set; 0: not [%(default)s]"
    add("--samples", type=number_of_samples, default=2000, metavar="N", help=about)
    return parser.parse_args(argv)


def formats(text: str) -> tuple[str, ...]:
    try:
        return chosen_formats(name.strip() for name in text.split(","))
    except Refused as error:
        raise Expected(error.problem) from error


def number_of_samples(text: str) -> int:
    if not text.isdecimal() or int(text) == 1:  # of one there is no distribution
        raise Expected(f"expected 0, or a whole number from 2 on, received {text!r}")
    return int(text)


def load(run: Run):
    with importing():
        import tensorflow as tf

        from keras_dcgan import devices
        from keras_dcgan.runs import checkpoints

        devices.reset_keras_settings()
        try:
            tf.config.set_visible_devices(
                [], "GPU"
            )  # a GPU's own rounding (TF32) would count against files that are exact
        except RuntimeError:  # a notebook has used it before
            at_end.callback(
                tf.config.experimental.enable_tensor_float_32_execution,
                tf.config.experimental.tensor_float_32_execution_enabled(),
            )
            tf.config.experimental.enable_tensor_float_32_execution(False)
    return checkpoints.load_generator(run), run.classes


def print_header(samples: int):
    tell(
        f"dB: PSNR against Keras; ms: an image, one thread, median of {TIMED_RUNS}; TFLite: the oldest that reads it"
    )
    if samples:
        tell(
            f"swd, fid: between {samples:,} images and Keras' own of the same seeds, 0 if equal; fid in random features"
        )
    tell(f"{'':27}{'MB':>8}{'dB':>8}{'ms':>8}{'TFLite':>8}{'swd':>8}{'fid':>9}")


def print_row(artefact: Artefact):
    if not artefact.parity.faults:
        ms = f"{artefact.parity.ms:.2f}" if artefact.parity.ms else "-"
        quality = artefact.quality or {"swd": "-", "fid": "-"}
        tell(
            f"{artefact.variant.file:27}{artefact.bytes / 1e6:8.2f}{artefact.parity.decibels:>8}{ms:>8}"
            f"{artefact.min_runtime or '-':>8}{quality['swd']:>8}{quality['fid']:>9}"
        )


def tell(line: str):
    try:
        print(line, flush=True)
    except BrokenPipeError:  # nobody looks on any more: no reason to stop
        nobody_reads(sys.stdout)


def print_card(history: card.History, licence: str | None, foreign: list[str]):
    if card.CARD not in foreign:
        lacks = [] if history.figures else ["no figures (python -m keras_dcgan.evaluate)"]
        lacks += [] if licence else ["no licence (--licence)"]
        print(f"{card.CARD:27}{'':24}    the model card{': ' * bool(lacks)}{', '.join(lacks)}")
    for file in history.passed_over:
        print(f"{file}: not in the card: it does not say that it is of this generator; evaluate again")
    for name in foreign:
        print(f"{name}: left as it is: no export wrote it, or it was changed since")


def print_next(artefacts: list[Artefact], out: Path):
    if any(artefact.parity.ms for artefact in artefacts):  # edge_sample draws with .tflite files
        script, model = shlex.quote(str(out / EDGE_SAMPLE)), shlex.quote(str(out))
        print(f"Next: python {script} --model {model} --seeds 0-15 --out grid.png")


def refuse(artefacts: list[Artefact]):
    for artefact in artefacts:
        print(
            f"{VERB}: {artefact.variant.file} is not written: {'; '.join(artefact.parity.faults)}",
            file=sys.stderr,
        )
    if artefacts:
        raise SystemExit(1)


if __name__ == "__main__":
    atexit.register(os.dup2, os.open(os.devnull, os.O_WRONLY), 2)  # LiteRT's C++ takes its leave on stderr
    raise SystemExit(process.run(main))
