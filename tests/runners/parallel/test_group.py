"""What processes tell each other, and encoding on all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from methods.encoder import Encoder, make_encoder
from methods.parts.ledger import Ledger, charging
from methods.registry import discover
from runners.parallel.encoding import SharedEncoder, on_all
from runners.parallel.group import Group, current
from tests.runners.parallel.processes import on

WORLD = 3
TEXTS = ["a cat", "the dog carries a red ball in the yard", "", "one", "one", "two or three words"]


def _all(group: Group, backbone: Path) -> dict[str, Any]:
    rows = torch.arange(group.rank * 2, dtype=torch.float32).view(-1, 2) + 10 * group.rank
    flags = torch.tensor([group.rank == 1] * (group.rank + 1))
    return {
        "current": (current().rank, current().world, current().leads),
        "gather": group.gather({"rank": group.rank}),
        "tell": group.tell("first" if group.leads else "nothing"),
        "rows": [one.tolist() for one in group.gather_rows(rows)],
        "nothing": [list(one.shape) for one in group.gather_rows(torch.empty(0, 4))],
        "flags": [(str(one.dtype), one.tolist()) for one in group.gather_rows(flags)],
        "vectors": _encoded(group, backbone),
    }


def _encoded(group: Group, backbone: Path) -> tuple[list[NDArray[np.float32]], Ledger, list[int]] | None:
    encoder = _encoder(backbone)
    if not group.leads:
        SharedEncoder(encoder, group).serve()
        return None
    seen: list[int] = []
    ledger = Ledger()
    with on_all(encoder, group) as shared, charging(ledger):
        assert isinstance(shared, SharedEncoder)
        assert (shared.name, shared.address, shared.precision) == (encoder.name, encoder.address, encoder.precision)
        shared.on_progress = lambda done, texts: seen.append(texts)
        vectors = [shared.encode(_texts(), "symmetric"), shared.encode(["alone"], "query")]
    return vectors, ledger, seen


def _texts() -> list[str]:
    return [text or "x" for text in TEXTS]


def _encoder(backbone: Path) -> Encoder:
    entry = discover().get("untrained-mean")
    return make_encoder("untrained-mean", entry.create("small", {}), entry.source, backbone)


def test_three_processes(tiny_backbone: Path) -> None:
    found = on(WORLD, _all, tiny_backbone)
    for rank, one in enumerate(found):
        assert one["current"] == (rank, WORLD, rank == 0)
        assert one["gather"] == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
        assert one["tell"] == "first"
        assert one["rows"] == [[], [[10.0, 11.0]], [[20.0, 21.0], [22.0, 23.0]]]
        assert one["nothing"] == [[0, 4]] * 3
        bools = "torch.bool"
        assert one["flags"] == [(bools, [False]), (bools, [True, True]), (bools, [False] * 3)]
    vectors, ledger, seen = found[0]["vectors"]
    expected = Ledger()
    with charging(expected):
        encoder = _encoder(tiny_backbone)
        alone = [encoder.encode(_texts(), "symmetric"), encoder.encode(["alone"], "query")]
    for one, other in zip(vectors, alone, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    # Nor is a text of another process forgotten in the costs.
    assert ledger.real_tokens == expected.real_tokens
    assert set(seen) == {len(TEXTS), 1}


def test_a_group_of_one_answers_at_once() -> None:
    group = Group()
    rows = torch.ones(2, 3)
    assert (group.gather(1), group.tell("x"), group.leads) == ([1], "x", True)
    assert group.gather_rows(rows)[0] is rows
    assert current().world == 1


def test_encoding_that_fails_does_not_wait_for_the_others(tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    group = Group(0, 2)
    monkeypatch.setattr(group, "tell", told.append)
    encoder = _encoder(tiny_backbone)
    monkeypatch.setattr(encoder, "encode", lambda texts, role: 1 / 0)
    with pytest.raises(ZeroDivisionError), on_all(encoder, group) as shared:
        shared.encode(["a"], "symmetric")
    # They are in the midst of encoding, and would not hear that it is over.
    assert told == [(["a"], "symmetric")]
    with on_all(encoder, group):
        pass
    assert told[1:] == [None]
