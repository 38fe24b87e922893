"""What the routes call: questions batched over the engine that answers now, and the store beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from hyvae.errors import HyvaeError
from hyvae.ratings import Id
from hyvae.serving import limits, schemas
from hyvae.serving.batching import Batcher
from hyvae.serving.catalogue import UnknownItem
from hyvae.serving.database import PATIENCE, StoreUnavailableError
from hyvae.serving.engine import Engine, Known, Live, Question
from hyvae.serving.events import EventStore, KeyTakenError, RatingEvent
from hyvae.serving.fairness import QueueFullError, asking
from hyvae.serving.keeping import Keeper
from hyvae.serving.observing import Metrics
from hyvae.serving.problems import Problem
from hyvae.serving.settings import Settings

NOTHING_KNOWN = Known({}, set())
#: work of a batch for each question that it may have: what comes meanwhile waits no longer than for this
_SLICE = 2.0
_T = TypeVar("_T")


class _Asked(NamedTuple):
    """A question, what the store knows of whom it is about, and whether its answer is wanted as JSON."""

    question: Question
    known: Known
    as_json: bool


class Service:
    """One process's part of the service.

    Each kind of work has a thread of its own, so that none waits for another: answers, what is asked aside of them,
    reading and writing the store, reloading, and whether it is ready.

    Parameters
    ----------
    settings : Settings
    metrics : Metrics

    Raises
    ------
    HyvaeError
        The run cannot be loaded, or the store not be opened.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.live = Live(settings.run)
        self.store: EventStore | None = None
        self.keeper: Keeper | None = None
        if settings.database is not None:
            history = self.engine.history
            self.store = EventStore(
                settings.database,
                integer_users=history.users.is_integer,
                integer_items=history.items.is_integer,
                # so that what a request was told of it is true
                patience=min(PATIENCE, settings.timeout / 2),
            )
            self.keeper = Keeper(self.store)
        most, longest = settings.batch, settings.queue
        self._answers: Batcher[_Asked, Any] = Batcher(
            self._answer, most=most, slice_=_SLICE * most, longest=longest, told=metrics.batches.observe
        )
        self._asides: Batcher[Callable[[], Any], Any] = Batcher(_called, longest=longest, name="asides")
        self._reads: Batcher[Sequence[Id], Known] = Batcher(
            self._read, most=most, slice_=schemas.MOST_PAIRS, longest=longest, name="reads"
        )
        self._writes: Batcher[Callable[[], Any], Any] = Batcher(_called, longest=longest, name="writes")
        self._reloads = ThreadPoolExecutor(1, thread_name_prefix="reloads")
        self._checks = ThreadPoolExecutor(1, thread_name_prefix="checks")
        self._checking: asyncio.Future[str | None] | None = None
        self._reloading = asyncio.Lock()

    @property
    def engine(self) -> Engine:
        """What answers now."""
        return self.live.engine

    def close(self) -> None:
        """Let go of threads and connections."""
        for batcher in (self._answers, self._asides, self._reads, self._writes):
            batcher.close()
        for pool in (self._reloads, self._checks):
            pool.shutdown(wait=False, cancel_futures=True)
        if self.keeper is not None:
            self.keeper.close()
        if self.store is not None:
            self.store.close()

    # -- questions ----------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        """What waits for others, or for the store, in vain, and names that nothing has, as problems."""
        try:
            yield
        except QueueFullError as error:
            raise Problem(
                503, "too-busy", "more requests wait than can be answered soon; try again", headers={"Retry-After": "1"}
            ) from error
        except StoreUnavailableError as error:
            if self.keeper is not None:
                self.keeper.tell(error)
            raise _not_now(error.said) from error
        except UnknownItem as unknown:
            raise await self._hinted(unknown) from unknown

    async def _hinted(self, unknown: UnknownItem) -> Problem:
        engine = self.engine
        asking.get().charge(limits.tokens_for_work(limits.HINT))
        try:
            return await self._asides.ask(lambda: engine.catalogue.hinted(unknown), limits.HINT)
        except QueueFullError:
            return unknown

    async def ask(self, question: Question) -> bytes:
        """The answer to one question, as JSON.

        Raises
        ------
        Problem
        """
        async with self._telling():
            (answer,) = await self._asked([question])
            return await answer

    async def ask_all(self, questions: Sequence[Question]) -> bytes:
        """Answers to the questions of one request, as JSON.

        Raises
        ------
        Problem
            The first among them, or 413 where they are too much.
        """
        async with self._telling():
            answers = await _settled(await self._asked(questions))
            for number, answer in enumerate(answers):
                if isinstance(answer, Problem):
                    raise answer.at(f"requests.{number}")
                if isinstance(answer, BaseException):
                    raise answer
            return b'{"results":[' + b",".join(answers) + b"]}"

    async def _asked(self, questions: Sequence[Question], *, as_json: bool = True) -> list[Coroutine[Any, Any, Any]]:
        """The questions of one request, charged and ready to be waited for."""
        work = [limits.work_of(question, self._given(question)) for question in questions]
        limits.check_work(sum(work))
        asking.get().charge(limits.tokens_for_work(sum(work)))
        known = await self._known([question.user for question in questions if question.user is not None])
        return [
            self._answers.ask(_Asked(question, known, as_json), cost)
            for question, cost in zip(questions, work, strict=True)
        ]

    def _given(self, who: schemas.Who) -> int:
        """How many ratings a question is about: given ones, or those of the run's history."""
        return len(who.ratings) if who.user is None and who.ratings is not None else self.engine.history_of(who.user)

    def _answer(self, asked: Sequence[_Asked]) -> list[Any]:
        known = _together([each.known for each in asked])
        answers = self.engine.answer([each.question for each in asked], known)
        return [
            answer.model_dump_json().encode() if each.as_json and not isinstance(answer, Exception) else answer
            for each, answer in zip(asked, answers, strict=True)
        ]

    async def _known(self, users: Sequence[Id]) -> Known:
        """What the store knows of some users; it is not asked where there is none to ask about."""
        ids = [user for user in map(self.engine.user_id, dict.fromkeys(users)) if self.engine.fits(user)]
        if self.store is None or not ids:
            return NOTHING_KNOWN
        return await self._reads.ask(ids, len(ids))

    def _read(self, wanted: Sequence[Sequence[Id]]) -> list[Any]:
        assert self.store is not None
        everyone = list(dict.fromkeys(user for users in wanted for user in users))
        try:
            ratings, forgotten = self.store.known(everyone)
        except StoreUnavailableError as error:
            # to ask again for each would only take as long again
            return [error] * len(wanted)
        return [
            Known({user: ratings[user] for user in users if user in ratings}, forgotten.intersection(users))
            for users in wanted
        ]

    async def pairs(self, ask: schemas.PairsRequest) -> bytes:
        """Predictions of pairs, as JSON: one question a user."""
        by_user: dict[Id, list[int]] = {}
        for place, pair in enumerate(ask.pairs):
            by_user.setdefault(pair.user, []).append(place)
        questions = [
            schemas.PredictRequest(
                user=user,
                items=[ask.pairs[place].item for place in places],
                coverage=ask.coverage,
                distribution=ask.distribution,
            )
            for user, places in by_user.items()
        ]
        async with self._telling():
            answers = await _settled(await self._asked(questions, as_json=False))
            for places, answer in zip(by_user.values(), answers, strict=True):
                if isinstance(answer, Problem):
                    raise _of_pair(answer, places)
                if isinstance(answer, BaseException):
                    raise answer
            return await self._asides.ask(lambda: _paired(by_user, answers), len(ask.pairs) / 10)

    async def aside(self, work: Callable[[], BaseModel | bytes], cost: float) -> bytes:
        """An answer that must not hold up the batches, as JSON, made in another thread.

        Raises
        ------
        Problem
        """
        asking.get().charge(limits.tokens_for_work(cost))
        async with self._telling():
            return await self._asides.ask(lambda: _json(work()), cost)

    async def explain(self, ask: schemas.ExplainRequest) -> bytes:
        """Why an item is predicted as it is, as JSON."""
        engine = self.engine
        async with self._telling():
            known = await self._known([] if ask.user is None else [ask.user])
        return await self.aside(lambda: engine.explain(ask, known), limits.work_of(ask, self._given(ask)))

    async def _stored(self, work: Callable[[], _T]) -> _T:
        """Work of the store that is one user's own, in its thread."""
        async with self._telling():
            return await self._writes.ask(work)

    # -- what users do ------------------------------------------------------------------------------------

    def _require_keeper(self) -> Keeper:
        if self.keeper is None:
            raise Problem(503, "no-store", "this service keeps no ratings: start it with --database")
        return self.keeper

    def _require_store(self) -> EventStore:
        return self._require_keeper().store

    async def record(self, ask: schemas.EventsRequest) -> schemas.Stored:
        """Store ratings, all or none; they are on the disk when this returns."""
        store, engine, now = self._require_store(), self.engine, int(time.time())
        events = []
        async with self._telling():
            for place, event in enumerate(ask.events):
                user = engine.user_id(event.user)
                _require_fitting(engine, user, f"events.{place}.user")
                item = engine.catalogue.index(event.item, f"events.{place}.item")
                engine.check_rating(event.rating, f"events.{place}.rating")
                item_id = engine.catalogue.ids[item]
                events.append(
                    RatingEvent(
                        event.key, user, item_id, event.rating, now if event.timestamp is None else event.timestamp
                    )
                )
        try:
            stored = await self._stored(lambda: store.record(events))
        except KeyTakenError as error:
            place = next(place for place, event in enumerate(events) if event.key == error.key)
            raise Problem(
                409,
                "key-taken",
                "this key was used for another rating; nothing of the request was stored",
                field=f"events.{place}.key",
            ) from error
        return schemas.Stored(stored=stored, repeated=len(events) - stored)

    async def undo(self, key: str) -> schemas.StoredEvent:
        """Take a stored rating back."""
        store = self._require_store()
        event = await self._stored(lambda: store.undo(key))
        if event is None:
            raise Problem(404, "unknown-event", "no rating was stored with this key", field="key")
        return schemas.StoredEvent(**event._asdict(), undone=True)

    async def events_of(self, user: Id) -> schemas.StoredEvents:
        """What was stored of a user."""
        store, user = self._require_store(), self.engine.user_id(user)
        _require_fitting(self.engine, user, "user")
        events = await self._stored(lambda: store.events_of(user))
        return schemas.StoredEvents(
            events=[schemas.StoredEvent(**event._asdict(), undone=undone) for event, undone in events]
        )

    async def forget(self, user: Id) -> schemas.Forgotten:
        """Delete what was stored of a user, and answer no more from what the run holds of them."""
        keeper, engine = self._require_keeper(), self.engine
        user = engine.user_id(user)
        _require_fitting(engine, user, "user")
        gone, erased = await self._stored(lambda: keeper.forget(user))
        in_run = engine.user_index(user) >= 0
        return schemas.Forgotten(user=user, events=gone, in_run=in_run, erased=erased)

    # -- the run ------------------------------------------------------------------------------------------

    async def reload(self) -> schemas.Reloaded:
        """Load the run anew; the old one answers until the new one can, and on if it cannot.

        Raises
        ------
        Problem
            409: the new one cannot answer.
        """
        async with self._reloading:
            try:
                fingerprint, previous = await asyncio.get_running_loop().run_in_executor(
                    self._reloads, self.live.reload
                )
            except HyvaeError as error:
                # where it lies is the operator's to know: the log has it
                raise Problem(409, "run-refused", "the run cannot be used; the one before goes on") from error
        return schemas.Reloaded(fingerprint=fingerprint, previous=previous, changed=fingerprint != previous)

    async def ready(self) -> None:
        """Whether it can answer, and ratings can be stored.

        Raises
        ------
        Problem
            503.
        """
        if self.keeper is None:
            return
        # however many ask, one thread waits, for a second at most
        if self._checking is None or self._checking.done():
            self._checking = asyncio.get_running_loop().run_in_executor(self._checks, self.keeper.trouble)
        if (trouble := await asyncio.shield(self._checking)) is not None:
            raise _not_now(trouble)


async def _settled(asked: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """For each its answer, or the exception that it met."""
    return await asyncio.gather(*asked, return_exceptions=True)


def _called(work: Sequence[Callable[[], Any]]) -> list[Any]:
    return [each() for each in work]


def _json(answer: BaseModel | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.model_dump_json().encode()


def _together(known: Sequence[Known]) -> Known:
    """What the store knows of the users of several questions."""
    if all(each is known[0] for each in known):
        return known[0]
    ratings = {user: told for each in known for user, told in each.ratings.items()}
    return Known(ratings, {user for each in known for user in each.forgotten})


def _of_pair(problem: Problem, places: Sequence[int]) -> Problem:
    """A problem of one user's question, said of the pair: items.3 of the question is pairs.17.item of the request."""
    kind, _, number = (problem.field or "").partition(".")
    at = places[int(number)] if kind == "items" else places[0]
    problem.field = f"pairs.{at}.{'item' if kind == 'items' else 'user'}"
    return problem


def _paired(by_user: Mapping[Id, Sequence[int]], answers: Sequence[schemas.Predictions]) -> bytes:
    """Answers to the questions of each user, in the order of the pairs."""
    found = {
        place: schemas.PairPrediction.model_construct(user=user, **dict(prediction))
        for (user, places), answer in zip(by_user.items(), answers, strict=True)
        for place, prediction in zip(places, answer.predictions, strict=True)
    }
    return _json(schemas.PairPredictions.model_construct(predictions=[found[place] for place in sorted(found)]))


def _require_fitting(engine: Engine, user: Id, field: str) -> None:
    """Refuse ids of another type: a store that held both could never be trained from."""
    if not engine.fits(user):
        kind = "integers of 64 bits" if engine.history.users.is_integer else "strings"
        raise Problem(422, "wrong-id", f"ids of users are {kind} here", field=field)


def _not_now(trouble: str) -> Problem:
    return Problem(
        503,
        "store-unavailable",
        f"the store of ratings cannot be used now: {trouble}",
        headers={"Retry-After": "5"},
    )
