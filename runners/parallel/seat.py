"""A process's place among those of one run. It travels to the process, so nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Seat:
    """Who a process is among the processes of one run, and where they meet.

    Attributes:
        rank: Number of the process; 0 writes, scores and reports, the others only compute.
        world: How many there are.
        local_rank: Number on its machine: the GPU that it uses.
        meeting: ``file:PATH`` (one machine) or ``tcp:HOST:PORT`` (a store that somebody holds open there).
        name: Tells this meeting from others at the same place.
    """

    rank: int
    world: int
    local_rank: int
    meeting: str
    name: str
