"""Published LLM2Vec models, ``llm2vec:MNTP+SUPERVISED``: their parts found in folders or on the hub, and checked."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from benchmarks.hub import hub_or_cache
from genembench.problem import Problem
from methods.encoder import WEIGHT_FILES, Encoder, files_hash
from methods.parts.adapter import CONFIG, WEIGHTS, is_adapter, read_object
from methods.published import SETTINGS, Parts, check, load_published, published_address, read_method
from runners.engine import Engine

FILES = (*WEIGHT_FILES, WEIGHTS)
"""What is downloaded of a part, and what its address is made of."""
_HINT = (
    "Write llm2vec:MNTP+SUPERVISED, or llm2vec:BASE+MNTP+SUPERVISED; each is a folder (no + in its path) or a hub id."
)
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class Part:
    """A base model or an adapter: as it was given, its files here, and for a hub id the commit they are of."""

    given: str
    folder: Path
    commit: str | None = None

    @property
    def name(self) -> str:
        """The folder's name, or the hub id."""
        return self.given if self.commit else self.folder.resolve().name

    @property
    def address(self) -> str:
        """Hub id and commit, or a hash of the files."""
        return f"{self.given}@{self.commit}" if self.commit else files_hash(self.folder, FILES)


@dataclass(frozen=True)
class PublishedModel:
    """A base model and the adapters that go on top of it, in this order; they fit each other.

    Attributes:
        named: The parts that the user named: without the base, where the first adapter says which it is.
    """

    prefix: ClassVar[str] = "llm2vec:"
    base: Part
    adapters: tuple[Part, ...]
    named: tuple[Part, ...]

    @property
    def given(self) -> str:
        """Prefix and parts, as written."""
        return self.prefix + "+".join(part.given for part in self.named)

    @property
    def parts(self) -> Parts:
        """The folders."""
        hub_id = self.base.given if self.base.commit else ""
        return Parts(self.base.folder, tuple(part.folder for part in self.adapters), hub_id)

    @property
    def name(self) -> str:
        """The names of the parts, without those that the next one goes on from (X-mntp, X-mntp-supervised)."""
        names = [part.name for part in self.named]
        kept = [name for name, after in zip(names, [*names[1:], ""], strict=True) if not after.startswith(name)]
        return "+".join(kept)

    @cached_property
    def _content(self) -> str:
        return hashlib.sha256("\n".join(part.address for part in (self.base, *self.adapters)).encode()).hexdigest()

    @property
    def address(self) -> str:
        """Hash of all parts and of how a text becomes a vector."""
        return published_address(self._content, read_method(self.parts, self.parts.tokenizer()))

    def precision(self, engine: Engine) -> str:
        """The engine's, as for everything that is trained here."""
        return engine.precision

    def load(self, engine: Engine) -> Encoder:
        """Load the base and merge the adapters."""
        return load_published(
            self.name, self.parts, content=self._content, device=engine.device, precision=engine.precision
        )


def find_published(text: str) -> PublishedModel:
    """Find and check the parts of ``MNTP+SUPERVISED`` or ``BASE+MNTP+SUPERVISED``, without loading weights.

    Raises:
        Problem: a part is not to be found, or they do not belong together.
    """
    words = [word.strip() for word in text.split("+")]
    if not all(words):
        raise Problem(f"llm2vec:{text} lacks the name of a model or adapter", _HINT)
    given = tuple(_part(word) for word in words)
    first, later = given[0], given[1:]
    if is_adapter(first.folder):
        if (first.folder / SETTINGS).is_file():
            # With the base alone it would load, and be another model.
            raise Problem(
                f"{first.given} is what goes on top of another adapter (it has {SETTINGS})",
                f"Name what it was trained on too: llm2vec:MNTP+{text}, or llm2vec:BASE+{text} if that was no adapter.",
            )
        base, adapters = _base_of(first, text), given
    else:
        base, adapters = first, later
    for part in adapters:
        if not is_adapter(part.folder):
            raise Problem(f"{part.given} is no adapter: it has no {CONFIG}", _HINT)
    if not (base.folder / "config.json").is_file():
        raise Problem(f"{base.given} is neither a model nor an adapter: it has no config.json", _HINT)
    if not any(base.folder.glob(WEIGHT_FILES[0])):
        raise Problem(
            f"the model {base.given} has no safetensors weights ({WEIGHT_FILES[0]})",
            "Convert it (model.save_pretrained(FOLDER) writes them), and give that: "
            f"llm2vec:{'+'.join(['FOLDER', *(part.given for part in adapters)])}.",
        )
    model = PublishedModel(base, adapters, given)
    check(model.parts)
    return model


def _part(given: str) -> Part:
    folder = Path(given).expanduser()
    if folder.is_dir():
        return Part(given, folder)
    if folder.exists() or not _HUB_ID.fullmatch(given):
        raise Problem(f"no folder {given}", _HINT)
    try:
        return _download(given)
    except _Unreachable as error:
        raise Problem(f"no folder {given}, and it could not be loaded from the hub: {error}", _HINT) from error


def _base_of(adapter: Part, text: str) -> Part:
    """Find the model that an adapter names: where it says, beside the adapter, or on the hub."""
    wanted = read_object(adapter.folder / CONFIG).get("base_model_name_or_path")
    say = f"Say where it is: llm2vec:BASE+{text}."
    if not isinstance(wanted, str) or not wanted:
        raise Problem(f"{adapter.given} does not say which model it was trained on", say)
    beside = adapter.folder.resolve().parent / Path(wanted).name
    for folder in (Path(wanted), beside):
        if folder.is_dir() and folder.resolve() != adapter.folder.resolve():
            base = Part(str(folder), folder)
            break
    else:
        missing = f"{adapter.given} was trained on {wanted}, which is no folder here, nor is {beside}"
        if not _HUB_ID.fullmatch(wanted):
            raise Problem(missing, say)
        try:
            base = _download(wanted)
        except _Unreachable as error:
            raise Problem(f"{missing}, and it could not be loaded from the hub: {error}", say) from error
    if is_adapter(base.folder):
        raise Problem(f"{adapter.given} was trained on {base.given}, which is an adapter itself", say)
    return base


class _Unreachable(Exception):
    """Why the hub did not give what it was asked for."""


def _download(model_id: str) -> Part:
    import huggingface_hub

    with hub_or_cache() as unreachable:
        try:
            folder = Path(huggingface_hub.snapshot_download(model_id, allow_patterns=list(FILES)))
        except Exception as error:  # Not there, not allowed, not reachable: one answer to the user.
            raise _Unreachable(unreachable or (str(error).strip() or type(error).__name__).splitlines()[0]) from error
    # The hub's cache names a snapshot by its commit.
    return Part(model_id, folder, folder.name)
