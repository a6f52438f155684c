from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.sts_files import StsPair, find_pairs, read_pairs
from genembench.problem import Problem

GOOD = '{"sentence1": "a", "sentence2": "b", "score": 1, "subset": "x"}'


def written(folder: Path, *lines: str) -> Path:
    path = folder / "T.test.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_pairs_are_read_in_order_with_other_fields_ignored_and_empty_lines_passed_over(tmp_path: Path) -> None:
    second = json.dumps({"sentence1": "é\u2028", "sentence2": "", "score": 2.5}, ensure_ascii=False)
    assert read_pairs(written(tmp_path, GOOD, "", second)) == [StsPair("a", "b", 1.0), StsPair("é\u2028", "", 2.5)]


def test_a_compressed_file_reads_the_same_even_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "T.test.jsonl.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + GOOD.encode()))
    assert read_pairs(path) == [StsPair("a", "b", 1.0)]


def test_the_plain_file_goes_before_the_compressed_one(tmp_path: Path) -> None:
    assert find_pairs(tmp_path, "T") is None
    (tmp_path / "T.test.jsonl.gz").touch()
    assert find_pairs(tmp_path, "T") == tmp_path / "T.test.jsonl.gz"
    (tmp_path / "T.test.jsonl").touch()
    assert find_pairs(tmp_path, "T") == tmp_path / "T.test.jsonl"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: not a JSON object"),
        ('{"sentence1": "a"}', "line 2: no field sentence2 and no field score"),
        ('{"sentence1": "a", "sentence2": 3, "score": 1}', "line 2: sentence2 is not text: 3"),
        ('{"sentence1": "a", "sentence2": "\\ud800", "score": 1}', "line 2: sentence2 is not text"),
        ('{"sentence1": "a", "sentence2": "b", "score": "1"}', "line 2: score is not a number: '1'"),
        ('{"sentence1": "a", "sentence2": "b", "score": null}', "line 2: score is not a number: None"),
        ('{"sentence1": "a", "sentence2": "b", "score": true}', "line 2: score is not a number: True"),
        ('{"sentence1": "a", "sentence2": "b", "score": NaN}', "line 2: score is not a number: nan"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = written(tmp_path, GOOD, line)
    with pytest.raises(Problem) as caught:
        read_pairs(path)
    assert f"{path}, {complaint}" in caught.value.what


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no sentence pairs"),
        (b"\n\n", "holds no sentence pairs"),
        (GOOD.encode() + b"\n\xff", "not UTF-8"),
    ],
)
def test_an_unusable_file_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "T.test.jsonl"
    path.write_bytes(content)
    with pytest.raises(Problem, match=complaint) as caught:
        read_pairs(path)
    assert str(path) in caught.value.what


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(GOOD.encode() * 99, mtime=0)[:-12]])
def test_a_broken_compressed_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "T.test.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(Problem, match="cannot be read"):
        read_pairs(path)


def test_a_file_written_again_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "T.test.jsonl"
    for score in (1.0, 2.0):
        file.with_suffix(".new").write_text(json.dumps({"sentence1": "a", "sentence2": "b", "score": score}))
        file.with_suffix(".new").replace(file)
        first = read_pairs(file)
        assert first == [StsPair("a", "b", score)]
        first.clear()
        assert read_pairs(file) == [StsPair("a", "b", score)]
