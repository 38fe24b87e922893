"""`read`: the one entry for a named data set, a file, a zip or a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hyvae.data.columns import BadRowsPolicy, ReadOptions
from hyvae.data.database import read_database
from hyvae.data.download import fetch_url, without_secrets
from hyvae.data.formats import read_path
from hyvae.data.named import DATASETS, load
from hyvae.data.streams import is_stream, read_stream
from hyvae.errors import DataError
from hyvae.forks import require_polars
from hyvae.ratings import Duplicates, Ratings
from hyvae.wording import say


def read(
    source: str | Path,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    timestamp: str | None = None,
    title: str | None = None,
    separator: str | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
    scale: tuple[float, float] | None = None,
    query: str | None = None,
    on_duplicates: Duplicates = "error",
    on_bad_rows: BadRowsPolicy = "error",
    quote: str | None = None,
    time_unit: str | None = None,
    time_format: str | None = None,
    not_rated: float | str | Sequence[float | str] = (),
    max_size: int | str | None = None,
    decimal: str = ".",
    skip_lines: int = 0,
    wide: bool = False,
    titles: str | Path | None = None,
) -> Ratings:
    """Read ratings.

    Parameters
    ----------
    source : str or Path
        Name of a data set (see `hyvae.data.names`), or a path: text with a header line (.csv, .tsv, .txt),
        MovieLens (.dat, zip or unpacked folder), Monti's matrices (.mat), Parquet (.parquet, or a folder of
        parts), Arrow (.arrow, .feather, .ipc), JSON lines (.jsonl), RecBole (.inter or its folder), libFM
        (.libfm, .libsvm), scipy's matrices (.npz); the address of such a file (https://…); or SQLAlchemy's URL of
        a database (sqlite:///ratings.db), with a `query`; or ``-``, text on standard input. A folder that is called
        like a data set is written ``./name``.
    user, item, rating, timestamp, title : str, optional
        Names of the columns, where they are not guessed right from common names. An empty `timestamp` or
        `title` leaves that column out.
    separator : str, optional
        Default: a tab for .tsv, else guessed from the first line.
    scale : pair of float, optional
        Lowest and highest rating that can be given. Default: declared for named sets, else the observed ones.
    query : str, optional
        SQL that selects the rows, where the source is a database.
    quote : str, optional
        Character around fields of a text, '' where quotes are plain characters. Default: ``"`` around whole fields.
    time_unit : ``s``, ``ms``, ``us``, ``ns``, ``yyyymmdd``, ``year`` or ``excel``, optional
        What times are that are numbers. Default: the unit that puts all between 1990 and 2100.
    time_format : str, optional
        Form of dates, as in ``datetime.strptime``: ``"%d/%m/%Y"``. Default: guessed.
    not_rated : number or str, or several, optional
        Ratings that stand for *not rated*, such as -1, 0 or 99. Such pairs are kept in `Ratings.unrated`: nothing is
        trained on them, and lists leave them out.
    max_size : int or str, optional
        Bytes that are downloaded, or read once unpacked, at most, such as ``"16G"``. Default: 8 GiB; of a compressed
        source also 200 times its size, where that is more than 256 MiB.
    decimal : ``.`` or ``,``
        The decimal mark of the ratings in a text.
    skip_lines : int
        Lines of a text before its header or its first row.
    wide : bool
        The text or sheet is a matrix: a row is a user and a column an item. Empty cells are not rated.
    titles : str or Path, optional
        A text file with a column of item ids and one of titles.

    Returns
    -------
    Ratings
        `Ratings.layout` says what was taken for what.
        Ids are integers where every id of the column is written as a plain integer, else text.

    Raises
    ------
    DataError
        The source does not exist or cannot be used; the message names the place and the mend.
    """
    options = ReadOptions(
        user=user,
        item=item,
        rating=rating,
        timestamp=timestamp,
        title=title,
        separator=separator,
        header=header,
        encoding=encoding,
        scale=scale,
        query=query,
        on_duplicates=on_duplicates,
        on_bad_rows=on_bad_rows,
        quote=quote,
        time_unit=time_unit,
        time_format=time_format,
        not_rated=not_rated,  # type: ignore[arg-type]  # made a tuple
        max_size=max_size,  # type: ignore[arg-type]  # made a number
        decimal=decimal,
        skip_lines=skip_lines,
        wide=wide,
        titles=titles,
    )
    return read_source(source, options)


def read_source(source: str | Path, options: ReadOptions) -> Ratings:
    """Read a source of any kind, with options that are made already.

    Raises
    ------
    DataError
    """
    if not isinstance(source, str | Path):
        raise DataError(f"read takes a path or a name, not {type(source).__name__}; for tables: Ratings.from_table")
    require_polars("reading ratings")
    if isinstance(source, str) and source in DATASETS:
        given = [
            name for name, value in vars(replace(options, finish=None)).items() if value != getattr(ReadOptions(), name)
        ]
        if given:
            raise DataError(f"{source}: a named data set takes no {', '.join(given)}; give the path of its file")
        return load(source)
    if isinstance(source, str) and "://" in source and not source.startswith(("http://", "https://")):
        return read_database(source, options)
    if options.query is not None:
        told = without_secrets(source) if isinstance(source, str) and "://" in source else source
        raise DataError(
            f"{told}: a query needs a database, such as sqlite:///ratings.db; leave it out ({say('query', '--query')})"
        )
    if isinstance(source, str) and source.startswith(("http://", "https://")):
        # told by its address, where errors tell the file in the cache
        found = read_path(fetch_url(source, max_size=options.max_size), options)
        return replace(found, source=without_secrets(source)) if options.finish is None else found
    if is_stream(source):
        return read_stream(source, options)
    # the functions of os.path answer for impossible names too, where those of pathlib raise
    path = Path(os.path.expanduser(source))
    if not os.path.exists(path):
        raise DataError(
            f"{source}: no such file or folder; mend the path, or name a data set (hyvae data list): "
            f"{', '.join(DATASETS)}"
        )
    return read_path(path, options)
