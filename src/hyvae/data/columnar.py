"""Parquet (a file, or a folder of parts) and Arrow IPC (Feather).

Parquet and Arrow files are decoded by pyarrow where it is installed, else by Polars. Both take what is whole; but a few
damaged files stop the whole process inside Polars, which pyarrow refuses as it should.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import polars as pl

from hyvae.data.bad_rows import Place
from hyvae.data.columns import Columns, ReadOptions, choose_columns
from hyvae.data.limits import require_regular, require_size, size_limit
from hyvae.data.tables import ratings_from_frame
from hyvae.errors import DataError
from hyvae.ratings import Ratings

PARQUET_ENDINGS = (".parquet", ".pq")
_ARROW_FILE = b"ARROW1"
# how Hive, and all that write as it does, call the folder of rows without a key
_NO_KEY = "__HIVE_DEFAULT_PARTITION__"
_MOST_REASON = 200
# bytes of a number in memory
_CELL = 8


def read_parquet(path: Path, options: ReadOptions) -> Ratings:
    """Read a Parquet file."""
    return _read_table(path, options, "Parquet", _parquet_names, _parquet_columns)


def read_arrow(path: Path, options: ReadOptions) -> Ratings:
    """Read an Arrow IPC file (Feather version 2) or stream."""
    return _read_table(path, options, "Arrow IPC", _arrow_names, _arrow_columns)


Names = Callable[[Path], Sequence[str]]
Load = Callable[[Path, list[str], int | None], pl.DataFrame]


def _read_table(path: Path, options: ReadOptions, kind: str, names: Names, load: Load) -> Ratings:
    with _whole(path, kind):
        found = names(path)
    columns = choose_columns(_unique(found, str(path)), options, str(path))
    with _whole(path, kind):
        frame = load(path, list(columns.named().values()), options.max_size)
    return ratings_from_frame(frame, columns, options, source=str(path))


@contextmanager
def _whole(path: Path, kind: str) -> Iterator[None]:
    """Turn what goes wrong in a decoder into one line; a file that cannot be opened remains an `OSError`."""
    with path.open("rb") as file:
        if not file.read(1):
            raise DataError(f"{path}: the file is empty; write or fetch it again")
    try:
        yield
    except DataError:
        raise
    # no family holds all that the decoders raise for damaged files, and a panic of Rust is no Exception at all
    except (Exception, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:_MOST_REASON]
        raise DataError(
            f"{path}: not readable as {kind} ({reason}); it may be cut short, or of another kind than its ending says: "
            "write or fetch it again"
        ) from error


def _unique(names: Sequence[str], source: str) -> Sequence[str]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise DataError(f"{source}: more than one column is called {twice!r}; rename one")
    return names


@cache
def _pyarrow() -> Any:
    """The package, imported when it is needed, for that takes a while; None where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError:
        return None
    return pyarrow


# -- Parquet -----------------------------------------------------------------------------------------------------


class TableSize(NamedTuple):
    """What a Parquet file says of itself: its rows, and its bytes when they are unpacked (0 where nothing tells)."""

    rows: int
    unpacked: int


def parquet_size(path: Path) -> TableSize:
    """How large a table would be, without decoding it.

    Raises
    ------
    Exception
        Of many kinds: it is damaged.
    """
    pa = _pyarrow()
    if pa is None:
        with path.open("rb") as file:
            return TableSize(pl.scan_parquet(file).select(pl.len()).collect().item(), 0)
    with pa.parquet.ParquetFile(path) as stored:
        known = stored.metadata
        groups = [known.row_group(number) for number in range(known.num_row_groups)]
        return TableSize(known.num_rows, sum(group.total_byte_size for group in groups))


def parquet_table(path: Path) -> pl.DataFrame:
    """A whole Parquet file of a run, whose size is checked before, by pyarrow where it is installed.

    Raises
    ------
    Exception
        Of many kinds: it is damaged.
    """
    return _parquet_columns(path, list(_parquet_names(path)), sys.maxsize)


def _parquet_names(path: Path) -> Sequence[str]:
    pa = _pyarrow()
    if pa is None:
        # an open file, for Polars takes '*' and '[' in a path for patterns
        with path.open("rb") as file:
            return list(pl.read_parquet_schema(file))
    return pa.parquet.read_schema(path).names


def _parquet_columns(path: Path, names: list[str], max_size: int | None) -> pl.DataFrame:
    limit, source = size_limit(max_size, path.stat().st_size), str(path)
    pa = _pyarrow()
    if pa is None:
        with path.open("rb") as file:
            n_rows = pl.scan_parquet(file).select(pl.len()).collect().item()
        require_size(_CELL * n_rows * len(names), limit, source)
        with path.open("rb") as file:
            return pl.read_parquet(file, columns=names).select(names)
    with pa.parquet.ParquetFile(path) as stored:
        told = stored.metadata
        require_size(_CELL * told.num_rows * len(names), limit, source)
        chunks = [
            group.column(column)
            for group in map(told.row_group, range(told.num_row_groups))
            for column in range(group.num_columns)
        ]
        used = [chunk for chunk in chunks if chunk.path_in_schema in names]
        require_size(sum(chunk.total_uncompressed_size for chunk in used), limit, source)
        texts = [name for name in names if _is_text(stored.schema_arrow.field(name).type)]
    # one long text in a dictionary may stand for millions of rows: it is counted before it is repeated
    with pa.parquet.ParquetFile(path, read_dictionary=texts) as stored:
        return _from_arrow(stored.read(columns=names), names, limit, source)


def _is_plain_dictionary(dtype: Any) -> bool:
    from pyarrow import types

    # pyarrow cannot spread out views, which Polars writes; Polars itself takes them for categories
    return types.is_dictionary(dtype) and not types.is_string_view(dtype.value_type)


def _is_text(dtype: Any) -> bool:
    from pyarrow import types

    return types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype)


def _spread_out(table: Any) -> int:
    """Bytes of a table once the rows repeat what its dictionaries hold."""
    from pyarrow import compute, types

    total = 0
    for column in table.columns:
        for chunk in column.chunks:
            if types.is_dictionary(chunk.type) and _is_text(chunk.type.value_type):
                texts = chunk.dictionary.cast("large_string")
                lengths = compute.binary_length(texts).take(chunk.indices)
                total += compute.sum(lengths).as_py() or 0
            else:
                total += chunk.nbytes
    return total


def _from_arrow(table: Any, names: list[str], limit: int, source: str) -> pl.DataFrame:
    pa = _pyarrow()
    # what is damaged but decodes (text that is not UTF-8, offsets that lead outside) must not get any further
    table.validate(full=True)
    require_size(_spread_out(table), limit, source)
    plain = [
        column.cast(column.type.value_type) if _is_plain_dictionary(column.type) else column
        for column in map(table.column, names)
    ]
    frame = pl.from_arrow(pa.table(plain, names=names))
    assert isinstance(frame, pl.DataFrame)
    return frame


def read_parquet_folder(path: Path, options: ReadOptions) -> Ratings | None:
    """Read a folder of Parquet parts, also in sub folders ``key=value`` (as Hive has them); None if it holds none.

    Raises
    ------
    DataError
        A part cannot be read, or its columns in use differ from those of the first part.
    """
    parts = list(_parts(path))
    if not parts:
        return None
    with _whole(parts[0], "Parquet"):
        found = _parquet_names(parts[0])
    keys = _keys(parts[0], path)
    names = [*_unique(found, str(parts[0])), *(key for key in keys if key not in found)]
    columns = choose_columns(names, options, str(path))
    frames = [_read_part(part, path, columns, options.max_size) for part in parts]
    for part, frame in zip(parts, frames, strict=True):
        for name, dtype in frame.schema.items():
            if dtype != frames[0].schema[name]:
                raise DataError(
                    f"{part}: the column {name!r} is of type {dtype}, and of type {frames[0].schema[name]} in "
                    f"{parts[0].relative_to(path)}; write all parts with the same columns"
                )
    frame = pl.concat(frames)
    frame = frame.with_columns(
        _typed_key(frame[name]) for name in columns.named().values() if name in keys and name not in found
    )
    return ratings_from_frame(
        frame, columns, options, source=str(path), place=_place_in_parts(path, parts, list(map(len, frames)))
    )


def _parts(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        # writers keep their own notes (_metadata, .crc) beside the parts
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_dir():
            if "=" in entry.name:
                yield from _parts(entry)
        elif entry.suffix.lower() in PARQUET_ENDINGS:
            require_regular(entry)
            yield entry


def _keys(part: Path, folder: Path) -> dict[str, str | None]:
    """Key and value that the names of the sub folders tell."""
    pairs = (name.partition("=") for name in part.relative_to(folder).parts[:-1])
    return {unquote(key): None if value == _NO_KEY else unquote(value) for key, _, value in pairs}


def _read_part(part: Path, folder: Path, columns: Columns, max_size: int | None) -> pl.DataFrame:
    """The columns in use, with types that do not hang on what a part happens to hold."""
    keys = _keys(part, folder)
    wanted = list(columns.named().values())
    with _whole(part, "Parquet"):
        found = _parquet_names(part)
    missing = [name for name in wanted if name not in found and name not in keys]
    if missing:
        raise DataError(
            f"{part}: no column {missing[0]!r}, which other parts have; write all parts with the same columns"
        )
    stored = [name for name in wanted if name in found]
    with _whole(part, "Parquet"):
        frame = _parquet_columns(part, stored or [found[0]], max_size)
    frame = frame.with_columns(pl.lit(keys[name], dtype=pl.String).alias(name) for name in wanted if name not in stored)
    return frame.select(_common_type(frame[name], rating=name == columns.rating) for name in wanted)


def _common_type(column: pl.Series, *, rating: bool) -> pl.Series:
    dtype = column.dtype
    if rating and dtype.is_numeric():
        return column.cast(pl.Float64)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    # those of 64 bits without a sign may not fit
    fits = dtype in (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
    return column.cast(pl.Int64) if fits else column


def _typed_key(column: pl.Series) -> pl.Series:
    """Integers where every key is written as a plain integer, else text: ``'007'`` stays."""
    numbers = column.cast(pl.Int64, strict=False)
    return numbers if (numbers.cast(pl.String) == column).all() else column


def _place_in_parts(folder: Path, parts: list[Path], heights: list[int]) -> Place:
    ends = np.array(list(accumulate(heights)))

    def place(row: int) -> str:
        part = int(np.searchsorted(ends, row))
        return f"{parts[part].relative_to(folder)}, row {row - (int(ends[part]) - heights[part])}"

    return place


# -- Arrow -------------------------------------------------------------------------------------------------------


def _is_arrow_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ARROW_FILE)) == _ARROW_FILE


def _arrow_names(path: Path) -> Sequence[str]:
    pa = _pyarrow()
    if pa is None:
        with path.open("rb") as file:
            return (
                list(pl.read_ipc_schema(file)) if _is_arrow_file(path) else pl.read_ipc_stream(file, n_rows=0).columns
            )
    with pa.OSFile(str(path)) as stored:
        return _open_arrow(path)(stored).schema.names


def _arrow_columns(path: Path, names: list[str], max_size: int | None) -> pl.DataFrame:
    pa = _pyarrow()
    if pa is None:
        read = pl.read_ipc if _is_arrow_file(path) else pl.read_ipc_stream
        with path.open("rb") as file:
            return read(file, columns=names).select(names)
    limit = size_limit(max_size, path.stat().st_size)
    places = {name: place for place, name in enumerate(_arrow_names(path))}
    chosen = pa.ipc.IpcReadOptions(included_fields=sorted(places[name] for name in names))
    with pa.OSFile(str(path)) as stored:
        reader = _open_arrow(path)(stored, options=chosen)
        n_batches = getattr(reader, "num_record_batches", None)
        batches, total = [], 0
        for batch in reader if n_batches is None else map(reader.get_batch, range(n_batches)):
            total += batch.nbytes
            require_size(total, limit, str(path))
            batches.append(batch)
        table = pa.Table.from_batches(batches, schema=None if batches else reader.schema)
        return _from_arrow(table, names, limit, str(path))


def _open_arrow(path: Path) -> Callable[..., Any]:
    pa = _pyarrow()
    return pa.ipc.open_file if _is_arrow_file(path) else pa.ipc.open_stream
