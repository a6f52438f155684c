"""Training data from Parquet files, a few rows at a time however the file is cut into row groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from benchmarks.arrow_rows import BATCH_ROWS, rows_of
from benchmarks.kinds import kind_of
from genembench.problem import Problem

_MAGIC = b"PAR1"
_LFS = b"version https://git-lfs"
# Read this many bytes of a column at a time. Without it a whole row group is read, which can be the whole file.
_BUFFER = 1 << 20


def is_parquet(path: Path) -> bool:
    """Whether the file begins as Parquet does; False too for what cannot be opened or is a pipe.

    Raises:
        Problem: The file is called ``.parquet`` and is something else.
    """
    try:
        # The first bytes of a pipe would be lost to whoever reads it.
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            head = stream.read(len(_LFS))
    except OSError:
        return False  # Reading it as JSON lines says why.
    if head.startswith(_MAGIC):
        return True
    if path.suffix.lower() == ".parquet":
        raise _misnamed(path, head)
    return False


def read_parquet(path: str | PathLike[str], kind: str, mapping: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file in file order; nothing is opened before the first is asked for.

    Args:
        path: The file; no pipe, because Parquet is read from its end.
        kind: One of ``benchmarks.kinds.KINDS``.
        mapping: Our field to the file's column, as ``{"positive": "pos"}``; see :func:`benchmarks.files.rename`.

    Raises:
        Problem: The file cannot be read, is damaged, holds no rows, or has a row that is not a record of ``kind``.
    """
    kind_of(kind)
    yield from rows_of(_batches(Path(path)), str(path), kind, mapping)


def _batches(path: Path) -> Iterator[Any]:
    """Yield record batches."""
    import pyarrow
    import pyarrow.parquet

    rows = 0
    try:
        with pyarrow.parquet.ParquetFile(
            path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
        ) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                yield batch
                rows += len(batch)
            if rows != file.metadata.num_rows:
                raise OSError(f"it says that it has {file.metadata.num_rows} rows")
    # OSError and UnicodeDecodeError for damaged data too; MemoryError if a damaged length asks for terabytes.
    except (pyarrow.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise Problem(
            f"{path}: the Parquet data cannot be read after row {rows} ({reason})",
            "It may be cut off or damaged: copy or download the file again.",
        ) from error


def _misnamed(path: Path, head: bytes) -> Problem:
    if not head:
        return Problem(f"{path}: is empty, not a Parquet file", "Copy or download the file again.")
    if head.startswith(_LFS):
        return Problem(f"{path}: is a Git LFS pointer, not the Parquet file itself", "Fetch it with 'git lfs pull'.")
    return Problem(
        f"{path}: is called .parquet but is not a Parquet file (it begins with {head[:12]!r}, not {_MAGIC!r})",
        "Download it again; if it is JSON lines, plain or compressed with gzip, call it .jsonl or .jsonl.gz.",
    )
