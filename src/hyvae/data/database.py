"""The answer to an SQL query, from DuckDB or any database that SQLAlchemy speaks to. Nothing is ever written.

A query is one statement that selects. Beyond that each database is opened so that it refuses to write: SQLite with
`query_only`, PostgreSQL in a read-only transaction, DuckDB read-only and with a locked configuration. What others
change is rolled back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hyvae.data.columns import ReadOptions, choose_columns
from hyvae.data.tables import ratings_from_frame
from hyvae.data.values import ValueTable
from hyvae.errors import DataError
from hyvae.ratings import Ratings

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, CursorResult, Engine

_BATCH = 1 << 16
_MOST_REASON = 300
# what is no SQL of its own: literals, quoted names, comments
_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/""", re.DOTALL)
_SELECT = re.compile(
    r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*(?:select|with|values|table|from)\b", re.IGNORECASE | re.DOTALL
)
# databases that are a file, which opening must not make
_OF_ONE_FILE = ("sqlite", "duckdb")
# what brings the names of databases that SQLAlchemy does not know by itself
_DIALECT_PACKAGES = {
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "redshift": "sqlalchemy-redshift",
    "databricks": "databricks-sqlalchemy",
    "clickhouse": "clickhouse-sqlalchemy",
}


def read_database(address: str, options: ReadOptions) -> Ratings:
    """Read what a query answers.

    Parameters
    ----------
    address : str
        SQLAlchemy's URL of the database, such as ``sqlite:///ratings.db`` or ``duckdb:///ratings.duckdb``. Its
        password is in no message and not in `Ratings.source`.

    Returns
    -------
    Ratings
        Ids are integers where the database gives integers, else text. Its source is the URL without password
        and options.

    Raises
    ------
    DataError
        SQLAlchemy or a driver is not installed, no query, or no such database; or the query fails, or its answer
        has no rows, lacks a column, or holds a row that cannot be used.
    """
    url = _parsed(address)
    source = _public(url)
    if options.query is None or not options.query.strip():
        raise DataError(
            f"{source}: which rows of the database? give query='select user, item, rating from …' (--query)"
        )
    if not _SELECT.match(options.query):
        raise DataError(
            f"{source}: the query must begin with select (or with), for hyvae only reads; mend query (--query)"
        )
    _require_file(url, source)
    if url.get_backend_name() == "duckdb":
        return _read_duckdb(url, options.query, source, options)
    _require_one_select(options.query, source)
    with _one_line(url, source):
        engine = _engine(url)
    try:
        with _one_line(url, source), engine.connect() as connection:
            return _read_answer(connection, options.query, source, options)
    finally:
        engine.dispose()


def _read_answer(connection: Connection, query: str, source: str, options: ReadOptions) -> Ratings:
    # the text goes to the driver as it is: ':' and '%' mark no parameters
    settings: dict[str, Any] = {"stream_results": True, "max_row_buffer": _BATCH, "no_parameters": True}
    if connection.dialect.name == "postgresql":
        settings["postgresql_readonly"] = True
    connection = connection.execution_options(**settings)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("pragma query_only = on")
    answer: CursorResult[Any] = connection.exec_driver_sql(query)
    if not answer.returns_rows:
        raise DataError(f"{source}: the query answers no rows at all; give a select (--query)")
    return _ratings(list(answer.keys()), answer.partitions(_BATCH), source, options)


def _read_duckdb(url: URL, query: str, source: str, options: ReadOptions) -> Ratings:
    """Read by DuckDB's own driver: through SQLAlchemy it ends each process with 42 lines about leaks."""
    with _one_line(url, source):
        import duckdb

        file = _file_of(url)
        config: dict[str, Any] = {"autoinstall_known_extensions": "false", **url.query}
        connection = duckdb.connect(file or url.database or ":memory:", read_only=file is not None, config=config)
        with connection:
            # it would draw on standard output, into the JSON of --json
            connection.execute("set enable_progress_bar = false")
            # a select can set options too, such as the file of a log
            connection.execute("set lock_configuration = true")
            statements = connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise _not_one_select(source)
            connection.execute("begin transaction read only")
            answer = connection.execute(statements[0])
            batches = iter(lambda: answer.fetchmany(_BATCH), [])
            return _ratings([column[0] for column in answer.description or ()], batches, source, options)


def _require_one_select(query: str, source: str) -> None:
    plain = _QUOTED.sub(" ", query)
    if ";" in plain.rstrip("; \t\r\n") or re.search(r"\binto\b", plain, re.IGNORECASE):
        raise _not_one_select(source)


def _not_one_select(source: str) -> DataError:
    return DataError(
        f"{source}: the query must be one select that writes nothing, for hyvae only reads; mend query (--query)"
    )


def _ratings(names: Sequence[str], batches: Iterable[Sequence[Any]], source: str, options: ReadOptions) -> Ratings:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(
            f"{source}: two columns of the query's answer are called {twice!r}; name one with 'as' (--query)"
        )
    columns = choose_columns(names, options, source)
    places = {name: names.index(name) for name in columns.named().values()}
    table = ValueTable(columns)
    for rows in batches:
        table.add({name: [row[place] for row in rows] for name, place in places.items()})
    return ratings_from_frame(table.frame(), columns, options, source=source, bad=table.bad_rows())


def _parsed(address: str) -> URL:
    try:
        from sqlalchemy import make_url
    except ImportError as error:
        raise DataError(f"{_scheme(address)}: reading databases needs SQLAlchemy; pip install 'hyvae[sql]'") from error
    try:
        return make_url(address)
    except Exception as error:  # of a port that is no number, too
        # the text may hold a password, in a place that is not known
        raise DataError(
            f"{_scheme(address)}: not the URL of a database; write sqlite:///ratings.db or "
            "dialect+driver://user:password@host/database, with special characters of the password as %XX"
        ) from error


def _scheme(address: str) -> str:
    scheme = address.partition("://")[0]
    return f"{scheme}://…" if re.fullmatch(r"[\w+.-]+", scheme) else "URL of a database"


def _public(url: URL) -> str:
    """The URL without its password, and without its options, which may hold one."""
    return " ".join(url.set(query={}).render_as_string(hide_password=True).split()).replace("%3Amemory%3A", ":memory:")


def _file_of(url: URL) -> str | None:
    """Path of a database that is a file."""
    name = url.database
    if url.get_backend_name() not in _OF_ONE_FILE or not name or name.startswith((":", "md:", "motherduck:", "file:")):
        return None
    return os.path.expanduser(name) if url.get_backend_name() == "duckdb" else name


def _require_file(url: URL, source: str) -> None:
    file = _file_of(url)
    if file is not None and not os.path.isfile(file):
        raise DataError(
            f"{source}: no file {file!r}; mend the path (three slashes before a relative one, four before /)"
        )


def _engine(url: URL) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    if url.get_backend_name() == "sqlite" and (url.database or "").startswith("file:"):
        # else SQLite would make the file
        url = url.update_query_dict({"mode": "ro", "uri": "true"})
    return create_engine(url, poolclass=NullPool)


@contextmanager
def _one_line(url: URL, source: str) -> Iterator[None]:
    """Turn what SQLAlchemy and drivers raise into one line without the password."""
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError

    try:
        yield
    except DataError:
        raise
    except NoSuchModuleError as error:
        package = _DIALECT_PACKAGES.get(url.get_backend_name())
        mend = f"pip install {package}" if package else "mend the name, or install the package that brings it"
        raise DataError(f"{source}: SQLAlchemy knows no database called {url.drivername!r}; {mend}") from error
    except ImportError as error:
        driver = error.name or url.drivername
        raise DataError(f"{source}: the driver {driver} is not installed; install it (pip install {driver})") from error
    # drivers raise their own errors beside those of SQLAlchemy, and built-in ones for odd queries
    except Exception as error:
        reason = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        raise DataError(
            f"{source}: the query cannot be answered ({_reason(reason, url)}); mend query (--query)"
        ) from error


def _reason(error: BaseException, url: URL) -> str:
    text = " ".join(str(error).split())
    secrets = [str(url.password)] if url.password else []
    for value in url.query.values():
        secrets += [value] if isinstance(value, str) else value
    for secret in secrets:
        if len(secret) > 2:
            text = text.replace(secret, "***")
    return text[:_MOST_REASON] or type(error).__name__
