"""What a connection may hold and for how long: bounds that stand before the application sees a request."""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hyvae.serving import limits
from hyvae.serving.fairness import network_of
from hyvae.serving.settings import Settings

#: seconds between two looks at all connections
_SWEEP = 0.5
#: requests that a client may send before the answer to the first
_MOST_PIPELINED = 8
#: bytes that a byte of a body may take: a chunk of one byte has its length and two line ends beside it
_FRAMING = 6
#: bytes of a body that are read before the application asks for them
_AHEAD = 16_384
#: bytes that are parsed before the bounds are looked at again
_PIECE = 2_048


class Connections:
    """All connections of a process.

    Parameters
    ----------
    settings : Settings
    """

    def __init__(self, settings: Settings) -> None:
        self.most, self.most_each = settings.connections, settings.connections_each
        #: seconds for a complete request, and for an answer to be read
        self.patience = settings.timeout + 1
        proxies = os.environ.get("FORWARDED_ALLOW_IPS", "")
        self._proxies = {name.strip() for name in proxies.split(",") if name.strip()}
        self._of: defaultdict[str, list[Bounded]] = defaultdict(list)
        self._number = 0
        self._sweeping = False

    def add(self, connection: Bounded) -> bool:
        """Whether there is room for one more; if need be, an idle one of whoever has the most is closed."""
        own = self._of.get(connection.address, [])
        if len(own) >= self.most_each and not self._is_proxy(connection.address):
            return False
        if self._number >= self.most:
            address = max(self._of, key=lambda each: len(self._of[each]))
            if len(self._of[address]) <= len(own) + 1:
                return False
            self._of[address][-1].abort()
        self._of[connection.address].append(connection)
        self._number += 1
        if not self._sweeping:
            self._sweeping = True
            connection.loop.call_later(_SWEEP, self._sweep, connection.loop)
        return True

    def _is_proxy(self, address: str) -> bool:
        return "*" in self._proxies or address in self._proxies

    def remove(self, connection: Bounded) -> None:
        """It was closed."""
        own = self._of.get(connection.address, [])
        if connection in own:
            own.remove(connection)
            self._number -= 1
            if not own:
                del self._of[connection.address]

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [each for own in self._of.values() for each in own]:
            connection.check(now, self.patience)
        self._sweeping = self._number > 0
        if self._sweeping:
            loop.call_later(_SWEEP, self._sweep, loop)


class Bounded(HttpToolsProtocol):
    """uvicorn's protocol with bounds: on a request's head, on the time that it takes to come and its answer to be read.

    Parameters
    ----------
    all_ : Connections
    """

    def __init__(self, *given: Any, all_: Connections, **named: Any) -> None:
        super().__init__(*given, **named)
        self._all = all_
        self.address = ""
        #: called when the client has gone; set by whoever answers it
        self.on_gone: Callable[[], None] | None = None
        self._refused = False
        # whether the body that comes in is wanted by nobody
        self._dropping = False
        # of the request that is coming in: bytes, and those of its body
        self._fed = self._body = 0
        # when it began to come; None between two requests
        self._begun: float | None = None
        # since when bytes of answers have waited to be read
        self._unread: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take it, or close it where there are too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=limits.UNREAD)
        # what one reading may bring, before anyone has seen of what kind the request is
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.UNSEEN)
        self.address = network_of(self.client[0] if self.client else None)
        self._begun = self.loop.time()
        if not self._all.add(self):
            self._refuse(b"503 Service Unavailable")

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what works for it."""
        self._all.remove(self)
        super().connection_lost(exc)
        if self.on_gone is not None:
            self.on_gone()
            self.on_gone = None
        # or each would keep the others, with all that has come, until the next search for garbage
        self.cycle = self.scope = self.headers = None  # type: ignore[assignment]
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Take bytes a piece at a time, so that the parser never holds much more than a head may have."""
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE]
            if self._refused or self.transport.is_closing():
                return
            if self._begun is None:
                self._begun = self.loop.time()
            self._fed += len(piece)
            super().data_received(piece)
            # what is neither body nor its framing: a head, trailers, extensions of chunks
            if self._fed - _FRAMING * self._body > limits.HEAD:
                self._refuse(b"431 Request Header Fields Too Large")
            elif len(self.pipeline) > _MOST_PIPELINED:
                self._refuse(b"429 Too Many Requests")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._begun is None:  # it came together with the end of the one before
            self._begun = self.loop.time()
        self._dropping = False
        self.scope["hyvae.connection"] = self  # type: ignore[typeddict-unknown-key]

    def on_body(self, body: bytes) -> None:
        """Part of a body."""
        self._body += len(body)
        if self._dropping:
            return
        super().on_body(body)
        if len(self.cycle.body) > _AHEAD:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """A request has come whole."""
        self._fed = self._body = 0
        self._begun = None
        super().on_message_complete()

    def drop_body(self) -> None:
        """Keep nothing of the body of a request that is refused."""
        self._dropping = True
        if self.cycle is not None:
            self.cycle.body.clear()

    def check(self, now: float, patience: float) -> None:
        """Close it if its request, or the reading of an answer, takes too long."""
        if not self.transport.get_write_buffer_size():
            self._unread = None
        elif self._unread is None:
            self._unread = now
        oldest = min(since for since in (self._begun, self._unread, now) if since is not None)
        if now - oldest > patience:
            self.abort()

    def abort(self) -> None:
        """Close it at once, and drop what it has not read."""
        self._refused = True
        self.transport.abort()

    def _refuse(self, status: bytes) -> None:
        self._refused = True
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()


def bounded(settings: Settings) -> Any:
    """What uvicorn makes of each connection."""
    return partial(Bounded, all_=Connections(settings))
