"""Progress on stderr of anything that takes longer than a few seconds, by tqdm.

It is tqdm and not rich, which leaves nothing in a log before the end, and takes over stdout
and stderr by a thread of its own while it draws.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")
# The first unit has the start of processes and the tracing of graphs in it: the rate counts from
# its end on, and is shown, with an estimate, after as long again and no earlier than this.
SETTLED_S = 5.0
# Shorter work leaves no line in a log.
SHORT_S = 2.0


class Progress:
    """A live line on a terminal; in a log, a line every `log_every_s` seconds.

    Use it as a context manager and call `update` as often as is convenient. `done` units were
    finished before it began and do not count for the rate.
    """

    def __init__(self, what: str, total: int | None = None, log_every_s: float = 10.0,
                 done: int = 0):
        self._start, self._before = time.monotonic(), done
        self._live = sys.stderr.isatty()
        options = {"desc": what, "total": total, "initial": done, "miniters": 0}
        self._bar = (_Bar(**options, mininterval=0.2, dynamic_ncols=True) if self._live
                     else _Log(**options, mininterval=log_every_s, delay=1e-9, leave=False))

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind, *_) -> None:
        rate = (self._bar.n - self._before) / self.seconds
        self._bar.ended = f"  {rate:.3g}/s  took {format_seconds(self.seconds)}"
        if kind is None and not self._live and self.seconds >= SHORT_S:
            self._bar.refresh()
        self._bar.close()

    def update(self, done: int, note: str = "") -> None:
        """Says that `done` units are finished; `note` is shown behind the rate."""
        self._bar.note = note
        if self._bar.first_s is None and done > self._before:
            self._bar.count_from(done, self.seconds)
        self._bar.update(done - self._bar.n)

    @property
    def seconds(self) -> float:
        """Since it began; never zero."""
        return max(time.monotonic() - self._start, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """The estimate; None without a total, and as long as there is too little to go by."""
        rate = self._bar.rate
        return (self._bar.total - self._bar.n) / rate if rate and self._bar.total else None


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Yields the items and shows how many are done."""
    if total is None and isinstance(items, Sized):
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


class _Bar(tqdm):
    """Our words behind tqdm's: the mean rate since the first unit, and what is left by it."""

    monitor_interval = 0  # no thread
    picture = "  {bar:16}"
    ended = note = ""
    first_s: float | None = None  # what the first unit took

    def __init__(self, **options):
        counted = "{n}/{total_fmt}" + self.picture if options["total"] else "{n}"
        super().__init__(bar_format="{desc}: " + counted + "{pace}{note}", **options)

    def count_from(self, done: int, first_s: float) -> None:
        """The first `done` units took `first_s`; the rate is that of those after them."""
        self.first_s, self._first, self._since = first_s, done, time.monotonic()

    @property
    def rate(self) -> float | None:
        """Units/s; None as long as there is too little to go by."""
        if self.first_s is None or self.n <= self._first:
            return None
        seconds = time.monotonic() - self._since
        return (self.n - self._first) / seconds if seconds >= max(SETTLED_S, self.first_s) else None

    @property
    def format_dict(self) -> dict[str, Any]:
        pace, rate = self.ended, self.rate
        if rate and not pace:
            pace = f"  {rate:.3g}/s"
            if self.total and self.n < self.total:
                pace += f"  {format_seconds((self.total - self.n) / rate)} left"
        return {**super().format_dict, "pace": pace, "note": f"  {self.note}" if self.note else ""}


class _Log(_Bar):
    """A line of its own each time, without what only a terminal understands."""

    picture = ""

    def display(self, msg=None, pos=None) -> None:
        if msg is None:
            print(self, file=sys.stderr, flush=True)


def say(text: str) -> None:
    """A line on stderr that no progress line overwrites."""
    tqdm.write(text, file=sys.stderr)
