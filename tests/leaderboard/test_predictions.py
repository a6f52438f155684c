from __future__ import annotations

import time
from pathlib import Path

import pytest

from genembench.problem import Problem
from leaderboard.predictions import read_predictions
from tests.leaderboard.made_up import write_predictions


def written(folder: Path, text: str) -> Path:
    (folder / "predictions").mkdir()
    (folder / "predictions" / "T.csv").write_text(text, encoding="utf-8")
    return folder


def test_pairs_and_queries_are_read_in_their_order(tmp_path: Path) -> None:
    pairs = read_predictions(written(tmp_path, "pair,gold,score\nb,4.4,0.5\na,0,-1e-3\n"), "T")
    assert pairs is not None
    assert pairs.ids == ("b", "a")
    assert pairs.gold is not None
    assert pairs.gold.tolist() == [4.4, 0.0]
    assert pairs.scores.tolist() == [0.5, -0.001]
    (tmp_path / "two").mkdir()
    queries = read_predictions(written(tmp_path / "two", 'query,score\n"a,b",1\nc,0.25\n'), "T")
    assert queries is not None
    assert queries.ids == ("a,b", "c")
    assert queries.gold is None
    assert queries.scores.tolist() == [1.0, 0.25]


def test_no_file_is_no_predictions(tmp_path: Path) -> None:
    assert read_predictions(tmp_path, "T") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "begins with ''"),
        ("pair,score\na,1\n", "begins with 'pair,score'"),
        ("query,gold,score\na,1,1\n", "begins with 'query,gold,score'"),
        ("pair,gold,score\n", "holds no predictions"),
        ("pair,gold,score\na,1,0.5\nb,2\n", "line 3 is not 3 fields, but 2"),
        ("pair,gold,score\na,1,0.5\n\nb,2,0.5\n", "line 3 is not 3 fields, but 0"),
        ("pair,gold,score\na,1,0.5,9\n", "line 2 is not 3 fields, but 4"),
        ("query,score\na,0.5,1\n", "line 2 is not 2 fields, but 3"),
        ("pair,gold,score\na,1,0.5\nb,2,high\n", "line 3: score is no number: 'high'"),
        ("pair,gold,score\na,,0.5\n", "line 2: gold is no number: ''"),
        ("pair,gold,score\na,1,0.5\nb,2,nan\n", "line 3: score is nan"),
        ("pair,gold,score\na,-inf,0.5\n", "line 2: gold is -inf"),
        ("pair,gold,score\na,1,0.5\nb,2,0.1\na,3,0.2\n", "lines 2 and 4 both are pair 'a'"),
        ("pair,gold,score\n,1,0.5\n", "line 2 has no id"),
        ("query,score\na,0.5\nb,71.3\n", "line 3: score is 71.3, not from 0 to 1"),
        ('pair,gold,score\na,1,0.5\n"b,2,0.5\n', "line 3 is not 3 fields, but 1: 'not CSV"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(Problem) as problem:
        read_predictions(written(tmp_path, text), "T")
    assert said in problem.value.what
    assert str(tmp_path / "predictions" / "T.csv") in problem.value.what


def test_bytes_that_are_no_text_are_a_problem(tmp_path: Path) -> None:
    written(tmp_path, "")
    (tmp_path / "predictions" / "T.csv").write_bytes(b"pair,gold,score\n\xff,1,1\n")
    with pytest.raises(Problem, match="cannot be read"):
        read_predictions(tmp_path, "T")


def test_an_address_is_that_of_ids_and_gold_not_of_scores(tmp_path: Path) -> None:
    def address(name: str, gold: list[float] | None, scores: list[float]) -> str:
        write_predictions(tmp_path / name, "T", gold, scores)
        found = read_predictions(tmp_path / name, "T")
        assert found is not None
        return found.address

    first = address("a", [1, 2, 3], [0.1, 0.2, 0.3])
    assert address("b", [1, 2, 3], [0.9, 0.2, 0.3]) == first
    assert address("c", [1, 2, 2.5], [0.1, 0.2, 0.3]) != first
    assert address("d", [2, 1, 3], [0.1, 0.2, 0.3]) != first
    assert address("e", [1, 2], [0.1, 0.2]) != first
    assert address("f", None, [0.1, 0.2, 0.3]) != first


def test_25_000_lines_are_read_fast(tmp_path: Path) -> None:
    write_predictions(tmp_path, "T", [at % 50 / 10 for at in range(25_000)], [at / 25_000 for at in range(25_000)])
    start = time.process_time()
    found = read_predictions(tmp_path, "T")
    assert found is not None
    assert len(found.ids) == 25_000
    assert time.process_time() - start < 1.0  # some 0.04 s
