from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.files import parse_mapping, read_records, rename
from genembench.problem import Problem

TWO_LINES = b'{"text": "caf\xc3\xa9"}\n{"text": "b", "n": 1}\n'
TWO_ROWS = [{"text": "café"}, {"text": "b", "n": 1}]


def read(path: Path, kind: str = "text", mapping: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    return list(read_records(path, kind, mapping or {}))


def problem(path: Path, kind: str = "text", mapping: Mapping[str, str] | None = None) -> Problem:
    with pytest.raises(Problem) as caught:
        read(path, kind, mapping)
    assert str(path) in caught.value.what
    assert caught.value.hint
    return caught.value


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["data.jsonl", "data.jsonl.gz", "data"])
@pytest.mark.parametrize("compressed", [False, True])
def test_compression_is_read_off_the_content(tmp_path: Path, name: str, compressed: bool) -> None:
    content = gzip.compress(TWO_LINES) if compressed else TWO_LINES
    assert read(written(tmp_path / name, content)) == TWO_ROWS


def test_gzip_files_joined_end_to_end(tmp_path: Path) -> None:
    first, second = TWO_LINES.splitlines(keepends=True)
    assert read(written(tmp_path / "a.gz", gzip.compress(first) + gzip.compress(second))) == TWO_ROWS


def test_blank_lines_windows_line_ends_bom_and_no_final_newline(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text": "a"}\r\n\r\n   \n{"text": "b\xe2\x80\xa8c"}'
    # U+2028 separates lines for str.splitlines, not for JSON lines.
    assert read(written(tmp_path / "a.jsonl", content)) == [{"text": "a"}, {"text": "b\u2028c"}]


def test_rows_come_normalised_and_renamed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b'{"sent0": "a", "sent1": "b", "hard_neg": "c", "id": 4}\n')
    mapping = {"query": "sent0", "positive": "sent1", "negative": "hard_neg"}
    assert read(path, "triplets", mapping) == [{"query": "a", "positive": "b", "negative": ["c"], "id": 4}]


def test_rename_can_swap_and_replace() -> None:
    record = {"query": "q", "document": "d", "body": "b"}
    assert rename(record, {"query": "document", "document": "query"}, "x") == {
        "query": "d",
        "document": "q",
        "body": "b",
    }
    assert rename(record, {"document": "body"}, "x") == {"query": "q", "document": "b"}
    assert record == {"query": "q", "document": "d", "body": "b"}
    assert rename([1], {"document": "body"}, "x") == [1]


def test_a_mapped_field_that_is_absent(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", b'{"query": "a", "passage": "b"}\n')
    error = problem(path, "pairs", {"document": "pasage"})
    assert "line 1: no field 'pasage'" in error.what
    assert "Did you mean --map document=passage?" in error.hint
    assert "query, passage" in error.hint


@pytest.mark.parametrize(
    ("third_line", "what"),
    [
        (b'{"text": "b"', "line 3: is not JSON"),
        (b"{'text': 'b'}", "line 3: is not JSON"),
        (b'{"text": "b"} {"text": "c"}', "line 3: is not JSON"),
        (b"[" * 100_000, "line 3: is not JSON"),
        (b'["b"]', "line 3: expected a JSON object"),
        (b'{"text": "caf\xe9"}', "line 3: is not UTF-8 (byte 14 of the line is 0xe9)"),
        (b'{"text": ""}', "line 3: field 'text' is blank"),
        (b'{"txt": "b"}', "line 3: text data needs the field text"),
    ],
)
def test_bad_lines_are_named_after_the_good_ones(tmp_path: Path, third_line: bytes, what: str) -> None:
    path = written(tmp_path / "a.jsonl", b'{"text": "a"}\n\n' + third_line + b'\n{"text": "z"}\n')
    rows = read_records(path, "text", {})
    assert next(rows) == {"text": "a"}
    with pytest.raises(Problem) as caught:
        next(rows)
    assert f"{path}, {what}" in caught.value.what
    assert len(str(caught.value)) < 600


def test_missing_file_names_the_near_miss(tmp_path: Path) -> None:
    written(tmp_path / "triplets.jsonl.gz", b"")
    error = problem(tmp_path / "triplets.jsonl")
    assert "no such file" in error.what
    assert str(tmp_path / "triplets.jsonl.gz") in error.hint
    error = problem(tmp_path / "no" / "folder.jsonl")
    assert "no such file" in error.what
    assert "Parquet, a folder of either, or a dataset of the hub as hf:OWNER/NAME" in error.hint


def test_a_folder(tmp_path: Path) -> None:
    assert "cannot be read after line 0 (Is a directory)" in problem(tmp_path).what


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Not chmod: the superuser, as whom containers run tests, may read everything.
    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read after line 0 (Permission denied)" in problem(tmp_path / "a.jsonl").what


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="needs /dev/fd")
@pytest.mark.parametrize("compressed", [False, True])
def test_a_pipe(compressed: bool) -> None:
    read_end, write_end = os.pipe()
    try:
        os.write(write_end, gzip.compress(TWO_LINES) if compressed else TWO_LINES)
        os.close(write_end)
        assert read(Path(f"/dev/fd/{read_end}")) == TWO_ROWS
    finally:
        os.close(read_end)


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)])
def test_empty(tmp_path: Path, content: bytes) -> None:
    assert "is empty" in problem(written(tmp_path / "a.jsonl", content)).what


def test_only_blank_lines(tmp_path: Path) -> None:
    assert "holds no records (2 lines, all blank)" in problem(written(tmp_path / "a.jsonl", b"\n  \n")).what


def test_truncated_and_damaged_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(TWO_LINES)
    assert "cut off or damaged after line" in problem(written(tmp_path / "a.gz", whole[:-9])).what
    assert "cut off or damaged" in problem(written(tmp_path / "b.gz", whole[:5])).what
    # The last eight bytes are checksum and length: every line is there, and still nothing of the file can be trusted.
    wrong_sum = whole[:-8] + bytes(byte ^ 0xFF for byte in whole[-8:-4]) + whole[-4:]
    assert "damaged after line 2" in problem(written(tmp_path / "c.gz", wrong_sum)).what


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"PAR1\x15\x04", "Parquet"),
        ("a.jsonl", b"PK\x03\x04rest", "zip archive"),
        ("a.jsonl", b"\x28\xb5\x2f\xfdrest", "zstandard"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    error = problem(written(tmp_path / name, content))
    assert said in error.what
    assert "JSON lines is what is read" in error.what
    assert ("Save it to a file" in error.hint) == (said == "Parquet")


def test_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="unknown data kind 'pair'"):
        next(read_records(tmp_path / "a", "pair", {}))


def test_parse_mapping() -> None:
    assert parse_mapping([], "pairs") == {}
    assert parse_mapping(["positive=pos", " query = a=b ", "positive=pos"], "triplets") == {
        "positive": "pos",
        "query": "a=b",
    }


@pytest.mark.parametrize(
    ("value", "what", "hint"),
    [
        ("positive", "not OURS=THEIRS", "--map negative=NAME_IN_THE_FILE"),
        ("positive=", "not OURS=THEIRS", "--map"),
        ("=pos", "not OURS=THEIRS", "--map"),
        ("", "not OURS=THEIRS", "--map"),
        ("pos=positive", "'pos' is no field", "Our field comes first: --map positive=pos"),
        ("postive=x", "unknown field 'postive'", "Did you mean --map positive=x?"),
        ("pos=x", "unknown field 'pos'", "Did you mean --map positive=x?"),
        ("zzzz=x", "unknown field of triplets data in --map zzzz=x: 'zzzz'", "negative, positive, query"),
    ],
)
def test_parse_mapping_refuses(value: str, what: str, hint: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_mapping([value], "triplets")
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_parse_mapping_refuses_two_sources() -> None:
    with pytest.raises(Problem, match=r"'query' twice: query=a and query=b"):
        parse_mapping(["query=a", "query=b"], "pairs")
