"""Decoding from vectors: log-probabilities of target tokens behind a prefix of embeddings, through a frozen model.

A prefix stands where token embeddings would, ``[e_1..e_k, emb(d_1)..emb(d_T)]``, so the last prefix vector predicts the
first target token (AutoRegEmbed, arXiv 2502.11401, eq. 3 to 5). Logits exist at target positions only, and in blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from genembench.problem import Problem
from methods.parts.flops import pass_cost
from methods.parts.forward import tokens_per_pass
from methods.parts.ledger import charge
from methods.parts.tokens import length_groups

LOGITS_AT_ONCE = 2**22
"""Numbers in one block of logits: 16 MiB in float32, a few of which live at once."""


class Decoder:
    """A frozen causal language model as a function of prefixes and targets.

    It is no ``nn.Module``, so a trained module may hold one without its weights being trained, saved or synchronised.
    Gradients flow through it into the prefixes.

    Args:
        model: A causal language model with its head; it is frozen and put into evaluation mode.

    Raises:
        Problem: its logits are not what its head makes of its last hidden states.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        model.eval().requires_grad_(False)
        self.model = model
        self.body: nn.Module = model.base_model
        self.head: nn.Module = model.get_output_embeddings()
        self.embeddings: nn.Module = model.get_input_embeddings()
        config: Any = model.config.get_text_config()
        self.vocabulary = int(config.vocab_size)
        self.context = int(getattr(config, "max_position_embeddings", None) or sys.maxsize)
        self._softcap = getattr(config, "final_logit_softcapping", None)
        # Cohere multiplies its logits, Granite divides them.
        self._scale = float(getattr(config, "logit_scale", None) or 1) / float(
            getattr(config, "logits_scaling", None) or 1
        )
        self._check()

    def _check(self) -> None:
        ids = torch.arange(4, device=self.model.device).unsqueeze(0) % self.vocabulary
        with torch.inference_mode():
            expected = self.model(input_ids=ids, use_cache=False).logits
            found = self.logits(self.body(input_ids=ids, use_cache=False).last_hidden_state)
        if not torch.allclose(found, expected, rtol=1e-3, atol=1e-3):
            raise Problem(
                f"the logits of {type(self.model).__name__} are not its head applied to its last hidden states",
                "methods/parts/decode.py knows soft-capping and scales; add what this architecture does there.",
            )

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Hidden states to logits ``[M, V]`` in float32."""
        logits_MV: Tensor = self.head(hidden_MD).float()
        if self._scale != 1:
            logits_MV = logits_MV * self._scale
        if self._softcap:
            logits_MV = torch.tanh(logits_MV / self._softcap) * self._softcap
        return logits_MV

    def hidden(self, prefix_NkD: Tensor, targets: Sequence[Sequence[int]], *, recompute: bool = False) -> Tensor:
        """Last hidden states at the positions that predict target tokens, in groups of similar length.

        Args:
            prefix_NkD: One prefix for each decoding.
            targets: Token ids to predict, at least one for each decoding.
            recompute: Compute activations again in the backward pass instead of keeping them.

        Returns:
            ``[M, D]`` with M the number of target tokens, in the order of ``targets``.

        Raises:
            Problem: a prefix and its target are longer than the model's context.
        """
        k = prefix_NkD.shape[1]
        device = prefix_NkD.device
        # The last target token is predicted and never fed.
        lengths = [k + len(target) - 1 for target in targets]
        if max(lengths) > self.context:
            raise Problem(
                f"a target of {max(map(len, targets))} tokens behind {k} vectors is longer than the decoder's context, "
                f"{self.context} tokens",
                "Cut targets, such as with --set METHOD.max_target_length=N.",
            )
        differentiable = torch.is_grad_enabled() and prefix_NkD.requires_grad
        cost = pass_cost(self.body, input_gradient=differentiable)
        pieces, order = [], []
        firsts = [0, *accumulate(map(len, targets))]
        for group in length_groups(lengths, tokens_per_pass(device)):
            longest = max(lengths[i] for i in group) - k
            fed = torch.zeros(len(group), longest, dtype=torch.long)
            predicts = torch.zeros(len(group), longest + 1, dtype=torch.bool)
            for row, i in enumerate(group):
                fed[row, : len(targets[i]) - 1] = torch.tensor(targets[i][:-1], dtype=torch.long)
                predicts[row, : len(targets[i])] = True
            prefix_bkD = prefix_NkD[torch.tensor(group, device=device)]
            tokens_bTD = self.embeddings(fed.to(device)).to(prefix_bkD.dtype)
            fed_bLD = torch.cat([prefix_bkD, tokens_bTD], dim=1)
            # transformers recomputes activations of models in training mode only, and this one never is.
            hidden_bLD = checkpoint(self._run, fed_bLD, use_reentrant=False) if recompute else self._run(fed_bLD)
            pieces.append(hidden_bLD[:, k - 1 :][predicts.to(device)])
            order += [m for i in group for m in range(firsts[i], firsts[i + 1])]
            own = [lengths[i] for i in group]
            charge(
                sequences=len(group),
                real_tokens=sum(own),
                padded_tokens=len(group) * (k + longest),
                model_flops=cost.of(own),
            )
        return torch.cat(pieces)[torch.tensor(order, device=device).argsort()]

    def _run(self, fed_bLD: Tensor) -> Tensor:
        # Padding stands on the right, where a causal model's earlier positions cannot see it: no mask is needed.
        hidden_bLD: Tensor = self.body(inputs_embeds=fed_bLD, use_cache=False).last_hidden_state
        return hidden_bLD

    def token_logp(self, hidden_MD: Tensor, ids_M: Tensor) -> Tensor:
        """``log p(id)`` at each position ``[M]``, in nats, float32."""

        def logp(hidden_nD: Tensor, ids_n: Tensor) -> Tensor:
            return -functional.cross_entropy(self.logits(hidden_nD), ids_n, reduction="none")

        return self._per_position(logp, [hidden_MD], ids_M)

    def divergence(self, first_MD: Tensor, second_MD: Tensor, kind: Literal["kl", "js"]) -> Tensor:
        """Divergence of the two next-token distributions at each position ``[M]``, in nats.

        ``kl`` is KL(first ‖ second); ``js`` is symmetric and at most log 2.
        """

        def divergence(first_nD: Tensor, second_nD: Tensor) -> Tensor:
            p, q = self.logits(first_nD).log_softmax(-1), self.logits(second_nD).log_softmax(-1)
            if kind == "kl":
                return _kl(p, q)
            # log of the mixture from the logarithms: exact where either probability underflows.
            middle = torch.logaddexp(p, q) - torch.log(torch.tensor(2.0))
            return 0.5 * (_kl(p, middle) + _kl(q, middle))

        return self._per_position(divergence, [first_MD, second_MD])

    def _per_position(self, function: Callable[..., Tensor], hidden: Sequence[Tensor], *constants: Tensor) -> Tensor:
        size = max(1, LOGITS_AT_ONCE // self.vocabulary)
        passes = 2 if torch.is_grad_enabled() and any(one.requires_grad for one in hidden) else 1
        # Two FLOPs per multiply-add of the head; going back, once more for its input.
        head = self.head.weight
        assert isinstance(head, Tensor)
        flops = passes * 2.0 * head.numel() * sum(map(len, hidden))
        charge(sequences=0, real_tokens=0, padded_tokens=0, model_flops=flops)
        result: Tensor = _PerPosition.apply(function, size, len(hidden), *hidden, *constants)  # type: ignore[no-untyped-call]
        return result


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


def _kl(logp_MV: Tensor, logq_MV: Tensor) -> Tensor:
    return (logp_MV.exp() * (logp_MV - logq_MV)).sum(-1)


def sum_over(values_M: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """Sum per-token values over each target: ``[M]`` to ``[len(targets)]``."""
    counts = torch.tensor([len(target) for target in targets], device=values_M.device)
    owner_M = torch.arange(len(targets), device=values_M.device).repeat_interleave(counts)
    return values_M.new_zeros(len(targets)).index_add(0, owner_M, values_M)
