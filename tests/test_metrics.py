"""Metrics by hand and against torchmetrics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional import retrieval

from hyvae.metrics import coverage, hits, mae, ndcg, recall, reciprocal_rank, relevant_from, rmse

# user 0 errs by 3 and 1, user 1 by 0, user 2 by 2
PREDICTED, ACTUAL, USERS = [4.0, 2.0, 3.0, 1.0], [1.0, 1.0, 3.0, 3.0], [0, 0, 5, 9]
numbers = st.floats(-100, 100)


class TestRatingErrors:
    def test_pooled_rmse_by_hand(self):
        assert rmse(PREDICTED, ACTUAL) == pytest.approx(np.sqrt((9 + 1 + 0 + 4) / 4))

    def test_pooled_mae_by_hand(self):
        assert mae(PREDICTED, ACTUAL) == pytest.approx(6 / 4)

    def test_user_mean_rmse_by_hand(self):
        assert rmse(PREDICTED, ACTUAL, USERS) == pytest.approx((np.sqrt(5) + 0 + 2) / 3)

    def test_user_mean_mae_by_hand(self):
        assert mae(PREDICTED, ACTUAL, USERS) == pytest.approx((2 + 0 + 2) / 3)

    @settings(deadline=None)
    @given(st.lists(st.tuples(numbers, numbers, st.integers(0, 5)), min_size=1))
    def test_rmse_is_never_below_mae(self, rows):
        predicted, actual, users = zip(*rows, strict=True)
        assert rmse(predicted, actual) >= mae(predicted, actual) - 1e-9
        assert rmse(predicted, actual, users) >= mae(predicted, actual, users) - 1e-9

    @settings(deadline=None)
    @given(st.lists(st.tuples(numbers, numbers), min_size=1))
    def test_one_user_is_the_pool(self, rows):
        predicted, actual = zip(*rows, strict=True)
        assert rmse(predicted, actual, [3] * len(rows)) == pytest.approx(rmse(predicted, actual))

    @settings(deadline=None)
    @given(st.lists(st.tuples(numbers, numbers, st.integers(0, 5)), min_size=1), st.randoms(use_true_random=False))
    def test_the_order_does_not_matter(self, rows, random):
        shuffled = random.sample(rows, len(rows))
        one, other = (mae(*zip(*order, strict=True)) for order in (rows, shuffled))
        assert one == pytest.approx(other)

    @pytest.mark.parametrize("metric", [rmse, mae])
    @pytest.mark.parametrize("missing", [np.nan, np.inf])
    def test_a_missing_prediction_raises(self, metric, missing):
        with pytest.raises(ValueError, match="2 of 3 predictions are missing"):
            metric([1.0, missing, missing], [1.0, 2.0, 3.0])

    @pytest.mark.parametrize("metric", [rmse, mae])
    def test_what_cannot_be_compared_raises(self, metric):
        with pytest.raises(ValueError, match="one length"):
            metric([1.0, 2.0], [1.0])
        with pytest.raises(ValueError, match="one length"):
            metric([[1.0]], [[1.0]])
        with pytest.raises(ValueError, match="no ratings"):
            metric([], [])


@st.composite
def ranked(draw):
    """Scores of a catalogue in a list without ties, the relevant items, and the length of the lists."""
    n_items, k = draw(st.integers(2, 12)), draw(st.integers(1, 12))
    order = np.array(draw(st.permutations(range(n_items))))
    relevant = np.array(draw(st.lists(st.integers(0, n_items - 1), min_size=1, unique=True)))
    return order, relevant, min(k, n_items)


def as_torchmetrics(order, relevant):
    scores, target = torch.zeros(len(order)), torch.zeros(len(order), dtype=torch.bool)
    scores[torch.from_numpy(order)] = torch.arange(len(order), 0, -1).float()
    target[torch.from_numpy(relevant)] = True
    return scores, target


class TestRelevance:
    @pytest.mark.parametrize(
        ("scale", "least"), [((1, 5), 4), ((0.5, 5), 4), ((1, 10), 8), ((0, 100), 70), ((-10, 10), 4), ((1, 1), 1)]
    )
    def test_the_lowest_level_that_is_relevant(self, scale, least):
        low, high = scale
        levels = np.arange(low, high + 0.25, 0.5 if low == 0.5 else 1, dtype=np.float32)
        assert levels[levels >= relevant_from(scale)].min() == least

    @settings(deadline=None)
    @given(numbers, st.floats(0, 100), numbers, st.floats(0.1, 10))
    def test_it_moves_and_stretches_with_the_scale(self, low, length, shift, factor):
        high = low + length
        wanted = shift + factor * relevant_from((low, high))
        assert relevant_from((shift + factor * low, shift + factor * high)) == pytest.approx(wanted, abs=1e-6)
        assert low <= relevant_from((low, high)) <= high


class TestLists:
    @settings(deadline=None)
    @given(ranked())
    def test_ndcg_is_torchmetrics(self, case):
        order, relevant, k = case
        ours = ndcg(hits(order[None, :k], [relevant]), np.array([len(relevant)]))
        theirs = retrieval.retrieval_normalized_dcg(*as_torchmetrics(order, relevant), top_k=k)
        assert ours == pytest.approx(float(theirs), abs=1e-6)

    @settings(deadline=None)
    @given(ranked())
    def test_recall_is_torchmetrics(self, case):
        order, relevant, k = case
        ours = recall(hits(order[None, :k], [relevant]), np.array([len(relevant)]))
        theirs = retrieval.retrieval_recall(*as_torchmetrics(order, relevant), top_k=k)
        assert ours == pytest.approx(float(theirs), abs=1e-6)

    @settings(deadline=None)
    @given(ranked())
    def test_reciprocal_rank_is_torchmetrics(self, case):
        order, relevant, k = case
        ours = reciprocal_rank(hits(order[None, :k], [relevant]))
        theirs = retrieval.retrieval_reciprocal_rank(*as_torchmetrics(order, relevant), top_k=k)
        assert ours == pytest.approx(float(theirs), abs=1e-6)

    def test_by_hand(self):
        hit = hits(np.array([[7, 3, 5], [1, 2, -1]]), [np.array([5, 7]), np.array([9])])
        assert hit.tolist() == [[True, False, True], [False, False, False]]
        ideal = 1 + 1 / np.log2(3)
        assert ndcg(hit, np.array([2, 1])).tolist() == pytest.approx([(1 + 1 / 2) / ideal, 0])
        assert recall(hit, np.array([2, 1])).tolist() == [1, 0]
        assert reciprocal_rank(hit).tolist() == [1, 0]

    def test_what_fills_a_short_list_is_no_hit(self):
        assert not hits(np.array([[-1, -1]]), [np.array([-1, 3])]).any()

    def test_relevant_items_beyond_the_list_are_not_held_against_ndcg(self):
        assert ndcg(np.array([[True, True]]), np.array([50])).tolist() == [1]

    def test_users_without_relevant_items_raise(self):
        for metric in (ndcg, recall):
            with pytest.raises(ValueError, match="at least one relevant"):
                metric(np.array([[True], [False]]), np.array([1, 0]))

    def test_lists_for_other_users_raise(self):
        with pytest.raises(ValueError, match="2 lists for 1 users"):
            hits(np.zeros((2, 3), int), [np.array([1])])

    def test_coverage_counts_items_once_and_no_fillers(self):
        assert coverage(np.array([[0, 1, -1], [1, 2, -1]]), 10) == 0.3

    def test_coverage_of_everything_is_one(self):
        assert coverage(np.arange(6).reshape(2, 3), 6) == 1
