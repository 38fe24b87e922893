"""Triplets without names: libFM's features, and Surprise's lines of user, item, rating."""

import bz2
import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hyvae.data import read
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings

EXPECTED = Ratings.from_arrays([0, 0, 7], [10, 12, 10], [3, 4.5, 1])
LINES = "3 0:1 10:1\n4.5 0:1 12:1\n1 7:1 10:1\n"
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def put(tmp_path):
    def write_file(content, name="a.libfm"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


class TestLibfm:
    @pytest.mark.parametrize("name", ["a.libfm", "a.libsvm", "a.svm", "a.SVM"])
    @pytest.mark.parametrize(
        "content",
        [
            LINES,
            LINES.strip().replace("\n", "\r\n"),
            f"# rating user item\n\n{LINES}# the end",
            "3 0:1 10:1 # good\n  4.5\t0:1.0   12:1e0 #\n1 7:1 10:01\n\n",
            "\ufeff1 7:1 10:1\n4.5 0:1 12:1\n3 0:1 10:1",
        ],
    )
    def test_layouts(self, put, name, content):
        assert read(put(content, name)).fingerprint == EXPECTED.fingerprint

    @pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
    def test_compressed(self, put, ending, pack):
        assert read(put(pack(LINES.encode()), f"a.libfm{ending}")).fingerprint == EXPECTED.fingerprint
        refused(put(pack(LINES.encode())[:-5], f"a.libfm{ending}"), "cut short")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("3 0:1", "'3 0:1' is no rating; write 'rating user:1 item:1'"),
            ("3 0:1 11:1 20:1", "3 features, where a rating has two; .*leave other features out"),
            ("3 0:1 11:0.5", "has another value than 1"),
            ("3 0:1 11:x", "has another value than 1"),
            ("3 0:1 -1:1", "is no rating"),
            ("3 qid:1 11:1", "is no rating"),
            ("3,0,11", "is no rating"),
            ("x 0:1 11:1", "the rating 'x' is no number"),
            ("nan 0:1 11:1", "the rating is nan"),
            ("9 0:1 11:1", "the rating 9 is off the declared scale"),
            ("3 0:1 99999999999999999999:1", "too large for 64 bits"),
            ("3 0:1 " + "1" * 500, "…' is no rating"),
        ],
    )
    def test_bad_lines(self, put, line, message):
        path = put(f"{LINES}\n# comment\n{line}\n")
        refused(path, f", line 6: .*{message}", scale=(-1, 5))
        with pytest.warns(DataWarning, match=f"left out 1 of 4 rows\n.*line 6: .*{message}"):
            ratings = read(path, scale=(-1, 5), on_bad_rows="skip")
        assert ratings.fingerprint == EXPECTED.fingerprint

    def test_repeated_pairs(self, put):
        path = put(f"{LINES}1 0:1 10:1\n")
        refused(path, r"user 0 rated item 10 more than once \(line 1: 3, and line 4: 1\)")
        with pytest.warns(DataWarning, match="1 repeated"):
            assert read(path, on_duplicates="last").values.tolist() == [1, 4.5, 1]
        with pytest.warns(DataWarning, match="1 repeated"):
            assert read(path, on_duplicates="mean").values.tolist() == [2, 4.5, 1]

    @pytest.mark.parametrize("content", ["", "\n \n", "# nothing\n"])
    def test_nothing(self, put, content):
        refused(put(content), "no ratings; write 'rating user:1 item:1'")

    def test_not_utf8(self, put):
        refused(put(LINES.encode() + b"# \xff"), "line 4: not UTF-8 text")

    @pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # any values, some like sentinels
    @FUZZ
    @given(
        st.dictionaries(
            st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1)),
            st.floats(allow_nan=False, allow_infinity=False, width=32),
            min_size=1,
        )
    )
    def test_any_ids_come_back(self, put, ratings):
        lines = "".join(f"{rating!r} {user}:1 {item}:1\n" for (user, item), rating in ratings.items())
        users, items = zip(*ratings, strict=True)
        expected = Ratings.from_arrays(list(users), list(items), list(ratings.values()))
        assert read(put(lines)).fingerprint == expected.fingerprint

    @FUZZ
    @given(st.lists(st.sampled_from([*LINES.splitlines(), *"0123456789: .#\n\t-e"]) | st.text() | st.binary()))
    def test_any_content(self, put, pieces):
        path = put(b"".join(piece.encode() if isinstance(piece, str) else piece for piece in pieces))
        try:
            ratings = read(path)
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert ratings.users.is_integer


class TestSurprise:
    """Read as text whose first line names nothing."""

    @pytest.mark.parametrize("name", ["a.txt", "a.data", "u.data", "a.dat", "a.csv", "a.txt.gz"])
    @pytest.mark.parametrize("separator", ["\t", " ", "   ", " \t"])
    @pytest.mark.parametrize("times", [None, [881250949, 881250950, 881250951]])
    def test_lines_of_user_item_rating(self, put, name, separator, times):
        columns = [(0, 10, 3), (0, 12, 4.5), (7, 10, 1)]
        rows = columns if times is None else [(*row, time) for row, time in zip(columns, times, strict=True)]
        content = "".join(separator.join(map(str, row)) + "\n" for row in rows).encode()
        ratings = read(put(gzip.compress(content) if name.endswith(".gz") else content, name))
        assert ratings.fingerprint == EXPECTED.fingerprint
        assert (ratings.timestamps if times is None else ratings.timestamps.tolist()) == times

    def test_text_ids(self, put):
        ids = ["007", "a b", "\U0001f600"]
        path = put("".join(f"{id_}\tx{id_}\t3\t5\n" for id_ in ids), "u.data")
        expected = Ratings.from_arrays(ids, [f"x{id_}" for id_ in ids], [3, 3, 3])
        assert read(path).fingerprint == expected.fingerprint

    @pytest.mark.parametrize("name", ["a.txt", "u.data"])
    def test_a_bad_line_is_named(self, put, name):
        path = put("1 2 3\n1 3 x\n", name)
        refused(path, "line 2: the rating 'x' is no number")
        with pytest.warns(DataWarning, match="left out 1 of 2 rows"):
            assert read(path, on_bad_rows="skip").fingerprint == Ratings.from_arrays([1], [2], [3]).fingerprint
