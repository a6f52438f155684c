from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import constants

from benchmarks.hub_datasets import HubDataset, open_hub_dataset, parse_hub_dataset
from benchmarks.sources import read_rows
from genembench.problem import Problem

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


def problem(text: str) -> Problem:
    with pytest.raises(Problem) as caught:
        open_hub_dataset(parse_hub_dataset(text))
    assert caught.value.hint
    return caught.value


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; the hub is out of reach."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)  # so that it is seen to be set
    return tmp_path / "datasets"


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A dataset as people put it on the hub: two configurations, the first with two splits."""
    folder = tmp_path / "name"
    folder.mkdir()
    (folder / "one.jsonl").write_text(
        '{"query": "a", "positive": "b", "negative": "c"}\n{"query": "d", "positive": "e", "negative": ["f", "g"]}\n'
    )
    (folder / "dev.jsonl").write_text('{"query": "h", "positive": "i", "negative": "j"}\n')
    (folder / "two.jsonl").write_text('{"text": "z"}\n')
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: pairs-one\n  data_files:\n  - split: train\n    path: one.jsonl\n"
        "  - split: dev\n    path: dev.jsonl\n- config_name: two\n  data_files: two.jsonl\n---\n"
    )
    return folder


@pytest.fixture
def hub(local: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The hub in reach, where OWNER/NAME is `local`; lists what the library was asked for."""
    asked: list[tuple[Any, ...]] = []
    real = datasets.load_dataset

    def load(path: str, config: str | None, *, revision: str | None, keep_in_memory: bool) -> Any:
        asked.append((path, config, revision, keep_in_memory))
        return real(str(local), config, cache_dir=str(cache))

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("benchmarks.hub.hub_out_of_reach", lambda: "")
    return asked


@pytest.fixture
def cached(local: Path, cache: Path) -> Callable[[str, str], None]:
    """Put a configuration of `local` into the cache as the library does for a commit of OWNER/NAME."""

    def put(config: str, commit: str) -> None:
        built = datasets.load_dataset(str(local), config, cache_dir=str(cache))
        folder = Path(next(iter(built.values())).cache_files[0]["filename"]).parent
        place = cache / "owner___name" / config / "0.0.0" / commit
        place.parent.mkdir(parents=True, exist_ok=True)
        del built
        folder.rename(place)

    return put


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:owner/name", HubDataset("owner/name")),
        ("hf:owner/name:triplet", HubDataset("owner/name", "triplet")),
        ("hf:o.w-n_er/na.me:en de#dev.clean", HubDataset("o.w-n_er/na.me", "en de", None, "dev.clean")),
        ("hf:a/b@refs/convert/parquet", HubDataset("a/b", None, "refs/convert/parquet")),
        ("hf:a/b:c@v1.0#test", HubDataset("a/b", "c", "v1.0", "test")),
    ],
)
def test_parse(text: str, expected: HubDataset) -> None:
    assert parse_hub_dataset(text) == expected
    assert parse_hub_dataset(str(expected)) == expected


def test_what_is_recorded_names_the_split() -> None:
    assert str(HubDataset("a/b")) == "hf:a/b#train"
    assert str(HubDataset("a/b", "c", "v1", "test")) == "hf:a/b:c@v1#test"


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:name",
        "hf:a/b/c",
        "hf:a/b:",
        "hf:a/b@",
        "hf:a/b#",
        "hf:a/b#train[:10]",
        "hf:a/b#dev@v1",
        "hf:a/b@v1:c",
        "hf:a/b:c/d",
        "hf:a/b ",
        "hf:/a/b",
        "hf:ä/b",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_hub_dataset(text)
    assert text in caught.value.what
    assert "hf:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]" in caught.value.hint
    assert "Did you mean" not in caught.value.hint


@pytest.mark.parametrize("text", ["hf://datasets/a/b", "hf:datasets/a/b", "hf:huggingface.co/datasets/a/b/tree/main"])
def test_other_spellings_are_understood_but_not_taken(text: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_hub_dataset(text)
    assert "Did you mean hf:a/b?" in caught.value.hint


def test_rows_of_a_configuration_and_split(hub: list[tuple[Any, ...]]) -> None:
    rows = read_rows("hf:owner/name:pairs-one", "triplets", {})
    # A folder without a commit, so the revision stays unknown.
    assert rows.path == "hf:owner/name:pairs-one#train"
    assert list(rows.rows) == [
        {"query": "a", "positive": "b", "negative": ["c"]},
        {"query": "d", "positive": "e", "negative": ["f", "g"]},
    ]
    assert [row["query"] for row in read_rows("hf:owner/name:pairs-one#dev", "triplets", {}).rows] == ["h"]
    assert list(read_rows("hf:owner/name:two", "text", {}).rows) == [{"text": "z"}]
    # The prefix keeps a local folder owner/name out of it.
    assert hub[0] == ("hf://datasets/owner/name", "pairs-one", None, False)


def test_unknown_configurations_and_splits_name_the_near_miss(hub: list[tuple[Any, ...]]) -> None:
    error = problem("hf:owner/name")
    assert error.what == "hf:owner/name#train: the dataset has several configurations and none was named"
    assert "as in hf:owner/name:pairs-one#train. Known: pairs-one, two." in error.hint
    error = problem("hf:owner/name:pair-one")
    assert error.what == "unknown configuration of owner/name 'pair-one'"
    assert "Did you mean pairs-one? Known: pairs-one, two." in error.hint
    error = problem("hf:owner/name:pairs-one#dve")
    assert error.what == "unknown split of owner/name 'dve'"
    assert "Did you mean dev? Known: dev, train." in error.hint


def test_a_revision_is_looked_up_and_must_be_what_was_loaded(
    cached: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cached("two", COMMIT)
    # The hub answers, then fails: the library takes what it has.
    monkeypatch.setattr("benchmarks.hub.hub_out_of_reach", lambda: "")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    looked_up = []

    class Api:
        def dataset_info(self, name: str, *, revision: str) -> Any:
            looked_up.append((name, revision))
            return type("Info", (), {"sha": {"v1": COMMIT, "v2": OTHER}[revision]})

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert str(open_hub_dataset(HubDataset("owner/name", "two", "v1"))[0]) == f"hf:owner/name:two@{COMMIT}#train"
    error = problem("hf:owner/name:two@v2")
    assert f"the hub did not give commit {OTHER}, and the copy in the cache is of commit {COMMIT}" in error.what
    assert f"@{COMMIT}" in error.hint
    assert looked_up == [("owner/name", "v1"), ("owner/name", "v2")]


def test_nothing_in_the_cache_and_no_hub(cache: Path) -> None:
    error = problem("hf:owner/name:two")
    assert "hf:owner/name:two#train: could not be loaded: HF_HUB_OFFLINE is set and the cache does not" in error.what
    assert "file or folder (Parquet or JSON lines)" in error.hint
    assert datasets.config.HF_HUB_OFFLINE is False  # as it was before


def test_from_the_cache_without_the_hub(cached: Callable[[str, str], None]) -> None:
    cached("two", COMMIT)
    for text in ("hf:owner/name", "hf:owner/name:two", f"hf:owner/name@{COMMIT}"):
        rows = read_rows(text, "text", {})
        assert rows.path == f"hf:owner/name:two@{COMMIT}#train"
        assert list(rows.rows) == [{"text": "z"}]
    error = problem("hf:owner/name:tow")
    assert error.what == "unknown configuration of owner/name 'tow'"
    assert "Did you mean two?" in error.hint


def test_another_commit_in_the_cache_is_not_taken_for_the_one_asked_for(
    cached: Callable[[str, str], None], tmp_path: Path
) -> None:
    cached("two", COMMIT)
    error = problem(f"hf:owner/name:two@{OTHER}")
    assert f"did not give commit {OTHER} (HF_HUB_OFFLINE is set" in error.what
    assert f"the copy in the cache is of commit {COMMIT}" in error.what
    error = problem("hf:owner/name:two@v1")
    assert "does not say which commit 'v1' is" in error.what
    # Where the hub's library notes it when it looks a name up.
    note = tmp_path / "hub" / "datasets--owner--name" / "refs" / "v1"
    note.parent.mkdir(parents=True)
    note.write_text(COMMIT)
    assert open_hub_dataset(HubDataset("owner/name", "two", "v1"))[0].revision == COMMIT
    note.write_text(OTHER)
    assert f"did not give commit {OTHER}" in problem("hf:owner/name:two@v1").what


@pytest.mark.parametrize(
    ("error", "what", "hint"),
    [
        (
            datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub."),
            "DatasetNotFoundError: Dataset 'a/b' is a gated dataset",
            "ask for access there and log in with 'hf auth login' (or set HF_TOKEN)",
        ),
        (
            RuntimeError("Dataset scripts are no longer supported, but found b.py"),
            "scripts are no longer supported, but found b.py",
            "Code of a dataset is never run. The hub may have converted it: try hf:a/b@refs/convert/parquet#train.",
        ),
        (OSError("[Errno 28] No space\n left" + " on device" * 99), "OSError: [Errno 28] No space left", "Or download"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_library_says_is_passed_on(
    cache: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, what: str, hint: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("benchmarks.hub.hub_out_of_reach", lambda: "")
    monkeypatch.setattr(datasets, "load_dataset", fail)
    found = problem("hf:a/b")
    assert found.what.startswith("hf:a/b#train: could not be loaded: ")
    assert what in found.what
    assert hint in found.hint
    assert len(found.what) < 400
