"""Which function reads which kind of file. A new format is one function and one line in a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hyvae.data.columnar import read_arrow, read_parquet, read_parquet_folder
from hyvae.data.columns import ReadOptions
from hyvae.data.compressed import DECOMPRESSORS, ending, read_bytes
from hyvae.data.excel import read_excel
from hyvae.data.heads import ratings_from_arff, ratings_from_konect, ratings_from_matrix_market
from hyvae.data.json_text import ratings_from_json
from hyvae.data.limits import require_regular
from hyvae.data.matrices import read_npz
from hyvae.data.monti import read_monti
from hyvae.data.movielens import read_dat, read_folder, read_zip
from hyvae.data.netflix import ratings_from_netflix
from hyvae.data.recbole import ratings_from_inter, read_inter, read_inter_folder
from hyvae.data.sniffing import HEAD, sniffed
from hyvae.data.text import ratings_from_text, read_text
from hyvae.data.triplets import ratings_from_libfm
from hyvae.errors import DataError
from hyvae.ratings import Ratings
from hyvae.wording import say

Reader = Callable[[Path, ReadOptions], Ratings]
TextReader = Callable[[bytes, str, ReadOptions], Ratings]


def _ratings_from_tsv(data: bytes, source: str, options: ReadOptions) -> Ratings:
    return ratings_from_text(data, source, replace(options, separator=options.separator or "\t"))


def _refuse_pickle(path: Path, _: ReadOptions) -> Ratings:
    raise DataError(
        f"{path}: a pickle can run programs when it is read, and is not; if you trust it: "
        "Ratings.from_table(pd.read_pickle(…), user=…, item=…, rating=…)"
    )


# from the content alone: also compressed, in a zip, and from a pipe
TEXT_READERS: dict[str, TextReader] = {
    ".csv": ratings_from_text,
    ".txt": ratings_from_text,
    ".dat": ratings_from_text,
    ".data": ratings_from_text,
    ".tsv": _ratings_from_tsv,
    ".json": ratings_from_json,
    ".jsonl": ratings_from_json,
    ".ndjson": ratings_from_json,
    ".inter": ratings_from_inter,
    ".libfm": ratings_from_libfm,
    ".libsvm": ratings_from_libfm,
    ".svm": ratings_from_libfm,
    ".mtx": ratings_from_matrix_market,
    ".arff": ratings_from_arff,
    "netflix": ratings_from_netflix,
    "konect": ratings_from_konect,
}
# from the file: what lies beside it counts, or it is no text
FILE_READERS: dict[str, Reader] = {
    ".csv": read_text,
    ".tsv": read_text,
    ".txt": read_text,
    ".dat": read_dat,
    ".data": read_dat,
    ".inter": read_inter,
    ".mat": read_monti,
    ".parquet": read_parquet,
    ".pq": read_parquet,
    ".arrow": read_arrow,
    ".feather": read_arrow,
    ".ipc": read_arrow,
    ".npz": read_npz,
    ".xlsx": read_excel,
    ".xlsm": read_excel,
    ".xls": read_excel,
    ".ods": read_excel,
    ".pkl": _refuse_pickle,
    ".pickle": _refuse_pickle,
}
_WIDE = (".csv", ".tsv", ".txt", ".dat", ".data", ".xlsx", ".xlsm", ".xls", ".ods")

ACCEPTED = (
    "text (.csv, .tsv, .txt, or any other ending), JSON (.json, .jsonl, .ndjson), RecBole (.inter or its folder), "
    "libFM (.libfm, .libsvm, .svm), MatrixMarket (.mtx), ARFF, KONECT, Netflix's blocks, all also compressed (.gz, "
    ".zst, .bz2, .xz) or alone in a zip; Parquet (.parquet, .pq or a folder of parts), Arrow (.arrow, .feather, .ipc), "
    "spreadsheets (.xlsx, .xls, .ods), MovieLens (its files, zip or folder), a matrix of scipy (.npz) or Monti (.mat)"
)


def read_path(path: Path, options: ReadOptions) -> Ratings:
    """Read a file or a folder by its kind.

    Raises
    ------
    DataError
        The path does not exist, is of no known kind, or cannot be read as what it is.
    """
    try:
        if path.is_dir():
            return _read_folder(path, options)
        if not path.exists():
            raise DataError(f"{path}: no such file or folder; accepted: {ACCEPTED}")
        require_regular(path)
        return _read_file(path, options)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened ({error.strerror or error}); check the file") from error
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is; read a part of it") from error


def ratings_from_content(data: bytes, name: str, source: str, options: ReadOptions) -> Ratings:
    """Read the content of a text of any kind, which its name and its beginning tell.

    Raises
    ------
    DataError
        It is no text, or cannot be read.
    """
    kind = _kind(data[:HEAD], ending(Path(name)))
    if kind not in TEXT_READERS:
        raise DataError(f"{source}: {kind} is read from a file of its own alone; unpack or save it, and name the file")
    _require_wide(kind, source, options)
    return TEXT_READERS[kind](data, source, options)


def _read_file(path: Path, options: ReadOptions) -> Ratings:
    kind, packed = ending(path), path.suffix.lower() in DECOMPRESSORS
    if not packed:
        with path.open("rb") as file:
            kind = _kind(file.read(HEAD), kind)
        if kind in FILE_READERS:
            _require_wide(kind, str(path), options)
            return FILE_READERS[kind](path, options)
    elif kind == ".inter":
        return read_inter(path, options)
    elif kind in FILE_READERS and kind not in TEXT_READERS:
        raise DataError(f"{path}: {kind} is not read compressed; unpack the file first")
    return ratings_from_content(read_bytes(path, options.max_size), path.name, str(path), options)


def _read_zip(path: Path, options: ReadOptions) -> Ratings:
    return read_zip(path, options, ratings_from_content)


FILE_READERS[".zip"] = _read_zip


def _kind(head: bytes, kind: str) -> str:
    return sniffed(head, kind, known=kind in FILE_READERS or kind in TEXT_READERS)


def _require_wide(kind: str, source: str, options: ReadOptions) -> None:
    if options.wide and kind not in _WIDE:
        raise DataError(
            f"{source}: {kind} is not read as a wide matrix, but text and spreadsheets are; leave out "
            f"{say('wide', '--wide')}"
        )


def _read_folder(path: Path, options: ReadOptions) -> Ratings:
    for reader in (read_folder, read_inter_folder, read_parquet_folder):
        ratings = reader(path, options)
        if ratings is not None:
            return ratings
    raise DataError(f"{path}: the folder holds no ratings known to hyvae; accepted: {ACCEPTED}")
