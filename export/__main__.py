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
from keras_dcgan.cli import Expected, Parser, fail, flag, number, place, user_errors, writing
from keras_dcgan.errors import Refused, Unavailable
from keras_dcgan.export import card, web
from keras_dcgan.export.convert import (
    EDGE_SAMPLE,
    FORMATS,
    Artefact,
    alone,
    check_place,
    chosen_formats,
    draws_anywhere,
    export,
    inputs_of,
    not_ours,
    tf_32,
)
from keras_dcgan.export.parity import TIMED_RUNS
from keras_dcgan.process import at_end, importing, quiet, say, tidy
from keras_dcgan.runs.directory import Run

VERB = "export"


@tidy
def main(argv: list[str] | None = None):
    flags = read_flags(argv)
    usual = Run(flags.run, is_new=True).export
    if flags.student:
        usual = usual.with_name(f"{usual.name}-student-{flags.student}")
    out, argument = (flags.out, "out") if flags.out else (usual, "run")
    with user_errors(VERB):
        check_place(out, argument)
        trained = Run(flags.run)
        trained.check_trained()
        if flags.student:
            check_student(trained, flags.student)
        at_end.enter_context(alone(out, argument))
        generator, sha256, classes = load(trained, bool(flags.student))
        history, foreign = card.of_run(trained, sha256), not_ours(out)
    import tensorflow as tf

    name = os.fsencode(flags.run.resolve().name).decode(errors="replace")

    told = (("licence", flags.licence), ("author", flags.author), ("data_note", flags.data_note))
    if flags.student:
        generator, student = taught(trained, generator, flags.student, flags.samples)
        name, history = f"{name}-student-{flags.student}", card.of_student(history, student)
        told += (("student", student),)
    options = {"report": print_row, "samples": flags.samples, "history": history}
    options |= {name: text for name, text in told if text}
    say(f"exporting {flags.run} to {out}: {', '.join(flags.formats)}")
    print_header(flags.samples)
    try:
        with writing(argument, out), quiet():
            artefacts = export(generator, flags.formats, out, name, classes, **options)
    except Unavailable as error:
        fail(VERB, error.told(flag))
    except (OSError, tf.errors.OpError) as error:  # a full disk
        fail(VERB, error)
    if "web" in flags.formats and any(map(draws_anywhere, artefacts)):
        has_runtime = (out / "web" / "litert").is_dir()
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
    add("--licence", type=text, metavar="TEXT", help="of the generator, to be told by every file [none]")
    add("--author", type=text, metavar="TEXT", help="who made it, likewise [none]")
    about = "where the training images came from, likewise [none]"
    add("--data-note", type=text, metavar="TEXT", help=about)
    about = "instead of the run's generator a smaller one, which learns from it for minutes; into export-student-N [none]"
    add("--student", type=number(1, kind=int), metavar="FILTERS", help=about)
    about = "images by which a quantised file is held against Keras as a set; 0: not [%(default)s]"
    add("--samples", type=number_of_samples, default=2000, metavar="N", help=about)
    return parser.parse_args(argv)


def formats(text: str) -> tuple[str, ...]:
    try:
        return chosen_formats(name.strip() for name in text.split(","))
    except Refused as error:
        raise Expected(error.problem) from error


def text(given: str) -> str:
    try:
        given.encode()
    except UnicodeEncodeError as error:  # bytes of another encoding, typed in a terminal of UTF-8
        raise Expected(f"expected text, received {ascii(given)}") from error
    return given


def number_of_samples(text: str) -> int:
    if not text.isdecimal() or int(text) == 1:  # of one there is no distribution
        raise Expected(f"expected 0, or a whole number from 2 on, received {text!r}")
    return int(text)


def check_student(run: Run, filters: int):
    """What can be told before TensorFlow's import. Raises Refused."""
    if not run.checkpoints:  # there may be no config.json either
        received = f"{run.path}, which has none"
        raise Refused("student", "a run with checkpoints, whose discriminator judges the student", received)
    if filters >= run.config.filters:
        raise Refused("student", f"fewer filters than the {run.config.filters} of {run.path}", filters)


def taught(run: Run, teacher, filters: int, samples: int):
    """-> the student, and what model.json is to tell of it."""
    import tensorflow as tf

    from keras_dcgan.export import quality
    from keras_dcgan.training import student

    with user_errors(VERB):
        game, config = student.begin(run, teacher, filters, student.KIMG)
    say(
        f"a student of {filters} filters learns for minutes: {config.kimg:g} kimg, drawn by the run's own of {config.filters}"
    )
    try:
        generator = student.learn(game, config)
    except tf.errors.OpError as error:  # too little memory
        fail(VERB, error)
    about = {
        "filters": filters,
        "kimg": config.kimg,
        "teacher": {"name": run.path.resolve().name, "filters": config.filters},
    }
    if samples:
        inputs = inputs_of(range(samples), config.latent_dim, len(run.classes))
        found = quality.KerasImages(teacher, inputs).distances(quality.drawn(generator, inputs))
        say(f"between {samples:,} of its images and the run's own: swd {found['swd']}, fid {found['fid']}")
        about["distance"] = found
    return generator, about


def load(run: Run, is_to_teach: bool):
    with importing():
        import tensorflow as tf

        from keras_dcgan import devices
        from keras_dcgan.runs import checkpoints

        # A GPU's own rounding (TF32) would count against files that are exact.
        if is_to_teach:
            devices.start(run.config.threads, run.config.deterministic)
            at_end.callback(tf_32, tf_32(False))
        else:
            devices.reset_keras_settings()
            try:
                tf.config.set_visible_devices([], "GPU")
            except RuntimeError:  # a notebook has used it before
                at_end.callback(tf_32, tf_32(False))
    return *checkpoints.load_generator_and_sha256(run), run.classes


def print_header(samples: int):
    say(
        f"dB: PSNR against Keras; ms: an image, one thread, median of {TIMED_RUNS}; TFLite: the oldest that reads it"
    )
    if samples:
        say(
            f"swd, fid: between {samples:,} images and Keras' own of the same seeds, 0 if equal; fid in random features"
        )
    say(f"{'':27}{'MB':>8}{'dB':>8}{'ms':>8}{'TFLite':>8}{'swd':>8}{'fid':>9}")


def print_row(artefact: Artefact):
    if not artefact.parity.faults:
        ms = f"{artefact.parity.ms:.2f}" if artefact.parity.ms else "-"
        quality = artefact.quality or {"swd": "-", "fid": "-"}
        say(
            f"{artefact.variant.file:27}{artefact.bytes / 1e6:8.2f}{artefact.parity.decibels:>8}{ms:>8}"
            f"{artefact.min_runtime or '-':>8}{quality['swd']:>8}{quality['fid']:>9}"
        )


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
