"""Decoding from vectors: log-probabilities of target tokens behind a prefix of embeddings.

A prefix stands where token embeddings would, ``[e_1..e_k, emb(d_1)..emb(d_T)]``, so the last prefix vector predicts the
first target token (AutoRegEmbed, arXiv 2502.11401, eq. 3 to 5). Logits exist at target positions only, and in blocks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from genembench.problem import Problem
from methods.parts.flops import pass_cost
from methods.parts.forward import packed_groups, tokens_per_pass
from methods.parts.head import Head
from methods.parts.ledger import charge
from methods.parts.packed_rows import laid_end_to_end, packs
from methods.parts.tokens import length_groups

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
        self.head = Head(model)
        self.embeddings: nn.Module = model.get_input_embeddings()
        self.context = context_of(model)

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
        run = self._recomputed if recompute else self._run
        return hidden_behind(self.body, self.embeddings, prefix_NkD, targets, context=self.context, run=run)

    def _run(self, fed_bLD: Tensor, **layout: Any) -> Tensor:
        return run_fed(self.body, fed_bLD, **layout)

    def _recomputed(self, fed_bLD: Tensor, **layout: Any) -> Tensor:
        # transformers recomputes activations of models in training mode only, and this one never is.
        hidden_bLD: Tensor = checkpoint(self._run, fed_bLD, use_reentrant=False, **layout)
        return hidden_bLD

    def token_logp(self, hidden_MD: Tensor, ids_M: Tensor) -> Tensor:
        """``log p(id)`` at each position ``[M]``, in nats, float32."""

        return self.head.token_logp(hidden_MD, ids_M)

    def divergence(self, first_MD: Tensor, second_MD: Tensor, kind: Literal["kl", "js"]) -> Tensor:
        """Divergence of the two next-token distributions at each position ``[M]``, in nats.

        ``kl`` is KL(first ‖ second); ``js`` is symmetric and at most log 2.
        """

        def divergence(first_nD: Tensor, second_nD: Tensor) -> Tensor:
            p, q = self.head.logits(first_nD).log_softmax(-1), self.head.logits(second_nD).log_softmax(-1)
            if kind == "kl":
                return _kl(p, q)
            # log of the mixture from the logarithms: exact where either probability underflows.
            middle = torch.logaddexp(p, q) - torch.log(torch.tensor(2.0))
            return 0.5 * (_kl(p, middle) + _kl(q, middle))

        return self.head.per_position(divergence, [first_MD, second_MD])


def hidden_behind(
    body: nn.Module,
    embeddings: nn.Module,
    prefix_NkD: Tensor,
    targets: Sequence[Sequence[int]],
    *,
    context: int,
    run: Callable[..., Tensor] | None = None,
) -> Tensor:
    """Last hidden states of a causal body at the positions that predict target tokens, in groups of similar length.

    Args:
        body: A causal transformer without head.
        embeddings: Token ids to the embeddings that it takes.
        prefix_NkD: One prefix for each decoding; it stands next to the first token, whatever the padding.
        targets: Token ids to predict, at least one for each decoding.
        context: Longest input of the body.
        run: Embeddings ``[b, L, D]`` to hidden states, called as `run_fed` without the body; None is the body itself.

    Returns:
        ``[M, D]`` with M the number of target tokens, in the order of ``targets``.

    Raises:
        Problem: a prefix and its target are longer than the context.
    """
    k = prefix_NkD.shape[1]
    device = prefix_NkD.device
    # The last target token is predicted and never fed.
    lengths = [k + len(target) - 1 for target in targets]
    if max(lengths) > context:
        raise Problem(
            f"a target of {max(map(len, targets))} tokens behind {k} vectors is longer than the decoder's context, "
            f"{context} tokens",
            "Cut targets, such as with --set METHOD.max_target_length=N.",
        )
    cost = pass_cost(body, input_gradient=torch.is_grad_enabled() and prefix_NkD.requires_grad)
    run = run or partial(run_fed, body)
    pieces, order = [], []
    firsts = [0, *accumulate(map(len, targets))]
    packed = packs(body)
    budget = tokens_per_pass(device)
    for group in packed_groups(lengths, budget) if packed else length_groups(lengths, budget):
        behind = _behind_packed if packed else _behind_padded
        prefix_bkD = prefix_NkD[torch.tensor(group, device=device)]
        pieces.append(behind(run, embeddings, prefix_bkD, [targets[i] for i in group]))
        order += [m for i in group for m in range(firsts[i], firsts[i + 1])]
        own = [lengths[i] for i in group]
        charge(
            sequences=len(group),
            real_tokens=sum(own),
            padded_tokens=sum(own) if packed else len(group) * max(own),
            model_flops=cost.of(own),
        )
    return torch.cat(pieces)[torch.tensor(order, device=device).argsort()]


def _behind_padded(
    run: Callable[..., Tensor], embeddings: nn.Module, prefix_bkD: Tensor, targets: Sequence[Sequence[int]]
) -> Tensor:
    """Hidden states of one group that predict its targets ``[m, D]``, in the order of the targets."""
    rows, k = prefix_bkD.shape[:2]
    longest = max(map(len, targets)) - 1
    fed_bT = torch.zeros(rows, longest, dtype=torch.long)
    predicts_bT = torch.zeros(rows, longest + 1, dtype=torch.bool)
    for row, target in enumerate(targets):
        fed_bT[row, : len(target) - 1] = torch.tensor(target[:-1], dtype=torch.long)
        predicts_bT[row, : len(target)] = True
    device = prefix_bkD.device
    fed_bLD = torch.cat([prefix_bkD, embeddings(fed_bT.to(device)).to(prefix_bkD.dtype)], dim=1)
    return run(fed_bLD)[:, k - 1 :][predicts_bT.to(device)]


def _behind_packed(
    run: Callable[..., Tensor], embeddings: nn.Module, prefix_bkD: Tensor, targets: Sequence[Sequence[int]]
) -> Tensor:
    """As `_behind_padded`, with the rows end to end: ``[prefix, tokens, prefix, tokens, ...]``."""
    k = prefix_bkD.shape[1]
    device = prefix_bkD.device
    lengths = torch.tensor([k + len(target) - 1 for target in targets])
    starts = lengths.cumsum(0) - lengths
    place_T = torch.arange(int(lengths.sum())) - starts.repeat_interleave(lengths)
    prefix_T = (place_T < k).nonzero().flatten()
    token_T = (place_T >= k).nonzero().flatten()
    tokens = torch.tensor([token for target in targets for token in target[:-1]], dtype=torch.long, device=device)
    embedded_tD = embeddings(tokens).to(prefix_bkD.dtype)
    # All prefixes, then all tokens; and from there each to its place.
    there = torch.cat([prefix_T, token_T]).argsort().to(device)
    fed_TD = torch.cat([prefix_bkD.flatten(0, 1), embedded_tD]).index_select(0, there)
    hidden_TD = run(fed_TD[None], **laid_end_to_end(lengths.tolist(), device))[0]
    return hidden_TD.index_select(0, (place_T >= k - 1).nonzero().flatten().to(device))


def run_fed(body: nn.Module, fed_bLD: Tensor, **layout: Any) -> Tensor:
    """Embeddings through a causal body: packed by ``layout`` (`laid_end_to_end`), or padded on the right.

    On the right padding needs no mask: earlier positions cannot see it.
    """
    hidden_bLD: Tensor = body(inputs_embeds=fed_bLD, use_cache=False, **layout).last_hidden_state
    return hidden_bLD


def context_of(model: PreTrainedModel) -> int:
    """Longest input in tokens, by the model's configuration."""
    config: Any = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or sys.maxsize)


def _kl(logp_MV: Tensor, logq_MV: Tensor) -> Tensor:
    return (logp_MV.exp() * (logp_MV - logq_MV)).sum(-1)


def sum_over(values_M: Tensor, targets: Sequence[Sequence[int]]) -> Tensor:
    """Sum per-token values over each target: ``[M]`` to ``[len(targets)]``."""
    counts = torch.tensor([len(target) for target in targets], device=values_M.device)
    owner_M = torch.arange(len(targets), device=values_M.device).repeat_interleave(counts)
    return values_M.new_zeros(len(targets)).index_add(0, owner_M, values_M)
