"""What a long work shows: on terminals of any width, on dumb ones, and where there is none."""

import io
import os
import sys

import pytest

from keras_dcgan import progress
from keras_dcgan.progress import Progress, duration, watched


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until clock(seconds)."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


class Screen(io.StringIO):
    def isatty(self):
        return True

    def __str__(self):
        """As a terminal shows it: what stands in the last line."""
        line = ""
        for part in self.getvalue().rpartition("\n")[2].split("\r"):
            line = part + line[len(part) :]
        return line.rstrip()


def fit_bar(stream):
    return Progress("", 4000, "kimg", stream)


def test_without_a_terminal_there_is_a_line_after_five_seconds_and_each_half_minute(clock):
    out = io.StringIO()
    bar = fit_bar(out)
    for images in range(0, 800, 10):
        clock(1)
        bar.update(images)
    bar.facts = "  d_loss 0.500"
    bar.leave()  # a tick has ended
    clock(29)
    bar.update(1000)
    clock(1)
    bar.update(1010)
    bar.close()
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["0.0/4.0", "0.3/4.0", "0.6/4.0", "0.8/4.0", "1.0/4.0"]
    assert (
        lines[0] == "0.0/4.0 kimg  10 img/s  6:36 left"
        and lines[3] == "0.8/4.0 kimg  10 img/s  5:21 left  d_loss 0.500"
    )
    assert "\r" not in out.getvalue()


def test_on_a_terminal_a_line_rewrites_itself_ticks_stay_and_nothing_else(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = Screen()
    bar = fit_bar(out)
    bar.update(1000)
    clock(1)
    for images in (2000, 2010):
        bar.update(images)
    assert (
        str(out) == "━" * 12 + "─" * 12 + " 2.0/4.0 kimg  1,000 img/s  0:02 left"
    )  # 2,010 came too soon after that
    bar.facts = "  d_loss 0.500"
    clock(2)
    bar.update(4000)
    bar.leave()
    assert (
        out.getvalue().splitlines()[-1].split("\r")[-1].rstrip()
        == "4.0/4.0 kimg  1,000 img/s  0:00 left  d_loss 0.500"
    )
    bar.note("warning: it collapses")
    clock(1)
    bar.update(4000)
    bar.close()
    assert str(out) == "" and out.getvalue().count("\n") == 2


@pytest.mark.parametrize("columns", [20, 30, 60, 135])
def test_the_line_is_never_wider_than_the_terminal_is_at_the_moment(columns, clock, monkeypatch):
    out = Screen()
    bar = fit_bar(out)
    bar.facts = "  d_loss 0.500  g_loss 1.250  real_acc 0.75  fake_acc 1.00  swd 30.0"
    out.fileno = lambda: 7
    for width in (200, columns):
        monkeypatch.setattr(
            progress.os, "get_terminal_size", lambda descriptor, width=width: os.terminal_size((width, 24))
        )
        clock(1)
        bar.update(10)
    wide, narrow = out.getvalue().split("\r")[1:]
    assert len(wide) > 100 and len(narrow) < columns
    assert narrow.startswith("─") == (columns >= 60) and "0.0/4.0 kimg" in narrow  # the bar goes first


def test_a_dumb_terminal_gets_plain_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Screen()
    bar = Progress("drawing", 100, stream=out)
    for images in range(0, 100, 5):
        clock(1)
        bar.update(images)
    bar.close()
    assert out.getvalue() == "drawing 20 of 100 images  5 img/s  0:16 left\n"


def test_a_bar_is_of_what_the_terminal_can_show(clock):
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    out.isatty = lambda: True
    bar = Progress("drawing", 4, stream=out)
    bar.update(1)
    assert out.buffer.getvalue() == b"\r" + b"=" * 6 + b"-" * 18 + b" drawing 1 of 4 images"


def test_the_parts_of_a_long_work_are_named_and_those_of_a_short_one_are_not(clock):
    out = io.StringIO()
    with Progress(stream=out) as bar:
        for part in ("drawing", "swd", "msssim"):
            bar.begin(part)
            clock(3)
    assert out.getvalue() == "msssim\n"


def test_watched_counts_what_it_hands_on(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    def slow():
        for item in "abcd":
            clock(4)
            yield item

    assert list(watched(slow(), "tasting", 4, "letters")) == list("abcd")
    assert sys.stderr.getvalue() == "tasting 2 of 4 letters  0:08 left\n"


def test_time_left_counts_this_process_alone(clock):
    bar = Progress("", 100_000, "kimg", io.StringIO())
    bar.update(90_000)  # resumed here: what earlier processes did is no part of the rate
    clock(4)
    bar.update(91_000)
    bar.leave()
    assert bar.stream.getvalue() == "91.0/100.0 kimg  250 img/s  0:36 left\n"


def test_durations():
    assert [duration(seconds) for seconds in (5, 65, 3725)] == ["0:05", "1:05", "1:02:05"]


@pytest.mark.parametrize("opened", ["pipe", "openpty"])  # its program has ended; its terminal is gone
def test_the_work_goes_on_when_nobody_reads_its_progress_any_more(opened):
    read, write = getattr(os, opened)()
    with os.fdopen(write, "w") as stream:
        bar = fit_bar(stream)
        os.close(read)
        for images in (1, 2):
            bar.update(images)
            bar.leave()
            bar.note("")


def test_without_stderr_nothing_is_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with Progress("drawing", 4) as bar:
        bar.update(1)
        bar.leave()
