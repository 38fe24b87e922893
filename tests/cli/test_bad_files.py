"""Forty and more bad files, as their owners meet them: one line with file, place and mend, and nothing written."""

import gzip
import io
import sys
import warnings
import zipfile
from pathlib import Path

import h5py
import numpy as np
import polars as pl
import pytest
from scipy import sparse

from hyvae.cli import main
from hyvae.errors import DataWarning

HEAD = "user,item,rating\n"
GOOD = HEAD + "".join(f"u{user},i{item},{1 + (user * item) % 5}\n" for user in range(12) for item in range(6))
LAST = GOOD.count("\n") + 1


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def zipped(**members: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def escaping() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../ratings.csv", GOOD)
    return buffer.getvalue()


def monti(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return buffer.getvalue()


def npz(matrix: sparse.sparray) -> bytes:
    buffer = io.BytesIO()
    sparse.save_npz(buffer, matrix)
    return buffer.getvalue()


ONES = np.ones((3, 4))
TABLE = pl.DataFrame({"user": ["a", "b"] * 10, "item": list(range(20)), "rating": [1.0, 2.0] * 10})
RUBBISH = np.random.default_rng(0).bytes(4000)

# name of the file, its content, what the line must say (its place, what is wrong, the mend), further arguments
CASES: dict[str, tuple[str, str | bytes, tuple[str, ...], tuple[str, ...]]] = {
    "no file": ("", "", ("no such file", "mend the path", "movielens-small"), ()),
    "empty": ("r.csv", "", ("is empty", "give a header line"), ()),
    "header only": ("r.csv", HEAD, ("no ratings", "give at least one row"), ()),
    "blank lines only": ("r.csv", "\n\n\n", ("is empty",), ()),
    "no user column": ("r.csv", "who,item,rating\n1,2,3\n", ("no column of users among 'who'", "--user-column"), ()),
    "no item column": ("r.csv", "user,what,rating\n1,2,3\n", ("no column of items", "--item-column"), ()),
    "no rating column": ("r.csv", "user,item\n1,2\n", ("no column of ratings", "--rating-column"), ()),
    "wrong column name": ("r.csv", GOOD, ("no column 'mark'", "'rating'"), ("--rating-column", "mark")),
    "two columns of one name": ("r.csv", "user,item,rating,rating\n1,2,3,4\n", ("'rating'", "rename one"), ()),
    "five unnamed columns": ("r.csv", "1,2,3,4,5\n", ("names no columns", "--user-column"), ()),
    "text as rating": ("r.csv", GOOD + "u1,i9,good\n", (f"line {LAST}", "'good' is no number"), ()),
    "decimal comma": (
        "r.csv",
        GOOD + 'u1,i9,"4,5"\n',
        (f"line {LAST}", "'4,5' is no number; if its decimal mark is a comma, say --decimal ,"),
        (),
    ),
    "missing rating": ("r.csv", GOOD + "u1,i9,\n", (f"line {LAST}", "the rating is missing"), ()),
    "missing user": ("r.csv", GOOD + ",i9,3\n", (f"line {LAST}", "the user id is missing"), ()),
    "missing item": ("r.csv", GOOD + "u1,  ,3\n", (f"line {LAST}", "the item id is missing"), ()),
    "not a number": ("r.csv", GOOD + "u1,i9,nan\n", (f"line {LAST}", "give a finite number"), ()),
    "infinite": ("r.csv", GOOD + "u1,i9,inf\n", (f"line {LAST}", "give a finite number"), ()),
    "beyond float": ("r.csv", GOOD + "u1,i9,1e99\n", (f"line {LAST}", "give a finite number"), ()),
    "off the scale": ("r.csv", GOOD + "u1,i9,7\n", (f"line {LAST}", "scale 1 to 5", "declare"), ("--scale", "1,5")),
    "scale upside down": ("r.csv", GOOD, ("the lowest rating, then the highest",), ("--scale", "5,1")),
    "same pair, same rating": ("r.csv", GOOD + "u1,i1,2\n", ("more than once", f"line {LAST}: 2", "--on-dup"), ()),
    "same pair, other rating": ("r.csv", GOOD + "u1,i1,5\n", ("more than once", f"line {LAST}: 5", "--on-dup"), ()),
    "a field too many": ("r.csv", GOOD + "u1,i9,3,4\n", (f"line {LAST}", "more fields than the 3"), ()),
    "bad time": ("r.csv", "user,item,rating,time\n1,2,3,4\n1,3,4,noon\n", ("line 3", "'noon'", "--time-column"), ()),
    "decimal ids": ("r.csv", HEAD + "1.0,2,3\n2.0,3,4\n", ("decimal numbers", "write them as integers"), ()),
    "latin-1": ("r.csv", (GOOD + "Zoë,i9,3\n").encode("latin-1"), (f"line {LAST}", "--encoding latin-1"), ()),
    "utf-16": ("r.csv", GOOD.encode("utf-16"), ("utf-16", "--encoding utf-16"), ()),
    "no such encoding": ("r.csv", GOOD, ("no encoding is called 'klingon'",), ("--encoding", "klingon")),
    "binary rubbish": ("r.csv", RUBBISH, ("r.csv",), ()),
    "a workbook called csv": ("r.csv", zipped(x__xml="<a/>" * 50), ("zip file (or a spreadsheet)", "CSV"), ()),
    "a workbook": ("r.xlsx", zipped(x__xml="<a/>"), ("spreadsheet",), ()),
    "no ending": ("ratings", b"\0\1", ("not a text file", "NUL bytes"), ()),
    "gzip cut short": ("r.csv.gz", gzip.compress(GOOD.encode())[:-20], (".gz", "fetch it again"), ()),
    "not gzip": ("r.csv.gz", GOOD, (".gz", "fetch it again"), ()),
    "not zstd": ("r.csv.zst", GOOD, (".zst", "fetch it again"), ()),
    "zip cut short": ("r.zip", zipped(ratings__csv=GOOD)[:-30], ("not a readable zip", "fetch it again"), ()),
    "zip without ratings": ("r.zip", zipped(a__md="x"), ("no ratings known", "name the file"), ()),
    "zip that escapes": ("r.zip", escaping(), ("points out of the zip", "do not trust"), ()),
    "bad row inside a zip": ("r.zip", zipped(ratings__csv=GOOD + "u1,i9,x\n"), ("ratings.csv", f"line {LAST}"), ()),
    "Parquet cut short": ("r.parquet", parquet(TABLE)[:-40], ("not readable as Parquet", "fetch it again"), ()),
    "not Parquet": ("r.parquet", GOOD, ("not readable as Parquet",), ()),
    "missing in Parquet": (
        "r.parquet",
        parquet(TABLE.with_columns(rating=pl.Series([1.0, None] * 10))),
        ("row 2", "the rating is missing"),
        (),
    ),
    "decimal ids in Parquet": ("r.parquet", parquet(TABLE.with_columns(item=pl.Series([0.5] * 20))), ("Float64",), ()),
    "HDF5 cut short": ("r.mat", monti(M=ONES, Otraining=ONES, Otest=0 * ONES)[:-500], ("not readable", "HDF5"), ()),
    "HDF5 without mask": ("r.mat", monti(M=ONES, Otest=ONES), ("no array Otraining",), ()),
    "masks that overlap": ("r.mat", monti(M=ONES, Otraining=ONES, Otest=ONES), ("keep each in one",), ()),
    "broken JSON line": ("r.jsonl", '{"user": 1, "item": 2, "rating": 3}\n{"user": 1,\n', ("line 2",), ()),
    "JSON text rating": (
        "r.jsonl",
        '{"user": 1, "item": 2, "rating": 3}\n{"user": 1, "item": 3, "rating": "good"}\n',
        ("line 2", "'good' is no number"),
        (),
    ),
    "npz with a gap": (
        "r.npz",
        npz(sparse.coo_array(np.array([[1.0, np.nan], [2, 3]]))),
        ("row 0, column 1", "finite"),
        (),
    ),
    "npz cut short": ("r.npz", npz(sparse.coo_array(ONES))[:-60], ("r.npz",), ()),
    "libFM with three features": ("r.libfm", "3 0:1 5:1\n4 1:1 6:1 7:1\n", ("line 2",), ()),
    "RecBole without ratings": ("r.inter", "user_id:token\titem_id:token\n1\t2\n", ("no column of ratings",), ()),
    "SQL without a query": ("", "sqlite:///{folder}/r.db", ("query", "--query"), ()),
    "SQL on no database": ("", "sqlite:///{folder}/r.db", ("r.db",), ("--query", "select 1")),
    "query on a file": ("r.csv", GOOD, ("needs a database", "--query"), ("--query", "select 1")),
    "implicit only": (
        "r.csv",
        HEAD + "".join(f"{user},{item},1\n" for user in range(6) for item in range(6)),
        ("implicit feedback", "--model mult_vae --preset ranking"),
        (),
    ),
    "one user": ("r.csv", HEAD + "".join(f"ann,{item},{1 + item % 5}\n" for item in range(30)), ("one user",), ()),
    "one item": ("r.csv", HEAD + "".join(f"{user},Alien,{1 + user % 5}\n" for user in range(30)), ("one item",), ()),
    "too few to split": ("r.csv", HEAD + "1,2,3\n2,3,4\n", ("too few to split",), ()),
    "no times for a split by time": ("r.csv", GOOD, ("timestamp",), ("--split", "time")),
    "unknown split": ("r.csv", GOOD, ("unknown kind of split 'weekly'", "leave-K-out"), ("--split", "weekly")),
}


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hyvae", *arguments])
    with warnings.catch_warnings():
        warnings.simplefilter("always", DataWarning)
        with pytest.raises(SystemExit) as stop:
            main()
    return int(stop.value.code or 0)


def make(folder: Path, name: str, content: str | bytes) -> str:
    if not name:
        return str(content).format(folder=folder) or str(folder / "nowhere.csv")
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(folder / name)


@pytest.mark.parametrize("case", CASES)
def test_one_clear_line(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    name, content, words, arguments = CASES[case]
    source = make(tmp_path, name, content)
    before = sorted(tmp_path.rglob("*"))
    code = run_command(monkeypatch, "train", source, "--out", str(tmp_path / "run"), *arguments)
    error = capsys.readouterr().err
    assert code == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    assert "unexpected" not in error, error
    if case not in ("scale upside down", "unknown split", "no such encoding"):
        assert (name or "nowhere.csv" if case == "no file" else name or "r.db") in error
    for word in words:
        assert word in error, error
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_there_are_forty():
    assert len(CASES) >= 40


def test_a_file_that_vanishes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    source = make(tmp_path, "r.csv", GOOD)
    # the check that it exists comes first; another process may remove it just then
    really_exists = Path.exists

    def exists_for_a_last_time(self: Path) -> bool:
        found = really_exists(self)
        if self == Path(source):
            self.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "exists", exists_for_a_last_time)
    assert run_command(monkeypatch, "data", "describe", source) == 1
    assert "r.csv: cannot be opened (No such file or directory)" in capsys.readouterr().err


class TestOddButRight:
    """What looks odd and is not wrong is read as it stands."""

    @pytest.mark.parametrize("user", ["007", "Ann Lee", "😀", "+7", "0", "ユーザー", "a'b", "-1"])
    def test_ids_come_back(self, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        from hyvae import Ratings

        ratings = Ratings.read(make(tmp_path, "r.csv", GOOD + f"{user},i9,3\n"))
        assert user in ratings.users.ids.tolist()


class TestSkipping:
    BAD = GOOD + "u1,i9,good\nu2,,3\nu3,i9,inf\nu4,i9,3,4\nu5,i9,4\n"

    def test_bad_rows_are_counted_and_listed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        source = make(tmp_path, "r.csv", self.BAD)
        assert run_command(monkeypatch, "data", "describe", source, "--on-bad-rows", "skip", "--json") == 0
        out, err = capsys.readouterr()
        assert '"ratings": 73' in out
        assert err.startswith(f"note: {source}: left out 4 of 77 rows\n")
        for offset, reason in enumerate(("'good' is no number", "item id is missing", "finite", "more fields")):
            assert f"line {LAST + offset}: " in err
            assert reason in err

    def test_duplicates_are_merged_and_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        source = make(tmp_path, "r.csv", GOOD + "u1,i1,5\nu1,i1,4\n")
        assert run_command(monkeypatch, "data", "describe", source, "--on-duplicates", "mean") == 0
        assert "2 repeated ratings merged (mean)" in capsys.readouterr().err

    @pytest.mark.parametrize("flag", ["--on-duplicates", "--on-bad-rows"])
    def test_unknown_choices(
        self, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        assert run_command(monkeypatch, "data", "describe", make(tmp_path, "r.csv", GOOD), flag, "guess") == 1
        assert "must be one of" in capsys.readouterr().err
