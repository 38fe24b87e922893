"""The store of what users do: durable, idempotent, undone and forgotten, in both databases."""

import random
import string
import threading

import pytest
import sqlalchemy as sa

from hyvae import ConfigError, DataError, Ratings
from hyvae.serving.database import StoreUnavailableError
from hyvae.serving.events import EventStore, KeyTakenError, RatingEvent


def event(key, user=1, item=10, rating=4.0, timestamp=100):
    return RatingEvent(key, user, item, rating, timestamp)


@pytest.fixture
def store(database):
    store = EventStore(database, integer_users=True, integer_items=True)
    yield store
    store.close()


def test_the_last_rating_of_a_pair_counts(store):
    assert store.record([event("a"), event("b", item=11, rating=2.5), event("c", rating=1.0)]) == 3
    assert store.known([1, 2])[0] == {1: {10: 1.0, 11: 2.5}}


def test_an_event_sent_twice_is_stored_once(store):
    assert store.record([event("a"), event("a", timestamp=999)]) == 1
    assert store.record([event("a", timestamp=500), event("b", user=2)]) == 1
    assert [(e.key, e.timestamp) for e, _ in store.events_of(1)] == [("a", 100)]


@pytest.mark.parametrize("other", [{"rating": 3.0}, {"user": 2}, {"item": 11}])
def test_a_key_used_for_something_else_is_refused_and_nothing_stored(store, other):
    store.record([event("a")])
    with pytest.raises(KeyTakenError):
        store.record([event("new", user=5), event("a", **other)])
    with pytest.raises(KeyTakenError):
        store.record([event("new", user=5), event("new", user=5, **{"rating": 1.5})])
    assert store.known([1, 2, 5])[0] == {1: {10: 4.0}}


def test_undone_the_earlier_rating_counts_again(store):
    store.record([event("a", rating=4.0), event("b", rating=1.0)])
    assert store.undo("b") == event("b", rating=1.0)
    assert store.undo("b") == event("b", rating=1.0)
    assert store.known([1])[0] == {1: {10: 4.0}}
    assert store.undo("a") is not None
    assert store.known([1])[0] == {}
    assert [undone for _, undone in store.events_of(1)] == [True, True]
    assert store.undo("nothing") is None


def test_forgotten_nothing_of_a_user_is_left(store, database, tmp_path):
    store.record([event("a", user=424242), event("b", user=2)])
    assert store.forget(424242) == 1
    assert store.events_of(424242) == []
    assert store.known([424242, 2])[1] == {424242}
    assert store.known([424242, 2])[0] == {2: {10: 4.0}}
    assert store.forget(424242) == 0


def test_no_byte_of_a_forgotten_rating_is_left_in_the_file(tmp_path):
    store = EventStore(f"sqlite:///{tmp_path}/events.db", integer_users=False, integer_items=False)
    store.record([event(f"k{n}", user="someone-private", item=f"i{n}") for n in range(50)])
    store.record([event("other", user="other", item="i")])
    store.forget("someone-private")
    assert store.erase() is True
    rest = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    # the note that they are to be forgotten is the one place left
    assert rest.count(b"someone-private") <= 2
    assert b"k17" not in rest
    store.close()


def test_writers_at_the_same_time_lose_nothing(store, database):
    others = [EventStore(database, integer_users=True, integer_items=True) for _ in range(3)]

    def write(mine, number):
        for n in range(25):
            mine.record([event(f"{number}-{n}", user=number, item=n), event(f"shared-{n}", user=9, item=n)])

    threads = [threading.Thread(target=write, args=each) for each in zip(others, range(3), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, _ = store.known([0, 1, 2, 9])
    assert {user: len(items) for user, items in found.items()} == {0: 25, 1: 25, 2: 25, 9: 25}
    for other in others:
        other.close()


def test_training_reads_them_back(store, database):
    store.record([event("a"), event("b", user=2, rating=2.0), event("c", user=2, item=12, rating=5.0)])
    store.undo("c")
    driver = database.replace("postgresql://", "postgresql+psycopg://")
    ratings = Ratings.read(driver, query="select * from ratings")
    assert ratings.users.ids.tolist() == [1, 2]
    assert ratings.values.tolist() == [4.0, 2.0]
    assert ratings.timestamps.tolist() == [100, 100]


def test_strings_stay_strings(database):
    store = EventStore(database, integer_users=False, integer_items=False)
    store.record([event("a", user="007", item="x y")])
    assert store.known(["007", "7"])[0] == {"007": {"x y": 4.0}}
    store.close()
    again = EventStore(database, integer_users=False, integer_items=False)
    assert again.known(["007"])[0] == {"007": {"x y": 4.0}}
    again.close()


def test_a_store_of_other_ids_is_refused(store, database):
    with pytest.raises(DataError, match="users integer, and the run has string"):
        EventStore(database, integer_users=False, integer_items=True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://host/name", "not in mysql"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("nonsense", "not a URL"),
        ("foo://host", "not"),
    ],
)
def test_other_databases_are_refused_in_one_line(url, said):
    with pytest.raises(ConfigError, match=said):
        EventStore(url, integer_users=True, integer_items=True)


def test_what_cannot_be_opened_is_told_without_the_password(tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        EventStore(f"sqlite:///{tmp_path}/none/events.db", integer_users=True, integer_items=True)
    with pytest.raises(DataError) as told:
        EventStore("postgresql://me:secret@127.0.0.1:1/none", integer_users=True, integer_items=True)
    assert "secret" not in str(told.value)


def test_a_database_that_is_gone_is_told_as_such(store, database):
    if database.startswith("sqlite"):
        with store.database.engine.connect() as connection:
            connection.exec_driver_sql("DROP TABLE rating_events")
            connection.commit()
    else:
        with store.database.engine.connect() as connection:
            connection.execute(sa.text("DROP TABLE rating_events CASCADE"))
            connection.commit()
    with pytest.raises(StoreUnavailableError) as told:
        store.record([event("a", user=31415926)])
    assert "31415926" not in str(told.value)


def test_a_database_of_an_earlier_version_takes_longer_ids(postgres_database):
    database = postgres_database
    store = EventStore(database, integer_users=False, integer_items=False)
    with store.database.engine.begin() as connection:
        connection.exec_driver_sql("DROP VIEW ratings")
        for column in ("user_id", "item_id"):
            connection.exec_driver_sql(f"ALTER TABLE rating_events ALTER COLUMN {column} TYPE VARCHAR(200)")
        connection.exec_driver_sql("ALTER TABLE forgotten_users ALTER COLUMN user_id TYPE VARCHAR(200)")
    store.record([event("before", user="a", item="b")])
    store.close()
    again = EventStore(database, integer_users=False, integer_items=False)
    name = "".join(random.Random(0).choices(string.ascii_letters, k=1_000))
    assert again.record([event("after", user=name, item=name[::-1])]) == 1
    assert again.known(["a", name])[0] == {"a": {"b": 4.0}, name: {name[::-1]: 4.0}}
    assert again.forget(name) == 1
    again.close()
    ratings = Ratings.read(database.replace("postgresql://", "postgresql+psycopg://"), query="select * from ratings")
    assert ratings.users.ids.tolist() == ["a"]
