"""What stands before every route: who may ask, how much, how often and for how long; and what all answers carry."""

from __future__ import annotations

import asyncio
import hmac
import random
import time
from collections import OrderedDict
from ipaddress import ip_address, ip_network
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hyvae.serving.observing import Metrics, log
from hyvae.serving.problems import Problem
from hyvae.serving.settings import Settings

#: that a balancer or monitor asks
UNGUARDED = ("/healthz", "/readyz", "/metrics")
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


class Guards:
    """ASGI middleware around the whole application.

    Parameters
    ----------
    settings : Settings
    metrics : Metrics
    """

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self.limit = RateLimit(settings.rate, settings.burst) if settings.rate else None
        self.names = LOOPBACK_NAMES if settings.host in ("127.0.0.1", "localhost", "::1") else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        # no secret: the system's random numbers would let another thread run, and this answer wait for it
        request_id = f"{random.getrandbits(128):032x}"

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*_HEADERS, (b"x-request-id", request_id.encode())]
                message["headers"] = [*message.get("headers", ()), *own]
            await send(message)

        try:
            async with asyncio.timeout(self.settings.timeout):
                await self._guarded(scope, receive, sending)
        except TimeoutError:
            if not status:
                late = Problem(503, "timeout", f"no answer within {self.settings.timeout:g} s; ask for less")
                await late.response()(scope, receive, sending)
        except Problem as problem:
            await problem.response()(scope, receive, sending)
        except Exception:
            log.exception("failed", extra={"facts": {"id": request_id}})
            if not status:
                await Problem(500, "internal-error", "the service failed; its log says why").response()(
                    scope, receive, sending
                )
        finally:
            self._observe(scope, status, time.perf_counter() - started, request_id)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] not in UNGUARDED:
            self._check_host(scope)
            self._check_rate(scope)
        body = await self._body(scope, receive)
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

    def _check_rate(self, scope: Scope) -> None:
        if self.limit is None:
            return
        wait = self.limit.wait(_address(scope), time.monotonic())
        if wait > 0:
            seconds = str(max(1, round(wait)))
            raise Problem(429, "too-many-requests", "too many requests; wait", headers={"Retry-After": seconds})

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """All of the body, unless it is too long: then not even that is read."""
        most = self.settings.max_body
        refused = Problem(
            413, "too-large", f"a request may have {most:,} bytes; send several", headers={"Connection": "close"}
        )
        said = _header(scope, b"content-length")
        if said.isdigit() and int(said) > most:
            raise refused
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            part = message.get("body", b"")
            size += len(part)
            if size > most:
                raise refused
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


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _address(scope: Scope) -> str:
    """Of whom a limit is kept: an address, or of IPv6 the network that one customer has."""
    client: Any = scope.get("client")
    try:
        address = ip_address(client[0])
    except (TypeError, ValueError):
        return "unknown"
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else str(address)
