"""Tables of every kind give the ratings that the arrays give; bad ones are refused with row and mend."""

import datetime
import uuid

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.data import ratings_from_table
from hyvae.errors import DataError
from hyvae.ratings import Ratings


class Subclass(pd.DataFrame):
    """Of pandas, at home elsewhere, as that of geopandas is."""

    @property
    def _constructor(self):
        return Subclass


class Capsule:
    """Nothing but the interface."""

    def __init__(self, columns):
        self.table = pa.table(columns)

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


KINDS = {
    "pandas": pd.DataFrame,
    "polars": pl.DataFrame,
    "lazy": pl.LazyFrame,
    "arrow": pa.table,
    "record batch": pa.RecordBatch.from_pydict,
    "pandas subclass": lambda columns: Subclass(columns),
    "PyCapsule": lambda columns: Capsule(columns),
    "record batches": lambda columns: pa.table(columns).to_reader(),
    "DuckDB": lambda columns: duckdb.from_arrow(pa.table(columns)),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
INTEGERS = {"user": [7, 2, 2], "item": [10, 30, 10], "rating": [3.0, 5.0, 1.0]}
STRINGS = {"user": ["007", "7", "é"], "item": ["b", "a", "\U0001f600"], "rating": [3.0, 5.0, 1.0]}


@every_kind
@pytest.mark.parametrize("columns", [INTEGERS, STRINGS], ids=["integers", "strings"])
def test_agrees_with_arrays(make, columns):
    ratings = ratings_from_table(make(columns))
    assert ratings.fingerprint == Ratings.from_arrays(*columns.values()).fingerprint


@settings(deadline=None)  # a first call imports
@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), st.integers(-(2**63), 2**63 - 1)), min_size=1, unique=True))
def test_agrees_with_arrays_on_any_ids(rows):
    users, items = (list(column) for column in zip(*rows, strict=True))
    values = [float(number % 5) for number in range(len(rows))]
    table = pl.DataFrame({"user": users, "item": items, "rating": values}, schema_overrides={"item": pl.Int64})
    expected = Ratings.from_arrays(users, items, values)
    assert ratings_from_table(table).fingerprint == expected.fingerprint
    assert ratings_from_table(table.to_pandas()).fingerprint == expected.fingerprint


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt8, pl.Int32, pl.UInt64])
def test_integer_ids_of_any_width(dtype):
    ratings = ratings_from_table(pl.DataFrame(INTEGERS, schema_overrides={"user": dtype, "item": dtype}))
    assert ratings.users.ids.dtype == np.int64
    assert ratings.fingerprint == Ratings.from_arrays(*INTEGERS.values()).fingerprint


def test_categories_are_read_as_text():
    table = pd.DataFrame(STRINGS).astype({"user": "category"})
    assert ratings_from_table(table).fingerprint == Ratings.from_arrays(*STRINGS.values()).fingerprint


@every_kind
def test_other_columns_are_named(make):
    table = make({"who": [1, 2], "what": [5, 5], "stars": [1, 2], "when": [10, 20], "name": ["Five", "Other"]})
    ratings = ratings_from_table(
        table, user="who", item="what", rating="stars", timestamp="when", title="name", scale=(0, 5)
    )
    assert ratings.timestamps.tolist() == [10, 20]
    assert ratings.titles.tolist() == ["Five"]
    assert ratings.scale == (0.0, 5.0)


def test_dates_become_seconds():
    days = [datetime.date(2000, 1, 2), datetime.date(2000, 1, 1), datetime.date(2000, 1, 3)]
    ratings = ratings_from_table(pl.DataFrame({**INTEGERS, "time": days}), timestamp="time")
    assert sorted(ratings.timestamps.tolist()) == [946_684_800, 946_771_200, 946_857_600]


def test_a_column_that_no_one_asked_for_does_no_harm():
    table = pd.DataFrame({**INTEGERS, "odd": [1, "a", object()]})
    assert len(ratings_from_table(table)) == 3


BAD = [
    ({"user": [1, None, 3]}, "row 2: the user id is missing"),
    ({"item": ["a", "b", None]}, "row 3: the item id is missing"),
    ({"rating": [1.0, None, 2.0]}, "row 2: the rating is missing"),
    ({"rating": ["1", "2", "five"]}, "row 3: the rating 'five' is no number"),
    ({"rating": [1.0, 2.0, float("inf")]}, "row 3: the rating is inf"),
    ({"user": [1.0, 2.0, 3.0]}, "integers or text"),
    ({"user": [True, False, True]}, "integers or text"),
    ({"user": [], "item": [], "rating": []}, "no ratings"),
    ({"item": [10, 10, 10]}, r"user 2 rated item 10 more than once \(row 2: 5, and row 3: 1\)"),
]


@every_kind
@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_tables(make, change, message):
    with pytest.raises(DataError, match=message) as caught:
        ratings_from_table(make({**INTEGERS, **change}), source="mine")
    assert str(caught.value).startswith("mine")
    assert "\n" not in str(caught.value)


@every_kind
def test_a_missing_column_lists_those_there(make):
    with pytest.raises(DataError, match=r"no column 'user'; there are: 'who', 'item'.*user=…"):
        ratings_from_table(make({"who": [1], "item": [1]}))


def test_one_column_for_two_purposes():
    with pytest.raises(DataError, match="two purposes"):
        ratings_from_table(pl.DataFrame(INTEGERS), item="user")


def test_nan_in_polars_is_not_a_number():
    with pytest.raises(DataError, match="row 1: the rating is nan"):
        ratings_from_table(pl.DataFrame({**INTEGERS, "rating": [float("nan"), 1.0, 2.0]}))


def test_an_id_beyond_64_bits():
    table = pl.DataFrame({**INTEGERS, "user": [1, 2**63, 2]}, schema_overrides={"user": pl.UInt64})
    with pytest.raises(DataError, match="row 2: the user id 9223372036854775808 is too large"):
        ratings_from_table(table)


def test_mixed_ids_in_pandas():
    with pytest.raises(DataError, match="give each column one type"):
        ratings_from_table(pd.DataFrame({**INTEGERS, "user": [1, "1", 2]}))


def test_text_as_timestamp():
    with pytest.raises(DataError, match="row 1: the timestamp 'noon' is no time"):
        ratings_from_table(pl.DataFrame({**INTEGERS, "time": ["noon", "1", "2"]}), timestamp="time")


@pytest.mark.parametrize("table", [[1, 2], {"user": [1]}, None, "ratings.csv"])
def test_what_is_no_table(table):
    with pytest.raises(DataError, match="expected a pandas, Polars or Arrow table"):
        ratings_from_table(table)


@pytest.mark.parametrize("user", [0, np.int64(0), "0"])
def test_columns_may_be_called_by_numbers(user):
    table = pd.DataFrame(INTEGERS).set_axis([0, 1, 2], axis=1)
    assert (
        ratings_from_table(table, user=user, item=1, rating=2).fingerprint
        == ratings_from_table(INTEGERS_TABLE).fingerprint
    )


INTEGERS_TABLE = pl.DataFrame(INTEGERS)
NAMES = [uuid.UUID(int=number) for number in (7, 2, 2)]


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({**INTEGERS, "user": NAMES}),
        pl.DataFrame({**INTEGERS, "user": pl.Series(NAMES, dtype=pl.Object)}),
    ],
)
def test_uuids_are_their_text(table):
    assert ratings_from_table(table).users.ids.tolist() == sorted(set(map(str, NAMES)))


def test_columns_of_one_name_are_refused():
    table = pd.DataFrame(INTEGERS)
    with pytest.raises(DataError, match="2 columns are called 'user'; rename all but one"):
        ratings_from_table(pd.concat([table, table[["user"]]], axis=1))
