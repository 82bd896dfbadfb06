"""What every verb has in common: how it reads its flags, and how it says that something is wrong. Stdlib
only.

A user's mistake is one line on stderr that names the flag, what was expected and what was received, and exit
status 2:

    fit: --size: expected N or HxW with sides from 16 to 512, received '9'
"""

import argparse
import contextlib
import dataclasses
import difflib
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_dcgan import files, process
from keras_dcgan.addresses import is_bucket, is_demo
from keras_dcgan.errors import Refused, Unavailable, spelled

# What other trainers call it: the first of these flags that a verb has.
ELSEWHERE = {
    "--kimg": "--epochs --epoch --num-epochs --n-epochs --niter --iterations --iters --max-steps --steps --train-steps",
    "--batch": "--batch-size --bs --mini-batch",
    "--g-lr": "--lr --learning-rate --lr-g --glr",
    "--d-lr": "--lr-d --dlr",
    "--size": "--image-size --img-size --imsize --resolution --res --width --height",
    "--data": "--dataroot --data-dir --dataset --data-path --train-dir --images --input --input-dir --folder --dir",
    "--image": "--images --input",
    "--run": "--outdir --output-dir --logdir --log-dir --checkpoint --checkpoint-dir --ckpt --model --network --resume --name",
    "--out": "--output --outdir --output-dir --save --dest",
    "--threads": "--workers --num-workers --jobs --cores",
    "--strategy": "--gpu --gpus --num-gpus --device --devices --distributed",
    "--latent-dim": "--nz --z-dim --zdim --latent --latent-size --noise-dim",
    "--filters": "--ngf --ndf --nf --channels-base --width-multiplier",
    "--precision": "--amp --fp16 --bf16 --mixed-precision --half --dtype",
    "--tick-kimg": "--tick --snap --save-every --save-freq --log-every --checkpoint-every --eval-every",
    "--flip": "--mirror --hflip --horizontal-flip",
    "--augment": "--aug --augmentation --diffaug --ada",
    "--r1": "--gamma --gp --gradient-penalty --r1-gamma",
    "--conditional": "--cond --labels --class-cond",
    "--seeds": "--num --count --num-images --num-samples --n-samples --samples --seed",
    "--samples": "--num --count --num-images --num-samples --n-samples",
    "--truncation": "--trunc --psi --truncation-psi",
    "--formats": "--format --type",
    "--class": "--label --classes",
}


CACHE = "where prepared images are kept [where the training kept its own]"


class Parser(argparse.ArgumentParser):
    """argparse with defaults in --help, no abbreviated flags, and errors of one line, which name the nearest
    flag."""

    def __init__(self, prog: str, description: str):
        super().__init__(
            prog=f"python -m {prog}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.verb = prog.rpartition(".")[2]

    def parse_known_args(self, args=None, namespace=None):
        # Before argparse looks: of `--dta ./imgs` it says that --data is missing.
        for word in sys.argv[1:] if args is None else args:
            if word == "--" or self._subparsers:  # those look themselves
                break
            typed = word.partition("=")[0]
            if re.fullmatch(r"--?[A-Za-z][\w-]*", typed) and typed not in self._option_string_actions:
                self.error(f"{typed}: {self._nearest(typed)}")
        return super().parse_known_args(args, namespace)

    def _nearest(self, typed: str) -> str:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        name = f"--{typed.strip('-').lower().replace('_', '-')}"
        for ours, others in ELSEWHERE.items():
            if ours in known and name not in known and name in others.split():
                return f"there is {ours}"
        close = difflib.get_close_matches(name, known, 1, 0.7) or [
            other for other in known if other.startswith(f"{name}-")
        ]
        return f"did you mean {close[0]}?" if close else "expected one of the flags that --help lists"

    def error(self, message):
        # argparse writes "argument --size: why"; ours is "--size: why".
        fail(self.verb, message.removeprefix("argument "))


def fail(verb: str, message: str):
    """One line on stderr, exit status 2."""
    if process.interrupted:
        raise KeyboardInterrupt
    print(f"{verb}: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(2)


# The library's names of what these flags give it.
FLAGS = {"path": "--out", "source": "--data", "wanted": "--class"}
# What `prepare` may complain of, where one flag brings images.
OF_IMAGES = ("source", "size", "channels", "crop", "background", "conditional")


def flag(argument: str) -> str:
    """The flag that gives the library an argument: 'max_pixels' -> '--max-pixels'."""
    return FLAGS.get(argument) or "--" + argument.replace("_", "-")


def with_flags(text: str) -> str:
    """A message of the library with flags in place of the arguments that it mentions."""
    return spelled(text, flag)


@contextlib.contextmanager
def user_errors(verb: str, flags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turns ValueError, OSError and those of `machine_errors` of the enclosed steps into `fail`: wrap what reads
    the user's input, not the training. `flags`: the flags of arguments that have others here than `flag` says."""
    try:
        with machine_errors(verb, flags):
            yield
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        fail(verb, str(error))


@contextlib.contextmanager
def machine_errors(verb: str, flags: Mapping[str, str] | None = None) -> Iterator[None]:
    """Turns into `fail` what the machine or the data have to do with, also amid the work: Refused, Unavailable, and
    what TensorFlow raises of too little memory or a damaged file. Other errors are mistakes of ours."""
    try:
        yield
    except (Refused, Unavailable) as error:
        fail(verb, error.told(lambda name: (flags or {}).get(name) or flag(name), flag))
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}  # nothing is imported here
        if "OpError" not in kinds or "InternalError" in kinds:
            raise
        fail(verb, _said_by_tensorflow(getattr(error, "message", None) or str(error)) or type(error).__name__)


def _said_by_tensorflow(message: str) -> str:
    """The line that says what happened: the first, or where a graph's own lines come first, the one before the
    name of its node."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    nodes = [number for number, line in enumerate(lines) if "[[{{node" in line]
    if not nodes:
        return lines[0] if lines else ""
    before, _, _ = lines[nodes[0]].partition("[[{{node")
    return before.strip() or lines[max(0, nodes[0] - 1)]


@contextlib.contextmanager
def writing(argument: str, what) -> Iterator[None]:
    """Errors of the system in the enclosed steps name the argument and what was to be written, not the hidden
    file that it is first."""
    try:
        yield
    except (BrokenPipeError, Unavailable):
        raise
    except OSError as error:
        raise Unavailable(
            argument, f"expected to write {what}, received: {error.strerror or error}"
        ) from error


class Expected(argparse.ArgumentTypeError, ValueError):
    """What a flag's reader raises, with what it expected: argparse would swallow a plain ValueError's
    message."""


# ------------------------------------------------------------------------
# readers: text -> a value, or Expected


def number(low: float, high: float = math.inf, unit: str = "", kind=float, above: bool = False):
    """A reader of numbers from `low` to `high`; `above` leaves `low` itself out."""
    low_text, high_text = (
        f"{bound:g}" if kind is float or math.isinf(bound) else str(bound) for bound in (low, high)
    )
    bounds = f"{'above' if above else 'from'} {low_text}" + (
        f" to {high_text}" if high < math.inf else "" if above else " up"
    )
    expected = f"expected a {'whole ' if kind is int else ''}number {bounds}{unit and ' ' + unit}"

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or (above and value == low) or math.isinf(value):
            raise Expected(f"{expected}, received {text!r}")
        return value

    read.__name__ = "N"  # what --help shows for the value
    return read


def one_of(*choices: str):
    def read(text):
        if text not in choices:
            raise Expected(f"expected one of {', '.join(choices)}, received {text!r}")
        return text

    read.__name__ = "|".join(choices)
    return read


def channels(text: str) -> int | str:
    return int(text) if text in ("1", "3", "4") else one_of("auto", "1", "3", "4")(text)


channels.__name__ = "auto|1|3|4"


def side_lengths(text: str) -> tuple[int, int]:
    """'64' -> (64, 64); '48x64' -> (48, 64), height first."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and 16 <= int(side) <= 512 for side in sides):
        raise Expected(f"expected N or HxW with sides from 16 to 512 pixels, received {text!r}")
    return int(sides[0]), int(sides[-1])


def path(text: str) -> str:
    """A path of this machine, with a leading ~ expanded."""
    try:
        return files.local_path(text)
    except ValueError as error:
        raise Expected(str(error)) from error


def place(text: str) -> Path:
    return Path(path(text))


def path_or(*words: str) -> Callable[[str], str]:
    """A reader of paths that takes these words as they are."""

    def read(text):
        return text if text in words else path(text)

    read.__name__ = "|".join([*words, "PATH"])
    return read


def source(text: str) -> str:
    """Where images come from: a path, the word demo, or shards, which TensorFlow reads from a bucket as
    well."""
    return text if is_bucket(text) or is_demo(text) else path(text)


def seeds(text: str) -> list[int]:
    """'0-3,7' -> [0, 1, 2, 3, 7]. A seed is a whole number from 0 to 2**32 - 1 (see latents.py)."""
    expected = "expected seeds such as 0-63 or 1,5,9, each from 0 to 4294967295"
    result = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash)):
            raise Expected(f"{expected}, received {text!r}")
        low, high = int(first), int(last or first)
        if not low <= high < 2**32:
            raise Expected(f"{expected} and the first not above the last, received {text!r}")
        if high - low >= 10**6:
            raise Expected(f"expected at most a million seeds at once, received {text!r}")
        result.extend(range(low, high + 1))
    return result


# ------------------------------------------------------------------------
# settings as flags


def setting(group: str, default, read, help: str, *, placeholder: str = "", resume: bool = False):
    """A field of a dataclass that is a flag as well. `read`: a reader, None for a switch. `resume`: it may
    change when a run is resumed."""
    return dataclasses.field(
        default=default,
        metadata={"group": group, "read": read, "help": help, "placeholder": placeholder, "resume": resume},
    )


def add_setting(group, row: dataclasses.Field, default: str):
    """The flag of a setting, to a parser or to a group of one. `default`: as --help shows it."""
    # Absent unless typed, so that a preset can tell what the user said from what is only the default.
    shown = f" [{default}]".replace("%", "%%") if default else ""
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": with_flags(row.metadata["help"]) + shown}
    if row.metadata["read"] is None:
        options["action"] = argparse.BooleanOptionalAction if row.name == "flip" else "store_true"
    else:
        options["type"] = row.metadata["read"]
        options["metavar"] = row.metadata["placeholder"] or row.metadata["read"].__name__
        options["required"] = row.default is dataclasses.MISSING
    group.add_argument(flag(row.name), **options)
