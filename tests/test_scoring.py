"""Blocks of ratings, scores of pairs, and the running top-k against brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae import scoring
from hyvae.models.base import Config, RatingModel
from hyvae.nn import kernels
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings
from hyvae.scoring import best_items, predict_pairs, ranking_ndcg, rating_block, user_blocks


class Table(RatingModel):
    """A model whose scores are a given table; a user's code is their mean rating and one."""

    name, title, citation, Config, presets = "table", "Table", "", Config, {}

    def __init__(self, rows, bias):
        super().__init__(Config(), 1, len(rows), (1.0, 5.0), rows.shape[1])
        self.item_rows.copy_(torch.from_numpy(rows))
        self.item_bias.copy_(torch.from_numpy(bias))

    def finish(self, train):
        pass

    def encode(self, block):
        sums = torch.zeros(len(block.counts)).index_add_(0, block.pattern.row, block.values)
        return torch.stack([sums / block.counts.clamp_min(1), torch.ones(len(sums))], 1)


def table(n_items, seed=0):
    rng = np.random.default_rng(seed)
    return Table(rng.normal(size=(n_items, 2)), rng.normal(size=n_items))


class TestRatingBlock:
    def test_all_users_by_default(self, small_ratings):
        block = rating_block(None, small_ratings)
        dense = block.pattern.matrix(block.values).to_dense().numpy()
        assert (dense == small_ratings.matrix.toarray()).all()
        assert block.keys.tolist() == list(range(len(small_ratings)))
        assert block.users.tolist() == list(range(60))

    @given(st.permutations(range(60)), st.integers(1, 60))
    @settings(max_examples=20, deadline=None)
    def test_any_users_in_any_order(self, small_ratings, order, n):
        users = np.array(order[:n])
        block = rating_block(None, small_ratings, users)
        dense = block.pattern.matrix(block.values).to_dense().numpy()
        assert (dense == small_ratings.matrix.toarray()[users]).all()
        assert (small_ratings.values[block.keys.numpy()] == block.values.numpy()).all()
        assert block.users.tolist() == users.tolist()

    def test_users_without_ratings_are_empty_rows(self, small_ratings):
        block = rating_block(None, small_ratings, np.array([59, 0, 58]))
        assert block.counts.tolist() == [0, small_ratings.user_counts[0], 0]

    @pytest.mark.parametrize("users", [[4, 6, 5, 7], [0, 0, 2], [7], [3, 4, 5]])
    def test_any_order_of_users(self, small_ratings, users):
        block = rating_block(None, small_ratings, np.array(users))
        dense = block.pattern.matrix(block.values).to_dense().numpy()
        assert (dense == small_ratings.matrix.toarray()[users]).all()
        assert (small_ratings.values[block.keys.numpy()] == block.values.numpy()).all()

    def test_nobody(self, small_ratings):
        block = rating_block(None, small_ratings, np.array([], dtype=int))
        assert block.pattern.shape == (0, 80)
        assert len(block.values) == 0


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 20))
def test_user_blocks_cover_everyone_once(n_users, size):
    blocks = list(user_blocks(n_users, size))
    assert [user for block in blocks for user in block.tolist()] == list(range(n_users))
    assert all(len(block) <= size for block in blocks)


class TestPredictPairs:
    @pytest.mark.parametrize("block", [1, 7, 1024])
    def test_equals_the_dense_scores_in_the_order_of_the_pairs(self, parts, monkeypatch, block):
        monkeypatch.setattr(scoring, "user_blocks", lambda n: user_blocks(n, block))
        train, pairs = parts
        model = table(train.n_items)
        codes = model.encode(rating_block(model, train))
        dense = model.score(codes, slice(0, train.n_items)).numpy()
        wanted = dense[pairs.user_index, pairs.indices]
        np.testing.assert_allclose(predict_pairs(model, train, pairs), wanted, atol=1e-6)

    def test_no_pairs(self, parts):
        train = parts[0]
        empty = Ratings.empty(train.users, train.items, train.scale)
        assert predict_pairs(table(train.n_items), train, empty).shape == (0,)


def by_brute_force(scores, n, exclude, candidates):
    lists = []
    for row, out in zip(scores, exclude, strict=True):
        allowed = candidates.copy()
        allowed[out] = False
        order = [item for item in np.argsort(-row) if allowed[item]][:n]
        lists.append(order + [-1] * (n - len(order)))
    return np.array(lists).reshape(len(scores), n)


def pattern_of(rows, n_items):
    bounds = np.cumsum([0, *map(len, rows)])
    return SparsePattern.from_numpy(bounds, np.concatenate(rows), n_items)


class TestBestItems:
    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_equals_brute_force_over_any_blocks_of_items(self, data):
        n_items = data.draw(st.integers(1, 30), "items")
        n, seed = data.draw(st.integers(1, 35), "n"), data.draw(st.integers(0, 10**6), "seed")
        model, rng = table(n_items, seed), np.random.default_rng(seed)
        codes = torch.from_numpy(rng.normal(size=(4, 2))).float()
        candidates = rng.random(n_items) < 0.8
        exclude = [np.flatnonzero(rng.random(n_items) < share) for share in (0.0, 0.3, 0.9, 1.0)]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scoring, "SCORES_AT_A_TIME", 4 * data.draw(st.integers(1, 31), "block"))
            patch.setattr(scoring, "MIN_ITEM_BLOCK", 1)
            if data.draw(st.booleans(), "plain torch"):
                patch.setattr(kernels, "_compiled", {})
            items, scores = best_items(model, codes, n, pattern_of(exclude, n_items), candidates)
        dense = model.score(codes, slice(0, n_items)).numpy()
        wanted = by_brute_force(dense, n, exclude, candidates)
        assert items.shape == scores.shape == (4, n)
        assert (items == wanted).all()
        found = items >= 0
        np.testing.assert_allclose(scores[found], np.take_along_axis(dense, items.clip(0), 1)[found], atol=1e-5)
        assert np.isnan(scores[~found]).all()

    def test_nothing_excluded(self):
        model = table(9)
        items, _ = best_items(model, torch.ones(1, 2), 9, None, np.ones(9, bool))
        assert sorted(items[0].tolist()) == list(range(9))

    def test_no_candidate_gives_fillers(self):
        items, scores = best_items(table(5), torch.ones(2, 2), 3, None, np.zeros(5, bool))
        assert (items == -1).all()
        assert np.isnan(scores).all()


class TestRankingNDCG:
    @staticmethod
    def naive(model, history, held_out, n):
        """By the definition, user by user and place by place."""
        scores = model.score(model.encode(rating_block(model, history)), slice(0, history.n_items)).numpy()
        gains = []
        for user in range(history.n_users):
            items, values = held_out.history(user)
            relevant = {item for item, value in zip(items.tolist(), values.tolist(), strict=True) if value >= 3.8}
            if not relevant:
                continue
            seen = set(history.history(user)[0].tolist())
            best = [i for i in np.argsort(-scores[user]).tolist() if i not in seen and history.item_counts[i] > 0][:n]
            gain = sum(1 / np.log2(place + 2) for place, item in enumerate(best) if item in relevant)
            gains.append(gain / sum(1 / np.log2(place + 2) for place in range(min(n, len(relevant)))))
        return np.mean(gains), len(gains)

    @pytest.mark.parametrize("n", [1, 3, 10])
    @pytest.mark.parametrize("block", [7, 1024])
    def test_is_what_a_plain_loop_gives(self, parts, monkeypatch, n, block):
        monkeypatch.setattr(scoring, "user_blocks", lambda n_users: user_blocks(n_users, block))
        history, held_out = parts
        model = table(history.n_items, 1)
        model.item_bias[history.item_counts == 0] += 10  # or no list would have them anyway
        wanted, n_users = self.naive(model, history, held_out, n)
        # some users have nothing relevant, and do not count
        assert 0 < n_users < history.n_users
        assert 0 < wanted < 1
        assert ranking_ndcg(model, history, held_out, n) == pytest.approx(wanted)

    def test_is_of_lists_of_ten_by_default(self, parts):
        model = table(parts[0].n_items)
        assert ranking_ndcg(model, *parts) == ranking_ndcg(model, *parts, 10)

    def test_nothing_relevant_is_0(self, parts):
        history, held_out = parts
        assert ranking_ndcg(table(history.n_items), history, held_out.take(held_out.values < 4)) == 0
