from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.parquet_files import is_parquet, read_parquet
from genembench.problem import Problem
from tests.conftest import CHECKOUT, command_environment


def written(path: Path, columns: Mapping[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def problem(path: Path, kind: str = "text") -> Problem:
    with pytest.raises(Problem) as caught:
        list(read_parquet(path, kind, {}))
    assert str(path) in caught.value.what
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "brotli"])
def test_rows_in_file_order(tmp_path: Path, compression: str) -> None:
    columns = {"text": [f"text {i}" for i in range(3000)], "n": list(range(3000))}
    path = written(tmp_path / "a.parquet", columns, row_group_size=700, compression=compression)
    assert list(read_parquet(path, "text", {})) == [{"text": f"text {i}", "n": i} for i in range(3000)]


def test_mapping_and_a_list_of_negatives(tmp_path: Path) -> None:
    path = written(tmp_path / "a", {"query": ["a"], "pos": ["b"], "negative": [["c", "d"]]})
    rows = list(read_parquet(path, "triplets", {"positive": "pos"}))
    assert rows == [{"query": "a", "positive": "b", "negative": ["c", "d"]}]


def test_a_bad_row_is_named_after_the_good_ones_of_other_batches(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet", {"text": ["a"] * 1499 + [None]}, row_group_size=400)
    rows = read_parquet(path, "text", {})
    assert sum(1 for _ in itertools.islice(rows, 1499)) == 1499
    with pytest.raises(Problem) as caught:
        next(rows)
    assert caught.value.what == f"{path}, row 1500: field 'text' is null, not text"


def test_numbers_where_text_is_wanted(tmp_path: Path) -> None:
    assert "row 1: field 'text' is a number, not text" in problem(written(tmp_path / "a", {"text": [1, 2]})).what


def test_no_rows_and_no_columns(tmp_path: Path) -> None:
    assert "holds no rows" in problem(written(tmp_path / "a", {"text": pa.array([], pa.string())})).what
    assert "holds no rows" in problem(written(tmp_path / "b", {})).what


def test_a_huge_row_group_is_not_read_at_once(tmp_path: Path) -> None:
    count = 60_000
    texts = [f"{i} {'abcdefghij' * 40}" for i in range(count)]
    path = written(tmp_path / "a", {"text": texts}, row_group_size=count, compression="none", use_dictionary=False)
    assert pq.ParquetFile(path).num_row_groups == 1
    size = path.stat().st_size
    assert size > 24_000_000
    del texts
    before = pa.total_allocated_bytes()
    rows = read_parquet(path, "text", {})
    assert next(rows)["text"].startswith("0 abc")
    assert pa.total_allocated_bytes() - before < size / 3
    assert sum(1 for _ in rows) == count - 1


def test_cut_anywhere(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole", {"text": [f"text {i}" for i in range(50)]}).read_bytes()
    for length in range(4, len(whole), 7):
        path = tmp_path / "cut"
        path.write_bytes(whole[:length])
        assert is_parquet(path)
        error = problem(path)
        assert "the Parquet data cannot be read after row 0 (" in error.what
        assert "cut off or damaged" in error.hint


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    columns = {"text": [f"text {i}" for i in range(4000)]}
    path = written(tmp_path / "a", columns, row_group_size=2000, write_page_checksum=True, use_dictionary=False)
    second = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[second.data_page_offset + second.total_compressed_size // 2] ^= 1
    path.write_bytes(data)
    # Rows come 1,024 at a time, and the second time needs the second row group.
    assert "the Parquet data cannot be read after row 1024 (" in problem(path).what


def test_a_damaged_footer_is_a_problem_or_changes_no_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a", {"text": [f"text {i}" for i in range(50)]}, store_schema=False)
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little")
    said = []
    for place, bit in itertools.product(range(len(whole) - 8 - footer, len(whole)), (0x04, 0x80)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            rows = list(read_parquet(path, "text", {}))
        except Problem as error:
            said.append(error.what)
        else:
            assert rows == [{"text": f"text {i}"} for i in range(50)]
    # These would go unnoticed: another number of rows, and a column whose name is no text.
    assert any("(it says that it has " in what for what in said)
    assert any("('utf-8' codec can't decode" in what for what in said)


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    assert "cannot be read" in problem(tmp_path).what
    assert "cannot be read after row 0" in problem(tmp_path / "none").what


def test_recognised_by_the_first_bytes_only(tmp_path: Path) -> None:
    assert is_parquet(written(tmp_path / "data.jsonl", {"text": ["a"]}))
    other = tmp_path / "other"
    for content in (b"", b"PAR", b'{"text": "PAR1"}\n'):
        other.write_bytes(content)
        assert not is_parquet(other)
    assert not is_parquet(tmp_path)
    assert not is_parquet(tmp_path / "none.parquet")


def test_nothing_is_taken_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.parquet"
    os.mkfifo(pipe)
    assert not is_parquet(pipe)  # opening it would wait for ever


@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (b"", "is empty, not a Parquet file", "download"),
        (b'{"text": "a"}\n', "is not a Parquet file (it begins with b'{\"text\": \"a\"', not b'PAR1')", ".jsonl"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer", "git lfs pull"),
    ],
)
@pytest.mark.parametrize("name", ["a.parquet", "A.PARQUET"])
def test_called_parquet_and_something_else(tmp_path: Path, name: str, content: bytes, what: str, hint: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(Problem) as caught:
        is_parquet(path)
    assert str(path) in caught.value.what
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_arrow_is_imported_with_the_first_row_only() -> None:
    probe = "import benchmarks.sources, sys; assert not {'pyarrow', 'datasets', 'huggingface_hub'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", probe], cwd=CHECKOUT, env=command_environment(), check=True)
