"""What a list may hold, how long it is, and what its numbers mean; items that are alike."""

import tracemalloc

import numpy as np
import polars as pl
import pytest

from hyvae import BiasModel, Ratings, Recommender, recommender
from hyvae.errors import DataError
from hyvae.serving.catalogue import Catalogue

SOMEONE = {100: 5.0, 103: 1.0}


@pytest.fixture(scope="module")
def model(parts):
    return Recommender("hyvae", preset="fast", epochs=3).fit(*parts)


def items_of(lines):
    return [line.item for line in lines]


class TestAllowAndDeny:
    @pytest.mark.parametrize("who", [100, SOMEONE], ids=["known", "given"])
    @pytest.mark.parametrize(
        ("filters", "wanted"),
        [
            ({"allow": [106, "Film 3", "film 4"]}, {106, 109, 112}),
            ({"allow": [106, 109], "deny": [106]}, {109}),
            ({"deny": np.array([106, 109])}, None),
            ({"allow": []}, set()),
            ({"allow": range(106, 107)}, {106}),
        ],
    )
    def test_lists_hold_what_may_be_on_them(self, model, who, filters, wanted):
        everything = items_of(model.recommend(who, 80, include_seen=True))
        kept = [item for item in everything if item in wanted] if wanted is not None else None
        kept = kept if kept is not None else [item for item in everything if item not in (106, 109)]
        assert items_of(model.recommend(who, 80, include_seen=True, **filters)) == kept

    def test_tables_too(self, model):
        lists = model.recommend_table([100, 103], 80, include_seen=True, allow=[106, 109], deny=["Film 3"])
        assert lists["item"].to_list() == [106, 106]

    @pytest.mark.parametrize("name", ["allow", "deny"])
    @pytest.mark.parametrize(
        ("items", "message"),
        [(["Nothing"], "item 'Nothing' is not known"), ("Film 3", "takes a list of item ids"), (106, "takes a list")],
    )
    def test_mistakes_are_named(self, model, name, items, message):
        for ask in (lambda: model.recommend(100, **{name: items}), lambda: model.recommend_table(**{name: items})):
            with pytest.raises(DataError, match=message):
                ask()

    def test_what_has_no_ratings_is_on_no_list(self, model):
        unrated = model.history.items.ids[model.item_counts == 0].tolist()[0]
        assert model.recommend(100, allow=[unrated]) == []


class TestLength:
    @pytest.mark.parametrize("n", [10**9, 2**70, np.int64(10**9)])
    def test_no_list_is_longer_than_the_catalogue(self, model, n):
        candidates = int(np.count_nonzero(model.item_counts))
        assert len(model.recommend(100, n, include_seen=True)) == candidates
        assert len(model.recommend(SOMEONE, n, include_seen=True)) == candidates
        assert len(model.recommend_table([100, 103], n, include_seen=True)) == 2 * candidates
        assert model.recommend_indices(np.arange(3), n).shape == (3, 80)
        assert len(model.similar_items(100, n)) == candidates - 1

    @pytest.mark.parametrize("n", [0, -1, 2.5, None, "3"])
    def test_what_is_no_length_is_refused(self, model, n):
        for ask in (model.recommend, model.similar_items):
            with pytest.raises(DataError, match="the length of a list must be at least 1, got"):
                ask(100, n)

    def test_blocks_are_the_table_in_pieces(self, model, monkeypatch):
        whole = model.recommend_table(n=7)
        monkeypatch.setattr(recommender, "_LINES_AT_A_TIME", 70)
        pieces = list(model.recommend_blocks(n=7))
        assert max(piece["user"].n_unique() for piece in pieces) == 10
        assert pl.concat(pieces).drop("score").equals(whole.drop("score"))

    def test_memory_is_that_of_a_block(self):
        n_users, n_items = 3_000, 2_000
        people = np.arange(n_users)
        fitted = BiasModel().fit(Ratings.from_arrays(people, people % n_items, 1.0 + people % 5))
        tracemalloc.start()
        for block in fitted.recommend_blocks(n=10**6):
            assert len(block) <= recommender._LINES_AT_A_TIME
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # all lines at once have 24 bytes each, 144 MB
        assert peak < 80e6


class TestScores:
    @pytest.fixture(scope="class")
    @classmethod
    def generous(cls):
        """Someone who likes everything, and items that most people like."""
        rng = np.random.default_rng(0)
        users, items = np.divmod(rng.choice(40 * 30, 600, replace=False), 30)
        liked = 3.0 + np.linspace(3, -3, 40)[users] + np.linspace(1, -1, 30)[items]
        values = np.clip(np.round(liked + 0.1 * rng.normal(size=600)), 1, 5)
        return BiasModel().fit(Ratings.from_arrays(users, items, values, scale=(1, 5)))

    def test_lists_of_nothing_but_the_highest_rating_tell_their_order(self, generous):
        lines = generous.recommend(0, n=3, include_seen=True)
        assert [line.score for line in lines] == [5.0] * 3
        unclipped = [line.unclipped for line in lines]
        assert unclipped == sorted(unclipped, reverse=True)
        assert len(set(unclipped)) == 3
        assert min(unclipped) > 5.0

    def test_within_the_scale_nothing_is_clipped(self, model):
        for line in [*model.recommend(100), *model.recommend(SOMEONE)]:
            assert line.score == np.clip(np.float32(line.unclipped), 1, 5)


LEVELS = {
    "millions": ([1_000_001.0, 1_000_002.0, 1_000_003.0, 1_000_005.0], ["1000001", "1000002", "1000003", "1000005"]),
    "thousandths": ([123.001, 123.0012, 123.0015, 123.002], ["123.001", "123.0012", "123.0015", "123.002"]),
    "halves": ([0.5, 4.5, 5.0, -1.0], ["-1", "0.5", "4.5", "5"]),
}


@pytest.mark.parametrize(("levels", "names"), LEVELS.values(), ids=LEVELS)
def test_every_level_has_a_column_of_its_own(levels, names):
    rng = np.random.default_rng(0)
    users, items = np.divmod(rng.choice(40 * 30, 600, replace=False), 30)
    ratings = Ratings.from_arrays(users, items, rng.choice(levels, 600))
    train, valid, _ = ratings.split()
    fitted = BiasModel().fit(train, valid)
    for table in (
        fitted.predict_distribution([1, 2, 3], [1, 2, 3]).drop("user", "item"),
        fitted.fold_in({1: levels[0]}).predict_distribution([1, 2]).drop("item"),
    ):
        assert table.columns == names
        assert [np.float32(name) for name in table.columns] == np.sort(np.float32(levels)).tolist()
        np.testing.assert_allclose(table.to_numpy().sum(1), 1.0, atol=1e-6)


class TestSimilarItems:
    def test_they_are_those_of_the_service(self, model):
        found = model.similar_items("Film 3", 5)
        served = Catalogue(model).similar("Film 3", 5).items
        assert [(line.item, line.title, line.similarity) for line in found] == [
            (line.item, line.title, line.similarity) for line in served
        ]
        assert found == model.similar_items(109, 5)

    def test_the_cosine_orders_them(self, model):
        rows = model.model.item_rows.numpy()[:, :-1]
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        place = int(model.history.items.index([109])[0])
        cosines = rows @ rows[place]
        candidates = np.flatnonzero((model.item_counts > 0) & (np.arange(80) != place))
        order = candidates[np.argsort(-cosines[candidates])][:5]
        found = model.similar_items(109, 5)
        assert items_of(found) == model.history.items.ids[order].tolist()
        np.testing.assert_allclose([line.similarity for line in found], cosines[order], atol=1e-6)

    def test_new_items_are_among_them(self, model):
        model.similar_items(109)  # what it looks up exists already
        extended = model.with_items({7: {100: 5.0, 103: 4.0, 109: 1.0}})
        assert 7 in items_of(extended.similar_items(109, 80))

    def test_an_unknown_item_is_refused(self, model):
        with pytest.raises(DataError, match="item 'Nothing' is not known"):
            model.similar_items("Nothing")
