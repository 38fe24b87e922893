"""What people call, beyond the contract of every model: new items, intervals, tables, errors."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

from hyvae import BiasModel, HyVAE, Recommender, recommender
from hyvae.errors import ConfigError, DataError, HyvaeError
from hyvae.ratings import Ratings, Vocabulary
from hyvae.scoring import rating_block

SMALL = {"hidden": 12, "latent": 4, "deep_layers": (5,), "epochs": 10, "samples": 2, "sample_width": 3, "sweeps": 4}
NEW = {7: {100: 5.0, 103: 4.0, 109: 1.0}, 1000: {112: 2.0}}


@pytest.fixture(scope="module")
def model(parts):
    return HyVAE(**SMALL).fit(*parts, seed=3)


@pytest.fixture(scope="module")
def bias(parts):
    return BiasModel().fit(*parts)


class TestWithItems:
    @pytest.fixture(scope="class")
    @classmethod
    def extended(cls, model):
        return model.with_items(NEW, titles={7: "Newcomer"})

    def test_the_new_items_rows_are_the_models_encoding(self, model, extended):
        users = model.history.users
        column = Ratings.from_indices(
            type(users)(np.arange(1)),
            users,
            np.zeros(3, int),
            users.index([100, 103, 109]),
            [5.0, 4.0, 1.0],
            scale=(1, 5),
        )
        with torch.no_grad():
            raters = rating_block(model.model, model.history, np.sort(users.index([100, 103, 109])))
            rows, biases = model.model.encode_items(rating_block(model.model, column), raters)
        place = int(extended.history.items.index([7])[0])
        torch.testing.assert_close(extended.model.item_rows[place], rows[0])
        torch.testing.assert_close(extended.model.item_bias[place], biases[0])

    def test_predictions_for_a_new_item_are_its_row_and_the_users_code(self, model, extended):
        # a user who did not rate it: their history, and so their code, is as before
        user = model.history.users.ids.tolist()[30]
        with torch.no_grad():
            code = model.model.encode(rating_block(model.model, model.history, np.array([30])))[0]
        place = int(extended.history.items.index([7])[0])
        wanted = float(extended.model.ratings(extended.model.score(code.unsqueeze(0), slice(place, place + 1))))
        assert extended.predict([user], [7])[0] == pytest.approx(np.clip(wanted, 1, 5), abs=1e-5)

    def test_old_rows_are_unchanged(self, model, extended):
        old = torch.from_numpy(extended.history.items.index(model.history.items.ids))
        assert torch.equal(extended.model.item_rows[old], model.model.item_rows)
        assert torch.equal(extended.model.item_bias[old], model.model.item_bias)

    def test_who_did_not_rate_new_items_is_answered_as_before(self, model, extended):
        raters = {user for column in NEW.values() for user in column}
        history = model.history
        users = [u for u in history.users.ids[history.user_counts > 0].tolist() if u not in raters]
        items = history.items.ids[history.item_counts > 0].tolist()
        rng = np.random.default_rng(0)
        pairs = rng.choice(users, 50), rng.choice(items, 50)
        np.testing.assert_allclose(extended.predict(*pairs), model.predict(*pairs), atol=1e-5)

    def test_the_original_is_left_as_it_was(self, model, extended):
        assert len(model.history) == len(extended.history) - 4
        assert model.predict_table([100], [7])["fallback"].to_list() == ["item"]
        assert model.model.n_items == 80

    def test_new_items_are_no_fallback(self, extended):
        user = extended.history.users.ids.tolist()[30]
        assert extended.predict_table([user, user], [7, 1000])["fallback"].to_list() == ["", ""]

    def test_new_items_can_be_recommended(self, extended):
        user = extended.history.users.ids.tolist()[30]
        lines = extended.recommend(user, 200)
        assert {7, 1000} <= {line.item for line in lines}
        assert next(line.title for line in lines if line.item == 7) == "Newcomer"

    def test_new_items_are_not_recommended_to_who_rated_them(self, extended):
        assert 7 not in {line.item for line in extended.recommend(100, 200)}

    def test_new_items_are_found_by_title(self, model):
        model.fold_in({"Film 3": 4.0})  # the old look-up exists already
        extended = model.with_items(NEW, titles={7: "Newcomer"})
        assert extended.fold_in({"newcomer": 4.0}).ratings.indices.tolist() == [0]

    def test_people_never_seen_may_have_rated_new_items(self, extended):
        assert np.isfinite(extended.fold_in({7: 5.0, 100: 2.0}).predict([1000, 103])).all()

    def test_ratings_of_old_items_stay(self, model, extended):
        old = extended.history.items.index(model.history.items.ids)
        kept = np.isin(extended.history.indices, old)
        assert extended.history.take(kept).values.tolist() == model.history.values.tolist()

    @pytest.mark.bits
    def test_an_extended_model_is_saved_and_loaded(self, extended, tmp_path):
        extended.save(tmp_path / "run")
        loaded = HyVAE.load(tmp_path / "run")
        pairs = [100, 190, 190, 193], [7, 7, 1000, 103]
        np.testing.assert_array_equal(loaded.predict(*pairs), extended.predict(*pairs))

    def test_more_items_can_follow(self, extended):
        again = extended.with_items({8: {100: 3.0}})
        assert again.predict_table([190, 190], [7, 8])["fallback"].to_list() == ["", ""]
        assert again.predict([190], [7])[0] == pytest.approx(extended.predict([190], [7])[0], abs=1e-5)

    def test_string_ids(self, string_ratings):
        fitted = HyVAE(**SMALL).fit(string_ratings)
        extended = fitted.with_items({"aa": {"00": 5.0, "07": 4.0}})
        assert extended.predict_table(["014"], ["aa"])["fallback"].to_list() == [""]

    def test_a_known_item_is_refused(self, model):
        with pytest.raises(DataError, match="item 100 is known already"):
            model.with_items({100: {100: 3.0}})

    def test_an_unknown_user_is_refused(self, model):
        with pytest.raises(DataError, match="user 5 is not among"):
            model.with_items({7: {5: 3.0}})

    @pytest.mark.parametrize("columns", [{}, {7: {}}])
    def test_no_ratings_are_refused(self, model, columns):
        with pytest.raises(DataError, match="no ratings"):
            model.with_items(columns)

    @pytest.mark.parametrize("bad", [9.0, float("nan")])
    def test_ratings_off_the_scale_are_refused(self, model, bad):
        with pytest.raises(DataError, match="ratings of new items"):
            model.with_items({7: {100: bad}})

    def test_a_one_sided_model_refuses(self, parts):
        paper = HyVAE(preset="paper", hidden=8, latent=4, deep_layers=(4,), decoder=4, epochs=1).fit(parts[0])
        with pytest.raises(ConfigError, match="hyvae, as it is set, cannot encode new items"):
            paper.with_items(NEW)

    def test_the_callers_random_state_is_left_alone(self, model):
        before = torch.get_rng_state()
        model.with_items(NEW)
        assert torch.equal(torch.get_rng_state(), before)


class TestIntervals:
    def test_validation_ratings_are_covered_as_stated(self, model, parts):
        for coverage in (0.5, 0.8, 0.9):
            table = model.predict_table(parts[1].user_ids, parts[1].item_ids, coverage=coverage)
            values = parts[1].values
            low, high = table["interval_low"].to_numpy(), table["interval_high"].to_numpy()
            inside = (values >= low - 1e-5) & (values <= high + 1e-5)
            assert coverage <= inside.mean() <= coverage + 2 / len(values) + 0.02

    def test_intervals_stay_on_the_scale(self, model, parts):
        table = model.predict_table(parts[1].user_ids, parts[1].item_ids)
        assert table["interval_low"].min() >= 1
        assert table["interval_high"].max() <= 5

    def test_without_validation_there_are_none(self, parts):
        without = BiasModel().fit(parts[0])
        table = without.predict_table([100], [100])
        for name in ("sd", "interval_low", "interval_high"):
            assert table[name].to_list() == [None]
            assert table.schema[name] == pl.Float32
        assert not without.knows_uncertainty
        assert without.recommend(100, 1)[0].sd is None
        with pytest.raises(ConfigError, match="fit with validation ratings"):
            without.predict_distribution([100], [100])

    def test_one_validation_rating_gives_its_error(self, parts):
        one = parts[1].take(np.array([0]))
        fitted = BiasModel().fit(parts[0], one)
        assert not fitted.knows_uncertainty  # one rating tells of no levels

    @pytest.mark.parametrize("coverage", [0, 1, -1, 90, float("nan")])
    def test_a_coverage_is_a_share(self, model, coverage):
        with pytest.raises(ConfigError, match="above 0 and below 1"):
            model.predict_table([100], [100], coverage=coverage)

    def test_the_distribution_has_the_predictions_mean_and_the_tables_sd(self, model, parts):
        test = parts[1]
        table = model.predict_table(test.user_ids, test.item_ids)
        distribution = model.predict_distribution(test.user_ids, test.item_ids)
        assert distribution.columns == ["user", "item", "1", "2", "3", "4", "5"]
        share = distribution.drop("user", "item").to_numpy()
        np.testing.assert_allclose(share.sum(1), 1, atol=1e-9)
        levels = np.arange(1.0, 6.0)
        mean = share @ levels
        inner = np.clip(table["prediction"].to_numpy(), 1.2, 4.8)
        np.testing.assert_allclose(mean, inner, atol=1e-4)
        np.testing.assert_allclose(np.sqrt(share @ levels**2 - mean**2), table["sd"].to_numpy(), atol=1e-4)

    def test_someone_folded_in_is_as_sure_as_a_known_user_with_that_history(self, model, parts):
        user = int(np.argmax(parts[0].user_counts))
        items, values = parts[0].history(user)
        ids = parts[0].items.ids
        new = model.fold_in(dict(zip(ids[items].tolist(), values.tolist(), strict=True)))
        id_ = parts[0].users.ids[user].item()
        wanted = ids[:8].tolist()
        known = model.predict_table([id_] * 8, wanted, coverage=0.8).drop("user", "fallback")
        folded = new.predict_table(wanted, coverage=0.8)
        for name in ("prediction", "sd", "interval_low", "interval_high"):
            np.testing.assert_allclose(folded[name], known[name], atol=1e-5)
        shares = new.predict_distribution(wanted).drop("item").to_numpy()
        theirs = model.predict_distribution([id_] * 8, wanted).drop("user", "item").to_numpy()
        np.testing.assert_allclose(shares, theirs, atol=1e-5)
        assert [line.sd for line in new.recommend(3)] == pytest.approx([line.sd for line in model.recommend(id_, 3)])

    def test_tables_for_someone_new_tell_titles_by_id(self, parts):
        titled = dataclasses.replace(parts[0], titles=np.array([f"Film {k}" for k in range(parts[0].n_items)], object))
        model = BiasModel().fit(titled, dataclasses.replace(parts[1], titles=titled.titles))
        first, second = titled.items.ids[:2].tolist()
        new = model.fold_in({first: 4.0})
        assert new.predict_table(["Film 1", first])["item"].to_list() == [second, first]
        assert new.predict_distribution(["Film 1", first])["item"].to_list() == [second, first]

    def test_a_saved_run_is_as_sure(self, model, parts, tmp_path):
        model.save(tmp_path / "run")
        again = type(model).load(tmp_path / "run")
        pairs = parts[1].user_ids, parts[1].item_ids
        assert again.predict_table(*pairs, coverage=0.7).equals(model.predict_table(*pairs, coverage=0.7))


class TestExplanations:
    def test_an_effect_is_the_difference_that_leaving_out_makes(self, model, parts):
        ids = parts[0].items.ids
        user = int(np.argmax(parts[0].user_counts))
        items, values = parts[0].history(user)
        ratings = dict(zip(ids[items].tolist(), values.tolist(), strict=True))
        target = int(np.setdiff1d(np.arange(parts[0].n_items), items)[0])
        reasons = model.explain(parts[0].users.ids[user].item(), ids[target].item(), n=4)
        assert len(reasons) == 4
        assert [abs(reason.effect) for reason in reasons] == sorted((abs(r.effect) for r in reasons), reverse=True)

        def score(of):
            rows = np.flatnonzero(np.isin(ids, list(of)))
            values = [of[id_] for id_ in ids[rows].tolist()]
            one = Ratings.from_indices(Vocabulary.of([0]), parts[0].items, np.zeros(len(rows), int), rows, values)
            return float(model.people(one).scores()[0, target])

        for reason in reasons:
            assert ratings[reason.item] == reason.rating
            without = {item: value for item, value in ratings.items() if item != reason.item}
            assert reason.effect == pytest.approx(score(ratings) - score(without), abs=1e-4)

    def test_someone_new_is_told_as_a_known_user(self, model, parts):
        ids = parts[0].items.ids
        items, values = parts[0].history(3)
        ratings = dict(zip(ids[items].tolist(), values.tolist(), strict=True))
        known = model.explain(parts[0].users.ids[3].item(), ids[0].item())
        new = model.explain(ratings, ids[0].item())
        assert [(r.item, r.rating, r.title) for r in new] == [(r.item, r.rating, r.title) for r in known]
        np.testing.assert_allclose([r.effect for r in new], [r.effect for r in known], atol=1e-5)

    def test_of_a_long_history_some_are_left_out(self, model, parts, monkeypatch):
        monkeypatch.setattr("hyvae.explanation.MOST_LEFT_OUT", 3)
        user = int(np.argmax(parts[0].user_counts))
        assert len(model.explain(parts[0].users.ids[user].item(), parts[0].items.ids[0].item(), n=9)) == 3

    def test_it_takes_two_ratings(self, model, parts):
        first, second = parts[0].items.ids[:2].tolist()
        for ratings in ({first: 5.0}, {first: 5.0, second: 3.0}):
            with pytest.raises(DataError, match="two ratings of other items"):
                model.explain(ratings, second)


class TestFallbacks:
    def test_a_known_user_and_an_unknown_item_get_the_users_effect(self, bias):
        floor, user = bias._floor, 5
        wanted = float(floor.ratings(floor.mean + floor.user_bias[user]))
        id_ = bias.history.users.ids.tolist()[user]
        assert bias.predict([id_], [-1])[0] == pytest.approx(wanted, abs=1e-5)

    def test_both_unknown_get_the_mean(self, bias, parts):
        assert bias.predict([-1], [-1])[0] == pytest.approx(parts[0].values.mean(), abs=1e-4)

    def test_pairs_from_other_vocabularies_are_looked_up_by_id(self, bias, parts):
        some = Ratings.from_arrays([103, 7], [106, 109], [3.0, 3.0], scale=(1, 5))
        np.testing.assert_allclose(bias.predict_ratings(some), bias.predict([7, 103], [109, 106]), atol=1e-6)


class TestTables:
    def test_the_blocks_of_a_long_table_are_joined(self, bias, monkeypatch):
        whole = bias.recommend_table(n=3)
        monkeypatch.setattr(recommender, "USER_BLOCK", 7)
        assert bias.recommend_table(n=3).equals(whole)

    def test_a_block_of_people_who_saw_everything_is_joined_too(self, monkeypatch):
        monkeypatch.setattr(recommender, "USER_BLOCK", 1)
        fitted = BiasModel().fit(Ratings.from_arrays([1, 1, 2], [1, 2, 1], [3.0, 4.0, 5.0]))
        table = fitted.recommend_table(n=2)
        assert table["user"].to_list() == [2]
        assert table["item"].to_list() == [2]

    def test_a_table_where_everyone_saw_everything_is_empty_and_keeps_its_types(self):
        fitted = BiasModel().fit(Ratings.from_arrays([1, 1, 2, 2], [1, 2, 1, 2], [3.0, 4.0, 5.0, 3.0]))
        table = fitted.recommend_table(n=2)
        assert table.is_empty()
        assert table.schema["item"] == pl.Int64

    def test_nobody_is_refused(self, bias):
        with pytest.raises(DataError, match="no user"):
            bias.recommend_table([])

    def test_an_unknown_user_is_refused(self, bias):
        with pytest.raises(DataError, match="user -3 is not among"):
            bias.recommend_table([100, -3])

    def test_pairs_of_different_lengths_are_refused(self, bias):
        with pytest.raises(DataError, match="differ in length: 2 and 1"):
            bias.predict([100, 103], [100])


class TestFitting:
    def test_no_ratings_are_refused(self, parts):
        with pytest.raises(DataError, match="no ratings"):
            BiasModel().fit(Ratings.empty(parts[0].users, parts[0].items, (1, 5)))

    def test_validation_from_elsewhere_is_refused(self, parts, string_ratings):
        with pytest.raises(DataError, match="must share"):
            BiasModel().fit(parts[0], string_ratings)

    def test_an_empty_validation_part_is_none(self, parts):
        empty = Ratings.empty(parts[1].users, parts[1].items, (1, 5))
        assert not BiasModel().fit(parts[0], empty).knows_uncertainty

    def test_validation_is_never_learnt_from(self, parts):
        one = BiasModel().fit(*parts).model.state_dict()
        other = BiasModel().fit(parts[0]).model.state_dict()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())

    def test_a_failed_fit_leaves_the_model_unfitted(self, parts):
        broken = HyVAE(**{**SMALL, "learning_rate": 1e30})
        with pytest.raises(HyvaeError):
            broken.fit(parts[0])
        with pytest.raises(HyvaeError, match="not fitted"):
            broken.predict([100], [100])

    def test_provenance_says_where_it_came_from(self, model, parts):
        found = model.provenance
        assert found["train"] == {"fingerprint": parts[0].fingerprint, "ratings": len(parts[0])}
        assert found["validation"]["ratings"] == len(parts[1])
        assert found["seed"] == 3
        assert found["versions"]["torch"] == torch.__version__

    def test_repr(self, model):
        assert repr(HyVAE(preset="paper")) == "Hy-VAE (paper; not fitted)"
        assert "60 users × 80 items" in repr(model)


class TestConstruction:
    @pytest.mark.parametrize("device", ["toaster", "cpu:banana", ""])
    def test_an_unknown_device_is_refused(self, device):
        with pytest.raises(ConfigError, match="device"):
            Recommender("bias", device=device)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
    def test_cuda_without_cuda_is_refused(self):
        with pytest.raises(ConfigError, match="not available"):
            HyVAE(device="cuda")

    def test_an_unknown_setting_is_refused(self):
        with pytest.raises(ConfigError, match="did you mean 'latent'"):
            HyVAE(latnet=3)

    def test_the_classes_name_their_models(self):
        assert (HyVAE().name, BiasModel().name, Recommender("bias").name) == ("hyvae", "bias", "bias")
