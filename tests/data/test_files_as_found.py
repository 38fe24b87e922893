"""Files as people have them: each input gives the right columns and values, or the one right line."""

import json
import warnings

import numpy as np
import polars as pl
import pytest
from command import hyvae

from hyvae import Ratings
from hyvae.data import describe, extend_split, merge, read
from hyvae.data.joining import without_users
from hyvae.errors import ConfigError, DataError, DataWarning
from hyvae.recommender import Recommender
from hyvae.runs import read_run

HEAD = "user,item,rating\n"


@pytest.fixture
def put(tmp_path):
    def write(content, name="r.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def cells(ratings):
    """Every rating as user, item, value."""
    return list(zip(ratings.user_ids.tolist(), ratings.item_ids.tolist(), ratings.values.tolist(), strict=True))


def noted(*arguments):
    """What a command says on standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        return hyvae(*arguments).stderr


# -- the columns ---------------------------------------------------------------------------------------------------

# a file, and what describe says of its columns
TAKEN = {
    "readers of books by authors": (
        "Reader;Book;Author;Rating\nann;x;King;5\nbob;y;King;4\n",
        "user = 'Reader', item = 'Book', rating = 'Rating', time = none; separator ';', header yes, encoding utf-8",
    ),
    "one's own rating before the mean": (
        "user_id,movie_id,my_rating,rating\n1,7,5,3.21\n2,7,1,3.21\n",
        "user = 'user_id', item = 'movie_id', rating = 'my_rating', time = none",
    ),
    "an id before a name of the same thing": (
        "username,user_id,movie,movie_id,stars\nann,1,Alien,7,5\nbob,2,Alien,7,1\n",
        "user = 'user_id', item = 'movie_id', rating = 'stars'",
    ),
    "no header": (
        "1,7,5,881250949\n1,8,4,881250950\n",
        "no header: column 1 = user, 2 = item, 3 = rating, 4 = time; separator ',', encoding utf-8",
    ),
    "Amazon 2018": (
        "B00005N7P0,AH2IFH762VY5U,5.0,1005177600\n0439554934,AOEUI4DVWXYZ1,4.0,1005177601\n",
        "no header: column 1 = item, 2 = user, 3 = rating, 4 = time",
    ),
    "Amazon 2014": (
        "AH2IFH762VY5U,B00005N7P0,5.0,1005177600\nAOEUI4DVWXYZ1,0439554934,4.0,1005177601\n",
        "no header: column 1 = user, 2 = item, 3 = rating, 4 = time",
    ),
    "users from 0, once each": ("0,7,5,881250949\n1,8,4,881250950\n2,9,3,881250951\n", "no header: column 1 = user"),
    "titles of reviews": (
        "user_id,asin,rating,title,text\n1,B1,5,Great,x\n2,B1,1,Broke,y\n1,B2,4,Nice,z\n",
        "time = none; separator ',', header yes, encoding utf-8; 'title' differs within an item and is no title",
    ),
    "titles of items": (
        "user_id,asin,rating,title\n1,B1,5,Alien\n2,B1,1,Alien\n1,B2,4,Heat\n",
        "time = none, title = 'title'",
    ),
    "tabs": ("user\titem\trating\n1\t2\t3\n", "separator tab"),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_was_taken_for_what_is_said(put, case):
    content, said = TAKEN[case]
    path = put(content)
    assert said in str(read(path).layout)
    assert said in hyvae("data", "describe", path).said


# a file, and what its refusal says in Python and on the command line
REFUSED = {
    "an artist or an album": (
        "user,artist_id,album,rating\n1,2,x,3\n",
        "'artist_id' and 'album' may each hold the items",
        "item='artist_id' or item='album'",
        "--item-column artist_id or --item-column album",
    ),
    "two spellings of one name": (
        "user,item,rating,Rating\n1,2,3,4\n",
        "'rating' and 'Rating' may each hold the ratings",
        "rating='rating' or rating='Rating'",
        "--rating-column rating or --rating-column Rating",
    ),
    "two own ratings": (
        "user,item,my rating,user rating\n1,2,3,4\n",
        "may each hold",
        "rating='my rating'",
        "'my rating'",
    ),
    "authors alone": ("author,item,rating\n1,2,3\n", "no column of users among 'author'", "user=…", "--user-column …"),
    "an index of pandas": (
        "0,1,1129,2.0\n1,1,1263,2.0\n2,2,1129,4.0\n",
        "column 1 numbers the rows, as an index of pandas does",
        "user='2', item='3', rating='4'",
        "--user-column 2 --item-column 3 --rating-column 4",
    ),
    "a shuffled index of pandas": ("57,1,1129,2\n3,1,1263,2\n", "may be an index", "user='2'", "--user-column 2"),
    "times for ratings": (
        "ann,x,881250949\nbob,y,881250950\n",
        "column 3, which would be the ratings, holds times (881250949)",
        "rating='3'",
        "--rating-column 3",
    ),
    "a wrong separator": (
        "user#item#rating\n1#2#3\n",
        "no column of users, items, ratings",
        "separator=",
        "--separator",
    ),
    "tabs for commas": ("a,b\titem,c,d\n1,2\t3,4,5\n", "no column of users", "separator='\\t'", "--separator '\\t'"),
    "a hundred columns": (
        ",".join(map(str, range(300))) + "\n",
        "which of '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12' and 288 more holds the users",
        "user=…",
        "--user-column …",
    ),
    "classes of age as ratings": (
        "user,item,rating\n1,2,PG-13\n1,3,R\n",
        "column 'rating' holds no number in any row ('PG-13', 'R', …)",
        "name the ratings: rating=…",
        "--rating-column …",
    ),
    "GBK": (
        HEAD.encode() + "用户,物品一,5\n".encode("gbk"),
        "line 2: not UTF-8 text",
        "encoding='gbk'",
        "--encoding gbk",
    ),
    "latin-1": (HEAD.encode() + "Zoé,é,5\n".encode("latin-1"), "line 2: not UTF-8", "'latin-1'", "--encoding latin-1"),
    "a gap in an id": (HEAD + "1,2,3\nNA,11,4\n", "line 3: the user id is 'NA'", "on_bad_rows='skip'", "--on-bad-rows"),
    "a rounded ISBN": (
        HEAD + "1,9.78014E+12,3\n",
        "line 2: the item id '9.78014E+12' was rounded by a spreadsheet; export the column as text",
        "on_bad_rows='skip'",
        "--on-bad-rows skip",
    ),
    "a formula": (HEAD + '1,="0439554934",3\n', 'formula of a spreadsheet; write "0439554934"', "skip", "skip"),
    "decimals beside integers": (HEAD + "1.0,2,3\n2,2,3\n", "user ids are decimal numbers (1.0); write", "", ""),
    "too many fields": (
        HEAD + "1,2,3\n1,a,b,4\n",
        "line 3: more fields than the 3 columns; quote a field that holds ','",
        "separator=…",
        "--separator …",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_one_right_line(put, case):
    content, what, python, flag = REFUSED[case]
    path = put(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert what in str(caught.value)
    assert python in str(caught.value)
    assert "--" not in str(caught.value)
    assert "\n" not in str(caught.value)
    said = hyvae("data", "describe", path, code=1).stderr
    assert what in said
    assert flag in said


def test_ratings_that_look_like_ids_are_noticed(put):
    with pytest.warns(DataWarning, match="column 3 is taken for the ratings but looks like ids or counts"):
        read(put("ann,x,1129\nann,y,1263\nbob,x,1371\n"))


def test_numbered_columns_are_taken_at_their_word(put):
    ratings = read(put("0,1,1129,2.0\n1,1,1263,3.0\n"), user="2", item="3", rating="4")
    assert cells(ratings) == [(1, 1129, 2.0), (1, 1263, 3.0)]
    assert str(ratings.layout).startswith("no header: column 2 = user, 3 = item, 4 = rating;")


# -- ids and quotes ------------------------------------------------------------------------------------------------

VALUES = {
    "an open quote in a TSV": (
        'user\titem\trating\n1\t"Weird Al\t5\n2\tx\t4\n3\tc"\t3\n',
        [(1, '"Weird Al', 5.0), (2, "x", 4.0), (3, 'c"', 3.0)],
        {"separator": "\t"},
    ),
    "inches": (HEAD + 'ann,12" LP,5\nbob,x,4\n', [("ann", '12" LP', 5.0), ("bob", "x", 4.0)], {}),
    "a quoted word in a field": (
        HEAD + 'ann,"a" b,5\nbob,"x, y",4\n',
        [("ann", '"a" b', 5.0), ("bob", "x, y", 4.0)],
        {},
    ),
    "a field over two lines": (
        'user,item,rating,text\nann,1,5,"two, or\nthree ""lines"""\nbob,1,4,x"y\n',
        [("ann", 1, 5.0), ("bob", 1, 4.0)],
        {},
    ),
    "no quotes at all": (HEAD + '"a",1,5\n', [('"a"', 1, 5.0)], {"quote": ""}),
    "another quote": (HEAD + "'a, b',1,5\n", [("a, b", 1, 5.0)], {"quote": "'"}),
    "blanks": ("user, item, rating\nann, x, 5\n bob,\ty\t, 4\n", [("ann", "x", 5.0), ("bob", "y", 4.0)], {}),
    "hexadecimal ids": (HEAD + "1e5,00ff,5\n2,a1,4\n", [("1e5", "00ff", 5.0), ("2", "a1", 4.0)], {}),
    "versions": (HEAD + "1.0,1,5\n2.5,1,4\n", [("1.0", 1, 5.0), ("2.5", 1, 4.0)], {}),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_come_out_right(put, case):
    content, expected, options = VALUES[case]
    assert cells(read(put(content), **options)) == expected


@pytest.mark.parametrize("gap", ["NA", "N/A", "NULL", "null", "nan", "NaN", "None", "\\N", "<NA>", "", " "])
def test_marks_of_gaps_are_bad_rows(put, gap):
    path = put(HEAD + f"1,10,3\n{gap},11,4\n2,{gap},5\n")
    with pytest.warns(DataWarning, match="left out 2 of 3 rows\n  line 3: .*\n  line 4: "):
        assert cells(read(path, on_bad_rows="skip")) == [(1, 10, 3.0)]


def test_an_empty_id_is_a_gap_everywhere(put):
    rows = [{"user": "a", "item": "x", "rating": 3}, {"user": "", "item": "x", "rating": 4}]
    path = put("\n".join(map(json.dumps, rows)), "r.jsonl")
    for made in (lambda: read(path), lambda: Ratings.from_table(pl.DataFrame(rows))):
        with pytest.raises(DataError, match="2: the user id is missing"):
            made()


def test_errors_and_notes_count_lines_alike(put):
    path = put(HEAD + "1,10,inf\n1,11,4\n")
    with pytest.raises(DataError, match="line 2: the rating is inf"):
        read(path)
    with pytest.warns(DataWarning, match="line 2: the rating is inf"):
        read(path, on_bad_rows="skip")


def test_a_warning_prints_no_line_of_source(put):
    with pytest.warns(DataWarning, match="1 repeated rating merged") as caught:
        read(put(HEAD + "1,10,3\n1,10,4\n"), on_duplicates="last")
    warning = caught[0]
    printed = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno, warning.line)
    assert printed.count("\n") == 1


# -- times ---------------------------------------------------------------------------------------------------------

SECONDS = [1_517_356_800, 1_517_443_200]  # 31 January and 1 February 2018
TIMES = {
    "seconds": (SECONDS, {}, "s"),
    "milliseconds": ([time * 1000 for time in SECONDS], {}, "ms"),
    "microseconds": ([time * 10**6 for time in SECONDS], {}, "us"),
    "nanoseconds": ([time * 10**9 for time in SECONDS], {}, "ns"),
    "days as numbers": ([20180131, 20180201], {}, "yyyymmdd"),
    "Excel's days": ([43131, 43132], {}, "excel"),
    "Excel's days with hours": ([43131.0, 43132.0], {}, "excel"),
    "day first": (["31/01/2018", "01/02/2018"], {}, "dates %d/%m/%Y"),
    "month first": (["01/31/2018", "02/01/2018"], {}, "dates %m/%d/%Y"),
    "points": (["31.01.2018", "01.02.2018"], {}, "dates %d.%m.%Y"),
    "with a clock": (["31/01/2018 00:00", "01/02/2018 00:00"], {}, "dates %d/%m/%Y %H:%M"),
    "a form that is said": (["01-31-18", "02-01-18"], {"time_format": "%m-%d-%y"}, "dates %m-%d-%y"),
    "ISO": (["2018-01-31", "2018-02-01"], {}, "dates"),
    "Amazon's": (['"01 31, 2018"', '"02 1, 2018"'], {}, "dates %m %d, %Y"),
    "Goodreads'": (
        ["Wed Jan 31 00:00:00 +0000 2018", "Thu Feb 01 00:00:00 +0000 2018"],
        {},
        "dates %a %b %d %H:%M:%S %z %Y",
    ),
}


@pytest.mark.parametrize("case", TIMES)
def test_times_of_any_unit(put, case):
    written, options, form = TIMES[case]
    path = put("user,item,rating,time\n" + "".join(f"1,{n},3,{time}\n" for n, time in enumerate(written)))
    ratings = read(path, **options)
    assert ratings.timestamps.tolist() == SECONDS
    assert ratings.layout.time_unit == form
    assert describe(ratings)["first"] == "2018-01-31T00:00:00Z"


def test_years(put):
    path = put("user,item,rating,date\n1,1,3,2016\n1,2,3,2018\n")
    assert describe(read(path))["first"] == "2016-01-01T00:00:00Z"
    with pytest.warns(DataWarning, match="times run from 1970"):
        assert read(path, time_unit="s").timestamps.tolist() == [2016, 2018]


def test_a_unit_in_a_table():
    table = pl.DataFrame({"user": [1], "item": [1], "rating": [3.0], "at": [5_000]})
    with pytest.warns(DataWarning, match="times run from 1970-01-01 to 1970-01-01, read as ms"):
        assert Ratings.from_table(table, timestamp="at", time_unit="ms").timestamps.tolist() == [5]


def test_a_date_that_can_be_read_in_two_ways(put):
    path = put("user,item,rating,date\n1,1,3,03/04/2018\n")
    with pytest.warns(DataWarning, match=r"03/04/2018 .* read as day first; .*time_format='%m/%d/%Y'"):
        assert describe(read(path))["first"] == "2018-04-03T00:00:00Z"
    assert describe(read(path, time_format="%m/%d/%Y"))["first"] == "2018-03-04T00:00:00Z"
    assert "--time-format" in noted("data", "describe", path)


@pytest.mark.parametrize("time", ["5000000000", "1953-05-01", "99999999999999999"])
def test_times_outside_of_what_ratings_have(put, time):
    path = put(f"user,item,rating,time\n1,1,3,{time}\n")
    with pytest.warns(DataWarning, match="times run from"):
        read(path)
    assert "--time-unit" in noted("data", "describe", path)


def test_units_and_quotes_are_checked(put):
    with pytest.raises(ConfigError, match="time_unit='hours': there are s, ms"):
        read(put(HEAD + "1,2,3\n"), time_unit="hours")
    with pytest.raises(ConfigError, match="quote="):
        read(put(HEAD + "1,2,3\n"), quote="''")


# -- not rated -----------------------------------------------------------------------------------------------------


def spread(**counts):
    """Ratings of so many rows for each value, a user a row."""
    values = [float(value.replace("m", "-").replace("_", ".")) for value, n in counts.items() for _ in range(n)]
    return HEAD + "".join(f"{row},{row % 7},{value:g}\n" for row, value in enumerate(values))


def scale(lowest, highest, n=6, step=1):
    return {
        f"{value:g}".replace("-", "m").replace(".", "_"): n for value in np.arange(lowest, highest + step / 2, step)
    }


NOTICED = {
    "MyAnimeList": (spread(m1=9, **scale(4, 10)), "-1", "18% of the ratings are -1, the others 4 to 10"),
    "Book-Crossing": (spread(**{"0": 120}, **scale(1, 10)), "0", "67% of the ratings are 0, the others 1 to 10"),
    "Goodreads": (spread(**{"0": 40}, **scale(1, 5)), "0", "57% of the ratings are 0"),
    "Food.com": (spread(**{"0": 10, "1": 1, "2": 2, "3": 4, "4": 16, "5": 67}), "0", "10% of the ratings are 0"),
    "two values": (HEAD + "1,20,-1\n1,24,8\n", "-1", "50% of the ratings are -1, the others 8 to 8"),
    "Jester": (spread(**scale(-10, 10, 2, 0.125), **{"99": 40}), "99", "the others -10 to 10"),
}


@pytest.mark.parametrize("case", NOTICED)
def test_sentinels_are_noticed_and_left_out(put, case):
    content, sentinel, said = NOTICED[case]
    path = put(content)
    with pytest.warns(DataWarning, match="if .* means 'not rated', say not_rated=") as caught:
        whole = read(path)
    assert said in str(caught[0].message)
    assert f"--not-rated {sentinel}" in noted("data", "describe", path)
    ratings = read(path, not_rated=float(sentinel))
    missing = int((whole.values == float(sentinel)).sum())
    assert len(ratings) == len(whole) - missing
    assert len(ratings.unrated) == missing
    assert float(sentinel) not in ratings.scale
    facts = json.loads(hyvae("data", "describe", path, "--not-rated", sentinel, "--json").stdout)
    assert (facts["unrated"], facts["layout"]["not_rated"]) == (missing, [float(sentinel)])


@pytest.mark.parametrize(
    "content",
    [
        spread(**scale(1, 5)),
        spread(**scale(0, 5, 6, 0.5)),
        spread(**{"1": 30, "2": 5, "3": 5, "4": 10, "5": 90}),  # Amazon's: J-shaped
        spread(**{"1": 4, "3": 4, "4": 4, "5": 4}),
        spread(**scale(-10, 10, 2, 0.125)),
        spread(**{"0": 9, "1": 9}),
        spread(m1=9, **{"1": 9}),
        spread(m1=9, **{"0": 9, "1": 9}),
        spread(**{"1": 9, "3": 2, "20": 1, "273": 1}),  # hours of play
    ],
)
@pytest.mark.filterwarnings("ignore:.*as plays or hours do:hyvae.errors.DataWarning")  # which is another notice
def test_scales_without_a_sentinel_are_not_noticed(put, content):
    assert read(put(content)).unrated is None


def test_a_declared_scale_settles_it(put):
    content, _, _ = NOTICED["MyAnimeList"]
    assert read(put(content), scale=(-1, 10)).values.min() == -1
    assert len(read(put(content), scale=(1, 10), not_rated=[-1, "NR"]).unrated) == 9


PAIRS = pl.DataFrame({"user": [1, 1, 2, 2], "item": [5, 6, 5, 7], "rating": [3.0, -1.0, 4.0, -1.0]})
UNRATED = [(1, 6), (2, 7)]


def unrated(ratings):
    if ratings.unrated is None:
        return []
    users, items = ratings.unrated.T
    return list(zip(ratings.users.ids[users].tolist(), ratings.items.ids[items].tolist(), strict=True))


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "arrow", "jsonl", "libfm", "inter"])
def test_every_reader_takes_them(tmp_path, ending):
    path = tmp_path / f"r.{ending}"
    if ending == "libfm":
        path.write_text("".join(f"{rating} {user}:1 {item}:1\n" for user, item, rating in PAIRS.rows()))
    elif ending in ("csv", "tsv", "inter"):
        PAIRS.write_csv(path, separator="," if ending == "csv" else "\t")
    else:
        getattr(PAIRS, {"parquet": "write_parquet", "arrow": "write_ipc", "jsonl": "write_ndjson"}[ending])(path)
    ratings = read(path, not_rated=-1)
    assert (cells(ratings), unrated(ratings)) == ([(1, 5, 3.0), (2, 5, 4.0)], UNRATED)


def test_text_and_empty_fields_may_stand_for_it(put):
    ratings = read(put(HEAD + "1,5,3\n1,6,NR\n2,5,4\n2,7,\n"), not_rated=["NR", ""])
    assert (cells(ratings), unrated(ratings)) == ([(1, 5, 3.0), (2, 5, 4.0)], UNRATED)


def test_pairs_without_a_rating_survive():
    ratings = Ratings.from_table(PAIRS, not_rated=-1, scale=(1, 5))
    more = Ratings.from_table(pl.DataFrame({"user": [1, 3], "item": [6, 5], "rating": [2.0, -1.0]}), not_rated=-1)
    joined = merge(ratings, more)
    assert unrated(joined) == [(2, 7), (3, 5)]  # 1 has rated 6 by now
    assert unrated(ratings.take([0])) == UNRATED
    assert unrated(without_users(ratings, [2])) == [(1, 6)]
    nothing = ratings.take([])
    assert unrated(extend_split((ratings, nothing, nothing), more).train) == [(2, 7), (3, 5)]


def test_none_rated_is_said(put):
    with pytest.raises(DataError, match=r"none of its 1 rows is rated .* mend not_rated"):
        read(put(HEAD + "1,2,-1\n"), not_rated=-1)


def test_a_run_made_in_python_keeps_the_columns(put, tmp_path):
    rows = "".join(f"{user},{item},{1 + (user * item) % 5}\n" for user in range(12) for item in range(6))
    ratings = read(put("who,what,stars\n" + rows), user="who", item="what")
    model = Recommender("bias").fit(ratings.split().train)
    model.save(tmp_path / "run")
    assert read_run(tmp_path / "run").provenance["layout"]["item"] == "what"


def test_a_run_keeps_columns_and_pairs(put, tmp_path):
    rows = "".join(f"{user},{item},{1 + (user * item) % 5}\n" for user in range(12) for item in range(6))
    path = put(HEAD + rows + "3,6,-1\n4,6,-1\n5,6,2\n")
    done = hyvae(
        "train", path, "--out", tmp_path / "run", "--preset", "fast", "--set", "epochs=1", "--not-rated", "-1", "--json"
    )
    layout = json.loads(done.stdout)["provenance"]["layout"]
    assert (layout["user"], layout["not_rated"]) == ("user", [-1.0])
    run = read_run(tmp_path / "run")
    assert run.provenance["layout"] == layout
    assert unrated(run.history) == [(3, 6), (4, 6)]
    assert (run.history.values > 0).all()
    listed = json.loads(hyvae("recommend", tmp_path / "run", "--user", 3, "--json").stdout)
    others = json.loads(hyvae("recommend", tmp_path / "run", "--user", 6, "--json").stdout)
    assert (listed, [item["item"] for item in others]) == ([], [6])
