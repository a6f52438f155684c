"""What tests of several stages need: rows of very different lengths, steps as the trainer makes them, comparisons."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract import Example, Stage, Trainable
from runners.engine import Engine
from runners.trainer import Trainer
from tests.conftest import sentence
from tests.methods.backbones import Files, Kind

Backbone = Callable[[Kind], Path]
Gradients = Mapping[str, Tensor | None]

LENGTHS = (0, 40, 0, 25)
"""Words of the texts, at least; 0 is a sentence of ten."""


def pairs() -> list[Example]:
    """Short queries of long documents, the reverse, and one of a letter."""
    source = random.Random(0)
    rows = [{"query": sentence(source, words), "document": sentence(source, 45 - words)} for words in LENGTHS]
    return [*rows, {"query": "é", "document": "a 🦊"}]


def texts() -> list[Example]:
    """Texts from one letter to dozens of words."""
    source = random.Random(1)
    return [*({"text": sentence(source, words)} for words in LENGTHS), {"text": "a 🦊"}]


def triplets(negatives: Sequence[int] = (2, 2, 2, 2, 2)) -> list[Example]:
    """Triplets with so many negatives each, of very different lengths."""
    source = random.Random(2)
    return [
        {
            "query": sentence(source, 12 * (i % 3)),
            "positive": sentence(source, 30 - 10 * (i % 4)),
            "negative": [sentence(source, 12 * n) for n in range(count)],
        }
        for i, count in enumerate(negatives)
    ]


def build(stage: Stage, backbone: Path, folder: Path | None = None) -> Trainable:
    """Build a stage as a run does, from the backbone or from what the stage before it left."""
    torch.manual_seed(0)
    return stage.build(Files(backbone, folder or backbone))


def step(stage: Stage, trained: Trainable, rows: Sequence[Example]) -> Tensor:
    """Return the loss as the trainer divides it, its gradients left at the weights."""
    batch = stage.collate(rows, trained.tokenizer)
    terms: Any = trained.module(batch)
    if stage.loss_kind == "joint":
        terms = stage.joint_loss(terms)
    else:
        assert {name: term.weight for name, term in terms.items()} == stage.weigh(batch)
    loss = torch.stack([term.coefficient * term.sum / term.weight for term in terms.values()]).sum()
    loss.backward()
    return loss.detach()


def trainer(stage: Stage, trained: Trainable, rows: Sequence[Example], folder: Path, **engine: Any) -> Trainer:
    """Make the trainer of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{number:03}" for number in range(len(rows))]
    return Trainer(stage, trained, ids, rows, engine=Engine(**engine), seed=0, folder=folder)


def finished(stage: Stage, trained: Trainable, folder: Path) -> Path:
    """Save as a run does, and keep the module: merging takes adapters out of it."""
    stage.finish(Trainable(copy.deepcopy(trained.module), trained.tokenizer), folder)
    return folder


def gradients(trained: Trainable) -> dict[str, Tensor | None]:
    """Gradients of what is trained, taken off the weights."""
    found = {name: p.grad for name, p in trained.module.named_parameters() if p.requires_grad}
    trained.module.zero_grad(set_to_none=True)
    return found


def as_in_the_module(model: Any) -> dict[str, Tensor | None]:
    """Gradients of a plain language model under the names that they have in a stage's module."""
    body = f"{model.base_model_prefix}."
    return {
        f"body.{name.removeprefix(body)}" if name.startswith(body) else name: parameter.grad
        for name, parameter in model.named_parameters()
    }


def of_adapters(trained: Trainable, model: Any, scale: float) -> dict[str, Tensor | None]:
    """What adapters' gradients have to be, from those of the merged ``model``.

    With W' = W + s B A: dL/dA = s Bᵀ dL/dW' and dL/dB = s dL/dW' Aᵀ.
    """
    merged = dict(model.base_model.named_parameters())
    adapters = {name: p.detach() for name, p in trained.module.named_parameters() if p.requires_grad}
    expected: dict[str, Tensor | None] = {}
    for name in adapters:
        layer, part = name.removeprefix("body.base_model.model.").split(".lora_")
        full = merged[f"{layer}.weight"].grad
        assert full is not None
        full = full.T if model.config.model_type == "gpt2" else full  # its matrices lie the other way round
        a, b = (adapters[f"body.base_model.model.{layer}.lora_{which}.default.weight"] for which in "AB")
        expected[name] = scale * (b.T @ full if part.startswith("A") else full @ a.T)
    return expected


def wake_adapters(trained: Trainable) -> None:
    """Give every B numbers: it is 0 to begin with, which would hide A."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in trained.module.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def assert_gradients(got: Gradients, wanted: Gradients, tolerance: float = 2e-4) -> None:
    """Hold every gradient against the largest number of its own tensor.

    What is zero but for rounding (a key's bias, which a softmax does not see) is held against all tensors.
    """
    assert got.keys() == wanted.keys()
    overall = max(gradient.abs().max().item() for gradient in wanted.values() if gradient is not None)
    assert overall > 1e-3
    for name, gradient in wanted.items():
        one = got[name]
        assert gradient is not None, name
        assert one is not None, name
        largest = max(gradient.abs().max().item(), 1e-3 * overall)
        off = (one - gradient).abs().max().item()
        assert off <= tolerance * largest, f"{name}: off by {off:.2e}, the largest number is {largest:.2e}"


@contextmanager
def other_padding(trained: Trainable) -> Iterator[list[int]]:
    """Feed random tokens where batches are padded, told by id 0; collects how many of each pass."""
    changed: list[int] = []

    def other(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (ids,) = args
        changed.append(int((ids == 0).sum()))
        return (torch.where(ids == 0, torch.randint(1, 300, ids.shape), ids),)

    body: Any = trained.module.body
    with body.get_input_embeddings().register_forward_pre_hook(other):
        yield changed
