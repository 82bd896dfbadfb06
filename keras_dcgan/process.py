"""What a verb does to its process: streams, Ctrl-C, what TensorFlow prints while it starts, and how all of that is
undone. Stdlib only.

    raise SystemExit(run(main))        # Ctrl-C: a line and 130; a closed pipe: 141; a full disk: a line and 1
"""

import atexit
import codecs
import contextlib
import errno
import functools
import gc
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, TextIO

SHARED_MEMORY = "/dev/shm"  # of Linux
SWALLOWED = 0.2  # seconds after which a KeyboardInterrupt that is nowhere to be seen is raised again
SPELT = {"━": "=", "─": "-", "±": "+-"}


def spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """What a terminal or a log cannot show, in ASCII: a bar, or what a file name may hold."""
    assert isinstance(error, UnicodeEncodeError)  # nothing is decoded so
    unknown = error.object[error.start : error.end]
    return "".join(SPELT.get(sign) or ascii(sign)[1:-1] for sign in unknown), error.end


codecs.register_error("spell", spell)


# the file descriptor of what the user sees as stderr; `quiet` puts another file in its place for a while
screen = 2
interrupted = False  # by Ctrl-C: whatever is raised from then on comes of it


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
atexit.register(at_end.close)  # of a script that is not `tidy`, before modules are taken apart


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


def say(text: str, end: str = "\n", stream: TextIO | None = None):
    """Prints, to stdout if no other is named. Where nobody reads that any more, since the program behind the pipe has
    ended or the terminal is gone, the work goes on."""
    stream = stream or sys.stdout
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        if not isinstance(error, BrokenPipeError) and error.errno != errno.EIO:
            raise
        nobody_reads(stream)


def nobody_reads(stream: TextIO):
    """What is printed from now on goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around TensorFlow's import: quietly, and the first time without garbage collection, which would look at
    all that is being imported, again and again: a seventh of the time."""
    hurried = gc.isenabled() and "tensorflow" not in sys.modules
    if hurried:
        gc.disable()
    try:
        with quiet():
            yield
    finally:
        if hurried:
            gc.freeze()  # modules stay: nobody need look at them again
            gc.enable()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps stderr from the user's screen, also what C++ writes there. It is shown if the enclosed steps
    fail, but for OSError.

    For TensorFlow's import and its first look at the devices, which print a dozen lines that no environment
    variable silences (2.21: oneDNN's notice, "All log messages before absl::InitializeLog()", cuInit's
    failure on a machine without a GPU).
    """
    noise = _silence()
    try:
        yield
    except (KeyboardInterrupt, OSError):  # a full disk needs no more words
        raise
    except BaseException:
        if not interrupted:
            noise.seek(0)
            os.write(screen, noise.read())
            noise.truncate(0)
        raise
    finally:
        _end_of_silence()


silences: list[BinaryIO] = []  # one for each `quiet` that is on, in any thread: there is only one stderr
changing_silence = threading.Lock()


def _silence() -> BinaryIO:
    """-> where stderr goes: the first one redirects it."""
    global screen
    with changing_silence:
        if not silences:
            open_streams()
            sys.stderr.flush()
            noise = unnamed_file()
            screen = os.dup(2)
            os.dup2(noise.fileno(), 2)
        silences.append(silences[0] if silences else noise)
        return silences[0]


def _end_of_silence():
    """The last one gives stderr back."""
    global screen
    with changing_silence:
        noise = silences.pop()
        if not silences:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            screen = 2
            noise.close()


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
