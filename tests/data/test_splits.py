"""Splits: the protocol's fingerprints, and laws that hold for any ratings."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from hyvae.data import Split, load, rows_fingerprint, split, split_rows
from hyvae.data.splits import FEWEST_RATINGS, FEWEST_USERS, KINDS, SplitRows, _cuts, merge_levels
from hyvae.errors import ConfigError, DataError
from hyvae.ratings import Ratings, Vocabulary, concatenate

PROTOCOL = json.loads((Path(__file__).parent / "splits.json").read_text())
EVERY_KIND = ["random", "given", "user", "leave-1-out", "leave-2-out", "time", "user-time"]
RANDOM_KINDS = ["random", "user", "leave-1-out", "leave-2-out"]


def ratings_of(values, parts=None):
    """One user a rating."""
    n = np.arange(len(values))
    plain = Ratings.from_arrays(n, n, values)
    return Ratings.from_indices(plain.users, plain.items, n, n, values, parts=parts)


def histories(*counts, times=None):
    """User `u` rates the first ``counts[u]`` items; `times` in canonical order."""
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.concatenate([np.arange(count) for count in counts])
    values = np.random.default_rng(0).integers(1, 6, len(users))
    return Ratings.from_indices(
        Vocabulary(np.arange(len(counts))),
        Vocabulary(np.arange(max(counts))),
        users,
        items,
        values,
        timestamps=None if times is None else np.array(times),
    )


@st.composite
def any_ratings(draw):
    """Enough for every kind most of the time; users, items without ratings; few and many times, also extreme."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_users, n_items = draw(st.integers(12, 40)), draw(st.integers(4, 30))
    rated = rng.random((n_users, n_items)) < rng.beta(1, 1, (n_users, 1))
    rated[rng.integers(n_users)] = rated[:, rng.integers(n_items)] = False
    users, items = np.nonzero(rated)
    latest = draw(st.sampled_from([2, 10, 10**9, 2**63 - 1]))
    return Ratings.from_indices(
        Vocabulary(np.arange(n_users)),
        Vocabulary(np.arange(n_items)),
        users,
        items,
        rng.integers(1, 6, len(users)),
        scale=(1, 5),
        timestamps=rng.integers(-latest, latest, len(users)),
        parts=rng.integers(0, 3, len(users)),
    )


def parted(ratings, kind, seed=0):
    """Rows, where the ratings that hypothesis made up can be parted so."""
    try:
        return split_rows(ratings, kind, seed=seed)
    except DataError:
        reject()


any_seed = st.integers(0, 2**32 - 1)
any_values = st.lists(
    st.one_of(st.sampled_from([0.5, 1.0, 3.0, 4.0, 5.0]), st.floats(-1e6, 1e6, width=32)),
    min_size=FEWEST_RATINGS,
    max_size=80,
)


@pytest.mark.parametrize("name", PROTOCOL)
def test_test_rows_are_those_of_the_protocol(name, request):
    if name != "movielens-small":
        request.getfixturevalue("data_folder")
    ratings = load(name)
    assert len(ratings) == PROTOCOL[name]["ratings"]
    for seed, fingerprint in PROTOCOL[name]["test_rows_sha256"].items():
        test = split_rows(ratings, seed=int(seed)).test
        assert rows_fingerprint(test) == fingerprint, f"seed {seed}"


@settings(deadline=None)
@given(any_values, any_seed)
def test_random_is_disjoint_complete_and_reproducible(values, seed):
    ratings = ratings_of(values)
    parts = split_rows(ratings, seed=seed)
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(values)))
    assert len(parts[0]) == len(values) * 8 // 10
    assert 0 <= len(parts[2]) - len(parts[1]) <= 1
    for rows, again in zip(parts, split_rows(ratings, seed=seed), strict=True):
        assert rows.tolist() == again.tolist()


@settings(deadline=None)
@given(any_values)
def test_the_parts_join_to_the_whole(values):
    ratings = ratings_of(values)
    parted = ratings.split(seed=3)
    assert concatenate(parted).fingerprint == ratings.fingerprint
    assert concatenate(parted).values.tolist() == ratings.values.tolist()


def test_unpacks_as_three_and_knows_its_making():
    parted = split(ratings_of([1.0] * 20), seed=4)
    train, valid, test = parted
    assert isinstance(parted, Split)
    assert (len(train), len(valid), len(test)) == (16, 2, 2)
    assert (parted.kind, parted.seed) == ("random", 4)
    assert len(parted.given) == 0
    assert parted.given.users == train.users


def test_nothing_is_given_unless_said():
    ratings = ratings_of([1.0] * 20)
    parted = Split(ratings, ratings, ratings)
    assert len(parted.given) == 0
    assert parted.given.items == ratings.items


def test_seeds_differ():
    ratings = ratings_of([1.0, 2.0] * 50)
    assert len({rows_fingerprint(split_rows(ratings, seed=seed).test) for seed in range(5)}) == 5


def test_every_kind_is_tested_here():
    assert {re.sub("[0-9]+", "K", kind) for kind in EVERY_KIND} == set(KINDS)


@pytest.mark.parametrize("kind", EVERY_KIND)
class TestEveryKind:
    @settings(deadline=None)
    @given(any_ratings(), any_seed)
    def test_parts_are_disjoint_complete_sorted_and_not_empty(self, kind, ratings, seed):
        rows = parted(ratings, kind, seed)
        assert isinstance(rows, SplitRows)
        assert np.sort(np.concatenate(rows)).tolist() == list(range(len(ratings)))
        assert all((np.diff(part) > 0).all() for part in rows)
        assert min(len(rows.train), len(rows.valid), len(rows.test)) > 0
        assert kind == "user" or not len(rows.given)

    @settings(deadline=None)
    @given(any_ratings(), any_seed)
    def test_the_seed_decides(self, kind, ratings, seed):
        rows, again = parted(ratings, kind, seed), parted(ratings, kind, seed)
        assert [part.tolist() for part in rows] == [part.tolist() for part in again]

    @settings(deadline=None)
    @given(any_ratings())
    def test_split_takes_these_rows(self, kind, ratings):
        rows = parted(ratings, kind)
        whole = ratings.split(kind)
        assert (whole.kind, whole.seed) == (kind, 0)
        parts = [*whole, whole.given]
        assert [len(part) for part in parts] == [len(part) for part in rows]
        assert concatenate(parts).fingerprint == ratings.fingerprint
        for part, numbers in zip(parts, rows, strict=True):
            assert part.fingerprint == ratings.take(numbers).fingerprint

    @settings(deadline=None)
    @given(any_ratings())
    def test_the_ratings_stay_as_they_were(self, kind, ratings):
        times = ratings.timestamps.copy()
        parted(ratings, kind)
        assert times.tolist() == ratings.timestamps.tolist()


@pytest.mark.parametrize("kind", RANDOM_KINDS)
def test_another_seed_gives_other_rows(kind):
    ratings = histories(*[10] * 50)
    tests = {rows_fingerprint(split_rows(ratings, kind, seed=seed).test) for seed in range(5)}
    assert len(tests) == 5


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if "time" not in kind])
@settings(deadline=None)
@given(ratings=any_ratings())
def test_times_do_not_matter_to_the_others(kind, ratings):
    rows, without = parted(ratings, kind), split_rows(replace(ratings, timestamps=None), kind)
    assert [part.tolist() for part in rows] == [part.tolist() for part in without]


@pytest.mark.parametrize("kind", ["time", "user-time"])
def test_the_seed_does_not_matter_to_time(kind):
    ratings = histories(10, 20, times=range(30))
    first, second = (split_rows(ratings, kind, seed=seed) for seed in (0, 1))
    assert first.test.tolist() == second.test.tolist()


# The random draws of each seed are part of the interface, as those of `random` are in splits.json.
@pytest.mark.parametrize(
    ("kind", "seed", "fingerprint"),
    [
        ("user", 0, "f19d587f001a7d7f93b398c26aef1cdb0afa2897edb2a985b6f7107e26bf475c"),
        ("user", 1, "2c5ddd676be1de73bc10079aa0ca7f7e4c6e4f7de309ddad562f6ad829fe2f13"),
        ("leave-1-out", 0, "d0c9c559cb266f39a58bb0e61164c82a8a7d477c1ed78e235157c9fafdf246e0"),
        ("leave-1-out", 1, "b186f1f67219b4288c6a162dac899653b846dcbd856718b74b1bc7c0c5087107"),
    ],
)
def test_the_rows_of_a_seed_stay(kind, seed, fingerprint):
    assert rows_fingerprint(split_rows(load("movielens-small"), kind, seed=seed).test) == fingerprint


@pytest.fixture(scope="module")
def ml_1m(data_folder):
    return Ratings.read("ml-1m")


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("user", (793_825, 20_828, 20_449, 165_107)),
        ("leave-1-out", (988_129, 6_040, 6_040, 0)),
        ("time", (800_168, 100_020, 100_021, 0)),
        ("user-time", (799_663, 100_273, 100_273, 0)),
    ],
)
def test_sizes_and_order_on_ml_1m(kind, sizes, ml_1m):
    parts = ml_1m.split(kind)
    assert tuple(len(part) for part in (*parts, parts.given)) == sizes
    train, valid, test = (part.timestamps for part in parts)
    if kind == "time":
        assert train.max() < valid.min() <= valid.max() < test.min()
    if kind == "user-time":
        # all users have 20 ratings or more: each is in each part, and `reduceat` gives one number a user
        starts = [part.indptr[:-1] for part in parts]
        assert (np.maximum.reduceat(train, starts[0]) <= np.minimum.reduceat(valid, starts[1])).all()
        assert (np.maximum.reduceat(valid, starts[1]) <= np.minimum.reduceat(test, starts[2])).all()


def test_rows_fingerprint_ignores_order_and_width():
    assert rows_fingerprint(np.array([3, 1], dtype="int32")) == rows_fingerprint(np.array([1, 3]))
    assert rows_fingerprint(np.array([1])) == ("7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8")


@pytest.mark.parametrize("count", [1, FEWEST_RATINGS - 1])
def test_too_few_ratings(count):
    with pytest.raises(DataError, match="too few to split; give 10 or more"):
        split(ratings_of([1.0] * count))


def test_unknown_kind_lists_those_there_are():
    there_are = "random, given, user, leave-K-out, time, user-time (K is a number from 1, as in leave-1-out)"
    with pytest.raises(ConfigError, match=re.escape(f"'tomorrow'; there are: {there_are}")):
        split(ratings_of([1.0] * 20), "tomorrow")


@pytest.mark.parametrize(
    "kind", ["", "Random", "random ", "leave-K-out", "leave-0-out", "leave--1-out", "leave-01-out"]
)
def test_kinds_that_there_are_not(kind):
    with pytest.raises(ConfigError, match=f"unknown kind of split '{kind}'"):
        split(ratings_of([1.0] * 20), kind)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5, True, None])
def test_bad_seed(seed):
    with pytest.raises(ConfigError, match="seed must be an integer"):
        split(ratings_of([1.0] * 20), seed=seed)


class TestMergeLevels:
    @pytest.mark.parametrize(
        ("level", "most", "groups"),
        [
            ([1, 1, 2, 2], 4, [0, 0, 1, 1]),
            ([1, 2, 2, 3, 3], 4, [0, 0, 0, 1, 1]),  # a lone lowest level goes up
            ([1, 1, 2, 3, 3], 4, [0, 0, 1, 1, 1]),
            ([1, 1, 2, 2, 3], 4, [0, 0, 1, 1, 1]),  # a lone highest level goes down
            ([1, 2, 3, 4], 4, [0, 0, 1, 1]),
            ([1, 1, 2, 2, 3, 3, 4, 4], 2, [0, 0, 0, 0, 1, 1, 1, 1]),
            ([1, 1, 2, 2], 1, [0, 0, 0, 0]),
            ([1, 2], 1, [0, 0]),
        ],
    )
    def test_examples(self, level, most, groups):
        assert merge_levels(np.array(level, dtype=float), most).tolist() == groups

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 9), min_size=2), st.integers(1, 20))
    def test_groups_are_runs_of_levels_that_can_be_stratified(self, level, most):
        groups = merge_levels(np.array(level, dtype=float), most)
        counts = np.bincount(groups)
        assert counts.min() >= 2
        assert len(counts) <= most
        assert (np.diff(groups[np.argsort(level, kind="stable")]) >= 0).all()


class TestGiven:
    def test_the_sources_validation_part_is_kept(self):
        parts = np.array([0, 1, 2, 0])
        train, valid, test, _ = split_rows(ratings_of([1.0, 2.0, 3.0, 4.0], parts), "given")
        assert (train.tolist(), valid.tolist(), test.tolist()) == ([0, 3], [1], [2])

    def test_a_ninth_becomes_validation(self):
        parts = np.array([0] * 90 + [2] * 10)
        ratings = ratings_of([1.0, 2.0] * 50, parts)
        train, valid, test, _ = split_rows(ratings, "given", seed=1)
        assert (len(train), len(valid)) == (80, 10)
        assert test.tolist() == list(range(90, 100))
        assert np.bincount(valid % 2).tolist() == [5, 5]
        assert split_rows(ratings, "given", seed=2).valid.tolist() != valid.tolist()

    def test_a_source_without_parts(self):
        with pytest.raises(DataError, match="without a split of their own; use kind 'random'"):
            split(ratings_of([1.0] * 20), "given")

    def test_a_source_without_test_part(self):
        with pytest.raises(DataError, match="no training or no test part"):
            split(ratings_of([1.0] * 20, np.zeros(20)), "given")

    @pytest.mark.parametrize(("name", "sizes"), [("douban", (109_513, 13_689)), ("flixster", (20_939, 2_617))])
    def test_montis_mask(self, name, sizes, data_folder):
        train, valid, test = load(name).split("given")
        assert (len(train), len(valid), len(test)) == (*sizes, sizes[1])
        assert set(test.parts.tolist()) == {2}


class TestUser:
    @settings(deadline=None)
    @given(any_ratings(), any_seed)
    def test_training_never_sees_a_held_out_user(self, ratings, seed):
        rows = parted(ratings, "user", seed)
        train, valid, test, given_ = (set(ratings.user_index[part].tolist()) for part in rows)
        assert not train & (valid | test | given_)
        assert not valid & test
        # nobody's ratings are all targets: answers have something to start from
        assert valid | test <= given_

    @settings(deadline=None)
    @given(any_ratings(), any_seed)
    def test_counts(self, ratings, seed):
        rows = parted(ratings, "user", seed)
        counts = ratings.user_counts
        n = np.count_nonzero(counts)
        train, valid, test, given_ = (np.bincount(ratings.user_index[part], minlength=len(counts)) for part in rows)
        assert np.count_nonzero(train) == n * 8 // 10
        for user in np.flatnonzero(given_):
            targets = max(round(counts[user] / 5), 1) if counts[user] >= 2 else 0
            assert sorted([valid[user], test[user]]) == [0, targets]

    @pytest.mark.parametrize(("count", "targets"), [(2, 1), (3, 1), (7, 1), (8, 2), (12, 2), (13, 3), (100, 20)])
    def test_a_fifth_of_each_user(self, count, targets):
        train, valid, test, given_ = split_rows(histories(*[count] * 20), "user")
        assert [len(part) for part in (train, valid, test, given_)] == [
            16 * count,
            2 * targets,
            2 * targets,
            4 * (count - targets),
        ]

    def test_a_single_rating_is_given(self):
        ratings = histories(*[1, 5] * 50)
        rows = split_rows(ratings, "user")
        single = ratings.user_counts[ratings.user_index] == 1
        assert single[rows.given].any()
        assert not single[rows.valid].any()
        assert not single[rows.test].any()

    def test_every_user_and_every_rating_is_drawn_alike(self):
        ratings = histories(*[5] * 2000)
        test = np.concatenate([split_rows(ratings, "user", seed=seed).test for seed in range(20)])
        # 4000 draws: 800 of each place, and 400 of each hundred users, within four standard deviations
        assert np.abs(np.bincount(ratings.indices[test]) - 800).max() < 4 * 26
        assert np.abs(np.bincount(ratings.user_index[test] // 200) - 400).max() < 4 * 19

    def test_too_few_users(self):
        users = f"{FEWEST_USERS - 1} users with ratings are too few to split by user; give {FEWEST_USERS} or more"
        with pytest.raises(DataError, match=users):
            split(histories(*[5] * 9, 0, 0), "user")

    def test_nothing_to_predict(self):
        with pytest.raises(DataError, match="nothing to predict; use another seed or kind 'random'"):
            split(histories(*[1] * 20), "user")


class TestLeaveKOut:
    @settings(deadline=None)
    @given(any_ratings(), st.integers(1, 5), any_seed)
    def test_k_and_k_of_who_has_enough(self, ratings, k, seed):
        rows = parted(ratings, f"leave-{k}-out", seed)
        train, valid, test, _ = (np.bincount(ratings.user_index[part], minlength=ratings.n_users) for part in rows)
        held_out = np.where(ratings.user_counts >= 2 * k + 1, k, 0)
        assert test.tolist() == held_out.tolist()
        assert valid.tolist() == held_out.tolist()
        assert train.tolist() == (ratings.user_counts - 2 * held_out).tolist()

    def test_example(self):
        ratings = histories(0, 3, 2, 5)
        sizes = {k: [len(part) for part in split_rows(ratings, f"leave-{k}-out")] for k in (1, 2)}
        assert sizes == {1: [6, 2, 2, 0], 2: [6, 2, 2, 0]}
        train, _, test, _ = split_rows(ratings, "leave-2-out")
        assert train[:5].tolist() == [0, 1, 2, 3, 4]
        assert test.min() >= 5

    def test_every_rating_is_drawn_alike(self):
        ratings = histories(*[3] * 3000)
        for part in split_rows(ratings, "leave-1-out")[:3]:
            # 1000 of each place, within four standard deviations
            assert np.abs(np.bincount(ratings.indices[part]) - 1000).max() < 4 * 26

    @pytest.mark.parametrize("k", [3, 999_999_999])
    def test_no_user_has_enough(self, k):
        message = f"leave-{k}-out needs a user with {2 * k + 1} ratings or more, and the most that a user has is 5; use"
        with pytest.raises(DataError, match=message):
            split(histories(0, 3, 2, 5), f"leave-{k}-out")


class TestTime:
    @settings(deadline=None)
    @given(any_ratings())
    def test_the_future_never_leaks(self, ratings):
        train, valid, test, _ = (ratings.timestamps[part] for part in parted(ratings, "time"))
        assert train.max() < valid.min()
        assert valid.max() < test.min()

    @settings(deadline=None)
    @given(st.lists(st.integers(1, 50), min_size=3, max_size=15))
    def test_no_other_cuts_are_nearer(self, counts):
        until = np.cumsum(counts)

        def distance(first, second):
            sizes = until[first], until[second] - until[first], until[-1] - until[second]
            return sum(abs(10 * size - until[-1] * share) for size, share in zip(sizes, (8, 1, 1), strict=True))

        pairs = list(itertools.combinations(range(len(until) - 1), 2))
        cuts = _cuts(until)
        assert cuts in pairs
        assert distance(*cuts) == min(distance(*pair) for pair in pairs)

    @pytest.mark.parametrize(
        ("times", "parts"),
        [
            ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], "tvrrrrrrrr"),
            ([1, 1, 1, 1, 1, 1, 1, 1, 2, 3], "rrrrrrrrvt"),
            ([3, 1, 1, 2, 1, 1, 1, 1, 2, 1], "trrvrrrrvr"),  # 7, 2 and 1: the two are not parted
            ([1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3], "rrrrrrrvvvvt"),
            ([1, 2, 3, 3, 3, 3, 3, 3, 3, 3], "rvtttttttt"),
            ([-1, 0, 2**62], "rvt"),
        ],
    )
    def test_examples(self, times, parts):
        rows = split_rows(histories(1, len(times) - 1, times=times), "time")
        for part, letter in zip(rows, "rvt-", strict=True):
            assert part.tolist() == [row for row, its in enumerate(parts) if its == letter]

    def test_too_few_instants(self):
        with pytest.raises(DataError, match="2 distinct timestamps are too few for three parts in time order; give 3"):
            split(histories(10, times=[0, 1] * 5), "time")


class TestUserTime:
    @settings(deadline=None)
    @given(any_ratings())
    def test_the_future_of_a_user_never_leaks(self, ratings):
        rows = parted(ratings, "user-time")
        for user in range(ratings.n_users):
            parts = [part[ratings.user_index[part] == user] for part in rows[:3]]
            train, valid, test = (list(zip(ratings.timestamps[part], part, strict=True)) for part in parts)
            count = ratings.user_counts[user]
            tenth = max(int(count / 10 + 0.5), 1) if count >= 3 else 0
            assert (len(valid), len(test)) == (tenth, tenth)
            # (time, row): equal times are parted in canonical order
            if tenth:
                assert max(train) < min(valid)
                assert max(valid) < min(test)

    def test_example(self):
        times = [*[5, 1, 3], *[9, 9], *[7, 7, 7, 2], *range(25)]
        rows = split_rows(histories(3, 2, 0, 4, 25, times=times), "user-time")
        assert rows.test.tolist() == [0, 7, 31, 32, 33]
        assert rows.valid.tolist() == [2, 6, 28, 29, 30]
        assert rows.train.tolist() == [1, 3, 4, 5, 8, *range(9, 28)]

    def test_no_user_has_enough(self):
        with pytest.raises(DataError, match="needs a user with 3 ratings or more, and there is none; use kind 'time'"):
            split(histories(2, 2, times=[1, 2, 3, 4]), "user-time")


@pytest.mark.parametrize("kind", ["time", "user-time"])
def test_times_that_are_not_there(kind):
    with pytest.raises(DataError, match=f"kind '{kind}' needs timestamps, and these ratings have none; give them, or"):
        split(histories(10, 10), kind)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_no_ratings_at_all(kind):
    with pytest.raises(DataError):
        split(histories(3, 3, times=range(6)).take([]), kind)
