"""How to use an exported encoder, for its model card: what to write, and what becomes of a text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from methods.contract import Role
from runners.exporting.check import TOLERANCE, Difference
from runners.exporting.folder import MODULE_FILE, Kind, requirements
from runners.exporting.made import Made
from runners.exporting.templated_transformer import Reading

_CALLS: Mapping[Role, str] = {"symmetric": "encode", "query": "encode_query", "document": "encode_document"}
_FOR: Mapping[Role, str] = {
    "symmetric": "texts that are compared with each other (similarity, clustering)",
    "query": "what is looked for",
    "document": "what it is looked for in",
}
_MEAN = {
    "text": "the text's own tokens",
    "text and suffix": "the text's tokens and those behind it",
    "as many as alone": "as many last tokens as the text has when tokenised alone",
    "nothing": "",
}
_LAST = dict.fromkeys(("row", "text and suffix", "as many as alone"), "the last token")
_LAST["text"] = "the text's last token"


def usage(made: Made, kind: Kind, difference: Difference) -> Iterator[str]:
    """Yield the section on usage, a line or a paragraph at a time."""
    needed = requirements(made.pooling)
    argument = ", trust_remote_code=True" if kind == "templated" else ""
    alike = all(how == made.readings["symmetric"] for how in made.readings.values())
    yield "## Usage\n"
    yield f"    pip install {' '.join(json.dumps(name + limit) for name, limit in needed.items())}\n"
    yield "```python\nfrom sentence_transformers import SentenceTransformer\n"
    yield f'model = SentenceTransformer("path/to/this/folder"{argument})  # or its id on the hub'
    yield 'vectors = model.encode(["A man is playing a guitar.", "Someone plays an instrument."])'
    yield "print(model.similarity(vectors, vectors))"
    if not alike:
        yield 'queries = model.encode_query(["who plays the guitar?"])'
        yield 'documents = model.encode_document(["A man is playing a guitar."])'
    yield "```\n"
    if kind == "templated":
        lines = len((Path(__file__).with_name(MODULE_FILE)).read_text(encoding="utf-8").splitlines())
        yield (
            f"`trust_remote_code=True` lets sentence-transformers run the one Python file of this folder, "
            f"`{MODULE_FILE}` ({lines} lines; it imports torch, transformers and sentence-transformers). It is needed "
            "for a local folder as for the hub, and without it loading stops. From the hub, give a `revision` too, so "
            "that the file stays the one that you have read.\n"
        )
    else:
        yield "The folder needs no code of its own: these are modules of the library.\n"
    yield from _readings(made, alike=alike)
    yield (
        f"Loaded by sentence-transformers in a process without genembench, this folder gave the run's own vectors: "
        f"{difference.texts} texts, short and too long, in padded batches and alone; the largest difference in any "
        f"number was {difference.largest:.1e} (float32; more than {TOLERANCE:.0e} is refused).\n"
    )


def _readings(made: Made, *, alike: bool) -> Iterator[str]:
    roles: tuple[Role, ...] = ("symmetric",) if alike else ("symmetric", "query", "document")
    yield "| call | for | the text becomes |\n| --- | --- | --- |"
    for role in roles:
        calls = "`, `".join(_CALLS.values()) if alike else _CALLS[role]
        use = "all texts alike" if alike else _FOR[role]
        yield f"| `{calls}` | {use} | `{_shown(made, role)}` |"
    how = made.readings["symmetric"]
    attention = "causal" if made.method.causal else "bidirectional (`is_causal: false` in `config.json`)"
    own = f", and to {how.longest_text:,} by themselves" if how.longest_text else ""
    yield (
        f"\nThe vector is {_read(made, how)}, divided by its length. Attention is {attention}. Long texts are cut at "
        f"their end: to {made.method.max_length:,} tokens with what stands around them{own}. A `prompt=` of your own "
        "takes the place of what stands in front.\n"
    )


def _read(made: Made, how: Reading) -> str:
    """Say what the vector is made of."""
    tail = f"`{''.join(made.tokenizer.convert_ids_to_tokens(list(how.tail)))}`" if how.tail and how.reads_tail else ""
    if made.pooling == "lasttoken":
        return f"the hidden state of {tail or _LAST[how.reads]}"
    weighted = ", weighted by place 1 to n" if made.pooling == "weightedmean" else ""
    if how.reads == "row":
        return f"the mean of all tokens' hidden states{weighted}"
    return f"the mean of the hidden states of {' and '.join(filter(None, (_MEAN[how.reads], tail)))}{weighted}"


def _shown(made: Made, role: Role) -> str:
    """Show a template in one line; tokens that are no text stand as the tokenizer writes them."""
    how = made.readings[role]
    front, tail = (made.tokenizer.convert_ids_to_tokens(list(ids)) for ids in (how.front, how.tail))
    text = f"{''.join(front)}{how.prefix}{{text}}{how.suffix}{''.join(tail)}"
    return json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("|", "\\|")
