from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.demo.scenes import Scene, similarity
from benchmarks.demo.tasks import PAIRS, STS, retrieval, sts_pairs
from benchmarks.demo.words import GROUP, WORDINGS
from benchmarks.evaluate import Prediction, TaskScore, evaluate
from benchmarks.lexical import TfidfEncoder
from benchmarks.protocol import Role, TextEncoder
from benchmarks.suite import DEMO_AVERAGES, DEMO_STS, Benchmark, resolve_benchmark
from tests.benchmarks.demo.reading import answers, content, read, read_question

# Mirrors the weights of the gold score on purpose: an oracle knows what matters.
WEIGHT = {"action": 0.3, "agent": 0.2, "patient": 0.2, "count": 0.1, "place": 0.1, "time": 0.1}
PART_OF_WORD = sorted({*WORDINGS})
PART_OF_GROUP = sorted({*GROUP.values()})


class Oracle:
    """Understands every sentence; the cosine of two is nearly the gold score: it forgives changed roles a little.

    One-hot words and groups for each role. An affirmed and a negated vector have a cosine of 0.4 by themselves.
    """

    address, precision = "0", "float32"

    def __init__(self, *, roles: bool = True, polarity: bool = True) -> None:
        self.name = f"oracle-{roles}-{polarity}"
        self.roles = roles
        self.polarity = polarity

    def encode(self, texts: Sequence[str], role: Role) -> NDArray[np.float32]:
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float32]:
        if text.endswith("?"):
            parts, negated = read_question(text), False
        else:
            scene = read(text)
            parts, negated = {part: getattr(scene, part) for part in WEIGHT}, scene.negated
        vector = np.zeros((len(WEIGHT), len(PART_OF_WORD) + len(PART_OF_GROUP)))
        for part, word in parts.items():
            row = list(WEIGHT).index("agent" if part == "patient" and not self.roles else part)
            # A count is alone in its group, so both of its numbers say the same.
            vector[row, PART_OF_WORD.index(word)] += np.sqrt(0.6 * WEIGHT[part])
            vector[row, len(PART_OF_WORD) + PART_OF_GROUP.index(GROUP[word])] += np.sqrt(0.4 * WEIGHT[part])
        sign = [0.4, np.sqrt(1 - 0.4**2)] if negated and self.polarity else [1.0, 0.0]
        vector = np.concatenate([vector.ravel() * share for share in sign])
        return (vector / np.linalg.norm(vector)).astype(np.float32)


@cache
def scores(name: str) -> dict[str, tuple[TaskScore, list[Prediction]]]:
    """Return what an encoder gets on every task of the demo, by the code that scores every encoder."""
    found: dict[str, tuple[TaskScore, list[Prediction]]] = {}

    def keep(score: TaskScore, predictions: list[Prediction]) -> None:
        found[score.task] = score, predictions

    for spec in ("demo", "demo-dev"):
        benchmark = resolve_benchmark(spec, tasks=None, data_dir=None)
        evaluate(_encoder(name, benchmark), benchmark, on_task=keep)
    return found


def _encoder(name: str, benchmark: Benchmark) -> TextEncoder:
    if name == "tfidf":
        return TfidfEncoder(benchmark.texts())
    return Oracle(roles=name != "no roles", polarity=name != "no polarity")


def scenes_of(task: str) -> list[tuple[Scene, Scene]]:
    return [(read(pair.sentence1), read(pair.sentence2)) for pair in sts_pairs(task)]


@pytest.mark.parametrize("task", STS)
def test_gold_scores_are_those_of_the_two_meanings(task: str) -> None:
    pairs = sts_pairs(task)
    assert len(pairs) == PAIRS == 400
    assert len({pair[:2] for pair in pairs}) == 400
    assert [similarity(one, other) for one, other in scenes_of(task)] == [pair.score for pair in pairs]
    assert 0 <= min(pair.score for pair in pairs) < max(pair.score for pair in pairs) <= 5
    assert {one.split for one, _ in scenes_of(task)} == {"dev" if task == "DemoDev" else "test"}
    assert all(pair.sentence1 != pair.sentence2 for pair in pairs)


def test_pairs_of_roles_are_of_one_agent_each_and_the_same_two_people() -> None:
    swapped = 0
    for one, other in scenes_of("DemoRoles"):
        assert one.count == other.count == "one"
        assert {one.agent, one.patient} == {other.agent, other.patient}
        assert (one.place, one.time, one.negated) == (other.place, other.time, other.negated)
        swapped += one.agent != other.agent
    assert 170 < swapped < 230
    # Whichever the roles, one action in four is another.
    assert {pair.score for pair in sts_pairs("DemoRoles")} >= {5.0, 3.0, 3.5, 1.5}


def test_pairs_of_negation_differ_in_polarity_and_count_only() -> None:
    found: Counter[tuple[bool, bool]] = Counter()
    for one, other in scenes_of("DemoNegation"):
        same = ("agent", "action", "patient", "place", "time")
        assert all(getattr(one, part) == getattr(other, part) for part in same)
        found[one.negated != other.negated, one.count != other.count] += 1
    assert len(found) == 4
    assert min(found.values()) > 70
    # Equal, another count, another polarity, both.
    assert {pair.score for pair in sts_pairs("DemoNegation")} == {5.0, 4.5, 2.0, 1.8}


def test_pairs_of_topic_have_no_word_in_common() -> None:
    assert all(content(pair.sentence1) & content(pair.sentence2) == set() for pair in sts_pairs("DemoTopic"))


def test_paraphrases_differ_in_up_to_three_places() -> None:
    found: Counter[int] = Counter()
    for one, other in scenes_of("DemoParaphrase"):
        changes = [one.action != other.action, one.agent != other.agent, one.patient != other.patient]
        changes.append((one.place, one.time) != (other.place, other.time))
        assert (one.count, one.negated) == (other.count, other.negated)
        found[sum(changes)] += 1
    assert set(found) == {0, 1, 2, 3}
    assert min(found.values()) > 70


def test_every_question_has_one_answer_among_the_statements() -> None:
    made = retrieval()
    assert (len(made.queries), len(made.corpus), len(made.relevant)) == (200, 800, 200)
    assert len(set(made.corpus.values())) == 800
    for key, question in made.queries.items():
        found = [document for document, statement in made.corpus.items() if answers(question, statement)]
        assert found == [made.relevant[key]]
        assert content(question) & content(made.corpus[made.relevant[key]]) == set()
    assert {read(made.corpus[key]).split for key in made.relevant.values()} == {"test"}


@pytest.mark.parametrize("task", STS)
def test_scores_are_spearman_of_the_cosines(task: str) -> None:
    pairs = sts_pairs(task)
    score, predictions = scores("oracle")[task]
    one = Oracle().encode([pair.sentence1 for pair in pairs], "symmetric")
    other = Oracle().encode([pair.sentence2 for pair in pairs], "symmetric")
    cosines = (one * other).sum(axis=1)
    # Of the cosines as they were predicted: the last digit of a float32 decides which of equal meanings come first.
    direct = 100 * spearmanr([pair.score for pair in pairs], [prediction.score for prediction in predictions])[0]
    assert score.score == pytest.approx(direct, abs=1e-6)
    assert (score.metric, score.pairs, score.subset, score.split) == ("cosine_spearman", 400, "default", "test")
    assert [prediction.gold for prediction in predictions] == [pair.score for pair in pairs]
    np.testing.assert_allclose([prediction.score for prediction in predictions], cosines, atol=1e-5)
    assert len({prediction.pair for prediction in predictions}) == 400
    assert all(re.fullmatch(rf"{row}-[0-9a-f]{{12}}", each.pair) for row, each in enumerate(predictions))


@pytest.mark.parametrize("task", DEMO_STS)
def test_who_understands_scores_far_above_a_bag_of_words(task: str) -> None:
    assert scores("tfidf")[task][0].score < 35
    assert scores("oracle")[task][0].score > 80


def test_each_task_asks_for_what_it_is_called_after() -> None:
    oracle, no_roles, no_polarity = (scores(name) for name in ("oracle", "no roles", "no polarity"))
    lost = {
        task: (oracle[task][0].score - no_roles[task][0].score, oracle[task][0].score - no_polarity[task][0].score)
        for task in DEMO_STS
    }
    assert max(lost, key=lambda task: lost[task][0]) == "DemoRoles"
    assert max(lost, key=lambda task: lost[task][1]) == "DemoNegation"
    assert lost["DemoRoles"][0] > 30
    assert lost["DemoNegation"][1] > 30


def test_retrieval_is_solved_by_who_understands_and_not_by_a_bag_of_words() -> None:
    score, predictions = scores("oracle")["DemoRetrieval"]
    assert (score.metric, score.pairs, len(predictions)) == ("ndcg_at_10", 200, 200)
    assert 100 * sum(each.score for each in predictions) / 200 == pytest.approx(score.score, abs=1e-3)
    assert score.score == pytest.approx(100, abs=1e-6)
    assert scores("tfidf")["DemoRetrieval"][0].score < 35


def test_the_average_is_that_of_the_five() -> None:
    found = {task: score.score for task, (score, _) in scores("tfidf").items()}
    benchmark = resolve_benchmark("demo", tasks=None, data_dir=None)
    (average,) = benchmark.average({task: found[task] for task in benchmark.tasks})
    assert (average.name, average.tasks) == ("Demo(5)", DEMO_AVERAGES["Demo(5)"])
    five = ["DemoParaphrase", "DemoRoles", "DemoNegation", "DemoTopic", "DemoRetrieval"]
    assert average.score == pytest.approx(sum(found[task] for task in five) / 5)
