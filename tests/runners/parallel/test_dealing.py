from __future__ import annotations

from itertools import chain

import pytest

from runners.parallel.dealing import Portion, deal


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 5, 16])
@pytest.mark.parametrize("size", [None, 1, 2, 3, 9, 100])
def test_every_row_counts_once_and_all_make_equally_many_passes(world: int, count: int, size: int | None) -> None:
    rows = [(i * 7) % 11 + i / 100 for i in range(count)]
    dealt = [deal(rows, lambda row: row, size=size, rank=rank, world=world) for rank in range(world)]
    counted = [row for portion in chain(*dealt) if portion.counts for row in portion.rows]
    assert sorted(counted) == sorted(rows)
    assert len({len(portions) for portions in dealt}) == 1
    assert all(portion.rows and len(portion.rows) <= (size or count) for portion in chain(*dealt))
    # Nobody has more than one row more than another.
    own = [sum(len(portion.rows) for portion in portions if portion.counts) for portions in dealt]
    assert max(own) - min(own) <= 1


def test_small_micro_batches_are_of_similar_lengths_and_processes_take_turns() -> None:
    rows = [1, 8, 3, 6, 5, 4, 7, 2]
    first, second = (deal(rows, lambda row: row, size=2, rank=rank, world=2) for rank in (0, 1))
    assert first == [Portion([8, 6]), Portion([4, 2])]
    assert second == [Portion([7, 5]), Portion([3, 1])]


def test_larger_micro_batches_have_as_much_of_every_length() -> None:
    dealt = deal(list(range(1, 33)), lambda row: row, size=8)
    assert [portion.rows for portion in dealt] == [list(range(32 - first, 0, -4)) for first in range(4)]


def test_one_process_with_room_for_all_keeps_the_order() -> None:
    assert deal([2, 3, 1], lambda row: row, size=None) == [Portion([2, 3, 1])]
