"""The one exception that every room may raise for a mistake the user can mend.

It lives in the public package because each of the four rooms raises it and none of them may import another for it.
The command line prints it without a traceback and exits with code 2.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

# What is wrong with the disk, not with genembench.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


class Problem(Exception):
    """Something the user gave cannot be used.

    Args:
        what: What was wrong and what was got, one sentence.
        hint: What is allowed and what to do next; printed on a line of its own.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __reduce__(self) -> tuple[type[Problem], tuple[str, str]]:
        """Keep the hint when the problem crosses a process boundary."""
        return type(self), (self.what, self.hint)

    def __str__(self) -> str:
        return f"{self.what}\n  {self.hint}" if self.hint else self.what


def near_misses(word: str, allowed: Iterable[str], limit: int = 3) -> list[str]:
    """Return the allowed words that ``word`` was probably meant to be, best first (case is ignored)."""
    by_folded = {name.casefold(): name for name in allowed}
    close = difflib.get_close_matches(word.casefold(), by_folded, n=limit, cutoff=0.6)
    contained = [folded for folded in by_folded if word.casefold() in folded and folded not in close]
    return [by_folded[folded] for folded in [*close, *contained][:limit]]


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return the beginning of a hint, ``"Did you mean a or b? "``, or nothing where no allowed word is near."""
    close = near_misses(word, allowed)
    return f"Did you mean {' or '.join(close)}? " if close else ""


def unknown(kind: str, word: str, allowed: Iterable[str]) -> Problem:
    """Build the problem "no such ``kind``", naming near misses first and then everything that is allowed."""
    names = sorted(allowed)
    return Problem(f"unknown {kind} '{word}'", f"{did_you_mean(word, names)}Known: {', '.join(names) or 'none'}.")
