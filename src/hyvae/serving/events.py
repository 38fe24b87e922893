"""What users do, kept durably: ratings given, undone and forgotten; in SQLite, or PostgreSQL by its URL."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from hyvae.errors import ConfigError, DataError
from hyvae.ratings import Id

SCHEMA = 1
#: seconds for which a write waits for another one's
PATIENCE = 10
LONGEST_TEXT = 200


class RatingEvent(NamedTuple):
    """A rating that someone gave.

    Attributes
    ----------
    key : str
        Of the event, chosen by who sends it: it is stored once, however often it is sent.
    timestamp : int
        Unix seconds.
    """

    key: str
    user: Id
    item: Id
    rating: float
    timestamp: int


class StoreUnavailableError(Exception):
    """The database does not answer, or refused."""


class KeyTakenError(Exception):
    """A key was used before, for something else."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class EventStore:
    """Rating events in a database.

    The table ``rating_events`` has an event a row; the view ``ratings`` (``user_id``, ``item_id``, ``rating``,
    ``timestamp``) the last rating of each pair that was not undone, which is what `hyvae train` reads.

    Parameters
    ----------
    url : str
        SQLAlchemy's: ``sqlite:///events.db``, or ``postgresql://user:password@host/name``.
    integer_users, integer_items : bool
        Whether ids are integers, as in the run's vocabularies; else strings.

    Raises
    ------
    ConfigError
        A URL of another kind, or a driver that is not installed.
    DataError
        The database cannot be opened, or holds ids of another type.
    """

    def __init__(self, url: str, *, integer_users: bool, integer_items: bool) -> None:
        self.engine = _engine(url)
        self._sqlite = self.engine.dialect.name == "sqlite"
        self._insert: Any = sqlite.insert if self._sqlite else postgresql.insert
        tables = sa.MetaData()
        number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        text = sa.String(LONGEST_TEXT)
        self._events = sa.Table(
            "rating_events",
            tables,
            sa.Column("id", number, primary_key=True, autoincrement=True),
            sa.Column("key", text, nullable=False, unique=True),
            sa.Column("user_id", sa.BigInteger() if integer_users else text, nullable=False),
            sa.Column("item_id", sa.BigInteger() if integer_items else text, nullable=False),
            sa.Column("rating", sa.Float(53), nullable=False),
            sa.Column("timestamp", sa.BigInteger(), nullable=False),
            sa.Column("undone", sa.Boolean(), nullable=False, default=False),
            sa.Index("rating_events_of_user", "user_id", "item_id", "id"),
        )
        self._forgotten = sa.Table(
            "forgotten_users",
            tables,
            sa.Column("user_id", sa.BigInteger() if integer_users else text, primary_key=True, autoincrement=False),
            sa.Column("timestamp", sa.BigInteger(), nullable=False),
        )
        self._about = sa.Table(
            "hyvae_store", tables, sa.Column("name", sa.String(40), primary_key=True), sa.Column("value", text)
        )
        later = self._events.alias("later")
        event = self._events.alias("event")
        superseded = sa.exists().where(
            later.c.user_id == event.c.user_id,
            later.c.item_id == event.c.item_id,
            later.c.id > event.c.id,
            sa.not_(later.c.undone),
        )
        self._current = sa.select(event.c.user_id, event.c.item_id, event.c.rating, event.c.timestamp).where(
            sa.not_(event.c.undone), ~superseded
        )
        self._event = event
        wanted = {"schema": str(SCHEMA), "users": _kind(integer_users), "items": _kind(integer_items)}
        try:
            with self._writing() as connection:
                self._make(connection, tables, wanted)
                found = dict(connection.execute(sa.select(self._about.c.name, self._about.c.value)).all())
        except (SQLAlchemyError, StoreUnavailableError) as error:
            raise DataError(f"{self.name} cannot be opened as a store of ratings: {_reason(error)}") from error
        for name, value in wanted.items():
            if found.get(name) != value:
                raise DataError(
                    f"{self.name} was made for {name} {found.get(name)}, and the run has {value}; name another database"
                )

    @property
    def name(self) -> str:
        """The database, without password."""
        return self.engine.url.render_as_string(hide_password=True)

    def _make(self, connection: sa.Connection, tables: sa.MetaData, about: Mapping[str, str]) -> None:
        """Make the tables where they are not there; two services may start at once."""
        if not self._sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(7_294_611)))
        tables.create_all(connection)
        rows = [{"name": name, "value": value} for name, value in about.items()]
        connection.execute(self._insert(self._about).values(rows).on_conflict_do_nothing())
        view = self._current.compile(connection, compile_kwargs={"literal_binds": True})
        replace = "CREATE VIEW IF NOT EXISTS" if self._sqlite else "CREATE OR REPLACE VIEW"
        connection.exec_driver_sql(f"{replace} ratings AS {view}")

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with _available(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that is committed, and on the disk, when the block is left."""
        with _available(), self.engine.connect() as connection:
            writer = connection.execution_options(hyvae_writes=True)
            with writer.begin():
                yield writer

    def record(self, events: Sequence[RatingEvent]) -> int:
        """Store events, all or none; they are on the disk when this returns.

        Returns
        -------
        int
            How many were new. The others were stored before, by the same key.

        Raises
        ------
        KeyTakenError
            A key was used before for another user, item or rating.
        StoreUnavailableError
        """
        by_key: dict[str, RatingEvent] = {}
        for event in events:
            if _same(by_key.setdefault(event.key, event), event):
                continue
            raise KeyTakenError(event.key)
        table, columns = self._events, self._events.c
        rows = [
            {"key": e.key, "user_id": e.user, "item_id": e.item, "rating": e.rating, "timestamp": e.timestamp}
            | {"undone": False}
            for e in by_key.values()
        ]
        with self._writing() as connection:
            insert = self._insert(table).on_conflict_do_nothing(index_elements=[columns.key]).returning(columns.key)
            stored = len(connection.execute(insert, rows).all())
            if stored < len(rows):
                known = connection.execute(
                    sa.select(columns.key, columns.user_id, columns.item_id, columns.rating, columns.timestamp).where(
                        columns.key.in_(list(by_key))
                    )
                )
                for found in known:
                    if not _same(RatingEvent(*found), by_key[found.key]):
                        raise KeyTakenError(found.key)
        return stored

    def undo(self, key: str) -> RatingEvent | None:
        """Take an event back: what the user rated before counts again. Once more changes nothing.

        Returns
        -------
        RatingEvent or None
            What was undone; None where no event has the key.
        """
        columns = self._events.c
        with self._writing() as connection:
            connection.execute(sa.update(self._events).where(columns.key == key).values(undone=True))
            found = connection.execute(
                sa.select(columns.key, columns.user_id, columns.item_id, columns.rating, columns.timestamp).where(
                    columns.key == key
                )
            ).one_or_none()
        return None if found is None else RatingEvent(*found)

    def forget(self, user: Id) -> int:
        """Delete all that was stored of a user, and note that nothing of them is to be answered from.

        Returns
        -------
        int
            Events that were deleted.
        """
        with self._writing() as connection:
            gone = connection.execute(sa.delete(self._events).where(self._events.c.user_id == user)).rowcount
            insert = self._insert(self._forgotten).on_conflict_do_nothing()
            connection.execute(insert, {"user_id": user, "timestamp": int(time.time())})
        if self._sqlite:  # or the log still has the rows
            with self._reading() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return int(gone)

    def events_of(self, user: Id) -> list[tuple[RatingEvent, bool]]:
        """All events of a user, oldest first, and whether each was undone."""
        columns = self._events.c
        query = (
            sa.select(columns.key, columns.user_id, columns.item_id, columns.rating, columns.timestamp, columns.undone)
            .where(columns.user_id == user)
            .order_by(columns.id)
        )
        with self._reading() as connection:
            return [(RatingEvent(*row[:5]), bool(row[5])) for row in connection.execute(query)]

    def ratings_of(self, users: Sequence[Id]) -> dict[Id, dict[Id, float]]:
        """What each of some users has rated, by item: the last rating that was not undone."""
        query = self._current.where(self._event.c.user_id.in_(list(users)))
        found: dict[Id, dict[Id, float]] = defaultdict(dict)
        with self._reading() as connection:
            for user, item, rating, _ in connection.execute(query):
                found[user][item] = rating
        return found

    def forgotten(self, users: Sequence[Id]) -> set[Id]:
        """Those of some users who were forgotten."""
        column = self._forgotten.c.user_id
        with self._reading() as connection:
            return set(connection.scalars(sa.select(column).where(column.in_(list(users)))))

    def check(self) -> None:
        """Ask the database whether it answers."""
        with self._reading() as connection:
            connection.execute(sa.select(1))

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def _same(one: RatingEvent, other: RatingEvent) -> bool:
    """Whether an event was sent again: its time may be that of the sending."""
    return one[:4] == other[:4]


def _kind(integer: bool) -> str:
    return "integer" if integer else "string"


def _engine(address: str) -> sa.Engine:
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
            engine = sa.create_engine(url, connect_args={"timeout": PATIENCE})
            sa.event.listen(engine, "connect", _on_connect)
            sa.event.listen(engine, "begin", _on_begin)
            return engine
        return sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": PATIENCE})
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigError("the database is not a URL such as sqlite:///events.db or postgresql://…") from error
    except ImportError as error:
        raise ConfigError("PostgreSQL needs its driver: pip install 'hyvae[postgres]'") from error


def _on_connect(connection: Any, record: Any) -> None:
    # transactions begin when `_on_begin` says so, and not when the driver thinks that they should
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={1000 * PATIENCE}", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: sa.Connection) -> None:
    # a transaction that first reads and then writes could not wait for another's write
    writes = connection.get_execution_options().get("hyvae_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailableError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """One line, without the statement and its values: they are personal data."""
    original = getattr(error, "orig", None) or error
    return (str(original).strip().splitlines() or [type(original).__name__])[0][:200]
