"""The `.mat` files of Monti et al. (2017): a ratings matrix with a fixed training/test split."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import polars as pl

from hyvae.data.columns import ReadOptions
from hyvae.data.limits import require_size, size_limit
from hyvae.data.sentinels import not_rated_rows
from hyvae.errors import DataError
from hyvae.ratings import Ratings, Vocabulary

_ARRAYS = ("M", "Otraining", "Otest")
TRAIN, TEST = 0, 2


def read_monti(path: Path, options: ReadOptions) -> Ratings:
    """Read the ratings and their fixed split; ids are the 0-based user and item index of the matrix.

    Source: F. Monti, M. M. Bronstein, X. Bresson, Geometric matrix completion with recurrent multi-graph
    neural networks, NIPS 2017.
    """
    # MATLAB writes column by column, so that HDF5 holds items × users
    ratings, train, test = (array.T for array in _arrays(path, options))
    overlap = int(((train != 0) & (test != 0)).sum())
    if overlap:
        raise DataError(f"{path}: {overlap} ratings are in Otraining and in Otest; keep each in one of them")
    masked = (train != 0) | (test != 0)
    unmasked = int(((ratings != 0) & ~masked).sum())
    if unmasked:
        raise DataError(f"{path}: {unmasked} ratings of M are neither in Otraining nor in Otest; mend the masks")
    user, item = np.nonzero(masked)
    unrated = not_rated_rows(pl.Series(ratings[user, item]), options.not_rated)
    pairs = None
    if unrated is not None:
        taken = unrated.to_numpy()
        pairs = np.stack([user[taken], item[taken]], axis=1)
        user, item = user[~taken], item[~taken]
    return Ratings.from_indices(
        Vocabulary(np.arange(ratings.shape[0], dtype=np.int64)),
        Vocabulary(np.arange(ratings.shape[1], dtype=np.int64)),
        user,
        item,
        ratings[user, item],
        scale=options.scale,
        parts=np.where(test[user, item] != 0, TEST, TRAIN),
        source=str(path),
        unrated=pairs,
    )


def _arrays(path: Path, options: ReadOptions) -> list[np.ndarray]:
    expected = f"expected a MATLAB 7.3 (HDF5) file with the arrays {', '.join(_ARRAYS)} of one shape"
    try:
        with h5py.File(path) as file:
            missing = [name for name in _ARRAYS if not isinstance(file.get(name), h5py.Dataset)]
            if missing:
                raise DataError(f"{path}: no array {', '.join(missing)}; {expected}")
            limit = size_limit(options.max_size, path.stat().st_size)
            require_size(sum(file[name].nbytes for name in _ARRAYS), limit, str(path))
            arrays = [file[name][()] for name in _ARRAYS]
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: not readable ({error}); {expected}") from error
    numeric = all(isinstance(array, np.ndarray) and array.dtype.kind in "fiub" for array in arrays)
    if not numeric or len({array.shape for array in arrays}) > 1 or arrays[0].ndim != 2:
        raise DataError(f"{path}: the arrays are not numeric matrices of one shape; {expected}")
    return arrays
