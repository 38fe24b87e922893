"""What every model owes its users: inherit `ModelContract`, name the model, and all of this is tested.

A model that only ranks inherits `RankingContract`.

class TestMyModel(ModelContract):
    model = "my_model"
    settings = {"hidden": 8}
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from hyvae.errors import ConfigError, DataError, NotFittedError
from hyvae.evaluation import evaluate
from hyvae.metrics import hits, ndcg, relevant_from
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.scoring import ranking_ndcg, rating_block

TOLERANCE = 1e-5


class AnswersContract:
    """Inherited by the test class of each model and preset.

    Attributes
    ----------
    model, preset : str
    settings : dict
        Small enough to train in well under a second.
    """

    model: str
    preset: str = "default"
    settings: dict = {}  # noqa: RUF012 - replaced whole, never changed

    @classmethod
    def make(cls, **more):
        return Recommender(cls.model, preset=cls.preset, **{**cls.settings, **more})

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, parts):
        train, validation = parts
        return cls.make().fit(train, validation, seed=3)

    @pytest.fixture(scope="class")
    @classmethod
    def fitted_strings(cls, string_ratings):
        return cls.make().fit(string_ratings, seed=3)

    @staticmethod
    def history_of(recommender, user):
        """A known user's ratings as the dict that `fold_in` takes."""
        items, values = recommender.history.history(int(recommender.history.users.index([user])[0]))
        return dict(zip(recommender.history.items.ids[items].tolist(), values.tolist(), strict=True))

    @staticmethod
    def validated(recommender, user):
        """Items that a known user rated in the validation part, which lists leave out too."""
        held_out = recommender.left_out.validation
        index = int(held_out.users.index([user])[0])
        return held_out.history(index)[0]

    @staticmethod
    def known_user(recommender, number=0):
        return recommender.history.users.ids[recommender.history.user_counts > 0].tolist()[number]

    # -- predictions ----------------------------------------------------------------------------------

    def test_sparse_scores_equal_dense_scores(self, fitted):
        history, model = fitted.history, fitted.model
        with torch.no_grad():
            codes = model.encode(rating_block(model, history))
            dense = model.score(codes, slice(0, history.n_items))
            pattern = SparsePattern.from_numpy(history.indptr, history.indices, history.n_items)
            sparse = model.score_pairs(codes, pattern)
        assert dense.shape == (history.n_users, history.n_items)
        torch.testing.assert_close(sparse, dense[pattern.row, pattern.col], rtol=0, atol=TOLERANCE)

    def test_a_block_of_items_scores_as_within_all(self, fitted):
        with torch.no_grad():
            codes = fitted.model.encode(rating_block(fitted.model, fitted.history))
            whole = fitted.model.score(codes, slice(0, fitted.history.n_items))
            part = fitted.model.score(codes, slice(7, 19))
        torch.testing.assert_close(part, whole[:, 7:19], rtol=0, atol=TOLERANCE)

    def test_a_user_does_not_depend_on_the_others_in_the_block(self, fitted):
        with torch.no_grad():
            together = fitted.model.encode(rating_block(fitted.model, fitted.history))
            alone = fitted.model.encode(rating_block(fitted.model, fitted.history, np.array([11])))
        torch.testing.assert_close(together[11:12], alone, rtol=0, atol=TOLERANCE)

    # -- what is not known ----------------------------------------------------------------------------

    def test_an_empty_history_can_be_encoded(self, fitted):
        empty = Ratings.empty(fitted.history.users, fitted.history.items, fitted.history.scale)
        with torch.no_grad():
            codes = fitted.model.encode(rating_block(fitted.model, empty))
        assert torch.isfinite(codes).all()

    def test_an_empty_history_gets_a_list(self, fitted):
        assert len(fitted.recommend({}, 5)) == 5

    def test_an_unknown_user_gets_no_list(self, fitted):
        with pytest.raises(DataError, match="not among"):
            fitted.recommend(-1)

    def test_a_known_user_without_ratings_gets_a_list(self, fitted):
        assert len(fitted.recommend(fitted.history.users.ids.tolist()[-1], 5)) == 5

    # -- folding in -----------------------------------------------------------------------------------

    def test_folding_in_gives_a_known_users_list(self, fitted):
        user = self.known_user(fitted, 4)
        held_out = set(fitted.history.items.ids[self.validated(fitted, user)].tolist())
        lines = fitted.recommend(self.history_of(fitted, user), 8 + len(held_out))
        folded, known = [line for line in lines if line.item not in held_out][:8], fitted.recommend(user, 8)
        if len({line.score for line in known}) == 8:  # equal scores have no order, as of random levels
            assert [line.item for line in folded] == [line.item for line in known]
        np.testing.assert_allclose([line.score for line in folded], [line.score for line in known], atol=TOLERANCE)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 9.0])
    def test_ratings_that_are_not_on_the_scale_are_refused(self, fitted, bad):
        with pytest.raises(DataError, match="rating"):
            fitted.fold_in({100: 3.0, 103: bad})
        with pytest.raises(DataError, match="rating"):
            fitted.recommend({100: bad})

    @pytest.mark.parametrize("bad", [float("nan"), float("inf")])
    def test_training_ratings_that_are_not_finite_are_refused(self, bad):
        with pytest.raises(DataError, match="finite"):
            self.make().fit(Ratings.from_arrays([1, 1, 2], [1, 2, 1], [3.0, bad, 4.0]))

    # -- lists ----------------------------------------------------------------------------------------

    def best_by_hand(self, fitted, user, n, include_seen):
        history = fitted.history
        index = int(history.users.index([user])[0])
        with torch.no_grad():
            codes = fitted.model.encode(rating_block(fitted.model, history, np.array([index])))
            scores = fitted.model.ratings(fitted.model.score(codes, slice(0, history.n_items)))[0].numpy()
        scores[history.item_counts == 0] = -np.inf
        if not include_seen:
            scores[history.history(index)[0]] = -np.inf
            scores[self.validated(fitted, user)] = -np.inf
        order = np.argsort(-scores, kind="stable")[:n]
        best = scores[order].clip(*history.scale) if fitted.predicts_ratings else scores[order]
        return history.items.ids[order].tolist(), best

    @pytest.mark.parametrize("include_seen", [False, True])
    def test_lists_are_the_best_by_brute_force(self, fitted, include_seen):
        for number in (0, 7, 30):
            user = self.known_user(fitted, number)
            items, scores = self.best_by_hand(fitted, user, 10, include_seen)
            lines = fitted.recommend(user, 10, include_seen=include_seen)
            assert [line.item for line in lines] == items
            np.testing.assert_allclose([line.score for line in lines], scores, atol=TOLERANCE)

    def test_lists_leave_out_what_was_seen(self, fitted):
        user = self.known_user(fitted, 3)
        items = {line.item for line in fitted.recommend(user, fitted.history.n_items)}
        assert not items & set(self.history_of(fitted, user))

    def test_lists_with_what_was_seen_have_every_rated_item(self, fitted):
        user = self.known_user(fitted, 3)
        items = {line.item for line in fitted.recommend(user, fitted.history.n_items, include_seen=True)}
        assert items == set(fitted.history.items.ids[fitted.history.item_counts > 0].tolist())

    def test_lists_are_sorted_by_score(self, fitted):
        for who in (self.known_user(fitted), {100: 5.0}, {}):
            scores = [line.score for line in fitted.recommend(who, 20)]
            assert scores == sorted(scores, reverse=True)

    def test_lists_longer_than_the_catalogue_hold_what_there_is(self, fitted):
        user = self.known_user(fitted, 3)
        rated = int((fitted.history.item_counts > 0).sum())
        own = set(self.history_of(fitted, user)) | set(fitted.history.items.ids[self.validated(fitted, user)].tolist())
        assert len(fitted.recommend(user, 10_000)) == rated - len(own)
        assert len(fitted.recommend({}, 10_000)) == rated

    @pytest.mark.parametrize("n", [0, -1])
    def test_lists_without_length_are_refused(self, fitted, n):
        with pytest.raises(DataError, match="at least 1"):
            fitted.recommend(self.known_user(fitted), n)

    @pytest.mark.parametrize("n", [0, -1])
    def test_lists_without_length_are_refused_to_new_users_too(self, fitted, n):
        with pytest.raises(DataError, match="at least 1"):
            fitted.recommend({100: 4.0}, n)

    def test_a_list_has_no_item_twice_and_titles(self, fitted):
        lines = fitted.recommend(self.known_user(fitted), 30)
        assert len({line.item for line in lines}) == 30
        titles = dict(zip(fitted.history.items.ids.tolist(), fitted.history.titles, strict=True))
        assert [line.title for line in lines] == [titles[line.item] for line in lines]

    def test_the_table_of_lists_equals_the_lists(self, fitted):
        users = [self.known_user(fitted, number) for number in (12, 0, 40)] + [fitted.history.users.ids.tolist()[-1]]
        table = fitted.recommend_table(users, 6)
        assert table["user"].to_list() == [user for user in users for _ in range(6)]
        assert table["rank"].to_list() == [1, 2, 3, 4, 5, 6] * len(users)
        lines = [line for user in users for line in fitted.recommend(user, 6)]
        assert table["item"].to_list() == [line.item for line in lines]
        np.testing.assert_allclose(table["score"], [line.score for line in lines], atol=TOLERANCE)

    def test_the_table_is_of_everyone_with_ratings(self, fitted):
        users = fitted.recommend_table(n=2)["user"].unique(maintain_order=True).to_list()
        assert users == fitted.history.users.ids[fitted.history.user_counts > 0].tolist()

    def test_indices_equal_the_ids_of_the_lists(self, fitted):
        indices = fitted.recommend_indices(np.array([5, 2]), 4)
        for row, user in zip(indices, fitted.history.users.ids[[5, 2]].tolist(), strict=True):
            assert fitted.history.items.ids[row].tolist() == [line.item for line in fitted.recommend(user, 4)]

    # -- ids ------------------------------------------------------------------------------------------

    def test_ids_come_back_as_they_were(self, fitted, fitted_strings):
        assert all(type(line.item) is int for line in fitted.recommend(self.known_user(fitted)))
        assert all(type(line.item) is str for line in fitted_strings.recommend(self.known_user(fitted_strings)))

    def test_ids_and_types_survive_saving(self, fitted, fitted_strings, tmp_path):
        for number, recommender in enumerate((fitted, fitted_strings)):
            recommender.save(tmp_path / str(number))
            loaded = Recommender.load(tmp_path / str(number))
            assert loaded.history.users == recommender.history.users
            assert loaded.history.items == recommender.history.items
            assert loaded.history.users.is_integer == recommender.history.users.is_integer

    # -- keeping --------------------------------------------------------------------------------------

    def test_a_loaded_model_keeps_its_settings(self, fitted, tmp_path):
        fitted.save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run")
        assert (loaded.name, loaded.preset) == (self.model, self.preset)
        assert loaded.config == fitted.config
        assert loaded.plan == fitted.plan

    @pytest.mark.parametrize("what", ["predict", "recommend", "table", "fold_in", "save", "history"])
    def test_unfitted_is_refused(self, what, tmp_path):
        recommender = self.make()
        calls = {
            "predict": lambda: recommender.predict([1], [1]),
            "recommend": lambda: recommender.recommend(1),
            "table": lambda: recommender.recommend_table(),
            "fold_in": lambda: recommender.fold_in({1: 3.0}),
            "save": lambda: recommender.save(tmp_path / "run"),
            "history": lambda: recommender.history,
        }
        with pytest.raises(NotFittedError, match="fit or load"):
            calls[what]()
        assert not (tmp_path / "run").exists()

    # -- the same again -------------------------------------------------------------------------------

    @pytest.mark.bits
    def test_the_same_seed_gives_the_same_bits_also_of_two_trainings_at_once(self, fitted, parts):
        theirs = fitted.model.state_dict()
        with ThreadPoolExecutor(2) as threads:
            for again in threads.map(lambda seed: self.make().fit(*parts, seed=seed), (3, 3)):
                for name, tensor in again.model.state_dict().items():
                    assert torch.equal(tensor, theirs[name]), name

    def test_the_callers_random_states_are_left_alone(self, parts):
        np.random.seed(7)  # noqa: NPY002 - the global state is what is looked at
        before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        self.make().fit(parts[0], seed=1)
        assert (np.random.get_state()[1] == before[0]).all()  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[1])

    def test_the_ratings_are_left_alone(self, parts):
        before = parts[0].fingerprint
        self.make().fit(parts[0])
        columns = {name: value for name, value in vars(parts[0]).items() if name in ("users", "items", "scale")}
        fresh = Ratings(indptr=parts[0].indptr, indices=parts[0].indices, values=parts[0].values, **columns)
        assert fresh.fingerprint == before

    def test_weights_are_float32(self, fitted):
        assert {tensor.dtype for tensor in fitted.model.state_dict().values()} == {torch.float32}


class ModelContract(AnswersContract):
    """Inherited by the test class of each model and preset that predicts ratings."""

    @pytest.fixture
    def pairs(self, fitted):
        """Ids of 40 pairs, known users and items with ratings, in no order, one of them twice."""
        history, rng = fitted.history, np.random.default_rng(5)
        users = rng.choice(history.users.ids[history.user_counts > 0], 40)
        items = rng.choice(history.items.ids[history.item_counts > 0], 40)
        users[-1], items[-1] = users[0], items[0]
        return users, items

    # -- predictions ----------------------------------------------------------------------------------

    def test_learns_something(self, fitted, parts):
        # predicting the mean is the least that a model must beat
        train, validation = parts
        error = np.sqrt(np.mean((fitted.predict_ratings(validation) - validation.values) ** 2))
        assert error < np.sqrt(np.mean((train.values.mean() - validation.values) ** 2))

    def test_predictions_are_float32_on_the_scale(self, fitted, pairs):
        predictions = fitted.predict(*pairs)
        low, high = fitted.history.scale
        assert predictions.dtype == np.float32
        assert predictions.shape == (40,)
        assert ((predictions >= low) & (predictions <= high)).all()

    def test_batch_equals_single(self, fitted, pairs):
        single = [fitted.predict([user], [item])[0] for user, item in zip(*pairs, strict=True)]
        np.testing.assert_allclose(fitted.predict(*pairs), single, atol=TOLERANCE)

    def test_the_order_of_pairs_does_not_matter(self, fitted, pairs):
        users, items = pairs
        order = np.random.default_rng(6).permutation(len(users))
        np.testing.assert_allclose(
            fitted.predict(users[order], items[order]), fitted.predict(users, items)[order], atol=TOLERANCE
        )

    def test_table_gives_the_same_predictions(self, fitted, pairs):
        table = fitted.predict_table(*pairs)
        assert table["prediction"].to_numpy().tolist() == fitted.predict(*pairs).tolist()
        assert set(table["fallback"]) == {""}
        assert (table["interval_low"] <= table["prediction"]).all()
        assert (table["interval_high"] >= table["prediction"]).all()

    def test_predict_ratings_equals_predict(self, fitted, parts):
        wanted = fitted.predict(parts[1].user_ids, parts[1].item_ids)
        np.testing.assert_allclose(fitted.predict_ratings(parts[1]), wanted, atol=TOLERANCE)

    def test_no_pairs_give_no_predictions(self, fitted):
        assert fitted.predict([], []).shape == (0,)

    # -- what is not known ----------------------------------------------------------------------------

    def test_what_is_unknown_falls_back_and_says_so(self, fitted):
        user, item = self.known_user(fitted), fitted.history.items.ids[fitted.history.item_counts > 0].tolist()[0]
        table = fitted.predict_table([user, -1, user, -1], [item, item, -2, -2])
        assert table["fallback"].to_list() == ["", "user", "item", "both"]
        assert np.isfinite(table["prediction"].to_numpy()).all()

    def test_who_has_no_ratings_falls_back_and_says_so(self, fitted):
        history = fitted.history
        user, item = history.users.ids.tolist()[-1], history.items.ids.tolist()[-1]
        rated = history.items.ids[history.item_counts > 0].tolist()[0]
        table = fitted.predict_table([user, self.known_user(fitted), user], [rated, item, item])
        assert table["fallback"].to_list() == ["user", "item", "both"]

    def test_the_fallback_is_the_bias_model(self, fitted):
        bias = Recommender("bias", units=fitted.plan.units).fit(fitted.history)
        rated = fitted.history.items.ids[fitted.history.item_counts > 0].tolist()[:5]
        scores = bias.floor.mean + bias.floor.item_bias[fitted.history.items.index(rated)]
        np.testing.assert_allclose(
            fitted.predict([-1] * 5, rated),
            bias.floor.ratings(scores).numpy().clip(1, 5),
            atol=TOLERANCE,
        )

    def test_an_empty_history_gets_the_fallback(self, fitted):
        items = fitted.history.items.ids.tolist()
        np.testing.assert_allclose(fitted.fold_in({}).predict(items), fitted.predict([-1] * len(items), items))

    # -- folding in -----------------------------------------------------------------------------------

    def test_folding_in_gives_what_a_known_user_gets(self, fitted):
        items = fitted.history.items.ids[fitted.history.item_counts > 0].tolist()
        for number in (0, 5, 20):
            user = self.known_user(fitted, number)
            folded = fitted.fold_in(self.history_of(fitted, user))
            known = fitted.predict([user] * len(items), items)
            np.testing.assert_allclose(folded.predict(items), known, rtol=0, atol=TOLERANCE)

    def test_folding_in_gives_what_a_known_user_gets_for_unrated_items(self, fitted):
        items = fitted.history.items.ids[fitted.history.item_counts == 0].tolist()
        user = self.known_user(fitted)
        folded = fitted.fold_in(self.history_of(fitted, user))
        known = fitted.predict([user] * len(items), items)
        np.testing.assert_allclose(folded.predict(items), known, rtol=0, atol=TOLERANCE)

    def test_the_order_of_a_history_does_not_matter(self, fitted):
        ratings = self.history_of(fitted, self.known_user(fitted, 2))
        items = fitted.history.items.ids.tolist()
        backwards = dict(reversed(ratings.items()))
        np.testing.assert_array_equal(fitted.fold_in(ratings).predict(items), fitted.fold_in(backwards).predict(items))

    def test_folding_in_repeats_items_that_are_asked_for_twice(self, fitted):
        folded = fitted.fold_in(self.history_of(fitted, self.known_user(fitted)))
        a, b = fitted.history.items.ids.tolist()[4:6]
        predictions = folded.predict([b, a, b])
        assert predictions[0] == predictions[2] == folded.predict([b])[0]
        assert predictions[1] == folded.predict([a])[0]

    def test_folded_predictions_are_float32_on_the_scale(self, fitted):
        predictions = fitted.fold_in({100: 1.0, 103: 5.0}).predict(fitted.history.items.ids.tolist())
        assert predictions.dtype == np.float32
        assert predictions.min() >= 1
        assert predictions.max() <= 5

    # -- lists ----------------------------------------------------------------------------------------

    def test_scores_are_the_predictions(self, fitted):
        user = self.known_user(fitted, 9)
        lines = fitted.recommend(user, 10)
        predictions = fitted.predict([user] * 10, [line.item for line in lines])
        np.testing.assert_allclose([line.score for line in lines], predictions, atol=TOLERANCE)

    # -- ids ------------------------------------------------------------------------------------------

    def test_string_ids_are_never_numbers(self, fitted_strings):
        assert fitted_strings.predict_table([7], ["07"])["fallback"].to_list() == ["user"]
        assert fitted_strings.predict_table(["7"], ["07"])["fallback"].to_list() == ["user"]
        assert fitted_strings.predict_table(["07"], ["07"])["fallback"].to_list() == [""]

    # -- keeping --------------------------------------------------------------------------------------

    @pytest.mark.bits
    def test_a_loaded_model_answers_the_same(self, fitted, pairs, tmp_path):
        fitted.save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run")
        np.testing.assert_array_equal(loaded.predict(*pairs), fitted.predict(*pairs))
        assert loaded.predict_table(*pairs).equals(fitted.predict_table(*pairs))
        assert loaded.predict_table([-1, 100], [100, -1]).equals(fitted.predict_table([-1, 100], [100, -1]))
        user = self.known_user(fitted)
        assert loaded.recommend(user) == fitted.recommend(user)
        assert loaded.recommend({100: 4.0, 109: 2.0}) == fitted.recommend({100: 4.0, 109: 2.0})

    @pytest.mark.bits
    def test_a_model_that_is_saved_again_is_the_same(self, fitted, pairs, tmp_path):
        fitted.save(tmp_path / "one")
        Recommender.load(tmp_path / "one").save(tmp_path / "two")
        np.testing.assert_array_equal(Recommender.load(tmp_path / "two").predict(*pairs), fitted.predict(*pairs))

    # -- the same again -------------------------------------------------------------------------------

    def test_fitting_again_replaces_the_first_fit(self, parts, fitted, pairs):
        twice = self.make().fit(parts[0].take(np.arange(200)), seed=9).fit(*parts, seed=3)
        np.testing.assert_array_equal(twice.predict(*pairs), fitted.predict(*pairs))

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
    def test_cuda_gives_what_the_cpu_gives(self, fitted, pairs, tmp_path):
        fitted.save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run", device="cuda")
        assert loaded.model.item_rows.is_cuda
        np.testing.assert_allclose(loaded.predict(*pairs), fitted.predict(*pairs), atol=1e-4)
        np.testing.assert_allclose(loaded.predict([-1, -1], [100, -1]), fitted.predict([-1, -1], [100, -1]), atol=1e-4)
        for who in (self.known_user(fitted), {100: 4.0}, {}):
            wanted = [line.score for line in fitted.recommend(who)]
            np.testing.assert_allclose([line.score for line in loaded.recommend(who)], wanted, atol=1e-4)

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
    def test_cuda_trains(self, parts, pairs):
        predictions = self.make(device="cuda").fit(*parts, seed=3).predict(*pairs)
        assert np.isfinite(predictions).all()


class RankingContract(AnswersContract):
    """Inherited by the test class of each model and preset that only ranks."""

    def test_learns_something(self, fitted, parts):
        # what is popular is the least that a model must beat
        train, validation = parts
        relevant = validation.take(validation.values >= relevant_from(validation.scale))
        users = np.flatnonzero(relevant.user_counts)
        wanted = [relevant.history(user)[0] for user in users]
        popular = np.argsort(-train.take(train.values >= relevant_from(train.scale)).item_counts, kind="stable")
        lists = np.stack([popular[~np.isin(popular, train.history(user)[0])][:10] for user in users])
        gains = [
            ndcg(hits(found, wanted), relevant.user_counts[users]).mean()
            for found in (fitted.recommend_indices(users, 10, targets=validation), lists)
        ]
        assert gains[0] > gains[1]

    def test_predicts_no_ratings_and_says_so(self, fitted, parts):
        user = self.known_user(fitted)
        for question in (
            lambda: fitted.predict([user], [100]),
            lambda: fitted.predict_table([user], [100]),
            lambda: fitted.predict_ratings(parts[1]),
            lambda: fitted.fold_in({100: 4.0}).predict([103]),
        ):
            with pytest.raises(ConfigError, match="ranks items and predicts no ratings"):
                question()

    def test_is_evaluated_by_its_lists(self, fitted, parts):
        metrics = evaluate(fitted, parts[1])
        assert 0 < metrics["ranking"]["ndcg"] <= 1
        assert not {"pooled", "user_mean", "bias"} & set(metrics)

    def test_the_weights_of_the_best_list_are_kept(self, fitted, parts):
        measured = [epoch.validation_ndcg for epoch in fitted.training.epochs if epoch.validation_ndcg is not None]
        assert fitted.training.best_validation_ndcg == max(measured)
        assert ranking_ndcg(fitted.model, fitted.history, parts[1]) == pytest.approx(max(measured), abs=1e-6)

    def test_learns_from_ratings_that_are_all_equal(self, small_ratings):
        ones = replace(small_ratings, values=np.ones_like(small_ratings.values), scale=(1.0, 1.0))
        assert len(self.make(epochs=1).fit(ones, seed=0).recommend(self.known_user_of(ones), 5)) == 5

    @staticmethod
    def known_user_of(ratings):
        return ratings.users.ids[ratings.user_counts > 0].tolist()[0]

    def test_what_was_not_liked_is_not_recommended_either(self, fitted):
        user = self.known_user(fitted, 3)
        rated = self.history_of(fitted, user)
        assert min(rated.values()) < relevant_from(fitted.history.scale)
        assert not {line.item for line in fitted.recommend(user, fitted.history.n_items)} & set(rated)

    @pytest.mark.bits
    def test_a_loaded_model_answers_the_same(self, fitted, tmp_path):
        fitted.save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run")
        for who in (self.known_user(fitted), {100: 4.0, 109: 2.0}, {}):
            assert loaded.recommend(who) == fitted.recommend(who)
        with pytest.raises(ConfigError, match="predicts no ratings"):
            loaded.predict([self.known_user(fitted)], [100])
