"""From a run to a folder: read the template, write the files, and hand them out only if they give our vectors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from genembench.problem import Problem
from leaderboard.units import gigabytes
from methods.encoder import load_encoder
from runners.exporting.check import Difference, compare, expect
from runners.exporting.folder import Kind, library_suffices, write_modules, write_tokenizer, write_weights
from runners.exporting.made import Made
from runners.exporting.model_card import write_card
from runners.exporting.place import new_folder
from runners.exporting.readings import learn, pooling_of
from runners.exporting.source import Source
from runners.exporting.texts import probes, texts_of
from runners.progress import say

_BESIDE_WEIGHTS = 50_000_000
"""Bytes left for tokenizer, settings and card."""


@dataclass(frozen=True)
class Exported:
    """What was handed out: which modules it took, and how far its vectors are from ours."""

    kind: Kind
    difference: Difference


def export(source: Source, target: Path, *, device: str) -> Exported:
    """Write the encoder of ``source`` to ``target``, whole or not at all.

    Args:
        source: What is exported.
        target: A new or an empty folder.
        device: Where vectors are compared.

    Raises:
        Problem: the method does what an export cannot express; the folder's vectors are not ours; the disk is full.
    """
    encoder = load_encoder(source.folder, device=device)
    method, tokenizer = encoder.method, encoder.tokenizer
    pooling = pooling_of(method)
    say(f"finding out how {encoder.name} reads texts")
    readings = learn(method, tokenizer)
    tried = [*probes(tokenizer, method.max_length), *texts_of(tokenizer, method.max_length, method.max_length + 1)]
    suffices = library_suffices(tokenizer, readings, pooling, method.max_length, tried)
    kinds: list[Kind] = ["library", "templated"] if suffices else ["templated"]
    parameters = sum(each.numel() for each in encoder.body.parameters())
    with new_folder(target, 4 * parameters + _BESIDE_WEIGHTS) as folder:
        say("encoding texts to compare by")
        expected = expect(encoder, readings)
        own = "" if method.stages() else ": nothing was trained, they are the backbone's own"
        say(f"writing {gigabytes(4 * parameters)} of weights{own}")
        write_weights(encoder, folder)
        write_tokenizer(encoder, folder)
        made = Made(
            source=source,
            name=encoder.name,
            method=method,
            address=encoder.address,
            tokenizer=tokenizer,
            readings=readings,
            pooling=pooling,
            dimension=encoder.body.config.get_text_config().hidden_size,
            parameters=parameters,
        )
        # The other process loads the same weights: they need not be in memory twice.
        del encoder
        for kind in kinds:
            write_modules(
                folder,
                kind,
                readings,
                pooling=pooling,
                dimension=made.dimension,
                longest=method.max_length,
            )
            say("encoding them in a fresh process, by sentence-transformers alone")
            found = compare(folder, expected, causal=method.causal, trust=kind == "templated", device=device)
            if found.fine:
                write_card(folder, made, kind, found)
                return Exported(kind, found)
            say(f"with {'modules of its own' if kind == 'templated' else 'the modules of the library'}: {found}")
        raise Problem(
            f"the exported folder does not give the run's vectors: {found}",
            "Nothing is left behind. Encode with genembench itself (load_encoder); please report it with the backbone.",
        )
