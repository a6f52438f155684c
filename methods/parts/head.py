"""The head of a language model: last hidden states to log-probabilities, without ever holding a batch of logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genembench.problem import Problem
from methods.parts.cross_entropy import chosen, soft_capped
from methods.parts.ledger import charge
from methods.parts.modes import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_AT_ONCE = 2**22
"""Numbers in one block of logits under a frozen head: 16 MiB in float32, a few of which live at once."""
RECOMPUTED_AT_ONCE = 2**24
"""Numbers in one block of logits under a trained head."""


class Head:
    """What a causal language model makes of its last hidden states.

    It is no ``nn.Module``, so a trained module may hold a frozen one without its weights being trained, saved or
    synchronised; a stage that trains the head keeps ``linear`` in its module as well.

    Args:
        model: A causal language model with its head. Log-probabilities are computed by the cross-entropy that is
            chosen now (`methods.parts.cross_entropy`), torch's unless a run says otherwise.

    Raises:
        Problem: its logits are not what its head makes of its last hidden states.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.linear: nn.Module = model.get_output_embeddings()
        config: Any = model.config.get_text_config()
        self.vocabulary = int(config.vocab_size)
        self._softcap = getattr(config, "final_logit_softcapping", None)
        # Cohere multiplies its logits, Granite divides them.
        self._scale = float(getattr(config, "logit_scale", None) or 1) / float(
            getattr(config, "logits_scaling", None) or 1
        )
        self._cross_entropy = chosen()
        self._check()

    def _check(self) -> None:
        model = self.model
        ids = torch.arange(4, device=model.device).unsqueeze(0) % self.vocabulary
        # flash-attn has no float32.
        flash = str(model.config._attn_implementation).startswith("flash")
        with evaluating(model), torch.autocast(model.device.type, torch.bfloat16, enabled=flash):
            expected = model(input_ids=ids, use_cache=False).logits.float()
            found = self.logits(model.base_model(input_ids=ids, use_cache=False).last_hidden_state)
        # Half precision: the model caps and scales in its own, here it is float32. A wrong formula misses by far more.
        half = flash or model.dtype != torch.float32
        relative, absolute = (5e-2, 5e-2 * max(1.0, float(expected.abs().max()))) if half else (1e-3, 1e-3)
        if not torch.allclose(found, expected, rtol=relative, atol=absolute):
            raise Problem(
                f"the logits of {type(model).__name__} are not its head applied to its last hidden states",
                "methods/parts/head.py knows soft-capping and scales; add what this architecture does there.",
            )

    @property
    def weight(self) -> Tensor:
        """The matrix ``[V, D]``; the token embeddings where the model ties them."""
        weight = self.linear.weight
        assert isinstance(weight, Tensor)
        return weight

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Hidden states to logits ``[M, V]`` in float32."""
        return soft_capped(self._uncapped(hidden_MD), self._softcap)

    def _uncapped(self, hidden_MD: Tensor) -> Tensor:
        logits_MV: Tensor = self.linear(hidden_MD).float()
        return logits_MV if self._scale == 1 else logits_MV * self._scale

    def token_logp(self, hidden_MD: Tensor, ids_M: Tensor) -> Tensor:
        """``log p(id)`` at each position ``[M]``, in nats, float32, with gradients for hidden states and weights."""
        if not (torch.is_grad_enabled() and self.weight.requires_grad):
            return self.per_position(self._logp, [hidden_MD], ids_M)
        # The weights' gradient needs the logits a second time; a block of them lives only while it is computed.
        self._charge(1 + int(hidden_MD.requires_grad) + 1, len(ids_M))
        size = max(1, RECOMPUTED_AT_ONCE // self.vocabulary)
        if len(ids_M) <= size:
            return self._logp(hidden_MD, ids_M)
        blocks = [
            checkpoint(self._logp, hidden_MD[at : at + size], ids_M[at : at + size], use_reentrant=False)
            for at in range(0, len(ids_M), size)
        ]
        return torch.cat(blocks)

    def per_position(self, function: Callable[..., Tensor], hidden: Sequence[Tensor], *constants: Tensor) -> Tensor:
        """Compute a number for each position ``[M]`` from hidden states ``[M, D]``, with frozen weights."""
        passes = 2 if torch.is_grad_enabled() and any(one.requires_grad for one in hidden) else 1
        self._charge(passes, sum(map(len, hidden)))
        if not len(hidden[0]):
            # Nothing to compute, and still a function of what it would have been computed from.
            return hidden[0].sum(dim=-1).float()
        size = max(1, LOGITS_AT_ONCE // self.vocabulary)
        result: Tensor = _PerPosition.apply(function, size, len(hidden), *hidden, *constants)  # type: ignore[no-untyped-call]
        return result

    def _logp(self, hidden_ND: Tensor, ids_N: Tensor) -> Tensor:
        return -self._cross_entropy(self._uncapped(hidden_ND), ids_N, self._softcap)

    def _charge(self, products: int, positions: int) -> None:
        # Two FLOPs per multiply-add.
        flops = products * 2.0 * self.weight.numel() * positions
        charge(sequences=0, real_tokens=0, padded_tokens=0, model_flops=flops)


class _PerPosition(torch.autograd.Function):
    """One number for each position, its gradient taken at once while the block's logits are there.

    A position's number depends on that position's hidden states only, so its gradient is known up to the factor that
    comes from above: what is kept for the backward pass is ``[M, D]``, and no logits are computed a second time.
    """

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], size: int, count: int, *tensors: Tensor) -> Tensor:
        values, gradients = [], []
        needed = any(ctx.needs_input_grad)
        for at in range(0, len(tensors[0]), size):
            block = [tensor[at : at + size].detach() for tensor in tensors]
            if not needed:
                values.append(function(*block))
                continue
            with torch.enable_grad():
                for leaf in block[:count]:
                    leaf.requires_grad_()
                value_n = function(*block)
                gradients.append(torch.autograd.grad(value_n.sum(), block[:count]))
            values.append(value_n.detach())
        ctx.save_for_backward(*(torch.cat(one) for one in zip(*gradients, strict=True)))
        return torch.cat(values)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        back = [(above[0].unsqueeze(-1) * gradient).to(gradient.dtype) for gradient in saved]
        return (None, None, None, *back, *[None] * (len(ctx.needs_input_grad) - 3 - len(back)))
