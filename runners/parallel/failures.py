"""Why a process of a run failed, for the one that writes the record: its own error may only be that the other left."""

from __future__ import annotations

import json
import time
from pathlib import Path

SECONDS_TO_HEAR = 3.0
_NAME = "failure.{rank}.json"


def leave_failure(folder: Path, rank: int, status: str, reason: str) -> None:
    """Say how a process other than the first ended; the process itself does, or who saw it die."""
    file = folder / _NAME.format(rank=rank)
    writing = file.with_suffix(".writing")
    writing.write_text(json.dumps({"rank": rank, "status": status, "reason": reason}), encoding="utf-8")
    writing.replace(file)


def has_left_failure(folder: Path, rank: int) -> bool:
    """Whether a process has said how it ended."""
    return (folder / _NAME.format(rank=rank)).exists()


def read_failure(folder: Path, *, patience: float = 0.0) -> tuple[str, str] | None:
    """Return status and reason of the first process that left one, waiting so many seconds for it."""
    deadline = time.monotonic() + patience
    while True:
        for file in sorted(folder.glob(_NAME.format(rank="*"))):
            found = json.loads(file.read_text(encoding="utf-8"))
            return found["status"], f"process {found['rank']}: {found['reason']}"
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.1)


def forget_failures(folder: Path) -> None:
    """Remove what an earlier attempt left."""
    for file in folder.glob(_NAME.format(rank="*")):
        file.unlink()
