"""What users do, kept durably: ratings given, undone and forgotten; in SQLite, or PostgreSQL by its URL."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from hyvae.errors import DataError
from hyvae.ratings import LONGEST_ID, Id
from hyvae.serving.database import PATIENCE, Database, StoreUnavailableError

SCHEMA = 1
LONGEST_KEY = 200


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
    patience : float, default 5
        Seconds for which a transaction waits for another one's.

    Raises
    ------
    ConfigError
        A URL of another kind, or a driver that is not installed.
    DataError
        The database cannot be opened, or holds ids of another type.
    """

    def __init__(self, url: str, *, integer_users: bool, integer_items: bool, patience: float = PATIENCE) -> None:
        self.database = Database(url, patience=patience)
        self._insert: Any = sqlite.insert if self.database.is_sqlite else postgresql.insert
        tables = sa.MetaData()
        number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
        text, id_text = sa.String(LONGEST_KEY), sa.String(LONGEST_ID)
        self._events = sa.Table(
            "rating_events",
            tables,
            sa.Column("id", number, primary_key=True, autoincrement=True),
            sa.Column("key", text, nullable=False, unique=True),
            sa.Column("user_id", sa.BigInteger() if integer_users else id_text, nullable=False),
            sa.Column("item_id", sa.BigInteger() if integer_items else id_text, nullable=False),
            sa.Column("rating", sa.Float(53), nullable=False),
            sa.Column("timestamp", sa.BigInteger(), nullable=False),
            sa.Column("undone", sa.Boolean(), nullable=False, default=False),
            sa.Index("rating_events_of_user", "user_id", "item_id", "id"),
        )
        self._forgotten = sa.Table(
            "forgotten_users",
            tables,
            sa.Column("user_id", sa.BigInteger() if integer_users else id_text, primary_key=True, autoincrement=False),
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
        # one statement, made once: to make it anew, or ask two, takes as long again; who is forgotten has no item
        among: sa.BindParameter[Any] = sa.bindparam("users", expanding=True)
        gone = self._forgotten.c.user_id
        self._known_of = sa.union_all(
            self._current.with_only_columns(event.c.user_id, event.c.item_id, event.c.rating).where(
                event.c.user_id.in_(among)
            ),
            sa.select(gone, sa.null(), sa.null()).where(gone.in_(among)),
        )
        wanted = {"schema": str(SCHEMA), "users": _kind(integer_users), "items": _kind(integer_items)}
        name = self.database.name
        try:
            with self.database.writing() as connection:
                self._make(connection, tables, {**wanted, "stamp": uuid.uuid4().hex})
                found = dict(connection.execute(sa.select(self._about.c.name, self._about.c.value)).all())
            self.database.keep_to(found["stamp"])
        except StoreUnavailableError as error:
            raise DataError(f"{name} cannot be opened as a store of ratings: {error}") from error
        for about, value in wanted.items():
            if found.get(about) != value:
                raise DataError(
                    f"{name} was made for {about} {found.get(about)}, and the run has {value}; name another database"
                )

    def _make(self, connection: sa.Connection, tables: sa.MetaData, about: Mapping[str, str]) -> None:
        """Make the tables where they are not there; two services may start at once."""
        if not self.database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(7_294_611)))
        tables.create_all(connection)
        rows = [{"name": name, "value": value} for name, value in about.items()]
        connection.execute(self._insert(self._about).values(rows).on_conflict_do_nothing())
        if not self.database.is_sqlite:
            self._widen(connection)
        view = self._current.compile(connection, compile_kwargs={"literal_binds": True})
        replace = "CREATE VIEW IF NOT EXISTS" if self.database.is_sqlite else "CREATE OR REPLACE VIEW"
        connection.exec_driver_sql(f"{replace} ratings AS {view}")

    def _widen(self, connection: sa.Connection) -> None:
        """Let a database of an earlier version take ids as long as they may be now."""
        for column in (self._events.c.user_id, self._events.c.item_id, self._forgotten.c.user_id):
            found = sa.inspect(connection).get_columns(column.table.name)
            length = next(getattr(each["type"], "length", None) for each in found if each["name"] == column.name)
            if length is not None and length < LONGEST_ID:
                # the view, which is made again, holds its columns fast
                connection.exec_driver_sql("DROP VIEW IF EXISTS ratings")
                connection.exec_driver_sql(
                    f"ALTER TABLE {column.table.name} ALTER COLUMN {column.name} TYPE VARCHAR({LONGEST_ID})"
                )

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
        with self.database.writing() as connection:
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
        with self.database.writing() as connection:
            connection.execute(sa.update(self._events).where(columns.key == key).values(undone=True))
            found = connection.execute(
                sa.select(columns.key, columns.user_id, columns.item_id, columns.rating, columns.timestamp).where(
                    columns.key == key
                )
            ).one_or_none()
        return None if found is None else RatingEvent(*found)

    def forget(self, user: Id) -> int:
        """Delete all that was stored of a user, and note that nothing of them is to be answered from.

        The rows are gone when this returns. `erase` takes them out of the database's files.

        Returns
        -------
        int
            Events that were deleted.

        Raises
        ------
        StoreUnavailableError
            Nothing was deleted.
        """
        with self.database.writing() as connection:
            gone = connection.execute(sa.delete(self._events).where(self._events.c.user_id == user)).rowcount
            insert = self._insert(self._forgotten).on_conflict_do_nothing()
            connection.execute(insert, {"user_id": user, "timestamp": int(time.time())})
        return int(gone)

    def erase(self) -> bool | None:
        """Take deleted rows out of SQLite's log; its file has overwritten them.

        Returns
        -------
        bool or None
            False where another process still reads from the log: ask again. None where the database is PostgreSQL,
            which overwrites deleted rows when it needs their place.

        Raises
        ------
        StoreUnavailableError
        """
        return self.database.empty_log()

    def events_of(self, user: Id) -> list[tuple[RatingEvent, bool]]:
        """All events of a user, oldest first, and whether each was undone."""
        columns = self._events.c
        query = (
            sa.select(columns.key, columns.user_id, columns.item_id, columns.rating, columns.timestamp, columns.undone)
            .where(columns.user_id == user)
            .order_by(columns.id)
        )
        with self.database.reading() as connection:
            return [(RatingEvent(*row[:5]), bool(row[5])) for row in connection.execute(query)]

    def known(self, users: Sequence[Id]) -> tuple[dict[Id, dict[Id, float]], set[Id]]:
        """What is known of some users.

        Returns
        -------
        ratings : dict
            What each has rated, by item: the last rating that was not undone.
        forgotten : set
            Those who were forgotten.
        """
        ratings: dict[Id, dict[Id, float]] = defaultdict(dict)
        forgotten: set[Id] = set()
        with self.database.reading() as connection:
            for user, item, rating in connection.execute(self._known_of, {"users": list(users)}):
                if item is None:
                    forgotten.add(user)
                else:
                    ratings[user][item] = rating
        return ratings, forgotten

    def can_write(self) -> None:
        """Write into the database, as a rating does.

        Raises
        ------
        StoreUnavailableError
            It cannot be written.
        """
        now = {"name": "written", "value": str(int(time.time()))}
        with self.database.writing() as connection:
            for table in (self._events, self._forgotten):
                connection.execute(sa.select(*table.c).limit(1))
            insert = self._insert(self._about).values(now)
            connection.execute(insert.on_conflict_do_update(index_elements=[self._about.c.name], set_=now))

    def close(self) -> None:
        """Let go of all connections."""
        self.database.close()


def _same(one: RatingEvent, other: RatingEvent) -> bool:
    """Whether an event was sent again: its time may be that of the sending."""
    return one[:4] == other[:4]


def _kind(integer: bool) -> str:
    return "integer" if integer else "string"
