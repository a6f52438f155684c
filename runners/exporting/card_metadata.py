"""The YAML in front of a model card: what a hub reads of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData, try_to_load_from_cache

from leaderboard.records import Record

_TAGS = ("sentence-transformers", "sentence-similarity", "feature-extraction", "genembench")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def front_matter(title: str, method: str, record: Record | None) -> str:
    """Return the front matter, dashes included; licence and language are left out, for nobody here knows them."""
    results = list(_results(title, record)) if record else []
    data = ModelCardData(
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=[*_TAGS, method],
        base_model=_hub_id(record),
        # Without results a name would become a tag of its own.
        model_name=title if results else None,
        eval_results=results or None,
    )
    return f"---\n{data.to_yaml(line_break=chr(10))}\n---\n\n"


def _hub_id(record: Record | None) -> str | None:
    """Return the backbone's hub id where it surely is one: the hub's cache has it under that name."""
    given = record.backbone.given if record and record.backbone else ""
    if not _HUB_ID.fullmatch(given) or Path(given).exists():
        return None
    return given if isinstance(try_to_load_from_cache(given, "config.json"), str) else None


def _results(title: str, record: Record) -> Iterator[EvalResult]:
    """Yield the scores of MTEB's own tasks, those that were measured on as many pairs as MTEB's have."""
    # Seconds, and only where there is something to look up.
    import mteb

    for score in record.scores:
        try:
            facts: Any = mteb.get_task(score.task).metadata
        except (KeyError, ValueError):
            continue
        if _count(facts, score.split, score.subset) != score.pairs:
            continue
        yield EvalResult(
            task_type=facts.type,
            dataset_type=facts.dataset["path"],
            dataset_name=f"MTEB {score.task}",
            dataset_config=score.subset,
            dataset_split=score.split,
            # Whose files were read, nobody has compared with the hub's revision.
            dataset_revision=None if record.configuration.get("data_dir") else facts.dataset["revision"],
            metric_type=score.metric,
            metric_value=round(score.score, 4),
        )


def _count(facts: Any, split: str, subset: str) -> int | None:
    found = (facts.descriptive_stats or {}).get(split, {})
    found = found.get("hf_subset_descriptive_stats", {}).get(subset, found)
    count = found.get("num_samples")
    return count if isinstance(count, int) else None
