"""MovieLens in GroupLens's layouts: `ratings.dat` or `ratings.csv`, with the movies beside, folder or zip."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path, PurePosixPath

import polars as pl

from hyvae.data.tables import Columns, ratings_from_frame
from hyvae.data.text import ReadOptions, TextTable, ratings_from_text, read_text
from hyvae.errors import DataError
from hyvae.ratings import Ratings

# ratings file and the file of movies beside it
LAYOUTS = (("ratings.dat", "movies.dat"), ("ratings.csv", "movies.csv"))
_DAT_COLUMNS = ("user", "item", "rating", "timestamp")
_KNOWN_CONTENT = "ratings.dat (with movies.dat) or ratings.csv (with movies.csv)"
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)


def read_dat(path: Path, options: ReadOptions) -> Ratings:
    """Read a `.dat` file: `user::item::rating::timestamp` without a header, else any table with one."""
    data = path.read_bytes()
    if options.separator not in (None, "::") or b"::" not in data.partition(b"\n")[0]:
        return read_text(path, options)
    movies = path.with_name("movies.dat")
    return _ratings_from_dat(data, str(path), options, movies.read_bytes() if movies.is_file() else None)


def read_folder(path: Path, options: ReadOptions) -> Ratings:
    """Read an unpacked MovieLens folder of either layout."""
    for ratings_name, movies_name in LAYOUTS:
        ratings, movies = path / ratings_name, path / movies_name
        if ratings.is_file():
            listed = movies.read_bytes() if movies.is_file() else None
            return _reader_of(ratings_name)(ratings.read_bytes(), str(ratings), options, listed)
    raise DataError(f"{path}: the folder holds no ratings known to hyvae; expected {_KNOWN_CONTENT}")


def read_zip(path: Path, options: ReadOptions) -> Ratings:
    """Read a MovieLens zip of either layout, as it was downloaded."""
    try:
        with zipfile.ZipFile(path) as archive:
            name, ratings, movies = _find_in_zip(archive, path)
    except _ZIP_ERRORS as error:
        raise DataError(f"{path}: not a readable zip file ({error}); fetch it again") from error
    return _reader_of(name)(ratings, f"{path} ({name})", options, movies)


def read_bundled() -> Ratings:
    """Read MovieLens latest small, which comes with the package."""
    folder = files("hyvae.data").joinpath("bundled", "movielens-small")
    ratings, movies = (
        pl.read_parquet(folder.joinpath(name).read_bytes()) for name in ("ratings.parquet", "movies.parquet")
    )
    return ratings_from_frame(
        ratings,
        Columns(timestamp="timestamp"),
        source="movielens-small",
        scale=(0.5, 5.0),
        listed=movies.with_columns(pl.col("item").cast(pl.Int64)),
    )


def _find_in_zip(archive: zipfile.ZipFile, path: Path) -> tuple[str, bytes, bytes | None]:
    members = archive.namelist()
    for ratings_name, movies_name in LAYOUTS:
        # the shallowest: a packer may have added copies of its own (such as __MACOSX) further down
        found = sorted(
            (member for member in members if PurePosixPath(member).name == ratings_name),
            key=lambda member: (member.count("/"), member),
        )
        if found:
            movies = str(PurePosixPath(found[0]).with_name(movies_name))
            return found[0], archive.read(found[0]), archive.read(movies) if movies in members else None
    raise DataError(f"{path}: the zip holds no ratings known to hyvae; expected {_KNOWN_CONTENT}")


def _reader_of(name: str) -> Callable[[bytes, str, ReadOptions, bytes | None], Ratings]:
    return _ratings_from_dat if name.endswith(".dat") else _ratings_from_csv


def _ratings_from_dat(data: bytes, source: str, options: ReadOptions, movies: bytes | None) -> Ratings:
    listed = None if movies is None else _movies_dat(movies, source)
    fields = data.lstrip(b"\r\n").partition(b"\n")[0].split(b"::")
    header = None if len(fields) > 2 and not _is_number(fields[2]) else _DAT_COLUMNS
    return ratings_from_text(data, source, options, header=header, listed=listed)


def _ratings_from_csv(data: bytes, source: str, options: ReadOptions, movies: bytes | None) -> Ratings:
    listed = None if movies is None else _movies_csv(movies, source)
    return ratings_from_text(data, source, options, listed=listed)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _movies_dat(data: bytes, source: str) -> pl.DataFrame:
    """Columns item and title of `movies.dat` (id::title::genres); older sets are latin-1, newer UTF-8."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    items, titles = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        item, *middle, genres = line.rstrip("\r").split("::")
        if not item:
            raise DataError(f"{source}, its movies.dat, line {number}: no movie id; write id::title::genres")
        items.append(item)
        # a title may hold '::' itself
        titles.append("::".join(middle) if middle else genres)
    return _listed(items, titles)


def _movies_csv(data: bytes, source: str) -> pl.DataFrame:
    movies = TextTable(data, f"{source}, its movies.csv").frame
    missing = {"movieId", "title"} - set(movies.columns)
    if missing:
        raise DataError(f"{source}, its movies.csv: no column {' or '.join(sorted(missing))}; expected movieId,title")
    return _listed(movies["movieId"].to_list(), movies["title"].to_list())


def _listed(items: list[str], titles: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame({"item": items, "title": titles}, schema={"item": pl.String, "title": pl.String})
    return frame.unique("item", keep="first", maintain_order=True)
