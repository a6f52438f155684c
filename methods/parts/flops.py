"""Analytic model FLOPs of a transformer pass, from the shapes of its linear layers and its attention.

Counted are matrix products (two per multiply-add): the linear layers on each real token and attention's two products
over each sequence's own length squared (not halved for causal masks, the usual convention; Chowdhery et al. 2022,
PaLM, appendix B). Norms, activations, softmax and the embedding look-up are left out, as torch's own counter does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from genembench.problem import Problem

if TYPE_CHECKING:
    from transformers.pytorch_utils import Conv1D


@dataclass(frozen=True)
class PassCost:
    """FLOPs of one pass: ``per_token`` for each token, ``per_token_squared`` for each sequence's length squared."""

    per_token: float
    per_token_squared: float

    def of(self, lengths: Sequence[int]) -> float:
        """FLOPs for sequences of these lengths (tokens)."""
        return self.per_token * sum(lengths) + self.per_token_squared * sum(n * n for n in lengths)


_known: WeakKeyDictionary[nn.Module, dict[tuple[bool, bool], PassCost]] = WeakKeyDictionary()


def pass_cost(model: nn.Module, *, input_gradient: bool = False) -> PassCost:
    """Cost of a pass through ``model`` as it stands: with gradients where they are enabled and something is trained.

    ``input_gradient`` says that the pass takes embeddings whose gradient is wanted (a frozen decoder of a trained
    encoder), so that products for inputs are needed even where no weight is trained.

    One tiny pass with hooks finds out which linear layers run and which products the backward pass needs: the input's
    gradient where the input requires one, the weight's where the weight is trained. So LoRA, frozen layers and a first
    layer whose input needs no gradient are counted as they are.
    """
    training = torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters())
    costs = _known.setdefault(model, {})
    if (training, input_gradient) not in costs:
        costs[training, input_gradient] = _probe(model, training, input_gradient)
    return costs[training, input_gradient]


def _probe(model: nn.Module, training: bool, input_gradient: bool) -> PassCost:
    tokens = 2
    total = 0.0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        products = 1
        if training or input_gradient:
            products += int(inputs[0].requires_grad) + int(weight.requires_grad)
        rows = output.numel() // output.shape[-1]
        total += products * 2.0 * weight.numel() * rows / tokens

    hooks = [m.register_forward_hook(count) for m in matrices(model)]
    device = next(model.parameters()).device
    # Dropout in the probe would consume random numbers and a resumed run would see others than an uninterrupted one.
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            ids = torch.zeros(1, tokens, dtype=torch.long, device=device)
            if input_gradient:
                embeds = model.get_input_embeddings()(ids)  # type: ignore[operator]
                model(inputs_embeds=embeds.detach().requires_grad_(), use_cache=False)
            else:
                model(input_ids=ids, use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
    return PassCost(total, attention_per_length_squared(model) * (3.0 if training or input_gradient else 1.0))


def matrices(model: nn.Module) -> list[nn.Linear | Conv1D]:
    """Return the modules that multiply by a weight matrix: nn.Linear, and the Conv1D of GPT-2 which is one transposed.

    Raises:
        Problem: other modules hold matrices too (fused experts, convolutions), so the FLOPs would come out too low.
    """
    from transformers.pytorch_utils import Conv1D

    found = [m for m in model.modules() if isinstance(m, nn.Linear | Conv1D)]
    known = {id(p) for m in [*found, *_embeddings(model)] for p in m.parameters(recurse=False)}
    unknown = [name for name, p in model.named_parameters() if p.ndim >= 2 and id(p) not in known]
    if unknown:
        raise Problem(
            f"the FLOPs of {type(model).__name__} cannot be counted: {len(unknown)} weights are in no linear layer, "
            f"the first is {unknown[0]}",
            "Dense transformers (Llama, Qwen, Mistral, Gemma, GPT-2) can be; methods/parts/flops.py is the place.",
        )
    return found


def _embeddings(model: nn.Module) -> list[nn.Module]:
    # peft wraps an embedding of which some rows are trained, and keeps those rows in a part of the wrapper.
    wrappers = [m for m in model.modules() if isinstance(getattr(m, "base_layer", None), nn.Embedding)]
    parts = [part for wrapper in wrappers for part in wrapper.modules()]
    return [*[m for m in model.modules() if isinstance(m, nn.Embedding)], *parts]


def attention_per_length_squared(model: nn.Module) -> float:
    """FLOPs per length squared of the score and the value product, over all layers (forward)."""
    config = getattr(model, "config", None)
    if config is None:
        return 0.0
    text = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 4.0 * float(text.num_hidden_layers * text.num_attention_heads * head)
