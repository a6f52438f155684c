"""A finished sentence-transformers model, from a folder or the hub, measured like everything else."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from benchmarks.hub import hub_or_cache
from benchmarks.protocol import Role
from genembench.problem import Problem

_MARK = "modules.json"
_HINT = f"Give a folder that sentence-transformers saved (it holds {_MARK}) or a hub id such as organisation/model."


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
        self._source, self._commit = _find(path_or_id, trust_remote_code)
        self._trusted = trust_remote_code
        self.name = self._source if self._commit else Path(self._source).resolve().name
        self._batch_size = batch_size
        from sentence_transformers import SentenceTransformer

        with hub_or_cache() if self._commit else nullcontext(), _no_bars():
            try:
                self._model = SentenceTransformer(
                    self._source, device=device, revision=self._commit, trust_remote_code=trust_remote_code
                )
            except Exception as error:  # A broken folder fails in whichever library reads the broken file.
                if "trust_remote_code" in str(error) and not trust_remote_code:
                    raise _untrusted(self._source) from error
                what = str(error).splitlines()[0] if str(error) else ""
                raise Problem(f"{self._source} cannot be loaded: {type(error).__name__}: {what}", _HINT) from error
        if self._model.device.type == "cpu":
            self._model.float()
        self.parameters = sum(parameter.numel() for parameter in self._model.parameters())

    @cached_property
    def address(self) -> str:
        """Hash of the names and contents of the folder's files, code too; for a hub id, of the id and the commit."""
        return _address(self._source, self._commit, self._trusted)

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
    return _address(*_find(path_or_id, trust_remote_code), trust_remote_code)


def _address(source: str, commit: str | None, trusted: bool) -> str:
    found = hashlib.sha256(f"{source}@{commit}".encode()).hexdigest() if commit else folder_address(Path(source))
    # A library's class may stand in for code that is not run: then the same files compute something else.
    runs_code = trusted and (commit is not None or any(Path(source).rglob("*.py")))
    return hashlib.sha256(f"{found} with its code".encode()).hexdigest() if runs_code else found


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


def _find(path_or_id: str | Path, trusted: bool) -> tuple[str, str | None]:
    """Return a folder and None, or a hub id and the commit it stands for now; refuse code that is not trusted."""
    path = Path(path_or_id)
    if path.is_dir():
        if not (path / _MARK).is_file():
            raise Problem(f"{path} is no sentence-transformers model: it has no {_MARK}", _HINT)
        _check_code(str(path), path / _MARK, trusted)
        if trusted:
            _refuse_code_elsewhere(path)
        return str(path), None
    if path.exists() or not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", str(path_or_id)):
        raise Problem(f"no model folder {path_or_id}", _HINT)
    file = _mark_of(str(path_or_id))
    _check_code(str(path_or_id), file, trusted)
    # The hub's cache names a snapshot by its commit.
    return str(path_or_id), file.parent.name


def _check_code(source: str, modules: Path, trusted: bool) -> None:
    """Raise a ``Problem`` where a model is made of classes that are not the library's own, and they are not trusted."""
    try:
        kinds = [str(module["type"]) for module in json.loads(modules.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError):
        return  # Who loads it says what is wrong with it.
    if not trusted and any(not kind.startswith("sentence_transformers.") for kind in kinds):
        raise _untrusted(source)


def _untrusted(source: str) -> Problem:
    return Problem(
        f"{source} brings Python code of its own, which loading it would run",
        "Read that code. If you trust it, say --trust-remote-code: it then runs here, with all that you may do.",
    )


def _refuse_code_elsewhere(folder: Path) -> None:
    """Raise a ``Problem`` where a folder's code is that of a repository on the hub: no address would hold it."""
    for file in [folder / _MARK, *sorted(folder.rglob("config.json"))]:
        found = re.search(r'"(\w[\w.-]*/\w[\w.-]*?)--[\w.]+"', file.read_text(encoding="utf-8", errors="replace"))
        if found:
            raise Problem(
                f"{file} names code of the hub's {found[1]}, which may change there unseen",
                f"Copy the .py files of {found[1]} into {folder}, and take '{found[1]}--' out of {file.name}.",
            )


def _mark_of(model_id: str) -> Path:
    """Fetch the file that makes a repository on the hub a sentence-transformers model."""
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with hub_or_cache() as unreachable:
        try:
            return Path(huggingface_hub.hf_hub_download(model_id, _MARK))
        except Exception as error:  # Not there, not allowed, not reachable: one answer to the user.
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                raise Problem(f"{model_id} is no sentence-transformers model: it has no {_MARK}", _HINT) from error
            reason = unreachable or str(error).splitlines()[0]
            raise Problem(f"could not load model {model_id} from the hub: {reason}", _HINT) from error
