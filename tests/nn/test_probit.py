"""The ordered probit model, against scipy's distributions and its own definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from hyvae.nn import probit

CUTS = torch.tensor([-1.5, -0.4, 0.3, 1.6], dtype=torch.float64)
LEVELS = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64)
scores = st.lists(st.floats(-6, 6), min_size=1, max_size=20).map(lambda x: torch.tensor(x, dtype=torch.float64))


def drawn(n=20_000, seed=0):
    """Scores, and levels drawn from them."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.normal(size=n))
    return x, torch.bucketize(x + torch.from_numpy(rng.normal(size=n)), CUTS)


@settings(deadline=None)
@given(scores, st.floats(1, 5))
def test_probabilities_are_those_of_the_intervals(x, variance):
    found = probit.probabilities(x, torch.full_like(x, variance), CUTS)
    below = stats.norm.cdf(CUTS.numpy(), x.numpy()[:, None], np.sqrt(variance))
    np.testing.assert_allclose(found.cumsum(1)[:, :-1], below, atol=1e-12)
    torch.testing.assert_close(found.sum(1), torch.ones_like(x))


@settings(deadline=None)
@given(scores, st.floats(1, 5))
def test_the_expectation_is_that_of_the_probabilities(x, variance):
    variance = torch.full_like(x, variance)
    torch.testing.assert_close(
        probit.expectation(x, variance, CUTS, LEVELS), probit.probabilities(x, variance, CUTS) @ LEVELS
    )


def test_start_cuts_give_the_shares_at_a_score_of_zero():
    level = torch.tensor([0] * 10 + [1] * 20 + [2] * 30 + [4] * 40)
    cuts = probit.start_cuts(level, 5)
    share = probit.probabilities(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), cuts)[0]
    torch.testing.assert_close(share, torch.tensor([0.1, 0.2, 0.3, 0.0, 0.4], dtype=torch.float64), atol=1e-6, rtol=0)


def test_drawn_noise_falls_into_the_levels_interval_and_is_truncated_normal():
    x, level = torch.full((50_000,), 0.7), torch.full((50_000,), 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        noise = probit.draw_noise(x, level, CUTS)
    assert ((x + noise > CUTS[0] - 1e-5) & (x + noise < CUTS[1] + 1e-5)).all()
    low, high = float(CUTS[0]) - 0.7, float(CUTS[1]) - 0.7
    assert stats.kstest(noise.numpy(), stats.truncnorm(low, high).cdf).pvalue > 0.01


@settings(deadline=None)
@given(st.floats(-8, 8), st.floats(1e-3, 5))
def test_expected_noise_is_the_mean_of_a_truncated_normal(low, width):
    limits = [torch.tensor([x], dtype=torch.float64) for x in (low, low + width)]
    found = float(probit.expected_noise(*limits))
    assert low - 1e-6 <= found <= low + width + 1e-6
    if abs(low) < 5:
        assert found == pytest.approx(stats.truncnorm(low, low + width).mean(), abs=1e-5)


def test_moved_cuts_reach_the_maximum_of_the_likelihood():
    x, level = drawn()
    found = probit.moved_cuts(probit.start_cuts(level, 5), x, level, steps=20)

    def misfit(cuts):
        below = np.concatenate([[-np.inf], cuts, [np.inf]])
        share = stats.norm.cdf(below[level + 1] - x.numpy()) - stats.norm.cdf(below[level] - x.numpy())
        return -np.log(np.maximum(share, 1e-12)).sum()

    wanted = optimize.minimize(misfit, CUTS.numpy(), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-6}).x
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    np.testing.assert_allclose(found, CUTS, atol=0.06)


def test_moved_cuts_stay_in_order():
    # the second level is not there: its cuts fall together, and may not cross
    level = torch.tensor([0, 2] * 50)
    cuts = torch.tensor([-0.1, 0.1], dtype=torch.float64)
    for _ in range(30):
        cuts = probit.moved_cuts(cuts, torch.zeros(100), level)
    assert cuts[1] > cuts[0]
    assert torch.isfinite(cuts).all()


@pytest.mark.parametrize("score", [-2.0, 0.0, 2.5])
def test_a_rare_level_does_not_hold_the_other_cuts(score):
    x, level = drawn()
    wanted = probit.moved_cuts(probit.start_cuts(level, 5), x, level, steps=20)
    # one rating of a level of its own, at the upper end of the third
    rare = torch.where(level > 2, level + 1, level)
    rare, x = torch.cat([rare, torch.tensor([3])]), torch.cat([x, torch.tensor([score], dtype=x.dtype)])
    start = probit.start_cuts(rare, 6)
    assert start[3] - start[2] < probit._LEAST_GAP
    found = probit.moved_cuts(start, x, rare, steps=20)
    np.testing.assert_allclose(found[[0, 1, 2, 4]], wanted, atol=2e-3)
    assert found[3] > found[2]


@settings(deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.data())
def test_cuts_are_held_apart(cuts, data):
    cuts = torch.tensor(cuts, dtype=torch.float64)
    n = len(cuts) - 1
    least = torch.tensor(data.draw(st.lists(st.floats(0, 0.1), min_size=n, max_size=n)), dtype=torch.float64)
    found = probit._apart(cuts, least)
    assert (found.diff() >= least - 1e-12).all()
    assert found[0] == pytest.approx(float(cuts[0]))
    assert (found >= cuts - 1e-12).all()
