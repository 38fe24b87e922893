"""scipy's matrices: every format gives the ratings that the matrix gives; a damaged file is refused in one line."""

import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from hyvae.data import read
from hyvae.errors import DataError, DataWarning
from hyvae.ratings import Ratings

DENSE = np.array([[5, 0, 1, 0], [0, 0, 0, 0], [0, 3.5, 0, 2], [1, 0, 0, 0]])
EXPECTED = Ratings.from_scipy(sparse.csr_array(DENSE))
FORMATS = ["csr", "csc", "coo", "bsr", "dia"]
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def save(tmp_path):
    def save_matrix(matrix, **options):
        path = tmp_path / "a.npz"
        sparse.save_npz(path, matrix, **options)
        return path

    return save_matrix


def refused(path, match, **options):
    with pytest.raises(DataError, match=match) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("make", [sparse.coo_array, sparse.coo_matrix])
def test_agrees_with_the_matrix(save, kind, make):
    path = save(make(DENSE).asformat(kind))
    ratings = read(path, scale=(0, 5))
    assert ratings.fingerprint == EXPECTED.fingerprint
    assert (ratings.scale, ratings.source) == ((0.0, 5.0), str(path))


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64, bool])
def test_types_of_values(save, dtype):
    matrix = sparse.csr_array(DENSE.astype(dtype))
    assert read(save(matrix, compressed=False)).fingerprint == Ratings.from_scipy(matrix).fingerprint


def test_stored_zeros_are_ratings(save):
    matrix = sparse.csr_array((np.array([0.0, 5.0]), ([0, 1], [1, 0])), shape=(2, 2))
    ratings = read(save(matrix))
    assert ratings.values.tolist() == [0, 5]
    assert ratings.fingerprint == Ratings.from_arrays([0, 1], [1, 0], [0, 5]).fingerprint


def test_the_padding_of_blocks_is_no_rating(save):
    assert len(read(save(sparse.bsr_array(DENSE, blocksize=(2, 2))))) == np.count_nonzero(DENSE)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "the rating is nan"),
        (np.inf, "the rating is inf"),
        (1e300, r"the rating is 1e\+300"),
        (9.0, "the rating 9 is off the declared scale"),
    ],
)
@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_bad_values(save, kind, value, message):
    dense = DENSE.copy()
    dense[2, 3] = value
    path = save(sparse.coo_array(dense).asformat(kind))
    refused(path, rf", row 2, column 3 \(from 0\): {message}", scale=(0, 5))
    with pytest.warns(DataWarning, match=f"left out 1 of 5 rows\n.*row 2, column 3 .*{message}"):
        ratings = read(path, scale=(0, 5), on_bad_rows="skip")
    dense[2, 3] = 0
    assert ratings.fingerprint == Ratings.from_scipy(sparse.csr_array(dense)).fingerprint


def test_repeated_pairs(save):
    path = save(sparse.coo_array(([1.0, 3.0, 5.0], ([0, 1, 0], [1, 1, 1])), shape=(2, 2)))
    refused(path, r"user 0 rated item 1 more than once \(row 0, column 1 \(from 0\): 1, and .*: 5\)")
    with pytest.warns(DataWarning, match="1 repeated"):
        assert read(path, on_duplicates="last").values.tolist() == [5, 3]
    with pytest.warns(DataWarning, match="1 repeated"):
        assert read(path, on_duplicates="mean").values.tolist() == [3, 3]


def test_matrices_that_hold_no_ratings(save, tmp_path):
    refused(save(sparse.csr_array((3, 4))), "no ratings")
    refused(save(sparse.csr_array((0, 0))), "no ratings")
    refused(save(sparse.coo_array(DENSE[0])), "an array of 1 dimension")
    refused(save(sparse.csr_array(DENSE.astype(complex))), "of type complex128")
    refused(save(sparse.coo_array(([1.0], ([2**40], [0])), shape=(2**41, 2))), "too large; number users")
    path = tmp_path / "b.npz"
    np.savez(path, ratings=DENSE)
    refused(path, "not readable .*; expected a users × items matrix written by scipy.sparse.save_npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"format": "csr", "indices": [0, 99], "indptr": [0, 1, 2]},
        {"format": "csr", "indices": [0, -1], "indptr": [0, 1, 2]},
        {"format": "csc", "indices": [0, 1], "indptr": [0, 2**40, 2]},
        {"format": "coo", "row": [0, 5], "col": [0, 1]},
        {"format": "coo", "row": [0, -1], "col": [0, 1]},
        {"format": "bogus", "row": [0, 1], "col": [0, 1]},
        {"format": "csr"},
    ],
)
def test_indices_that_lead_outside(tmp_path, arrays):
    path = tmp_path / "a.npz"
    np.savez(path, shape=[2, 2], data=[1.0, 2.0], **arrays)
    refused(path, "not readable")


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, format="coo", shape=[2, 2], row=[0], col=[0], data=np.array([{}], dtype=object))
    refused(path, "allow_pickle=False")


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"", b"PK", b"\x93NUMPY", b"user,item,rating\n1,2,3\n"):
        path.write_bytes(content)
        refused(path, "not readable")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.csv", "user,item,rating\n1,2,3\n")
    refused(path, "not readable")


@pytest.mark.filterwarnings("ignore::hyvae.errors.DataWarning")  # any values, some like sentinels
@FUZZ
@given(
    st.dictionaries(
        st.tuples(st.integers(0, 6), st.integers(0, 9)),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        min_size=1,
    ),
    st.sampled_from(["csr", "csc", "coo"]),
)
def test_any_matrix_comes_back(save, entries, kind):
    rows, columns = zip(*entries, strict=True)
    matrix = sparse.coo_array((list(entries.values()), (rows, columns)), shape=(7, 10))
    assert read(save(matrix.asformat(kind))).fingerprint == Ratings.from_scipy(matrix).fingerprint


@pytest.mark.parametrize("compressed", [True, False])
@FUZZ
@given(st.data())
def test_damage(save, compressed, data):
    path = save(sparse.csr_array(DENSE), compressed=compressed)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for place in data.draw(st.lists(st.integers(0, 8 * len(content) - 1), min_size=1, max_size=4)):
            content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)
    try:
        ratings = read(path)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert len(ratings)


@FUZZ
@given(st.binary())
def test_any_bytes(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    refused(path, "not readable")
