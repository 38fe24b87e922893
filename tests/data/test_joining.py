"""Ratings put together and carried over: laws that hold for any ratings."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.data import Split, extend_split, merge, split, whole
from hyvae.data.joining import reindexed, transposed, without_users
from hyvae.data.splits import FEWEST_RATINGS
from hyvae.errors import ConfigError, DataError
from hyvae.ratings import Ratings, Vocabulary, concatenate

SCALE = (1.0, 5.0)


def of(pairs, *, times=None, titles=None, scale=SCALE, parts=None):
    """Ratings of a dict of (user, item) to rating, in the vocabularies of these pairs."""
    users, items = [[pair[side] for pair in pairs] for side in (0, 1)]
    rows, columns = Vocabulary.of(users), Vocabulary.of(items)
    return Ratings.from_indices(
        rows,
        columns,
        rows.index(users),
        columns.index(items),
        list(pairs.values()),
        scale=scale,
        timestamps=None if times is None else np.array(times),
        titles=None if titles is None else np.array(titles, dtype=object),
        parts=parts,
        source="new.csv",
    )


def pairs_of(ratings):
    ids = ratings.user_ids.tolist(), ratings.item_ids.tolist()
    return dict(zip(zip(*ids, strict=True), ratings.values.tolist(), strict=True))


def times_of(ratings):
    return dict(zip(pairs_of(ratings), ratings.timestamps.tolist(), strict=True))


def nothing_of(ratings):
    return Ratings.empty(ratings.users, ratings.items, ratings.scale, ratings.titles)


def titles_of(ratings):
    return dict(zip(ratings.items.ids.tolist(), ratings.titles.tolist(), strict=True))


small_integers = st.integers(0, 12)


def some_pairs(ids=small_integers, least=1, most=25):
    return st.dictionaries(st.tuples(ids, ids), st.integers(1, 5), min_size=least, max_size=most)


texts = st.sampled_from(["7", "07", "007", "a", "B", "é", "10", "9", "", "z z"])


class TestMerge:
    def test_the_new_rating_of_a_pair_counts(self):
        merged = merge(of({(1, 1): 2, (1, 2): 3}), of({(1, 2): 5, (2, 1): 4}))
        assert pairs_of(merged) == {(1, 1): 2, (1, 2): 5, (2, 1): 4}

    @given(some_pairs(), some_pairs())
    def test_it_is_the_union_of_dictionaries(self, old, new):
        merged = merge(of(old), of(new))
        assert pairs_of(merged) == old | new
        assert merged.users.ids.tolist() == sorted({user for user, _ in old | new})
        assert merged.items.ids.tolist() == sorted({item for _, item in old | new})
        assert merged.fingerprint == of(old | new).fingerprint

    @given(some_pairs(texts), some_pairs(texts))
    def test_text_ids(self, old, new):
        merged = merge(of(old), of(new))
        assert pairs_of(merged) == old | new
        assert merged.fingerprint == of(old | new).fingerprint
        assert not merged.users.is_integer

    @given(some_pairs(least=3), st.data())
    def test_it_is_associative_on_disjoint_ratings(self, pairs, data):
        parts = [{}, {}, {}]
        for number, (pair, rating) in enumerate(pairs.items()):
            place = number if number < 3 else data.draw(st.integers(0, 2))
            parts[place][pair] = rating
        timed = data.draw(st.booleans())
        a, b, c = (of(part, times=[100 * pair[0] + pair[1] for pair in part] if timed else None) for part in parts)
        left, right = merge(merge(a, b), c), merge(a, merge(b, c))
        assert left.fingerprint == right.fingerprint == of(pairs).fingerprint
        if timed:
            assert times_of(left) == times_of(right) == {pair: 100 * pair[0] + pair[1] for pair in pairs}

    @given(some_pairs())
    def test_with_nothing_it_changes_nothing(self, pairs):
        times = list(range(len(pairs)))
        ratings = of(pairs, times=times)
        for merged in (merge(ratings, nothing_of(ratings)), merge(nothing_of(ratings), ratings)):
            assert merged.fingerprint == ratings.fingerprint
            assert times_of(merged) == times_of(ratings)

    @given(some_pairs())
    def test_with_itself_it_changes_nothing(self, pairs):
        assert merge(of(pairs), of(pairs)).fingerprint == of(pairs).fingerprint

    def test_nothing_and_nothing_are_nothing_in_both_vocabularies(self):
        old, new = (nothing_of(of({pair: 3}, titles=[title])) for pair, title in (((1, 1), "A"), ((2, 2), "B")))
        merged = merge(old, new)
        assert (len(merged), merged.users.ids.tolist(), titles_of(merged)) == (0, [1, 2], {1: "A", 2: "B"})
        assert merged.scale == SCALE

    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize(
        ("pairs", "noun"),
        [([(1, 1), ("a", 1)], "user"), ([(1, 1), (1, "7")], "item"), ([("1", "7"), ("1", 7)], "item")],
    )
    def test_ids_of_different_types_are_refused(self, pairs, noun, order):
        old, new = (of({pair: 3}) for pair in pairs[::order])
        with pytest.raises(DataError, match=rf"new.csv: its {noun} ids are (text|integers)"):
            merge(old, new)

    @pytest.mark.parametrize("value", [0.5, 5.5])
    def test_ratings_off_the_scale_of_the_old_are_refused(self, value):
        with pytest.raises(DataError, match=r"new.csv: .* off the scale 1 to 5 of the ratings that they join"):
            merge(of({(1, 1): 3}), of({(2, 2): value}, scale=(0, 10)))

    def test_the_scale_is_the_old_ones(self):
        assert merge(of({(1, 1): 3}), of({(2, 2): 5}, scale=(0, 10))).scale == SCALE

    def test_timestamps_are_kept_where_both_have_them(self):
        merged = merge(of({(1, 1): 2, (1, 2): 3}, times=[50, 60]), of({(1, 2): 5, (0, 1): 4}, times=[70, 80]))
        assert times_of(merged) == {(1, 1): 50, (1, 2): 70, (0, 1): 80}

    @pytest.mark.parametrize("times", [(None, [1]), ([1], None), (None, None)])
    def test_else_there_are_none(self, times):
        assert merge(of({(1, 1): 2}, times=times[0]), of({(2, 1): 2}, times=times[1])).timestamps is None

    def test_titles_of_both(self):
        old = of({(1, 1): 2, (1, 5): 2}, titles=["One", "Five"])
        new = of({(1, 3): 3, (1, 5): 2}, titles=["Three", "Fünf"])
        assert titles_of(merge(old, new)) == {1: "One", 3: "Three", 5: "Five"}

    def test_titles_of_one_are_filled_up_with_ids(self):
        old, new = of({(1, 1): 2}), of({(1, 3): 3}, titles=["Three"])
        assert titles_of(merge(old, new)) == titles_of(merge(new, old)) == {1: "1", 3: "Three"}
        assert merge(old, old).titles is None

    def test_a_title_follows_where_there_was_but_the_id(self):
        old = merge(of({(1, 1): 2}, titles=["One"]), of({(1, 3): 3}))
        assert titles_of(merge(old, of({(2, 3): 3}, titles=["Three"]))) == {1: "One", 3: "Three"}


class TestCarriedOver:
    @given(some_pairs(), some_pairs())
    def test_to_larger_vocabularies_and_back_nothing_changes(self, pairs, more):
        ratings, larger = of(pairs, times=list(range(len(pairs)))), of(pairs | more)
        there = reindexed(ratings, larger.users, larger.items)
        assert pairs_of(there) == pairs
        assert times_of(there) == times_of(ratings)
        assert (there.users, there.items, there.scale) == (larger.users, larger.items, SCALE)
        assert reindexed(there, ratings.users, ratings.items).fingerprint == ratings.fingerprint

    @given(some_pairs(), some_pairs())
    def test_to_others_what_is_not_there_is_left_out(self, pairs, others):
        into = of(others)
        there = reindexed(of(pairs), into.users, into.items)
        users, items = set(into.users.ids.tolist()), set(into.items.ids.tolist())
        assert pairs_of(there) == {
            pair: value for pair, value in pairs.items() if pair[0] in users and pair[1] in items
        }

    def test_parts_and_titles_go_along(self):
        ratings = of({(1, 1): 2, (1, 4): 3, (3, 1): 4}, titles=["One", "Four"], parts=np.array([0, 1, 2]))
        there = reindexed(ratings, Vocabulary.of([0, 1, 2, 3]), Vocabulary.of([1, 2, 9]))
        assert dict(zip(pairs_of(there), there.parts.tolist(), strict=True)) == {(1, 1): 0, (3, 1): 2}
        assert titles_of(there) == {1: "One", 2: "2", 9: "9"}

    @given(some_pairs(texts, least=2), st.data())
    def test_without_users(self, pairs, data):
        ratings = of(pairs)
        everyone = ratings.users.ids.tolist()
        gone = data.draw(st.lists(st.sampled_from(everyone), unique=True))
        left = without_users(ratings, gone)
        assert left.users.ids.tolist() == [user for user in everyone if user not in gone]
        assert left.items == ratings.items
        assert pairs_of(left) == {pair: value for pair, value in pairs.items() if pair[0] not in gone}

    @given(some_pairs(), st.data())
    def test_transposed(self, pairs, data):
        ratings = of(pairs)
        chosen = sorted(data.draw(st.sets(st.integers(0, ratings.n_items - 1))))
        columns = transposed(ratings, np.array(chosen, np.int64))
        ids = ratings.items.ids[chosen].tolist()
        assert pairs_of(columns) == {(item, user): value for (user, item), value in pairs.items() if item in ids}
        assert (columns.users.ids.tolist(), columns.items) == (ids, ratings.users)

    @given(some_pairs())
    def test_transposed_twice_is_as_before(self, pairs):
        ratings = of(pairs)
        twice = transposed(transposed(ratings, np.arange(ratings.n_items)), np.arange(ratings.n_users))
        assert twice.fingerprint == ratings.fingerprint


def ratings_like(n, seed, first_user=0):
    """`n` ratings by 20 users of 30 items."""
    rng = np.random.default_rng(seed)
    pairs = rng.choice(600, n, replace=False)
    return Ratings.from_arrays(
        pairs // 30 + first_user, pairs % 30, rng.integers(1, 6, n), scale=SCALE, timestamps=rng.integers(0, 1000, n)
    )


class TestExtendSplit:
    @settings(max_examples=25, deadline=None)
    @given(st.integers(10, 300), st.integers(1, 300), st.integers(0, 99), st.sampled_from([0, 10, 50]))
    def test_what_was_held_out_stays_so_and_nothing_is_lost_or_doubled(self, n_old, n_new, seed, first_user):
        old, new = ratings_like(n_old, seed).split(), ratings_like(n_new, seed + 1, first_user)
        extended = extend_split(tuple(old), new, seed=seed)
        parts = [pairs_of(part) for part in extended]
        before = [pairs_of(part) for part in old]
        assert set().union(*parts) == set().union(*before) | set(pairs_of(new))
        assert sum(map(len, parts)) == len(set().union(*parts)), "a pair is in two parts"
        rated = pairs_of(old.train) | pairs_of(old.valid) | pairs_of(old.test) | pairs_of(new)
        for part, then in zip(parts, before, strict=True):
            assert set(then) <= set(part)
            assert part == {pair: rated[pair] for pair in part}, "the new rating of a pair counts"
        for part in extended:
            assert part.users == extended.train.users
            assert part.items == extended.train.items
            assert part.timestamps is not None
        assert len(extended.given) == 0

    def test_what_is_new_is_parted_like_a_split_of_it(self):
        old, new = ratings_like(200, 0).split(), ratings_like(200, 1, first_user=100)
        extended, alone = extend_split(tuple(old), new, seed=3), new.split(seed=3)
        for part, then, piece in zip(extended, old, alone, strict=True):
            assert pairs_of(part) == pairs_of(then) | pairs_of(piece)
        assert (extended.kind, extended.seed) == ("random", 3)

    @pytest.mark.parametrize("kind", ["user", "leave-1-out", "time", "user-time"])
    def test_other_kinds(self, kind):
        old, new = ratings_like(200, 0).split(), ratings_like(200, 1, first_user=100)
        extended, alone = extend_split(tuple(old), new, kind), new.split(kind)
        for part, then, piece in zip(extended, old, alone, strict=True):
            assert pairs_of(part) == pairs_of(then) | pairs_of(piece)
        assert pairs_of(extended.given) == pairs_of(alone.given)
        assert extended.given.users == extended.train.users
        assert len(concatenate([*extended, extended.given])) == 400

    @pytest.mark.parametrize("n", [1, FEWEST_RATINGS - 1])
    def test_a_few_all_go_to_training(self, n):
        old, new = ratings_like(50, 0).split(), ratings_like(n, 1, first_user=100)
        extended = extend_split(tuple(old), new)
        assert pairs_of(extended.train) == pairs_of(old.train) | pairs_of(new)
        assert [pairs_of(part) for part in extended][1:] == [pairs_of(part) for part in old][1:]

    def test_so_they_do_where_nothing_was_held_out(self):
        old, new = whole(ratings_like(50, 0)), ratings_like(3, 1, first_user=100)
        extended = extend_split(tuple(old), new)
        assert pairs_of(extended.train) == pairs_of(old.train) | pairs_of(new)
        assert [len(part) for part in extended][1:] == [0, 0]

    def test_the_same_again_changes_nothing(self):
        ratings = ratings_like(100, 0)
        old = ratings.split(seed=5)
        extended = extend_split(tuple(old), ratings)
        assert [part.fingerprint for part in extended] == [part.fingerprint for part in old]

    def test_what_is_rated_again_stays_in_its_part(self):
        old = Split(*(of({(1, item): 3, (2, item): 3}) for item in (1, 2, 3)))
        parts = [reindexed(part, Vocabulary.of([1, 2]), Vocabulary.of([1, 2, 3])) for part in old]
        extended = extend_split(parts, of({(1, 1): 5, (1, 2): 4, (2, 3): 1}))
        assert [pairs_of(part) for part in extended] == [
            {(1, 1): 5, (2, 1): 3},
            {(1, 2): 4, (2, 2): 3},
            {(1, 3): 3, (2, 3): 1},
        ]

    def test_titles_of_old_and_new_items(self):
        one = of({(1, 1): 3}, titles=["One"])
        extended = extend_split((one, nothing_of(one), nothing_of(one)), of({(1, 2): 3}, titles=["Two"]))
        assert all(titles_of(part) == {1: "One", 2: "Two"} for part in extended)

    def test_timestamps_survive_a_part_without_ratings(self):
        one = of({(1, 1): 3}, times=[9])
        extended = extend_split((one, nothing_of(one), nothing_of(one)), of({(1, 2): 3}, times=[8]))
        assert times_of(extended.train) == {(1, 1): 9, (1, 2): 8}

    def test_what_cannot_be_joined_is_refused(self):
        old = tuple(split(ratings_like(50, 0)))
        with pytest.raises(DataError, match="user ids are text"):
            extend_split(old, of({("a", 1): 3}))
        with pytest.raises(DataError, match="off the scale"):
            extend_split(old, of({(100, 1): 9}, scale=(1, 10)))
        with pytest.raises(ConfigError, match="unknown kind"):
            extend_split(old, ratings_like(50, 1, first_user=100), "weekly")
