"""The numbers of a data set, by hand and for a real one."""

import json

import numpy as np
import pytest

from hyvae.data import describe, load
from hyvae.errors import DataError
from hyvae.ratings import Ratings

SMALL = Ratings.from_arrays([1, 1, 2], [7, 8, 7], [1, 4, 4], timestamps=[0, 60, 86400], scale=(1, 5))


def test_by_hand():
    numbers = describe(SMALL)
    assert (numbers["ratings"], numbers["users"], numbers["items"]) == (3, 2, 2)
    assert numbers["density"] == pytest.approx(0.75)
    assert numbers["sparsity"] == pytest.approx(0.25)
    assert numbers["mean"] == pytest.approx(3.0)
    assert numbers["levels"] == {1.0: 1, 4.0: 2}
    assert numbers["scale"] == (1.0, 5.0)
    assert numbers["ratings_per_user"] == {"min": 1, "median": 1.5, "mean": 1.5, "max": 2}
    assert (numbers["first"], numbers["last"]) == ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z")


def test_is_ready_for_json():
    assert json.loads(json.dumps(describe(SMALL)))["ratings"] == 3


def test_listed_and_rated_are_told_apart():
    numbers = describe(load("movielens-small"))
    assert (numbers["items"], numbers["listed_items"]) == (9_724, 9_742)
    assert numbers["ratings_per_user"]["min"] == 20


def test_continuous_ratings_have_no_levels():
    n = np.arange(200)
    numbers = describe(Ratings.from_arrays(n, n, n / 7))
    assert numbers["levels"] == {}
    assert numbers["first"] is None


def test_nothing_to_describe():
    with pytest.raises(DataError, match="no ratings"):
        describe(SMALL.take(np.array([], dtype=int)))
