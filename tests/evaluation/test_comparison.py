"""The statistics of a comparison, against closed forms, numbers computed elsewhere, scipy's own tests, and laws."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hyvae.errors import ConfigError
from hyvae.evaluation.comparison import NDCG, RMSE, SECONDS, Estimate, mean_estimate, paired_difference, summarise

OURS = (0.871, 0.868, 0.874, 0.865, 0.872)
THEIRS = (0.879, 0.874, 0.878, 0.872, 0.881)
SHARE = 0.125  # of an 80/10/10 split

shares = st.floats(0, 1)
values = st.floats(-10, 10).map(lambda value: round(value, 3))
samples = st.lists(values, min_size=2, max_size=12)
pairs = st.lists(st.tuples(values, values), min_size=2, max_size=12).map(lambda rows: tuple(zip(*rows, strict=True)))


# -- numbers --------------------------------------------------------------------------------------------


def test_golden_values():
    # mpmath, 30 digits: the density of t integrated, its quantile solved for
    mean = mean_estimate(OURS, SHARE)
    assert mean == pytest.approx(Estimate(0.87, 0.86440389598447337516, 0.87559610401552662484, None))
    difference = paired_difference(OURS, THEIRS, SHARE)
    golden = (-0.0068, -0.009844609749240055172, -0.003755390250759944828, 0.003439597254333622697)
    assert difference == pytest.approx(golden, rel=1e-9)
    uncorrected = (-0.0068, -0.009188388388099981030, -0.004411611611900018969, 0.001385506910219662182)
    assert paired_difference(OURS, THEIRS, 0) == pytest.approx(uncorrected, rel=1e-9)


def test_two_and_three_splits_have_closed_forms():
    # with one degree of freedom t is Cauchy's; with two it is algebraic
    two = mean_estimate((1.0, 3.0), SHARE)
    assert two.high - two.mean == pytest.approx(math.tan(0.475 * math.pi) * math.sqrt((1 / 2 + SHARE) * 2.0))
    assert two.half_width == pytest.approx(two.high - two.mean)
    three = paired_difference((1.0, 2.0, 6.0), (0.0, 0.0, 0.0), SHARE)
    spread = math.sqrt((1 / 3 + SHARE) * 7.0)
    assert three.high - three.mean == pytest.approx(0.95 * math.sqrt(2 / 0.0975) * spread)
    t = 3.0 / spread
    assert three.p == pytest.approx(1 - t / math.sqrt(2 + t * t))


def test_one_split_has_no_interval():
    assert mean_estimate([0.9], SHARE) == Estimate(0.9)
    assert paired_difference([0.9], [0.7], SHARE) == pytest.approx(Estimate(0.2, None, None, None))
    assert mean_estimate([0.9], SHARE).half_width is None


def test_a_difference_without_spread_is_beyond_doubt():
    assert paired_difference((2.0, 3.0, 4.0), (1.0, 2.0, 3.0), SHARE) == Estimate(1.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs", "share", "says"),
    [((1.0, 2.0), (1.0,), 0.1, "paired"), ((), (), 0.1, "a value a split"), ((1.0, 2.0), (0.0, 0.0), -0.1, "n_test")],
)
def test_what_cannot_be_compared_is_refused(ours, theirs, share, says):
    with pytest.raises(ValueError, match=says):
        paired_difference(ours, theirs, share)


# -- laws -----------------------------------------------------------------------------------------------


@given(samples, shares)
def test_a_model_does_not_differ_from_itself(sample, share):
    assert paired_difference(sample, sample, share) == Estimate(0.0, 0.0, 0.0, 1.0)


@given(pairs, shares)
def test_the_other_way_round_is_the_negative(pair, share):
    one, other = paired_difference(*pair, share), paired_difference(*reversed(pair), share)
    assert (one.mean, one.low, one.high, one.p) == pytest.approx((-other.mean, -other.high, -other.low, other.p))


@given(samples, shares, st.integers(-100, 100))
def test_a_shift_moves_the_mean_and_nothing_else(sample, share, shift):
    before, after = mean_estimate(sample, share), mean_estimate(np.add(sample, shift), share)
    assert after.mean == pytest.approx(before.mean + shift, abs=1e-9)
    assert after.half_width == pytest.approx(before.half_width, abs=1e-6)


@given(pairs, shares, st.integers(-100, 100))
def test_a_shift_of_both_leaves_the_difference(pair, share, shift):
    before, after = paired_difference(*pair, share), paired_difference(*np.add(pair, shift), share)
    assert after[:3] == pytest.approx(before[:3], abs=1e-6)


@given(samples.filter(lambda sample: np.ptp(sample) > 0), st.floats(0.01, 1))
def test_the_correction_widens_by_its_formula(sample, share):
    plain, corrected = mean_estimate(sample, 0), mean_estimate(sample, share)
    n = len(sample)
    assert corrected.half_width == pytest.approx(plain.half_width * math.sqrt((1 / n + share) * n))


@given(pairs)
def test_without_the_correction_it_is_the_ordinary_test(pair):
    difference = np.subtract(*pair)
    if np.ptp(difference) < 1e-6:
        return
    ours, theirs = paired_difference(*pair, 0), stats.ttest_rel(*pair)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-6)
    assert ours[1:3] == pytest.approx(tuple(theirs.confidence_interval(0.95)), abs=1e-9)


@given(pairs, shares)
def test_the_interval_holds_0_where_p_is_above_its_level(pair, share):
    found = paired_difference(*pair, share)
    if abs(found.p - 0.05) > 1e-6:
        assert (found.low <= 0 <= found.high) == (found.p > 0.05)


# -- the summary ----------------------------------------------------------------------------------------


def scores(rmse: tuple[float, ...] | None, ndcg: tuple[float, ...] | None = None) -> list[dict[str, float]]:
    n = len(rmse or ndcg or ())
    columns = {"rmse": rmse, "ndcg": ndcg, "seconds": (1.0,) * n}
    return [{key: column[k] for key, column in columns.items() if column is not None} for k in range(n)]


def test_the_lowest_rmse_is_first_and_the_reference():
    found = summarise({"a": scores(THEIRS), "b": scores(OURS)}, SHARE)
    assert (found.chief, found.reference) == (RMSE, "b")
    assert [line.model for line in found.lines] == ["b", "a"]
    assert found.lines[0].differences["rmse"] == Estimate(0.0, 0.0, 0.0, 1.0)
    assert found.lines[1].differences["rmse"] == paired_difference(THEIRS, OURS, SHARE)
    assert found.lines[1].means["rmse"] == mean_estimate(THEIRS, SHARE)
    assert found.best(RMSE) == ["b"]
    assert found.best(SECONDS) == ["b", "a"]


def test_the_reference_can_be_any_model():
    found = summarise({"a": scores(THEIRS), "b": scores(OURS)}, SHARE, "a")
    assert [line.model for line in found.lines] == ["b", "a"]
    assert found.lines[0].differences["rmse"].mean == pytest.approx(-0.0068)
    with pytest.raises(ConfigError, match="'c' is not among the compared models: a"):
        summarise({"a": scores(THEIRS)}, SHARE, "c")


def test_ndcg_decides_where_a_model_only_ranks():
    found = summarise({"a": scores(OURS, (0.1,) * 5), "ranks": scores(None, (0.2,) * 5)}, SHARE)
    assert (found.chief, found.reference) == (NDCG, "ranks")
    assert [line.model for line in found.lines] == ["ranks", "a"]
    assert "rmse" not in found.lines[0].means
    assert found.lines[1].differences.keys() == {"ndcg", "seconds"}
    # nothing to be better than
    assert found.best(RMSE) == []


def test_rmse_decides_where_not_all_have_either():
    found = summarise({"ranks": scores(None, (0.2, 0.3)), "b": scores((2.0, 2.0)), "a": scores((1.0, 1.0))}, SHARE)
    assert found.chief is RMSE
    assert [line.model for line in found.lines] == ["a", "b", "ranks"]


def test_a_metric_that_is_missing_on_one_split_is_missing():
    rows = scores(OURS, (0.1,) * 5)
    del rows[3]["ndcg"]
    assert summarise({"a": rows}, SHARE).lines[0].means.keys() == {"rmse", "seconds"}
