"""Training data from datasets of the Hugging Face hub, downloaded once and then read from the hub's cache.

Code of a dataset is never run: the library reads data files only and refuses loading scripts.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.arrow_rows import BATCH_ROWS
from benchmarks.hub import hub_or_cache
from genembench.problem import Problem, unknown

HUB_PREFIX = "hf:"
HUB_FORM = "hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]"
# No part may hold the signs that begin a later one, so there is one way to read it. Neither the hub's names nor the
# library's splits ever do; a branch whose name does can be given by its commit.
_FORM = re.compile(
    r"hf:(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[^:@#/]+))?(@(?P<revision>[^:@#\s]+))?(#(?P<split>\w+(\.\w+)*))?", re.A
)
_COMMIT = re.compile("[0-9a-f]{40}")
_INSTEAD = "Or download the data by other means and give the file or folder (Parquet or JSON lines)."


@dataclass(frozen=True)
class HubDataset:
    """One split of a dataset of the hub.

    Args:
        name: ``OWNER/NAME``.
        config: One of its configurations (the hub also calls them subsets); None for its default or only one.
        revision: Branch, tag or commit; None for the newest.
        split: Name of the split; slices such as ``train[:10]`` are not names.
    """

    name: str
    config: str | None = None
    revision: str | None = None
    split: str = "train"

    def __str__(self) -> str:
        config = f":{self.config}" if self.config else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB_PREFIX}{self.name}{config}{revision}#{self.split}"


def parse_hub_dataset(text: str) -> HubDataset:
    """Read ``hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]``; the split is ``train`` if none is named.

    Raises:
        Problem: ``text`` is not of that form.
    """
    found = _FORM.fullmatch(text)
    if not found:
        # What the hub's own libraries and the browser call it.
        address = re.match(r"hf:/*(?:huggingface\.co/)?datasets/([\w.-]+/[\w.-]+)", text)
        meant = f"Did you mean hf:{address[1]}? " if address else ""
        raise Problem(
            f"{text} is not a dataset of the hub as it is written here",
            f"{meant}Write {HUB_FORM}, such as hf:sentence-transformers/all-nli:triplet#train; "
            "for a file of that name write ./hf:...",
        )
    return HubDataset(found["name"], found["config"], found["revision"], found["split"] or "train")


def open_hub_dataset(asked: HubDataset) -> tuple[HubDataset, Iterator[Any]]:
    """Download a dataset, or find it in the cache, and return what it is exactly, and its Arrow tables in order.

    Returns:
        What was loaded, with the configuration and, where the cache tells, the commit filled in; and the tables.

    Raises:
        Problem: The dataset, its configuration, revision or split cannot be had.
    """
    import datasets

    with hub_or_cache() as unreachable:
        try:
            commit = _commit_of(asked, unreachable)
            # With this prefix, a local folder that happens to be called OWNER/NAME is not taken for it.
            splits = datasets.load_dataset(
                f"hf://datasets/{asked.name}", asked.config, revision=asked.revision, keep_in_memory=False
            )
        except Problem:
            raise
        except Exception as error:  # Whatever the hub, the network and three libraries between come up with.
            raise _not_loaded(asked, unreachable, error) from error
    if asked.split not in splits:
        raise unknown(f"split of {asked.name}", asked.split, splits)
    dataset = splits[asked.split]
    loaded = _commit_in_cache(dataset)
    # If anything goes wrong at the hub, the library takes whichever commit was cached last, and only logs it.
    if commit and loaded and loaded != commit:
        raise Problem(
            f"{asked}: the hub did not give commit {commit}{f' ({unreachable})' if unreachable else ''}, "
            f"and the copy in the cache is of commit {loaded}",
            f"Try again with the hub in reach, or take the copy with @{loaded}. {_INSTEAD}",
        )
    exact = replace(asked, config=dataset.info.config_name or asked.config, revision=loaded or asked.revision)
    # As Arrow tables: anything else would decode images and sound in columns that nobody asked for.
    return exact, dataset.with_format("arrow").iter(batch_size=BATCH_ROWS)


def _commit_of(asked: HubDataset, unreachable: str) -> str | None:
    """Return the commit that the revision names, None if none was asked for."""
    if asked.revision is None or _COMMIT.fullmatch(asked.revision):
        return asked.revision
    if not unreachable:
        from huggingface_hub import HfApi

        return HfApi().dataset_info(asked.name, revision=asked.revision).sha
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=asked.name, repo_type="dataset"))
    try:
        return (folder / "refs" / asked.revision).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise Problem(
            f"{asked}: {unreachable}, or it does not say which commit '{asked.revision}' is",
            f"Give the commit, 40 hexadecimal digits, or leave it out to take what is cached. {_INSTEAD}",
        ) from error


def _commit_in_cache(dataset: Any) -> str | None:
    """Return the commit that a dataset was made from: its folder in the cache is called so."""
    folders = {Path(file["filename"]).parent.name for file in dataset.cache_files}
    commits = [folder for folder in folders if _COMMIT.fullmatch(folder)]
    return commits[0] if len(commits) == 1 else None


def _not_loaded(asked: HubDataset, unreachable: str, error: Exception) -> Problem:
    """Say why a dataset could not be loaded and what to do about it."""
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub.errors import RepositoryNotFoundError

    said = " ".join(str(error).split())
    configs = _configs_in(said)
    if configs:
        if asked.config:
            return unknown(f"configuration of {asked.name}", asked.config, configs)
        example = replace(asked, config=configs[0])
        return Problem(
            f"{asked}: the dataset has several configurations and none was named",
            f"Name one, as in {example}. Known: {', '.join(configs)}.",
        )
    reason = f"{type(error).__name__}: {said if len(said) <= 300 else f'{said[:297]}...'}"
    if unreachable:
        return Problem(f"{asked}: could not be loaded: {unreachable} ({reason})", f"Try again later. {_INSTEAD}")
    hint = _INSTEAD
    if isinstance(error, (DatasetNotFoundError, RepositoryNotFoundError)) or "gated" in said.casefold():
        hint = (
            f"Look at https://huggingface.co/datasets/{asked.name}: is it spelled so, and is there such a revision? If "
            f"it is gated or private, ask for access there and log in with 'hf auth login' (or set HF_TOKEN). {hint}"
        )
    elif "scripts are no longer supported" in said:
        converted = replace(asked, revision="refs/convert/parquet")
        hint = f"Code of a dataset is never run. The hub may have converted it: try {converted}. {hint}"
    return Problem(f"{asked}: could not be loaded: {reason}", hint)


def _configs_in(said: str) -> list[str]:
    """Return the configurations that an error message of the library lists; there is no other way to them offline."""
    listed = re.search(r"available[^\[]*: (\[.*?\])", said, re.I)
    try:
        return [str(name) for name in ast.literal_eval(listed[1])] if listed else []
    except (ValueError, SyntaxError):
        return []
