"""Each kind of source: the same ratings, whatever they are written in; and one line for what is refused."""

import gzip
import json
import os
import pickle
from typing import ClassVar

import pytest
from packed import sheet, zipped

from hyvae.data import read, read_pairs
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings, Vocabulary

# 8 ratings of 3 users, with a scale of halves
USERS = [1, 1, 1, 2, 2, 3, 3, 3]
ITEMS = [10, 20, 30, 10, 30, 10, 20, 30]
VALUES = [4.0, 3.5, 5.0, 2.0, 4.5, 1.0, 3.0, 5.0]
TIMES = [1_000_000_000 + 86_400 * day for day in range(8)]
ROWS = list(zip(USERS, ITEMS, VALUES, TIMES, strict=True))
EXPECTED = Ratings.from_arrays(USERS, ITEMS, VALUES)
CSV = "user,item,rating,timestamp\n" + "".join(f"{u},{i},{v},{t}\n" for u, i, v, t in ROWS)
TSV = "".join(f"{u}\t{i}\t{v}\t{t}\n" for u, i, v, t in ROWS)
OBJECTS = [dict(zip(("user", "item", "rating", "timestamp"), row, strict=True)) for row in ROWS]
NETFLIX = "".join(
    f"{movie}:\n" + "".join(f"{u},{v:g},2005-09-0{d}\n" for d, (u, i, v, _) in enumerate(ROWS, start=1) if i == movie)
    for movie in (10, 20, 30)
)
MATRIX = "%%MatrixMarket matrix coordinate real general\n% a note\n\n3 30 8\n" + "".join(
    f"{u} {i} {v}\n" for u, i, v, _ in ROWS
)
KONECT = "% bip weighted asym\n% 8 3 3\n" + "".join(f"{u} {i} {v}\t{t}\n" for u, i, v, t in ROWS)
ARFF = (
    "% a note\n@RELATION ratings\n@attribute user integer\n@attribute 'item' numeric\n@attribute rating real\n"
    "@attribute genre {drama,'science fiction'}\n\n@DATA\n% first\n"
    + "".join(f"{u},{i},{v},?\n" for u, i, v, _ in ROWS)
)
WIDE = "user,10,20,30\n1,4,3.5,5\n2,2,,4.5\n3,1,3,5\n"
WIDE_99 = "3\t4\t3.5\t5\n2\t2\t99\t4.5\n3\t1\t3\t5\n"


@pytest.fixture
def put(tmp_path):
    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


LINES = "".join(json.dumps(row) + "\n" for row in OBJECTS)
KINDS = {
    "lines in .json": ("r.json", LINES),
    "lines in .json.gz": ("r.json.gz", gzip.compress(LINES.encode())),
    "an array in .json": ("r.json", json.dumps(OBJECTS, indent=1)),
    "lines without an ending": ("ratings", LINES),
    "Python dictionaries": ("r.json", "".join(f"{row}\n" for row in OBJECTS)),
    "Python 2 dictionaries": ("r.json", "".join(f"{row}\n".replace("{'", "{u'") for row in OBJECTS)),
    "no ending": ("ratings", CSV),
    "no ending, .gz": ("ratings.gz", gzip.compress(CSV.encode())),
    "u1.base": ("u1.base", TSV),
    "u1.test": ("u1.test", TSV.replace("\t", "::")),
    ".dat.gz": ("r.dat.gz", gzip.compress(TSV.encode())),
    ".mtx": ("r.mtx", MATRIX),
    ".mtx.gz": ("r.mtx.gz", gzip.compress(MATRIX.encode())),
    "MatrixMarket without an ending": ("matrix", MATRIX.replace("%%MatrixMarket matrix", "%%matrixmarket MATRIX")),
    "KONECT": ("out.ratings", KONECT),
    "KONECT without times": ("out.ratings", "".join(line.partition("\t")[0] + "\n" for line in KONECT.splitlines())),
    ".arff": ("r.arff", ARFF),
    "arff without an ending": ("r", ARFF),
    "Netflix": ("combined_data_1.txt", NETFLIX),
    "Netflix, \\r\\n": ("mv_0000001.txt", NETFLIX.replace("\n", "\r\n")),
    "Netflix, .gz": ("combined_data_1.txt.gz", gzip.compress(NETFLIX.encode())),
    "sep=;": ("r.csv", "sep=;\n" + CSV.replace(",", ";")),
    '"sep=;"': ("r.csv", '\ufeff"sep=;"\r\n' + CSV.replace(",", ";").replace("\n", "\r\n")),
    ".inter without an ending": ("r", CSV.replace(",", "\t").replace("user\titem", "user:token\titem:token", 1)),
    "zip of .json": ("r.zip", zipped(readme__txt="a note", r__json=LINES)),
    "zip of .csv.gz": ("r.zip", zipped(r__csv__gz=gzip.compress(CSV.encode()))),
    "zip without an ending": ("ratings", zipped(r__csv=CSV)),
}


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_agrees_with_arrays(self, put, kind):
        assert read(put(*KINDS[kind])).fingerprint == EXPECTED.fingerprint

    def test_times(self, put):
        for kind in ("an array in .json", "no ending", "KONECT"):
            assert sorted(read(put(*KINDS[kind])).timestamps.tolist()) == TIMES
        assert str(read(put(*KINDS["Netflix"])).timestamps.min().astype("datetime64[s]")) == "2005-09-01T00:00:00"

    def test_decimals_field_by_field(self, put):
        content = CSV.replace(",", ";").replace(".", ",") + "7;;1,5;1000000000\n"
        with pytest.warns(DataWarning, match="left out 1 of 9 rows"):
            ratings = read(put("r.csv", content), decimal=",", on_bad_rows="skip")
        assert ratings.fingerprint == EXPECTED.fingerprint

    OPTIONS: ClassVar = {
        "--decimal": (CSV.replace(",", ";").replace(".", ","), {"decimal": ","}),
        "--decimal, quoted": (CSV.replace("3.5", '"3,5"').replace("4.5", '"4,5"'), {"decimal": ","}),
        "--skip-lines": ("Export of today\n\nuser\n" + CSV, {"skip_lines": 3}),
        "--skip-lines and sep=": ("Export\nsep=|\n" + CSV.replace(",", "|"), {"skip_lines": 1}),
        "--wide": (WIDE, {"wide": True}),
        "--wide --user-column": (WIDE.replace("user", "who"), {"wide": True, "user": "who"}),
        "--wide --not-rated": (WIDE.replace(",,", ",0,"), {"wide": True, "not_rated": 0}),
    }

    @pytest.mark.parametrize("name", OPTIONS)
    def test_options(self, put, name):
        content, options = self.OPTIONS[name]
        assert read(put("r.csv", content), **options).fingerprint == EXPECTED.fingerprint

    def test_lines_keep_their_numbers(self, put):
        refused(put("r.csv", "a\nb\n" + CSV + "x,y,z\n"), "r.csv, line 12: ", skip_lines=2)
        refused(put("r.csv", "sep=;\nuser;item;rating\n1;2;x\n1;3;4\n"), "r.csv, line 3: the rating 'x'")
        refused(put("r.mtx", MATRIX + "1 x 3\n1 20 z\n"), "r.mtx, line 14: the rating 'z'")
        refused(put("r.arff", ARFF + "1,20,z,drama\n"), "r.arff, line 18: the rating 'z'")
        refused(put("r.txt", "1:\n7,x,2005-09-01\n8,3,2005-09-01\n"), "r.txt, line 2: the rating 'x'")
        refused(put("r.txt", "1:\n7,3,2005-09-01\n8\n"), "r.txt, line 3: no rating; write user,rating,day")
        refused(put("r.txt", "1:\n\n7,3,2005-09-01\n\n2:\n8,z,2005-09-01\n"), "r.txt, line 6: the rating 'z'")
        refused(put("r.txt", b"1:\n7,3,\xff\n"), "r.txt, line 2: not UTF-8")
        refused(put("r.csv", "user,a,b\n7,1,2\n8,x,2\n"), "r.csv, line 3, column 'a': the rating 'x'", wide=True)
        refused(put("r.json", '[{"user": 1, "item": 2, "rating": 3}, 7]'), "object 2: holds no JSON object")


class TestWide:
    def test_a_first_column_that_counts(self, put):
        """Jester: how many jokes someone rated, then the jokes, 99 where not rated."""
        ratings = read(put("jester.tsv", WIDE_99), wide=True, not_rated=99)
        assert ratings.fingerprint == Ratings.from_arrays(USERS, [item // 10 + 1 for item in ITEMS], VALUES).fingerprint
        assert "column '1' counts the ratings of its row" in str(ratings.layout)

    def test_neither_users_nor_a_header(self, put):
        """Coat: blanks between the cells, 0 where not rated."""
        ratings = read(put("train.ascii", "4 3.5 5\n2 0 4.5\n1 3 5\n"), wide=True, not_rated=0)
        assert ratings.fingerprint == Ratings.from_arrays(USERS, [item // 10 for item in ITEMS], VALUES).fingerprint
        assert ratings.unrated is None or not len(ratings.unrated)

    def test_what_is_refused(self, put):
        refused(put("r.csv", WIDE), "no column 'who'; name the column of users", wide=True, user="who")
        refused(put("r.csv", "user,a,b\n1,,\n"), "none of its cells is rated", wide=True)
        refused(put("r.json", LINES), ".json is not read as a wide matrix", wide=True)


class TestRefused:
    @pytest.mark.parametrize("name", ["r.pkl", "r.pickle", "ratings"])
    def test_pickles(self, put, name):
        refused(put(name, pickle.dumps(OBJECTS)), r"a pickle can run programs .*from_table\(pd\.read_pickle\(…\)")

    def test_a_pickle_runs_nothing(self, put, tmp_path):
        class Bomb:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        refused(put("r.pkl", pickle.dumps(Bomb())), "a pickle")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("r.mtx", "1 2 3\n", "its first line is not '%%MatrixMarket matrix"),
            ("r.mtx", "%%MatrixMarket matrix array real general\n2 2\n1\n2\n3\n4\n", "'array real general'"),
            ("r.mtx", "%%MatrixMarket matrix coordinate pattern general\n1 1 1\n1 1\n", "'coordinate pattern general'"),
            ("r.arff", "@relation r\n@attribute a real\n", "no line '@data'"),
            ("r.arff", "@relation r\n@data\n1,2\n", "no line '@attribute'"),
            ("r.arff", "@relation r\n@attribute a real\n@data\n{1 2}\n", "its rows are sparse"),
            ("out.r", "% sym unweighted\n1 2\n1 3\n", "2 columns; a network of ratings has"),
            ("r.json", "[]", "the array is empty"),
            ("r.json", "[1, 2]", "its array holds no objects"),
            ("r.json", '[{"user": 1},\n{"user": ]', "line 2: not JSON"),
            ("r.json", "[" * 100_000, "not JSON that can be read|line 1: not JSON"),
            ("r.json", "{'user': __import__('os').getpid()}", "line 1: not JSON that can be read"),
            ("r.xlsx", "no spreadsheet", "spreadsheet"),
            ("r.zip", zipped(a__csv=CSV, b__csv=CSV), "expected .* or a single file of data"),
            ("r.zip", zipped(a__parquet=b"PAR1"), r"\.parquet is read from a file of its own alone"),
            ("r.npz.gz", gzip.compress(b"x", mtime=0), r"\.npz is not read compressed"),
            ("r", "\x00\x01\x02", "not a text file"),
            ("r.csv", CSV.replace(",", ";").replace(".", ","), "if its decimal mark is a comma, say decimal=','"),
        ],
    )
    def test_in_one_line(self, put, name, content, message):
        refused(put(name, content), message)


class TestCounts:
    PLAYS = "userID\tartistID\tweight\n" + "".join(
        f"{user}\t{artist}\t{1 + 17 * user * artist**3}\n" for user in range(1, 6) for artist in range(1, 30)
    )

    def test_plays_name_the_model_that_takes(self, put):
        with pytest.warns(DataWarning, match=r"as plays or hours do; for who took what, train .*'mult_vae'.*scale=…"):
            read(put("user_artists.dat", self.PLAYS), rating="weight")

    def test_a_scale_is_declared(self, put, recwarn):
        read(put("user_artists.dat", self.PLAYS), rating="weight", scale=(1, 3_000_000))
        read(put("r.csv", CSV.replace(".0,", "00,").replace(".5,", "50,")))  # a scale of 1 to 500
        assert not recwarn.list


class TestTitles:
    BOOKS = "book_id,item,title,original_title\n7,10,Dune,x\n8,20,Emma,y\n9,40,Ulysses,z\n"

    def test_from_a_file_of_their_own(self, put):
        ratings = read(put("r.csv", CSV), titles=put("books.csv", self.BOOKS))
        assert dict(zip(ratings.items.ids.tolist(), ratings.titles, strict=True)) == {
            10: "Dune",
            20: "Emma",
            30: "30",
            40: "Ulysses",
        }

    def test_other_sources(self, put):
        for name, content in (("r.json", LINES), ("r.mtx", MATRIX)):
            titles = put("t.csv", self.BOOKS.replace("book_id,item", "x,movieId"))
            assert "Dune" in read(put(name, content), titles=titles).titles

    def test_what_is_refused(self, put, tmp_path):
        path = put("r.csv", CSV)
        for content, message in (
            ("item,name\n10,Dune\n", "no column of titles among 'item', 'name'"),
            ("x,title\n10,Dune\n", "no column of items among 'x', 'title'"),
            ("item,title\n7,Dune\n", "holds none of the rated items, such as 10"),
        ):
            with pytest.raises(DataError, match=rf"t\.csv: .*{message}"):
                read(path, titles=put("t.csv", content))
        with pytest.raises(DataError, match=r"nowhere\.csv: cannot be opened"):
            read(path, titles=tmp_path / "nowhere.csv")


class TestPairs:
    """`predict` reads what `train` reads, in the order of the source, and needs no ratings."""

    KNOWN = Vocabulary.of([1, 2, 3]), Vocabulary.of([10, 20, 30])

    @pytest.mark.parametrize("kind", KINDS)
    def test_any_kind(self, put, kind):
        users, items = read_pairs(put(*KINDS[kind]), *self.KNOWN)
        assert sorted(zip(users.tolist(), items.tolist(), strict=True)) == sorted(zip(USERS, ITEMS, strict=True))

    @pytest.mark.parametrize(
        ("name", "content", "options"),
        [
            ("p.csv", "item,user\n10,2\n10,1\n10,2\n", {}),
            ("p.csv", "2,10\n1,10\n2,10\n", {}),
            ("p.tsv", "a\tb\n2\t10\n1\t10\n2\t10\n", {"user": "a", "item": "b"}),
            ("p.csv", "user|item\n2|10\n1|10\n2|10\n", {"separator": "|"}),
            ("p.csv", "Usér;item\n2;10\n1;10\n2;10\n".encode("latin-1"), {"encoding": "latin-1", "user": "Usér"}),
            ("p.jsonl", '{"user": 2, "item": 10}\n{"user": 1, "item": 10}\n{"user": 2, "item": 10}\n', {}),
            ("p.inter", "user_id:token\titem_id:token\n2\t10\n1\t10\n2\t10\n", {}),
            ("p.csv", "a note\nuser,item\n2,10\n1,10\n2,10\n", {"skip_lines": 1}),
            ("p.csv", "user,item,rating,my_rating\n2,10,3,4\n1,10,,\n2,10,x,5\n", {}),
        ],
    )
    def test_in_order_and_repeated(self, put, name, content, options):
        users, items = read_pairs(put(name, content), *self.KNOWN, **options)
        assert users.tolist() == [2, 1, 2]
        assert items.tolist() == [10, 10, 10]

    def test_text_ids_stay_as_they_are_written(self, put):
        known = Vocabulary.of(["007", "7"]), Vocabulary.of(["a", "b"])
        users, items = read_pairs(put("p.csv", "user,item\n7,a\n 007 ,b\n"), *known)
        assert users.tolist() == ["7", "007"]
        assert items.tolist() == ["a", "b"]
        users, _ = read_pairs(put("p.csv", "user,item\n7,a\n8,b\n"), *known)
        assert users.tolist() == ["7", "8"]

    def test_parquet(self, tmp_path):
        import polars as pl

        path = tmp_path / "p.parquet"
        pl.DataFrame({"user": [2, 1, 2], "item": [10, 10, 10]}).write_parquet(path)
        assert read_pairs(path, *self.KNOWN)[0].tolist() == [2, 1, 2]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("user,item\n", "no pairs"),
            ("user,item\n1,10\nx,10\n", "line 3: the user id 'x' is no integer, as the user ids of the run are"),
            ("user,item\n1,10\n2,\n", "line 3: the item id is missing"),
            ("user,rating\n1,10\n", "no column of items"),
        ],
    )
    def test_what_is_refused(self, put, content, message):
        with pytest.raises(DataError, match=message):
            read_pairs(put("p.csv", content), *self.KNOWN)


class TestStreams:
    @pytest.fixture
    def pipe(self):
        """Gives the path of a pipe that holds a content, as a shell's <(command) does."""
        opened = []

        def filled(content):
            reading, writing = os.pipe()
            opened.append(reading)
            os.write(writing, content.encode() if isinstance(content, str) else content)
            os.close(writing)
            return f"/dev/fd/{reading}"

        yield filled
        for descriptor in opened:
            os.close(descriptor)

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if ".inter" in kind or "zip" not in kind])
    def test_any_text(self, pipe, kind):
        name, content = KINDS[kind]
        if name.endswith((".arff", "csv.gz")) or len(content) < 4096:
            assert read(pipe(content)).fingerprint == EXPECTED.fingerprint

    def test_pairs_and_options(self, pipe):
        assert read_pairs(pipe("2,10\n1,10\n"), *TestPairs.KNOWN)[0].tolist() == [2, 1]
        assert read(pipe(WIDE), wide=True).fingerprint == EXPECTED.fingerprint

    def test_standard_input(self, put, monkeypatch):
        with put("r.csv", CSV).open() as file:
            monkeypatch.setattr("sys.stdin", file)
            assert read("-").fingerprint == EXPECTED.fingerprint
            file.seek(0)
            ratings = read("/dev/stdin")
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert ratings.source == "standard input"

    def test_what_is_refused(self, pipe, put, monkeypatch):
        for source, message in (
            (pipe(b"PAR1"), r"\.parquet is read from a file of its own alone"),
            (pipe(""), "the file is empty"),
            (pipe(gzip.compress(CSV.encode())[:-9]), "not readable as .gz"),
            ("/dev/fd/999", "cannot be read"),
        ):
            refused(source, message)
        refused(pipe(CSV), "holds more than 100 bytes", max_size=100)
        with open("/dev/zero") as file:
            monkeypatch.setattr("sys.stdin", file)
            with pytest.raises(DataError, match="standard input: a device; send it a file"):
                read("-")
        monkeypatch.setattr("sys.stdin", None)
        with pytest.raises(DataError, match="standard input: cannot be read"):
            read("-")


class TestSpreadsheets:
    @pytest.mark.parametrize("name", ["r.xlsx", "r.xlsm"])
    def test_agrees_with_arrays(self, put, name):
        pytest.importorskip("fastexcel")
        path = put(name, sheet([["user", "item", "rating", "timestamp"], *ROWS]))
        assert read(path).fingerprint == EXPECTED.fingerprint
        assert read_pairs(path, *TestPairs.KNOWN)[1].tolist() == ITEMS

    def test_wide(self, put):
        pytest.importorskip("fastexcel")
        rows = [["user", 10, 20, 30], [1, 4, 3.5, 5], [2, 2, 99, 4.5], [3, 1, 3, 5]]
        assert read(put("r.xlsx", sheet(rows)), wide=True, not_rated=99).fingerprint == EXPECTED.fingerprint
        refused(put("r.xlsx", sheet([["user", "item", "rating"], [1, 2, "x"]])), "line 2: the rating 'x'")

    def test_text_ids_and_size(self, put):
        pytest.importorskip("fastexcel")
        path = put("r.xlsx", sheet([["user", "item", "rating"], ["007", "a, b", 3], ["7", 'c "d"', 4]]))
        assert read(path).fingerprint == Ratings.from_arrays(["007", "7"], ["a, b", 'c "d"'], [3, 4]).fingerprint
        refused(path, "holds more than", max_size="1K")

    def test_without_fastexcel(self, put, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "fastexcel", None)
        refused(put("r.xlsx", sheet([["user"]])), r"needs fastexcel; pip install 'hyvae\[excel\]'")
