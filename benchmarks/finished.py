"""A finished sentence-transformers model, from a folder or the hub, measured like everything else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.hub import hub_or_cache
from benchmarks.protocol import Role
from benchmarks.remote_code import CONFIGS, MODULES, elsewhere, mapped_code, module_code, read_modules
from genembench.problem import Problem

_HINT = f"Give a folder that sentence-transformers saved (it holds {MODULES}) or a hub id such as organisation/model."


PRECISION = "its own"
"""A finished model computes in whatever its files hold, not in what a comparison asks of its own encoders."""


class SentenceTransformerEncoder:
    """A sentence-transformers model as a `TextEncoder`; the role is not used.

    The model's default prompt, where it names one, is put before each text as everywhere in sentence-transformers. On
    the CPU it computes in float32 whatever its files hold (bfloat16 is hundreds of times slower on most).

    Args:
        path_or_id: A folder, or a hub id.
        device: torch's name of the device; None for the best there is.
        batch_size: Texts per forward pass; sentence-transformers sorts them by length first.
        trust_remote_code: Run the Python code that the model brings, if it does.

    Attributes:
        name: The folder's name or the hub id.
        dimension: Length of a vector.
        parameters: Number of parameters, each counted once.

    Raises:
        Problem: There is no such folder, it holds no such model, it brings code that is not trusted, or the hub cannot
            be reached.
    """

    precision = PRECISION

    def __init__(
        self,
        path_or_id: str | Path,
        device: str | None = None,
        *,
        batch_size: int = 64,
        trust_remote_code: bool = False,
    ) -> None:
        self._found = found = _find(path_or_id, trust_remote_code)
        self.name = found.source if found.commit else Path(found.source).resolve().name
        self._batch_size = batch_size
        from sentence_transformers import SentenceTransformer

        with hub_or_cache() if found.commit else nullcontext(), _no_bars():
            try:
                self._model = SentenceTransformer(
                    found.source, device=device, revision=found.commit, trust_remote_code=trust_remote_code
                )
            except Exception as error:  # A broken folder fails in whichever library reads the broken file.
                if "trust_remote_code" in str(error) and not trust_remote_code:
                    raise _untrusted(found.source) from error
                what = str(error).splitlines()[0] if str(error) else ""
                raise Problem(f"{found.source} cannot be loaded: {type(error).__name__}: {what}", _HINT) from error
        if self._model.device.type == "cpu":
            self._model.float()
        self.parameters = sum(parameter.numel() for parameter in self._model.parameters())

    @cached_property
    def address(self) -> str:
        """Hash of the names and contents of the folder's files, code too; for a hub id, of the id and the commit."""
        return _address(self._found)

    @cached_property
    def dimension(self) -> int:
        """Length of a vector, from the model's configuration or else from a vector."""
        return self._model.get_embedding_dimension() or int(self.encode(["a"], "symmetric").shape[1])

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        """Turn N texts into vectors ``[N, D]``, as the model makes them (not normalised unless it does so itself)."""
        vectors = self._model.encode(
            list(texts), batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True
        )
        return cast("NDArray[np.float32]", np.asarray(vectors, dtype=np.float32))


def finished_address(path_or_id: str | Path, *, trust_remote_code: bool = False) -> str:
    """Return the address of a finished model without loading it.

    Raises:
        Problem: There is no such folder, it holds no such model, it brings code that is not trusted, or the hub cannot
            be reached.
    """
    return _address(_find(path_or_id, trust_remote_code))


def _address(model: _Model) -> str:
    if model.commit is None:
        found = folder_address(Path(model.source))
    else:
        found = hashlib.sha256(f"{model.source}@{model.commit}".encode()).hexdigest()
    # The same files compute something else where a class of the library stands in for the code that they name.
    return hashlib.sha256(f"{found} with its code".encode()).hexdigest() if model.replaces else found


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hold back the bar that transformers draws while it reads weights."""
    logging: Any = import_module("transformers.utils.logging")  # Its functions are not typed.
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def folder_address(folder: Path) -> str:
    """Hash the relative names and contents of all files in a folder (sha256), hidden ones left out."""
    digest = hashlib.sha256()
    files = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    for name in sorted(files, key=lambda name: name.as_posix()):
        if not any(part.startswith(".") or part == "__pycache__" for part in name.parts):
            with files[name].open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{name.as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Model:
    """What stands behind a name.

    Attributes:
        source: A folder, or a hub id.
        commit: What the hub id stands for now; None for a folder.
        replaces: Whether code is run that a class of the library could stand in for.
    """

    source: str
    commit: str | None
    replaces: bool


def _find(path_or_id: str | Path, trusted: bool) -> _Model:
    """Find a model and refuse code that is not trusted, or that its address would not hold."""
    path, source = Path(path_or_id), str(path_or_id)
    if path.is_dir():
        if not (path / MODULES).is_file():
            raise Problem(f"{path} is no sentence-transformers model: it has no {MODULES}", _HINT)
        file, commit = path / MODULES, None
    elif path.exists() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source):
        raise Problem(f"no model folder {path_or_id}", _HINT)
    else:
        file = _modules_of(source)
        # The hub's cache names a snapshot by its commit.
        commit = file.parent.name
    modules = read_modules(file)
    own = module_code(modules)
    if not trusted:
        if own:
            raise _untrusted(source)
        return _Model(source, commit, replaces=False)
    if commit is None:
        configs = [each for name in CONFIGS for each in path.rglob(name)]
    else:
        configs = _configs_of(source, commit, {str(module.get("path", "")) for module in modules})
    mapped = {config: mapped_code(config) for config in configs}
    for named, references in [(file, own), *mapped.items()]:
        _refuse_code_elsewhere(source, named, references)
    return _Model(source, commit, replaces=any(mapped.values()))


def _untrusted(source: str) -> Problem:
    return Problem(
        f"{source} brings Python code of its own, which loading it would run",
        "Read that code. If you trust it, say --trust-remote-code: it then runs here, with all that you may do.",
    )


def _refuse_code_elsewhere(source: str, file: Path, references: Iterable[str]) -> None:
    """Raise a ``Problem`` where a model's code is that of another repository on the hub: no address would hold it."""
    for found in filter(None, map(elsewhere, references)):
        raise Problem(
            f"{source}: {file.name} names code of the hub's {found}, which may change there unseen",
            f"Have the model in a folder, copy the .py files of {found} into it, and take '{found}--' out of its "
            f"{file.name}.",
        )


def _configs_of(model_id: str, commit: str, folders: Iterable[str]) -> list[Path]:
    """Fetch those files of a model on the hub that may name code; few have them all."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    found = []
    with hub_or_cache():
        for folder in sorted({"", *folders}):
            for name in CONFIGS:
                with suppress(EntryNotFoundError):
                    where = huggingface_hub.hf_hub_download(model_id, name, subfolder=folder or None, revision=commit)
                    found.append(Path(where))
    return found


def _modules_of(model_id: str) -> Path:
    """Fetch the file that makes a repository on the hub a sentence-transformers model."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with hub_or_cache() as unreachable:
        try:
            return Path(huggingface_hub.hf_hub_download(model_id, MODULES))
        except Exception as error:  # Not there, not allowed, not reachable: one answer to the user.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                raise Problem(f"{model_id} is no sentence-transformers model: it has no {MODULES}", _HINT) from error
            reason = unreachable or str(error).splitlines()[0]
            raise Problem(f"could not load model {model_id} from the hub: {reason}", _HINT) from error
