"""What every verb has in common: how it reads its flags, and how it says that something is wrong. Stdlib
only.

A user's mistake is one line on stderr that names the flag, what was expected and what was received, and exit
status 2:

    fit: --size: expected N or HxW with sides from 16 to 512, received '9'
"""

import argparse
import codecs
import contextlib
import difflib
import errno
import functools
import gc
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TextIO

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
        for flag, others in ELSEWHERE.items():
            if flag in known and name not in known and name in others.split():
                return f"there is {flag}"
        close = difflib.get_close_matches(name, known, 1, 0.7) or [
            flag for flag in known if flag.startswith(f"{name}-")
        ]
        return f"did you mean {close[0]}?" if close else "expected one of the flags that --help lists"

    def error(self, message):
        # argparse writes "argument --size: why"; ours is "--size: why".
        fail(self.verb, message.removeprefix("argument "))


SHARED_MEMORY = "/dev/shm"  # of Linux
SWALLOWED = 0.2  # seconds after which a KeyboardInterrupt that is nowhere to be seen is raised again
SPELT = {"━": "=", "─": "-", "±": "+-"}


def spell(error: UnicodeEncodeError) -> tuple[str, int]:
    """What a terminal or a log cannot show, in ASCII: a bar, or what a file name may hold."""
    unknown = error.object[error.start : error.end]
    return "".join(SPELT.get(sign) or ascii(sign)[1:-1] for sign in unknown), error.end


codecs.register_error("spell", spell)


# the file descriptor of what the user sees as stderr; `quiet` puts another file in its place for a while
screen = 2
interrupted = False  # by Ctrl-C: whatever is raised from then on comes of it


def fail(verb: str, message: str):
    """One line on stderr, exit status 2."""
    if interrupted:
        raise KeyboardInterrupt
    print(f"{verb}: {' '.join(str(message).split())}", file=sys.stderr)
    raise SystemExit(2)


def run(main: Callable[[], int | None]) -> int | None:
    """A verb's exit status. Ctrl-C is a line as well, and 130, as shells have it."""
    global interrupted
    open_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not in a notebook
            stream.reconfigure(errors="spell")
    try:
        with ctrl_c():
            code = main()
            sys.stdout.flush()
            if not interrupted:
                return code
    except BrokenPipeError:
        nobody_reads(sys.stdout)
        return 141
    except BaseException as error:
        no_alarm()
        if not interrupted and getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            nobody_reads(sys.stdout)  # its disk is full, or its terminal gone
            with contextlib.suppress(OSError):
                print(f"stopped: {error}", file=sys.stderr, flush=True)
            return 1
        if not (interrupted or isinstance(error, KeyboardInterrupt)):
            raise
    if screen != 2:  # it came in the middle of `quiet`
        os.dup2(screen, 2)
    exec(
        ""
    )  # Python 3.11 would else end as killed where the KeyboardInterrupt has passed another exec of a string
    interrupted = False
    print("interrupted", file=sys.stderr)
    return 130


at_end = contextlib.ExitStack()  # knows how to undo what a verb has changed for the whole process


def tidy(main: Callable) -> Callable:
    """A verb that undoes this when it ends: it may be called in a notebook, from where others go on."""

    @functools.wraps(main)
    def call(arguments=None):
        open_streams()
        with at_end:
            return main(arguments)

    return call


def open_streams():
    """Closed ones (`>&-`) lead to nowhere: the next file to be opened would take their number, and what C++
    prints with it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))


@contextlib.contextmanager
def ctrl_c():
    """Meanwhile Ctrl-C raises KeyboardInterrupt wherever the main thread is, and again where somebody has
    swallowed it: TensorFlow calls Python from C++, and makes something else of it there, or nothing. A second
    one ends the process at once."""
    global interrupted
    interrupted = False
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) in (
        signal.SIG_IGN,
        None,
    ):
        yield
        return

    def interrupt(number, frame):
        global interrupted
        if interrupted:
            with contextlib.suppress(OSError):
                os.write(screen, b"interrupted\n")
            os._exit(130)
        interrupted = True
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.signal(signal.SIGALRM, raise_again)
            signal.setitimer(signal.ITIMER_REAL, SWALLOWED, SWALLOWED)
        raise KeyboardInterrupt

    def raise_again(number, frame):
        if sys.exception() is None:  # else it is on its way up, through everybody's `finally`
            raise KeyboardInterrupt

    def unraisable(about):
        if not interrupted:
            sys.__unraisablehook__(about)

    before, sys.unraisablehook = signal.signal(signal.SIGINT, interrupt), unraisable
    try:
        yield
    finally:
        no_alarm()
        signal.signal(signal.SIGINT, before)


def no_alarm():
    if interrupted and hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def nobody_reads(stream: TextIO):
    """What is printed from now on goes nowhere: the program behind the pipe has ended."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def user_errors(verb: str):
    """Turns ValueError and OSError of the enclosed steps into `fail`: wrap what reads the user's input, not
    the training."""
    try:
        yield
    except BrokenPipeError:
        raise
    except (ValueError, OSError) as error:
        fail(verb, error)


@contextlib.contextmanager
def on_behalf_of(flag: str, asked: str = "--data"):
    """Errors of the enclosed step that name the flag `asked` name `flag` instead: the one that the user has
    typed."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ValueError(str(error).replace(f"{asked}:", f"{flag}:", 1)) from error


@contextlib.contextmanager
def writing(flag: str, place):
    """Errors of the system in the enclosed steps name the flag and what was to be written, not the hidden
    file that it is first."""
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
    """Keeps stderr from the user's screen, also what C++ writes there. It is shown if the enclosed steps
    fail, but for OSError.

    For TensorFlow's import and its first look at the devices, which print a dozen lines that no environment
    variable silences (2.21: oneDNN's notice, "All log messages before absl::InitializeLog()", cuInit's
    failure on a machine without a GPU). The first time without garbage collection, which would look at all
    that is being imported, again and again: a seventh of the time.
    """
    global screen
    hurried = gc.isenabled() and "tensorflow" not in sys.modules
    if hurried:
        gc.disable()
    open_streams()
    sys.stderr.flush()
    screen = os.dup(2)
    with unnamed_file() as noise:
        os.dup2(noise.fileno(), 2)
        try:
            yield
        except (KeyboardInterrupt, OSError):  # a full disk needs no more words
            raise
        except BaseException:
            if not interrupted:
                noise.seek(0)
                os.write(screen, noise.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            screen = 2
            if hurried:
                gc.freeze()  # modules stay: nobody need look at them again
                gc.enable()


def unnamed_file() -> BinaryIO:
    """For a while; where the system has no place for temporary files, what is written is lost. The import of
    TensorFlow and a .keras file want such a place as well: memory will do, where a container has everything
    else read-only."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        if os.access(SHARED_MEMORY, os.W_OK):
            tempfile.tempdir = SHARED_MEMORY
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")


class Expected(argparse.ArgumentTypeError, ValueError):
    """What a flag's reader raises, with what it expected: argparse would swallow a plain ValueError's
    message."""


# gs://bucket, https://host, host:/folder; written as a path it would be made here.
OF_ANOTHER_MACHINE = re.compile(r"[\w.@+-]{2,}:/")
DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def path(text: str) -> str:
    """A path of this machine, with a leading ~ expanded. What means something elsewhere is refused: it would
    be made here."""
    expected = f"expected a path of this machine, received {text!r}"
    if text in ("", "-"):
        raise Expected(expected)
    if OF_ANOTHER_MACHINE.match(text) or (DRIVE.match(text) and os.name != "nt"):
        raise Expected(f"{expected}, which lies elsewhere")
    found = os.path.expanduser(text)
    if text[0] == "~" and found == text and not os.path.exists(text):
        raise Expected(f"{expected} (no such home)")
    return found


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
    is_bucket = text.endswith(".tfrecord") and "://" in text
    return text if is_bucket or is_demo(text) else path(text)


def is_demo(text: str) -> bool:
    """Whether it names the built-in portraits: demo, or so many of them, demo:4000."""
    word, colon, count = text.partition(":")
    return word == "demo" and (not colon or (count.isdecimal() and 0 < int(count) <= 10**6))


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
