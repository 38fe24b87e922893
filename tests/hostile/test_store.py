"""The store under fire: nothing acknowledged is lost, nothing kept that is said to be gone, nothing told to anyone."""

import os
import random
import resource
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager
from urllib.parse import quote

import numpy as np
import pytest
import sqlalchemy as sa
from listening import TOKEN, WRITING, served

from hyvae import HyVAE, Ratings
from hyvae.cli.serve import serve
from hyvae.client import Client
from hyvae.errors import ConfigError, ServiceError
from hyvae.serving import keeping
from hyvae.serving import service as serving_module
from hyvae.serving.events import EventStore, RatingEvent
from hyvae.serving.settings import Settings

GIVEN = {"ratings": [{"item": 100, "rating": 5.0}], "n": 1}
PATIENCE = 30


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What is found out holds for no time, so that a test need not wait for the next look."""
    monkeypatch.setattr(keeping, "FRESH", 0.0)
    monkeypatch.setattr(keeping, "ERASING_PAUSE", 0.05)
    monkeypatch.setattr(serving_module, "PATIENCE", 0.3)


@pytest.fixture
def folder(tmp_path):
    """Where the database lies, alone."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def service(run, folder):
    with served(Settings(run=run, token=TOKEN, rate=0, database=f"sqlite:///{folder}/events.db")) as client:
        assert rate(client, "before").status_code == 201
        yield client


def rate(client, key, user=1, **more):
    event = {"user": user, "item": 100, "rating": 3.0, "key": key, **more}
    return client.post("/v1/ratings", json={"events": [event]}, headers=WRITING)


def until(holds):
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def another_store(folder):
    """The file of another store, closed."""
    beside = folder.with_name("another.db")
    EventStore(f"sqlite:///{beside}", integer_users=True, integer_items=True).close()
    return beside


def touched(file):
    file.touch()
    return file


@contextmanager
def immutable(folder):
    file = folder / "events.db"
    if (
        not shutil.which("chattr")
        or subprocess.run(["chattr", "+i", file], check=False, capture_output=True).returncode
    ):
        pytest.skip("files cannot be made immutable here")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", file], check=True)


@contextmanager
def full(folder):
    """No file may grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked(folder):
    with closing(sqlite3.connect(folder / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def dropped(folder, table="rating_events"):
    with closing(sqlite3.connect(folder / "events.db", isolation_level=None)) as other:
        other.execute(f"DROP TABLE {table}")


def once(happens):
    """A trouble that nobody takes back."""

    @contextmanager
    def trouble(folder):
        happens(folder)
        yield

    return trouble


LOST = "gone, replaced or overwritten"
#: what happens to the database, and what is said then
TROUBLES = {
    "deleted": (once(lambda folder: (folder / "events.db").unlink()), LOST),
    "moved": (once(lambda folder: (folder / "events.db").rename(folder / "elsewhere.db")), LOST),
    "folder deleted": (once(shutil.rmtree), LOST),
    "folder moved": (once(lambda folder: folder.rename(folder.with_name("elsewhere"))), LOST),
    "replaced by another": (once(lambda folder: another_store(folder).replace(folder / "events.db")), LOST),
    "replaced by an empty file": (once(lambda folder: touched(folder / "new.db").replace(folder / "events.db")), LOST),
    "another's bytes": (once(lambda folder: shutil.copyfile(another_store(folder), folder / "events.db")), LOST),
    "garbage": (once(lambda folder: (folder / "events.db").write_bytes(os.urandom(65_536))), LOST),
    "emptied": (once(lambda folder: os.truncate(folder / "events.db", 0)), LOST),
    "table dropped": (once(dropped), "lost a table"),
    "immutable": (immutable, "only be read"),
    "full": (full, "the disk"),
    "locked": (locked, "another process holds"),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_while_nothing_can_be_stored_nothing_is_acknowledged_and_readiness_says_why(service, folder, name, caplog):
    happens, said = TROUBLES[name]
    caplog.set_level("INFO", logger="hyvae.serving")
    assert service.get("/readyz").status_code == 200
    with happens(folder):
        for turn in range(2):
            stored = rate(service, f"{name}-{turn}")
            assert (stored.status_code, stored.json()["type"]) == (503, "/problems/store-unavailable")
            assert said in stored.json()["detail"]
            # one that is held is waited for, and not by who asks for readiness
            until(lambda: said in service.get("/readyz").json().get("detail", ""))
            ready = service.get("/readyz")
            assert ready.status_code == 503
            assert str(folder) not in ready.text + stored.text
        assert service.post("/v1/recommend", json=GIVEN).status_code == 200
    assert any(getattr(record, "facts", {}).get("reason") for record in caplog.records)


def test_readiness_knows_of_every_table(service, folder):
    dropped(folder, "forgotten_users")
    assert "lost a table" in service.get("/readyz").json()["detail"]


def test_what_passes_is_over_and_readiness_is_back(service, folder):
    with locked(folder):
        assert rate(service, "held").status_code == 503
        assert service.get("/readyz").status_code == 503
    assert rate(service, "held").status_code == 201
    until(lambda: service.get("/readyz").status_code == 200)


def test_what_was_moved_and_is_back_is_used(service, folder):
    (folder / "events.db").rename(folder / "elsewhere.db")
    assert rate(service, "refused").status_code == 503
    (folder / "elsewhere.db").rename(folder / "events.db")
    assert rate(service, "kept").status_code == 201
    assert [event["key"] for event in events_of(service, 1)] == ["before", "kept"]


def test_a_copy_in_its_place_is_not_mixed_with_the_log_of_another(service, folder):
    with closing(sqlite3.connect(folder / "events.db")) as other:
        other.execute("VACUUM INTO ?", [str(folder / "copy.db")])
    (folder / "copy.db").replace(folder / "events.db")
    copied = (folder / "events.db").read_bytes()
    assert [rate(service, f"lost-{turn}").status_code for turn in range(3)] == [503, 503, 503]
    assert (folder / "events.db").read_bytes() == copied


def test_a_log_deleted_under_the_service_loses_nothing(service, folder):
    (folder / "events.db-wal").unlink()
    assert rate(service, "refused").status_code == 503
    # as kill -9 leaves it
    left = folder.with_name("left.db")
    shutil.copyfile(folder / "events.db", left)
    again = EventStore(f"sqlite:///{left}", integer_users=True, integer_items=True)
    assert [event.key for event, _ in again.events_of(1)] == ["before"]
    again.close()


@pytest.mark.parametrize(
    ("statement", "said"),
    [("DROP TABLE rating_events CASCADE", "lost a table"), ("LOCK TABLE rating_events", "another process holds")],
)
def test_so_it_is_in_postgresql(run, postgres_database, statement, said):
    settings = Settings(run=run, token=TOKEN, rate=0, timeout=1, database=postgres_database)
    engine = sa.create_engine(postgres_database.replace("postgresql:", "postgresql+psycopg:"))
    with served(settings) as client, engine.connect() as other:
        assert client.get("/readyz").status_code == 200
        other.exec_driver_sql(statement)
        if "DROP" in statement:
            other.commit()
        stored = rate(client, "a")
        assert (stored.status_code, said in stored.json()["detail"]) == (503, True)
        assert said in client.get("/readyz").json()["detail"]
    engine.dispose()


def events_of(client, user):
    return client.get(f"/v1/users/{user}/ratings", headers=WRITING).json()["events"]


class TestForgetting:
    def forget(self, client):
        return client.delete("/v1/users/31415926", headers=WRITING)

    def stored(self, folder, what=b"PRIVATE"):
        return sum(file.read_bytes().count(what) for file in folder.iterdir())

    @pytest.fixture
    def service(self, service, folder):
        assert rate(service, "PRIVATE", user=31415926).status_code == 201
        assert self.stored(folder)
        return service

    def test_it_is_erased(self, service, folder):
        forgotten = self.forget(service)
        assert (forgotten.status_code, forgotten.json()["erased"], forgotten.json()["events"]) == (200, True, 1)
        assert not self.stored(folder)

    def test_while_another_process_reads_the_log_it_is_said_and_done_later(self, service, folder, caplog):
        with closing(sqlite3.connect(folder / "events.db", isolation_level=None)) as other:
            other.execute("BEGIN")
            other.execute("SELECT * FROM rating_events").fetchone()
            forgotten = self.forget(service)
            assert (forgotten.status_code, forgotten.json()["erased"], forgotten.json()["events"]) == (202, False, 1)
            assert events_of(service, 31415926) == []
            assert self.stored(folder)
            # asked again, there is nothing to delete and still something to erase
            assert (self.forget(service).status_code, self.forget(service).json()["events"]) == (202, 0)
        until(lambda: not self.stored(folder))
        assert self.forget(service).status_code == 200
        assert "emptied yet" in caplog.text

    def test_while_another_process_writes_nothing_is_gone_and_that_is_said(self, service, folder):
        with locked(folder):
            refused = self.forget(service)
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-unavailable")
        assert len(events_of(service, 31415926)) == 1

    def test_what_a_killed_process_had_still_to_erase_is_erased_at_the_start(self, run, tmp_path):
        folder = tmp_path / "killed"
        folder.mkdir()
        url = f"sqlite:///{folder}/events.db"
        store = EventStore(url, integer_users=True, integer_items=True)
        store.record([RatingEvent("PRIVATE", 1, 100, 3.0, 0)])
        store.forget(1)
        # as a process leaves it that has no time to close it
        left = shutil.copytree(folder, tmp_path / "left")
        store.close()
        assert self.stored(left)
        again = EventStore(f"sqlite:///{left}/events.db", integer_users=True, integer_items=True)
        assert not self.stored(left)
        again.close()

    def test_pages_that_were_split_keep_nothing(self, folder):
        store = EventStore(f"sqlite:///{folder}/split.db", integer_users=False, integer_items=False)
        rng = random.Random(0)
        for batch in range(20):
            events = []
            for place in range(100):
                private = rng.random() < 0.1
                user = "PRIVATE" if private else f"user-{rng.randrange(100)}-{'x' * rng.randrange(60)}"
                key = f"{'PRIVATE' if private else 'key'}-{rng.getrandbits(60):x}-{batch}-{place}"
                events.append(RatingEvent(key, user, f"item-{rng.randrange(500)}", 3.0, batch))
            store.record(events)
        assert store.forget("PRIVATE") > 100
        assert store.erase() is True
        # that they are forgotten is noted, in a table and its index
        assert self.stored(folder) == 2
        store.close()


@pytest.fixture(scope="module")
def reading(run):
    with served(Settings(run=run, token=TOKEN, read_token="for-reading-only", rate=0)) as client:
        yield client


RATED = [{"user": 103, "item": 109}, {"user": "103", "item": 109, "n": 50}]


class TestWhatTheTokenProtects:
    @pytest.mark.parametrize("ask", RATED)
    @pytest.mark.parametrize("token", [None, "wrong", "for-reading-only"])
    def test_ratings_of_a_user_are_explained_to_nobody_without_it(self, reading, ask, token):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        refused = reading.post("/v1/explain", json=ask, headers=headers)
        assert (refused.status_code, "reasons" in refused.text) == (401, False)

    @pytest.mark.parametrize("ask", RATED)
    def test_with_it_they_are(self, reading, ask):
        assert reading.post("/v1/explain", json=ask, headers=WRITING).json()["reasons"]

    def test_given_ratings_are_explained_to_who_gave_them(self, reading):
        given = [{"item": item, "rating": 4.0} for item in (100, 103)]
        headers = {"authorization": "Bearer for-reading-only"}
        assert reading.post("/v1/explain", json={"ratings": given, "item": 109}, headers=headers).json()["reasons"]

    @pytest.mark.parametrize("path", ["/metrics", "/v1/model"])
    def test_a_name_that_was_made_to_lead_here_is_refused(self, reading, path):
        assert reading.get(path, headers={"host": "evil.example"}).status_code == 421

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_a_balancer_may_call_it_as_it_likes(self, reading, path):
        assert reading.get(path, headers={"host": "evil.example"}).status_code == 200


FORGED = [
    lambda n: {"x-forwarded-for": f"10.0.0.{n}"},
    lambda n: {"x-forwarded-for": f"10.0.0.{n}, 127.0.0.1"},
    lambda n: {"x-forwarded-for": "", "x-real-ip": f"10.0.0.{n}", "forwarded": f"for=10.0.0.{n}"},
]


class TestWhoAsks:
    def statuses(self, run, headers):
        with served(Settings(run=run, rate=0.01, burst=2)) as client:
            return [client.post("/v1/recommend", json=GIVEN, headers=headers(n)).status_code for n in range(4)]

    @pytest.mark.parametrize("headers", FORGED)
    def test_no_header_makes_another_of_whoever_asks(self, run, headers, monkeypatch):
        monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
        assert self.statuses(run, headers)[-1] == 429

    def test_a_proxy_that_is_named_is_believed(self, run, monkeypatch):
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
        assert self.statuses(run, FORGED[0]) == [200] * 4


#: what Python, or a database, takes for the user 10
NO_TEN = ["1_0", " 10", "10 ", "١٠", "+10", "010", "10.0", "1e1", "99999999999999999999", "-9223372036854775809"]


#: what must come through an address as it is
KEYS = [".", "..", "...", "a/..", "../..", "/", "a//b", "%2e%2e", "%", "?x#y", ";a=b", "a b", "é", "\\", "..;", "+"]


@pytest.fixture(scope="module")
def storing(run, tmp_path_factory):
    database = f"sqlite:///{tmp_path_factory.mktemp('ids')}/events.db"
    with served(Settings(run=run, token=TOKEN, rate=0, database=database)) as client:
        assert rate(client, "ten", user=10).status_code == 201
        yield client


class TestIds:
    @pytest.mark.parametrize("name", NO_TEN)
    def test_another_way_to_write_an_integer_is_another_id(self, storing, name):
        address = f"/v1/users/{quote(name)}"
        answers = [
            storing.post("/v1/recommend", json={"user": name}),
            storing.post("/v1/predict", json={"user": name, "items": [100]}),
            storing.post("/v1/predict/pairs", json={"pairs": [{"user": name, "item": 100}]}),
            storing.post("/v1/recommend/batch", json={"requests": [{"user": name}]}),
            storing.post("/v1/explain", json={"user": name, "item": 100}, headers=WRITING),
            rate(storing, f"of {name}", user=name),
            storing.get(f"{address}/ratings", headers=WRITING),
            storing.delete(address, headers=WRITING),
        ]
        assert {answer.status_code for answer in answers} <= {404, 422}, [answer.text for answer in answers]
        assert len(events_of(storing, 10)) == 1

    @pytest.mark.parametrize("name", ["1_00", " 100", "١٠٠", "+100", "0100"])
    def test_so_it_is_of_items(self, storing, name):
        assert storing.get(f"/v1/items/{quote(name)}/similar").status_code == 404
        assert storing.post("/v1/predict", json={"user": 103, "items": [name]}).status_code == 404
        assert rate(storing, f"item {name}", item=name).status_code == 404

    @pytest.mark.parametrize(("given", "expected"), [({"timestamp": 0}, 0), ({"timestamp": 7}, 7)])
    def test_a_time_that_is_given_is_kept(self, storing, given, expected):
        user = 1_000 + expected
        assert rate(storing, f"time-{expected}", user=user, **given).status_code == 201
        assert [event["timestamp"] for event in events_of(storing, user)] == [expected]

    def test_without_one_it_is_now(self, storing):
        assert rate(storing, "now", user=2_000, timestamp=None).status_code == 201
        assert abs(events_of(storing, 2_000)[0]["timestamp"] - time.time()) < 3_600

    @pytest.mark.parametrize("key", KEYS)
    def test_a_client_undoes_whatever_key_it_used(self, storing, key):
        with Client(str(storing.base_url), token=TOKEN) as client:
            assert client.rate(3_000, 100, 4.0, key=key) == key
            assert client.undo(key)["key"] == key
            with pytest.raises(ServiceError, match="no rating was stored"):
                client.undo(key + "x")

    def test_an_empty_key_is_not_another_one_made_up(self, storing):
        with Client(str(storing.base_url), token=TOKEN) as client, pytest.raises(ServiceError, match="key"):
            client.rate(3_000, 100, 4.0, key="")

    def test_names_that_train_are_answered_whatever_they_are(self, tmp_path):
        names = [
            "..",
            ".",
            "a/../b",
            "x" * 1_000,
            "é" * 500,
            "non\u00a0breaking",
            "wide\u3000space",
            "\U0001f468\u200d\U0001f469",
        ]
        rng = np.random.default_rng(0)
        rows = [
            (f"{names[place % 8]}", f"{names[other]}", float(rng.integers(1, 6)))
            for place in range(8)
            for other in range(8)
        ]
        users, items, values = zip(*rows, strict=True)
        HyVAE(preset="fast", epochs=1).fit(Ratings.from_arrays(users, items, values), progress=False).save(
            tmp_path / "run"
        )
        settings = Settings(run=tmp_path / "run", token=TOKEN, rate=0, database=f"sqlite:///{tmp_path}/events.db")
        with served(settings) as service, Client(str(service.base_url), token=TOKEN) as client:
            for name in names:
                assert client.recommend(name, include_seen=True)
                assert client.similar(name)
                client.rate(name, name, 2.0)
                assert [event["item"] for event in client.ratings(name)] == [name]
                assert client.forget(name)["events"] == 1


#: for HYVAE_TOKEN and HYVAE_READ_TOKEN
TOKENS = {
    "short": "could be guessed",
    "x": "could be guessed",
    " " * 20: "has blanks",
    "sixteen letters and more": "has blanks",
    "sixteen-letters-\n": "has blanks",
    "sixteen-letters-é": "other than ASCII's",
    "sixteen-letters-\u0661": "other than ASCII's",
}


@pytest.mark.parametrize("token", TOKENS)
@pytest.mark.parametrize("name", ["HYVAE_TOKEN", "HYVAE_READ_TOKEN"])
def test_a_token_that_is_none_is_refused_at_the_start(run, name, token, monkeypatch):
    monkeypatch.setenv("HYVAE_TOKEN", TOKEN)
    monkeypatch.setenv(name, token)
    with pytest.raises(ConfigError, match=f"{name} .*{TOKENS[token]}"):
        serve(run)


def test_who_reads_must_not_be_who_writes(run, monkeypatch):
    monkeypatch.setenv("HYVAE_TOKEN", TOKEN)
    monkeypatch.setenv("HYVAE_READ_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match="whoever reads could write"):
        serve(run)


@pytest.mark.parametrize("token", [" ", "a b", "é", "a\n"])
def test_a_client_refuses_a_token_that_no_request_carries(token):
    with pytest.raises(ConfigError, match="token") as told:
        Client(token=token)
    assert token.strip() == "" or token not in str(told.value)
