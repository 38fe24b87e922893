"""Which function reads which kind of file. A new format is one function and one line in `READERS`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hyvae.data.columnar import read_arrow, read_json_lines, read_parquet, read_parquet_folder
from hyvae.data.columns import ReadOptions
from hyvae.data.compressed import DECOMPRESSORS, ending
from hyvae.data.limits import require_regular
from hyvae.data.matrices import read_npz
from hyvae.data.monti import read_monti
from hyvae.data.movielens import read_dat, read_folder, read_zip
from hyvae.data.recbole import read_inter, read_inter_folder
from hyvae.data.text import read_text
from hyvae.data.triplets import read_libfm
from hyvae.errors import DataError
from hyvae.ratings import Ratings

Reader = Callable[[Path, ReadOptions], Ratings]

READERS: dict[str, Reader] = {
    ".csv": read_text,
    ".tsv": read_text,
    ".txt": read_text,
    ".dat": read_dat,
    ".data": read_dat,
    ".zip": read_zip,
    ".mat": read_monti,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".ipc": read_arrow,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".inter": read_inter,
    ".libfm": read_libfm,
    ".libsvm": read_libfm,
    ".svm": read_libfm,
    ".npz": read_npz,
}
# what can be read as plain bytes, and so compressed too
_COMPRESSIBLE = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".inter", ".libfm", ".libsvm", ".svm")

ACCEPTED = (
    "text (.csv, .tsv, .txt), JSON lines (.jsonl, .ndjson), RecBole (.inter or its folder), libFM (.libfm, .libsvm, "
    ".svm), all also compressed (.gz, .zst, .bz2, .xz); Parquet (.parquet, .pq or a folder of parts), Arrow (.arrow, "
    ".feather, .ipc), MovieLens (.dat, u.data, its .zip or its unpacked folder), a matrix of scipy (.npz) or of Monti "
    "(.mat)"
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
            return _read_folder(path, options)
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; accepted: {ACCEPTED}")
        require_regular(path)
        kind = ending(path)
        reader = READERS.get(kind)
        if reader is None:
            raise DataError(f"{path}: unknown ending {path.suffix!r}; accepted: {ACCEPTED}")
        if path.suffix.lower() in DECOMPRESSORS and kind not in _COMPRESSIBLE:
            raise DataError(f"{path}: {kind} is not read compressed; unpack the file first")
        return reader(path, options)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); check the file") from error


def _read_folder(path: Path, options: ReadOptions) -> Ratings:
    for reader in (read_folder, read_inter_folder, read_parquet_folder):
        ratings = reader(path, options)
        if ratings is not None:
            return ratings
    raise DataError(f"{path}: the folder holds no ratings known to hyvae; accepted: {ACCEPTED}")
