"""`Ratings`: its constructors agree, its parts add up, its errors say what to mend."""

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import hyvae.ratings
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings, Vocabulary, as_ids, concatenate


def distinct_pairs(ids):
    """Lists of (user, item, rating) without repeated pairs."""
    rating = st.sampled_from([0.5, 1.0, 2.5, 4.0, 5.0])
    return st.lists(st.tuples(ids, ids, rating), min_size=1, max_size=30, unique_by=lambda row: row[:2])


any_rows = st.one_of(distinct_pairs(st.integers(-(2**62), 2**62)), distinct_pairs(st.text(max_size=3)))


def make(rows, **options):
    users, items, values = (list(column) for column in zip(*rows, strict=True))
    return Ratings.from_arrays(users, items, values, **options)


SMALL = make([(7, 10, 3.0), (2, 30, 5.0), (2, 10, 1.0), (9, 20, 2.0)])


class TestVocabulary:
    def test_integers_are_sorted_and_found(self):
        vocabulary = Vocabulary.of([5, 3, 5])
        assert vocabulary.ids.tolist() == [3, 5]
        assert vocabulary.index([5, 4, 3]).tolist() == [1, -1, 0]

    def test_strings_keep_their_zeros_and_never_match_integers(self):
        vocabulary = Vocabulary.of(["7", "007"])
        assert vocabulary.ids.tolist() == ["007", "7"]
        assert vocabulary.index([7]).tolist() == [-1]
        assert Vocabulary.of([7]).index(["7"]).tolist() == [-1]

    @pytest.mark.parametrize("ids", [[], [7], [-(2**63), -7, 0, 2**63 - 1], ["007", "7", "é"]], ids=str)
    def test_one_id_is_found_where_many_are(self, ids):
        vocabulary = Vocabulary.of(ids if ids else np.array(ids, np.int64))
        for wanted in (-(2**63), -7, 0, 6, 7, 8, 2**63 - 1, "", "007", "7", "8", "é"):
            assert vocabulary.find(wanted) == vocabulary.index([wanted]).tolist()[0]

    @given(st.lists(st.text(max_size=4), min_size=1))
    def test_strings_sort_by_code_point(self, ids):
        assert Vocabulary.of(ids).ids.tolist() == sorted(set(ids))

    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
    def test_integers_of_any_width_become_int64(self, dtype):
        assert as_ids(np.array([1, 2], dtype=dtype)).dtype == np.int64

    @pytest.mark.parametrize("bad", [[1, "1"], [1.0], [True], [None], [2**63]])
    def test_other_ids_are_refused(self, bad):
        with pytest.raises(DataError, match="ids must"):
            as_ids(bad)

    def test_parse_keeps_the_type_of_the_vocabulary(self):
        assert Vocabulary.of([7]).parse("7") == 7
        assert Vocabulary.of([7]).parse("-7") == -7
        assert Vocabulary.of([7]).parse("0") == 0
        assert Vocabulary.of(["7"]).parse("007") == "007"

    @pytest.mark.parametrize(
        "text", ["x", "", "007", "1_0", " 1 ", "1\n", "+1", "-0", "١", "1.0", "1e1", str(2**63), "9" * 5_000]
    )
    def test_what_is_no_plain_integer_stays_text(self, text):
        assert Vocabulary.of([0, 1, 7, 10]).parse(text) == text

    @pytest.mark.parametrize("long", ["x" * 1_001, "é" * 501])
    def test_ids_longer_than_the_service_takes_are_refused(self, long):
        with pytest.raises(DataError, match=r"item id that begins with .* bytes; one may have 1,000"):
            Ratings.from_arrays(["a"], [long], [1.0])
        with pytest.raises(DataError, match="user id that begins with"):
            Ratings.from_table(pl.DataFrame({"user": [long], "item": ["a"], "rating": [1.0]}))
        assert Ratings.from_arrays(["x" * 1_000], ["é" * 500], [1.0]).n_users == 1


class TestMaking:
    def test_rows_are_canonical(self):
        assert SMALL.user_ids.tolist() == [2, 2, 7, 9]
        assert SMALL.item_ids.tolist() == [10, 30, 10, 20]
        assert SMALL.values.tolist() == [1.0, 5.0, 3.0, 2.0]

    @given(any_rows, st.randoms(use_true_random=False))
    def test_order_of_the_input_does_not_matter(self, rows, random):
        shuffled = random.sample(rows, len(rows))
        assert make(rows).fingerprint == make(shuffled).fingerprint

    @given(any_rows)
    def test_ids_and_values_come_back(self, rows):
        ratings = make(rows)
        back = zip(ratings.user_ids.tolist(), ratings.item_ids.tolist(), ratings.values.tolist(), strict=True)
        assert sorted(back) == sorted(rows)

    def test_scipy_agrees_and_keeps_stored_zeros(self):
        matrix = sparse.coo_array(([0.0, 4.0], ([0, 2], [1, 0])), shape=(3, 2))
        ratings = Ratings.from_scipy(matrix)
        assert (len(ratings), ratings.n_users, ratings.n_items) == (2, 3, 2)
        assert ratings.values.tolist() == [0.0, 4.0]
        assert ratings.fingerprint == Ratings.from_scipy(matrix.tocsr()).fingerprint

    def test_timestamps_and_titles_follow_their_rows(self):
        ratings = Ratings.from_arrays([2, 1], [8, 9], [1, 2], timestamps=[20, 10], titles={8: "Eight"})
        assert ratings.timestamps.tolist() == [10, 20]
        assert ratings.titles.tolist() == ["Eight", "9"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([], [], []), "no ratings"),
            (([1], [1], [np.nan]), "rating number 1: the rating is nan"),
            (([1], [1], [1e300]), "rating number 1: the rating is inf"),
            (([1], [1], ["five"]), "must be a number"),
            (([1, 1], [2, 2], [3, 4]), "user 1 rated item 2 more than once"),
            (([1, 2], [2], [3]), "differ in length: 2, 1, 1"),
            (([[1]], [2], [3]), "one-dimensional"),
        ],
    )
    def test_bad_arrays(self, arguments, message):
        with pytest.raises(DataError, match=message):
            Ratings.from_arrays(*arguments)

    def test_a_repeated_pair_is_named_by_both_places(self):
        with pytest.raises(DataError, match="rating number 1: 1, and rating number 3: 3"):
            Ratings.from_arrays([1, 2, 1], [5, 5, 5], [1, 2, 3])

    @pytest.mark.parametrize("order", ["whole", "shuffled", "reversed"])
    @pytest.mark.parametrize("policy", ["last", "mean"])
    @pytest.mark.parametrize("with_times", [False, True])
    def test_numpy_and_polars_give_the_same_order(self, monkeypatch, order, policy, with_times):
        rng = np.random.default_rng(0)
        users, items = rng.integers(0, 40, 600), rng.integers(0, 40, 600)
        if policy == "last" and not with_times:  # nothing repeated: the rows are only sorted
            users, items = np.divmod(rng.permutation(1600)[:600], 40)
        values, times = rng.integers(1, 6, 600), rng.integers(0, 50, 600)
        place = {"whole": np.lexsort((items, users)), "shuffled": np.arange(600), "reversed": np.arange(600)[::-1]}
        columns = [column[place[order]] for column in (users, items, values, times)]

        def made():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)
                return Ratings.from_indices(
                    Vocabulary(np.arange(40)),
                    Vocabulary(np.arange(40)),
                    *columns[:3],
                    timestamps=columns[3] if with_times else None,
                    on_duplicates=policy,
                )

        by_numpy = made()
        monkeypatch.setattr(hyvae.ratings, "_SMALL", 0)
        by_polars = made()
        assert by_numpy.fingerprint == by_polars.fingerprint
        assert not with_times or (by_numpy.timestamps == by_polars.timestamps).all()
        wanted = {}
        for user, item, value, time in sorted(zip(*(c.tolist() for c in columns), strict=True), key=lambda row: row[3]):
            wanted.setdefault((user, item), []).append((value, time))
        if with_times:
            assert by_numpy.timestamps.tolist() == [wanted[pair][-1][1] for pair in sorted(wanted)]
        if policy == "mean":
            means = [np.float32(np.mean([value for value, _ in wanted[pair]])) for pair in sorted(wanted)]
            assert by_numpy.values.tolist() == means

    def test_timestamps_of_another_length(self):
        with pytest.raises(DataError, match="timestamps and ratings differ in length: 2, 1"):
            Ratings.from_arrays([1], [1], [1], timestamps=[1, 2])

    def test_off_the_scale(self):
        with pytest.raises(DataError, match="rating number 2: the rating 6 is off the declared scale 1 to 5"):
            Ratings.from_arrays([1, 2], [1, 1], [5, 6], scale=(1, 5))

    @pytest.mark.parametrize("scale", [(5, 1), (1, np.inf), (np.nan, 5), (1,), (1, 2, 3), 5, ("low", "high")])
    def test_bad_scale(self, scale):
        with pytest.raises(DataError, match="lowest rating, then the highest"):
            Ratings.from_arrays([1], [1], [3], scale=scale)

    def test_a_scale_bound_without_exact_float32(self):
        assert len(Ratings.from_arrays([1, 2], [1, 1], [0.1, 0.7], scale=(0.1, 0.7))) == 2


class TestLooking:
    def test_matrix(self):
        assert SMALL.matrix.toarray().tolist() == [[1, 0, 5], [3, 0, 0], [0, 2, 0]]

    def test_counts(self):
        assert SMALL.user_counts.tolist() == [2, 1, 1]
        assert SMALL.item_counts.tolist() == [2, 1, 1]

    def test_history(self):
        items, values = SMALL.history(0)
        assert items.tolist() == [0, 2]
        assert values.tolist() == [1.0, 5.0]

    def test_fingerprint_sees_ids_and_values(self):
        others = [make([(7, 10, 3.0)]), make([(7, 10, 4.0)]), make([(8, 10, 3.0)]), make([("7", "10", 3.0)])]
        assert len({ratings.fingerprint for ratings in others}) == len(others)

    def test_repr(self):
        assert repr(SMALL) == "Ratings(4 ratings, 3 users × 3 items, scale 1–5)"


class TestParting:
    @given(any_rows, st.data())
    def test_taking_parts_and_joining_them_gives_the_whole(self, rows, data):
        ratings = make(rows, timestamps=list(range(len(rows))))
        size = len(rows)
        mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), dtype=bool)
        one, other = ratings.take(mask), ratings.take(np.flatnonzero(~mask))
        whole = concatenate([other, one])
        assert whole.fingerprint == ratings.fingerprint
        assert whole.timestamps.tolist() == ratings.timestamps.tolist()
        assert one.users == ratings.users
        assert one.items == ratings.items

    def test_the_order_of_taken_rows_does_not_matter(self):
        assert SMALL.take(np.array([3, 0])).fingerprint == SMALL.take(np.array([0, 3])).fingerprint

    def test_joining_keeps_the_sources_own_parts(self):
        ratings = Ratings.from_indices(
            SMALL.users, SMALL.items, np.array([0, 1]), np.array([1, 1]), [1, 2], parts=np.array([2, 0])
        )
        joined = concatenate([ratings.take(np.array([1])), ratings.take(np.array([0]))])
        assert joined.parts.tolist() == [2, 0]

    def test_joining_what_does_not_fit(self):
        with pytest.raises(DataError, match="same users and items"):
            concatenate([SMALL, make([(1, 1, 1.0)])])
        with pytest.raises(DataError, match="at least one"):
            concatenate([])
