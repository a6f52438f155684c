"""The processes that train one run together, and what they tell each other beside gradients.

Gradients travel by DDP or DeepSpeed (`runners.parallel.strategy`). Here: small facts as objects, rows of tensors, and
waiting for one another. A group of one answers at once, so nothing else in the suite asks how many there are.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import FileStore, PrefixStore, TCPStore  # type: ignore[attr-defined]  # exported, not to stubs

from runners.parallel.seat import Seat

T = TypeVar("T")
PATIENCE = timedelta(hours=24)
"""A process that died is seen by who started it, not by waiting; and scoring takes as long as it takes."""


class Group:
    """The processes of one run as one of them sees them.

    Attributes:
        rank: Number of this process.
        world: How many there are.
    """

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank = rank
        self.world = world

    @property
    def leads(self) -> bool:
        """Whether this process writes, scores and reports."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return every process's value, in the order of ranks. All of them must call it."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def tell(self, value: T) -> T:
        """Return the first process's value. All of them must call it."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        told: T = box[0]
        return told

    def wait(self) -> None:
        """Return when all have come here."""
        self.gather(None)

    def gather_rows(self, rows_ND: Tensor) -> list[Tensor]:
        """Return every process's rows, of any number each: tensors ``[N_r, ...]`` of one dtype and trailing shape.

        No gradient flows through it.
        """
        if self.world == 1:
            return [rows_ND]
        counts = self.gather(len(rows_ND))
        sent = rows_ND.detach()
        # NCCL and gloo know no truth values.
        sent = sent.to(torch.uint8) if sent.dtype == torch.bool else sent
        padded = sent.new_zeros((max(counts), *sent.shape[1:]))
        padded[: len(sent)] = sent
        received = [torch.empty_like(padded) for _ in range(self.world)]
        if max(counts):
            dist.all_gather(received, padded)
        return [one[:count].to(rows_ND.dtype) for one, count in zip(received, counts, strict=True)]


_current = Group()


def current() -> Group:
    """Return the group that this process belongs to; a group of one where it has joined none."""
    return _current


def join(seat: Seat, device: str) -> Group:
    """Meet the other processes of a run; on a GPU take the one with this process's local rank.

    A group of one needs no meeting, but DeepSpeed does.
    """
    global _current
    # Who reads these: DeepSpeed, and libraries that print on the first process only.
    os.environ |= {"RANK": str(seat.rank), "WORLD_SIZE": str(seat.world), "LOCAL_RANK": str(seat.local_rank)}
    if device == "cuda":
        torch.cuda.set_device(seat.local_rank)
    kind, _, where = seat.meeting.partition(":")
    store: Any
    if kind == "file":
        store = FileStore(where, seat.world)
    else:
        host, _, port = where.rpartition(":")
        store = TCPStore(host, int(port), is_master=False, timeout=PATIENCE)
    dist.init_process_group(
        # Objects travel over the CPU, gradients and rows where they are.
        backend="cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        store=PrefixStore(seat.name, store),
        rank=seat.rank,
        world_size=seat.world,
        timeout=PATIENCE,
    )
    _current = Group(seat.rank, seat.world)
    return _current


def leave() -> None:
    """Leave the group, if this process has joined one."""
    global _current
    _current = Group()
    if dist.is_initialized():
        dist.destroy_process_group()
