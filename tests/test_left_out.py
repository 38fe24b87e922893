"""Lists leave out what a user has rated, whatever part of the source it fell into."""

import numpy as np
import pytest

from hyvae import BiasModel, Ratings, Recommender
from hyvae.errors import DataError
from hyvae.evaluation import evaluate
from hyvae.ratings import Vocabulary
from hyvae.serving import schemas
from hyvae.serving.engine import Engine, Known

KNOWN = Known({}, set())


@pytest.fixture(scope="module")
def split(small_ratings):
    return small_ratings.split(seed=1)


@pytest.fixture(scope="module")
def model(split):
    return BiasModel().fit(split.train, split.valid, exclude=split.test)


def pairs(*parts):
    return {pair for part in parts for pair in zip(part.user_ids.tolist(), part.item_ids.tolist(), strict=True)}


def listed(recommender, **options):
    lists = recommender.recommend_table(n=recommender.history.n_items, **options)
    return set(zip(lists["user"].to_list(), lists["item"].to_list(), strict=True))


def loaded(recommender, folder, **options):
    recommender.save(folder / "run", **options)
    return Recommender.load(folder / "run")


def of(user, item, rating=3.0):
    return Ratings.from_arrays([user], [item], [rating], scale=(1, 5))


@pytest.mark.parametrize("model_name", ["bias", "hyvae", "mult_vae"])
def test_validation_and_excluded_pairs_are_on_no_list(split, model_name):
    settings = {} if model_name == "bias" else {"epochs": 1, "preset": "fast" if model_name == "hyvae" else "ranking"}
    fitted = Recommender(model_name, **settings).fit(split.train, split.valid, exclude=split.test)
    candidates = fitted.history.items.ids[fitted.item_counts > 0].tolist()
    people = fitted.history.users.ids[fitted.history.user_counts > 0].tolist()
    everything = {(user, item) for user in people for item in candidates}
    assert listed(fitted) == everything - pairs(split.train, split.valid, split.test)
    assert listed(fitted, include_seen=True) == everything
    user = people[0]
    one = {(user, line.item) for line in fitted.recommend(user, n=200)}
    assert one == {pair for pair in listed(fitted) if pair[0] == user}


@pytest.mark.parametrize("excluded", ["none", "one", "several"])
def test_fit_leaves_out_what_it_is_told(split, excluded):
    exclude = {"none": None, "one": split.test, "several": [split.test, of(100, 103)]}[excluded]
    fitted = BiasModel().fit(split.train, split.valid, exclude=exclude)
    gone = pairs(split.train, split.valid) | (set() if exclude is None else pairs(split.test))
    gone |= {(100, 103)} if excluded == "several" else set()
    assert not listed(fitted) & gone
    assert (excluded == "none") == bool(listed(fitted) & pairs(split.test))


def test_pairs_of_strangers_are_no_matter(split):
    fitted = BiasModel().fit(split.train, exclude=of(7, 8))
    assert not len(fitted.left_out.others)


def test_what_is_excluded_must_be_ratings_and_is_looked_at_before_training(split):
    with pytest.raises(DataError, match="exclude takes Ratings, or a list of them; got str"):
        BiasModel().fit(split.train, exclude=["a"])


class TestWithoutARating:
    """Who took what without a rating: no list offers it again."""

    @pytest.fixture(scope="class")
    @classmethod
    def taken(cls, split):
        rated = pairs(split.train, split.valid, split.test)
        users, items = split.train.users.ids[:5].tolist(), split.train.items.ids[:20].tolist()
        return {(user, item) for user in users for item in items} - rated

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls, split, taken):
        users, items = zip(*sorted(taken), strict=True)
        places = np.stack([split.train.users.index(users), split.train.items.index(items)], axis=1)
        return BiasModel().fit(split.train.with_unrated(places), split.valid, exclude=split.test)

    def test_it_is_on_no_list(self, fitted, model, taken):
        assert listed(fitted) == listed(model) - taken

    def test_so_it_stays(self, fitted, taken, tmp_path):
        assert listed(loaded(fitted, tmp_path)) == listed(fitted)
        assert not listed(fitted.with_ratings(of(1, 100))) & taken
        assert not listed(fitted.without_users([103])) & taken

    def test_evaluation_does_not_look_at_it(self, fitted, model, split):
        assert evaluate(fitted, split.test) == evaluate(model, split.test)


class TestAfterwards:
    """What was left out stays so, whatever becomes of the model."""

    @pytest.mark.parametrize("stored", [(), ("validation",), ("validation", "test")])
    def test_saved_and_loaded(self, model, split, tmp_path, stored):
        parts = {"validation": split.valid, "test": split.test}
        again = loaded(model, tmp_path, held_out={name: parts[name] for name in stored})
        assert listed(again) == listed(model)
        assert pairs(again.left_out.validation) == pairs(split.valid)
        assert pairs(again.left_out.others) == pairs(split.test)
        # a pair is stored once
        assert (tmp_path / "run" / "left_out.parquet").exists() == (len(stored) < 2)

    def test_a_run_without_histories_keeps_no_pair(self, model, tmp_path):
        again = loaded(model, tmp_path, history=False)
        assert not len(again.left_out.validation)
        assert not len(again.left_out.others)

    def test_with_ratings(self, model, split, tmp_path):
        more = model.with_ratings(of(1, 100))
        assert not listed(more) & pairs(split.train, split.valid, split.test)
        assert (1, 100) not in listed(more)
        assert listed(loaded(more, tmp_path)) == listed(more)

    def test_without_users(self, model, split):
        gone = split.valid.user_ids.tolist()[0]
        left = model.without_users([gone])
        assert gone not in left.left_out.validation.user_ids.tolist()
        assert listed(left) == {pair for pair in listed(model) if pair[0] != gone}

    def test_update(self, split):
        start = Recommender("hyvae", preset="fast", epochs=1).fit(split.train, split.valid, exclude=split.test)
        assert not listed(start.update(split.train)) & pairs(split.train, split.valid, split.test)


class TestEvaluation:
    """Only evaluation leaves out no more than training and validation."""

    @pytest.mark.parametrize("part", ["valid", "test"])
    def test_what_is_evaluated_can_be_on_a_list(self, model, split, part):
        targets = getattr(split, part)
        lists = model.recommend_indices(np.arange(model.history.n_users), 80, targets=targets)
        found = {(user, item) for user, row in enumerate(lists.tolist()) for item in row if item >= 0}
        rated = {
            name: set(zip(each.user_index.tolist(), each.indices.tolist(), strict=True))
            for name, each in (("train", split.train), ("valid", split.valid), ("test", split.test))
        }
        candidates = set(np.flatnonzero(model.item_counts).tolist())
        assert not found & rated["train"]
        assert found >= {pair for pair in rated[part] if pair[1] in candidates}
        assert bool(found & rated["valid"]) == (part == "valid")
        assert found & rated["test"]
        assert evaluate(model, targets)["ranking"]["ndcg"] > 0

    def test_what_is_excluded_changes_no_measure(self, model, split):
        plain = BiasModel().fit(split.train, split.valid)
        assert evaluate(model, split.test) == evaluate(plain, split.test)


class TestService:
    def ask(self, engine, **who):
        answer = engine.answer([schemas.RecommendRequest(n=500, **who)], KNOWN)[0]
        return {line.item for line in answer.recommendations}

    def test_a_known_user_gets_no_held_out_item(self, model, split):
        engine = Engine(model)
        for user in split.test.user_ids.tolist()[:5]:
            assert self.ask(engine, user=user) == {item for who, item in listed(model) if who == user}

    def test_who_is_given_by_ratings_or_forgotten_is_not_remembered(self, model, split):
        engine = Engine(model)
        user = split.test.user_ids.tolist()[0]
        held_out = {item for who, item in pairs(split.test) if who == user}
        assert self.ask(engine, ratings=[{"item": 100, "rating": 3.0}]) >= held_out - {100}
        forgotten = Known({user: {100: 3.0}}, {user})
        answer = engine.answer([schemas.RecommendRequest(user=user, n=500)], forgotten)[0]
        assert {line.item for line in answer.recommendations} >= held_out - {100}


def test_an_empty_vocabulary_has_no_pairs():
    nobody = Ratings.empty(Vocabulary(np.arange(2)), Vocabulary(np.arange(3)), (1.0, 5.0))
    assert not len(BiasModel().fit(of_many(), exclude=nobody).left_out.others)


def of_many():
    return Ratings.from_arrays([1, 1, 2, 2], [1, 2, 1, 3], [1.0, 2.0, 3.0, 4.0])
