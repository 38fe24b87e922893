"""The database of a store: opened, known again at each transaction, and what is said when it cannot be used."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from hyvae.errors import ConfigError

#: seconds for which a transaction waits for another one's
PATIENCE = 5.0
#: seconds for which SQLite's log is waited for when deleted rows are taken out of it: writers wait meanwhile
_LOG_PATIENCE = 0.25

#: What callers are told, by the beginning of SQLite's name of an error or of PostgreSQL's SQLSTATE
_SAID = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": "another process holds the database",
    "SQLITE_LOCKED": "another process holds the database",
    "SQLITE_READONLY": "the database can only be read",
    "SQLITE_CORRUPT": "the database is damaged",
    "SQLITE_NOTADB": "the database is damaged",
    "SQLITE_IOERR": "the disk of the database fails or is full",
    "SQLITE_CANTOPEN": "the database cannot be opened",
    "SQLITE_ERROR": "the database has lost a table",
    "53100": "the disk is full",
    "25006": "the database can only be read",
    "42P01": "the database has lost a table",
    "42703": "the database has lost a column",
    "55P03": "another process holds the database",
    "57014": "another process holds the database",
    "28": "the database refuses the service",
    "3D000": "the database is gone",
}
SILENT = "the database does not answer"
_READ_ONLY = "the database can only be read"
_LOST = "the file of the database is gone, replaced or overwritten; the service needs it back, or a new start"


class StoreUnavailableError(Exception):
    """The database does not answer, or refused.

    Parameters
    ----------
    said : str
        What is the matter, for anyone: no name of a file, machine or user.
    reason : str
        The database's own words, for the log; by default `said`.
    """

    def __init__(self, said: str, reason: str = "") -> None:
        super().__init__(reason or said)
        self.said = said


class _Files(NamedTuple):
    """Which files connections of SQLite have open: device and inode of the database and of its log."""

    database: tuple[int, int] | None
    log: tuple[int, int] | None

    @classmethod
    def at(cls, path: str) -> _Files:
        return cls(_identity(path), _identity(path + "-wal"))


class Database:
    """Transactions in a database that must stay the one that was opened.

    A file of SQLite that was deleted, moved, replaced or overwritten still takes writes, and they are lost. So every
    transaction looks whether the file is still the same one.

    Parameters
    ----------
    address : str
        URL of SQLite or PostgreSQL.
    patience : float, default 5
        Seconds for which a transaction waits for another one's.

    Raises
    ------
    ConfigError
        A URL of another kind, or a driver that is not installed.
    """

    def __init__(self, address: str, *, patience: float = PATIENCE) -> None:
        self.engine = _engine(address, patience)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._path = ""
        self._files: _Files | None = None
        self._stamp: str | None = None
        self._held: Any = None
        if self.is_sqlite:
            sa.event.listen(self.engine, "do_connect", self._on_opening)

    @property
    def name(self) -> str:
        """The database, without password."""
        return self.engine.url.render_as_string(hide_password=True)

    def keep_to(self, stamp: str) -> None:
        """From now on use this database only, and make no other one in its place.

        Parameters
        ----------
        stamp : str
            What ``hyvae_store`` holds under the name ``stamp``.
        """
        if not self.is_sqlite:
            return
        self.empty_log()
        with _available():
            # never used, and never closed: the last one to close takes the log away, and the next has another
            self._held = self.engine.raw_connection()
            self._path = str(self._held.cursor().execute("PRAGMA database_list").fetchone()[2])
        self._files = _Files.at(self._path)
        # where another process kept it in the log, it cannot be looked for in the file
        self._stamp = stamp if self._read_stamp() == stamp else None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection that reads; each statement of it sees the database of one moment.

        Raises
        ------
        StoreUnavailableError
        """
        with _available(), self.engine.connect() as connection:
            self._check_files(connection)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction that is committed, and on the disk, when the block is left.

        Raises
        ------
        StoreUnavailableError
        """
        with _available(), self.engine.connect() as connection:
            self._check_files(connection)
            self._check_writable()
            writer = connection.execution_options(hyvae_writes=True)
            with writer.begin():
                yield writer
            # what went into a file that vanished meanwhile is not acknowledged
            self._check_files(connection)

    def empty_log(self) -> bool | None:
        """Write SQLite's log into its file, and cut it: the log holds rows that were deleted.

        Returns
        -------
        bool or None
            False where another process still reads from the log; None where the database is not SQLite.

        Raises
        ------
        StoreUnavailableError
        """
        if not self.is_sqlite:
            return None
        with _available(), self.engine.connect() as connection:
            self._check_files(connection)
            driver: Any = connection.connection.driver_connection
            before = driver.execute("PRAGMA busy_timeout").fetchone()[0]
            driver.execute(f"PRAGMA busy_timeout={int(1000 * _LOG_PATIENCE)}")
            try:
                # outside of a transaction, or it would wait for itself
                busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorname.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                    return False
                raise StoreUnavailableError(_said(error), _reason(error)) from error
            finally:
                driver.execute(f"PRAGMA busy_timeout={before}")
        return not busy

    def close(self) -> None:
        """Let go of all connections."""
        if self._held is not None:
            self._held.close()
        self.engine.dispose()

    def _on_opening(self, dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> None:
        """Open the file that is there; were it gone, SQLite would make an empty one."""
        if self._files is not None:
            if _Files.at(self._path) != self._files:
                raise StoreUnavailableError(_LOST)
            arguments[0], options["uri"] = f"file:{quote(self._path)}?mode=rw", True

    def _check_files(self, connection: sa.Connection) -> None:
        if self._files is None:
            return
        found = _Files.at(self._path)
        if found == self._files:
            return
        if found.database == self._files.database:
            # the log alone is gone: connections still have it, and what is in it is saved
            driver: Any = connection.connection.driver_connection
            with contextlib.suppress(sqlite3.Error):
                driver.execute("PRAGMA wal_checkpoint(FULL)")
        raise StoreUnavailableError(_LOST)

    def _check_writable(self) -> None:
        if self._files is None:
            return
        if not os.access(self._path, os.W_OK):
            raise StoreUnavailableError(_READ_ONLY)
        # a page may be half written by a checkpoint: look again
        if not any(self._is_ours() for _ in range(3)):
            raise StoreUnavailableError(_LOST)

    def _is_ours(self) -> bool:
        found = self._read_stamp()
        return found is not None if self._stamp is None else found == self._stamp

    def _read_stamp(self) -> str | None:
        """The stamp in the file itself, without its log: a connection may answer from memory what once was there.

        Returns
        -------
        str or None
            Empty where there is none; None where the file is no database.
        """
        try:
            with closing(sqlite3.connect(f"file:{quote(self._path)}?immutable=1", uri=True)) as file:
                found = file.execute("SELECT value FROM hyvae_store WHERE name = 'stamp'").fetchone()
        except sqlite3.Error as error:
            return None if error.sqlite_errorname in ("SQLITE_NOTADB", "SQLITE_CORRUPT") else ""
        return found[0] if found else ""


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _engine(address: str, patience: float) -> sa.Engine:
    try:
        url = sa.make_url(address)
        backend = url.get_backend_name()
        if backend not in ("sqlite", "postgresql"):
            raise ConfigError(f"a store of ratings is in sqlite:///… or postgresql://…, not in {backend}")
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if backend == "sqlite":
            if url.database in (None, "", ":memory:"):
                raise ConfigError("a store in memory is lost when the service stops; name a file: sqlite:///events.db")
            engine = sa.create_engine(url, connect_args={"timeout": patience})
            sa.event.listen(engine, "connect", _on_connect)
            sa.event.listen(engine, "begin", _on_begin)
            return engine
        engine = sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": max(2, int(patience))})
        # in each transaction: a pool between here and the server keeps nothing of a session
        waits = f"SET LOCAL lock_timeout = {int(1000 * patience)}; SET LOCAL statement_timeout = {int(1000 * patience)}"
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(waits))
        return engine
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigError("the database is not a URL such as sqlite:///events.db or postgresql://…") from error
    except ImportError as error:
        raise ConfigError("PostgreSQL needs its driver: pip install 'hyvae[postgres]'") from error


def _on_connect(connection: Any, record: Any) -> None:
    # transactions begin when `_on_begin` says so, and not when the driver thinks that they should
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
    # the log is opened by the first look into the database
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _on_begin(connection: sa.Connection) -> None:
    # a transaction that first reads and then writes could not wait for another's write; one statement needs none
    if connection.get_execution_options().get("hyvae_writes"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailableError(_said(error), _reason(error)) from error


def _said(error: Exception) -> str:
    """What anyone may know of it."""
    original = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None) or ""
    return next((said for beginning, said in _SAID.items() if code.startswith(beginning)), SILENT)


def _reason(error: Exception) -> str:
    """One line, without the statement and its values: they are personal data."""
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(original).__name__])[0][:200]
