"""Parquet, Arrow and JSON lines give the ratings that the arrays give; a damaged file is refused in one line."""

import datetime
import gzip
import io
import json

import numpy as np
import pandas as pd
import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hyvae.data import columnar, json_text, read
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings

IDS = ["007", "7", "a b", " x", "é", "\U0001f600"]
TABLE = pl.DataFrame(
    {
        "user_id": IDS,
        "note": [None, "n", "n", "n", "n", "n"],
        "item_id": [10, 20, 10, 30, 10, 2**62],
        "rating": [1.0, 2.5, 3.0, 0.0, 5.0, 4.0],
        "timestamp": [5, 4, 3, 2, 1, 0],
        "title": ["Ten", "Twenty", "Ten", None, None, "Large \U0001f600"],
    }
)
EXPECTED = Ratings.from_arrays(TABLE["user_id"].to_list(), TABLE["item_id"].to_list(), TABLE["rating"].to_list())
WRITERS = {
    ".parquet": lambda table, path: table.write_parquet(path),
    ".pq": lambda table, path: table.write_parquet(path, compression="snappy", row_group_size=2),
    ".PARQUET": lambda table, path: table.to_pandas().to_parquet(path),
    ".arrow": lambda table, path: table.write_ipc(path),
    ".feather": lambda table, path: table.write_ipc(path, compression="lz4"),
    ".ipc": lambda table, path: table.write_ipc_stream(path, compression="zstd"),
    ".jsonl": lambda table, path: table.write_ndjson(path),
    ".ndjson": lambda table, path: path.write_text("\n\n" + "\r\n \n".join(map(json.dumps, table.to_dicts()))),
}
every_kind = pytest.mark.parametrize("ending", WRITERS)
BINARY = [ending for ending in WRITERS if "json" not in ending]
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture(params=["pyarrow", "polars"])
def decoder(request, monkeypatch):
    """Both decoders of Parquet and Arrow in turn."""
    if request.param == "polars":
        monkeypatch.setattr(columnar, "_pyarrow", lambda: None)
    return request.param


@pytest.fixture
def write(tmp_path):
    def write_table(ending, table, name="r[1]*"):
        path = tmp_path / f"{name}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        WRITERS[ending](table, path)
        return path

    return write_table


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@every_kind
@pytest.mark.usefixtures("decoder")
class TestEveryKind:
    def test_agrees_with_arrays(self, write, ending):
        ratings = read(write(ending, TABLE))
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert ratings.timestamps.tolist() == [2, 5, 4, 3, 1, 0]
        assert ratings.titles.tolist() == ["Ten", "Twenty", "30", "Large \U0001f600"]

    def test_columns_by_name_and_scale(self, write, ending):
        path = write(ending, TABLE.rename({"user_id": "who", "item_id": "what", "rating": "mine"}))
        ratings = read(path, user="who", item="what", rating="mine", timestamp="", title="", scale=(0, 10))
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert (ratings.timestamps, ratings.titles, ratings.scale) == (None, None, (0.0, 10.0))

    def test_bad_rows(self, write, ending):
        values = pl.Series("rating", [1.0, None, 3.0, 0.0, 5.0, 99.0])
        path = write(ending, TABLE.with_columns(values))
        place = {".jsonl": "line", ".ndjson": "line"}.get(ending, "row")
        second, last = (5, 13) if ending == ".ndjson" else (2, 6)
        refused(path, f", {place} {second}: the rating is missing", scale=(0, 5))
        with pytest.warns(
            DataWarning, match=f"left out 2 of 6 rows\n.*{place} {second}:.*\n.*{place} {last}:.*off the"
        ):
            ratings = read(path, scale=(0, 5), on_bad_rows="skip")
        kept = TABLE[[0, 2, 3, 4]]
        assert ratings.fingerprint == Ratings.from_table(kept, user="user_id", item="item_id").fingerprint

    def test_repeated_pairs(self, write, ending):
        path = write(ending, pl.DataFrame({"user": [1, 1], "item": ["a", "a"], "rating": [1.0, 2.0], "date": [9, 5]}))
        refused(path, "user 1 rated item 'a' more than once")
        with pytest.warns(DataWarning, match="1 repeated"):
            assert read(path, on_duplicates="last").values.tolist() == [1.0]
        with pytest.warns(DataWarning, match="1 repeated"):
            assert read(path, on_duplicates="mean").values.tolist() == [1.5]

    def test_no_rows_and_no_column(self, write, ending):
        refused(write(ending, TABLE.drop("rating")), "no column of ratings among")
        refused(write(ending, TABLE), "no column 'stars'", rating="stars")
        refused(write(ending, TABLE[:0]), "the file is empty" if "json" in ending else "no ratings")

    def test_an_empty_file(self, tmp_path, ending):
        path = tmp_path / f"a{ending}"
        path.touch()
        refused(path, "the file is empty")

    def test_text_in_its_place(self, tmp_path, ending):
        path = tmp_path / f"a{ending}"
        path.write_text("user,item,rating\n1,2,3\n")
        refused(path, "line 1: not JSON" if "json" in ending else "not readable as .*: write or fetch it again")


@every_kind
@shared_folder
@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(-(2**63), 2**63 - 1)),
        min_size=1,
        unique=True,
    )
)
def test_any_ids_come_back(write, ending, rows):
    users, items = (list(column) for column in zip(*rows, strict=True))
    values = [float(number % 5) for number in range(len(rows))]
    schema = {"user": pl.String, "item": pl.Int64, "rating": pl.Float64}
    ratings = read(write(ending, pl.DataFrame({"user": users, "item": items, "rating": values}, schema=schema)))
    assert ratings.fingerprint == Ratings.from_arrays(users, items, values).fingerprint


@pytest.mark.usefixtures("decoder")
class TestTypes:
    def test_dates(self, write):
        days = pl.Series("timestamp", [datetime.datetime(2000, 1, 2)] * 6)
        for ending in WRITERS:
            assert set(read(write(ending, TABLE.with_columns(days.dt.to_string("iso")))).timestamps) == {946_771_200}
        for ending in BINARY:
            assert set(read(write(ending, TABLE.with_columns(days))).timestamps) == {946_771_200}
            assert set(read(write(ending, TABLE.with_columns(days.dt.date()))).timestamps) == {946_771_200}

    @pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.UInt64])
    def test_integers_of_any_width_are_64_bits(self, write, dtype):
        table = pl.DataFrame({"user": [3, 1], "item": [2, 5], "rating": [1, 2]}, schema_overrides={"user": dtype})
        assert read(write(".parquet", table)).users.ids.dtype == np.int64

    def test_categories(self, tmp_path):
        table = pd.DataFrame({"user": ["007", "7"], "item": [5, 6], "rating": [1.0, 2.0]})
        table.astype({"user": "category", "item": "category"}).to_parquet(tmp_path / "a.parquet")
        ratings = read(tmp_path / "a.parquet")
        assert ratings.fingerprint == Ratings.from_table(table).fingerprint

    def test_ids_that_are_no_ids(self, write):
        refused(write(".parquet", TABLE.with_columns(user_id=pl.lit(1.5))), "ids must be integers or text")

    def test_only_the_columns_in_use_are_decoded(self, write):
        path = write(".parquet", TABLE.with_columns(odd=pl.Series([[{"a": 1}]] * 6), **{"user.id": pl.lit(1)}))
        assert read(path, user="user_id").fingerprint == EXPECTED.fingerprint
        assert read(path, user="user.id", on_duplicates="error", item="user_id").n_users == 1


@pytest.mark.parametrize("ending", BINARY)
class TestDamage:
    @shared_folder
    @given(st.data())
    def test_a_file_that_is_cut_short(self, write, ending, data):
        path = write(ending, TABLE)
        content = path.read_bytes()
        path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
        good_or_refused(path)

    @pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # of damage that looks like data
    @shared_folder
    @given(st.data())
    def test_flipped_bits(self, write, ending, data):
        path = write(ending, TABLE)
        content = bytearray(path.read_bytes())
        for place in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=4)):
            content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        good_or_refused(path)

    @shared_folder
    @given(content=st.binary())
    @example(b"PAR1")
    @example(b"ARROW1\0\0ARROW1")
    @example(b"\xff\xff\xff\xff\0\0\0\0")
    def test_any_bytes(self, tmp_path, ending, content):
        path = tmp_path / f"a{ending}"
        path.write_bytes(content)
        refused(path, "the file is empty|not readable as|no column")


def good_or_refused(path):
    try:
        ratings = read(path)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(ratings)
        ratings.fingerprint  # noqa: B018


@pytest.mark.usefixtures("decoder")
class TestFolders:
    def test_parts(self, write, tmp_path):
        write(".parquet", TABLE[:2], "all/part-0")
        write(".parquet", TABLE[2:2], "all/part-1")
        write(".pq", TABLE[2:].with_columns(pl.col("rating").cast(pl.Int32)), "all/part-2")
        (tmp_path / "all" / "_metadata.parquet").write_text("not for us")
        (tmp_path / "all" / ".part-0.parquet.crc").write_text("nor this")
        assert read(tmp_path / "all").fingerprint == EXPECTED.fingerprint
        assert read(tmp_path / "all").source == str(tmp_path / "all")

    @pytest.mark.parametrize("key", ["user_id", "rating", "timestamp"])
    def test_keys_in_the_names_of_folders(self, tmp_path, key):
        TABLE.write_parquet(pl.PartitionBy(tmp_path / "all", key=key), mkdir=True)
        ratings = read(tmp_path / "all")
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert ratings.timestamps.tolist() == [2, 5, 4, 3, 1, 0]

    def test_integer_keys(self, tmp_path):
        TABLE.write_parquet(pl.PartitionBy(tmp_path / "all", key=["item_id"]), mkdir=True)
        assert read(tmp_path / "all").fingerprint == EXPECTED.fingerprint

    def test_keys_of_all_columns(self, write, tmp_path):
        write(".parquet", pl.DataFrame({"x": [0]}), "all/user=1/item=2/rating=3/a")
        assert read(tmp_path / "all").fingerprint == Ratings.from_arrays([1], [2], [3.0]).fingerprint

    def test_bad_rows_are_named_by_part(self, write, tmp_path):
        write(".parquet", TABLE[:2], "all/a")
        write(".parquet", TABLE[2:].with_columns(pl.Series("rating", [1.0, None, 1.0, 1.0])), "all/b")
        refused(tmp_path / "all", r"all, b\.parquet, row 2: the rating is missing")
        with pytest.warns(DataWarning, match="left out 1 of 6 rows"):
            assert len(read(tmp_path / "all", on_bad_rows="skip")) == 5

    def test_a_key_without_value(self, write, tmp_path):
        write(".parquet", TABLE.drop("user_id"), "all/user_id=__HIVE_DEFAULT_PARTITION__/a")
        refused(tmp_path / "all", "row 1: the user id is missing")

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (TABLE.drop("rating"), "no column 'rating', which other parts have"),
            (TABLE.with_columns(pl.col("user_id").str.len_chars()), "'user_id' is of type Int64, and of type String"),
        ],
    )
    def test_parts_that_differ(self, write, tmp_path, other, message):
        write(".parquet", TABLE, "all/a")
        path = write(".parquet", other, "all/b")
        with pytest.raises(DataError, match=message) as caught:
            read(tmp_path / "all")
        assert str(caught.value).startswith(str(path))

    def test_a_damaged_part(self, write, tmp_path):
        write(".parquet", TABLE, "all/a")
        (tmp_path / "all" / "b.parquet").write_bytes(b"PAR1")
        with pytest.raises(DataError, match=r"b\.parquet: not readable as Parquet"):
            read(tmp_path / "all")

    def test_no_parts(self, tmp_path):
        (tmp_path / "all" / "key=1").mkdir(parents=True)
        refused(tmp_path / "all", "the folder holds no ratings known to hyvae")


ROW = '{"user": "a", "item": 1, "rating": 3}\n'


class TestJsonLines:
    @pytest.fixture
    def put(self, tmp_path):
        def put_text(content, name="a.jsonl"):
            path = tmp_path / name
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
            return path

        return put_text

    def test_compressed(self, put):
        content = TABLE.write_ndjson().encode()
        for name, packed in ((".gz", gzip.compress(content)), (".zst", zstandard.compress(content))):
            assert read(put(packed, f"a.jsonl{name}")).fingerprint == EXPECTED.fingerprint
            refused(put(packed[:-9], f"a.jsonl{name}"), "cut short|not JSON")

    @pytest.mark.parametrize("ascii_only", [True, False])
    def test_byte_order_mark_and_escapes(self, put, ascii_only):
        content = "\n".join(json.dumps(row, ensure_ascii=ascii_only) for row in TABLE.to_dicts())
        assert read(put("\ufeff" + content)).fingerprint == EXPECTED.fingerprint

    def test_a_column_that_comes_late(self, put):
        assert read(put(ROW + '{"title": "One", "user": "b", "item": 1, "rating": 3}')).titles.tolist() == ["1"]

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "not JSON"),
            ("[1]", "holds no JSON object"),
            (ROW.strip() + ROW.strip(), "not JSON"),
            (b'{"user": "\xff", "item": 2, "rating": 3}', "not UTF-8 text"),
            ('{"user": "b", "item": 1}', "the rating is missing"),
            ('{"user": null, "item": 1, "rating": 3}', "the user id is missing"),
            ('{"user": 7, "item": 1, "rating": 3}', "the user id 7 is of type int, not text"),
            ('{"user": ["b"], "item": 1, "rating": 3}', r"the user id \['b'\] is of type list, not text"),
            ('{"user": "\\ud83d", "item": 1, "rating": 3}', "half a character"),
            ('{"user": "b", "item": "1", "rating": 3}', "the item id '1' is text among integers"),
            ('{"user": "b", "item": 1.0, "rating": 3}', "the item id 1.0 is of type float among integers"),
            ('{"user": "b", "item": 99999999999999999999, "rating": 3}', "too large for 64 bits"),
            ('{"user": "b", "item": 1, "rating": "x"}', "the rating 'x' is no number"),
            ('{"user": "b", "item": 1, "rating": true}', "the rating True is no number"),
            ('{"user": "b", "item": 1, "rating": NaN}', "the rating is nan"),
            (f'{{"user": "b", "item": 1, "rating": 1{"0" * 400}}}', "the rating is inf"),
            (f'{{"user": "b", "item": 1, "rating": 1{"0" * 5000}}}', "not JSON that can be read"),
            ("[" * 100_000, "not JSON that can be read"),
        ],
    )
    def test_a_bad_line(self, put, line, message):
        path = put(b"\n".join([b"", ROW.encode(), line if isinstance(line, bytes) else line.encode(), b""]))
        refused(path, f", line 4: .*{message}")
        with pytest.warns(DataWarning, match=f"left out 1 of 2 rows\n.*line 4: .*{message}"):
            ratings = read(path, on_bad_rows="skip")
        assert ratings.fingerprint == Ratings.from_arrays(["a"], [1], [3.0]).fingerprint

    def test_ratings_and_times_of_several_forms(self, put):
        rows = '{"user":1,"item":1,"rating":"3.5","time":1.5}\n{"user":1,"item":2,"rating":2,"time":7}\n'
        ratings = read(put(rows))
        assert (ratings.values.tolist(), ratings.timestamps.tolist()) == ([3.5, 2.0], [1, 7])

    def test_a_key_deeper_down_is_no_column(self, put):
        ratings = read(put('{"user":"a","more":{"user":5},"item":1,"rating":2}'))
        assert ratings.users.ids.tolist() == ["a"]

    def test_the_slow_reading_agrees_with_the_fast_one(self, put, monkeypatch):
        path = put(TABLE.write_ndjson())
        monkeypatch.setattr(json_text, "_BATCH", 2)
        monkeypatch.setattr(json_text, "_read_json_typed", lambda *_: None)
        slow = read(path)
        monkeypatch.undo()
        fast = read(path)
        assert slow.fingerprint == fast.fingerprint == EXPECTED.fingerprint
        assert slow.timestamps.tolist() == fast.timestamps.tolist()
        assert slow.titles.tolist() == fast.titles.tolist()

    def test_an_array_of_objects(self, put):
        assert len(read(put(f"[{ROW}]"))) == 1
        refused(put(f"[{ROW}]\n[{ROW}]"), "line 3: not JSON .*; write one whole array")
        refused(put(json.dumps([{"user": 1}])), "no column of items, ratings among 'user'")

    @shared_folder
    @given(st.lists(st.one_of(st.just(ROW.encode()), st.binary(), st.sampled_from([b"{}", b"[", b"\n", b"\r", b" "]))))
    def test_any_lines(self, put, pieces):
        path = put(b"".join(pieces))
        try:
            ratings = read(path)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert ratings.users.ids.tolist() == ["a"]

    @pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # any values, some like sentinels
    @shared_folder
    @given(
        st.lists(
            st.dictionaries(
                st.sampled_from(["user", "item", "rating", "time", "title"]),
                st.recursive(
                    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
                    max_leaves=3,
                ),
            ),
            min_size=1,
        )
    )
    def test_any_objects(self, put, objects):
        good_or_refused(put("\n".join(map(json.dumps, objects))))


def test_bytes_of_both_arrow_forms_are_told_apart():
    file, stream = io.BytesIO(), io.BytesIO()
    TABLE.write_ipc(file)
    TABLE.write_ipc_stream(stream)
    assert file.getvalue().startswith(b"ARROW1")
    assert not stream.getvalue().startswith(b"ARROW1")
