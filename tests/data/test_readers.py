"""`read`: every format gives the same ratings; a bad file is refused by name, line and mend."""

import bz2
import gzip
import io
import lzma
import warnings
import zipfile

import h5py
import numpy as np
import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyvae.data import read, text
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings

EXPECTED = Ratings.from_arrays([1, 1, 2], [10, 20, 10], [3, 4.5, 5])


@pytest.fixture
def write(tmp_path):
    """Write a file and give its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def _is_int(written: str) -> bool:
    try:
        return str(int(written)) == written
    except ValueError:
        return False


class TestText:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", "user,item,rating\n1,10,3\n1,20,4.5\n2,10,5\n"),
            ("a.csv", "userId,movieId,rating,timestamp\n2,10,5,7\n1,20,4.5,8\n1,10,3,9\n"),
            ("a.CSV", "user,item,rating\r\n1,10,3\r\n1,20,4.5\r\n2,10,5"),
            ("a.csv", "\ufeffuser,item,rating\n\n1,10,3\n\n1,20,4.5\n2,10,5\n\n\n"),
            ("a.csv", "user,item,rating\r1,10,3\r1,20,4.5\r2,10,5\r"),
            ("a.csv", "user;item;rating\n1;10;3\n1;20;4.5\n2;10;5\n"),
            ("a.csv", 'comment,user,item,rating\n"a, b",1,10,3\n"line\nend",1,20,4.5\n,2,10,5\n'),
            ("a.csv", " user_id , product_id , stars \n 1 , 10 , 3 \n1,20,4.5\n2,10,5\n"),
            ("a.tsv", "reviewerID\tasin\toverall\n1\t10\t3\n1\t20\t4.5\n2\t10\t5\n"),
            ("a.txt", "user|item|rating\n1|10|3\n1|20|4.5\n2|10|5\n"),
            ("a.txt", "user::item::rating\n1::10::3\n1::20::4.5\n2::10::5\n"),
            ("a.dat", "1::10::3::7\n1::20::4.5::8\n2::10::5::9\n"),
            ("a.dat", "1::10::3\n1::20::4.5\n2::10::5\n"),
            ("a.dat", "UserID::MovieID::Rating::Timestamp\n1::10::3::7\n1::20::4.5::8\n2::10::5::9\n"),
            ("a.dat", "userID\tmovieID\trating\n1\t10\t3\n1\t20\t4.5\n2\t10\t5\n"),
        ],
    )
    def test_layouts(self, write, name, content):
        assert read(write(name, content)).fingerprint == EXPECTED.fingerprint
        assert read(str(write(name, content))).fingerprint == EXPECTED.fingerprint

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.csv", "1,10,3\n1,20,4.5\n2,10,5\n"),
            ("a.csv", "1,10,3,7\n1,20,4.5,8\n2,10,5,9\n"),
            ("u.data", "1\t10\t3\t7\n1\t20\t4.5\t8\n2\t10\t5\t9\n"),
            ("a.txt", "1 10 3\n1  20 4.5 \n 2\t10 5\n"),
        ],
    )
    def test_without_a_header_the_order_tells(self, write, name, content):
        assert read(write(name, content)).fingerprint == EXPECTED.fingerprint

    def test_unnamed_columns_by_number(self, write):
        path = write("a.csv", "x,3,10,1,y\nx,4.5,20,1,y\nx,5,10,2,y\n")
        assert read(path, user="4", item="3", rating="2").fingerprint == EXPECTED.fingerprint
        named = write("b.csv", "1,2,3\n1,10,3\n1,20,4.5\n2,10,5\n")
        assert read(named, header=True, user="1", item="2", rating="3").fingerprint == EXPECTED.fingerprint

    @pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
    def test_compressed(self, write, suffix):
        text = b"user,item,rating\n1,10,3\n1,20,4.5\n2,10,5\n"
        compress = {".gz": gzip, ".zst": zstandard, ".bz2": bz2, ".xz": lzma}[suffix].compress
        assert read(write(f"a.csv{suffix}", compress(text))).fingerprint == EXPECTED.fingerprint
        with pytest.raises(DataError, match=rf"a\.csv\{suffix}: not readable as \{suffix}"):
            read(write(f"a.csv{suffix}", compress(text)[:-5]))

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
    def test_other_encodings(self, write, encoding):
        path = write("a.csv", "user,item,rating\nZoë,é,3\nAnn,é,4\n".encode(encoding))
        assert read(path, encoding=encoding).users.ids.tolist() == ["Ann", "Zoë"]

    @pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # any values, some like sentinels
    @given(st.data())
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_both_ways_to_read_agree(self, write, monkeypatch, data):
        """Polars on the file, Polars on its bytes, and the reading field by field give the same ratings."""
        n = data.draw(st.integers(1, 8))
        ids = st.one_of(st.integers(-20, 200).map(str), st.sampled_from(["007", "+7", "é", "a b", "-0", "0", "1e3"]))
        users = data.draw(st.lists(ids, min_size=n, max_size=n, unique=True))
        values = data.draw(st.lists(st.floats(-1e6, 1e6, width=32), min_size=n, max_size=n))
        rows = "".join(
            f"{user},{place},{value!r},{place}\n" for place, (user, value) in enumerate(zip(users, values, strict=True))
        )
        path = write("a.csv", "user,item,rating,time\n" + rows)
        ways = []
        for large, parse in ((0, text._parse), (1 << 40, text._parse), (1 << 40, lambda *_, **__: None)):
            with monkeypatch.context() as patch:
                patch.setattr(text, "_LARGE", large)
                patch.setattr(text, "_parse", parse)
                ways.append(read(path))
        assert len({way.fingerprint for way in ways}) == 1
        assert len({way.timestamps.tobytes() for way in ways}) == 1
        assert {way.users.is_integer for way in ways} == {all(map(_is_int, users))}

    @pytest.mark.parametrize("large", [0, 1 << 40])
    def test_quotes_far_down_a_large_file(self, write, monkeypatch, large):
        monkeypatch.setattr(text, "_LARGE", large)
        monkeypatch.setattr(text, "_CHUNK", 40)
        path = write("a.csv", "user,item,rating\n" + 'a,10,3\nb,20,4.5\nc,30,4\n"d,e",10,5\n')
        assert read(path).users.ids.tolist() == ["a", "b", "c", "d,e"]

    def test_named_columns_and_scale(self, write):
        path = write("a.csv", "rating,who,what,mine,at\n9,1,10,3,7\n9,1,20,4.5,8\n9,2,10,5,6\n")
        ratings = read(path, user="who", item="what", rating="mine", timestamp="at", scale=(0, 10))
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert ratings.timestamps.tolist() == [7, 8, 6]
        assert ratings.scale == (0.0, 10.0)

    def test_named_separator(self, write):
        path = write("a.csv", "user§item§rating\n1§10§3\n1§20§4.5\n2§10§5\n")
        assert read(path, separator="§").fingerprint == EXPECTED.fingerprint

    def test_dates(self, write):
        path = write("a.csv", "user,item,rating,date\n1,1,1,2000-01-02 00:00:00\n2,1,1,2000-01-01 00:00:01\n")
        assert read(path).timestamps.tolist() == [946_771_200, 946_684_801]

    def test_titles(self, write):
        path = write("a.csv", "user,item,rating,title\n1,10,3,Ten\n2,10,3,Other\n1,9,2,\n")
        assert read(path, title="title").titles.tolist() == ["9", "Ten"]

    def test_a_column_left_out(self, write):
        path = write("a.csv", "user,item,rating,title,date\n1,10,3,Ten,unknown\n")
        assert read(path, timestamp="", title="").titles is None

    @pytest.mark.parametrize("ids", [["007", "7"], ["1", "01"], ["+1", "2"], ["1", "x"], ["99999999999999999999"]])
    def test_ids_that_are_no_plain_integers_stay_text(self, write, ids):
        rows = "".join(f"{id_},1,5\n" for id_ in ids)
        assert read(write("a.csv", f"user,item,rating\n{rows}")).users.ids.tolist() == sorted(ids)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, unique=True))
    def test_integer_ids_come_back(self, write, ids):
        rows = "".join(f"{id_},1,5\n" for id_ in ids)
        assert read(write("a.csv", f"user,item,rating\n{rows}")).users.ids.tolist() == sorted(ids)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1), min_size=1, unique=True))
    def test_text_ids_come_back_through_a_quoted_file(self, write, ids):
        ids = [f"x{id_}x" for id_ in ids]  # blanks around an id do not count
        table = pl.DataFrame({"user": ids, "item": ids, "rating": [1.0] * len(ids)})
        ratings = read(write("a.csv", table.write_csv(quote_style="always")))
        assert ratings.fingerprint == Ratings.from_table(table).fingerprint


HEADER = "user,item,rating\n"
BAD_TEXT = [
    ("", "the file is empty"),
    ("\n\n", "the file is empty"),
    (HEADER, "no ratings"),
    ("a,b,c\n1,2,3\n", "no column of users, items, ratings among 'a', 'b', 'c'; name it with user=…"),
    (HEADER + "1,2,3\n1,3\n", "line 3: the rating is missing"),
    (HEADER + "1,2,3\n\n,3,4\n", "line 4: the user id is missing"),
    (HEADER + '1,2,3\n"",3,4\n', "line 3: the user id is missing"),
    (HEADER + "1,2,3\n1,,4\n", "line 3: the item id is missing"),
    (HEADER + '"1\n",2,3\n1,3,five\n', "line 4: the rating 'five' is no number"),
    (HEADER + "1,2,3\n1,3,nan\n", "line 3: the rating is nan"),
    (HEADER + "1,2,3\n1,3,-inf\n", "line 3: the rating is -inf"),
    (HEADER + "1,2,3\n2,2,3\n1,2,4\n", r"more than once \(line 2: 3, and line 4: 4\)"),
    (HEADER + "1,2,3,4\n", "line 2: more fields than the 3 columns"),
    (HEADER + "1.0,2,3\n2.0,2,3\n", "user ids are decimal numbers"),
    ("user,item,rating,time\n1,2,3,4\n1,3,3,noon\n", "line 3: the timestamp 'noon' is no time"),
    ("user,item,rating,time\n1,2,3,4\n1,3,3,\n", "line 3: the timestamp is missing"),
    ("user,item,rating,time\n1,2,3,2020-01-01\n1,3,3,noon\n", "line 3: the timestamp 'noon' is no time"),
    ("user,user,item,rating\n1,1,2,3\n", "more than one column is called 'user'"),
    (HEADER.encode() + b"\xe9,2,3\n", "line 2: not UTF-8"),
    (HEADER.encode("utf-16"), "the text is utf-16.*encoding='utf-16'"),
]


class TestRefusing:
    @pytest.mark.parametrize(("content", "message"), BAD_TEXT)
    def test_bad_text(self, write, content, message):
        path = write("bad.csv", content)
        with pytest.raises(DataError, match=message) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)

    def test_off_the_scale(self, write):
        with pytest.raises(DataError, match="line 2: the rating 7 is off the declared scale 1 to 5"):
            read(write("a.csv", "user,item,rating\n1,1,7\n"), scale=(1, 5))

    def test_a_named_column_that_is_not_there(self, write):
        with pytest.raises(DataError, match="no column 'who'; there are: 'user', 'item', 'rating'"):
            read(write("a.csv", "user,item,rating\n1,1,7\n"), user="who")

    @pytest.mark.parametrize(("quote", "place"), [("", "line 3"), ('"', "data row 2")])
    def test_a_row_behind_a_very_long_field_is_counted(self, write, quote, place):
        path = write("a.csv", f"review,user,item,rating\n{quote}{'x' * 200_000}{quote},1,1,3\nshort,1,2,five\n")
        with pytest.raises(DataError, match=f"{place}: the rating 'five'"):
            read(path)

    def test_line_of_a_file_without_header(self, write):
        with pytest.raises(DataError, match="line 3: the rating 'x' is no number"):
            read(write("ratings.dat", "1::2::3::4\n\n1::3::x::4\n"))

    @pytest.mark.parametrize("source", ["nowhere.csv", "no-such-set", "a\0b", "x" * 5000])
    def test_nowhere(self, source):
        with pytest.raises(DataError, match=r"no such file or folder; mend the path, .*movielens-small"):
            read(source)

    @pytest.mark.parametrize("source", [None, 7, pl.DataFrame()])
    def test_no_path(self, source):
        with pytest.raises(DataError, match="a path or a name"):
            read(source)

    def test_unknown_ending(self, write):
        """It is taken for text, which tells what is wrong with it."""
        with pytest.raises(DataError, match=r"a\.doc: no column of users, items, ratings among 'x'"):
            read(write("a.doc", "x"))

    def test_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match=r"the folder holds no ratings known to hyvae; accepted: "):
            read(tmp_path)

    @pytest.mark.parametrize("name", ["a.zip", "a.mat"])
    @pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 torn", b"\x89HDF\r\n\x1a\n torn"])
    def test_damaged_binaries(self, write, name, content):
        path = write(name, content)
        with pytest.raises(DataError, match=r"not (a )?readable") as caught:
            read(path)
        assert str(caught.value).startswith(str(path))

    def test_options_beside_a_named_set(self):
        with pytest.raises(DataError, match="takes no user, scale"):
            read("movielens-small", user="who", scale=(1, 5))


MOVIES_DAT = "20::Misérables, Les: 10:: Parts (1995)::Drama\n10::Toy Story (1995)::Comedy\n30::Unseen (1999)::War\n"
MOVIES_CSV = 'movieId,title,genres\n20,"Misérables, Les (1995)",Drama\n10,Toy Story (1995),\n30,Unseen (1999),War\n'
RATINGS_DAT = "1::10::3::7\n1::20::4.5::8\n2::10::5::9\n"
RATINGS_CSV = "userId,movieId,rating,timestamp\n1,10,3,7\n1,20,4.5,8\n2,10,5,9\n"
LAYOUTS = [
    ("dat", RATINGS_DAT, MOVIES_DAT.encode("latin-1"), "Misérables, Les: 10:: Parts (1995)"),
    ("dat", RATINGS_DAT, MOVIES_DAT.encode(), "Misérables, Les: 10:: Parts (1995)"),
    ("csv", RATINGS_CSV, MOVIES_CSV.encode(), "Misérables, Les (1995)"),
]


@pytest.mark.parametrize(("ending", "ratings", "movies", "title"), LAYOUTS, ids=["latin-1", "utf-8", "csv"])
class TestMovielens:
    def check(self, ratings, title):
        assert ratings.values.tolist() == [3.0, 4.5, 5.0]
        assert ratings.items.ids.tolist() == [10, 20, 30]
        assert ratings.titles.tolist() == ["Toy Story (1995)", title, "Unseen (1999)"]
        assert ratings.timestamps.tolist() == [7, 8, 9]

    def test_folder(self, tmp_path, write, ending, ratings, movies, title):
        write(f"ratings.{ending}", ratings)
        write(f"movies.{ending}", movies)
        self.check(read(tmp_path), title)

    def test_zip(self, tmp_path, ending, ratings, movies, title):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(f"__MACOSX/deep/ratings.{ending}", "junk")
            archive.writestr(f"ml/ratings.{ending}", ratings)
            archive.writestr(f"ml/movies.{ending}", movies)
        self.check(read(tmp_path / "a.zip"), title)


def test_dat_finds_its_movies(write):
    write("movies.dat", MOVIES_DAT)
    assert read(write("ratings.dat", RATINGS_DAT)).n_items == 3


def test_movielens_without_movies(tmp_path, write):
    write("ratings.csv", RATINGS_CSV)
    assert read(tmp_path).titles is None


def test_listed_ids_and_rated_ids_share_one_type(tmp_path, write):
    write("ratings.csv", RATINGS_CSV)
    write("movies.csv", MOVIES_CSV.replace("30,", "tt30,"))
    assert read(tmp_path).items.ids.tolist() == ["10", "20", "tt30"]


def test_bad_movies(tmp_path, write):
    write("ratings.csv", RATINGS_CSV)
    write("movies.csv", "a,b\n1,2\n")
    with pytest.raises(DataError, match=r"its movies\.csv: no column movieId or title"):
        read(tmp_path)


def test_zip_without_ratings(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme", "x")
    with pytest.raises(DataError, match=r"a\.zip: the zip holds no ratings"):
        read(tmp_path / "a.zip")


class TestMonti:
    M = np.array([[0.0, 2.0, 0.0], [5.0, 0.0, 0.0]])  # users × items

    def save(self, path, **change):
        arrays = {"M": self.M, "Otraining": self.M == 2, "Otest": self.M == 5, **change}
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                if array is not None:
                    file[name] = np.asarray(array, dtype=float).T
        return path

    def test_users_are_the_columns_of_the_stored_array(self, tmp_path):
        ratings = read(self.save(tmp_path / "a.mat"))
        assert (ratings.n_users, ratings.n_items) == (2, 3)
        assert ratings.matrix.toarray().tolist() == self.M.tolist()
        assert ratings.parts.tolist() == [0, 2]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"Otest": None}, "no array Otest; expected a MATLAB 7.3"),
            ({"Otest": np.ones((2, 2))}, "not numeric matrices of one shape"),
            ({"Otest": np.ones((2, 3))}, "1 ratings are in Otraining and in Otest"),
            ({"M": np.ones((2, 3))}, "4 ratings of M are neither in Otraining nor in Otest"),
        ],
    )
    def test_bad_arrays(self, tmp_path, change, message):
        with pytest.raises(DataError, match=message):
            read(self.save(tmp_path / "a.mat", **change))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.dat", "u.data", "a.csv.gz", "a.csv.zst", "a.zip", "a.mat"])
@pytest.mark.parametrize("policy", ["error", "skip"])
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text("user,itemrating\n\r\t :;|\"'0123456789.-+e\u00e9", max_size=200).map(str.encode),
        st.lists(
            st.sampled_from(["user,item,rating", "1,2,3", "a,b,4.5", '"x,y",2,1', "1,2", ",,", "1,2,nan", ""])
        ).map(lambda lines: "\n".join(lines).encode()),
    ),
    wrapped=st.booleans(),
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_give_ratings_or_one_line(write, name, policy, content, wrapped):
    if wrapped and name.endswith(".gz"):
        content = gzip.compress(content)
    if wrapped and name.endswith(".zst"):
        content = zstandard.compress(content)
    if wrapped and name.endswith(".zip"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("ratings.csv", content)
        content = buffer.getvalue()
    message = ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        try:
            assert len(read(write(name, content), on_bad_rows=policy, on_duplicates="last"))
        except DataError as error:
            message = str(error)
    assert "\n" not in message
