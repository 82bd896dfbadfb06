"""A process, killed with SIGKILL (or by two SIGTERM) at random moments and started again, ends where an
undisturbed one does."""

import contextlib
import os
import random
import signal
import time

import pytest

from tools.soak import checkpoint_steps, differences

SMALL = ["--size", "16", "--filters", "4", "--batch", "8", "--tick-kimg", "0.04", "--kimg", "0.24"]
SMALL += ["--keep", "2", "--deterministic"]
STEPS, TICKS = 30, 6


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt_twice(*_):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
        while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # by the first one's handler
            time.sleep(0.01)
    time.sleep(60)  # the second one does not come back


def train(arguments: list[str], moment: str | None = None, occasion: int = 0, aside: bool = False):
    """The verb itself, in a process that is killed at the given occasion of a moment. `aside`: it completes its
    ticks while it trains, as with a GPU."""
    from keras_dcgan import devices, files, fit, progress
    from keras_dcgan.runs import checkpoints
    from keras_dcgan.training import records

    def deadly(module, name, before=None):
        """Lets the function die when it is called for the `occasion`-th time, after doing `before`."""
        function, calls = getattr(module, name), []

        def call(*these, **options):
            calls.append(1)
            if len(calls) == occasion:
                (before or die)(*these)
                die()
            return function(*these, **options)

        setattr(module, name, call)

    def half_a_row(file, tick):
        with open(file.path, "a") as stream:
            stream.write(str(tick.row)[:40])

    def deadly_files(pattern):
        """Dies in the middle of the `occasion`-th file of such a name."""
        replacing, calls = files.replacing, []

        @contextlib.contextmanager
        def call(place, **options):
            with replacing(place, **options) as beside:
                calls.extend([1] if place.match(pattern) else [])
                if place.match(pattern) and len(calls) == occasion:
                    beside.write_bytes(b"half a file")
                    die()
                yield beside

        files.replacing = call

    moments = {
        "step": lambda: deadly(progress.Progress, "update"),
        "grid": lambda: deadly_files("*.png"),
        "row": lambda: deadly(records.MetricsFile, "__call__", half_a_row),
        "generator": lambda: deadly_files("generator*.keras"),
        "checkpoint": lambda: deadly(checkpoints, "_sha256"),  # its data are written, its name is not
        "impatient": lambda: deadly(checkpoints, "_sha256", interrupt_twice),
    }
    if moment:
        moments[moment]()
    devices.completes_ticks_aside = lambda strategy: aside
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        raise SystemExit(fit.main(arguments))


@pytest.fixture
def start(process):
    def run(*arguments):
        training = process(target=train, args=arguments)
        training.start()
        training.join(timeout=120)
        return training.exitcode

    return run


def test_killed_at_random_moments_it_ends_where_an_undisturbed_one_ends(start, folder, tmp_path):
    calm, killed = (
        ["--data", str(folder), "--run", str(tmp_path / name), *SMALL] for name in ("calm", "killed")
    )
    assert start(calm) == 0
    assert checkpoint_steps(tmp_path / "calm")[-1] == STEPS
    dice = random.Random(1)
    # An occasion is counted from each start: late enough for some progress, early enough to come before the
    # end.
    kills = [
        (moment, dice.randint(3, 6))
        for moment in ("step", "grid", "row", "generator", "checkpoint", "impatient")
    ]
    # The first grid comes before the first step; a row is there in each tick.
    kills = [(moment, 2 if moment in ("grid", "row") else occasion) for moment, occasion in kills]
    seen = []
    for number, (moment, occasion) in enumerate(kills):
        ended = -signal.SIGTERM if moment == "impatient" else -signal.SIGKILL
        assert start(killed, moment, occasion, number % 2 == 1) == ended, f"{moment} {occasion} came too late"
        seen.append(checkpoint_steps(tmp_path / "killed")[-1:])
    assert len(set(map(str, seen))) > 2  # it did get on meanwhile
    assert list((tmp_path / "killed").rglob(".*.part"))
    assert start(killed, None, 0, True) == 0
    assert not list((tmp_path / "killed").rglob(".*.part"))
    assert differences(tmp_path / "calm", tmp_path / "killed") == []
