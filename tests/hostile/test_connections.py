"""Connections that harm: each is bounded before the application sees a request, and honest ones are answered beside."""

import gc
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from listening import served

from hyvae.serving.connections import Bounded
from hyvae.serving.settings import Settings

pytestmark = pytest.mark.integration

#: seconds that the service gives a request; it looks at its connections twice a second
TIMEOUT = 0.3
SOON = 20
HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = HEAD + b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
MODEL = b"GET /v1/model HTTP/1.1\r\nhost: localhost\r\n\r\n"
MAP = b"GET /v1/map HTTP/1.1\r\nhost: localhost\r\n\r\n"
MOST_EACH = 5


@pytest.fixture(scope="module")
def service(run):
    with served(Settings(run=run, rate=0, timeout=TIMEOUT, connections=12, connections_each=MOST_EACH)) as client:
        yield client


@contextmanager
def connected(service: httpx.Client, address: str = "127.0.0.2"):
    where = (service.base_url.host, service.base_url.port)
    with socket.create_connection(where, timeout=SOON, source_address=(address, 0)) as raw:
        yield raw


def closed(raw: socket.socket) -> bytes:
    """What comes until the service closes; it is an error if it does not."""
    said = b""
    try:
        while part := raw.recv(65_536):
            said += part
    except ConnectionError:
        pass
    return said


def sends_until_closed(raw: socket.socket, head: bytes, again: bytes) -> int:
    """Bytes that were taken before the service closed the connection."""
    raw.sendall(head)
    taken = 0
    try:
        while taken < 500 * 2**20:
            taken += raw.send(again)
    except ConnectionError:
        pass
    return taken


def refuses_in_time(raw: socket.socket, head: bytes, again: bytes) -> bool:
    """Whether the service closes the connection of someone who goes on slowly."""
    raw.sendall(head)
    end = time.monotonic() + SOON
    try:
        while time.monotonic() < end:
            raw.sendall(again)
            time.sleep(0.02)
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (HEAD, b"x-more: " + b"y" * 1_000 + b"\r\n"),
        (HEAD + b"x-more: ", b"y" * 65_536),
        (b"GET /", b"y" * 65_536),
        (CHUNKED + b"2\r\n{}\r\n0\r\n", b"x-more: " + b"y" * 1_000 + b"\r\n"),
        (CHUNKED + b"2;", b"y" * 65_536),
        (b"", b"\r\n" * 10_000),
        (b"", MODEL * 1_000),
    ],
    ids=["headers", "one header", "the address", "trailers", "a chunk's extension", "blank lines", "requests"],
)
def test_nothing_without_end_is_taken(service, head, again):
    with connected(service) as raw:
        # what the sockets of both sides hold is taken too
        assert sends_until_closed(raw, head, again) < 32 * 2**20
    assert service.get("/v1/model").status_code == 200


def test_a_head_that_is_too_long_is_told_so(service):
    with connected(service) as raw:
        raw.sendall(HEAD + b"x-more: " + b"y" * 80_000)
        assert closed(raw).startswith(b"HTTP/1.1 431 ")


def test_a_head_just_short_enough_is_read(service):
    answer = service.get("/v1/model", headers={"x-more": "y" * 60_000})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "said",
    [b"", b"GET", HEAD, HEAD + b"content-length: 100\r\n\r\n{", MODEL + HEAD],
    ids=["nothing", "a word", "half a head", "half a body", "half a second request"],
)
def test_a_request_that_does_not_come_is_given_up(service, said):
    with connected(service) as raw:
        raw.sendall(said)
        closed(raw)


def test_a_request_that_comes_in_drops_is_given_up(service):
    with connected(service) as raw:
        assert refuses_in_time(raw, HEAD, b"x: y\r\n")


def test_an_answer_that_is_not_read_is_given_up(service):
    with connected(service) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        # more than the sockets hold
        assert refuses_in_time(raw, b"", MAP * 8)


def test_an_address_may_have_so_many_connections_and_others_are_let_in(service):
    opened = [connected(service) for _ in range(MOST_EACH + 1)]
    sockets = [each.__enter__() for each in opened]
    assert closed(sockets[-1]).startswith(b"HTTP/1.1 503 ")
    with connected(service, "127.0.0.3") as other:
        other.sendall(MODEL)
        assert other.recv(15) == b"HTTP/1.1 200 OK"
    for each in opened:
        each.__exit__(None, None, None)


def test_when_all_places_are_taken_who_has_most_gives_way(service):
    opened = [connected(service, f"127.0.0.{2 + each // MOST_EACH}") for each in range(3 * MOST_EACH)]
    sockets = [each.__enter__() for each in opened]
    with connected(service, "127.0.0.9") as other:
        other.sendall(MODEL)
        assert other.recv(15) == b"HTTP/1.1 200 OK"
    for each in opened:
        each.__exit__(None, None, None)
    assert len(sockets) > 12


def test_a_closed_connection_keeps_nothing_until_the_next_search_for_garbage(service):
    def there() -> int:
        return sum(type(each) is Bounded for each in gc.get_objects())

    gc.collect()
    before = there()
    gc.disable()
    try:
        for _ in range(10):
            with connected(service) as raw:
                raw.sendall(MODEL)
                assert raw.recv(15) == b"HTTP/1.1 200 OK"
                raw.sendall(HEAD + b"content-length: 50000\r\n\r\n" + b" " * 40_000)
        end = time.monotonic() + SOON
        while there() > before and time.monotonic() < end:
            time.sleep(0.05)
        assert there() <= before
    finally:
        gc.enable()


def test_what_nobody_waits_for_any_more_is_not_computed(service, monkeypatch):
    from hyvae.serving.engine import Engine

    answered, going_on, seen = Engine.answer, threading.Event(), []

    def slowly(self, questions, known):
        seen.append(len(questions))
        going_on.wait(SOON)
        return answered(self, questions, known)

    monkeypatch.setattr(Engine, "answer", slowly)
    body = b'{"requests": [' + b",".join([b'{"user": 100, "n": 500}'] * 20) + b"]}"
    head = b"POST /v1/recommend/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    with connected(service) as raw:
        raw.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        while not seen:
            time.sleep(0.01)
    going_on.set()
    assert service.post("/v1/recommend", json={"user": 100}).status_code == 200
    # the slice that had begun, and the honest question
    assert len(seen) == 2
    assert sum(seen) < 20
