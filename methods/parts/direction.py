"""The direction of attention as a checked fact: what was asked for is tried on a few tokens before a model is used.

transformers says the direction in two places. From ``config.is_causal`` masks are made, and most bodies hand it on to
every layer. ``module.is_causal`` of an attention module is what flash-attn, and sdpa without a mask, read where nothing
was handed on: StableLM and Nemotron with the first alone are bidirectional in padded batches and causal in all others.
So both are said, and then the model is asked, with padding and without.

A sliding window remains one: a token sees as many tokens on either side as the window is long (flash-attn: one fewer).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from genembench.problem import Problem
from methods.parts.modes import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel

TOKENS = 4
"""Tokens of the probe."""


def ask_for_direction(config: Any, *, causal: bool) -> None:
    """Say the direction in a configuration that a model is about to be made from."""
    for each in (config, config.get_text_config()):
        each.is_causal = causal


def ensure_direction(model: PreTrainedModel, *, causal: bool) -> None:
    """Say the direction in the modules of a loaded model too, and find out whether it is so.

    Four passes of a few tokens. Modes and random numbers are left as they were.

    Raises:
        Problem: the model stays causal (in some layers, in some batches), is bidirectional of its own, or cannot run.
    """
    if not causal:
        for module in model.modules():
            # Not getattr: a class may compute it.
            if vars(module).get("is_causal") is True:
                module.is_causal = False  # type: ignore[assignment]  # the stubs expect tensors and modules
    kernel = model.config._attn_implementation
    what = f"{type(model).__name__} with {kernel} attention"
    try:
        seen = [_observe(model, padded=padded) for padded in (False, True)]
    except (AttributeError, TypeError, ValueError, NotImplementedError) as error:
        # Some classes cannot do without the mask that they would have been given (MPT).
        raise Problem(
            f"{what} cannot run {'causally' if causal else 'bidirectionally'}: {type(error).__name__}: {error}",
            "Use a causal language model of another architecture, such as Llama, Mistral, Qwen3, Gemma or GPT-2.",
        ) from error
    if causal:
        if any(one.whole or any(one.layers) for one in seen):
            raise Problem(
                f"{what} was loaded as causal, but its first token sees the last",
                "Its own configuration makes it bidirectional, or the kernel loses masks (genembench doctor compares "
                "kernels). Use a causal language model.",
            )
        return
    layers = model.config.get_text_config().num_hidden_layers
    plain, with_mask = (one.still_causal(layers) for one in seen)
    if plain or with_mask:
        where = f"{plain or 'nothing'} in batches without padding, {with_mask or 'nothing'} in padded ones"
        other = ", or uninstall flash-attn" if kernel.startswith("flash") else ""
        raise Problem(
            f"{what} stays causal, though bidirectional was asked for: {plain if plain == with_mask else where}",
            "Use a backbone that can be made bidirectional (Llama, Mistral, Qwen2, Qwen3, Gemma, GPT-2), or a method "
            f"with causal attention{other}.",
        )


@dataclass(frozen=True)
class _Seen:
    """Whether the last token reaches the first: through the whole body, and in each attention layer by itself."""

    whole: bool
    layers: list[bool]

    def still_causal(self, layers: int) -> str:
        """Say what stayed causal, nothing if nothing did, in a body of so many layers."""
        # Only where no attention module could be told (Bloom) the whole has to do: it cannot tell how many layers.
        if not self.layers:
            return "" if self.whole else "all layers"
        # Layers that are no attention are recurrent, and so causal (Qwen3-Next).
        bidirectional, of = sum(self.layers), max(len(self.layers), layers)
        return "" if bidirectional == of else f"{of - bidirectional} of {of} layers"


def _observe(model: PreTrainedModel, *, padded: bool) -> _Seen:
    """Run the body on two rows of tokens that differ in the last."""
    body: Any = model.base_model
    # From all over the vocabulary: its first tokens are often reserved, and their embeddings untrained and alike.
    spread = [body.get_input_embeddings().num_embeddings * i // (TOKENS + 2) for i in range(1, TOKENS + 2)]
    device = next(body.parameters()).device
    ids = torch.tensor([spread[:-1], [*spread[:-2], spread[-1]]], device=device)
    mask = None
    if padded:
        # Masks are made for padded batches only; without one, a kernel is told the direction in another way.
        ids = nn.functional.pad(ids, (0, 1))
        mask = (torch.arange(TOKENS + 1, device=device) < TOKENS).long()[None]
    # flash-attn has no float32.
    half = model.config._attn_implementation.startswith("flash")
    layers: list[bool] = []
    with evaluating(body), torch.autocast(device.type, torch.bfloat16, enabled=half):
        # One row after the other: in one batch, they might be rounded differently.
        with _each_attention(body, layers):
            one = body(input_ids=ids[:1], attention_mask=mask, use_cache=False)[0][0, 0].float()
        other = body(input_ids=ids[1:], attention_mask=mask, use_cache=False)[0][0, 0].float()
    # They may be even so: a mixture of experts multiplies other shapes where the last token goes to another expert.
    allowed = (1e-2 if half else 1e-4) * (one.abs() + other.abs())
    return _Seen(bool(((one - other).abs() > allowed).float().mean() > 0.5), layers)


@contextmanager
def _each_attention(body: nn.Module, reached: list[bool]) -> Iterator[None]:
    """Collect, whenever an attention module runs, whether its last token reaches its first.

    The whole body cannot tell: bidirectional layers hide that others are not (Llama 4's chunked layers stay causal).
    """

    def again(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        named = "hidden_states" in kwargs
        changed = (kwargs["hidden_states"] if named else args[0]).clone()
        changed[:, TOKENS - 1] *= -1
        args, kwargs = (args, kwargs | {"hidden_states": changed}) if named else ((changed, *args[1:]), kwargs)
        # Not the module itself, which would come back here.
        second = module.forward(*args, **kwargs)
        one, other = ((each if isinstance(each, Tensor) else each[0])[:, 0] for each in (output, second))
        # The same shapes, so the same rounding but for the last bits. Nor is no number (a diverged model) a difference.
        reached.append(bool(((one - other).abs() > 1e-6 * one.abs().max()).any()))

    attentions = [module for module in body.modules() if "is_causal" in vars(module)]
    handles = [module.register_forward_hook(again, with_kwargs=True) for module in attentions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
