"""A new folder, there whole or not at all, and one writer at a time."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from genembench.problem import DISK, Problem
from leaderboard.units import gigabytes

# How libraries written in Rust (safetensors, tokenizers) report what the system said.
_ERRNO = re.compile(r"\(os error (\d+)\)")


def check_free(target: Path) -> None:
    """Refuse a folder that holds anything.

    Raises:
        Problem: it is a file, not empty, or cannot be written where it should stand.
    """
    if target.is_dir() and not any(target.iterdir()):
        return
    if target.exists():
        what = "is not empty" if target.is_dir() else "is a file"
        raise Problem(f"{target} {what}", "Name a new or an empty folder; nothing was written.")
    parent = next(each for each in target.absolute().parents if each.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise Problem(f"{target}: no permission to write in {parent}", "Choose another folder.")


@contextmanager
def new_folder(target: Path, needed: int) -> Iterator[Path]:
    """Give a folder to write into, beside ``target``; it becomes ``target`` if all goes well, else nothing is left.

    Args:
        target: The folder.
        needed: Bytes that will be written; that there is room is asked before anything is done.

    Raises:
        Problem: `check_free`; somebody else is writing the same; the disk is full.
    """
    target = Path(os.path.realpath(target))
    check_free(target)
    # Not beside the target: it would have to be taken away again, and that cannot be done without a race.
    name = hashlib.sha256(f"{os.getuid()} {target}".encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir(), f"genembench-export-{name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise Problem(
            f"another genembench is exporting to {target}", "Wait for it, or choose another folder."
        ) from None
    partial = target.with_name(f".{target.name}.exporting")
    try:
        # An export that was killed left it.
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _check_room(partial, needed)
        yield partial
        check_free(target)
        partial.replace(target)
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else _number(error)
        if number not in DISK:
            raise
        raise Problem(
            f"{target} could not be written: {os.strerror(number)}",
            f"Nothing is left behind. It takes {gigabytes(needed)}: make room, then run the same command again.",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        lock.release()


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Problem(
            f"{folder.parent} has {gigabytes(free)} free, and the export takes {gigabytes(needed)}",
            "Make room, or name a folder on another disk.",
        )


def _number(error: Exception) -> int | None:
    found = _ERRNO.search(str(error))
    return int(found[1]) if found else None
