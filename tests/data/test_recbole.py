"""RecBole's atomic files: typed column names, and titles from the `.item` file beside."""

import gzip

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hyvae.data import read
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
INTER = HEADER + "1\t10\t3\t881250949.0\n1\t20\t4.5\t881250958\n2\t10\t5\t881250959\n"
ITEM = "item_id:token\tmovie_title:token_seq\tclass:token_seq\n10\tTen: a \U0001f600\tDrama\n30\t\t\n"
EXPECTED = Ratings.from_arrays([1, 1, 2], [10, 20, 10], [3, 4.5, 5])
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def put(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        INTER,
        "\ufeff" + INTER.replace("\n", "\r\n"),
        "\n" + INTER.strip(),
        INTER.replace(":token", "").replace(":float", ""),
        INTER.replace("timestamp:float", "tags:token_seq").replace("881250949.0", "a b"),
    ],
)
def test_agrees_with_arrays(put, content):
    assert read(put("a.inter", content)).fingerprint == EXPECTED.fingerprint
    assert read(put("a.inter.gz", gzip.compress(content.encode()))).fingerprint == EXPECTED.fingerprint


def test_times_and_source(put):
    path = put("ml.INTER", INTER)
    ratings = read(path)
    assert ratings.timestamps.tolist() == [881250949, 881250958, 881250959]
    assert ratings.source == str(path)
    assert read(path, timestamp="").timestamps is None


def test_another_separator_and_names(put):
    path = put("a.inter", "who:token,what:token,mine:float\n1,10,3\n1,20,4.5\n2,10,5\n")
    options = {"user": "who", "item": "what", "rating": "mine"}
    assert read(path, separator=",", **options).fingerprint == EXPECTED.fingerprint


def test_a_name_may_hold_a_colon(put):
    path = put("a.inter", "my:token:token\titem:token\trating:float\n1\t10\t3\n1\t20\t4.5\n2\t10\t5\n")
    assert read(path, user="my:token").fingerprint == EXPECTED.fingerprint


@pytest.mark.parametrize("ids", [["007", "7", "a b", "\U0001f600"], ["x"]])
def test_text_ids(put, ids):
    rows = "".join(f"{id_}\t{id_}\t3\t1\n" for id_ in ids)
    assert read(put("a.inter", HEADER + rows)).fingerprint == Ratings.from_arrays(ids, ids, [3] * len(ids)).fingerprint


class TestTitles:
    def test_from_the_file_beside(self, put):
        put("a.item", ITEM)
        ratings = read(put("a.inter", INTER))
        assert ratings.items.ids.tolist() == [10, 20, 30]
        assert ratings.titles.tolist() == ["Ten: a \U0001f600", "20", "30"]
        assert len(ratings) == 3
        assert read(put("a.inter.gz", gzip.compress(INTER.encode()))).n_items == 3

    def test_left_out(self, put):
        put("a.item", ITEM)
        assert read(put("a.inter", INTER), title="").titles is None
        put("a.item", "item_id:token\tprice:float\n10\t1\n")
        assert read(put("a.inter", INTER)).fingerprint == EXPECTED.fingerprint

    def test_a_text_id_among_the_titles(self, put):
        put("a.item", ITEM + "x9\tNine\t\n")
        assert read(put("a.inter", INTER)).items.ids.tolist() == ["10", "20", "30", "x9"]

    def test_a_bad_row_among_the_titles(self, put):
        path = put("a.item", ITEM + "\tNobody\t\n")
        put("a.inter", INTER)
        refused(path.with_suffix(".inter"), r"a\.item, line 4: the item id is missing")
        with pytest.warns(DataWarning, match=r"a\.item: left out 1 of 3 rows"):
            assert read(path.with_suffix(".inter"), on_bad_rows="skip").n_items == 3


class TestFolders:
    def test_one_file(self, put):
        put("ml-x/ml-x.item", ITEM)
        put("ml-x/ml-x.user", "user_id:token\tage:float\n")
        path = put("ml-x/ml-x.inter", INTER)
        assert read(path.parent).titles.tolist() == ["Ten: a \U0001f600", "20", "30"]
        assert read(str(path.parent)).source == str(path)

    def test_several(self, put):
        put("ml-x/b.inter", INTER)
        refused(put("ml-x/a.inter", INTER).parent, r"several \.inter files \(a\.inter, b\.inter\); name one")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        (HEADER, "no ratings"),
        (INTER.replace("rating:float", "x:float"), "no column of ratings among 'user_id', 'item_id', 'x', 'timestamp'"),
        (HEADER + "1\t2\t3\t4\n1\t3\tfive\t4\n", "line 3: the rating 'five' is no number"),
        (HEADER + "1\t2\t3\t4\n\n1\t\t5\t4\n", "line 4: the item id is missing"),
        (HEADER + "1\t2\t3\t4\n1\t2\t5\t4\n", r"more than once \(line 2: 3, and line 3: 5\)"),
        (HEADER + "1\t2\t3\t4\t5\n", "line 2: more fields than the 4 columns"),
        (HEADER.encode() + b"\xff\t2\t3\t4\n", "line 2: not UTF-8"),
    ],
)
def test_bad_content(put, content, message):
    refused(put("a.inter", content), message)


def test_bad_rows_and_repeated_pairs(put):
    path = put("a.inter", INTER + "2\t20\tx\t881250960\n")
    with pytest.warns(DataWarning, match="left out 1 of 4 rows\n.*line 5: the rating 'x'"):
        assert read(path, on_bad_rows="skip").fingerprint == EXPECTED.fingerprint
    with pytest.warns(DataWarning, match="1 repeated"):
        assert read(put("a.inter", INTER + "2\t10\t1\t881250999\n"), on_duplicates="last").values.tolist() == [
            3,
            4.5,
            1,
        ]


@pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # any values, some like sentinels
@FUZZ
@given(
    st.dictionaries(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.text("abc0 é\U0001f600", min_size=1).map("x{}x".format)),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        min_size=1,
    )
)
def test_any_ids_come_back(put, ratings):
    users, items = (list(ids) for ids in zip(*ratings, strict=True))
    names = ("user_id:token", "item_id:token", "rating:float")
    table = pl.DataFrame(dict(zip(names, (users, items, list(ratings.values())), strict=True)))
    expected = Ratings.from_arrays(users, items, list(ratings.values()))
    assert read(put("a.inter", table.write_csv(separator="\t"))).fingerprint == expected.fingerprint


@pytest.mark.parametrize("name", ["a.inter", "a.item"])
@FUZZ
@given(content=st.binary() | st.text("\t\n\r:abuser_idtoken0123\"'").map(str.encode))
@example(content=ITEM.encode()[:-1])
@example(content=b":token")
def test_any_content(put, name, content):
    put("a.inter", INTER)
    path = put(name, content).with_name("a.inter")
    try:
        ratings = read(path)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(ratings)
