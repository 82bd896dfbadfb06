"""What every verb has in common: how it reads its flags, and how it says that something is wrong. Stdlib only.

A user's mistake is one line on stderr that names the flag, what was expected and what was received, and exit status 2:

    fit: --size: expected N or HxW with sides from 16 to 512, received '9'
"""

import argparse
import contextlib
import difflib
import gc
import os
import re
import sys
import tempfile
from collections.abc import Callable
from typing import TextIO

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


class Parser(argparse.ArgumentParser):
    """argparse with defaults in --help, no abbreviated flags, and errors of one line, which name the nearest flag."""

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
        for flag, others in ELSEWHERE.items():
            if flag in known and name not in known and name in others.split():
                return f"there is {flag}"
        close = difflib.get_close_matches(name, known, 1, 0.7) or [flag for flag in known if flag.startswith(f"{name}-")]
        return f"did you mean {close[0]}?" if close else "expected one of the flags that --help lists"

    def error(self, message):
        # argparse writes "argument --size: why"; ours is "--size: why".
        fail(self.verb, message.removeprefix("argument "))


def fail(verb: str, message: str):
    """One line on stderr, exit status 2."""
    print(f"{verb}: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(2)


def run(main: Callable[[], int | None]) -> int | None:
    """A verb's exit status. Ctrl-C is a line as well, and 130, as shells have it."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # a file name may hold what this terminal cannot show
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        nobody_reads(sys.stdout)
        return 141


def nobody_reads(stream: TextIO):
    """What is printed from now on goes nowhere: the program behind the pipe has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def user_errors(verb: str):
    """Turns ValueError and OSError of the enclosed steps into `fail`: wrap what reads the user's input, not the training."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        fail(verb, error)


@contextlib.contextmanager
def on_behalf_of(flag: str, asked: str = "--data"):
    """Errors of the enclosed step that name the flag `asked` name `flag` instead: the one that the user has typed."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(str(error).replace(f"{asked}:", f"{flag}:", 1)) from error


@contextlib.contextmanager
def writing(flag: str, place):
    """Errors of the system in the enclosed steps name the flag and what was to be written, not the hidden file that it is first."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if str(error).startswith("--"):
            raise
        raise OSError(f"{flag}: expected to write {place}, received: {error.strerror or error}") from error


def counted(number: int, noun: str) -> str:
    """(1, 'image') -> '1 image', (2001, 'image') -> '2,001 images'."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


@contextlib.contextmanager
def quiet():
    """Keeps stderr from the user's screen, also what C++ writes there. It is shown if the enclosed steps fail, but for OSError.

    For TensorFlow's import and its first look at the devices, which print a dozen lines that no environment variable silences
    (2.21: oneDNN's notice, "All log messages before absl::InitializeLog()", cuInit's failure on a machine without a GPU). The first
    time without garbage collection, which would look at all that is being imported, again and again: a seventh of the time.
    """
    hurried = gc.isenabled() and "tensorflow" not in sys.modules
    if hurried:
        gc.disable()
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except (KeyboardInterrupt, OSError):  # a full disk needs no more words
            raise
        except BaseException:
            noise.seek(0)
            os.write(screen, noise.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            if hurried:
                gc.freeze()  # modules stay: nobody need look at them again
                gc.enable()


class Expected(argparse.ArgumentTypeError, ValueError):
    """What a flag's reader raises, with what it expected: argparse would swallow a plain ValueError's message."""


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
