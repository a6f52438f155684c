"""Copies of one command: what the first announces, the others do."""

from __future__ import annotations

import pickle
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from genembench.problem import Problem
from runners.parallel.failures import forget_failures, leave_failure, read_failure
from runners.parallel.launch import Launch
from runners.parallel.seat import Seat

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_ADDR": "node0", "MASTER_PORT": "29500"}


def test_alone() -> None:
    assert Launch.of({}) is None
    assert Launch.of({"WORLD_SIZE": "1", "RANK": "0"}) is None


def test_by_a_launcher() -> None:
    launch = Launch.of(TORCHRUN)
    assert launch is not None
    assert (launch.rank, launch.world, launch.local_rank, launch.meeting) == (1, 4, 1, ("node0", 29500))


@pytest.mark.parametrize("missing", ["RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_variables_that_are_there_in_part(missing: str) -> None:
    with pytest.raises(Problem, match=f"{missing} is not set"):
        Launch.of({name: value for name, value in TORCHRUN.items() if name != missing})


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_the_others_run_what_the_first_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    meeting = "127.0.0.1", _port()
    first, second = Launch(0, 2, 0, meeting), Launch(1, 2, 0, meeting)
    _ = first.store  # held open before anybody looks for it
    ran: list[tuple[object, Seat]] = []

    def run(order: bytes, seat: Seat, over: Callable[[], bool]) -> int:
        ran.append((pickle.loads(order), seat))
        return 1 if len(ran) == 2 else 0

    follower = threading.Thread(target=second.follow, args=(run,))
    follower.start()
    seats = [first.announce("one")]  # type: ignore[arg-type]  # any object travels as a run's specification does
    first.over()
    seats.append(first.announce("two"))  # type: ignore[arg-type]
    while not first.failed():
        pass
    first.dismiss()
    follower.join(10)
    assert not follower.is_alive()
    assert [order for order, _ in ran] == ["one", "two"]
    # Both meet at the same place, under a name that no other run has.
    assert [seat.name for _, seat in ran] == [seat.name for seat in seats]
    assert seats[0].name != seats[1].name
    assert {(seat.rank, seat.world) for _, seat in ran} == {(1, 2)}


def test_failures(tmp_path: Path) -> None:
    folder = tmp_path
    assert read_failure(folder) is None
    leave_failure(folder, 2, "out_of_memory", "no room")
    assert read_failure(folder) == ("out_of_memory", "process 2: no room")
    forget_failures(folder)
    assert read_failure(folder, patience=0.2) is None
