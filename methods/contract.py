"""The contract of a method: hyper-parameters, text to vector in three steps, and training stages.

A method is a frozen keyword-only dataclass. Its text goes to a vector in three steps that training and evaluation
share: `tokenize` (token ids and a content mask), `readout` (hidden states to ``[B, k, D]``) and `pool` (to ``[B, D]``).
Its `stages` say what is trained, on which kind of data, with which loss. `docs/contract.md` is the reference.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from torch import Tensor, nn

from genembench.problem import Problem
from methods.parts.adapt import save_merged
from methods.parts.losses import LossTerm
from methods.parts.readout import READOUTS, normalised_mean
from methods.parts.tokens import TokenRow
from methods.parts.vocabulary import add_tokens, make_room

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Role = Literal["query", "document", "symmetric"]
"""Which side a text stands on; ``symmetric`` where a task treats both sides alike (STS)."""

Phase = Literal["train", "evaluate"]
"""Templates may differ between training and evaluation (AutoRegEmbed's do), so every call says which it is."""

Example = Mapping[str, Any]
"""One row of a data kind: its canonical fields and whatever extra fields the file carried."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a stage is optimised (AdamW); ``batch_size`` is the global batch in examples, whatever the micro-batch."""

    learning_rate: float
    batch_size: int
    epochs: int = 1
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup: float = 0.0
    """Fraction of the stage spent on raising the learning rate linearly from 0."""
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 1.0
    """Largest gradient norm; 0 leaves gradients alone."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with.

        Raises:
            Problem: a number is out of its range.
        """
        allowed = {
            "learning_rate": (self.learning_rate > 0, "above 0"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "epochs": (self.epochs >= 1, "at least 1"),
            "warmup": (0 <= self.warmup <= 1, "a fraction from 0 to 1"),
            "weight_decay": (self.weight_decay >= 0, "0 or more"),
            "clip_norm": (self.clip_norm >= 0, "0 or more"),
        }
        for name, (fine, range_) in allowed.items():
            if not fine:
                raise Problem(f"{name}={getattr(self, name)} cannot be trained with", f"It must be {range_}.")


@dataclass(frozen=True)
class Hyper:
    """One value of a preset and its evidence: the paper, the authors' code, or our choice where both are silent."""

    value: Any
    evidence: str


Preset = Mapping[str, Hyper]


@dataclass(frozen=True)
class Facts:
    """What a reader of the leaderboard has to know about a method.

    ``inference_cost`` is relative to one causal pass over the text; ``deviations`` are from the paper and from the
    authors' code, each one sentence. ``parity`` says which numbers of the authors' code are reproduced, to what
    tolerance, and in which tests; its first sentence stands in tables, in the row of every name of the class.
    """

    family: str
    paper: str
    summary: str
    deviations: tuple[str, ...] = ()
    inference_cost: str = "one pass over text and prompt"
    parity: str = "not compared with the authors' code"


class Start(Protocol):
    """What a stage starts from; the runner hands it to `Stage.build`."""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Load the tokenizer that the previous stage left, or the backbone's."""

    def model(self, *, head: bool = False, causal: bool = True) -> PreTrainedModel:
        """Load the model that the previous stage left: the body, or with ``head`` the causal language model."""

    def untouched(self) -> PreTrainedModel:
        """Load the backbone with its head as it was before any stage (AutoRegEmbed's frozen decoder)."""


@dataclass(frozen=True)
class Trainable:
    """What a stage trains: the module that the trainer wraps, and the tokenizer that goes with it."""

    module: nn.Module
    tokenizer: PreTrainedTokenizerBase


class Stage(ABC):
    """One training objective over one kind of data.

    A subclass is a small frozen dataclass that holds its method and no state. ``forward`` of the module that `build`
    returns is the only thing the trainer wraps; frozen helpers are kept out of its parameters.

    A stage that trains the whole body and nothing else needs no module of its own: it defines `forward`, and inherits
    `build` and `finish`.
    """

    method: Method
    """Whose stage it is: a field of the subclass."""
    name: ClassVar[str]
    data: ClassVar[str]
    """The data kind: triplets, instruct, pairs or text."""

    @property
    def trains(self) -> str:
        """What is trained, in words, for the tables; a stage with a `build` of its own says it."""
        return "all weights" if type(self).build is Stage.build else "not stated"

    @property
    @abstractmethod
    def recipe(self) -> Recipe:
        """How the stage is optimised."""

    @property
    @abstractmethod
    def loss_kind(self) -> Literal["additive", "joint"]:
        """Say what ``forward`` returns.

        ``additive``: ``forward(batch)`` gives ``dict[str, LossTerm]``, sums over examples or tokens.
        ``joint``: ``forward(batch)`` gives ``dict[str, Tensor]`` (first dimension: examples), and `joint_loss` is
        computed once, on the representations of the whole global batch.
        """

    def build(self, start: Start) -> Trainable:
        """Make the one trainable module. Only parameters that require gradients are trained and checkpointed.

        The default trains all weights of the body, by the stage's own `forward`. A module's attribute ``body`` is the
        encoder as it will be saved, without head: what `finish` writes by default, and what the trainer watches.
        """
        model, tokenizer = start.model(causal=self.method.causal), start.tokenizer()
        add_tokens(tokenizer, self.method.new_tokens)
        make_room(model, tokenizer)
        return Trainable(WholeBody(self, model.train()), tokenizer)

    def forward(self, body: nn.Module, batch: Any) -> Mapping[str, LossTerm] | Mapping[str, Tensor]:
        """Compute what `loss_kind` asks for; called by the module of the default `build`, by no other."""
        raise TypeError(f"stage {self.name} has neither a forward(body, batch) nor a build(start) of its own")

    @abstractmethod
    def collate(self, examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase) -> Any:
        """Turn rows into the batch that ``forward`` takes (tokens, not text)."""

    def weigh(self, batch: Any) -> dict[str, float]:
        """Give each term's weight before ``forward`` runs; it must equal the ``LossTerm.weight`` that follows.

        Every additive stage says it. A joint stage need not: its loss sees the whole batch.
        """
        raise TypeError(f"stage {self.name} is additive: it must say what its terms weigh, in weigh(batch)")

    def joint_loss(self, outputs: Mapping[str, Tensor]) -> dict[str, LossTerm]:
        """Compute the loss of a joint stage from the outputs of the whole global batch."""
        raise TypeError(f"stage {self.name} is additive: it has no joint loss")

    def finish(self, trained: Trainable, folder: Path) -> None:
        """Write plain merged Hugging Face weights and the tokenizer: what follows starts from files.

        The default saves the module's attribute ``body``.
        """
        body = getattr(trained.module, "body", None)
        if not isinstance(body, nn.Module):
            raise TypeError(f"stage {self.name}: its module has no attribute body, so it needs a finish() of its own")
        save_merged(body, trained.tokenizer, folder)

    def identity(self) -> dict[str, Any]:
        """Return what determines the stage's weights beside start, data, precision and source.

        The default is everything the stage holds, its method's hyper-parameters included. A stage that several
        methods share narrows it to what it uses, so that it is trained once for all of them.
        """
        return {"stage": self.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    def preparation(self) -> Mapping[str, Any] | None:
        """Return what determines `prepare`'s outcome beside start, data, seed, precision and source, or None.

        None, the default, says that there is nothing to prepare. Stages that return the same share one preparation.
        """
        return None

    def prepare(self, trained: Trainable, examples: Sequence[Example]) -> Mapping[str, Tensor]:
        """Compute what the stage needs to know of each example before it trains (AutoRegEmbed's reference scores).

        Called once for every example, with the module as `build` made it, in evaluation mode and without gradients;
        charged to the run. The tensors' first dimension is the examples, of one shape for all; they are kept in
        float32. `collate` finds each example's slice in its row, under the tensor's name, which is no field of the row.
        """
        raise TypeError(f"stage {self.name} declares a preparation: it must define prepare(trained, examples)")

    def cost(self, example: Example) -> int:
        """Length by which the trainer groups examples into micro-batches; any unit."""
        return sum(len(text) for value in example.values() for text in _texts(value))


class WholeBody(nn.Module):
    """What a stage without a module of its own trains: the body, in training mode, by the stage's `Stage.forward`."""

    def __init__(self, stage: Stage, body: nn.Module) -> None:
        super().__init__()
        self.stage = stage
        self.body = body

    def forward(self, batch: Any) -> Mapping[str, LossTerm] | Mapping[str, Tensor]:
        """Return what the stage's `forward` returns."""
        return self.stage.forward(self.body, batch)


def _texts(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return (value,)
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else ()


def hyper(default: Any, doc: str, *, encodes: bool = False) -> Any:
    """Declare a hyper-parameter with its documentation.

    ``encodes`` marks those that shape how a text becomes a vector, in training or at evaluation: they are part of the
    evaluation address and of the identity of shared stages, the others are not.
    """
    return field(default=default, metadata={"doc": doc, "encodes": encodes})


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A recipe that turns a backbone into an encoder."""

    facts: ClassVar[Facts]
    presets: ClassVar[Mapping[str, Preset]] = {}

    max_length: int = hyper(
        512, "longest input in tokens, prompt included; the text is cut, never the prompt", encodes=True
    )
    readout_kind: str = hyper("mean", f"how hidden states become [B, k, D]: one of {', '.join(READOUTS)}", encodes=True)

    causal: ClassVar[bool] = True
    """Whether the encoder's attention is causal; False makes it bidirectional."""

    @property
    def new_tokens(self) -> tuple[str, ...]:
        """Special tokens that the method adds to the tokenizer; the first stage's `build` gives them embeddings."""
        return ()

    @abstractmethod
    def tokenize(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], role: Role, phase: Phase
    ) -> list[TokenRow]:
        """Apply the template: token ids and a content mask for each text, never longer than ``max_length``."""

    def readout(self, hidden_BLD: Tensor, content_BL: Tensor) -> Tensor:
        """Read ``[B, k, D]`` out of the last hidden states (after the final norm) at the content positions."""
        return READOUTS[self.readout_kind](hidden_BLD, content_BL)

    def pool(self, readout_BkD: Tensor) -> Tensor:
        """Pool a read-out into vectors ``[B, D]``; the default is the L2-normalised mean in float32."""
        return normalised_mean(readout_BkD)

    def stages(self) -> tuple[Stage, ...]:
        """Return the training stages in order; none for a training-free method."""
        return ()

    def config(self) -> dict[str, Any]:
        """Return every hyper-parameter by name."""
        return dataclasses.asdict(self)

    def encoding_config(self) -> dict[str, Any]:
        """Return the hyper-parameters that shape how a text becomes a vector at evaluation.

        Without training they have nothing else to shape, so there they all count, marked or not.
        """
        if not self.stages():
            return self.config()
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata.get("encodes")}

    @property
    def needs(self) -> tuple[str, ...]:
        """The data kinds that the stages consume, in order of first use."""
        return tuple(dict.fromkeys(stage.data for stage in self.stages()))
