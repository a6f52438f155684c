"""Training data from JSON lines, plain or gzip-compressed, with foreign field names renamed on the way in.

What is no JSON-lines file is read elsewhere: :mod:`benchmarks.sources` decides.

Every complaint names the file and the line, because the file is usually somebody else's and large.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, cast

from benchmarks.kinds import fields_listed, kind_of, likely_source, normalise
from genembench.problem import Problem, near_misses, unknown

_GZIP = b"\x1f\x8b"
# Recognised only to say something better than "not UTF-8".
_FOREIGN = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "zstandard-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
}
_BOM = b"\xef\xbb\xbf"
_FORMAT = "Give JSON lines (one object per line, UTF-8), plain or compressed with gzip."
_OTHERS = "Give JSON lines or Parquet, a folder of either, or a dataset of the hub as hf:OWNER/NAME."


def read_records(path: str | PathLike[str], kind: str, mapping: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a JSON-lines file in file order.

    Whether the file is compressed is read off its first bytes, not its name; a pipe will do. Blank lines are skipped.
    Nothing is opened before the first row is asked for.

    Args:
        path: The file.
        kind: One of ``benchmarks.kinds.KINDS``.
        mapping: Our field to the file's field, as ``{"positive": "pos"}``; see :func:`rename`.

    Raises:
        Problem: The file cannot be read, holds no records, or has a line that is not a record of ``kind``.
    """
    kind_of(kind)
    line = 0  # lines read in full so far
    rows = 0
    try:
        # GzipFile does not close the stream it is given, so that the outer "with" owns it either way.
        with _open(Path(path)) as raw, _unpacked(raw, Path(path)) as stream:
            for line_bytes in stream:
                line += 1
                if not line_bytes.strip() or line_bytes.strip() == _BOM:
                    continue
                where = f"{path}, line {line}"
                record = _parsed(line_bytes.removeprefix(_BOM) if line == 1 else line_bytes, where)
                rows += 1
                yield normalise(kind, rename(record, mapping, where) if mapping else record, where)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise Problem(
            f"{path}: the gzip data is cut off or damaged after line {line} ({error})",
            "Copy or download the file again; 'gzip -t FILE' checks it.",
        ) from error
    except OSError as error:
        raise Problem(f"{path}: cannot be read after line {line} ({error.strerror or error})", _FORMAT) from error
    if not rows:
        raise Problem(f"{path}: holds no records ({line:,} lines, all blank)" if line else f"{path}: is empty", _FORMAT)


def rename(record: object, mapping: Mapping[str, str], where: str) -> object:
    """Give the fields of one foreign record our names.

    A field of ours that is mapped replaces whatever the file has under that name, so two fields can also be swapped.
    Anything that is not an object comes back as it is, for :func:`benchmarks.kinds.normalise` to refuse.

    Raises:
        Problem: A mapped field is not in the record; ``where`` names file and line.
    """
    if not isinstance(record, dict):
        return record
    for ours, theirs in mapping.items():
        if theirs not in record:
            close = near_misses(theirs, record)
            meant = f"Did you mean --map {ours}={close[0]}? " if close else ""
            raise Problem(
                f"{where}: no field '{theirs}', which --map {ours}={theirs} asks for",
                f"{meant}The record has: {fields_listed(record)}.",
            )
    taken = set(mapping.values())
    return {
        **{name: value for name, value in record.items() if name not in taken},
        **{ours: record[theirs] for ours, theirs in mapping.items()},
    }


def parse_mapping(values: Sequence[str], kind: str) -> dict[str, str]:
    """Read ``["positive=pos", ...]`` into ``{"positive": "pos", ...}``: our field, then the file's field.

    Raises:
        Problem: A value is not of that form, names no field of ``kind``, or names one twice.
    """
    fields = kind_of(kind).fields
    mapping: dict[str, str] = {}
    for value in values:
        ours, equals, theirs = (part.strip() for part in value.partition("="))
        if not (ours and equals and theirs):
            raise Problem(f"--map {value!r} is not OURS=THEIRS", f"Write --map {fields[-1]}=NAME_IN_THE_FILE.")
        if ours not in fields:
            if theirs in fields:
                raise Problem(
                    f"--map {value}: '{ours}' is no field of {kind} data ({', '.join(fields)})",
                    f"Our field comes first: --map {theirs}={ours}.",
                )
            # A short name inside ours ("pos") is no spelling mistake to difflib, so both ways are tried.
            close = likely_source(ours, fields)
            if close:
                raise Problem(
                    f"--map {value}: unknown field '{ours}' of {kind} data",
                    f"Did you mean --map {close}={theirs}? Known: {', '.join(fields)}.",
                )
            raise unknown(f"field of {kind} data in --map {value}:", ours, fields)
        if ours in mapping and mapping[ours] != theirs:
            raise Problem(
                f"--map gives '{ours}' twice: {ours}={mapping[ours]} and {ours}={theirs}", "Keep one of the two."
            )
        mapping[ours] = theirs
    return mapping


def _open(path: Path) -> BinaryIO:
    """Open for reading bytes; raises a ``Problem`` for what cannot be opened."""
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        beside = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
        close = near_misses(path.name, beside)
        meant = f"Did you mean {' or '.join(str(path.parent / name) for name in close)}? " if close else ""
        raise Problem(f"{path}: no such file", f"{meant}{_OTHERS}") from error


def _unpacked(raw: BinaryIO, path: Path) -> BinaryIO:
    """Return the stream of plain lines behind ``raw``, decided by the first bytes."""
    # peek, not seek: the data may come through a pipe.
    head: bytes = cast("Any", raw).peek(8)[:8]
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise _not_read(path, name)
    return cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if head.startswith(_GZIP) else raw


def _not_read(path: Path, what: str) -> Problem:
    # A Parquet file gets here through a pipe only: it is read from its end.
    remedy = "Save it to a file and give that." if "Parquet" in what else f"{_FORMAT} Unpack it."
    return Problem(f"{path}: is {what}; JSON lines is what is read here", remedy)


def _parsed(line: bytes, where: str) -> object:
    """Decode and parse one line; raises a ``Problem`` that names ``where``."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(
            f"{where}: is not UTF-8 (byte {error.start + 1} of the line is 0x{line[error.start]:02x})",
            "Convert the file, for example with 'iconv -f ISO-8859-1 -t UTF-8'.",
        ) from error
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError) as error:
        shown = text.strip()
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        raise Problem(f"{where}: is not JSON ({error}); the line is: {shown}", _FORMAT) from error
