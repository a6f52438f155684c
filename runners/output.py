"""The output folder: ours or empty, and one writer at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from genembench.problem import Problem
from leaderboard.files import write_atomically

MARKER = "genembench.json"
RECORD = "run.json"
LOCK = ".lock"


@dataclass(frozen=True)
class Output:
    """An output folder and the command it belongs to; nothing is created until `claim`."""

    folder: Path
    kind: str

    def check(self) -> None:
        """Refuse a folder that holds somebody else's files.

        Raises:
            Problem: not a folder, not ours, or not writable.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise Problem(f"--output {self.folder} is a file", "Give a folder.")
        marker = self.folder / MARKER
        if marker.is_file():
            found = _kind(marker)
            if found != self.kind:
                raise Problem(
                    f"--output {self.folder} holds the results of `genembench {found}`, not of `{self.kind}`",
                    "Choose another folder.",
                )
        # A lock alone is ours: of a command that starts at this moment, or that could not write the marker.
        elif self.folder.is_dir() and any(path.name != LOCK for path in self.folder.iterdir()):
            raise Problem(
                f"--output {self.folder} is not empty and was not written by genembench",
                "Choose a new or an empty folder; nothing was written.",
            )
        parent = next(p for p in [self.folder, *self.folder.absolute().parents] if p.exists())
        if not os.access(parent, os.W_OK):
            raise Problem(f"--output {self.folder}: no permission to write in {parent}", "Choose another folder.")

    @contextmanager
    def claim(self) -> Iterator[None]:
        """Create and mark the folder, and hold it: a second writer is refused.

        Raises:
            Problem: another process is writing here.
        """
        self.check()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise Problem(
                f"another genembench is writing to {self.folder}", "Wait for it, or choose another --output."
            ) from None
        try:
            write_json(self.folder / MARKER, {"kind": self.kind, "format": 1})
            yield
        finally:
            lock.release()


def write_json(path: Path, value: object) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    write_atomically(path, text.encode("utf-8"))


def _kind(marker: Path) -> str:
    try:
        return str(json.loads(marker.read_text(encoding="utf-8"))["kind"])
    except (ValueError, KeyError, TypeError):
        raise Problem(f"{marker} cannot be read", "Choose another folder.") from None


def refuse_unfinished(run: Path) -> None:
    """Raise a Problem where a run without a record is one that is still being made, or was stopped."""
    if run.name.startswith(".partial-") or (run.parent / f".partial-{run.name}").is_dir():
        raise Problem(
            f"run {run.name.removeprefix('.partial-')} is not finished: it has no {RECORD} yet",
            "Wait for it; if it was stopped, the command that started it, given again, goes on with it.",
        )
