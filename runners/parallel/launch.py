"""Copies of one command on several machines: torchrun, accelerate launch or srun start it once for each GPU.

The first copy is the command as always. It tells the others which run comes next; each starts one process for it, and
those processes are the run's. Output, data and backbone must lie where every machine sees them, under the same path.
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from genembench.problem import Problem
from runners.parallel.seat import Seat

if TYPE_CHECKING:
    from runners.spec import RunSpec

END = b"end"
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_GO = timedelta(seconds=30)


@dataclass
class Launch:
    """This copy's place among all; the environment variables are torchrun's, and srun's scripts set the same.

    Attributes:
        rank: Number of this copy; 0 is the command itself.
        world: How many there are.
        local_rank: Number on this machine.
        meeting: Host and port of the store through which they speak.
    """

    rank: int
    world: int
    local_rank: int
    meeting: tuple[str, int]
    orders: int = 0
    _store: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> Launch | None:
        """Return the place that a launcher gave this command; None where it was started alone.

        Raises:
            Problem: a launcher's variables are there in part.
        """
        if int(environment.get("WORLD_SIZE", "1")) == 1:
            return None
        needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        missing = [name for name in needed if name not in environment]
        if missing:
            raise Problem(
                f"WORLD_SIZE is {environment['WORLD_SIZE']}, but {', '.join(missing)} is not set",
                "Start with torchrun or accelerate launch, or set all of them, or unset WORLD_SIZE.",
            )
        rank, local = int(environment["RANK"]), int(environment["LOCAL_RANK"])
        meeting = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        return cls(rank, int(environment["WORLD_SIZE"]), local, meeting)

    @property
    def store(self) -> Any:
        """The store between all copies; torchrun holds it open, without torchrun the first copy does."""
        if self._store is None:
            from torch.distributed import TCPStore  # type: ignore[attr-defined]

            from runners.parallel.group import PATIENCE

            held = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
            host, port = self.meeting
            self._store = TCPStore(host, port, is_master=self.rank == 0 and not held, timeout=PATIENCE)
        return self._store

    def seat(self) -> Seat:
        """Return this copy's seat in the run that was announced last."""
        host, port = self.meeting
        return Seat(self.rank, self.world, self.local_rank, f"tcp:{host}:{port}", self._key("run"))

    def announce(self, spec: RunSpec) -> Seat:
        """Tell the others which run comes next. The first copy calls it."""
        self.orders += 1
        self.store.set(self._key("order"), pickle.dumps(spec))
        return self.seat()

    def over(self) -> None:
        """Tell the others that this copy's process has ended."""
        self.store.set(self._key("over"), b"")

    def failed(self) -> bool:
        """Whether another copy's process has died."""
        return bool(self.store.check([self._key("failed")]))

    def dismiss(self) -> None:
        """Let the others go: the command is through."""
        self.orders += 1
        self.store.set(self._key("order"), END)
        # This process may be the one that holds the store open.
        with suppress(RuntimeError):
            self.store.wait([f"genembench/gone/{rank}" for rank in range(1, self.world)], SECONDS_TO_GO)

    def follow(self, run: Callable[[bytes, Seat, Callable[[], bool]], int]) -> int:
        """Run what the first copy announces until it is through. All others call it.

        Args:
            run: Starts a process for a pickled `RunSpec` and waits for it, or until what it is given says that the
                first copy's has ended; returns the process's exit code.
        """
        while True:
            self.orders += 1
            while not self.store.check([self._key("order")]):
                time.sleep(SECONDS_BETWEEN_LOOKS)
            order: bytes = self.store.get(self._key("order"))
            if order == END:
                self.store.set(f"genembench/gone/{self.rank}", b"")
                return 0
            over = self._key("over")
            if run(order, self.seat(), lambda key=over: bool(self.store.check([key]))) != 0:  # type: ignore[misc]
                self.store.set(self._key("failed"), b"")

    def _key(self, what: str) -> str:
        return f"genembench/{what}/{self.orders}"
