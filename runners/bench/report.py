"""What a bench leaves behind: one JSON file, written anew after every measurement, so that Ctrl-C loses nothing."""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from leaderboard.files import write_atomically
from methods.parts.backbone import attention_kernel
from runners.engine import Engine
from runners.output import Output, write_json
from runners.progress import say
from runners.records import environment, now

SCHEMA = 1


class Report:
    """The file of one bench.

    Attributes:
        folder: Where it stands.
        content: What it will say; change it and call `write`.
    """

    def __init__(self, options: argparse.Namespace, engine: Engine) -> None:
        self.folder: Path = options.output
        self.name: str = options.what
        given = {key: _plain(value) for key, value in sorted(vars(options).items()) if key != "output"}
        facts = environment(attention_kernel(engine.device, engine.precision), engine.device)
        self.content: dict[str, Any] = {
            "schema": SCHEMA,
            "bench": self.name,
            "status": "running",
            "options": given,
            "environment": {
                **facts,
                "processor": processor(),
                "cores": os.cpu_count(),
                "precision": engine.precision,
                "load_before": load(),
            },
            "started": now(),
        }

    @property
    def file(self) -> Path:
        """The JSON file."""
        return self.folder / f"{self.name}.json"

    def write(self) -> None:
        """Write what is known now."""
        write_json(self.file, self.content)

    def draw(self, figure: Callable[[dict[str, Any]], dict[str, bytes]]) -> None:
        """Write the figure's files."""
        for name, content in figure(self.content).items():
            write_atomically(self.folder / name, content)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Hold the folder while it is measured; whatever ends it, the file says how."""
        with Output(self.folder, f"bench {self.name}").claim():
            ended = "failed"
            # What is imported by now stays: a collection before each turn need not go through it again.
            gc.freeze()
            try:
                yield
                ended = "done"
            except KeyboardInterrupt:
                ended = "interrupted"
                say(f"interrupted: what was measured stands in {self.file}")
                raise
            finally:
                gc.unfreeze()
                self.content |= {"status": ended, "finished": now()}
                self.content["environment"]["load_after"] = load()
                self.write()


def processor() -> str:
    """Name the processor, as far as the system tells."""
    with Path("/proc/cpuinfo").open(encoding="utf-8") if Path("/proc/cpuinfo").exists() else open(os.devnull) as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return ""


def load() -> float | None:
    """Return how many processes the machine has had to do with, mean of the last minute; None where nobody knows."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
