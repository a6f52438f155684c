from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import benchmarks.sources
from benchmarks.demo.rows import demo_rows
from benchmarks.hub_datasets import HubDataset
from benchmarks.kinds import KINDS, normalise
from benchmarks.sources import read_rows
from benchmarks.training_data import load_training_data
from genembench.problem import Problem

TRIPLETS = [
    b'{"query": "a", "positive": "b", "negative": "c"}\n',
    b'{"query": "caf\xc3\xa9", "positive": "f", "negative": ["g", "h"]}\n',
    b'{"query": "i", "positive": "j", "negative": ["k"]}\n',
]
# For each row, as printf writes {"negative":["c"],"positive":"b","query":"a"}: id = `b2sum -l 80`; the ids sorted by
# `printf '0:%s' ID | b2sum`, one per line into sha256sum.
ADDRESS = "fe00f3bb3914066a3be109ce0cb945b8de1653ff95aa46e4fc0ec32eebb984e5"


def texts(source: str | Path) -> list[str]:
    return [row["text"] for row in read_rows(source, "text", {}).rows]


def problem(source: str | Path) -> Problem:
    with pytest.raises(Problem) as caught:
        texts(source)
    assert str(source) in caught.value.what
    assert caught.value.hint
    return caught.value


def lines(path: Path, content: str) -> Path:
    data = "".join(f'{{"text": "{letter}"}}\n' for letter in content).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def parquet(path: Path, content: str) -> Path:
    pq.write_table(pa.table({"text": list(content)}), path)
    return path


def test_files_by_content(tmp_path: Path) -> None:
    assert texts(lines(tmp_path / "a.jsonl", "ab")) == ["a", "b"]
    assert texts(lines(tmp_path / "a.gz", "ab")) == ["a", "b"]
    assert texts(parquet(tmp_path / "a.parquet", "ab")) == ["a", "b"]
    assert texts(str(parquet(tmp_path / "b.jsonl", "ab"))) == ["a", "b"]


def test_the_path_is_the_one_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "a.jsonl", "a")
    assert read_rows("./a.jsonl", "text", {}).path == "./a.jsonl"
    assert read_rows(Path("a.jsonl"), "text", {}).path == "a.jsonl"


def test_folders_in_name_order(tmp_path: Path) -> None:
    folder = tmp_path / "data.parquet"  # Spark calls folders so
    folder.mkdir()
    for name, content in (("2.parquet", "de"), ("1.parquet", "c"), ("10.PARQUET", "ab")):
        parquet(folder / name, content)
    (folder / "._1.parquet").write_bytes(b"left by a Mac")
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / "README.md").write_text("# Data")
    (folder / "older").mkdir()
    lines(folder / "older" / "a.jsonl", "x")
    assert texts(folder) == ["c", "a", "b", "d", "e"]
    other = tmp_path / "lines"
    other.mkdir()
    lines(other / "b.jsonl.gz", "cd")
    lines(other / "a.jsonl", "ab")
    assert texts(other) == ["a", "b", "c", "d"]


def test_a_bad_row_of_a_shard_is_named_by_its_file(tmp_path: Path) -> None:
    parquet(tmp_path / "1.parquet", "ab")
    parquet(tmp_path / "2.parquet", "a ")
    assert problem(tmp_path).what == f"{tmp_path / '2.parquet'}, row 2: field 'text' is blank"
    (tmp_path / "2.parquet").write_bytes(b"something else")
    assert f"{tmp_path / '2.parquet'}: is called .parquet but is not" in problem(tmp_path).what
    parquet(tmp_path / "2.parquet", "")
    assert "2.parquet: holds no rows" in problem(tmp_path).what


def test_folders_that_are_refused(tmp_path: Path) -> None:
    assert "is a folder without *.parquet, *.jsonl or *.jsonl.gz; in it: none" in problem(tmp_path).what
    (tmp_path / "train").mkdir()
    (tmp_path / "data.csv").write_text("text\na\n")
    assert "in it: data.csv, train/" in problem(tmp_path).what
    lines(tmp_path / "a.jsonl", "a")
    parquet(tmp_path / "b.parquet", "a")
    error = problem(tmp_path)
    assert "holds both Parquet files (1) and JSON lines (1); in it: a.jsonl, b.parquet, data.csv, train/" in error.what
    assert "hf:OWNER/NAME" in error.hint


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Not chmod: the superuser, as whom containers run tests, may read everything.
    file = parquet(tmp_path / "a.parquet", "a")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        assert "cannot be read" in problem(file).what
        assert "Permission denied" in problem(file).what
    with monkeypatch.context() as patched:
        patched.setattr(Path, "iterdir", refuse)
        assert "the folder cannot be read (Permission denied)" in problem(tmp_path).what
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_dir", refuse)  # a folder above may not be entered
        assert texts(file) == ["a"]
    assert "File name too long" in problem("x" * 5000).what


def test_a_path_never_becomes_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks.sources, "open_hub_dataset", lambda _: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    error = problem("owner/name")
    assert "no such file" in error.what
    assert "hf:OWNER/NAME" in error.hint
    lines(tmp_path / "hf:a", "a")
    assert texts("./hf:a") == ["a"]
    assert "is not a dataset of the hub" in problem("hf:a").what


@pytest.mark.parametrize("write", [lines, parquet])
def test_pipes(tmp_path: Path, write: Callable[[Path, str], Path]) -> None:
    content = write(tmp_path / "file", "ab").read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    if write is lines:
        assert texts(pipe) == ["a", "b"]
    else:
        error = problem(pipe)
        assert "is a Parquet file" in error.what
        assert "Save it to a file" in error.hint
    writer.join(timeout=10)
    assert not writer.is_alive()


def test_unknown_kind_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="unknown data kind 'pair'"):
        read_rows(tmp_path, "pair", {})


def _as_lines(folder: Path, _: pytest.MonkeyPatch) -> Path:
    path = folder / "a.jsonl"
    path.write_bytes(b"".join(TRIPLETS))
    return path


def _as_gzip(folder: Path, _: pytest.MonkeyPatch) -> Path:
    path = folder / "a.gz"
    path.write_bytes(gzip.compress(b"".join(reversed(TRIPLETS))))
    return path


def _table() -> Any:
    return pa.table(
        {"query": ["a", "café", "i"], "positive": ["b", "f", "j"], "negative": [["c"], ["g", "h"], ["k"]], "n": [1] * 3}
    )


def _as_parquet(folder: Path, _: pytest.MonkeyPatch) -> Path:
    pq.write_table(_table(), folder / "a.parquet")
    return folder / "a.parquet"


def _as_shards(folder: Path, _: pytest.MonkeyPatch) -> Path:
    pq.write_table(_table().slice(1), folder / "a.parquet")
    # One negative in a column of plain text, as in the first of the lines.
    pq.write_table(pa.table({"query": ["a"], "positive": ["b"], "negative": ["c"]}), folder / "b.parquet")
    return folder


def _as_shards_of_lines(folder: Path, _: pytest.MonkeyPatch) -> Path:
    for number, line in enumerate(TRIPLETS):
        (folder / f"{number}.jsonl").write_bytes(line)
    return folder


def _at_the_hub(_: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(benchmarks.sources, "open_hub_dataset", lambda asked: (asked, iter([_table()])))
    return "hf:owner/name"


FORMATS = [_as_lines, _as_gzip, _as_parquet, _as_shards, _as_shards_of_lines, _at_the_hub]


@pytest.mark.parametrize("write", FORMATS, ids=lambda write: write.__name__)
def test_the_address_is_that_of_the_rows_in_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path, pytest.MonkeyPatch], str | Path]
) -> None:
    data = load_training_data("triplets", write(tmp_path, monkeypatch), mapping={}, seed=0, held_out=None)
    assert (data.read, data.address) == (3, ADDRESS)


def test_the_exact_dataset_of_the_hub_is_what_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = HubDataset("owner/name", "only", "0" * 40, "train")
    asked = []

    def opened(spec: HubDataset) -> tuple[HubDataset, Any]:
        asked.append(spec)
        return exact, iter([pa.table({"body": ["a", ""]})])

    monkeypatch.setattr(benchmarks.sources, "open_hub_dataset", opened)
    rows = read_rows("hf:owner/name", "text", {"text": "body"})
    assert asked == [HubDataset("owner/name")]
    assert rows.path == f"hf:owner/name:only@{'0' * 40}#train"
    assert next(rows.rows) == {"text": "a"}
    with pytest.raises(Problem, match=r"^hf:owner/name:only@0{40}#train, row 2: field 'text' is blank"):
        next(rows.rows)


@pytest.mark.parametrize("kind", KINDS)
def test_the_demo_is_a_source_of_every_kind(kind: str) -> None:
    rows = read_rows("demo", kind, {})
    assert rows.path == "demo"
    made = demo_rows(kind)
    assert list(rows.rows) == [normalise(kind, row, "") for row in made]
    with pytest.raises(Problem, match=f"the demo's {kind} have our field names already") as caught:
        read_rows("demo", kind, {KINDS[kind].fields[0]: "x"})
    assert "--map" in caught.value.hint


def test_rows_of_the_demo_are_all_usable() -> None:
    data = load_training_data("triplets", "demo", mapping={}, seed=0, held_out=None)
    assert (len(data), data.read, data.usable, data.path) == (8000, 8000, 8000, "demo")
    # Of instruct data one row a context is kept.
    instruct = load_training_data("instruct", "demo", mapping={}, seed=0, held_out=None)
    assert len(instruct) == len({row["context"] for row in demo_rows("instruct")})


def test_a_file_of_that_name_is_asked_for_with_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines(tmp_path / "demo", "ab")
    assert texts("./demo") == ["a", "b"]
