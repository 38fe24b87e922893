"""What callers hand over: right, or refused with one line before anything is trained."""

import datetime as dt
import uuid
from collections import UserDict

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from hyvae import BiasModel, Ratings
from hyvae.errors import ConfigError, DataError
from hyvae.ratings import Vocabulary

USERS, ITEMS, VALUES = [1, 1, 2, 2], [1, 2, 1, 3], [1.0, 2.0, 3.0, 4.0]
SECONDS = [1_500_000_000, 1_500_000_001, 0, 86_400]
DATES = pd.to_datetime(SECONDS, unit="s")


def make(**changed):
    return Ratings.from_arrays(**{"user_ids": USERS, "item_ids": ITEMS, "ratings": VALUES, **changed})


@pytest.mark.parametrize(
    "times",
    [
        SECONDS,
        np.array(SECONDS, np.int32),
        np.array(SECONDS, float),
        *(DATES.as_unit(unit) for unit in ("s", "ms", "us", "ns")),
        DATES.tz_localize("UTC"),
        DATES.tz_localize("UTC").tz_convert("Asia/Tokyo"),
        pd.Series(DATES),
        pd.Series(DATES.tz_localize("UTC")),
        list(DATES.to_pydatetime()),
        np.ma.array(SECONDS, mask=False),
    ],
)
def test_times_of_any_unit_are_seconds(times):
    assert make(timestamps=times).timestamps.tolist() == SECONDS


def test_days_are_seconds():
    days = [dt.date(1970, 1, 2)] * 4
    assert make(timestamps=days).timestamps.tolist() == [86_400] * 4
    assert make(timestamps=np.array(days, "datetime64[D]")).timestamps.tolist() == [86_400] * 4


def masked(values):
    return np.ma.array(values, mask=[False, True, False, False])


BAD_ID = "ids must be all integers or all text; id number 2 is "
REFUSED = {
    "masked users": ({"user_ids": masked(USERS)}, "id number 2 is masked"),
    "masked items": ({"item_ids": masked(ITEMS)}, "id number 2 is masked"),
    "masked ratings": ({"ratings": masked(VALUES)}, "rating number 2 is masked"),
    "masked times": ({"timestamps": masked(SECONDS)}, "timestamp number 2 is masked"),
    "NaN time": ({"timestamps": [1.0, np.nan, 2.0, 3.0]}, "timestamp number 2 is missing"),
    "infinite time": ({"timestamps": [1.0, np.inf, 2.0, 3.0]}, "timestamp number 2 is missing"),
    "None time": ({"timestamps": [1, None, 2, 3]}, "timestamp number 2 is missing"),
    "NaT": ({"timestamps": pd.to_datetime([0, None, 0, 0], unit="s")}, "timestamp number 2 is missing"),
    "NA time": ({"timestamps": pd.array([1, None, 2, 3], dtype="Int64")}, "timestamp number 2 is missing"),
    "huge time": ({"timestamps": [1.0, 1e300, 2.0, 3.0]}, "timestamp number 2 does not fit in 64 bits"),
    "text time": ({"timestamps": ["a"] * 4}, "timestamps must be seconds since 1970 or dates"),
    "NA user": ({"user_ids": pd.array([1, None, 2, 2], dtype="Int64")}, f"{BAD_ID}missing"),
    "None item": ({"item_ids": [318, None, 1, 2]}, f"{BAD_ID}missing"),
    "NaN item": ({"item_ids": ["a", np.nan, "b", "c"]}, f"{BAD_ID}missing"),
    "bool": ({"item_ids": [1, True, "a", 2]}, f"{BAD_ID}True \\(bool\\)"),
    "mixed": ({"item_ids": [1, 2, "a", 3]}, "'a' is text, and 1 is an integer"),
    "surrogate user": ({"user_ids": ["a", "a", "\ud800", "b"]}, "the id '\\\\ud800' has half of a character"),
    "surrogate item": ({"item_ids": ["a", "b", "a", "\udcff"]}, "the id '\\\\udcff' has half of a character"),
    "surrogate title": ({"titles": {1: "a\ud800"}}, "the title 'a\\\\ud800' has half of a character"),
    "integer title": ({"titles": {1: 300}}, "the title of item 1 is 300 \\(int\\); titles must be text"),
    "bytes title": ({"titles": {1: b"300"}}, "the title of item 1 is b'300' \\(bytes\\)"),
    "list of titles": ({"titles": ["a", "b", "c"]}, "titles must be a dict of item id to title, got list"),
    "repeated": ({"item_ids": [1, 1, 2, 3]}, "choose on_duplicates='last' or 'mean'$"),
    "0-dimensional": ({"user_ids": 1}, "ids must be one-dimensional"),
    "ragged": ({"user_ids": [[1], [1, 2], [], []]}, "ids are no array of one dimension"),
}


@pytest.mark.parametrize(("changed", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_when_ratings_are_made(changed, message):
    with pytest.raises(DataError, match=message) as raised:
        make(**changed)
    assert "--" not in str(raised.value)


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT, float("nan")])
@pytest.mark.parametrize("kind", [dict, pd.Series, UserDict])
def test_an_item_without_a_title_is_called_by_its_id(nothing, kind, tmp_path):
    titles = {1: "Alien", 2: nothing, 3: "Brazil"}
    ratings = make(titles=pd.Series(titles, dtype=object) if kind is pd.Series else kind(titles))
    assert ratings.titles.tolist() == ["Alien", "2", "Brazil"]
    model = BiasModel().fit(ratings)
    model.save(tmp_path / "run")
    assert model.recommend({"Alien": 4, "2": 3}, n=1, include_seen=True)


@pytest.mark.parametrize(
    ("titles", "message"),
    [
        (np.array(["a", None, "c"], object), "the title of item 2 is None"),
        (np.array(["a", "b"], object), "3 items and titles of shape"),
    ],
)
def test_titles_are_checked_however_ratings_are_made(titles, message):
    items = Vocabulary(np.array([1, 2, 3]))
    with pytest.raises(DataError, match=message):
        Ratings.from_indices(items, items, np.arange(3), np.arange(3), np.ones(3), titles=titles)
    with pytest.raises(DataError, match=message):
        Ratings.empty(items, items, (1, 5), titles)


NAMES = [uuid.UUID(int=k) for k in (3, 4, 1, 2)]


def test_uuids_are_their_text():
    ratings = make(user_ids=[NAMES[0], NAMES[0], NAMES[1], NAMES[1]], item_ids=NAMES)
    assert ratings.items.ids.tolist() == sorted(map(str, NAMES))
    model = BiasModel().fit(ratings)
    assert model.predict([NAMES[0]], [NAMES[1]]) == model.predict([str(NAMES[0])], [str(NAMES[1])])
    assert model.recommend(NAMES[0]) == model.recommend(str(NAMES[0]))


@pytest.mark.parametrize(
    "ids",
    [
        np.array(["a", "b", "a", "c"], np.dtypes.StringDType()),
        np.array(["a", "b", "a", "c"], np.dtypes.StringDType(na_object=np.nan)),
        np.array([b"a", b"b", b"a", b"c"]),
        pd.Series(["a", "b", "a", "c"], dtype="string"),
        pd.Categorical(["a", "b", "a", "c"]),
        ("a", "b", "a", "c"),
        dict.fromkeys(["a", "b", "c", "d"]).keys(),
    ],
)
def test_text_of_every_kind(ids):
    assert make(item_ids=ids).items.ids.tolist()[:2] == ["a", "b"]


def test_missing_text_of_numpy_is_refused():
    ids = np.array(["a", np.nan, "b", "c"], np.dtypes.StringDType(na_object=np.nan))
    with pytest.raises(DataError, match="id number 2 is missing"):
        make(item_ids=ids)


@pytest.mark.parametrize("policy", ["last", "mean"])
def test_repeated_pairs_can_be_merged(policy):
    with pytest.warns(match="1 repeated rating merged"):
        ratings = make(item_ids=[1, 1, 2, 3], on_duplicates=policy)
    assert ratings.values.tolist()[0] == {"last": 2.0, "mean": 1.5}[policy]
    matrix = sparse.coo_array(([1.0, 2.0, 3.0], ([0, 0, 1], [0, 0, 1])))
    with pytest.warns(match="1 repeated rating merged"):
        assert len(Ratings.from_scipy(matrix, on_duplicates=policy)) == 2


class TestSeeds:
    @pytest.mark.parametrize("seed", [np.int64(1), np.uint8(1), np.array(1), 1])
    def test_any_integer_is_one(self, small_ratings, seed):
        settings = {"preset": "fast", "epochs": 1}
        from hyvae import HyVAE

        model, plain = HyVAE(**settings), HyVAE(**settings)
        model.fit(small_ratings, seed=seed)
        assert model.fingerprint == plain.fit(small_ratings, seed=1).fingerprint
        assert model.provenance["job"] == plain.provenance["job"]

    @pytest.mark.parametrize("seed", [1.0, None, "1", True, -1, 2**32, np.nan])
    def test_what_is_none_is_refused_before_training(self, small_ratings, seed):
        for call in (lambda: BiasModel().fit(small_ratings, seed=seed), lambda: small_ratings.split(seed=seed)):
            with pytest.raises(ConfigError, match="seed must be an integer from 0 to 2\\*\\*32 - 1, got"):
                call()


class TestQuestions:
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return BiasModel().fit(make(titles={1: "Alien", 2: "Brazil", 3: "Clue"}))

    @pytest.mark.parametrize(
        ("what", "message"),
        [
            (pd.DataFrame({"user": USERS}), "got DataFrame; make them with Ratings.from_table"),
            (sparse.csr_array(np.eye(2)), "got csr_array; make them with Ratings.from_scipy"),
            (np.eye(2), "got ndarray; make them with Ratings.from_arrays"),
            (None, "got NoneType"),
        ],
    )
    def test_fit_takes_ratings(self, what, message):
        with pytest.raises(DataError, match=f"ratings must be Ratings, {message}"):
            BiasModel().fit(what)
        if what is not None:
            for name in ("validation", "given"):
                with pytest.raises(DataError, match=f"{name} must be Ratings"):
                    BiasModel().fit(make(), **{name: what})

    @pytest.mark.parametrize(
        ("ask", "message"),
        [
            (lambda model: model.recommend("1"), "their ids are integers, and '1' is text"),
            (lambda model: model.recommend(7), "user 7 is not among the 2 known users; for someone new"),
            (lambda model: model.recommend([1, 2]), "recommend answers one user.*recommend_table"),
            (lambda model: model.recommend(None), "recommend answers one user"),
            (lambda model: model.predict([1, 1], [318, None]), "id number 2 is missing"),
            (lambda model: model.fold_in([1, 2]), "ratings of a new user must be a dict"),
            (lambda model: model.fold_in({"Alien": 3, 1: 4}), "'Alien' and 1 are the same item"),
            (lambda model: model.fold_in({"Alien": None}), "the rating is nan; give a finite number"),
            (lambda model: model.fold_in({"Alien": "x"}), "every rating must be a number"),
            (lambda model: model.recommend(pd.DataFrame({"a": [1]})), "recommend answers one user"),
        ],
    )
    def test_one_clear_line(self, model, ask, message):
        with pytest.raises(DataError, match=message) as raised:
            ask(model)
        assert "on_duplicates" not in str(raised.value)

    def test_a_series_is_someones_ratings(self, model):
        series = pd.Series({1: 4.0, 2: 1.0})
        assert model.recommend(series) == model.recommend({1: 4.0, 2: 1.0})
        assert model.fold_in(series).recommend() == model.recommend({1: 4.0, 2: 1.0})
        assert model.explain(series, 3) == model.explain({1: 4.0, 2: 1.0}, 3)
