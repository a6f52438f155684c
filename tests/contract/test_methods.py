"""What every registered method must keep, whoever wrote it: the checks of `genembench check`, no more and no fewer."""

from __future__ import annotations

import pytest

from methods.registry import MethodEntry, discover
from runners.check import preset_of
from runners.contract_checks import CHECKS, Check, Subject, perform
from runners.contract_checks.subject import TINY, make_backbone, training_rows

ENTRIES = sorted(discover().entries.values(), key=lambda entry: entry.name)
TRAINING = {"loss", "moves", "improves", "resume", "budget", "seed"}


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    backbone = make_backbone(tmp_path_factory.mktemp("checked") / "backbone")
    return {
        entry.name: Subject(
            entry=entry,
            backbone=backbone,
            rows=training_rows(),
            scratch=tmp_path_factory.mktemp(entry.name),
            preset=preset_of(entry, None),
        )
        for entry in ENTRIES
    }


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_contract_is_kept(subjects: dict[str, Subject], entry: MethodEntry, check: Check) -> None:
    outcome = perform(check, subjects[entry.name])
    assert outcome.mark != "broken", "\n".join(outcome.explanation)
    # Only what is never trained may leave the checks of training out.
    trains = bool(subjects[entry.name].method().stages())
    assert (outcome.mark == "skipped") == (not trains and check.name in TRAINING), outcome.detail


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.origin.startswith("methods/")], ids=lambda entry: entry.name
)
def test_our_own_methods_use_all_of_max_length(subjects: dict[str, Subject], entry: MethodEntry) -> None:
    """The contract asks for no more than the limit; of our own we ask that nothing is cut that would fit."""
    subject = subjects[entry.name]
    tokenizer = subject.encoder().tokenizer
    (long,) = subject.method(max_length="48").tokenize(tokenizer, ["a ball " * 3000], "symmetric", "evaluate")
    assert len(long) == 48


def test_rows_are_as_uneven_as_real_ones() -> None:
    """A check that pads nothing and has one negative everywhere would find nothing."""
    rows = training_rows()
    assert {len(row["negative"]) for row in rows["triplets"]} == {1, 2}
    for kind, field in {"triplets": "query", "pairs": "document", "instruct": "context", "text": "text"}.items():
        lengths = sorted(len(str(row[field])) for row in rows[kind])
        assert lengths[-1] > 2 * lengths[0], kind
    assert max(len(row["text"].split()) for row in rows["text"]) < TINY.context
