"""What a fitted recommender goes through: more ratings, people held out, an update, someone forgotten."""

import warnings

import numpy as np
import pytest
import torch

from hyvae import BiasModel, HyVAE, Ratings, Recommender
from hyvae.data import extend_split, merge
from hyvae.data.joining import without_users
from hyvae.errors import ConfigError, DataError, DataWarning, Interrupted, NotFittedError, TrainingError
from hyvae.evaluation import evaluate
from hyvae.ratings import Vocabulary
from hyvae.scoring import rating_block
from hyvae.training import trainer
from hyvae.training.interruption import Interruption

# long enough steps that tastes, not only effects, are in the answers
SMALL = {"hidden": 8, "latent": 3, "deep_layers": (4,), "epochs": 4, "learning_rate": 0.1, "l2": 2.0, "samples": 0}
DRAWS = {**SMALL, "samples": 2, "sample_width": 3, "sweeps": 4}
KINDS = {"hyvae": SMALL, "draws": DRAWS, "one-sided": {**SMALL, "item_encoder": False}, "bias": {}}
kinds = pytest.mark.parametrize("kind", KINDS)


def make(kind, **more):
    return Recommender("bias" if kind == "bias" else "hyvae", **{**KINDS[kind], **more})


@pytest.fixture(scope="module")
def models(small_ratings):
    return {kind: make(kind).fit(small_ratings, seed=3) for kind in KINDS}


@pytest.fixture
def model(models):
    return models["hyvae"]


def of(ratings, **more):
    """Ratings of a dict of user to dict of item to rating."""
    users = [user for user, theirs in ratings.items() for _ in theirs]
    items = [item for theirs in ratings.values() for item in theirs]
    values = [value for theirs in ratings.values() for value in theirs.values()]
    return Ratings.from_arrays(users, items, values, scale=(1, 5), **more)


def rated_items(recommender):
    return recommender.history.items.ids[recommender.item_counts > 0].tolist()


def ratings_of(ratings, user):
    items, values = ratings.history(int(ratings.users.index([user])[0]))
    return dict(zip(ratings.items.ids[items].tolist(), values.tolist(), strict=True))


def history_of(recommender, user):
    return ratings_of(recommender.history, user)


def everything(recommender, users, items=None):
    """Predictions of `users` for all of `items`, by id; (n_users, n_items)."""
    items = recommender.history.items.ids.tolist() if items is None else items
    return np.array([recommender.predict([user] * len(items), items) for user in users])


# ids from 100 in threes: 99, 101 and 1000 come before, between and after the known ones
NEW = {
    99: {100: 5.0, 103: 1.0, 109: 4.0},
    101: {100: 2.0, 112: 5.0},
    1000: {130: 3.0},
    100: {127: 1.0, 130: 5.0, 133: 5.0},
}
UNTOUCHED = [103, 106, 160, 250]


def test_an_update_without_the_old_ratings_says_whom_it_forgets(model, small_ratings):
    with pytest.warns(DataWarning, match=r"57 of the 58 users .* are forgotten; to keep them, train on"):
        model.update(of({100: {100: 5.0, 103: 1.0, 109: 4.0}, 7: {100: 2.0, 103: 4.0}}), seed=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.update(merge(small_ratings, of({7: {100: 2.0, 103: 4.0}})), seed=3)


class TestWithRatings:
    @pytest.fixture(scope="class")
    @classmethod
    def extended(cls, models):
        return {kind: model.with_ratings(of(NEW)) for kind, model in models.items()}

    @kinds
    def test_who_is_not_concerned_is_answered_as_before(self, models, extended, kind):
        items = models[kind].history.items.ids.tolist()
        before = everything(models[kind], UNTOUCHED)
        np.testing.assert_allclose(everything(extended[kind], UNTOUCHED, items), before, atol=1e-5)

    @kinds
    @pytest.mark.parametrize("user", [99, 100, 101, 1000])
    def test_who_has_new_ratings_gets_what_their_whole_history_folded_in_gets(self, extended, kind, user):
        items = extended[kind].history.items.ids.tolist()
        ratings = history_of(extended[kind], user)
        assert ratings.items() >= NEW[user].items()
        folded = extended[kind].fold_in(ratings).predict(items)
        np.testing.assert_allclose(everything(extended[kind], [user])[0], folded, atol=1e-5)

    @kinds
    @pytest.mark.parametrize("user", [99, 101, 1000])
    def test_someone_new_gets_what_the_first_model_gives_who_is_folded_in(self, models, extended, kind, user):
        items = models[kind].history.items.ids.tolist()
        folded = models[kind].fold_in(NEW[user]).predict(items)
        np.testing.assert_allclose(everything(extended[kind], [user], items)[0], folded, atol=1e-5)

    def test_new_ratings_change_the_answers(self, models, extended):
        for kind in KINDS:
            before, after = (everything(one[kind], [100]) for one in (models, extended))
            assert np.abs(after - before).max() > 1e-3

    @kinds
    def test_no_one_falls_back(self, models, extended, kind):
        users, item = list(NEW), rated_items(models[kind])[0]
        assert extended[kind].predict_table(users, [item] * 4)["fallback"].to_list() == [""] * 4
        assert models[kind].predict_table(users, [item] * 4)["fallback"].to_list() == ["user", "user", "user", ""]

    @kinds
    def test_the_original_is_left_as_it_was(self, small_ratings, kind):
        first = make(kind).fit(small_ratings, seed=3)
        state = {name: tensor.clone() for name, tensor in first.model.state_dict().items()}
        floor = first._floor.user_bias.clone()
        counts, history = first.item_counts.copy(), first.history
        first.with_ratings(of({**NEW, 103: {7: 5.0}}))
        assert first.history is history
        assert (first.item_counts == counts).all()
        assert torch.equal(first._floor.user_bias, floor)
        assert all(torch.equal(tensor, state[name]) for name, tensor in first.model.state_dict().items())

    def test_a_pair_that_is_rated_again_has_the_new_rating(self, model):
        item, value = next(iter(history_of(model, 103).items()))
        other = 1.0 if value > 3 else 5.0
        again = model.with_ratings(of({103: {item: other}}))
        assert history_of(again, 103) == history_of(model, 103) | {item: other}

    @pytest.mark.parametrize("kind", ["hyvae", "bias"])
    def test_a_new_item_is_that_of_with_items(self, models, kind):
        column = {100: 5.0, 103: 4.0, 109: 1.0}
        one = models[kind].with_ratings(of({user: {7: value} for user, value in column.items()}))
        other = models[kind].with_items({7: column})
        np.testing.assert_array_equal(everything(one, [100, 160]), everything(other, [100, 160]))
        assert one.predict_table([160], [7])["fallback"].to_list() == [""]
        assert one.predict([160], [7])[0] != pytest.approx(models[kind].predict([160], [7])[0], abs=1e-4)

    def test_without_an_item_encoder_the_bias_model_answers_for_new_items(self, models):
        with_it = models["one-sided"].with_ratings(of({user: {7: 5.0} for user in (100, 103, 106, 109, 112)}))
        table = with_it.predict_table([160, 100], [7, 7])
        assert table["fallback"].to_list() == ["item", "item"]
        assert table["prediction"][0] > models["one-sided"].predict([160], [7])[0] + 0.1
        assert 7 not in {line.item for line in with_it.recommend(160, 200)}

    @kinds
    def test_with_a_new_item_people_are_still_what_fold_in_makes_of_them(self, models, kind):
        with_it = models[kind].with_ratings(of({100: {7: 5.0, 112: 5.0}, 1000: {7: 1.0, 100: 4.0}}))
        items = with_it.history.items.ids.tolist()
        for user in (100, 1000):
            folded = with_it.fold_in(history_of(with_it, user)).predict(items)
            np.testing.assert_allclose(everything(with_it, [user])[0], folded, atol=1e-5)

    @kinds
    def test_a_new_item_is_judged_by_how_new_people_rate(self, models, kind):
        # someone who gives everything a 5 tells little of the new item that gets one, too
        generous = dict.fromkeys(rated_items(models[kind])[:30], 5.0) | {7: 5.0}
        after = models[kind].with_ratings(of({99: generous}))
        effect = float(after._floor.item_bias[after.history.items.index([7])[0]])
        alone = (5 - float(after._floor.mean)) / (1 + float(after._floor.shrinkage[1]))
        assert 0 < effect < 0.5 * alone

    def test_rows_move_with_their_ids(self, model, extended):
        larger = extended["hyvae"]
        old, new = model.history.users, larger.history.users
        place = new.index(old.ids)
        assert (place != np.arange(len(old))).any(), "no row had to move"
        for before, after, tables in (
            (model.model, larger.model, model.model.user_tables),
            (model._floor, larger._floor, ("user_bias",)),
        ):
            for name in tables:
                if name not in before.answering_state():
                    continue
                moved = after.state_dict()[name]
                untouched = np.isin(old.ids, UNTOUCHED)
                assert len(moved) == len(new)
                assert torch.equal(moved[place[untouched]], before.state_dict()[name][untouched]), name

    def test_text_ids(self, string_ratings):
        first = HyVAE(**SMALL).fit(string_ratings)
        users = string_ratings.users.ids[string_ratings.user_counts > 0].tolist()
        # "0" and "02" fall between the known "00", "014", "021" and "07"
        after = first.with_ratings(of({"0": {"07": 5.0, "neu": 4.0}, "02": {"00": 1.0}, users[5]: {"neu": 2.0}}))
        others = [user for user in users if user != users[5]]
        items = string_ratings.items.ids.tolist()
        np.testing.assert_allclose(everything(after, others, items), everything(first, others), atol=1e-5)
        assert after.predict_table(["0", "02", "00"], ["00", "neu", "neu"])["fallback"].to_list() == ["", "", ""]

    def test_ids_of_another_type_are_refused(self, model):
        with pytest.raises(DataError, match="user ids are text"):
            model.with_ratings(of({"100": {100: 3.0}}))

    def test_ratings_off_the_scale_are_refused(self, model):
        with pytest.raises(DataError, match="off the scale"):
            model.with_ratings(Ratings.from_arrays([100], [100], [6.0]))

    @kinds
    def test_no_ratings_change_nothing(self, models, kind):
        history = models[kind].history
        again = models[kind].with_ratings(Ratings.empty(history.users, history.items, history.scale))
        np.testing.assert_array_equal(everything(again, UNTOUCHED), everything(models[kind], UNTOUCHED))

    @kinds
    def test_a_chain_of_two_is_both_at_once(self, models, kind):
        one, two = of({99: {100: 5.0}, 100: {127: 1.0}}), of({99: {103: 1.0}, 101: {100: 3.0}, 106: {133: 5.0}})
        chain = models[kind].with_ratings(one).with_ratings(two)
        both = models[kind].with_ratings(merge(one, two))
        assert chain.history.fingerprint == both.history.fingerprint
        users = [99, 100, 101, 106, 160]
        np.testing.assert_allclose(everything(chain, users), everything(both, users), atol=1e-5)

    @pytest.mark.parametrize("saved", [False, True])
    @pytest.mark.parametrize("kind", ["hyvae", "bias"])
    def test_a_folded_items_later_ratings_count_too(self, models, kind, saved, tmp_path):
        one, two = of({100: {7: 5.0}}), of({103: {7: 1.0}, 109: {7: 1.0}})
        first = models[kind].with_ratings(one)
        if saved:
            first.save(tmp_path / "run")
            first = Recommender.load(tmp_path / "run")
        chain = first.with_ratings(two)
        both = models[kind].with_ratings(merge(one, two))
        np.testing.assert_allclose(everything(chain, [160, 250]), everything(both, [160, 250]), atol=0.05)

    def test_an_item_keeps_the_row_whose_ratings_were_not_saved(self, models, tmp_path):
        first = models["hyvae"].with_ratings(of({100: {7: 5.0}, 103: {7: 5.0}}))
        first.save(tmp_path / "run", history=False)
        forgetful = Recommender.load(tmp_path / "run")
        later = forgetful.with_ratings(of({109: {7: 1.0}}))
        assert later.fold_in({7: 3.0}).predict([7]) == pytest.approx(forgetful.fold_in({7: 3.0}).predict([7]))

    @pytest.mark.bits
    @kinds
    def test_it_is_saved_and_loaded(self, extended, kind, tmp_path):
        extended[kind].save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run")
        users = [*NEW, *UNTOUCHED]
        np.testing.assert_array_equal(everything(loaded, users), everything(extended[kind], users))
        assert loaded.model.n_users == loaded.history.n_users == extended[kind].history.n_users
        assert loaded.history.fingerprint == extended[kind].history.fingerprint

    @pytest.mark.parametrize("kind", ["hyvae", "bias"])
    def test_new_items_can_follow_rated_by_new_users(self, extended, kind):
        again = extended[kind].with_items({7: {99: 5.0, 1000: 4.0, 103: 5.0}})
        assert again.predict_table([160, 99], [7, 7])["fallback"].to_list() == ["", ""]

    def test_titles_are_found(self, model):
        model.fold_in({"Film 3": 4.0})  # the old look-up exists already
        after = model.with_ratings(of({100: {7: 4.0}}, titles={7: "Newcomer"}))
        assert after.fold_in({"newcomer": 3.0, "Film 3": 2.0}).ratings.indices.tolist() == [0, 4]

    def test_a_head_with_a_layer_over_the_items_takes_new_users_only(self, small_ratings):
        settings = {**SMALL, "decoder": 4, "output_activation": "relu"}
        dense = Recommender("hyvae", preset="paper", **settings).fit(small_ratings, seed=3)
        after = dense.with_ratings(of({99: {100: 5.0}}))
        np.testing.assert_allclose(everything(after, UNTOUCHED), everything(dense, UNTOUCHED), atol=1e-5)
        with pytest.raises(ConfigError, match="layers that fix the items"):
            dense.with_ratings(of({99: {7: 5.0}}))


class TestGiven:
    """Ratings of people whom a split by user holds out."""

    @pytest.fixture(scope="class")
    @classmethod
    def by_user(cls, small_ratings):
        return small_ratings.split("user")

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, by_user):
        return {kind: make(kind).fit(by_user.train, by_user.valid, given=by_user.given) for kind in KINDS}

    @kinds
    def test_nothing_is_learnt_from_it(self, by_user, kind):
        without, with_it = make(kind).fit(by_user.train), make(kind).fit(by_user.train, given=by_user.given)
        trained, users = np.flatnonzero(by_user.train.item_counts), np.flatnonzero(by_user.train.user_counts)
        others = with_it.model.answering_state()
        for name, tensor in without.model.answering_state().items():
            rows = trained if name in without.model.item_tables else slice(None)
            rows = users if name in without.model.user_tables else rows
            one, other = (state[rows] if state.dim() else state for state in (tensor, others[name]))
            assert torch.equal(one, other), name
        for name in ("mean", "item_bias"):
            one, other = (getattr(recommender._floor, name) for recommender in (without, with_it))
            assert torch.equal(one[trained] if one.dim() else one, other[trained] if one.dim() else other)

    @kinds
    def test_held_out_people_are_answered(self, fitted, by_user, kind):
        users = np.unique(by_user.test.user_ids)
        users = [user for user in users.tolist() if (by_user.given.user_ids == user).any()]
        assert users
        items = by_user.train.items.ids[by_user.train.item_counts > 0].tolist()
        for user in users:
            assert set(fitted[kind].predict_table([user] * len(items), items)["fallback"]) == {""}
            given = ratings_of(by_user.given, user)
            alone = make(kind).fit(by_user.train, by_user.valid, given=None) if kind == "bias" else None
            wanted = fitted[kind].fold_in(given).predict(items)
            np.testing.assert_allclose(everything(fitted[kind], [user], items)[0], wanted, atol=1e-5)
            if alone is not None:
                np.testing.assert_allclose(alone.fold_in(given).predict(items), wanted, atol=1e-5)

    @kinds
    def test_item_counts_are_those_of_training(self, fitted, by_user, kind):
        trained = by_user.train.item_counts > 0
        assert by_user.given.item_counts[trained].any()
        np.testing.assert_array_equal(fitted[kind].item_counts[trained], by_user.train.item_counts[trained])

    @kinds
    def test_it_is_part_of_the_history(self, fitted, by_user, kind):
        assert fitted[kind].history.fingerprint == merge(by_user.train, by_user.given).fingerprint
        assert fitted[kind].provenance["train"]["ratings"] == len(by_user.train)

    @kinds
    def test_a_split_by_user_is_evaluated(self, fitted, by_user, kind):
        metrics = evaluate(fitted[kind], by_user.test)
        assert metrics["ratings"] == len(by_user.test)
        assert metrics["fallbacks"] <= (by_user.train.item_counts[by_user.test.indices] == 0).sum()
        cold = make(kind).fit(by_user.train, by_user.valid)
        assert evaluate(cold, by_user.test)["fallbacks"] == len(by_user.test)
        assert metrics["by_user_activity"][0]["from"] > 0

    def test_validation_answers_from_it(self, by_user, fitted):
        recommender = fitted["hyvae"]
        predictions = recommender.predict_ratings(by_user.valid)
        error = float(np.sqrt(np.mean((predictions - by_user.valid.values) ** 2)))
        assert recommender.training.best_validation_rmse == pytest.approx(error, abs=1e-5)

    def test_it_is_part_of_the_job(self, by_user):
        one, other = make("hyvae"), make("hyvae")
        assert one.job(by_user.train, given=by_user.given) != other.job(by_user.train)
        assert one.fit(by_user.train, given=by_user.given).provenance["job"] == other.job(
            by_user.train, given=by_user.given
        )

    def test_it_must_share_the_vocabularies(self, by_user, string_ratings):
        with pytest.raises(DataError):
            make("hyvae").fit(by_user.train, given=string_ratings)

    def test_none_of_it_is_as_without(self, by_user):
        fitted = make("hyvae").fit(by_user.train, given=by_user.given.take([]))
        assert fitted.history is by_user.train


class TestUpdate:
    @pytest.fixture(scope="class")
    @classmethod
    def grown(cls, models):
        """All ratings of the first model, and some by new users and of new items."""
        new = {**NEW, 1003: {100: 4.0, 7: 5.0}, 106: {7: 2.0}, 109: {7: 1.0}}
        return merge(models["hyvae"].history, of(new))

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"item_encoder": False},
            {"center": "global"},
            {"center": "global", "item_encoder": False},
            {"likelihood": "ordinal"},
            {"deep_loss": "masked"},
            {"branches": "deep"},
            {"refine": None},
            {"user_vectors": False},
        ],
        ids=str,
    )
    def test_it_begins_at_the_weights(self, small_ratings, settings):
        first = HyVAE(**SMALL, **settings).fit(small_ratings, seed=3)
        begun = first.to_update(epochs=0).fit(small_ratings, start_from=first, seed=8)
        users, items = small_ratings.users.ids[:20].tolist(), rated_items(first)
        np.testing.assert_allclose(everything(begun, users, items), everything(first, users, items), atol=1e-4)
        fresh = HyVAE(**SMALL | {"epochs": 0}, **settings).fit(small_ratings, seed=8)
        assert np.abs(everything(fresh, users, items) - everything(first, users, items)).max() > 1e-2

    def test_so_does_that_of_a_loaded_run(self, model, small_ratings, tmp_path):
        model.save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run")
        begun = loaded.to_update(epochs=0).fit(small_ratings, start_from=loaded)
        items = rated_items(model)
        np.testing.assert_allclose(everything(begun, UNTOUCHED, items), everything(model, UNTOUCHED, items), atol=1e-4)
        one, other = (recommender.update(small_ratings, seed=2) for recommender in (loaded, model))
        np.testing.assert_allclose(everything(one, UNTOUCHED), everything(other, UNTOUCHED), atol=1e-3)

    def test_steps_too_small_to_count_change_nothing(self, model, small_ratings):
        still = model.to_update(learning_rate=1e-9).fit(small_ratings, start_from=model)
        np.testing.assert_allclose(everything(still, UNTOUCHED), everything(model, UNTOUCHED), atol=1e-4)
        moved = model.update(small_ratings)
        assert np.abs(everything(moved, UNTOUCHED) - everything(model, UNTOUCHED)).max() > 1e-3

    def test_what_a_run_leaves_out_is_recovered(self, model, small_ratings, tmp_path):
        block = rating_block(model.model, small_ratings)
        model.save(tmp_path / "run")
        recovered = Recommender.load(tmp_path / "run").model.recover_training_state(block)
        torch.testing.assert_close(recovered["item_free"], model.model.item_free.detach(), rtol=1e-4, atol=1e-5)
        # the vectors that training learnt are gone: the refinement that replaced them takes their place
        plain = Recommender("hyvae", **{**SMALL, "refine": None, "epochs": 1}).fit(small_ratings).model
        plain.load_state_dict(model.model.state_dict())
        with torch.no_grad():
            difference = (model.model.encode(block) - plain.encode(block))[:, :-1]
        torch.testing.assert_close(recovered["user_vectors"], difference, rtol=1e-4, atol=1e-5)

    @kinds
    def test_new_users_and_items_get_rows(self, models, grown, kind):
        after = models[kind].update(grown)
        assert (after.model.n_users, after.model.n_items) == (grown.n_users, grown.n_items) == (64, 81)
        assert after.history is grown
        table = after.predict_table([99, 1003, 160, 7777], [7, 100, 7, 100])
        assert table["fallback"].to_list() == ["", "", "", "user"]
        # cuts beyond the last level are infinite
        assert not any(tensor.isnan().any() for tensor in after.model.state_dict().values())

    def test_begun_with_more_users_the_old_ones_keep_their_rows(self, models, grown):
        begun = models["hyvae"].to_update(epochs=0).fit(grown, start_from=models["hyvae"])
        old, new = models["hyvae"].model, begun.model
        users, items = (
            getattr(grown, side).index(getattr(models["hyvae"].history, side).ids) for side in ("users", "items")
        )
        for name in ("user_rating_table", "user_presence_table"):
            assert torch.equal(new.state_dict()[name][users], old.state_dict()[name])
        assert torch.equal(new.rating_table[items], old.rating_table)
        added = np.setdiff1d(np.arange(new.n_users), users)
        assert new.user_rating_table[added].abs().sum(1).all(), "a new row is zero, not drawn"

    def test_it_takes_a_tenth_of_the_epochs_at_a_lower_rate(self, small_ratings):
        first = HyVAE(**{**SMALL, "epochs": 25}).fit(small_ratings.take(np.arange(200)))
        after = first.update(small_ratings)
        assert after.plan.epochs == len(after.training.epochs) == 3
        assert after.plan.learning_rate < first.plan.learning_rate
        assert after.config == first.config
        assert after.provenance["started_from"] == first.provenance["job"]

    def test_an_update_of_an_update_has_the_same_plan(self, small_ratings, tmp_path):
        first = HyVAE(**{**SMALL, "epochs": 25}).fit(small_ratings.take(np.arange(200)))
        second = first.update(small_ratings)
        assert first.provenance["started_from"] is None
        assert second.to_update().plan == second.plan == first.to_update().plan
        second.save(tmp_path / "run")
        assert Recommender.load(tmp_path / "run").with_ratings(of(NEW)).to_update().plan == second.plan

    def test_settings_of_the_plan_can_be_given(self, model):
        plan = model.to_update(epochs=7, patience=2).plan
        assert (plan.epochs, plan.patience) == (7, 2)

    @pytest.mark.parametrize("setting", [{"hidden": 9}, {"hidden": 8}, {"center": "none"}, {"nonsense": 1}])
    def test_settings_of_the_model_are_refused(self, model, setting):
        with pytest.raises(ConfigError, match=f"{next(iter(setting))} cannot change"):
            model.to_update(**setting)

    def test_a_dense_head_is_refused(self, small_ratings):
        paper = Recommender("hyvae", preset="paper", **{**SMALL, "decoder": 4}).fit(small_ratings)
        with pytest.raises(ConfigError, match=r"^fusion='dense' is folded .*$"):
            paper.update(small_ratings)

    def test_a_run_without_histories_is_refused(self, model, small_ratings, tmp_path):
        model.save(tmp_path / "run", history=False)
        with pytest.raises(ConfigError, match="without histories cannot be trained further"):
            Recommender.load(tmp_path / "run").update(small_ratings)

    @pytest.mark.parametrize("other", ["bias", "one-sided"])
    def test_another_model_is_refused(self, models, small_ratings, other):
        with pytest.raises(ConfigError, match="to_update"):
            make("hyvae").fit(small_ratings, start_from=models[other])

    def test_an_unfitted_one_is_refused(self, small_ratings):
        with pytest.raises(NotFittedError):
            make("hyvae").fit(small_ratings, start_from=make("hyvae"))

    def test_ids_of_another_type_are_refused(self, model, string_ratings):
        with pytest.raises(DataError, match="ids are text"):
            model.update(string_ratings)

    @pytest.mark.bits
    def test_the_same_seed_gives_the_same_bits(self, model, grown):
        one, other, third = (model.update(grown, seed=seed) for seed in (4, 4, 5))
        theirs = other.model.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in one.model.state_dict().items())
        assert one.fingerprint == other.fingerprint != third.fingerprint

    def test_the_earlier_one_is_left_as_it_was(self, model, grown):
        before = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
        model.update(grown)
        assert all(torch.equal(tensor, before[name]) for name, tensor in model.model.state_dict().items())
        assert model.model.n_users == 60

    def test_after_folding_in(self, model, grown):
        folded = model.with_ratings(of(NEW))
        begun = folded.to_update(epochs=0).fit(folded.history, start_from=folded)
        users = [99, 100, 101, *UNTOUCHED]
        # the effects are fitted anew, to the new ratings too
        assert np.abs(everything(begun, users) - everything(folded, users)).mean() < 0.1
        assert len(folded.update(grown).training.epochs) == 1

    def test_the_start_is_known_by_weights_and_histories(self, model, models):
        # folded-in ratings of known people leave the weights as they are, but not what training recovers from them
        folded = model.with_ratings(of({100: {127: 1.0}}))
        assert folded.fingerprint != model.fingerprint
        assert model.fingerprint != models["one-sided"].fingerprint

    def test_with_what_an_extended_split_holds_out(self, parts):
        first = make("hyvae").fit(*parts)
        nothing = Ratings.empty(parts[0].users, parts[0].items, (1, 5))
        after = extend_split((*parts, nothing), of({**NEW, 1003: dict.fromkeys(range(100, 160, 3), 4.0)}))
        updated = first.update(after.train, after.valid)
        assert updated.training.best_validation_rmse is not None
        assert evaluate(updated, after.test)["ratings"] == len(after.test) > 0

    def test_an_interrupted_update_goes_on(self, model, grown, tmp_path, monkeypatch):
        def update(**arguments):
            return model.to_update(epochs=4).fit(grown, start_from=model, seed=2, **arguments)

        straight = update()
        with monkeypatch.context() as patch:
            patch.setattr(trainer, "Interruption", StopsAt(3))
            with pytest.raises(Interrupted):
                update(checkpoint=tmp_path / "c", checkpoint_every=0)
        resumed = update(checkpoint=tmp_path / "c", resume=True)
        theirs = straight.model.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in resumed.model.state_dict().items())

        other = make("hyvae").fit(model.history, seed=9)
        for start in (other, model.with_ratings(of({100: {127: 1.0}})), None):
            with pytest.raises(TrainingError, match="of another training: first weights was"):
                model.to_update(epochs=4).fit(grown, start_from=start, seed=2, checkpoint=tmp_path / "c", resume=True)


class StopsAt:
    """In the place of `Interruption`: Ctrl-C at the given look at it."""

    def __init__(self, look):
        self.left = look

    def __call__(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @property
    def signal(self):
        self.left -= 1
        return 2 if self.left == 0 else None


assert hasattr(Interruption(), "signal")


class TestWithoutUsers:
    GONE = (106, 250)

    @pytest.fixture(scope="class")
    @classmethod
    def forgetful(cls, models):
        return {kind: model.without_users(cls.GONE) for kind, model in models.items()}

    @kinds
    def test_they_are_gone_from_histories_and_vocabulary(self, models, forgetful, kind):
        history, before = forgetful[kind].history, models[kind].history
        assert history.users.ids.tolist() == [user for user in before.users.ids.tolist() if user not in self.GONE]
        assert history.fingerprint == without_users(before, self.GONE).fingerprint
        assert forgetful[kind].predict_table(self.GONE, [100, 100])["fallback"].to_list() == ["user", "user"]
        with pytest.raises(DataError, match="user 106 is not among"):
            forgetful[kind].recommend(106)

    @kinds
    def test_they_are_gone_from_every_table(self, models, forgetful, kind):
        rows = models[kind].history.users.index(self.GONE)
        kept = np.setdiff1d(np.arange(60), rows)
        looked = 0
        for before, after in (
            (models[kind].model, forgetful[kind].model),
            (models[kind]._floor, forgetful[kind]._floor),
        ):
            assert after.n_users == 58
            states = before.state_dict(), after.state_dict()
            for name in before.user_tables:
                if name not in before.answering_state():
                    continue
                old, new = (state[name] for state in states)
                assert len(new) == 58
                assert torch.equal(new, old[kept])
                for row in old[rows]:
                    assert not (new.reshape(58, -1) == row.reshape(1, -1)).all(1).any(), name
                looked += 1
        assert looked
        for after in (forgetful[kind].model, forgetful[kind]._floor):
            # every state with one row a user is known as such
            assert not [name for name, tensor in after.state_dict().items() if tensor.dim() and len(tensor) == 60]

    @kinds
    def test_the_others_are_answered_as_before(self, models, forgetful, kind):
        others = [user for user in models[kind].history.users.ids.tolist() if user not in self.GONE]
        np.testing.assert_allclose(everything(forgetful[kind], others), everything(models[kind], others), atol=1e-6)

    @kinds
    def test_the_original_is_left_as_it_was(self, models, forgetful, kind):
        assert models[kind].history.n_users == models[kind].model.n_users == 60
        assert models[kind].predict_table([106], [100])["fallback"].to_list() == [""]

    @pytest.mark.bits
    @kinds
    def test_it_is_saved_and_loaded(self, forgetful, kind, tmp_path):
        forgetful[kind].save(tmp_path / "run")
        loaded = Recommender.load(tmp_path / "run")
        np.testing.assert_array_equal(everything(loaded, UNTOUCHED[:3]), everything(forgetful[kind], UNTOUCHED[:3]))

    def test_they_may_come_back_as_someone_new(self, model, forgetful):
        ratings = history_of(model, 106)
        back = forgetful["hyvae"].with_ratings(of({106: ratings}))
        items = rated_items(model)
        np.testing.assert_allclose(everything(back, [106], items), everything(model, [106], items), atol=1e-5)

    def test_training_can_go_on(self, forgetful):
        updated = forgetful["hyvae"].update(forgetful["hyvae"].history)
        assert updated.model.n_users == 58

    def test_someone_unknown_is_refused(self, model):
        with pytest.raises(DataError, match="user 107 is not among"):
            model.without_users([106, 107])

    def test_everybody_is_refused(self, model):
        with pytest.raises(DataError, match="nobody would be left"):
            model.without_users(model.history.users.ids.tolist())

    def test_naming_someone_twice_is_naming_them_once(self, model):
        assert model.without_users([106] * 70).history.n_users == 59

    def test_text_ids(self, string_ratings):
        fitted = BiasModel().fit(string_ratings)
        assert fitted.without_users(["07"]).history.users == Vocabulary.of(
            [user for user in string_ratings.users.ids.tolist() if user != "07"]
        )


@pytest.mark.parametrize("kind", ["hyvae", "one-sided"])
def test_the_models_here_have_learnt_tastes(models, kind):
    # else most of what is compared above would be the bias model's
    model = models[kind]
    users, items = UNTOUCHED[:3], rated_items(model)
    floor = model.fold_in({})._people.answering.floor
    bias = np.array([float(floor.mean) + floor.item_bias.numpy()[model.history.items.index(items)]])
    taste = everything(model, users, items) - bias
    assert (taste - taste.mean(1, keepdims=True)).std() > 0.05
