"""The score of each query of a retrieval task, as the library behind mteb's own scores gives it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb import AbsTask

# mteb's names of ranking scores, and pytrec_eval's of the same score of one query.
_MEASURES: Mapping[str, str] = {
    "ndcg": "ndcg_cut",
    "map": "map_cut",
    "recall": "recall",
    "precision": "P",
    "hit_rate": "success",
}
ROUNDED = 5.001e-6
"""mteb rounds the mean over queries to five decimals: so far may it lie from the mean itself."""


@dataclass
class QueryScores:
    """Watches a retrieval task while mteb scores it, and keeps one number of each query.

    Attributes:
        measure: The library's name of the task's main score.
        scores: Score by query, once the task is scored.
    """

    measure: str
    scores: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, task: AbsTask) -> QueryScores | None:
        """Watch a task, before it is scored.

        Returns:
            None where its main score is no mean over the queries of one subset and split.
        """
        from mteb.abstasks import AbsTaskRetrieval

        measure = _measure(task.metadata.main_score)
        if not isinstance(task, AbsTaskRetrieval) or len(task.hf_subsets) != 1 or len(task.eval_splits) != 1:
            return None
        if measure is None:
            return None
        watching = cls(measure)
        # What mteb offers its tasks to add scores of their own by is called with every score of every query.
        watched: Any = task
        own = watched.task_specific_scores

        def look(scores: Mapping[str, Mapping[str, float]], *others: Any, **named: Any) -> Any:
            watching.scores = {query: each[measure] for query, each in scores.items() if measure in each}
            return own(scores, *others, **named)

        watched.task_specific_scores = look
        return watching

    def making(self, score: float) -> dict[str, float]:
        """Return the score of each query, 0 to 1, in mteb's order, if their mean is ``score`` as mteb rounds it.

        A task may have something else under the same name; then nothing is returned.
        """
        if not self.scores or abs(fmean(self.scores.values()) - score) > ROUNDED:
            return {}
        return self.scores


def _measure(main_score: str) -> str | None:
    """Return pytrec_eval's name: ``ndcg_cut_10`` for ``ndcg_at_10``."""
    if main_score == "accuracy":
        return "recall_1"
    found = re.fullmatch(r"(\w+)_at_(\d+)", main_score)
    return f"{_MEASURES[found[1]]}_{found[2]}" if found and found[1] in _MEASURES else None
