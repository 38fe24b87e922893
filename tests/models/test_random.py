"""RAND: the contract, and that its draws are what they are called."""

import numpy as np
import pytest
from contract import ModelContract

from hyvae.metrics import rmse
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender


class TestUniform(ModelContract):
    model = "random"

    def test_learns_something(self, fitted, parts):
        # of all models the one that must not
        train, validation = parts
        error = rmse(fitted.predict_ratings(validation), validation.values)
        assert error > rmse(np.full(len(validation), train.values.mean()), validation.values)

    @pytest.mark.parametrize("include_seen", [False, True])
    def test_lists_are_the_best_by_brute_force(self, fitted, include_seen):
        # many items have the same rating: any of them may stand there
        user = self.known_user(fitted, 7)
        items, scores = self.best_by_hand(fitted, user, fitted.history.n_items, include_seen)
        wanted = dict(zip(items, scores.tolist(), strict=True))
        lines = fitted.recommend(user, 10, include_seen=include_seen)
        assert [line.score for line in lines] == scores[:10].tolist()
        assert [wanted[line.item] for line in lines] == scores[:10].tolist()


class TestNormal(TestUniform):
    settings = {"draw": "normal"}  # noqa: RUF012


@pytest.fixture(scope="module")
def wide():
    """All ratings of 400 users and 300 items in half stars, as drawn from a lopsided distribution."""
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((400, 300)) < 0.2)
    values = rng.choice(np.arange(1, 11) / 2, len(users), p=np.arange(1, 11) / 55)
    return Ratings.from_arrays(users, items, values, scale=(0.5, 5.0))


def all_scores(ratings, **settings):
    model = Recommender("random", **settings).fit(ratings, seed=4)
    users, items = np.divmod(np.arange(400 * 300), 300)
    return model.predict(ratings.users.ids[users], ratings.items.ids[items])


def test_each_level_is_as_likely(wide):
    levels, counts = np.unique(all_scores(wide), return_counts=True)
    np.testing.assert_allclose(levels, np.arange(1, 11) / 2, rtol=1e-6)
    expected = 400 * 300 / 10
    # χ² with 9 degrees of freedom: 27.9 is exceeded by chance once in a thousand times
    assert ((counts - expected) ** 2 / expected).sum() < 27.9


def test_the_normal_draw_is_that_of_the_ratings(wide):
    # Surprise's NormalPredictor: N(mean, sd) of the training ratings, clipped; here by the same numbers from numpy
    scores = all_scores(wide, draw="normal")
    drawn = np.random.default_rng(1).normal(wide.values.mean(), wide.values.std(), 400 * 300).clip(0.5, 5)
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert np.quantile(scores, share) == pytest.approx(np.quantile(drawn, share), abs=0.03)
    assert scores.mean() == pytest.approx(drawn.mean(), abs=0.02)


def test_rows_and_columns_are_not_alike(wide):
    scores = all_scores(wide).reshape(400, 300)
    within = np.corrcoef(scores[:100])[np.triu_indices(100, 1)]
    assert abs(within.mean()) < 0.01
    assert within.std() == pytest.approx(300**-0.5, rel=0.1)


def test_another_seed_draws_anew(wide):
    one, other = (Recommender("random").fit(wide, seed=seed).predict_ratings(wide) for seed in (0, 1))
    assert (one != other).mean() == pytest.approx(0.9, abs=0.02)


def test_movielens_gives_what_arithmetic_gives(data_folder):
    # E(r − u)² for u uniform over 1 … 5: the ratings' second moment about 3, plus the variance 2 of u
    train, _, test = Ratings.read("ml-1m").split(seed=0)
    error = rmse(Recommender("random").fit(train).predict_ratings(test), test.values)
    assert error == pytest.approx(np.sqrt(np.mean((test.values.astype(float) - 3) ** 2) + 2), abs=0.01)
