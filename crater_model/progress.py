"""One progress line on stderr, for anything that takes longer than a few seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """A live line on a terminal; in a log, a line every `log_every_s` seconds.

    Use it as a context manager and call `update` as often as is convenient. `done` units were
    finished before it began and do not count for the rate.
    """

    def __init__(self, what: str, total: int | None = None, log_every_s: float = 10.0,
                 done: int = 0):
        self.what, self.total, self._log_every_s = what, total, log_every_s
        self._start = self._shown = time.monotonic()
        self._done = self._before = done
        self._live = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None and (self._live or time.monotonic() - self._start >= 2.0):
            self._show(end="\n")
        elif self._live:
            print(file=sys.stderr)

    def update(self, done: int, note: str = "") -> None:
        """Says that `done` units are finished; `note` is shown behind the rate."""
        self._done, self._note = done, note
        now = time.monotonic()
        if now - self._shown >= (0.2 if self._live else self._log_every_s):
            self._shown = now
            self._show(end="" if self._live else "\n")

    _note = ""

    @property
    def seconds(self) -> float:
        """Since it began; never zero."""
        return max(time.monotonic() - self._start, 1e-9)

    def _show(self, end: str) -> None:
        rate = (self._done - self._before) / self.seconds
        text = f"{self.what}: {self._done}"
        if self.total is not None:
            text += f"/{self.total}"
        text += f"  {rate:.3g}/s"
        if self.total and self._before < self._done < self.total:
            text += f"  {format_seconds((self.total - self._done) / rate)} left"
        if self._note:
            text += f"  {self._note}"
        print(("\r\x1b[K" if self._live else "") + text, end=end, file=sys.stderr, flush=True)


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yields the items and shows how many are done."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    with Progress(what, total) as line:
        for done, item in enumerate(items, start=1):
            yield item
            line.update(done)


def format_seconds(seconds: float) -> str:
    """'8 s', '2 min 05 s' or '1 h 02 min'."""
    seconds = int(round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
