"""What stands before every route: who may ask, how much, how often and for how long; and what all answers carry."""

from __future__ import annotations

import asyncio
import hmac
import random
import time
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hyvae.serving import limits
from hyvae.serving.fairness import Asker, LoopTurns, QueueFullError, Shares, Turns, asking, network_of
from hyvae.serving.observing import Metrics, log
from hyvae.serving.problems import Problem
from hyvae.serving.settings import Settings

#: that a balancer asks, by whatever name, and a monitor: neither is limited
UNNAMED = ("/healthz", "/readyz")
UNGUARDED = (*UNNAMED, "/metrics")
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "[::1]"}
_HEADERS = [
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), microphone=(), geolocation=()",
    }.items()
]
_MOST_ADDRESSES = 10_000
#: bytes of a body that needs no turn: what it is parsed to is small beside what a connection takes
_SMALL = 16_384
#: bytes of larger bodies that are parsed at the same time
_PARSED = 262_144
#: seconds that a refusal of who asks too often waits at most
_REFUSAL_WAITS = 1.0
#: monitors ask so many times less often than others may
_WATCHED_LESS = 10
_bearer = HTTPBearer(auto_error=False, description="token of the service")


def _require(given: HTTPAuthorizationCredentials | None, *accepted: SecretStr | None) -> None:
    said = (given.credentials if given is not None else "").encode()
    # all are compared, and each in constant time
    matches = [hmac.compare_digest(said, token.get_secret_value().encode()) for token in accepted if token is not None]
    if not any(matches):
        raise Problem(
            401,
            "not-authorised",
            "this takes a token: Authorization: Bearer …",
            headers={"WWW-Authenticate": 'Bearer realm="hyvae"'},
        )


Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def reader(request: Request, given: Credentials) -> None:
    """Where a token was set for reading, one of both is asked for."""
    settings: Settings = request.app.state.settings
    _require(given, settings.read_token, settings.token)


def writer(request: Request, given: Credentials) -> None:
    """Writing and administration always take the token."""
    settings: Settings = request.app.state.settings
    _require(given, settings.token)


class RateLimit:
    """A bucket of tokens for each address, filled at `rate` a second up to `burst`."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Take a token: 0, or the seconds until there is one."""
        tokens, then = self._buckets.pop(address, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - then) * self.rate)
        short = 1 - tokens
        self._buckets[address] = (tokens if short > 0 else tokens - 1, now)
        while len(self._buckets) > _MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        return max(0.0, short / self.rate)

    def charge(self, address: str, tokens: float) -> None:
        """Take more, for what a request turned out to ask for: the next ones wait until that is paid back."""
        if address in self._buckets:
            left, then = self._buckets[address]
            self._buckets[address] = (left - tokens, then)

    def owed(self, address: str) -> float:
        """Tokens that were taken before they were there."""
        return -min(0.0, self._buckets.get(address, (0.0, 0.0))[0])


class _Request:
    """A request on its way: how it was answered, and what it holds until it is.

    Parameters
    ----------
    asker : Asker
    """

    def __init__(self, asker: Asker, scope: Scope) -> None:
        self.asker = asker
        self.connection: Any = scope.get("hyvae.connection")
        # no secret: the system's random numbers would let another thread run, and this answer wait for it
        self.id = f"{random.getrandbits(128):032x}"
        self.status = 0
        self.gone = False
        self.held: list[tuple[Shares, int]] = []
        self.turn = 0.0

    def watch(self) -> None:
        """Stop this task when the client is gone: nobody would read what it computes."""
        if self.connection is None:
            return
        task = asyncio.current_task()

        def on_gone() -> None:
            self.gone = True
            if task is not None:
                task.cancel()

        self.connection.on_gone = on_gone

    def unwatch(self) -> None:
        """It has been answered."""
        if self.connection is not None:
            self.connection.on_gone = None


class Guards:
    """ASGI middleware around the whole application.

    Parameters
    ----------
    settings : Settings
    metrics : Metrics
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.limit = self.watching = None
        if settings.rate:
            self.limit = RateLimit(settings.rate, settings.burst)
            self.watching = RateLimit(settings.rate / _WATCHED_LESS, settings.burst)
        self.names = LOOPBACK_NAMES if settings.host in ("127.0.0.1", "localhost", "::1") else None
        self.turns = Turns(_PARSED, settings.queue)
        self.loop_turns = LoopTurns(settings.queue)
        # what is kept in memory for an address, who can let it wait there: bodies, and answers that are not read
        self.bodies, self.answers = Shares(settings.max_body), Shares(2 * settings.max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, asker = time.perf_counter(), self._asker(scope)
        asking.set(asker)
        request = _Request(asker, scope)
        sending = self._sending(request, send)
        try:
            await self._in_time(request, scope, receive, sending)
        except asyncio.CancelledError:
            if not request.gone:
                raise
        except TimeoutError:
            if request.status:
                _abort(request)
            else:
                late = Problem(503, "timeout", f"no answer within {self.settings.timeout:g} s; ask for less")
                await late.response()(scope, receive, sending)
        except Problem as problem:
            await problem.response()(scope, receive, sending)
        except Exception:
            log.exception("failed", extra={"facts": {"id": request.id}})
            if not request.status:
                await Problem(500, "internal-error", "the service failed; its log says why").response()(
                    scope, receive, sending
                )
        finally:
            self._leave(request)
            for shares, size in request.held:
                shares.give_back(asker.address, size)
            self._observe(scope, request.status, time.perf_counter() - started, request.id)

    async def _in_time(self, request: _Request, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, unless that takes too long, or the client goes away meanwhile."""
        request.watch()
        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._guarded(request, scope, receive, send)
        finally:
            request.unwatch()

    def _asker(self, scope: Scope) -> Asker:
        client: Any = scope.get("client")
        address = network_of(client[0] if client else None)
        if self.limit is None:
            return Asker(address)
        return Asker(address, partial(self.limit.charge, address))

    def _sending(self, request: _Request, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.get("headers", ())
                if (size := _size(headers)) > limits.PIECE:
                    self._hold(request, self.answers, size)
                # what it was parsed to is not needed any more
                self._leave(request)
                request.status = message["status"]
                if request.status in (413, 422):
                    request.asker.charge(limits.REFUSED)
                message["headers"] = [*headers, *_HEADERS, (b"x-request-id", request.id.encode())]
                await send(message)
                return
            # a piece at a time: the next is written when the client has read most of the one before
            body = message.get("body", b"")
            for start in range(0, len(body) - limits.PIECE, limits.PIECE):
                await send({**message, "body": body[start : start + limits.PIECE], "more_body": True})
            last = (len(body) - 1) // limits.PIECE * limits.PIECE if body else 0
            await send({**message, "body": body[last:]} if last else message)

        return sending

    async def _guarded(self, request: _Request, scope: Scope, receive: Receive, send: Send) -> None:
        await self._check_rate(request, scope)
        if scope["path"] not in UNNAMED:
            self._check_host(scope)
        body = await self._body(request, scope, receive)
        request.asker.charge(limits.tokens_for_bytes(len(body)))
        try:
            if len(body) > _SMALL:
                limits.check_objects(body)
                await self.turns.enter(request.asker.address, len(body))
                request.turn = len(body)
            await self.loop_turns.take(request.asker.address, 1 + len(body) / _SMALL)
            self._check_debt(request.asker)
        except QueueFullError as error:
            raise Problem(
                503, "too-busy", "more requests wait than can be answered soon; try again", headers={"Retry-After": "1"}
            ) from error
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    def _check_host(self, scope: Scope) -> None:
        """A page elsewhere whose name was made to lead here must not read what only this machine may."""
        if self.names is None:
            return
        host = _header(scope, b"host").decode("latin-1")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name.lower() not in self.names:
            raise Problem(421, "wrong-host", "this service answers as localhost only; start it with --host")

    async def _check_rate(self, request: _Request, scope: Scope) -> None:
        # monitors have their own: they are not refused because users behind the same address ask much
        limit = self.watching if scope["path"] in UNGUARDED else self.limit
        if limit is None:
            return
        wait = limit.wait(request.asker.address, time.monotonic())
        if wait > 0:
            if request.connection is not None:
                request.connection.drop_body()
            # a refusal costs time too: who asks on at once gets the next one late
            await asyncio.sleep(min(wait, _REFUSAL_WAITS))
            raise _too_many(wait)

    def _check_debt(self, asker: Asker) -> None:
        """Requests that came at once with others are refused when those turned out to ask for very much."""
        if self.limit is not None and (owed := self.limit.owed(asker.address)) > self.limit.burst:
            raise _too_many(owed / self.limit.rate)

    def _hold(self, request: _Request, shares: Shares, size: int) -> None:
        if not shares.take(request.asker.address, size):
            request.asker.charge(limits.REFUSED)
            raise Problem(
                503,
                "too-busy",
                "this address has other large requests, or answers that it has not read; one after the other",
                headers={"Retry-After": "1", "Connection": "close"},
            )
        request.held.append((shares, size))

    def _leave(self, request: _Request) -> None:
        if request.turn:
            self.turns.leave(request.turn)
            request.turn = 0.0

    async def _body(self, request: _Request, scope: Scope, receive: Receive) -> bytes:
        """All of the body, unless it is too long: then not even that is read."""
        most = self.settings.max_body
        said = _header(scope, b"content-length")
        if said.isdigit() and int(said) > most:
            raise _too_large(most)
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise _too_large(most)
            if size > _SMALL and part:
                self._hold(request, self.bodies, len(part))
            parts.append(part)
            if not message.get("more_body"):
                break
        return b"".join(parts)

    def _observe(self, scope: Scope, status: int, seconds: float, request_id: str) -> None:
        # the route's pattern, never the path: that holds ids
        route = getattr(scope.get("route"), "path_format", None) or "unmatched"
        self.metrics.requests.labels(route, scope["method"] if route != "unmatched" else "", str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        facts = {"id": request_id, "method": scope["method"], "route": route, "status": status}
        log.info("request", extra={"facts": {**facts, "ms": round(1000 * seconds, 1)}})


def _too_large(most: int) -> Problem:
    return Problem(
        413, "too-large", f"a request may have {most:,} bytes; send several", headers={"Connection": "close"}
    )


def _too_many(wait: float) -> Problem:
    seconds = str(max(1, round(wait)))
    return Problem(429, "too-many-requests", "too many requests; wait", headers={"Retry-After": seconds})


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _size(headers: Iterable[tuple[bytes, bytes]]) -> int:
    said = next((value for name, value in headers if name == b"content-length"), b"0")
    return int(said)


def _abort(request: _Request) -> None:
    """Close a connection whose client does not read its answer."""
    if request.connection is not None:
        request.connection.abort()
