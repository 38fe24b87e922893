"""scipy's sparse matrices in `.npz` files."""

from __future__ import annotations

import threading
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from hyvae.data.bad_rows import BadRows
from hyvae.data.columns import ReadOptions
from hyvae.data.limits import require_size, size_limit
from hyvae.data.sentinels import not_rated_rows, warn_of_sentinel
from hyvae.errors import DataError
from hyvae.ratings import Ratings, Vocabulary

_EXPECTED = "expected a users × items matrix written by scipy.sparse.save_npz"
_MOST_REASON = 200
# item numbers are stored in 32 bits
_LARGEST_SIDE = 2**31 - 1


def read_npz(path: Path, options: ReadOptions) -> Ratings:
    """Read a users × items matrix; ids are the numbers of rows and columns, from 0.

    Stored zeros are ratings of 0, but in the formats that store whole diagonals (DIA) or blocks (BSR), where a zero
    is a place that holds nothing. Nothing is unpickled.

    Raises
    ------
    DataError
        Not such a file, damaged, or a rating that is not finite or off the scale.
    """
    coo, source = _load(path, options), str(path)
    rows, columns = coo.coords
    values = coo.data.astype(np.float64)

    def position(entry: int) -> str:
        return f"row {rows[entry - 1]}, column {columns[entry - 1]} (from 0)"

    unrated = not_rated_rows(pl.Series(values), options.not_rated)
    pairs = None
    if unrated is not None:
        taken = unrated.to_numpy()
        pairs = np.stack([rows[taken], columns[taken]], axis=1)
        rows, columns, values = rows[~taken], columns[~taken], values[~taken]
    bad = BadRows(len(values))
    # what float32 cannot hold is infinite too
    infinite = ~(np.abs(values) <= np.finfo(np.float32).max)
    bad.add(pl.Series(infinite), lambda entry: f"the rating is {values[entry]:g}; give a finite number")
    if options.scale is not None:
        low, high = map(np.float32, options.scale)
        with np.errstate(over="ignore", invalid="ignore"):
            stored = values.astype(np.float32)
        bad.add(
            pl.Series(((stored < low) | (stored > high)) & ~infinite),
            lambda entry: (
                f"the rating {values[entry]:g} is off the declared scale {low:g} to {high:g}; "
                "mend the rating or declare another scale"
            ),
        )
    kept = bad.settle(source, position, skip=options.on_bad_rows == "skip")
    if kept is not None:
        rows, columns, values = rows[kept], columns[kept], values[kept]
    n_users, n_items = coo.shape
    ratings = Ratings.from_indices(
        Vocabulary(np.arange(n_users, dtype=np.int64)),
        Vocabulary(np.arange(n_items, dtype=np.int64)),
        rows.astype(np.int64),
        columns.astype(np.int64),
        values,
        scale=options.scale,
        on_duplicates=options.on_duplicates,
        source=source,
        place=position,
        unrated=pairs,
    )
    if options.scale is None:
        warn_of_sentinel(ratings.values, source)
    return ratings


# filters of warnings are those of the whole process: two that read at once would leave it silent
_ONE_AT_A_TIME = threading.Lock()


def _load(path: Path, options: ReadOptions) -> Any:
    _require_size(path, options)
    with path.open("rb") as file:
        try:
            with _ONE_AT_A_TIME, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy's about headers that Python 2 wrote
                matrix = sparse.load_npz(file)
            _require_sound(matrix)
            coo = sparse.coo_array(matrix)
        # zipfile, numpy and scipy have no family in common for what they raise for damaged files
        except Exception as error:
            reason = " ".join(str(error).split())[:_MOST_REASON]
            raise DataError(f"{path}: not readable ({reason or type(error).__name__}); {_EXPECTED}") from error
    if len(coo.shape) != 2:
        raise DataError(f"{path}: an array of {len(coo.shape)} dimension(s); {_EXPECTED}")
    if coo.dtype.kind not in "buif":
        raise DataError(f"{path}: its values are of type {coo.dtype}, not numbers; {_EXPECTED}")
    if max(coo.shape) > _LARGEST_SIDE:
        size = " × ".join(f"{side:,}" for side in coo.shape)
        raise DataError(f"{path}: {size} is too large; number users and items without gaps")
    if not coo.nnz:
        raise DataError(f"{path}: no ratings; {_EXPECTED}")
    if matrix.format == "bsr":
        coo.eliminate_zeros()
    return coo


def _require_size(path: Path, options: ReadOptions) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile:
        return  # which scipy tells better
    require_size(n_bytes, size_limit(options.max_size, path.stat().st_size), str(path))


def _require_sound(matrix: Any) -> None:
    """Refuse indices that lead out of the matrix, which scipy's conversions take on trust."""
    if matrix.format in ("csr", "csc", "bsr"):
        matrix.check_format(full_check=True)
    if matrix.format == "coo":
        for index, side in zip(matrix.coords, matrix.shape, strict=True):
            if len(index) and not (index.min() >= 0 and index.max() < side):
                raise ValueError("an index lies outside of the matrix")
