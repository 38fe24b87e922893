"""Every route under the same fire: ids that no integer holds, more than may be asked for, a store that does not answer.

`ROUTES` lists each route with a request in which `ID` stands where a caller may write an id. A new route that is not
listed fails the first test.
"""

import asyncio
import json
import threading
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from listening import TOKEN, WRITING

from hyvae.serving import keeping, limits
from hyvae.serving import service as service_module
from hyvae.serving.app import create_app
from hyvae.serving.database import StoreUnavailableError
from hyvae.serving.engine import Engine
from hyvae.serving.settings import Settings
from hyvae.titles import TitleIndex

ID, KNOWN = "<an id>", 100
RATED = [{"item": KNOWN, "rating": 5}]
EVENT = {"user": 7, "item": KNOWN, "rating": 3, "key": "k"}


class Ask(NamedTuple):
    """A request of a route, and whether it needs the store where `ID` is a known one."""

    method: str
    path: str
    body: Any = None
    store: bool = False


ROUTES: dict[tuple[str, str], list[Ask]] = {
    ("POST", "/v1/recommend"): [
        Ask("POST", "/v1/recommend", {"user": ID}, store=True),
        Ask("POST", "/v1/recommend", {"ratings": [{"item": ID, "rating": 5}]}),
        Ask("POST", "/v1/recommend", {"ratings": RATED, "allow": [ID]}),
        Ask("POST", "/v1/recommend", {"ratings": RATED, "deny": [ID]}),
    ],
    ("POST", "/v1/recommend/batch"): [
        Ask("POST", "/v1/recommend/batch", {"requests": [{"user": ID}]}, store=True),
        Ask("POST", "/v1/recommend/batch", {"requests": [{"ratings": RATED, "deny": [ID]}]}),
    ],
    ("POST", "/v1/predict"): [
        Ask("POST", "/v1/predict", {"user": ID, "items": [KNOWN]}, store=True),
        Ask("POST", "/v1/predict", {"ratings": RATED, "items": [ID]}),
    ],
    ("POST", "/v1/predict/batch"): [
        Ask("POST", "/v1/predict/batch", {"requests": [{"user": ID, "items": [KNOWN]}]}, store=True),
        Ask("POST", "/v1/predict/batch", {"requests": [{"ratings": RATED, "items": [ID]}]}),
    ],
    ("POST", "/v1/predict/pairs"): [
        Ask("POST", "/v1/predict/pairs", {"pairs": [{"user": ID, "item": KNOWN}]}, store=True),
        Ask("POST", "/v1/predict/pairs", {"pairs": [{"user": KNOWN, "item": ID}]}, store=True),
    ],
    ("POST", "/v1/explain"): [
        Ask("POST", "/v1/explain", {"user": ID, "item": 103}, store=True),
        Ask("POST", "/v1/explain", {"ratings": [{"item": 103, "rating": 5}, {"item": 106, "rating": 4}], "item": ID}),
    ],
    ("GET", "/v1/items"): [Ask("GET", f"/v1/items?query={ID}")],
    ("GET", "/v1/items/{item}/similar"): [Ask("GET", f"/v1/items/{ID}/similar")],
    ("GET", "/v1/map"): [Ask("GET", "/v1/map")],
    ("GET", "/v1/model"): [Ask("GET", "/v1/model")],
    ("POST", "/v1/ratings"): [
        Ask("POST", "/v1/ratings", {"events": [{**EVENT, "user": ID}]}, store=True),
        Ask("POST", "/v1/ratings", {"events": [{**EVENT, "item": ID}]}, store=True),
    ],
    ("DELETE", "/v1/ratings/{key}"): [Ask("DELETE", f"/v1/ratings/{ID}", store=True)],
    ("GET", "/v1/users/{user}/ratings"): [Ask("GET", f"/v1/users/{ID}/ratings", store=True)],
    ("DELETE", "/v1/users/{user}"): [Ask("DELETE", f"/v1/users/{ID}", store=True)],
    ("POST", "/v1/admin/reload"): [Ask("POST", "/v1/admin/reload")],
    ("GET", "/healthz"): [Ask("GET", "/healthz")],
    ("GET", "/readyz"): [Ask("GET", "/readyz", store=True)],
    ("GET", "/metrics"): [Ask("GET", "/metrics")],
}
ASKS = [ask for asks in ROUTES.values() for ask in asks]
WITH_ID = [ask for ask in ASKS if ID in ask.path or ID in json.dumps(ask.body)]
BEYOND = [2**63, -(2**63) - 1, 10**19, "99999999999999999999", "-99999999999999999999", "9" * 199]
STRANGE: list[Any] = [
    "nan",
    "1e400",
    "0x10",
    "' OR 1=1 --",
    "../../config.json",
    "%00",
    "\u202e",
    "x" * 5_000,
    "",
    1.5,
    True,
    None,
]


def filled(ask: Ask, id_: Any) -> tuple[str, Any]:
    """The path and the body of a request with an id in them."""
    body = None if ask.body is None else json.loads(json.dumps(ask.body).replace(json.dumps(ID), json.dumps(id_)))
    return ask.path.replace(ID, str(id_)), body


class Client(NamedTuple):
    """Asks an application in this process, from an address."""

    app: FastAPI
    portal: BlockingPortal
    address: str = "127.0.0.1"

    async def ask(self, method: str, path: str, body: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(self.address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=WRITING) as http:
            return await http.request(method, path, json=body)

    def request(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return self.portal.call(self.ask, method, path, body)

    def at_once(self, asks: list[Ask], id_: Any) -> list[httpx.Response]:
        begun = [self.portal.start_task_soon(self.ask, ask.method, *filled(ask, id_)) for ask in asks]
        return [each.result() for each in begun]


def sent(client: Client, ask: Ask, id_: Any = KNOWN) -> Any:
    return client.request(ask.method, *filled(ask, id_))


@contextmanager
def asked(settings: Settings):
    """A client of a new application."""
    app = create_app(settings)
    with start_blocking_portal() as portal:
        yield Client(app, portal)
    app.state.service.close()


@pytest.fixture(scope="module")
def settings(run, tmp_path_factory) -> Settings:
    database = f"sqlite:///{tmp_path_factory.mktemp('hostile')}/events.db"
    return Settings(run=run, token=TOKEN, rate=0, database=database)


@pytest.fixture(scope="module")
def client(settings):
    with asked(settings) as client:
        yield client


def test_every_route_is_listed(client):
    paths = client.request("GET", "/openapi.json").json()["paths"]
    there = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert there == set(ROUTES)


@pytest.mark.parametrize("id_", BEYOND, ids=str)
@pytest.mark.parametrize("ask", WITH_ID, ids=lambda ask: f"{ask.method} {ask.path} {json.dumps(ask.body)}")
def test_an_id_that_no_integer_holds_is_unknown_or_refused(client, ask, id_):
    answer = sent(client, ask, id_)
    # a search for it finds nothing
    assert answer.status_code in ((200,) if ask.path.startswith("/v1/items?") else (404, 422)), answer.text
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("id_", STRANGE, ids=lambda id_: repr(id_)[:20])
@pytest.mark.parametrize("ask", WITH_ID, ids=lambda ask: f"{ask.method} {ask.path} {json.dumps(ask.body)}")
def test_no_id_makes_the_service_fail(client, ask, id_):
    assert sent(client, ask, id_).status_code < 500


# -- one question's failure is its own ----------------------------------------------------------------------


def test_an_exception_reaches_its_own_question_only(settings, monkeypatch):
    answered = Engine.answer

    def failing(self, questions, known):
        if any(question.n == 13 for question in questions):
            raise RuntimeError("unforeseen")
        return answered(self, questions, known)

    monkeypatch.setattr(Engine, "answer", failing)
    with asked(settings) as client:
        service = client.app.state.service

        async def ask() -> list[Any]:
            questions = [service_module.schemas.RecommendRequest(user=KNOWN, n=n) for n in (1, 2, 13, 3, 4, 5, 6)]
            return await service_module._settled(await service._asked(questions))

        answers = client.portal.call(ask)
    failed = [isinstance(answer, Exception) for answer in answers]
    assert failed == [False, False, True, False, False, False, False]
    assert [len(json.loads(a)["recommendations"]) for a in answers if isinstance(a, bytes)] == [1, 2, 3, 4, 5, 6]


# -- what a request may ask for -----------------------------------------------------------------------------


def lists(number: int, **more: Any) -> Ask:
    return Ask("POST", "/v1/recommend/batch", {"requests": [{"ratings": RATED, **more}] * number})


def predictions(number: int, items: int, **more: Any) -> Ask:
    one = {"ratings": RATED, "items": [KNOWN] * items, **more}
    return Ask("POST", "/v1/predict/batch", {"requests": [one] * number})


@pytest.mark.parametrize(
    ("ask", "kind"),
    [
        (lists(100, n=500, diversity=0.5), "too-much-work"),
        (lists(100, n=500), "too-much-work"),
        (predictions(100, 300), "too-much-work"),
        (predictions(20, 1_000, distribution=True), "too-much-work"),
        (predictions(100, 1_000, distribution=True), "too-large"),
        (Ask("POST", "/v1/recommend", {"ratings": [[]] * 20_000}), "too-large"),
        (Ask("POST", "/v1/recommend", {"ratings": RATED, "deny": [KNOWN] * 50_000}), "too-large"),
        (Ask("POST", "/v1/ratings", {"events": [EVENT] * 12_000}), "too-large"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.path,
)
def test_more_than_a_request_may_ask_for_is_refused_in_one_line(client, ask, kind):
    answer = sent(client, ask)
    assert (answer.status_code, answer.json()["type"]) == (413, f"/problems/{kind}")
    assert "send" in answer.json()["detail"]


@pytest.mark.parametrize(
    "ask",
    [
        lists(100, n=100),
        predictions(100, 100),
        predictions(1, 1_000, distribution=True),
        Ask("POST", "/v1/predict/pairs", {"pairs": [{"user": 100, "item": KNOWN}] * 1_000, "distribution": True}),
    ],
    ids=lambda ask: ask.path,
)
def test_what_the_documentation_allows_is_answered(client, ask):
    assert sent(client, ask).status_code == 200


def test_all_that_is_one_request_fits():
    pairs = [service_module.schemas.PredictRequest(user=1, items=[1], distribution=True)] * 1_000
    limits.check_work(sum(limits.work_of(each, 0) for each in pairs))


@pytest.mark.parametrize(
    "ask",
    [lists(100, n=100), predictions(50, 50), ASKS[0]._replace(body={"ratings": [[]] * 5_000})],
    ids=["lists", "predictions", "refused"],
)
def test_work_is_charged_to_the_address_that_asks_for_it(settings, ask):
    limited = settings.model_copy(update={"rate": 0.001, "burst": 10})
    with asked(limited) as client:
        light = lists(1, n=1)
        assert [sent(client, light).status_code for _ in range(3)] == [200] * 3
        sent(client, ask)
        refused = sent(client, light)
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
        assert sent(client._replace(address="127.0.0.2"), light).status_code == 200


def test_similar_titles_are_looked_for_once_a_request(settings, monkeypatch):
    looked = []
    monkeypatch.setattr(TitleIndex, "similar", lambda self, text, n=3: looked.append(text) or ["Film 1"])
    unknown = {"ratings": [{"item": "no such film", "rating": 5}]}
    with asked(settings) as client:
        answer = client.request("POST", "/v1/recommend/batch", {"requests": [unknown] * 100})
    assert answer.status_code == 404
    assert answer.json()["errors"][0]["field"] == "requests.0.ratings.0.item"
    assert "did you mean 'Film 1'" in answer.json()["detail"]
    assert looked == ["no such film"]


# -- a store that does not answer ---------------------------------------------------------------------------


@pytest.fixture(params=["refuses", "hangs"])
def troubled(request, run, tmp_path, monkeypatch):
    """The service when no question to its store is answered."""
    monkeypatch.setattr(keeping, "LONGEST_WAIT", 0.05)
    released = threading.Event()

    def fail(*given, **named):
        if request.param == "hangs":
            released.wait(30)
        raise StoreUnavailableError("it is gone")

    settings = Settings(run=run, token=TOKEN, rate=0, database=f"sqlite:///{tmp_path}/events.db", timeout=0.4)
    with asked(settings) as client:
        store = client.app.state.service.store
        for name in ("record", "undo", "forget", "events_of", "known", "can_write"):
            monkeypatch.setattr(store, name, fail)
        yield client
        released.set()


def test_trouble_in_the_store_reaches_only_questions_that_need_it(troubled):
    found = {
        (ask.method, ask.path, json.dumps(ask.body)): answer.status_code
        for ask, answer in zip(ASKS, troubled.at_once(ASKS, KNOWN), strict=True)
    }
    assert found == {(ask.method, ask.path, json.dumps(ask.body)): 503 if ask.store else 200 for ask in ASKS}


def test_however_many_ask_whether_it_is_ready_the_store_is_asked_once(settings, monkeypatch):
    asked_store, released = [], threading.Event()
    with asked(settings) as client:
        service = client.app.state.service
        monkeypatch.setattr(service.store, "can_write", lambda: asked_store.append(1) or released.wait(30))

        async def ask() -> None:
            waiting = asyncio.gather(*(service.ready() for _ in range(20)))
            await asyncio.sleep(0.05)
            released.set()
            await waiting

        client.portal.call(ask)
    assert asked_store == [1]
