"""SQL: the answer to a query gives the ratings that the arrays give; nothing is written, and no password is told."""

import builtins
import datetime
import decimal
import json
import sqlite3
import subprocess
import sys
import uuid
from importlib.util import find_spec

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyvae.data import database, read
from hyvae.data.columns import Columns
from hyvae.data.values import ValueTable
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings

pytest.importorskip("sqlalchemy")

USERS = ["007", "7", " a b", "\U0001f600", "é"]
ITEMS = [10, 20, 10, 2**62, -1]
VALUES = [1.0, 2.5, 0.0, 5.0, 4.0]
TIMES = [5, 4, 3, 2, 1]
TITLES = ["Ten", "It's: 100 %", None, None, "x"]
EXPECTED = Ratings.from_arrays(USERS, ITEMS, VALUES)
QUERY = "select * from ratings"
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def make_sqlite(path, rows, types="user_id text, item_id integer, rating real, timestamp integer, title text"):
    connection = sqlite3.connect(path)
    connection.execute(f"create table ratings ({types})")
    connection.executemany(f"insert into ratings values ({', '.join('?' * len(types.split(',')))})", rows)
    connection.commit()
    connection.close()
    return f"sqlite:///{path}"


def make_duckdb(path, rows, types="user_id varchar, item_id bigint, rating double, timestamp bigint, title varchar"):
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect(str(path))
    connection.execute(f"create table ratings ({types})")
    connection.executemany(f"insert into ratings values ({', '.join('?' * len(types.split(',')))})", rows)
    connection.close()
    return f"duckdb:///{path}"


MAKERS = {"sqlite": make_sqlite, "duckdb": make_duckdb}
every_database = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


@pytest.fixture
def rows():
    return [list(row) for row in zip(USERS, ITEMS, VALUES, TIMES, TITLES, strict=True)]


def refused(source, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read(source, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@every_database
class TestEveryDatabase:
    @pytest.mark.parametrize("batch", [2, 1 << 16])
    def test_agrees_with_arrays(self, tmp_path, rows, make, batch, monkeypatch):
        monkeypatch.setattr(database, "_BATCH", batch)
        url = make(tmp_path / "r 1.db", rows)
        ratings = read(url, query=QUERY)
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert ratings.timestamps.tolist() == [3, 5, 4, 1, 2]
        assert ratings.titles.tolist() == ["x", "Ten", "It's: 100 %", str(2**62)]
        assert ratings.source == url

    def test_columns_and_marks_of_parameters(self, tmp_path, rows, make):
        query = (
            "/* a note */ -- and another\n(select user_id as who, item_id as what, rating as mine from ratings "
            "where coalesce(title, '') <> ':x' and coalesce(title, '') not like '%no%')"
        )
        if make is make_sqlite:
            query = query.replace("(select", "select").removesuffix(")")
        ratings = read(make(tmp_path / "r.db", rows), query=query, user="who", item="what", rating="mine", scale=(0, 9))
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert ratings.scale == (0.0, 9.0)

    def test_integer_ids_stay_integers_and_text_stays_text(self, tmp_path, make):
        rows = [["1", 1, 3.0, 1, None], ["2", 2, 4.0, 1, None]]
        ratings = read(make(tmp_path / "r.db", rows), query=QUERY, timestamp="", title="")
        assert ratings.fingerprint == Ratings.from_arrays(["1", "2"], [1, 2], [3, 4]).fingerprint

    def test_bad_rows(self, tmp_path, rows, make):
        rows[1][2], rows[3][0] = None, None
        url = make(tmp_path / "r.db", rows)
        assert refused(url, "row 2: the rating is missing", query=QUERY).startswith(url)
        with pytest.warns(DataWarning, match="left out 2 of 5 rows\n.*row 2: .*\n.*row 4: the user id is missing"):
            ratings = read(url, query=QUERY, on_bad_rows="skip")
        kept = [0, 2, 4]
        columns = ([column[row] for row in kept] for column in (USERS, ITEMS, VALUES))
        assert ratings.fingerprint == Ratings.from_arrays(*columns).fingerprint

    def test_repeated_pairs(self, tmp_path, rows, make):
        url = make(tmp_path / "r.db", [*rows, ["007", 10, 3.0, 99, None]])
        refused(url, r"user '007' rated item 10 more than once \(row 1: 1, and row 6: 3\)", query=QUERY)
        with pytest.warns(DataWarning, match="1 repeated"):
            assert read(url, query=QUERY, on_duplicates="mean").values.tolist() == [0, 2, 2.5, 4, 5]

    def test_dates(self, tmp_path, make):
        day = datetime.datetime(2000, 1, 2)
        types = "user_id integer, item_id integer, rating decimal, t timestamp"
        value = str(day) if make is make_sqlite else day
        ratings = read(make(tmp_path / "r.db", [[1, 2, 3.5, value]], types), query=QUERY, timestamp="t")
        assert ratings.timestamps.tolist() == [946_771_200]
        assert ratings.values.tolist() == [3.5]

    @pytest.mark.parametrize(
        ("query", "message"),
        [
            (None, "which rows of the database"),
            (" ", "which rows of the database"),
            ("select * from nothing", "the query cannot be answered .*nothing.*; mend query"),
            ("select from where", "the query cannot be answered"),
            ("select 1; select 2", "must be one select that writes nothing"),
            ("select 1; copy (select 1) to 'x.csv'", "must be one select that writes nothing"),
            ("select 1; drop table ratings", "must be one select that writes nothing"),
            ("select 1; attach 'x.db' as x", "must be one select that writes nothing"),
            ("with x as (select 1) insert into ratings select * from x", "one select that|cannot be answered"),
            ("with x as (select 1) update ratings set rating = 1", "cannot be answered|one select that"),
            ("select \0", "the query cannot be answered"),
            ("select '\ud800'", "the query cannot be answered"),
            ("select * from ratings where 1 = 0", "no ratings"),
            ("select user_id, item_id from ratings", "no column of ratings among 'user_id', 'item_id'"),
            ("select r.rating, q.* from ratings r, ratings q", "two columns of the query's answer are called 'rating'"),
            ("drop table ratings", "the query must begin with select"),
            ("delete from ratings", "the query must begin with select"),
            ("with x as (select 1) delete from ratings", "cannot be answered|one select that"),
        ],
    )
    def test_bad_queries(self, tmp_path, rows, make, query, message):
        path = tmp_path / "r.db"
        url = make(path, rows)
        content = path.read_bytes()
        assert refused(url, message, query=query).startswith(url)
        assert path.read_bytes() == content
        assert sorted(tmp_path.iterdir()) == [path]
        refused(url, "no column 'stars'", query=QUERY, rating="stars")

    @pytest.mark.parametrize("content", [None, b"", b"no database", b"SQLite format 3\0" + bytes(100), b"DUCK" * 9999])
    def test_bad_files(self, tmp_path, make, content):
        url = f"{'sqlite' if make is make_sqlite else 'duckdb'}:///{tmp_path / 'r.db'}"
        if make is make_duckdb:
            pytest.importorskip("duckdb")
        if content is not None:
            (tmp_path / "r.db").write_bytes(content)
        refused(url, "no file" if content is None else "the query cannot be answered", query=QUERY)
        assert content is not None or not list(tmp_path.iterdir())


class TestDuckdb:
    pytestmark = pytest.mark.skipif(not find_spec("duckdb"), reason="no duckdb")

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "BX.csv").write_text("who;what;stars\n1;2;0\n1;3;8\n2;3;9\n")

    @pytest.mark.parametrize("name", ["'BX.csv'", "read_csv('BX.csv', delim = ';')", "'BX.parquet'"])
    def test_the_recipe_of_a_row_filter(self, tmp_path, name):
        pl.read_csv("BX.csv", separator=";").write_parquet("BX.parquet")
        query = f"select who as user, what as item, stars as rating from {name} where stars > 0;"
        ratings = read("duckdb:///:memory:", query=query)
        assert ratings.fingerprint == Ratings.from_arrays([1, 2], [3, 3], [8, 9]).fingerprint
        assert ratings.source == "duckdb:///:memory:"

    @pytest.mark.parametrize(
        "query",
        [
            "select 1 as user, 2 as item, 3 as rating; copy (select 1) to 'x.csv'",
            "select * from query('copy (select 1) to ''x.csv'' ')",
            "select * from enable_logging(storage = 'file', storage_path = 'logs')",
            "select 1 as user, 2 as item, 3 as rating; set threads = 1",
            "from 'BX.csv'; export database 'x'",
            "with x as (select 1) insert into t select * from x",
        ],
    )
    def test_nothing_is_written(self, tmp_path, query):
        refused("duckdb:///:memory:", "must be one select that writes nothing|cannot be answered", query=query)
        assert [path.name for path in tmp_path.iterdir()] == ["BX.csv"]

    @pytest.mark.integration
    def test_nothing_is_said_but_the_answer(self, tmp_path):
        query = "select who as user, what as item, stars as rating from 'BX.csv' where stars > 0"
        command = [sys.executable, "-m", "hyvae", "data", "describe", "duckdb:///:memory:", "--query", query, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert json.loads(done.stdout)["ratings"] == 2


class TestOneSelect:
    """What holds for databases that this machine has not."""

    @pytest.mark.parametrize(
        "query",
        [
            "select 1;",
            "select 1 ; ; \n",
            "select ';' from t -- ; drop\n",
            "select 'it''s; into' /* ; */ as \";\", `into;` from t",
            "select $$ ; $$, $a$ ; $$ ; $a$",
            "select points_into from t",
        ],
    )
    def test_one(self, query):
        database._require_one_select(query, "x")

    @pytest.mark.parametrize(
        "query",
        [
            "select 1; commit; drop table t",
            "select 'a';drop table t",
            "select 'a\\'; drop table t; -- '",
            "select * into t from s",
            "select 1 into outfile '/tmp/x'",
            "with x as (select 1) insert INTO t select * from x",
        ],
    )
    def test_more(self, query):
        with pytest.raises(DataError, match="must be one select that writes nothing"):
            database._require_one_select(query, "x")


class TestSqlite:
    def test_a_column_of_mixed_types(self, tmp_path):
        url = make_sqlite(tmp_path / "r.db", [[1, 1, 3.0], ["x", 2, 4.0]], "user, item, rating")
        refused(url, "row 2: the user id 'x' is text among integers", query=QUERY)
        with pytest.warns(DataWarning, match="left out 1 of 2 rows"):
            assert len(read(url, query=QUERY, on_bad_rows="skip")) == 1

    @pytest.mark.parametrize("value", [b"\xff", 1.5])
    def test_ids_that_are_no_ids(self, tmp_path, value):
        url = make_sqlite(tmp_path / "r.db", [[value, 1, 3.0]], "user, item, rating")
        refused(url, "row 1: the user id .* is of type (bytes|float), not text", query=QUERY)

    def test_text_that_is_not_utf8(self, tmp_path, rows):
        url = make_sqlite(tmp_path / "r.db", rows)
        query = "select cast(x'ff' as text) as user, item_id, rating from ratings"
        refused(url, "the query cannot be answered", query=query)

    def test_addresses_of_files(self, tmp_path, rows, monkeypatch):
        make_sqlite(tmp_path / "r.db", rows)
        monkeypatch.chdir(tmp_path)
        for url in ("sqlite:///r.db", f"sqlite+pysqlite:///{tmp_path}/r.db", "sqlite:///file:r.db?uri=true"):
            assert read(url, query=QUERY).fingerprint == EXPECTED.fingerprint
        refused("sqlite:///file:other.db?uri=true", "the query cannot be answered", query=QUERY)
        refused("sqlite:///file:other.db", "the query cannot be answered", query=QUERY)
        refused("sqlite://", "the query cannot be answered", query=QUERY)
        assert [path.name for path in tmp_path.iterdir()] == ["r.db"]

    def test_a_file_that_may_not_be_written(self, tmp_path, rows):
        url = make_sqlite(tmp_path / "r.db", rows)
        (tmp_path / "r.db").chmod(0o400)
        assert read(url, query=QUERY).fingerprint == EXPECTED.fingerprint

    @FUZZ
    @given(st.data())
    def test_damage(self, tmp_path, rows, data):
        path = tmp_path / "r.db"
        path.unlink(missing_ok=True)
        url = make_sqlite(path, rows)
        content = bytearray(path.read_bytes())
        if data.draw(st.booleans()):
            content = content[: data.draw(st.integers(0, len(content) - 1))]
        else:
            for place in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=9)):
                content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            ratings = read(url, query=QUERY)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert len(ratings)

    @FUZZ
    @given(st.text().map("select {}".format) | st.text())
    def test_any_query(self, tmp_path, rows, query):
        path = tmp_path / "r.db"
        if not path.exists():
            make_sqlite(path, rows)
        refused(f"sqlite:///{path}", None, query=query)

    @pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # any values, some like sentinels
    @FUZZ
    @given(
        st.dictionaries(
            st.tuples(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
                st.integers(-(2**63), 2**63 - 1),
            ),
            # SQLite stores −0 as 0
            st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda rating: rating + 0.0),
            min_size=1,
        )
    )
    def test_any_ids_come_back(self, tmp_path, ratings):
        (tmp_path / "r.db").unlink(missing_ok=True)
        users, items = (list(ids) for ids in zip(*ratings, strict=True))
        values = list(ratings.values())
        types = "user text, item integer, rating real"
        url = make_sqlite(tmp_path / "r.db", list(zip(users, items, values, strict=True)), types)
        assert read(url, query=QUERY).fingerprint == Ratings.from_arrays(users, items, values).fingerprint


class TestAddresses:
    SECRET = "s3cr3t!"

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:s3cr3t!@localhost/db",
            "postgresql://me:s3cr3t%21@localhost/db",
            "mysql://me:s3cr3t!@localhost/db",
            "oracle://me:s3cr3t!@localhost/db",
            "nosuch://me:s3cr3t!@localhost/db",
            "sqlite://me:s3cr3t!@localhost/db",
            "postgresql://me:s3cr3t!@localhost:port/db",
            "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BX%7D%3BPWD%3Ds3cr3t!",
            "duckdb:///nothing.duckdb?motherduck_token=s3cr3t!",
            "://me:s3cr3t!@",
        ],
    )
    @pytest.mark.parametrize("query", [None, QUERY])
    def test_the_password_is_not_told(self, url, query):
        assert self.SECRET not in refused(url, None, query=query)

    def test_the_password_in_what_a_driver_says(self):
        url = database._parsed("postgresql://me:s3cr3t%21@localhost/db?token=other-secret")
        assert database._reason(ValueError("bad\nlogin s3cr3t! other-secret"), url) == "bad login *** ***"

    def test_the_password_is_not_in_the_source(self, tmp_path, rows, monkeypatch):
        make_sqlite(tmp_path / "r.db", rows)
        from sqlalchemy import create_engine

        engine = create_engine(f"sqlite:///{tmp_path}/r.db")
        monkeypatch.setattr(database, "_engine", lambda _: engine)
        ratings = read("postgresql://me:s3cr3t!@host/db?sslpassword=s3cr3t!", query=QUERY)
        assert ratings.source == "postgresql://me:***@host/db"

    def test_what_is_not_installed(self):
        refused("nosuch:///db", "SQLAlchemy knows no database called 'nosuch'", query=QUERY)
        pytest.importorskip("sqlalchemy")
        if "oracledb" not in sys.modules:
            refused("oracle+oracledb://host/db", "the driver oracledb is not installed; .*pip install", query=QUERY)

    def test_without_sqlalchemy(self, monkeypatch):
        real = builtins.__import__

        def without(name, *args, **options):
            if name.partition(".")[0] == "sqlalchemy":
                raise ModuleNotFoundError(f"No module named {name!r}")
            return real(name, *args, **options)

        monkeypatch.setattr(builtins, "__import__", without)
        refused("sqlite:///r.db", r"needs SQLAlchemy; pip install 'hyvae\[sql\]'", query=QUERY)

    @pytest.mark.parametrize("source", ["a.csv", "https://localhost/a.csv", "movielens-small"])
    def test_a_query_without_a_database(self, source):
        refused(source, "query", query=QUERY)

    @FUZZ
    @given(st.text(), st.text())
    def test_any_address(self, scheme, rest):
        if not f"{scheme}://".startswith(("http://", "https://")):
            refused(f"{scheme}://{rest}", None, query=QUERY)


class TestWebAddresses:
    def test_a_file_is_fetched_and_read_by_its_ending(self, tmp_path, monkeypatch):
        path = tmp_path / "a.csv"
        path.write_text("user,item,rating\n1,2,3\n")
        asked = []
        monkeypatch.setattr("hyvae.data.readers.fetch_url", lambda url, **_: asked.append(url) or path)
        for url in ("https://host/a.csv", "http://host/a.csv"):
            assert read(url, scale=(1, 5)).fingerprint == Ratings.from_arrays([1], [2], [3]).fingerprint
        assert asked == ["https://host/a.csv", "http://host/a.csv"]


class TestValueTable:
    COLUMNS = Columns(timestamp="time", title="title")

    def table(self, *batches):
        table = ValueTable(self.COLUMNS)
        for batch in batches:
            empty = [None] * len(next(iter(batch.values())))
            table.add({name: batch.get(name, empty) for name in self.COLUMNS.named().values()})
        return table

    def test_types_of_a_database(self):
        key = uuid.UUID(int=7)
        noon = datetime.datetime(1970, 1, 1, 12)
        ahead = datetime.timezone(datetime.timedelta(hours=2))
        frame = self.table(
            {
                "user": [None, key],
                "item": [decimal.Decimal("7"), 8],
                "rating": [decimal.Decimal("3.5"), None],
                "time": [noon, noon.replace(tzinfo=ahead)],
                "title": [None, 5],
            },
            {"user": ["x"], "item": [9], "rating": ["4"], "time": [datetime.date(1970, 1, 2)]},
        ).frame()
        assert frame.rows() == [
            (None, 7, 3.5, 43_200, None),
            (str(key), 8, None, 36_000, "5"),
            ("x", 9, 4.0, 86_400, None),
        ]

    def test_times_as_text(self):
        frame = self.table({"time": [None, "1970-01-02"]}, {"time": ["1970-01-03"]}).frame()
        assert frame["time"].to_list() == [None, "1970-01-02", "1970-01-03"]

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            ("time", [1, datetime.time(1)], "is no time"),
            ("time", [1, 2**63], "is no time"),
            ("time", [1, float("inf")], "is no time"),
            ("time", ["1970-01-01", b"x"], "is no time"),
            ("user", [1, decimal.Decimal("1.5")], "of type Decimal among integers"),
            ("user", [1, True], "of type bool among integers"),
            ("rating", [1, decimal.Decimal("sNaN")], "is no number"),
        ],
    )
    def test_values_that_cannot_be_used(self, name, values, message):
        bad = self.table({name: values}).bad_rows()
        with pytest.raises(DataError, match=f"x, row 2: .*{message}"):
            bad.settle("x", "row {}".format, skip=False)
