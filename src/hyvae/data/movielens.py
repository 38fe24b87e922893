"""MovieLens in GroupLens's layouts: `ratings.dat`, `ratings.csv` or `u.data`, the movies beside, folder or zip."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path, PurePosixPath

import polars as pl

from hyvae.data.columns import Columns, ReadOptions
from hyvae.data.compressed import DECOMPRESSORS, decompressed, read_bytes
from hyvae.data.limits import require_size, size_limit
from hyvae.data.tables import ratings_from_frame
from hyvae.data.text import TextTable, find_layout, ratings_from_text, read_text
from hyvae.errors import DataError
from hyvae.ratings import Ratings

_KNOWN_CONTENT = "ratings.dat (with movies.dat), ratings.csv (with movies.csv) or u.data (with u.item)"
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, UnicodeDecodeError)
# beside the data in many a zip
_NO_DATA = re.compile(r"__MACOSX|(?:^|/)\.|(?:readme|licen[cs]e|copying)[^/]*$|\.(?:md|pdf|html?)$", re.IGNORECASE)

Member = Callable[[bytes, str, str, ReadOptions], Ratings]


def read_dat(path: Path, options: ReadOptions) -> Ratings:
    """Read a `.dat` or `.data` file, with the titles of the catalogue that lies beside it, if one does."""
    catalogue = "u.item" if path.name == "u.data" else "movies.dat"
    beside = path.with_name(catalogue)
    if path.name not in LAYOUTS or not beside.is_file():
        return read_text(path, options)
    return _ratings_with_catalogue(path.name, *_contents(path, beside, options), str(path), options)


def read_folder(path: Path, options: ReadOptions) -> Ratings | None:
    """Read an unpacked MovieLens folder of any layout; None if it is none."""
    for name, (catalogue, _) in LAYOUTS.items():
        ratings, movies = path / name, path / catalogue
        if ratings.is_file():
            return _ratings_with_catalogue(name, *_contents(ratings, movies, options), str(ratings), options)
    return None


def _contents(ratings: Path, catalogue: Path, options: ReadOptions) -> tuple[bytes, bytes | None]:
    return (
        read_bytes(ratings, options.max_size),
        read_bytes(catalogue, options.max_size) if catalogue.is_file() else None,
    )


def read_zip(path: Path, options: ReadOptions, read_member: Member) -> Ratings:
    """Read a MovieLens zip of any layout as it was downloaded, or one with a single file. Nothing is unpacked.

    Parameters
    ----------
    read_member : callable
        Reads the content of a single file: content, name, what messages call it, options.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name, ratings, movies = _find_in_zip(archive, path, options)
    except _ZIP_ERRORS as error:
        raise DataError(f"{path}: not a readable zip file ({error}); it may be cut short: fetch it again") from error
    file, source = PurePosixPath(name).name, f"{path} ({name})"
    if file in LAYOUTS:
        return _ratings_with_catalogue(file, ratings, movies, source, options)
    if PurePosixPath(file).suffix.lower() in DECOMPRESSORS:
        limit = size_limit(options.max_size, len(ratings))
        ratings = decompressed(io.BytesIO(ratings), PurePosixPath(file).suffix.lower(), limit, source)
    return read_member(ratings, file, source, options)


def read_bundled() -> Ratings:
    """Read MovieLens latest small, which comes with the package."""
    folder = files("hyvae.data").joinpath("bundled", "movielens-small")
    ratings, movies = (
        pl.read_parquet(folder.joinpath(name).read_bytes()) for name in ("ratings.parquet", "movies.parquet")
    )
    return ratings_from_frame(
        ratings,
        Columns(timestamp="timestamp"),
        ReadOptions(scale=(0.5, 5.0)),
        source="movielens-small",
        listed=movies.with_columns(pl.col("item").cast(pl.Int64)),
    )


def _find_in_zip(archive: zipfile.ZipFile, path: Path, options: ReadOptions) -> tuple[str, bytes, bytes | None]:
    """Name and content of the ratings, and content of the catalogue beside them."""

    def content(member: str) -> bytes:
        info = archive.getinfo(member)
        # the module gives no more bytes of a member than its directory says
        require_size(info.file_size, size_limit(options.max_size, info.compress_size), f"{path} ({member})")
        return archive.read(info)

    members = [member for member in archive.namelist() if not member.endswith("/")]
    for member in members:
        if member.startswith(("/", "\\")) or ".." in PurePosixPath(member.replace("\\", "/")).parts:
            raise DataError(f"{path}: its member {member!r} points out of the zip; do not trust this file")
    for name, (catalogue, _) in LAYOUTS.items():
        # the shallowest: a packer may have added copies of its own (such as __MACOSX) further down
        found = sorted(
            (member for member in members if PurePosixPath(member).name == name),
            key=lambda member: (member.count("/"), member),
        )
        if found:
            movies = str(PurePosixPath(found[0]).with_name(catalogue))
            return found[0], content(found[0]), content(movies) if movies in members else None
    rest = [member for member in members if not _NO_DATA.search(member)]
    if len(rest) == 1:
        return rest[0], content(rest[0]), None
    raise DataError(
        f"{path}: the zip holds no ratings known to hyvae; expected {_KNOWN_CONTENT}, or a single file of data; "
        "unpack it and name the file"
    )


def _ratings_with_catalogue(
    name: str, data: bytes, catalogue: bytes | None, source: str, options: ReadOptions
) -> Ratings:
    listed = None if catalogue is None else LAYOUTS[name][1](catalogue, source)
    return ratings_from_text(data, source, options, listed=listed)


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


def _movies_u_item(data: bytes, source: str) -> pl.DataFrame:
    """Columns item and title of `u.item` (id|title|date|…), latin-1."""
    items, titles = [], []
    for number, line in enumerate(data.decode("latin-1").split("\n"), start=1):
        if not line.strip():
            continue
        item, separator, rest = line.rstrip("\r").partition("|")
        if not (item and separator):
            raise DataError(f"{source}, its u.item, line {number}: no movie id; write id|title|…")
        items.append(item)
        titles.append(rest.partition("|")[0])
    return _listed(items, titles)


def _movies_csv(data: bytes, source: str) -> pl.DataFrame:
    where = f"{source}, its movies.csv"
    movies = TextTable(find_layout(data, where, ReadOptions()), where).frame
    missing = {"movieId", "title"} - set(movies.columns)
    if missing:
        raise DataError(f"{source}, its movies.csv: no column {' or '.join(sorted(missing))}; expected movieId,title")
    return _listed(movies["movieId"].to_list(), movies["title"].to_list())


def _listed(items: list[str], titles: list[str]) -> pl.DataFrame:
    frame = pl.DataFrame({"item": items, "title": titles}, schema={"item": pl.String, "title": pl.String})
    return frame.unique("item", keep="first", maintain_order=True)


# the ratings file of each layout, the catalogue beside it, and what reads that
LAYOUTS: dict[str, tuple[str, Callable[[bytes, str], pl.DataFrame]]] = {
    "ratings.dat": ("movies.dat", _movies_dat),
    "ratings.csv": ("movies.csv", _movies_csv),
    "u.data": ("u.item", _movies_u_item),
}
