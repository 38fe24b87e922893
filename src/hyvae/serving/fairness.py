"""Who waits for what: clients take turns, so that none waits for another's heavy questions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Generic, TypeVar

T = TypeVar("T")


class QueueFullError(Exception):
    """More questions wait than may."""


@lru_cache(1024)
def network_of(address: str | None) -> str:
    """Of whom limits are kept: an address, or of IPv6 the network that one customer has."""
    try:
        found = ip_address(address or "")
    except ValueError:
        return "unknown"
    return str(ip_network((found, 64), strict=False)) if found.version == 6 else str(found)


@dataclass(frozen=True)
class Asker:
    """Who sent the request that is being answered.

    Attributes
    ----------
    address : str
    charge : callable
        Told the tokens that the request costs beyond its first.
    """

    address: str = ""
    charge: Callable[[float], None] = lambda tokens: None


NOBODY = Asker()
#: set for each request by `hyvae.serving.guards`
asking: ContextVar[Asker] = ContextVar("asking", default=NOBODY)


class FairQueue(Generic[T]):
    """A queue for each client. Each entry has a cost, and clients get equal shares of the cost that is served.

    This is start-time fair queueing (Goyal, Vin, Cheng 1996): a client who asks for little is served next, however
    much others have queued. When the queue is full, the last entry of the client with the most entries gives way.

    Parameters
    ----------
    longest : int
        Entries of all clients together.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._size = 0
        self._waiting: dict[str, deque[tuple[float, T]]] = {}
        # the virtual time at which a client's next entry may start; kept while it lies ahead
        self._starts: dict[str, float] = {}
        self._now = 0.0

    def __len__(self) -> int:
        return self._size

    def push(self, client: str, cost: float, entry: T) -> T | None:
        """Add an entry.

        Returns
        -------
        T or None
            The entry of another client that had to give way.

        Raises
        ------
        QueueFullError
            The queue is full, and no other client has more entries.
        """
        own = self._waiting.get(client)
        given_way = self._make_room(len(own) if own else 0) if self._size >= self._longest else None
        if own is None:
            own = self._waiting[client] = deque()
            self._starts[client] = max(self._now, self._starts.get(client, 0.0))
        own.append((cost, entry))
        self._size += 1
        return given_way

    def _make_room(self, own: int) -> T:
        longest = max(self._waiting, key=lambda client: len(self._waiting[client]))
        queue = self._waiting[longest]
        if len(queue) <= own + 1:
            raise QueueFullError
        self._size -= 1
        return queue.pop()[1]

    def peek(self) -> tuple[float, T]:
        """The cost of the entry that is served next, and the entry."""
        return self._waiting[self._next()][0]

    def pop(self, *, served: bool = True) -> T:
        """Take the next entry. One that is not served costs its client nothing."""
        client = self._next()
        cost, entry = self._waiting[client].popleft()
        self._size -= 1
        if served:
            self._now = self._starts[client]
            self._starts[client] += cost
        if not self._waiting[client]:
            del self._waiting[client]
            if not self._waiting:  # nobody waits: everyone starts afresh
                self._starts.clear()
            elif len(self._starts) > 2 * self._longest:  # so many clients: of those who do not wait, none is known
                self._starts = {each: self._starts[each] for each in self._waiting}
        return entry

    def _next(self) -> str:
        return min(self._waiting, key=self._starts.__getitem__)


class Turns:
    """Large requests, a few at a time: what they are parsed to takes many times their size. Clients take turns.

    Parameters
    ----------
    room : float
        Sizes of those that are let in at the same time; a larger one is let in alone.
    longest : int
        How many may wait.
    """

    def __init__(self, room: float, longest: int) -> None:
        self._room, self._taken = room, 0.0
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue(longest)

    async def enter(self, client: str, size: float) -> None:
        """Wait for a turn; `leave` must follow.

        Raises
        ------
        QueueFullError
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        given_way = self._waiting.push(client, size, future)
        if given_way is not None and not given_way.done():
            given_way.set_exception(QueueFullError())
        self._let_in()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # it was let in, and gives up in the same moment
                self.leave(size)
            raise

    def leave(self, size: float) -> None:
        """Let the next one in."""
        self._taken -= size
        self._let_in()

    def _let_in(self) -> None:
        while len(self._waiting):
            size, future = self._waiting.peek()
            if future.done():
                self._waiting.pop(served=False)
                continue
            if self._taken and self._taken + size > self._room:
                return
            self._taken += size
            self._waiting.pop().set_result(None)


class Shares:
    """How much of something each client holds.

    Parameters
    ----------
    most : float
        A client who holds this much gets no more.
    """

    def __init__(self, most: float) -> None:
        self._most = most
        self._held: dict[str, float] = {}

    def take(self, client: str, size: float) -> bool:
        """Whether a client gets more; `give_back` must follow where it does."""
        held = self._held.get(client, 0.0)
        if held >= self._most:
            return False
        self._held[client] = held + size
        return True

    def give_back(self, client: str, size: float) -> None:
        """Return what was taken."""
        self._held[client] -= size
        if self._held[client] <= 0:
            del self._held[client]


class LoopTurns:
    """A few small requests at a time, or a large one, begin on the event loop, and then it sees to all else.

    What a request costs there, such as its parsing, is much of what a small one takes. Without turns, the requests of
    whoever sends the most would be in front of everyone else's.

    Parameters
    ----------
    longest : int
        How many may wait.
    most : float
        Cost of what begins before the loop sees to all else.
    """

    def __init__(self, longest: int, most: float = 4.0) -> None:
        self._waiting: FairQueue[asyncio.Future[None]] = FairQueue(longest)
        self._most, self._begun, self._scheduled = most, 0.0, False

    async def take(self, client: str, cost: float) -> None:
        """Wait for a turn, if enough others have one now.

        Raises
        ------
        QueueFullError
        """
        loop = asyncio.get_running_loop()
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._next, loop)
        if not len(self._waiting) and self._begun < self._most:
            self._begun += cost
            return
        future: asyncio.Future[None] = loop.create_future()
        given_way = self._waiting.push(client, cost, future)
        if given_way is not None and not given_way.done():
            given_way.set_exception(QueueFullError())
        await future

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._begun = 0.0
        while len(self._waiting) and self._begun < self._most:
            cost, future = self._waiting.peek()
            self._waiting.pop(served=not future.done())
            if not future.done():
                self._begun += cost
                future.set_result(None)
        self._scheduled = bool(self._begun)
        if self._scheduled:  # after the tasks that this wakes
            loop.call_soon(self._next, loop)
