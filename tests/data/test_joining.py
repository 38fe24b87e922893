"""Ratings put together: the new rating wins, nothing is lost, and what was held out stays so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.data import extend_split, merge, split
from hyvae.data.joining import reindexed, transposed, without_users
from hyvae.errors import DataError
from hyvae.ratings import Ratings, Vocabulary


def ratings_of(pairs, *, scale=(1.0, 5.0), **more):
    users, items = zip(*pairs, strict=True)
    return Ratings.from_arrays(users, items, list(pairs.values()), scale=scale, **more)


def pairs_of(ratings):
    keys = zip(ratings.user_ids.tolist(), ratings.item_ids.tolist(), strict=True)
    return dict(zip(keys, ratings.values.tolist(), strict=True))


def times_of(ratings):
    keys = zip(ratings.user_ids.tolist(), ratings.item_ids.tolist(), strict=True)
    return dict(zip(keys, ratings.timestamps.tolist(), strict=True))


def any_pairs(least=1, most=30):
    ids = st.integers(0, 9)
    return st.dictionaries(st.tuples(ids, ids), st.integers(1, 5).map(float), min_size=least, max_size=most)


def nothing_of(ratings):
    return ratings.take(np.empty(0, np.int64))


class TestMerge:
    @given(any_pairs(), any_pairs(), st.booleans())
    def test_is_a_dict_union_in_which_the_new_wins(self, old, new, text):
        if text:
            old, new = ({(str(u), f"i{i}"): r for (u, i), r in pairs.items()} for pairs in (old, new))
        both = merge(ratings_of(old), ratings_of(new))
        assert pairs_of(both) == old | new
        assert both.users.ids.tolist() == sorted({user for user, _ in old | new})
        assert both.items.ids.tolist() == sorted({item for _, item in old | new})

    @given(any_pairs())
    def test_with_nothing_keeps_the_fingerprint(self, pairs):
        ratings = ratings_of(pairs, timestamps=range(len(pairs)))
        nothing = nothing_of(ratings)
        bare = Ratings.empty(ratings.users, ratings.items, ratings.scale)
        for both in (merge(ratings, nothing), merge(nothing, ratings), merge(ratings, bare), merge(bare, ratings)):
            assert both.fingerprint == ratings.fingerprint
            assert times_of(both) == times_of(ratings)

    def test_nothing_with_nothing_is_nothing(self):
        ratings = ratings_of({(1, 1): 3.0}, titles={1: "Alien"})
        both = merge(nothing_of(ratings), nothing_of(ratings))
        assert len(both) == 0
        assert (both.users, both.items, both.titles.tolist()) == (ratings.users, ratings.items, ["Alien"])

    @given(any_pairs(), any_pairs())
    def test_twice_is_once(self, old, new):
        once = merge(ratings_of(old), ratings_of(new))
        assert merge(once, ratings_of(new)).fingerprint == once.fingerprint

    def test_the_scale_is_the_old_one(self):
        both = merge(ratings_of({(1, 1): 3.0}, scale=(0.5, 5)), ratings_of({(2, 1): 3.0}, scale=(1, 4)))
        assert both.scale == (0.5, 5.0)

    @pytest.mark.parametrize("rating", [0.5, 5.5])
    def test_a_rating_off_the_scale_is_refused(self, rating):
        with pytest.raises(DataError, match=r"off the scale 1 to 5 of the ratings that they join"):
            merge(ratings_of({(1, 1): 3.0}), ratings_of({(2, 1): rating}, scale=(0, 10)))

    def test_a_fractional_bound_is_on_the_scale(self):
        # 4.1 is no float32: the bound must not refuse its own rating
        assert len(merge(ratings_of({(1, 1): 4.1}, scale=(1, 4.1)), ratings_of({(2, 1): 4.1}, scale=(1, 4.1)))) == 2

    @pytest.mark.parametrize(
        ("old", "new", "noun"),
        [((1, "a"), ("1", "a"), "user"), (("1", "a"), (1, "a"), "user"), ((1, "1"), (1, 1), "item")],
    )
    def test_ids_of_another_type_are_refused(self, old, new, noun):
        with pytest.raises(DataError, match=f"its {noun} ids are (text|integers).*write them alike"):
            merge(ratings_of({old: 3.0}), ratings_of({new: 3.0}))

    def test_timestamps_are_kept_where_both_have_them(self):
        old, new = {(1, 1): 3.0, (1, 2): 2.0}, {(1, 1): 4.0, (2, 1): 5.0}
        timed = ratings_of(old, timestamps=[10, 20])
        assert times_of(merge(timed, ratings_of(new, timestamps=[30, 40]))) == {(1, 1): 30, (1, 2): 20, (2, 1): 40}
        assert merge(timed, ratings_of(new)).timestamps is None
        assert merge(ratings_of(new), timed).timestamps is None

    def test_titles_come_from_either_and_old_ones_win(self):
        old, new = {(1, 1): 3.0, (1, 2): 2.0}, {(1, 2): 4.0, (1, 3): 5.0}
        titled = ratings_of(old, titles={1: "Alien", 2: "Big"}), ratings_of(new, titles={2: "Small", 3: "Cube"})
        assert merge(*titled).titles.tolist() == ["Alien", "Big", "Cube"]
        assert merge(titled[0], ratings_of(new)).titles.tolist() == ["Alien", "Big", "3"]
        assert merge(ratings_of(old), titled[1]).titles.tolist() == ["1", "Small", "Cube"]
        assert merge(ratings_of(old), ratings_of(new)).titles is None

    def test_users_and_items_without_ratings_stay_in_the_vocabulary(self, small_ratings):
        both = merge(small_ratings, ratings_of({(-1, -1): 2.0}))
        assert set(small_ratings.users.ids.tolist()) < set(both.users.ids.tolist())
        assert set(small_ratings.items.ids.tolist()) < set(both.items.ids.tolist())


class TestReindexing:
    @given(any_pairs(), st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9)))
    def test_keeps_what_both_vocabularies_know(self, pairs, users, items):
        users, items = (Vocabulary(np.array(sorted(ids), np.int64)) for ids in (users, items))
        moved = reindexed(ratings_of(pairs), users, items)
        kept = {(u, i): r for (u, i), r in pairs.items() if u in users.ids and i in items.ids}
        assert pairs_of(moved) == kept
        assert (moved.users, moved.items, moved.scale) == (users, items, (1.0, 5.0))

    @given(any_pairs(), st.data())
    def test_without_users(self, pairs, data):
        ratings = ratings_of(pairs)
        gone = data.draw(st.lists(st.sampled_from(ratings.users.ids.tolist())))
        left = without_users(ratings, gone)
        assert pairs_of(left) == {(u, i): r for (u, i), r in pairs.items() if u not in gone}
        assert left.users.ids.tolist() == [id_ for id_ in ratings.users.ids.tolist() if id_ not in gone]
        assert left.items == ratings.items

    @given(any_pairs(), st.data())
    def test_transposed(self, pairs, data):
        ratings = ratings_of(pairs)
        items = np.array(sorted(data.draw(st.sets(st.integers(0, ratings.n_items - 1)))), np.int64)
        chosen = ratings.items.ids[items].tolist()
        assert pairs_of(transposed(ratings, items)) == {(i, u): r for (u, i), r in pairs.items() if i in chosen}


def enough(pairs):
    """More pairs than a split needs, of levels that it can stratify by."""
    return {(u, i): pairs.get((u, i), 1.0 + (u + i) % 2) for u in range(6) for i in range(6)} | pairs


class TestExtendSplit:
    KINDS = ("random", "user", "leave-1-out", "time", "user-time")

    @settings(deadline=None, max_examples=40)
    @given(any_pairs(), any_pairs(most=60), st.sampled_from(KINDS), st.integers(0, 5))
    def test_disjoint_complete_and_what_was_held_out_stays_so(self, old, new, kind, seed):
        old = enough(old)
        before = split(ratings_of(old), "random", seed=seed)
        added = ratings_of(new, timestamps=range(len(new)))
        try:
            after = extend_split(tuple(before), added, kind, seed=seed)
        except DataError:
            return  # too few new users, times, ratings of one user
        parts = [pairs_of(part) for part in (after.train, after.valid, after.test, after.given)]
        together = {}
        for part in parts:
            assert not together.keys() & part.keys()
            together |= part
        assert together == old | new
        for part, was in zip(parts[:3], before, strict=True):
            assert pairs_of(was).keys() <= part.keys(), "a rating changed its part"
        for part in after:
            assert (part.users, part.items) == (after.train.users, after.train.items)

    def test_a_few_new_ratings_all_go_to_training(self):
        before = split(ratings_of(enough({})))
        after = extend_split(tuple(before), ratings_of({(50, item): 3.0 for item in range(9)}))
        assert len(after.train) == len(before.train) + 9
        assert [len(part) for part in (after.valid, after.test)] == [len(before.valid), len(before.test)]

    def test_ten_are_parted(self):
        before = split(ratings_of(enough({})))
        after = extend_split(tuple(before), ratings_of({(50, item): 3.0 + item % 2 for item in range(10)}))
        assert [len(after_) - len(was) for after_, was in zip(after, before, strict=True)] == [8, 1, 1]

    @pytest.mark.parametrize("n_new", [1, 9, 20])
    def test_from_a_run_that_held_nothing_out(self, n_new):
        old = ratings_of(enough({}))
        new = ratings_of({(50 + k % 2, k): 3.0 + k % 3 for k in range(n_new)})
        after = extend_split((old, nothing_of(old), nothing_of(old)), new)
        assert sum(len(part) for part in after) == len(old) + n_new
        assert bool(len(after.test)) == (n_new >= 10)

    def test_titles_and_timestamps_come_along(self):
        pairs = enough({})
        old = ratings_of(pairs, timestamps=range(len(pairs)), titles={item: f"Film {item}" for item in range(10)})
        new = ratings_of({(50, item): 3.0 for item in range(3)}, timestamps=[1, 2, 3])
        for part in extend_split(tuple(split(old)), new):
            assert part.timestamps is not None
            assert part.titles.tolist() == [f"Film {item}" for item in range(part.n_items)]
