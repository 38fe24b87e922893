"""CDAE: the contract in both modes, and what somebody gets who was never seen."""

import numpy as np
import torch
from contract import ModelContract, RankingContract

from hyvae.ratings import Ratings
from hyvae.recommender import Recommender

SMALL = {"width": 12, "l2": 0.001, "epochs": 60, "batch_users": 20}


class _Transductive:
    """In place of the contract's tests that a folded-in history gets what the same known user gets."""

    def test_folding_in_gives_what_a_known_user_gets_without_their_vector(self, fitted, tmp_path):
        user = self.known_user(fitted, 4)
        fitted.save(tmp_path / "run")
        without = Recommender.load(tmp_path / "run")
        with torch.no_grad():
            without.model.user_vectors.zero_()
        folded, known = fitted.recommend(self.history_of(fitted, user), 8), without.recommend(user, 8)
        assert [line.item for line in folded] == [line.item for line in known]
        np.testing.assert_allclose([line.score for line in folded], [line.score for line in known], atol=1e-5)

    def test_a_users_vector_tells_on_their_answers(self, fitted):
        user = self.known_user(fitted, 4)
        folded, known = fitted.recommend(self.history_of(fitted, user), 8), fitted.recommend(user, 8)
        assert [line.score for line in folded] != [line.score for line in known]

    test_folding_in_gives_a_known_users_list = None


class TestRating(_Transductive, ModelContract):
    model = "cdae"
    settings = SMALL
    test_folding_in_gives_what_a_known_user_gets = None


class TestRanking(_Transductive, RankingContract):
    model, preset = "cdae", "ranking"
    settings = {**SMALL, "negatives": None, "row_scaling": True, "l2": 0.01, "width": 24}  # noqa: RUF012


class TestRankingByNegatives(_Transductive, RankingContract):
    model, preset = "cdae", "ranking"
    settings = {**TestRanking.settings, "negatives": 5}  # noqa: RUF012


class TestUntied(_Transductive, ModelContract):
    model = "cdae"
    settings = {**SMALL, "tied": False}  # noqa: RUF012
    test_folding_in_gives_what_a_known_user_gets = None


def test_who_has_no_training_ratings_has_no_vector(small_ratings):
    model = Recommender("cdae", **SMALL).fit(small_ratings).model
    assert not model.user_vectors[small_ratings.user_counts == 0].any()
    assert model.user_vectors[small_ratings.user_counts > 0].any(1).all()


def test_someone_added_later_is_answered_as_folded_in(small_ratings):
    fitted = Recommender("cdae", **SMALL).fit(small_ratings)
    history = {100: 5.0, 103: 2.0, 130: 4.0}
    new = Ratings.from_arrays([9999] * 3, list(history), list(history.values()), scale=(1.0, 5.0))
    known = fitted.with_ratings(new).predict([9999] * 4, [106, 109, 112, 115])
    np.testing.assert_allclose(known, fitted.fold_in(history).predict([106, 109, 112, 115]), atol=1e-5)
