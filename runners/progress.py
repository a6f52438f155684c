"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts up to ``total`` units of ``unit``; use as a context manager."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self._start = 0
        self._began = self._last = time.monotonic()
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, unit=unit, leave=False) if terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def part(self, done: int, total: int, note: str = "") -> None:
        """Say that ``done`` of ``total`` units are done, where the total is only known once the work has begun."""
        if total != self.total or done < self.done:
            self.total, self.done, self._start = total, 0, 0
            self._began = time.monotonic()
            if self._bar is not None:
                self._bar.reset(total=total)
        self.to(done, note)

    def to(self, done: int, note: str = "") -> None:
        """Say that ``done`` units are done; ``note`` stands at the end of the line."""
        step, self.done = done - self.done, done
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(step)
            return
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES and done < self.total:
            self._last = now
            rate = (done - self._start) / (now - self._began)
            left = (self.total - done) / rate if rate else float("inf")
            say(f"{self.label}: {done:,} of {self.total:,} {self.unit}s, {left:,.0f} s left  {note}".rstrip())


def say(line: str) -> None:
    """Print one line for the person who waits, past any progress bar."""
    tqdm.write(line, file=sys.stderr)
    sys.stderr.flush()
