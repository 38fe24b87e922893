"""Read the pairs of users and items that predictions are wanted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.data.columns import ReadOptions, guess_column
from hyvae.data.compressed import ending, read_bytes
from hyvae.data.text import TextTable, find_layout
from hyvae.errors import DataError
from hyvae.forks import require_polars
from hyvae.ratings import Vocabulary


def read_pairs(
    path: str | Path, users: Vocabulary, items: Vocabulary, *, user: str | None = None, item: str | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ids of users and items from a text file with a header line, in the types of two vocabularies.

    Parameters
    ----------
    user, item : str, optional
        Names of the columns; default: guessed from common names.

    Returns
    -------
    (n,) and (n,) arrays of int64 or of str

    Raises
    ------
    DataError
        No such file, no such column, an empty id, or an id that is no integer where the vocabulary's are.
    """
    require_polars("reading pairs")
    file = Path(path)
    try:
        data = read_bytes(file)
    except OSError as error:
        raise DataError(f"{file}: cannot be opened ({error.strerror or error}); check the path") from error
    options = ReadOptions(separator="\t" if ending(file) == ".tsv" else None)
    text = TextTable(find_layout(data, str(file), options), str(file))
    if text.frame.is_empty():
        raise DataError(f"{file}: no pairs; give at least one line of user and item after the header")
    return _ids(text, user, "user", users), _ids(text, item, "item", items)


def _ids(text: TextTable, name: str | None, role: str, vocabulary: Vocabulary) -> NDArray[Any]:
    names = text.frame.columns
    column = name or guess_column(names, role)
    if column is None or column not in names:
        raise DataError(
            f"{text.source}: no column {column or 'of ' + role + 's'!r} among {', '.join(map(repr, names))}; "
            f"name it with --{role}-column"
        )
    ids = text.frame[column]
    if vocabulary.is_integer:
        ids = ids.str.strip_chars().cast(pl.Int64, strict=False)
    if ids.null_count():
        row = int(ids.is_null().arg_max() or 0)
        wrong = text.frame[column][row]
        problem = "is empty" if wrong is None else f"{wrong!r} is no integer, as the {role} ids of the run are"
        raise DataError(f"{text.source}, {text.place(row + 1)}: the {role} id {problem}")
    if vocabulary.is_integer:
        return ids.to_numpy()
    out = np.empty(len(ids), dtype=object)
    out[:] = ids.to_list()
    return out
