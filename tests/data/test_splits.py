"""Splits: the protocol's fingerprints, and laws that hold for any ratings."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyvae.data import Split, load, rows_fingerprint, split, split_rows
from hyvae.data.splits import FEWEST_RATINGS, merge_levels
from hyvae.errors import ConfigError, DataError
from hyvae.ratings import Ratings, concatenate

PROTOCOL = json.loads((Path(__file__).parent / "splits.json").read_text())


def ratings_of(values, parts=None):
    """One user a rating."""
    n = np.arange(len(values))
    plain = Ratings.from_arrays(n, n, values)
    return Ratings.from_indices(plain.users, plain.items, n, n, values, parts=parts)


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
        test = split_rows(ratings, seed=int(seed))[2]
        assert rows_fingerprint(test) == fingerprint, f"seed {seed}"


@given(any_values, st.integers(0, 2**32 - 1))
def test_random_is_disjoint_complete_and_reproducible(values, seed):
    ratings = ratings_of(values)
    parts = split_rows(ratings, seed=seed)
    assert np.sort(np.concatenate(parts)).tolist() == list(range(len(values)))
    assert len(parts[0]) == len(values) * 8 // 10
    assert 0 <= len(parts[2]) - len(parts[1]) <= 1
    for rows, again in zip(parts, split_rows(ratings, seed=seed), strict=True):
        assert rows.tolist() == again.tolist()


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


def test_seeds_differ():
    ratings = ratings_of([1.0, 2.0] * 50)
    assert len({rows_fingerprint(split_rows(ratings, seed=seed)[2]) for seed in range(5)}) == 5


def test_rows_fingerprint_ignores_order_and_width():
    assert rows_fingerprint(np.array([3, 1], dtype="int32")) == rows_fingerprint(np.array([1, 3]))
    assert rows_fingerprint(np.array([1])) == ("7c9fa136d4413fa6173637e883b6998d32e1d675f88cddff9dcbcf331820f4b8")


@pytest.mark.parametrize("count", [1, FEWEST_RATINGS - 1])
def test_too_few_ratings(count):
    with pytest.raises(DataError, match="too few to split; give 10 or more"):
        split(ratings_of([1.0] * count))


def test_unknown_kind_lists_those_there_are():
    with pytest.raises(ConfigError, match="'tomorrow'; there are: random, given"):
        split(ratings_of([1.0] * 20), "tomorrow")


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
        train, valid, test = split_rows(ratings_of([1.0, 2.0, 3.0, 4.0], parts), "given")
        assert (train.tolist(), valid.tolist(), test.tolist()) == ([0, 3], [1], [2])

    def test_a_ninth_becomes_validation(self):
        parts = np.array([0] * 90 + [2] * 10)
        ratings = ratings_of([1.0, 2.0] * 50, parts)
        train, valid, test = split_rows(ratings, "given", seed=1)
        assert (len(train), len(valid)) == (80, 10)
        assert test.tolist() == list(range(90, 100))
        assert np.bincount(valid % 2).tolist() == [5, 5]
        assert split_rows(ratings, "given", seed=2)[1].tolist() != valid.tolist()

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
