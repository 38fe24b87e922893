"""Calibrated distributions and intervals: laws, and what they find in ratings of known noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae import metrics
from hyvae.uncertainty import FEWEST_IN_GROUP, Evidence, Uncertainty

N = 6000


def half_width(found, predictions, evidence, coverage):
    """Half of the width of the intervals, as `predict_table` has it."""
    return found.quantile(evidence, coverage) * found.deviation(predictions, evidence)


def made(seed, n=N, scales=(1.0, 0.5)):
    """Predictions, ratings in half stars, and evidence; the second half of the users is half as noisy."""
    draw = np.random.default_rng(seed)
    predictions = draw.normal(3.5, 0.5, n)
    second = np.arange(n) % 2
    noise = draw.normal(size=n) * np.where(second, scales[1], scales[0])
    ratings = np.clip(np.round(2 * (predictions + noise)) / 2, 0.5, 5)
    spread = np.where(second, scales[1], scales[0])
    return predictions, ratings, Evidence(np.where(np.arange(n) % 3, 60, 3), spread)


@pytest.fixture(scope="module")
def fitted():
    return Uncertainty.fit(*made(0))


def test_the_noise_of_users_is_found(fitted):
    assert float(fitted.exponent) == pytest.approx(1, abs=0.15)
    predictions, _, evidence = made(1)
    deviation = fitted.deviation(predictions, evidence)
    middle = np.abs(predictions - 3) < 0.5
    for second, noise in ((0, 1.0), (1, 0.5)):
        of = middle & (np.arange(N) % 2 == second)
        # rounding to half stars adds 0.5² / 12; the scale's ends cut some of it
        assert deviation[of].mean() == pytest.approx(np.hypot(noise, 0.144), rel=0.08)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
def test_new_ratings_are_covered_as_stated_in_each_group(fitted, coverage):
    predictions, ratings, evidence = made(2)
    inside = np.abs(ratings - predictions) <= half_width(fitted, predictions, evidence, coverage)
    for count in (3, 60):
        of = evidence.counts == count
        assert inside[of].mean() == pytest.approx(coverage, abs=4 * np.sqrt(coverage * (1 - coverage) / of.sum()))


def test_some_doubt_is_left_at_the_end_of_the_scale(fitted):
    predictions, ratings, evidence = made(7)
    top = predictions > 4.85
    error = np.sqrt(np.square(ratings - np.clip(predictions, 0.5, 5))[top].mean())
    assert fitted.deviation(np.clip(predictions, 0.5, 5)[top], evidence.take(np.flatnonzero(top))).mean() > 0.8 * error


def test_it_beats_the_distribution_that_knows_no_one(fitted):
    predictions, ratings, evidence = made(3)
    levels = fitted.levels.numpy()
    level = np.searchsorted((levels[1:] + levels[:-1]) / 2, ratings)
    plain = Evidence(evidence.counts, np.full(N, np.sqrt((evidence.spread**2).mean())))
    knowing = fitted.distribution(predictions, evidence)
    blind = Uncertainty.fit(*made(0)[:2], plain).distribution(predictions, plain)
    assert metrics.log_likelihood(knowing, level) > metrics.log_likelihood(blind, level) + 0.05
    assert metrics.crps(knowing, levels, level) < metrics.crps(blind, levels, level)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.5, 5), min_size=1, max_size=20), st.floats(0.1, 5), st.integers(0, 500))
def test_a_distribution_is_one_and_has_the_predictions_mean(fitted, predictions, spread, count):
    predictions = np.array(predictions)
    evidence = Evidence(np.full(len(predictions), count), np.full(len(predictions), spread))
    share = fitted.distribution(predictions, evidence)
    assert (share >= 0).all()
    np.testing.assert_allclose(share.sum(1), 1, atol=1e-9)
    inner = np.clip(predictions, 0.5 + 0.225, 5 - 0.225)
    np.testing.assert_allclose(share @ fitted.levels.numpy(), inner, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.01, 0.98), st.floats(0.001, 0.01))
def test_more_coverage_is_no_narrower(fitted, coverage, more):
    predictions, _, evidence = made(4, 50)
    narrow, wide = (half_width(fitted, predictions, evidence, share) for share in (coverage, coverage + more))
    assert (wide >= narrow).all()


def test_few_validation_ratings_are_one_group():
    predictions, ratings, evidence = made(5, FEWEST_IN_GROUP)
    found = Uncertainty.fit(predictions, ratings, evidence)
    assert len(found.log_scale) == 1
    inside = np.abs(ratings - predictions) <= half_width(found, predictions, evidence, 0.9) + 1e-9
    assert 0.9 <= inside.mean() <= 0.9 + 2 / FEWEST_IN_GROUP


@pytest.mark.parametrize("ratings", [[4.0], [3.0] * 10])
def test_equal_ratings_tell_nothing(ratings):
    n = len(ratings)
    assert Uncertainty.fit(np.full(n, 3.5), np.array(ratings), Evidence(np.ones(n, int), np.ones(n))) is None


def test_two_ratings_are_enough():
    found = Uncertainty.fit(np.array([3.0, 3.5]), np.array([2.0, 4.0]), Evidence(np.ones(2, int), np.ones(2)))
    assert np.isfinite(found.deviation(np.array([1.0, 3.0, 9.0]), Evidence(np.ones(3, int), np.ones(3)))).all()


def test_state_and_back(fitted):
    again = Uncertainty.from_state(fitted.state())
    predictions, _, evidence = made(6, 20)
    np.testing.assert_array_equal(
        half_width(again, predictions, evidence, 0.9), half_width(fitted, predictions, evidence, 0.9)
    )


def test_the_spread_of_a_user_is_drawn_to_everyones():
    evidence = Evidence.of(np.array([0, 10, 10, 100_000]), np.array([0.0, 5.0, 0.0, 200_000.0]), 0.5)
    np.testing.assert_allclose(evidence.spread, [1, 1, np.sqrt(0.5), 2], rtol=1e-3)
    assert np.isfinite(Evidence.of(np.array([3]), np.array([1.0]), 0.0).spread).all()


def test_crps_of_two_levels_and_of_certainty():
    levels = [1.0, 3.0]
    assert metrics.crps(np.array([[0.25, 0.75]]), levels, np.array([1])) == pytest.approx(2 * 0.25**2)
    assert metrics.crps(np.array([[0.0, 1.0]]), levels, np.array([0])) == pytest.approx(2)  # its absolute error
    assert metrics.log_likelihood(np.array([[0.25, 0.75]]), np.array([1])) == pytest.approx(np.log(0.75))
