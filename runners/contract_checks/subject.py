"""What a check looks at: one method, a tiny backbone, rows of every kind of data, and a folder to write in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.demo import rows as demo
from benchmarks.kinds import KINDS, normalise
from benchmarks.order import example_id, ordered
from genembench.problem import unknown
from methods.contract import Example, Method, Recipe, Stage, Trainable
from methods.encoder import Encoder, make_encoder
from methods.parts.modes import evaluating
from methods.registry import MethodEntry
from runners.engine import Engine
from runners.new_backbone import Shape, learn_tokenizer, random_llama
from runners.outcomes import StageData
from runners.seeds import derive
from runners.stages import FromFiles
from runners.trainer import Trainer

TINY = Shape(hidden=32, layers=2, heads=4, key_value_heads=2, intermediate=64, vocabulary=1024, context=512)
BATCH = 16
LEARNING_RATE = 1e-3
"""Suits the tiny backbone; with a real one each stage keeps its own."""
ROWS = 64
"""Rows of each kind of data that the checks choose from."""
_MAKERS: Mapping[str, Callable[[], Iterable[dict[str, Any]]]] = {
    "triplets": demo.triplets,
    "instruct": demo.instruct,
    "pairs": demo.pairs,
    "text": demo.text,
}


class Broken(Exception):
    """The method does not keep the contract.

    Args:
        what: What was wrong and what was got.
        hint: What is allowed and what to do next.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


FINITE = (
    "The loss and its gradient must be finite numbers at every step. Look for the logarithm or the root of 0, a "
    "division by 0, a mean of nothing, and a softmax over nothing but -inf."
)
"""The hint where they are not."""


class Skipped(Exception):
    """The check has nothing to look at; the text says why."""


@dataclass(frozen=True)
class Subject:
    """One method under examination.

    Attributes:
        entry: The registered name and class.
        backbone: Folder of the language model that everything starts from.
        rows: Training rows by data kind.
        scratch: Folder for what the checks write; empty at first.
        preset: The preset that is examined.
        overrides: Hyper-parameters over the preset.
        method_file: The file that registers the method, where it is no built-in and no plug-in.
        learning_rate: For every stage; None leaves each its own.
    """

    entry: MethodEntry
    backbone: Path
    rows: Mapping[str, Sequence[Example]]
    scratch: Path
    preset: str = "small"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    method_file: Path | None = None
    learning_rate: float | None = LEARNING_RATE

    def method(self, **changes: str) -> Method:
        """Make the method anew, as a new process would; ``changes`` go over preset and overrides."""
        return self.entry.create(self.preset, {**self.overrides, **changes})

    @cached_property
    def starts(self) -> tuple[Path, ...]:
        """Where each stage starts, and last what an encoder is made of: every stage built and finished, none trained.

        So each stage is looked at for itself, and tokens that a stage adds are there when texts are tokenised.
        """
        folders = [self.backbone]
        for number, stage in enumerate(self.method().stages()):
            folder = self.scratch / f"untrained-{number}"
            stage.finish(_built(stage, FromFiles(self.backbone, folders[-1], Engine()), seed=0), folder)
            folders.append(folder)
        return tuple(folders)

    def encoder(self, weights: Path | None = None) -> Encoder:
        """Make the method's encoder from ``weights``, or from weights that were never trained."""
        return make_encoder(self.entry.name, self.method(), self.entry.source, weights or self.starts[-1])

    def cases(self) -> Iterator[Case]:
        """Yield the stages one by one, each at its start.

        Raises:
            Skipped: the method trains nothing.
        """
        count = len(self.method().stages())
        if not count:
            raise Skipped("nothing is trained")
        for number in range(count):
            yield Case(self, number, count, self.starts[number] if number else self.backbone)


@dataclass(frozen=True)
class Case:
    """One stage of a subject, number ``number`` of ``count``, and the weights it starts from."""

    subject: Subject
    number: int
    count: int
    start: Path

    @property
    def label(self) -> str:
        """A beginning for messages: which stage it is, where there are several."""
        return f"stage {self.stage().name}: " if self.count > 1 else ""

    def stage(self) -> Stage:
        """Make the stage anew, as a new process would."""
        return self.subject.method().stages()[self.number]

    def rehearsal(self, epochs: int = 1) -> Rehearsal:
        """Make the stage anew with the recipe of the checks."""
        return Rehearsal(self.stage(), epochs, self.subject.learning_rate)

    def data(self, count: int, seed: int = 0) -> StageData:
        """Return the first ``count`` rows in the order of ``seed``."""
        kind = self.stage().data
        if kind not in self.subject.rows:
            raise unknown("data kind", kind, self.subject.rows)
        rows = self.subject.rows[kind]
        ids = [example_id(kind, row) for row in rows]
        chosen = ordered(ids, seed)[:count]
        return StageData(kind, tuple(ids[i] for i in chosen), tuple(rows[i] for i in chosen))

    def trainer(
        self,
        folder: str,
        count: int,
        *,
        epochs: int = 1,
        seed: int = 0,
        engine: Engine | None = None,
        on_step: Callable[[int, int, float], None] | None = None,
    ) -> Trainer:
        """Build the stage as a run does and make its trainer on ``count`` rows.

        Its folder is ``folder`` in the scratch folder: a trainer made with the same one goes on from its checkpoint.
        """
        engine = engine or Engine()
        as_stage = cast(Stage, self.rehearsal(epochs))
        trained = _built(as_stage, FromFiles(self.subject.backbone, self.start, engine), seed)
        data = self.data(count, seed)
        if as_stage.preparation() is not None:
            data = replace(data, rows=_prepared(as_stage, trained, data.rows))
        where = self.subject.scratch / f"{folder}-{self.number}"
        where.mkdir(parents=True, exist_ok=True)
        return Trainer(as_stage, trained, data.ids, data.rows, engine=engine, seed=seed, folder=where, on_step=on_step)


def _built(stage: Stage, start: FromFiles, seed: int) -> Trainable:
    """Build a stage as a run does, and look at what comes."""
    torch.manual_seed(derive(seed, stage.name, "build"))
    trained = stage.build(start)
    if not isinstance(trained, Trainable):
        raise Broken(
            f"stage {stage.name}: build returns {type(trained).__name__}",
            "Return Trainable(module, tokenizer): the one module that is trained and the tokenizer that goes with it.",
        )
    if not any(parameter.requires_grad for parameter in trained.module.parameters()):
        raise Broken(
            f"stage {stage.name}: build leaves no parameter that requires a gradient",
            "Say what is to be trained: body.requires_grad_(True), or adapters with trainable(body, …).",
        )
    return trained


def _prepared(stage: Stage, trained: Trainable, rows: Sequence[Example]) -> tuple[Example, ...]:
    """Rows with what the stage needs to know of each before it trains, as a run hands them over."""
    with evaluating(trained.module):
        tensors = stage.prepare(trained, rows)
    return tuple({**row, **{name: values[i] for name, values in tensors.items()}} for i, row in enumerate(rows))


class Rehearsal:
    """A stage with batches, learning rate and epochs of the checks; it counts the rows that it is given.

    Everything else, methods and attributes, is the stage's own.
    """

    def __init__(self, stage: Stage, epochs: int, learning_rate: float | None) -> None:
        own = stage.recipe
        self.recipe: Recipe = replace(
            own,
            learning_rate=learning_rate or own.learning_rate,
            batch_size=BATCH,
            epochs=epochs,
            # Every step then moves as far as the rate says.
            schedule="constant",
            warmup=0.0,
            weight_decay=0.0,
        )
        self.given: list[str] = []
        self._stage = stage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def collate(self, examples: Sequence[Example], tokenizer: Any) -> Any:
        """Take note of the rows, then collate as the stage does."""
        self.given += [example_id(self._stage.data, row) for row in examples]
        return self._stage.collate(examples, tokenizer)


@cache
def training_rows() -> Mapping[str, Sequence[Example]]:
    """Return `ROWS` rows of every kind: of very different lengths, and triplets with one negative or with two."""
    return {kind: _varied(kind, list(islice(make(), ROWS))) for kind, make in _MAKERS.items()}


def _varied(kind: str, rows: Sequence[Mapping[str, Any]]) -> tuple[Example, ...]:
    varied = []
    for number, made in enumerate(rows):
        # Canonical fields only: a method may rely on no others.
        row = {name: made[name] for name in KINDS[kind].fields}
        after = rows[(number + 1) % len(rows)]
        if number % 5 == 4:
            longest = max((name for name in row), key=lambda name: len(row[name]))
            row[longest] = " ".join([row[longest], *[after[longest]] * 4])
        if kind == "triplets" and number % 3 == 0:
            row["negative"] = [row["negative"], after["negative"]]
        varied.append(normalise(kind, row, f"row {number}"))
    return tuple(varied)


def make_backbone(folder: Path) -> Path:
    """Write the tiny backbone, a random Llama whose tokenizer knows the rows' words, and return its folder."""
    texts = [row["text"] for row in training_rows()["text"]]
    tokenizer = learn_tokenizer(texts, TINY)
    random_llama(tokenizer, TINY, seed=0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
