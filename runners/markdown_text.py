"""Texts and values of the code as Markdown, for the page of all methods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_FILE = re.compile(r"(?<![\w/.-])(?:docs|methods|tests)/[\w/-]+(?:\.(?:csv|md|py))?")


def value(given: Any) -> str:
    """Return a hyper-parameter's value; 0.0001 as 1e-4, and a text as code with its line breaks visible."""
    if isinstance(given, float) and 0 < abs(given) < 0.01:
        return f"{Decimal(repr(given)).normalize():e}"
    if not isinstance(given, str):
        return str(given)
    quoted = repr(given)
    return code(quoted[1:-1] if given and given == given.strip() else quoted)


def code(text: str) -> str:
    """Return a text as code, whatever it holds."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    room = " " if "`" in text else ""
    return f"{fence}{room}{text}{room}{fence}"


def prose(text: str) -> str:
    """Return a sentence of the code as Markdown: nothing in it is markup but code; files and papers are linked."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(code(part.strip("`")) if i % 2 else _linked(part) for i, part in enumerate(parts))


def _linked(text: str) -> str:
    escaped = re.sub(r"[\\<*]|(?<![^\W_])_|_(?![^\W_])", lambda found: "\\" + found[0], text)
    escaped = _FILE.sub(lambda found: f"[{found[0]}]({_from_docs(found[0])})", escaped)
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", escaped)


def _from_docs(file: str) -> str:
    return file.removeprefix("docs/") if file.startswith("docs/") else f"../{file}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; what would end a cell or a row is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
