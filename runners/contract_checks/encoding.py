"""From text to vector: token rows, and vectors that depend on nothing but their own text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from methods.contract import Method, Phase, Role
from methods.encoder import Encoder
from methods.parts.forward import run_body
from methods.parts.tokens import TokenRow
from runners.contract_checks.subject import Broken, Subject

Vectors = NDArray[np.float32]

ROLES: tuple[Role, ...] = get_args(Role)
PHASES: tuple[Phase, ...] = get_args(Phase)
SHORT = ("ball", "kite", "a", "7")
LONG = " ".join(["ball"] * 3000)
"""It ends as `SHORT`'s first does, so whatever a tokenizer merges at the border to a prompt, it merges in both."""
STRANGE = ("é", "🙂", "Ünïcödé — naïve café 🙂🚀", "日本語のテキスト", "tab\tand\nnewline", "ball ball ball")
ROOM = 24
"""Tokens of text that the check leaves beside the prompt."""
TOLERANCE = 1e-5
"""Of vectors, against the largest number in them: what is left of float32 after a few layers."""
UNBOUNDED = 10**9
"""As ``max_tokens``: all texts in one padded batch."""


def tokenize(subject: Subject) -> str:
    """Rows stand for their texts, within ``max_length``, with the prompt whole, on every side and in every phase."""
    encoder = subject.encoder()
    free = "max_length" not in {*subject.entry.fixed, *subject.overrides}
    longest = 0
    for role in ROLES:
        for phase in PHASES:
            where = f"tokenize(…, {role!r}, {phase!r})"
            if _rows(encoder, subject.method(), [], role, phase, where):
                raise Broken(f"{where} makes rows of an empty list", "Return one row for each text: here none.")
            method = subject.method()
            if free:
                brief = _rows(encoder, method, SHORT, role, phase, where)
                method = subject.method(max_length=str(max(map(len, brief)) + ROOM))
            rows = _rows(encoder, method, [*SHORT, *STRANGE, LONG], role, phase, where)
            _alone(encoder, method, rows, role, phase, where)
            _cut(rows, method.max_length, where)
            longest = max(longest, method.max_length)
    return f"3000 words cut to {longest} tokens" if free else ""


def _rows(
    encoder: Encoder, method: Method, texts: Sequence[str], role: Role, phase: Phase, where: str
) -> list[TokenRow]:
    rows = method.tokenize(encoder.tokenizer, list(texts), role, phase)
    hint = "Return a list of TokenRow(ids, content), one for each text, in the order of the texts."
    if not isinstance(rows, list) or not all(isinstance(row, TokenRow) for row in rows):
        raise Broken(f"{where} returns {type(rows).__name__} of {_kinds(rows)}", hint)
    if len(rows) != len(texts):
        raise Broken(f"{where} makes {len(rows)} rows of {len(texts)} texts", hint)
    vocabulary = encoder.body.config.get_text_config().vocab_size
    for text, row in zip(texts, rows, strict=True):
        if len(row.ids) != len(row.content):
            raise Broken(
                f"{where}: {_short(text)} has {len(row.ids)} ids and {len(row.content)} content marks",
                "content says for each id whether the read-out may look at it.",
            )
        if not any(row.content):
            raise Broken(
                f"{where}: {_short(text)} has no content position",
                "Mark at least one token of every row: from nothing no vector can be read.",
            )
        outside = [token for token in row.ids if not 0 <= token < vocabulary]
        if outside:
            raise Broken(
                f"{where}: {_short(text)} has the token id {outside[0]}, and the model knows {vocabulary}",
                "Tokens that you add to the tokenizer need embeddings: resize them in build.",
            )
    return rows


def _alone(encoder: Encoder, method: Method, rows: Sequence[TokenRow], role: Role, phase: Phase, where: str) -> None:
    for text, row in zip([*SHORT, *STRANGE], rows, strict=False):
        (alone,) = _rows(encoder, method, [text], role, phase, where)
        if alone != row:
            raise Broken(
                f"{where} makes another row of {_short(text)} alone than among other texts",
                "Return rows in the order of the texts, and let no text depend on its neighbours.",
            )


def _cut(rows: Sequence[TokenRow], limit: int, where: str) -> None:
    for text, row in zip([*SHORT, *STRANGE, LONG], rows, strict=True):
        if len(row) > limit:
            raise Broken(
                f"{where} makes {len(row)} tokens of {_short(text)}, and max_length is {limit}",
                "Cut the text, not the prompt: TextTemplate(prefix=…, suffix=…).rows(tokenizer, texts, max_length).",
            )
    # What all of them share is the prompt: they are short enough to be whole.
    brief, long = rows[: len(SHORT)], rows[-1]
    before, after = _common([row.ids for row in brief]), _common([row.ids[::-1] for row in brief])
    for kept, found, end in ((before, long.ids, "beginning"), (after, long.ids[::-1], "end")):
        survived = _common([kept, found])
        if len(survived) < len(kept):
            raise Broken(
                f"{where}: every short text has the same {len(kept)} tokens at its {end}, of 3000 words "
                f"{len(survived)} of them are left",
                "Cut the text, not the prompt: TextTemplate(prefix=…, suffix=…).rows(tokenizer, texts, max_length).",
            )
    if len(long) <= len(brief[0]):
        raise Broken(
            f"{where} makes {len(long)} tokens of 3000 words and {len(brief[0])} of one, with room for {limit}",
            "A long text is cut to what fits, not thrown away.",
        )


def _common(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return what all rows begin with."""
    shared = []
    for tokens in zip(*rows, strict=False):
        if len(set(tokens)) > 1:
            break
        shared.append(tokens[0])
    return shared


def _kinds(rows: object) -> str:
    kinds = {type(row).__name__ for row in rows} if isinstance(rows, list | tuple) else set()
    return ", ".join(sorted(kinds)) or "nothing"


def _short(text: str) -> str:
    return repr(text) if len(text) <= 40 else f"a text of {len(text.split())} words"


def some_texts(subject: Subject) -> list[str]:
    """Return texts of one word to hundreds."""
    rows = [row["text"] for row in subject.rows["text"]]
    return ["ball", "A dog.", STRANGE[2], *rows[:4], " ".join(rows[:6])]


def vectors(subject: Subject) -> str:
    """One finite vector a text, whatever stands beside it and however it is padded."""
    encoder, texts = subject.encoder(), some_texts(subject)
    worst = 0.0
    for role in ROLES:
        base = _shaped(encoder, texts, role)
        variants: Mapping[str, tuple[Vectors, str]] = {
            "padded on the left instead of the right": (
                _padded(encoder, texts, role, "left"),
                "readout must look where content_BL is True, wherever the padding stands: hidden[:, -1] is padding "
                "in a batch of different lengths (methods/parts/readout.py shows the read-outs that are there).",
            ),
            "alone instead of among others": (
                np.concatenate([encoder.encode([text], role) for text in texts]),
                "readout and pool must treat each row for itself: no statistics over the batch, no padded positions.",
            ),
            "in another order": (
                encoder.encode(texts[::-1], role)[::-1],
                "Nothing may be kept from one text to the next; dropout and other randomness are for training only.",
            ),
            "in smaller groups (max_tokens)": (
                encoder.encode(texts, role, max_tokens=64),
                "readout and pool must treat each row for itself: no statistics over the batch, no padded positions.",
            ),
        }
        scale = max(1.0, float(np.abs(base).max()))
        for how, (other, hint) in variants.items():
            difference = float(np.abs(other - base).max()) / scale
            worst = max(worst, difference)
            if not difference <= TOLERANCE:
                raise Broken(
                    f"vectors differ by {difference:.1e} when texts are encoded {how} (role {role}); "
                    f"rounding makes up to {TOLERANCE:.0e}",
                    hint,
                )
    return f"largest difference {worst:.0e}"


def _shaped(encoder: Encoder, texts: list[str], role: Role) -> Vectors:
    """Encode in one padded batch, looking at every shape on the way."""
    method = encoder.method
    with torch.inference_mode():
        rows = method.tokenize(encoder.tokenizer, texts, role, "evaluate")
        read = run_body(encoder.body, rows, method.readout, max_tokens=UNBOUNDED)
        pooled = method.pool(read)
    if read.ndim != 3 or len(read) != len(texts):
        raise Broken(
            f"readout of {len(texts)} texts gives {_shape(read)}",
            "It takes hidden states [B, L, D] and a content mask [B, L] and returns [B, k, D]; of one vector k is 1.",
        )
    if not isinstance(pooled, Tensor) or pooled.ndim != 2 or len(pooled) != len(texts):
        raise Broken(f"pool of {_shape(read)} gives {_shape(pooled)}", "It returns one vector a text: [B, D].")
    if pooled.dtype != torch.float32:
        raise Broken(
            f"vectors are {str(pooled.dtype).removeprefix('torch.')}", "Pool in float32: return …float() from pool."
        )
    if not bool(pooled.isfinite().all()):
        number = int((~pooled.isfinite()).any(dim=1).nonzero()[0])
        raise Broken(
            f"the vector of {_short(texts[number])} is not finite",
            "Look for a division by a length or a norm of 0; padded positions must not reach a sum.",
        )
    if float((pooled - pooled[0]).abs().max()) <= 10 * TOLERANCE * max(1.0, float(pooled.abs().max())):
        raise Broken(
            f"all {len(texts)} texts have the same vector (role {role})",
            "A vector must depend on its text: look at the content mask and at what readout takes.",
        )
    found: Vectors = pooled.numpy()
    return found


def _padded(encoder: Encoder, texts: list[str], role: Role, side: str) -> Vectors:
    method = encoder.method
    with torch.inference_mode():
        rows = method.tokenize(encoder.tokenizer, texts, role, "evaluate")
        read = run_body(encoder.body, rows, method.readout, max_tokens=UNBOUNDED, padding_side=side)
        found: Vectors = method.pool(read).float().numpy()
    return found


def _shape(value: object) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
