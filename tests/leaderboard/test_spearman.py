from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from leaderboard.resampling import block_size, resamples
from leaderboard.spearman import FloatArray, Spearman


def all_counts(task: str, n: int, n_resamples: int) -> np.ndarray:
    return np.concatenate(list(resamples(task, n, n_resamples)), axis=1)


def values(kind: str, n: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    found = {
        "distinct": rng.permutation(n).astype(float),
        "few ties": np.round(rng.normal(size=n), 2),
        "many ties": rng.integers(0, 4, n).astype(float),
        "constant": np.full(n, 0.5),
    }
    return found[kind]


@pytest.mark.parametrize("gold", ["distinct", "few ties", "many ties"])
@pytest.mark.parametrize("scores", ["distinct", "few ties", "many ties"])
def test_each_resample_is_correlated_as_scipy_does_it(gold: str, scores: str) -> None:
    n = 83
    counts = all_counts("T", n, 21)  # no multiple of the lanes
    x, y = values(gold, n, 1), values(scores, n, 2)
    found = Spearman(x, [y, -y])(counts)
    pairs = [np.repeat(np.arange(n), column) for column in counts.T]
    expected = [spearmanr(x[drawn], y[drawn]).statistic for drawn in pairs]
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(found[1], -found[0])


def test_whole_samples_of_many_pairs_keep_their_precision() -> None:
    n = 40_000  # sums no longer fit 16 bits
    rng = np.random.default_rng(0)
    gold = np.round(rng.uniform(0, 5, n), 1)
    scores = gold + rng.normal(size=n)
    once = np.ones((n, 1), np.uint32)
    assert Spearman(gold, [scores])(once)[0, 0] == pytest.approx(spearmanr(gold, scores).statistic, abs=1e-13)
    (counts,) = resamples("T", n, 3)
    drawn = np.repeat(np.arange(n), counts[:, 2])
    found = Spearman(gold, [scores])(counts)[0, 2]
    assert found == pytest.approx(spearmanr(gold[drawn], scores[drawn]).statistic, abs=1e-13)


def test_perfect_orders_are_exactly_one() -> None:
    counts = all_counts("T", 500, 40)
    x = values("few ties", 500, 3)
    found = Spearman(x, [x, np.exp(x), -x])(counts)
    assert (found[:2] == 1.0).all()
    assert (found[2] == -1.0).all()


def test_where_one_side_is_constant_there_is_no_correlation() -> None:
    counts = all_counts("T", 20, 8)
    flat, moving = values("constant", 20, 0), values("distinct", 20, 0)
    assert (Spearman(flat, [moving, flat])(counts) == 0).all()
    assert (Spearman(moving, [flat])(counts) == 0).all()
    same_pair = np.zeros((20, 1), np.uint16)
    same_pair[7] = 20
    assert Spearman(moving, [moving])(same_pair)[0, 0] == 0


def test_the_order_of_the_pairs_does_not_change_a_bit() -> None:
    n = 700
    counts = all_counts("T", n, 64)
    x, y = values("few ties", n, 1), values("few ties", n, 2)
    order = np.random.default_rng(5).permutation(n)
    found = Spearman(x, [y])(counts)
    np.testing.assert_array_equal(Spearman(x[order], [y[order]])(counts[order]), found)


@pytest.mark.parametrize("n", [2, 7, 250, 5000])
def test_resamples_draw_n_of_n_pairs_evenly(n: int) -> None:
    counts = all_counts("T", n, 600)
    assert counts.shape == (n, 600)
    assert (counts.sum(axis=0, dtype=np.int64) == n).all()
    # Drawn with replacement: a count is binomial with mean 1 and variance 1 - 1/n.
    assert counts.mean() == 1.0
    assert counts.var() == pytest.approx(1 - 1 / n, abs=5 * np.sqrt(3 / (600 * n)))
    totals = counts.sum(axis=1, dtype=np.int64)  # chi-squared with n - 1 degrees of freedom
    assert ((totals - 600) ** 2 / 600).sum() == pytest.approx(n - 1, abs=5 * np.sqrt(2 * n))


def test_draws_depend_on_the_task_alone_and_the_first_are_the_same_however_many() -> None:
    for n in (99, 100):
        few, many = all_counts("T", n, 5), all_counts("T", n, 2 * block_size(n) + 3)
        np.testing.assert_array_equal(few, many[:, :5])
    assert (all_counts("T", 99, 5) != all_counts("U", 99, 5)).any()


def test_draws_are_those_of_every_machine_and_version() -> None:
    # By hand from PCG64's raw numbers: sha256 of the name as seed, halves low first, floor(half n / 2^32).
    import hashlib

    seed = int.from_bytes(hashlib.sha256(b"STS12").digest(), "big")
    raw = [int(each) for each in np.random.PCG64(seed).random_raw(6)]
    for resample in range(2):
        halves = [half for word in raw[3 * resample : 3 * resample + 3] for half in (word & 0xFFFFFFFF, word >> 32)]
        drawn = [half * 5 >> 32 for half in halves[:5]]
        expected = [drawn.count(pair) for pair in range(5)]
        assert all_counts("STS12", 5, 2)[:, resample].tolist() == expected
