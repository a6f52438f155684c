"""How a method reads texts, found out by watching it tokenise, and proved on texts of all kinds.

A method is asked through its tokenizer: what stands in the strings that it has tokenised is its prompt, what its rows
hold beside those is put around them. So methods of others export like ours, without a word about templates in the
contract. Whatever is concluded counts only if it gives the method's own rows, token for token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any, get_args

from transformers import PreTrainedTokenizerBase

from genembench.problem import Problem
from methods.contract import Method, Role
from runners.exporting.templated_transformer import Reading, Row, read
from runners.exporting.texts import BLANK, probes, texts_of

ROLES: tuple[Role, ...] = get_args(Role)
PROBE = "Qz"
"""Short, so that it is not cut, and in nobody's prompt."""
POOLING = {"last": "lasttoken", "mean": "mean", "weighted_mean": "weightedmean", "marked": "mean"}
"""Our read-outs as the library's pooling of the tokens that are read; what is marked is pooled to its mean."""


def pooling_of(method: Method) -> str:
    """Name the library's pooling that does what the method's read-out and pooling do.

    Raises:
        Problem: the method has a read-out or a pooling of its own.
    """
    for name in ("readout", "pool"):
        owner = next(cls for cls in type(method).__mro__ if name in vars(cls))
        if owner is not Method:
            raise Problem(
                f"{owner.__qualname__}.{name} cannot be exported: sentence-transformers knows no such thing",
                f"Leave {name} as the contract has it (readout_kind is one of {', '.join(POOLING)}), or encode with "
                "genembench itself (load_encoder).",
            )
    if method.readout_kind not in POOLING:
        raise Problem(f"readout_kind={method.readout_kind} cannot be exported", f"Allowed: {', '.join(POOLING)}.")
    return POOLING[method.readout_kind]


def learn(method: Method, tokenizer: PreTrainedTokenizerBase) -> dict[Role, Reading]:
    """Find out how the method reads texts of each role.

    Raises:
        Problem: it does what no template can say; the method and a text are named.
    """
    texts = probes(tokenizer, method.max_length)
    # Around the limit every single token counts.
    near = list(texts_of(tokenizer, *range(max(1, method.max_length - 48), method.max_length + 3)))
    return {role: _learn(method, tokenizer, role, texts, near) for role in ROLES}


def _learn(
    method: Method, tokenizer: PreTrainedTokenizerBase, role: Role, texts: Sequence[str], near: Sequence[str]
) -> Reading:
    own = _Own(method, tokenizer, role)
    expected = own.rows(texts)
    if not expected:
        # Nothing can be read (max_length leaves no room): the method says why.
        method.tokenize(tokenizer, texts[:1], role, "evaluate")
    worst = ""
    for how in _candidates(own, texts[-1]):
        wrong = _first_difference(own, how, expected)
        if wrong is None:
            wrong = _first_difference(own, how, own.rows(near))
        if wrong is None:
            return how
        worst = worst if len(worst) > len(wrong) else wrong
    raise _inexpressible(own, f"no template gives its tokens of {worst[:60]!r}" if worst else "it changes the text")


class _Own:
    """A method's own reading of texts of one role."""

    def __init__(self, method: Method, tokenizer: PreTrainedTokenizerBase, role: Role) -> None:
        self.method, self.tokenizer, self.role = method, tokenizer, role

    def row(self, text: str, through: Any = None) -> Row | None:
        """Token ids and what is read of them; None where the method refuses the text."""
        try:
            (row,) = self.method.tokenize(through or self.tokenizer, [text], self.role, "evaluate")
        except Problem:
            return None
        return list(row.ids), list(row.content)

    def rows(self, texts: Sequence[str]) -> dict[str, Row]:
        """Return the rows of those texts that the method reads."""
        return {text: row for text in texts if (row := self.row(text)) is not None}

    def watched(self, text: str) -> tuple[Row | None, list[str]]:
        """The row, and the strings that were tokenised for this text, longest first."""
        recorder = _Recorder(self.tokenizer)
        try:
            row = self.row(text, recorder)
        except Exception:  # a stranger's method may not take what only behaves like a tokenizer
            return None, []
        return row, sorted(set(recorder.strings) - self.always, key=len, reverse=True)

    @cached_property
    def always(self) -> set[str]:
        """What is tokenised whatever the text: prompts that stand apart, an ``a`` to see whether there is a BOS."""
        recorder = _Recorder(self.tokenizer)
        self.row(PROBE, recorder)
        return {string for string in recorder.strings if PROBE not in string}


class _Recorder:
    """A tokenizer that remembers what it was given."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.strings: list[str] = []

    def __call__(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        self.strings += [text] if isinstance(text, str) else list(text)
        return self._tokenizer(text, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _candidates(own: _Own, too_long: str) -> Iterator[Reading]:
    """Yield what the method may be doing, simplest first."""
    around = _around(own)
    if around is None:
        return
    how = replace(around, blank=_blank(own, around), longest_text=_longest_text(own, around, too_long))
    kinds: tuple[Any, ...] = ("row", "text", "text and suffix", "as many as alone", "nothing")
    tails = ((True, False), (True, True), (False, False), (False, True)) if how.tail else ((True, False),)
    # Some methods stay below max_length.
    row = own.row(too_long)
    limits = [None, *([len(row[0])] if row and len(row[0]) < own.method.max_length else [])]
    for longest, (reads_tail, once), reads in product(limits, tails, kinds):
        yield replace(how, reads=reads, reads_tail=reads_tail, tail_once=once, longest=longest)


def _around(own: _Own) -> Reading | None:
    """What stands around a text: in the string that was tokenised, and around that string's tokens."""
    row, strings = own.watched(PROBE)
    if row is None:
        return None
    ids = row[0]
    for string in strings:
        prefix, found, suffix = string.partition(PROBE)
        inner = own.tokenizer(string, add_special_tokens=False, verbose=False)["input_ids"]
        for at in range(len(ids) - len(inner) + 1 if found else 0):
            if ids[at : at + len(inner)] == inner:
                return Reading(front=ids[:at], prefix=prefix, suffix=suffix, tail=ids[at + len(inner) :])
    return None


def _blank(own: _Own, around: Reading) -> str | None:
    """What stands for a text of white space."""
    blank = next(text for text in BLANK if text)
    _, strings = own.watched(blank)
    inner = [_inner(string, around) for string in strings]
    return next((text for text in inner if text is not None and text.strip()), None)


def _longest_text(own: _Own, around: Reading, too_long: str) -> int | None:
    """How many tokens of a long text are left before the template is put around it."""
    row, strings = own.watched(too_long)
    for string in strings if row else ():
        inner = _inner(string, around)
        if inner and inner != too_long and too_long.startswith(inner):
            encoded = own.tokenizer(too_long, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            return len([end for _, end in encoded["offset_mapping"] if end <= len(inner)])
    return None


def _inner(string: str, around: Reading) -> str | None:
    """What stands between prefix and suffix."""
    if not (string.startswith(around.prefix) and string.endswith(around.suffix)):
        return None
    return string[len(around.prefix) : len(string) - len(around.suffix)]


def _first_difference(own: _Own, how: Reading, expected: dict[str, Row]) -> str | None:
    """The first text that is read differently; None if there is none."""
    for text, row in expected.items():
        try:
            (found,) = read(own.tokenizer, [text], how, how.longest or own.method.max_length)
        except ValueError:
            return text
        if found != row:
            return text
    return None


def _inexpressible(own: _Own, why: str) -> Problem:
    owner = next(cls for cls in type(own.method).__mro__ if "tokenize" in vars(cls))
    return Problem(
        f"{owner.__qualname__}.tokenize cannot be exported: {why} (role {own.role})",
        "An export knows text between two strings, tokenised as one (TextTemplate), and tokens around that; change the "
        "method to that, or encode with genembench itself (load_encoder).",
    )
