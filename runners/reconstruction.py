"""What compressed tokens remember: a run's encoder, and behind it the untouched backbone that reads its read-outs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from genembench.problem import Problem
from methods.encoder import MANIFEST, Encoder, load_encoder
from methods.parts.backbone import attention_kernel, load_model, load_tokenizer
from methods.parts.decode import Decoder, sum_over
from methods.parts.forward import run_body
from methods.parts.tokens import TokenRow
from methods.registry import discover
from runners.backbones import resolve_backbone
from runners.engine import Engine
from runners.output import RECORD, refuse_unfinished

OTHERS = 16
"""Other texts whose compressed tokens stand for no information: enough for a mean, and a thousand texts stay cheap."""
DECODED_AT_ONCE = 64


@runtime_checkable
class Decodable(Protocol):
    """What a method has, beside the contract, whose read-out the untouched backbone can read as embeddings."""

    def instructed(
        self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], instructions: Sequence[str]
    ) -> list[TokenRow]:
        """Token rows that compress each text under an instruction."""

    def targets(self, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
        """Token ids that the decoder has to predict for each text, end token included."""


@dataclass(frozen=True)
class Reader:
    """A run's encoder and the decoder behind it, with the decoder's own tokenizer."""

    encoder: Encoder
    decoder: Decoder
    tokenizer: PreTrainedTokenizerBase


@dataclass(frozen=True)
class Reconstruction:
    """What was decoded from a text's compressed tokens, and how likely the text itself is behind them.

    Attributes:
        text: The text.
        decoded: What the backbone wrote, greedily.
        ended: Whether it ended by itself, or was cut at the limit.
        logp_per_token: Mean log-probability of the text's own tokens and the end token behind its compressed tokens.
        logp_behind_others: The same behind other texts' compressed tokens, on average; None without other texts.
    """

    text: str
    decoded: str
    ended: bool
    logp_per_token: float
    logp_behind_others: float | None


def open_run(given: Path, backbone: str | None, engine: Engine) -> Reader:
    """Load a run's encoder and its backbone.

    Args:
        given: The run's folder, or the encoder in it.
        backbone: Where the backbone is; None takes it from where the record says.
        engine: Device and precision.

    Raises:
        Problem: no such run, not finished, not of a decodable method, or the backbone is not the run's.
    """
    folder, record = _record(given)
    try:
        run, method, trained_from = record["run"], record["method"]["name"], record["backbone"]
        where, address = (trained_from["given"], trained_from["address"]) if trained_from else (None, "")
    except (KeyError, TypeError) as error:
        raise Problem(f"{folder / RECORD} is not the record of a run: {error!r}", _WHAT_TO_GIVE) from error
    if record.get("status") != "done":
        raise Problem(
            f"run {run} is not finished: {record.get('status')} ({record.get('reason')})",
            "The command that started it, given again, goes on with it.",
        )
    if where is None:
        raise _not_decodable(run, f"a finished model, {method}")
    encoder = load_encoder(folder, device=engine.device, precision=engine.precision)
    if not isinstance(encoder.method, Decodable):
        raise _not_decodable(run, f"method {method}")
    try:
        found = resolve_backbone(backbone or where, engine)
    except Problem as problem:
        raise Problem(problem.what, f"Run {run} was trained from {where}: say where that is with --backbone.") from None
    if found.address != address:
        raise Problem(
            f"backbone {found.given} is not the one that run {run} was trained from: its files hash to "
            f"{found.address[:16]}…, the record holds {address[:16]}…",
            f"It was called {where}: give its unchanged files with --backbone.",
        )
    model = load_model(
        found.folder,
        device=engine.torch_device,
        head=True,
        attention=attention_kernel(engine.device, engine.precision),
    )
    return Reader(encoder, Decoder(model), load_tokenizer(found.folder))


_WHAT_TO_GIVE = "Give a folder runs/<id> of an output folder of `genembench compare` or `genembench train`."


def _record(given: Path) -> tuple[Path, dict[str, Any]]:
    """Return a run's folder and its record; ``given`` may be the encoder's folder in it."""
    folder = given.resolve().parent if (given / MANIFEST).is_file() else given
    if not (folder / RECORD).is_file():
        refuse_unfinished(folder)
        runs = sorted(path.parent.name for path in folder.glob(f"runs/*/{RECORD}"))
        raise Problem(
            f"{given} is not a run: it has no {RECORD}",
            f"Give one of its runs: {', '.join(f'{given}/runs/{name}' for name in runs)}." if runs else _WHAT_TO_GIVE,
        )
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"{folder / RECORD} cannot be read: {error}", _WHAT_TO_GIVE) from error
    return folder, record


def _not_decodable(run: str, what: str) -> Problem:
    names = sorted(name for name, entry in discover().entries.items() if issubclass(entry.cls, Decodable))
    return Problem(
        f"run {run} is of {what}, whose vectors no decoder can read",
        f"Give a run of one of these methods: {', '.join(names)}.",
    )


@torch.inference_mode()
def reconstruct(
    reader: Reader, texts: Sequence[str], *, instruction: str | None = None, max_tokens: int = 64
) -> list[Reconstruction]:
    """Compress each text, let the backbone write what it reads, and ask how likely the text itself is.

    Args:
        reader: The run.
        texts: The texts.
        instruction: What compression is asked for; None is the method's own prompt.
        max_tokens: Longest answer.

    Raises:
        Problem: the backbone's context is too short for ``max_tokens``.
    """
    encoder, decoder = reader.encoder, reader.decoder
    method: Any = encoder.method
    if instruction is None:
        rows = method.tokenize(encoder.tokenizer, texts, "query", "train")
    else:
        rows = method.instructed(encoder.tokenizer, texts, [instruction] * len(texts))
    targets = method.targets(encoder.tokenizer, texts)
    device = decoder.model.device
    with torch.autocast(device.type, torch.bfloat16, enabled=encoder.precision == "bfloat16"):
        prefix_NkD = run_body(encoder.body, rows, method.readout)
        decoded = _decode(reader, prefix_NkD, max_tokens)
        # What the decoder can read behind the prefix; the last token is predicted and never read.
        room = decoder.context - prefix_NkD.shape[1] + 1
        scores = [_scores(decoder, prefix_NkD, texts, i, targets[i][:room]) for i in range(len(texts))]
    return [
        Reconstruction(text, *answer, own, others)
        for text, answer, (own, others) in zip(texts, decoded, scores, strict=True)
    ]


def _decode(reader: Reader, prefix_NkD: Tensor, max_tokens: int) -> list[tuple[str, bool]]:
    """Greedy answers behind each prefix, and whether they ended."""
    model: Any = reader.decoder.model
    room = reader.decoder.context - prefix_NkD.shape[1]
    if max_tokens > room:
        raise Problem(f"--max-tokens {max_tokens} is more than the backbone can write", f"Allowed: up to {room}.")
    end = reader.tokenizer.eos_token_id
    # In place of the model's own: that may sample, or punish repetition.
    model.generation_config = GenerationConfig(
        max_new_tokens=max_tokens, do_sample=False, use_cache=True, eos_token_id=end, pad_token_id=end
    )
    answers = []
    for prefix_nkD in prefix_NkD.split(DECODED_AT_ONCE):
        seen_nk = torch.ones(prefix_nkD.shape[:2], dtype=torch.long, device=prefix_nkD.device)
        for ids in model.generate(inputs_embeds=prefix_nkD, attention_mask=seen_nk).tolist():
            ended = end in ids
            written = ids[: ids.index(end)] if ended else ids
            text = reader.tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            answers.append((str(text), ended))
    return answers


def _scores(
    decoder: Decoder, prefix_NkD: Tensor, texts: Sequence[str], i: int, target: list[int]
) -> tuple[float, float | None]:
    """Mean log-probability of a token of ``target`` behind prefix i, and behind those of other texts."""
    # The next ones, around the end: the same text again knows as much as this one.
    around = [*range(i + 1, len(texts)), *range(i)]
    others = [j for j in around if texts[j] != texts[i]][:OTHERS]
    prefix_nkD = prefix_NkD[torch.tensor([i, *others], device=prefix_NkD.device)]
    repeated = [target] * len(prefix_nkD)
    ids_M = torch.tensor(target * len(prefix_nkD), device=prefix_nkD.device)
    logp_M = decoder.token_logp(decoder.hidden(prefix_nkD, repeated), ids_M)
    own, *rest = (sum_over(logp_M, repeated) / len(target)).tolist()
    return own, sum(rest) / len(rest) if rest else None
