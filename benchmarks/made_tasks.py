"""Tasks that mteb does not know, as mteb's own task classes: scored by its code like every other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.demo.tasks import Retrieval
from benchmarks.sts_files import StsPair
from genembench.problem import Problem

if TYPE_CHECKING:
    from mteb import AbsTask


def make_sts_task(name: str, pairs: Sequence[StsPair]) -> AbsTask:
    """Return an STS task of these pairs: Spearman of the cosine, as for every STS task of mteb.

    Raises:
        Problem: all gold scores are the same, so that nothing correlates with them.
    """
    from datasets import Dataset, DatasetDict
    from mteb.abstasks import AbsTaskSTS

    scores = [pair.score for pair in pairs]
    if min(scores) == max(scores):
        raise Problem(
            f"{name}: the gold score of every pair is {scores[0]}", "A correlation needs at least two scores."
        )
    # mteb rescales gold scores to 0-1 by these; the correlation does not change.
    scale = {"min_score": min(scores), "max_score": max(scores)}
    task: Any = type(name, (AbsTaskSTS,), {"metadata": _metadata(name, "STS", "cosine_spearman"), **scale})()
    columns = zip(("sentence1", "sentence2", "score"), zip(*pairs, strict=True), strict=True)
    task.dataset = {"default": DatasetDict(test=Dataset.from_dict({key: list(values) for key, values in columns}))}
    return _loaded(task)


def make_retrieval_task(name: str, made: Retrieval, main_score: str = "ndcg_at_10") -> AbsTask:
    """Return a retrieval task of questions with one answer each; ``main_score`` is mteb's name of a ranking score."""
    from datasets import Dataset
    from mteb.abstasks import AbsTaskRetrieval

    task: Any = type(name, (AbsTaskRetrieval,), {"metadata": _metadata(name, "Retrieval", main_score)})()
    corpus = [{"id": key, "title": "", "text": text} for key, text in made.corpus.items()]
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list([{"id": key, "text": text} for key, text in made.queries.items()]),
        "relevant_docs": {query: {document: 1} for query, document in made.relevant.items()},
        "top_ranked": None,
    }
    task.dataset = {"default": {"test": split}}
    return _loaded(task)


def _metadata(name: str, kind: str, main_score: str) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

    facts: dict[str, Any] = {"type": kind, "category": "t2t", "eval_langs": ["eng-Latn"], "main_score": main_score}
    # The data are put in by hand; path and revision are only there because mteb asks for them.
    dataset: Any = {"path": f"genembench/{name}", "revision": "made"}
    return TaskMetadata(name=name, description=name, dataset=dataset, eval_splits=["test"], **facts)


def _loaded(task: Any) -> AbsTask:
    task.data_loaded = True
    made: AbsTask = task
    return made
