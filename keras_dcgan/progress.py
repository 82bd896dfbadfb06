"""How far a long work has come: a line that rewrites itself on a terminal, and elsewhere plain lines. Stdlib
only.

    with Progress("drawing", 10_000) as progress:
        progress.update(500)               # ━━──────── drawing 500 of 10,000 images  120 img/s  1:19 left
        progress.begin("swd")              # the next part of the work, of unknown length
    for image in watched(images, "drawing", 10_000): ...

A work of less than five seconds leaves nothing where there is no terminal.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

from keras_dcgan import process

BAR = 24  # characters
REDRAWN = 0.2  # seconds between two states of the line on a terminal
FIRST, EVERY = 5.0, 30.0  # seconds until the first plain line, and from one to the next


class Progress:
    """`what` is done to `total` things; `unit` "kimg" counts images and shows thousands, "%" shows no total.
    Where stderr, or another `stream`, is a terminal, `close` takes the line away.

    Not Keras' Progbar: after a resume its rate and its time left would count the images of earlier processes
    as well.
    """

    def __init__(self, what: str = "", total: int = 0, unit: str = "images", stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        # A dumb terminal cannot go back to the start of a line.
        self.is_terminal = (
            self.stream is not None and self.stream.isatty() and os.environ.get("TERM") != "dumb"
        )
        self.full, self.empty = "━─" if _can_show(self.stream, "━─") else "=-"
        self.facts = ""  # behind the state
        self.length = 0  # of the line on the terminal
        self.due = self.earliest = time.monotonic() + FIRST  # of a plain line
        self.redrawn = 0.0
        self.first: tuple[float, float] | None = None
        self._set(what, total, unit)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_):
        self.close()

    def begin(self, what: str, total: int = 0, unit: str = "images"):
        """The next part of the work; without a `total` nothing is known of its length."""
        self._set(what, total, unit)
        if self.is_terminal:
            self._redraw()
        elif time.monotonic() >= self.earliest:
            self.note(what)

    def update(self, count: float):
        """So many are done."""
        now = time.monotonic()
        self.count = count
        self.first = self.first or (now, count)
        if self.is_terminal:
            if now - self.redrawn > REDRAWN:
                self._redraw()
        elif now >= self.due and count > self.first[1]:
            self.leave()

    def leave(self, count: float | None = None):
        """The state as a line that stays: the present one, or that of an earlier count."""
        self.note(self._state(count) + self.facts)

    def note(self, text: str):
        """Another line that stays."""
        self._print(f"\r{text:{self._shown()}}" if self.length else text)
        self.length = 0
        self.due = time.monotonic() + EVERY

    def close(self):
        if self.length:
            self._print(f"\r{'':{self._shown()}}\r", end="")
            self.length = 0

    def _set(self, what: str, total: int, unit: str):
        self.what, self.total, self.unit = what, total, unit
        # (time, count) after the first of them, which has built the graph and tells nothing about the rate.
        # Of a hundred parts the first may take minutes.
        self.first, self.count = (time.monotonic(), 0) if unit == "%" else None, 0

    def _redraw(self):
        room = self._width() - 1  # in the last column a cursor may be on the next line already
        line = self._state()
        if self.total and BAR + 1 + len(line) <= room:
            done = round(BAR * min(1, self.count / self.total))
            line = f"{self.full * done}{self.empty * (BAR - done)} {line}"
        line = (line + self.facts)[:room]
        # Spaces: a notebook does not know the code that clears the rest of a line.
        self._print(f"\r{line:{self._shown()}}", end="")
        self.length, self.redrawn = len(line), time.monotonic()

    def _width(self) -> int:
        """Of the terminal in characters, at this moment."""
        try:
            columns = os.get_terminal_size(self.stream.fileno()).columns
        except (OSError, ValueError):  # not a real one
            columns = 0
        return columns or shutil.get_terminal_size().columns

    def _shown(self) -> int:
        """Characters to overwrite."""
        return min(self.length, self._width() - 1)

    def _print(self, text: str, end: str = "\n"):
        if self.stream is not None:
            process.say(text, end, self.stream)

    def _state(self, count: float | None = None) -> str:
        shown = self.count if count is None else count
        if self.unit == "kimg":
            state = f"{shown / 1000:.1f}/{self.total / 1000:.1f} kimg"
        elif self.unit == "%":
            state = f"{shown:.0f} %"
        else:
            state = f"{shown:,} of {self.total:,} {self.unit}" if self.total else ""
        state = f"{self.what} {state}".strip()
        if self.first and self.count > self.first[1]:
            since, before = self.first
            rate = (self.count - before) / max(time.monotonic() - since, 1e-9)
            state += f"  {rate:,.0f} img/s" if self.unit in ("images", "kimg") else ""
            state += f"  {duration((self.total - self.count) / rate)} left" if self.total else ""
        return state


def watched(items: Iterable, what: str, total: int, unit: str = "images") -> Iterator:
    """The items, one after the other, while a Progress counts them."""
    with Progress(what, total, unit) as progress:
        for count, item in enumerate(items, 1):
            yield item
            progress.update(count)


def duration(seconds: float) -> str:
    """3725 -> '1:02:05', 65 -> '1:05'."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _can_show(stream: TextIO | None, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
        return True
    except UnicodeEncodeError:
        return False
