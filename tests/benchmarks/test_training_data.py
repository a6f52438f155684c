from __future__ import annotations

import dataclasses
import datetime
import decimal
import itertools
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.overlap import HeldOutSentences
from benchmarks.training_data import TrainingData, load_training_data, with_seed
from genembench.problem import Problem

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
NLI = SHARED / "data" / "nli" / "triplets.jsonl.gz"

NONE_DROPPED = {"duplicate": 0, "same_context": 0, "overlap_exact": 0, "overlap_normalised": 0}


def load(
    path: Path,
    rows: Iterable[dict[str, Any]],
    kind: str = "text",
    *,
    seed: int = 0,
    held_out: HeldOutSentences | None = None,
    one_per_context: bool = True,
) -> TrainingData:
    file = path / "data.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_training_data(kind, file, mapping={}, seed=seed, held_out=held_out, one_per_context=one_per_context)


def texts(letters: str) -> list[dict[str, Any]]:
    return [{"text": letter} for letter in letters]


def ask(context: str, target: str) -> dict[str, Any]:
    return {"context": context, "instruction": "ask", "target": target}


def test_fields(tmp_path: Path) -> None:
    data = load(tmp_path, [{"text": "a", "n": 1}])
    assert data == TrainingData(
        kind="text",
        path=str(tmp_path / "data.jsonl"),
        ids=("962d85f6f79b68ccc9da",),  # printf '{"text":"a"}' | b2sum -l 80
        rows=({"text": "a", "n": 1},),
        dropped=NONE_DROPPED,
        read=1,
        seed=0,
    )
    # printf '962d85f6f79b68ccc9da\n' | sha256sum
    assert data.address == "6a4fd76381fb76717d4edffaa1252ff7ff0f65407192ecc256c86f8eea5ea386"


def test_order_comes_from_content_and_seed_only(tmp_path: Path) -> None:
    # For each letter: printf '0:%s' "$(printf '{"text":"a"}' | b2sum -l 80 | cut -c1-20)" | b2sum, then sort.
    for shuffled in itertools.permutations("abcd"):
        data = load(tmp_path, texts("".join(shuffled)))
        assert "".join(row["text"] for row in data.rows) == "bacd"
    assert "".join(row["text"] for row in load(tmp_path, texts("abcd"), seed=1).rows) == "adcb"


def test_prefixes_are_nested_and_seeds_differ(tmp_path: Path) -> None:
    data = load(tmp_path, texts("abcdefghijklmnop"))
    assert data.take(8).ids[:3] == data.take(3).ids
    assert data.take(8).take(3) == data.take(3)
    assert data.take(3).rows == data.rows[:3]
    assert len(data.take(3)) == 3
    assert data.take(16) == data
    assert data.take(0).rows == ()
    other = with_seed(data, 5)
    assert other == load(tmp_path, texts("abcdefghijklmnop"), seed=5)
    assert other.ids != data.ids
    assert set(other.ids) == set(data.ids)
    assert with_seed(other, 0) == data
    assert len({data.address, other.address, data.take(3).address}) == 3


def test_rows_stay_beside_their_ids(tmp_path: Path) -> None:
    alone = {letter: load(tmp_path, texts(letter)).ids[0] for letter in "abcdef"}
    data = load(tmp_path, texts("abcdef"), seed=3)
    assert [alone[row["text"]] for row in data.rows] == list(data.ids)


def test_a_taken_part_keeps_its_seed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whole data"):
        with_seed(load(tmp_path, texts("abc")).take(2), 1)


def test_frozen(tmp_path: Path) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(tmp_path, texts("a")).seed = 4  # type: ignore[misc]


def test_duplicates_are_dropped_whatever_their_extra_fields(tmp_path: Path) -> None:
    copies = [{"text": "a", "source": "z"}, {"text": "b"}, {"text": "a", "source": "m"}, {"text": "a", "source": "q"}]
    for shuffled in itertools.permutations(copies):
        data = load(tmp_path, shuffled)
        assert {row["text"]: row.get("source") for row in data.rows} == {"a": "m", "b": None}
        assert (data.read, len(data), data.dropped) == (4, 2, {**NONE_DROPPED, "duplicate": 2})


def test_copies_with_extra_fields_that_json_does_not_have(tmp_path: Path) -> None:
    when = [datetime.datetime(2020, 1, day) for day in (3, 1, 2)]
    for order in itertools.permutations(range(3)):
        table = pa.table(
            {
                "text": ["a"] * 3,
                "raw": [b"\xff"] * 3,
                "cost": [decimal.Decimal("1.10")] * 3,
                "when": [when[place] for place in order],
            }
        )
        pq.write_table(table, tmp_path / "data.parquet")
        data = load_training_data("text", tmp_path / "data.parquet", mapping={}, seed=0, held_out=None)
        assert data.rows == ({"text": "a", "raw": b"\xff", "cost": decimal.Decimal("1.10"), "when": when[1]},)
        assert data.dropped == {**NONE_DROPPED, "duplicate": 2}


def test_one_row_per_context_is_the_same_for_every_seed_and_file_order(tmp_path: Path) -> None:
    rows = [ask("shared", "B"), ask("shared", "A"), ask("alone", "C"), ask("shared", "B")]
    for seed, shuffled in itertools.product(range(3), itertools.permutations(rows)):
        data = load(tmp_path, shuffled, "instruct", seed=seed)
        # A, whose `printf 'one row per context:ID' | b2sum` begins with 364a; that of B with fcbf.
        assert {(row["context"], row["target"]) for row in data.rows} == {("shared", "A"), ("alone", "C")}
        assert data.dropped == {**NONE_DROPPED, "duplicate": 1, "same_context": 1}


def test_contexts_are_kept_on_request_and_only_matter_to_instruct(tmp_path: Path) -> None:
    rows = [ask("shared", "B"), ask("shared", "A")]
    assert len(load(tmp_path, rows, "instruct", one_per_context=False)) == 2
    assert len(load(tmp_path, [{"text": row["target"], **row} for row in rows], "text")) == 2


def test_overlap_is_dropped_by_its_strongest_match(tmp_path: Path) -> None:
    held_out = HeldOutSentences(["A cat.", "A dog."])
    rows: list[dict[str, Any]] = [
        {"query": "a cat", "positive": "x", "negative": ["y", "A dog."]},  # exact beats normalised
        {"query": "x", "positive": "y", "negative": ["z", "a dog"]},
        {"query": "x", "positive": "A CAT", "negative": "z"},
        {"query": "a cat sat", "positive": "y", "negative": "z"},
        {"query": "a cat sat", "positive": "y", "negative": ["z"]},  # the same row in the other spelling
    ]
    data = load(tmp_path, rows, "triplets", held_out=held_out)
    assert [row["query"] for row in data.rows] == ["a cat sat"]
    assert data.dropped == {"duplicate": 1, "same_context": 0, "overlap_exact": 1, "overlap_normalised": 2}
    assert data.usable == 1
    kept = load(tmp_path, rows, "triplets")
    assert (len(kept), kept.dropped) == (4, {**NONE_DROPPED, "duplicate": 1})


def test_a_context_survives_through_a_row_without_overlap(tmp_path: Path) -> None:
    rows = [ask("shared", "A"), ask("shared", "B")]  # A would be chosen
    data = load(tmp_path, rows, "instruct", held_out=HeldOutSentences(["a"]))
    assert [row["target"] for row in data.rows] == ["B"]
    assert data.dropped == {**NONE_DROPPED, "overlap_normalised": 1}


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(Problem) as caught:
        load(tmp_path, texts("aab"), held_out=HeldOutSentences(["a", "B"]))
    assert "none of the 3 text rows is left" in caught.value.what
    assert "3 dropped: 1 duplicates, 1 with a sentence of a test set, 1 with" in caught.value.what


def test_a_budget_above_the_data(tmp_path: Path) -> None:
    rows = [ask(f"context {i}", "x") for i in range(10)] + [ask("context 3", "y")]
    data = load(tmp_path, rows, "instruct")
    with pytest.raises(Problem) as caught:
        data.take(3277)
    assert "a budget of 3,277 instruct rows is above the 10 usable rows of" in caught.value.what
    assert "(11 read, 1 dropped: 1 with the context of another row)" in caught.value.what
    # 10 * 50000 / 16382 = 30.52: the short form 30 asks for ceil(9.83) = 10 rows, 31 for ceil(10.16) = 11.
    assert "--budget instruct=10, or in the short form --budget 30;" in caught.value.hint
    with pytest.raises(Problem, match="above the 4 rows taken from the 10 usable rows of"):
        data.take(4).take(5)
    with pytest.raises(ValueError, match="-1"):
        data.take(-1)


def test_mapping_reaches_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "a"}\n')
    data = load_training_data("text", path, mapping={"text": "body"}, seed=0, held_out=None)
    assert data.rows == ({"text": "a"},)


@pytest.mark.skipif(not NLI.is_file(), reason="the shared NLI triplets are not beside this checkout")
def test_the_shared_triplets(tmp_path: Path) -> None:
    data = load_training_data("triplets", NLI, mapping={}, seed=0, held_out=None)
    # Its README: 26,030 rows without duplicates.
    assert (data.read, len(data), data.dropped) == (26030, 26030, NONE_DROPPED)
    assert data.take(2000).ids == data.take(10000).ids[:2000]
    other = with_seed(data, 1)
    assert other.ids != data.ids
    assert len(set(other.ids[:2000]) & set(data.ids[:2000])) < 400  # about 2000 * 2000 / 26030 = 154 by chance
    shuffled = list(data.rows)
    random.Random(3).shuffle(shuffled)
    again = load(tmp_path, shuffled, "triplets")
    assert again.address == data.address
    assert again.rows == data.rows
    with pytest.raises(Problem) as caught:
        data.take(50000)
    assert "a budget of 50,000 triplets is above the 26,030 usable rows of" in caught.value.what
    assert "(26,030 read, none dropped)" in caught.value.what
    assert "--budget triplets=26030" in caught.value.hint
