"""Which function reads which kind of file. A new format is one function and one line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hyvae.data.monti import read_monti
from hyvae.data.movielens import read_dat, read_folder, read_zip
from hyvae.data.text import ReadOptions, read_text
from hyvae.errors import DataError
from hyvae.ratings import Ratings

Reader = Callable[[Path, ReadOptions], Ratings]

READERS: dict[str, Reader] = {
    ".csv": read_text,
    ".tsv": read_text,
    ".txt": read_text,
    ".dat": read_dat,
    ".zip": read_zip,
    ".mat": read_monti,
}

ACCEPTED = (
    "text with a header line (.csv, .tsv, .txt), MovieLens (.dat, its .zip or its unpacked folder) "
    "or a Monti matrix (.mat)"
)


def read_path(path: Path, options: ReadOptions) -> Ratings:
    """Read a file or a folder by its kind.

    Raises
    ------
    DataError
        The path does not exist, is of no known kind, or cannot be read as what its ending says.
    """
    try:
        if path.is_dir():
            return read_folder(path, options)
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; accepted: {ACCEPTED}")
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise DataError(f"{path}: unknown ending {path.suffix!r}; accepted: {ACCEPTED}")
        return reader(path, options)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); check the file") from error
