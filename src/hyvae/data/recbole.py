"""RecBole's atomic files: `.inter` with typed column names, and the titles of the `.item` file beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import polars as pl

from hyvae.data.columns import ReadOptions, guess_column
from hyvae.data.compressed import read_bytes
from hyvae.data.text import TextTable, find_layout, ratings_from_text
from hyvae.errors import DataError
from hyvae.ratings import Ratings

ENDING = ".inter"
_HEADER = re.compile(rb"(?:\xef\xbb\xbf)?\s*[^\n]*")
_TYPE = re.compile(rb":(?:token|float)(?:_seq)?(?![\w:])")


def read_inter(path: Path, options: ReadOptions) -> Ratings:
    """Read a `.inter` file, compressed or not, with the titles of the `.item` file beside it, if one is there.

    Source: W. X. Zhao et al., RecBole: towards a unified, comprehensive and efficient framework for recommendation
    algorithms, CIKM 2021; https://recbole.io/docs/user_guide/data/atomic_files.html

    Raises
    ------
    DataError
    """
    stem = path.name.lower().partition(ENDING)[0]
    stem = path.name[: len(stem)]
    catalogue = path.with_name(f"{stem}.item")
    listed = _titles(catalogue, options) if options.title is None and catalogue.is_file() else None
    return ratings_from_inter(read_bytes(path, options.max_size), str(path), options, listed=listed)


def ratings_from_inter(
    data: bytes, source: str, options: ReadOptions, *, listed: pl.DataFrame | None = None
) -> Ratings:
    """Read the text of a `.inter` file."""
    options = replace(options, separator=options.separator or "\t")
    return ratings_from_text(_without_types(data), source, options, listed=listed)


def read_inter_folder(path: Path, options: ReadOptions) -> Ratings | None:
    """Read a folder with one `.inter` file; None if it has none.

    Raises
    ------
    DataError
        It has several.
    """
    found = sorted(file for file in path.iterdir() if file.suffix.lower() == ENDING and file.is_file())
    if len(found) > 1:
        raise DataError(f"{path}: several .inter files ({', '.join(file.name for file in found)}); name one of them")
    return read_inter(found[0], options) if found else None


def _without_types(data: bytes) -> bytes:
    """Column names as they are called: ``user_id`` of ``user_id:token``."""
    header = _HEADER.match(data)
    end = header.end() if header else 0
    return _TYPE.sub(b"", data[:end]) + data[end:]


def _titles(path: Path, options: ReadOptions) -> pl.DataFrame | None:
    """Text columns item and title of a `.item` file; None if it has no titles."""
    plain = ReadOptions(separator=options.separator or "\t", encoding=options.encoding)
    text = TextTable(find_layout(_without_types(read_bytes(path, options.max_size)), str(path), plain), str(path))
    item, title = (guess_column(text.frame.columns, role) for role in ("item", "title"))
    if item is None or title is None:
        return None
    text.bad.add(text.frame[item].is_null(), lambda _: "the item id is missing; fill it in or leave the row out")
    kept = text.bad.settle(str(path), text.place, skip=options.on_bad_rows == "skip")
    frame = text.frame if kept is None else text.frame[kept]
    return frame.select(item=item, title=title).unique("item", keep="first", maintain_order=True)
