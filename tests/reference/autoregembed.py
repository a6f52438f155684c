"""AutoRegEmbed as plain as it goes: Hugging Face models called directly, whole batches, full logits.

It runs a step the way the released code runs it (rows padded to the longest one, the query encoded for each of its two
targets, ``[B, T, V]`` log-probabilities) and shares no line with ``methods/``, so that agreement says something. It is
also the other side of ``genembench bench training --method autoregembed``.

Shapes: B rows, k compressed tokens, L tokens of input, T of target, V of vocabulary, D hidden, n negatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Ids = Sequence[Sequence[int]]
Sign = Literal["paper", "released"]
Kind = Literal["sigmoid", "log_sigmoid"]
Divergence = Literal["kl", "js"]


# ---------------------------------------------------------------------------------------------------- token ids


def pieces(tokenizer: Any, text: str) -> list[int]:
    """Tokenise one piece of a row, without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def training_ids(tokenizer: Any, text: str, instruction: str) -> list[int]:
    """Token ids of a training text: BOS where there is one, text and instruction, each tokenised with its newline."""
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    return bos + pieces(tokenizer, text + "\n") + pieces(tokenizer, instruction + "\n")


def target_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of what is reconstructed or predicted: the text and EOS."""
    return [*pieces(tokenizer, text), tokenizer.eos_token_id]


def evaluation_ids(tokenizer: Any, text: str, prompt: str, max_length: int) -> list[int]:
    """Token ids of a text at evaluation: one string, the tokenizer's own special tokens, cut at the right."""
    ids: list[int] = tokenizer(f"{text}\n{prompt}", truncation=True, max_length=max_length)["input_ids"]
    return ids


def compressed_token_ids(tokenizer: Any, k: int) -> list[int]:
    """Token ids of ``<EMBED0>`` to ``<EMBEDk-1>``."""
    ids: list[int] = tokenizer.convert_tokens_to_ids([f"<EMBED{i}>" for i in range(k)])
    return ids


# ---------------------------------------------------------------------------------------------------- passes


def pad_right(rows: Ids, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return ids and mask ``[B, L]``; the mask comes from the lengths, as any id may also occur inside a text."""
    longest = max(len(row) for row in rows)
    ids = [[*row, *[0] * (longest - len(row))] for row in rows]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def encode(body: Any, ids: Ids, embed_ids: Sequence[int]) -> Tensor:
    """Compress rows to ``[B, k, D]``: the last hidden states at the k tokens behind each row's real tokens."""
    ids_BL, mask_BL = pad_right([[*row, *embed_ids] for row in ids], body.device)
    hidden_BLD = body(input_ids=ids_BL, attention_mask=mask_BL, use_cache=False).last_hidden_state
    lengths_B = torch.tensor([len(row) for row in ids], device=body.device)
    index_Bk = lengths_B.unsqueeze(1) + torch.arange(len(embed_ids), device=body.device)
    picked_BkD: Tensor = hidden_BLD.gather(1, index_Bk.unsqueeze(-1).expand(-1, -1, hidden_BLD.shape[-1]))
    return picked_BkD


def target_distributions(decoder: Any, e_BkD: Tensor, targets: Ids) -> tuple[Tensor, Tensor, Tensor]:
    """Teacher forcing through the decoder on ``[e_1..e_k, embedding(d_1)..embedding(d_T)]``.

    Returns:
        log p over the vocabulary ``[B, T, V]`` in float32, the target ids and the target mask ``[B, T]``.
    """
    k = e_BkD.shape[1]
    target_BT, mask_BT = pad_right(targets, e_BkD.device)
    inputs_BLD = torch.cat([e_BkD, decoder.get_input_embeddings()(target_BT)], dim=1)
    mask_BL = torch.cat([mask_BT.new_ones(len(e_BkD), k), mask_BT], dim=1)
    logits_BLV = decoder(inputs_embeds=inputs_BLD, attention_mask=mask_BL, use_cache=False).logits
    # The last compressed vector predicts the first target token; what EOS predicts is nobody's target.
    return torch.log_softmax(logits_BLV[:, k - 1 : -1].float(), dim=-1), target_BT, mask_BT


def token_logp(decoder: Any, e_BkD: Tensor, targets: Ids) -> tuple[Tensor, Tensor]:
    """Return log p of each target token given those before it, ``[B, T]`` with 0 behind EOS, and the mask."""
    logp_BTV, target_BT, mask_BT = target_distributions(decoder, e_BkD, targets)
    logp_BT = logp_BTV.gather(-1, target_BT.unsqueeze(-1)).squeeze(-1)
    return logp_BT * mask_BT, mask_BT


def target_logp(decoder: Any, e_BkD: Tensor, targets: Ids) -> Tensor:
    """Return log p(target | e) ``[B]``, summed over the target tokens, EOS included."""
    return token_logp(decoder, e_BkD, targets)[0].sum(dim=1)


# ---------------------------------------------------------------------------------------------------- stage 1


def compression_loss(body: Any, decoder: Any, ids: Ids, targets: Ids, embed_ids: Sequence[int]) -> Tensor:
    """Information compression: minus log p of the target, mean over the target tokens of the batch."""
    logp_BT, mask_BT = token_logp(decoder, encode(body, ids, embed_ids), targets)
    return -logp_BT.sum() / mask_BT.sum()


# ---------------------------------------------------------------------------------------------------- stage 2


def alignment_logp(
    body: Any,
    decoder: Any,
    queries: Ids,
    positives: Ids,
    positive_targets: Ids,
    negative_targets: Sequence[Ids],
    embed_ids: Sequence[int],
) -> tuple[Tensor, Tensor, Tensor]:
    """Return log p of positive given query, of positive given itself ``[B]``, of negatives given query ``[B, n]``.

    ``negative_targets[i]`` holds the i-th negative of every query. The query is encoded again for its negatives.
    """
    next_positive_B = target_logp(decoder, encode(body, queries, embed_ids), positive_targets)
    own_positive_B = target_logp(decoder, encode(body, positives, embed_ids), positive_targets)
    next_negative_BkD = encode(body, queries, embed_ids)
    next_negative_Bn = torch.stack(
        [target_logp(decoder, next_negative_BkD, targets) for targets in negative_targets], dim=1
    )
    return next_positive_B, own_positive_B, next_negative_Bn


def reference_logp(
    body: Any,
    decoder: Any,
    queries: Ids,
    positive_targets: Ids,
    negative_targets: Sequence[Ids],
    embed_ids: Sequence[int],
) -> Tensor:
    """Return what the compressed model itself thinks of positive and negatives given the query: ``[B, 1 + n]``."""
    with torch.no_grad():
        e_BkD = encode(body, queries, embed_ids)
        return torch.stack([target_logp(decoder, e_BkD, t) for t in (positive_targets, *negative_targets)], dim=1)


def alignment_scores(
    query_positive_B: Tensor,
    positive_positive_B: Tensor,
    query_negative_Bn: Tensor,
    reference_BG: Tensor,
    *,
    beta: float,
    sign: Sign = "paper",
    kind: Kind = "sigmoid",
) -> tuple[Tensor, Tensor]:
    """Return S1 ``[B]`` and S2 ``[B, n]``."""
    delta_B = query_positive_B - positive_positive_B
    policy_Bn = query_positive_B.unsqueeze(1) - query_negative_Bn
    reference_Bn = reference_BG[:, :1] - reference_BG[:, 1:]
    h_Bn = policy_Bn - reference_Bn if sign == "paper" else policy_Bn + reference_Bn
    if kind == "log_sigmoid":
        return -torch.nn.functional.logsigmoid(beta * delta_B.abs()), -torch.nn.functional.logsigmoid(beta * h_Bn)
    return -torch.sigmoid(beta * delta_B.abs()), -torch.sigmoid(beta * h_Bn)


def contrast(s1_B: Tensor, s2_Bn: Tensor, temperature: float) -> Tensor:
    """Minus log of S1's share among S1 and all S2, at the temperature; mean over the batch."""
    logits_BG = torch.cat([s1_B.unsqueeze(1), s2_Bn], dim=1) / temperature
    return -torch.log_softmax(logits_BG, dim=1)[:, 0].mean()


def alignment_loss(
    query_positive_B: Tensor,
    positive_positive_B: Tensor,
    query_negative_Bn: Tensor,
    reference_BG: Tensor,
    *,
    beta: float,
    temperature: float,
    sign: Sign = "paper",
    kind: Kind = "sigmoid",
) -> Tensor:
    """Conditional distribution alignment, mean over the batch; all negatives stand in one denominator."""
    s1_B, s2_Bn = alignment_scores(
        query_positive_B, positive_positive_B, query_negative_Bn, reference_BG, beta=beta, sign=sign, kind=kind
    )
    return contrast(s1_B, s2_Bn, temperature)


def alignment_loss_by_hand(
    query_positive: Sequence[float],
    positive_positive: Sequence[float],
    query_negative: Sequence[Sequence[float]],
    reference: Sequence[Sequence[float]],
    *,
    beta: float,
    temperature: float,
    sign: Sign = "paper",
    kind: Kind = "sigmoid",
) -> float:
    """Compute `alignment_loss` of numbers, one example after the other, as the formulas are printed."""

    def score(x: float) -> float:
        share = 1 / (1 + math.exp(-x))
        return -math.log(share) if kind == "log_sigmoid" else -share

    losses = []
    for next_positive, own_positive, negatives, (ref_positive, *ref_negatives) in zip(
        query_positive, positive_positive, query_negative, reference, strict=True
    ):
        wanted = math.exp(score(beta * abs(next_positive - own_positive)) / temperature)
        others = 0.0
        for next_negative, ref_negative in zip(negatives, ref_negatives, strict=True):
            prior = ref_positive - ref_negative
            h = next_positive - next_negative - (prior if sign == "paper" else -prior)
            others += math.exp(score(beta * h) / temperature)
        losses.append(-math.log(wanted / (wanted + others)))
    return sum(losses) / len(losses)


# ---------------------------------------------------------------------------------------------------- ablations


def divergence(p_BTV: Tensor, q_BTV: Tensor, mask_BT: Tensor, kind: Divergence) -> Tensor:
    """Mean over each row's tokens of KL(P || Q) or JS(P, Q), from log-probabilities: ``[B]``."""
    if kind == "kl":
        each_BT = (p_BTV.exp() * (p_BTV - q_BTV)).sum(dim=-1)
    else:
        middle_BTV = torch.logaddexp(p_BTV, q_BTV) - math.log(2)
        each_BT = 0.5 * (p_BTV.exp() * (p_BTV - middle_BTV)).sum(dim=-1)
        each_BT = each_BT + 0.5 * (q_BTV.exp() * (q_BTV - middle_BTV)).sum(dim=-1)
    return (each_BT * mask_BT).sum(dim=1) / mask_BT.sum(dim=1)


def divergence_loss(
    body: Any,
    decoder: Any,
    queries: Ids,
    documents: Sequence[Ids],
    targets: Sequence[Ids],
    embed_ids: Sequence[int],
    *,
    temperature: float,
    kind: Divergence,
) -> Tensor:
    """The ablations without reference: how far p(.|d_<t, e_d) lies from p(.|d_<t, e_query), for every document.

    ``documents[0]`` and ``targets[0]`` are the positives, the others the negatives; a negative is its own prefix on
    both sides.
    """
    query_BkD = encode(body, queries, embed_ids)
    scores = []
    for ids, target in zip(documents, targets, strict=True):
        own_BTV, _, mask_BT = target_distributions(decoder, encode(body, ids, embed_ids), target)
        next_BTV, _, _ = target_distributions(decoder, query_BkD, target)
        scores.append(-torch.sigmoid(divergence(own_BTV, next_BTV, mask_BT, kind)))
    return contrast(scores[0], torch.stack(scores[1:], dim=1), temperature)


# ---------------------------------------------------------------------------------------------------- evaluation


def encode_for_evaluation(body: Any, ids: Ids, embed_ids: Sequence[int]) -> Tensor:
    """Return vectors ``[B, D]``: the mean of the k compressed vectors in float32, L2-normalised."""
    with torch.no_grad():
        mean_BD = encode(body, ids, embed_ids).float().mean(dim=1)
        vectors_BD: Tensor = mean_BD / mean_BD.norm(dim=1, keepdim=True)
        return vectors_BD
