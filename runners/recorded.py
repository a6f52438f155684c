"""What a run's record names, found again: its benchmark, its method, its backbone, its encoder, its training data."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.kinds import KINDS
from benchmarks.protocol import TextEncoder
from benchmarks.suite import Benchmark
from benchmarks.training_data import TrainingData, with_seed
from genembench.problem import Problem
from leaderboard.records import Record, read_records
from methods.contract import Method
from methods.encoder import MANIFEST, files_hash, make_encoder
from methods.registry import MethodEntry, discover
from runners.backbones import resolve_backbone
from runners.demo import DEMO
from runners.engine import Engine, Precision, choose_device
from runners.finished import FinishedModel, finished_model
from runners.options import parse
from runners.prepare import choose_benchmark, load_data

MOVABLE = ("backbone", "benchmark", "data_dir", *KINDS)
"""Options of the recorded command that may be given anew, because what they name was moved."""


def open_runs(
    paths: list[Path], moved: Mapping[str, Any], method_files: list[str], *, trust_remote_code: bool = False
) -> list[RecordedRun]:
    """Read the records under ``paths``: run folders or output folders.

    Args:
        paths: Each a run folder, a ``runs`` folder, or an output folder.
        moved: New values of `MOVABLE` options; None for what stands where it stood.
        method_files: Files of methods, in place of those that the record names.
        trust_remote_code: Whether code that finished models bring is run; what a record says of it is its maker's.

    Raises:
        Problem: there are none, or one cannot be read.
    """
    for path in paths:
        _refuse_unscored(path)
    return [RecordedRun(each, dict(moved), list(method_files), trust_remote_code) for each in read_records(paths)]


def _refuse_unscored(folder: Path) -> None:
    """A run of `train` is done without a score, which no record of a comparison may be: say what it is."""
    try:
        value = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if isinstance(value, dict) and value.get("status") == "done" and value.get("scores") == []:
        raise Problem(
            f"{folder} was trained and not scored: its record holds nothing to compare with",
            "Score its encoder with `genembench evaluate --encoder`.",
        )


@dataclass(frozen=True)
class RecordedRun:
    """A record, with where what it names is now.

    Every property raises a ``Problem`` where what it stands for is not to be had.
    """

    record: Record
    moved: Mapping[str, Any]
    method_files: list[str] = field(default_factory=list)
    trust_remote_code: bool = False

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.record.source.parent

    @cached_property
    def options(self) -> argparse.Namespace:
        """The recorded configuration as `compare` reads it, with what was moved."""
        from runners.compare import parser

        given = [f"--{name.replace('_', '-')}={value}" for name, value in self.moved.items() if value is not None]
        options = parse(parser(), [f"--config={self.record.source}", *given])
        options.method_file = self.method_files or options.method_file
        if not options.methods:
            raise Problem(f"{self.record.source}: the configuration names no method", "It cannot be repeated.")
        return options

    @cached_property
    def named_benchmark(self) -> Benchmark:
        """The benchmark of the recorded command; its sentences were kept out of the training data."""
        return choose_benchmark(self.options)

    @cached_property
    def benchmark(self) -> Benchmark:
        """The benchmark that the run was scored on; not yet whether its data are still the same."""
        found = self.named_benchmark
        if found.tasks != self.record.benchmark.tasks:
            raise Problem(
                f"the benchmark {self.record.benchmark.name} ({', '.join(self.record.benchmark.tasks)}) does not "
                f"follow from the recorded configuration, which is of {found.name} ({', '.join(found.tasks)})",
                "A trial of --tune is scored on triplets that the whole comparison left over.",
            )
        return found

    def engine(self, device: str, precision: str) -> Engine:
        """Return how to compute: in the recorded precision unless told otherwise, but in float32 on a CPU.

        bfloat16 on a CPU takes hundreds of times as long.
        """
        where = choose_device(device)
        recorded: Precision = "bfloat16" if self.record.engine.get("precision") == "bfloat16" else "float32"
        if precision == "auto":
            precision = recorded if where == "cuda" else "float32"
        return Engine(device=where, precision="bfloat16" if precision == "bfloat16" else "float32")

    @cached_property
    def entry(self) -> MethodEntry:
        """The method's entry in the registry."""
        return discover([Path(file) for file in self.options.method_file]).get(self.record.method.name)

    @cached_property
    def method(self) -> Method:
        """The method with the recorded hyper-parameters."""
        try:
            return self.entry.cls(**self.record.method.config)
        except TypeError as error:
            raise Problem(
                f"method {self.record.method.name} has other hyper-parameters now than in the record: {error}",
                "Verify with the version that made the record.",
            ) from error

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the run's ``encoder/encoder.json`` says."""
        file = self.folder / "encoder" / MANIFEST
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            _ = found["weights"], found["method"], found["config"]
        except FileNotFoundError:
            raise Problem(
                f"the run's folder has no encoder/{MANIFEST}", "It was published without its encoder."
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Problem(f"{file} cannot be read: {error}", "Copy the run's folder again.") from error
        return dict(found)

    @cached_property
    def weights(self) -> Path:
        """Folder of the encoder's weights: a trained stage's, or the backbone's."""
        if self.record.training_address is None and self.moved.get("backbone"):
            return self.backbone
        folder = self.folder / "encoder" / str(self.manifest["weights"])
        if not (folder / "config.json").is_file():
            raise Problem(
                f"there are no weights at {folder.resolve()}",
                "Copy the folders runs and stages together, or say where the backbone is with --backbone. "
                "A trial that lost a --tune has none: its stages are deleted.",
            )
        return folder

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the weights' files as they are now."""
        return files_hash(self.weights)

    @cached_property
    def backbone(self) -> Path:
        """Folder of the backbone: nothing is downloaded for it, only the demo's is made where it is not there."""
        assert self.record.backbone is not None
        given = str(self.moved.get("backbone") or self.options.backbone or self.record.backbone.given)
        if given == DEMO:
            return resolve_backbone(given, self.engine("auto", "auto")).folder
        folder = Path(given).expanduser()
        if not (folder / "config.json").is_file():
            folder = _from_cache(given)
        return folder

    @property
    def finished(self) -> FinishedModel:
        """The finished model that the record is of; no more of its code is run than the recorded run ran.

        Raises:
            Problem: the run was trusted with code, and this command is not.
        """
        recorded = bool(self.options.trust_remote_code)
        if recorded and not self.trust_remote_code:
            raise Problem(
                f"{self.options.methods[0]} was scored with --trust-remote-code",
                "Say it here too, if you trust the code that the model may bring: what a record says is its maker's.",
            )
        return finished_model(self.options.methods[0], trust_remote_code=recorded)

    def encoder(self, engine: Engine) -> TextEncoder:
        """Load the encoder that was scored."""
        if self.record.finished_model:
            return self.finished.load(engine)
        return make_encoder(
            self.record.method.name,
            self.method,
            self.entry.source,
            self.weights,
            content=self.weights_hash,
            device=engine.device,
            precision=engine.precision,
        )

    def data(self, kind: str) -> TrainingData:
        """Load what the run consumed of one kind: the first examples in the order of its seed."""
        found = load_data(self.options, [kind], self.named_benchmark)
        if kind not in found:
            raise Problem(f"the recorded configuration names no {kind}", f"Say where they are with {KINDS[kind].flag}.")
        return with_seed(found[kind], self.record.seed).take(self.record.data[kind].unique)


def _from_cache(given: str) -> Path:
    """Return a hub model's files where this machine has them."""
    from huggingface_hub import snapshot_download

    from methods.encoder import WEIGHT_FILES

    try:
        return Path(snapshot_download(given, allow_patterns=list(WEIGHT_FILES), local_files_only=True))
    except Exception as error:  # No such folder, no such id, not in the cache: one answer.
        raise Problem(
            f"the backbone {given} is neither a folder here nor in the hub's cache", "Say where it is with --backbone."
        ) from error
