"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts up to ``total`` units of ``unit``; use as a context manager. ``quiet`` only counts."""

    def __init__(self, label: str, total: int, unit: str, *, quiet: bool = False) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self._start = 0
        self._began = self._last = self._seen = time.monotonic()
        self._quiet = quiet
        terminal = sys.stderr.isatty() and not quiet
        self._bar = tqdm(total=total, desc=label, unit=unit, leave=False) if terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, total: int, done: int = 0) -> None:
        """Begin another piece of work of ``total`` units, ``done`` of which an earlier process has done."""
        self.total, self.done, self._start = total, done, done
        # It began when the piece before it was last heard of: the first news comes only after some work.
        self._began = self._seen
        if self._bar is not None:
            self._bar.reset(total=total)
            self._bar.update(done)

    def to(self, done: int, note: str = "") -> None:
        """Say that ``done`` units are done; ``note`` stands at the end of the line."""
        step, self.done = done - self.done, done
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(step)
            return
        now = self._seen = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES and done < self.total and not self._quiet:
            self._last = now
            rate = (done - self._start) / (now - self._began)
            left = (self.total - done) / rate if rate else float("inf")
            say(f"{self.label}: {done:,} of {self.total:,} {self.unit}s, {left:,.0f} s left  {note}".rstrip())


def say(line: str) -> None:
    """Print one line for the person who waits, past any progress bar."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
