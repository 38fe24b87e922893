"""What the routes call: questions batched over the engine that answers now, and the store beside it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hyvae.errors import HyvaeError
from hyvae.ratings import Id
from hyvae.serving import schemas
from hyvae.serving.batching import Batcher, QueueFullError
from hyvae.serving.engine import Engine, Known, Live, Question
from hyvae.serving.events import EventStore, KeyTakenError, RatingEvent, StoreUnavailableError
from hyvae.serving.observing import Metrics
from hyvae.serving.problems import Problem
from hyvae.serving.settings import Settings

NOTHING_KNOWN = Known({}, set())
_T = TypeVar("_T")


class Service:
    """One process's part of the service.

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
        if settings.database is not None:
            history = self.engine.history
            self.store = EventStore(
                settings.database,
                integer_users=history.users.is_integer,
                integer_items=history.items.is_integer,
            )
        self.batcher: Batcher[Question, Any] = Batcher(
            self._answer, most=settings.batch, longest=settings.queue, told=metrics.batches.observe
        )
        # beside the batches: what must not hold them up
        self._others = ThreadPoolExecutor(2, thread_name_prefix="others")
        self._reloading = asyncio.Lock()

    @property
    def engine(self) -> Engine:
        """What answers now."""
        return self.live.engine

    def close(self) -> None:
        """Let go of threads and connections."""
        self.batcher.close()
        self._others.shutdown(wait=False, cancel_futures=True)
        if self.store is not None:
            self.store.close()

    # -- questions ----------------------------------------------------------------------------------------

    async def ask(self, question: Question) -> Any:
        """The answer to one question.

        Raises
        ------
        Problem
        """
        try:
            return await self.batcher.ask(question)
        except QueueFullError as error:
            raise Problem(
                503, "too-busy", "more requests wait than can be answered soon; try again", headers={"Retry-After": "1"}
            ) from error
        except StoreUnavailableError as error:
            raise _unavailable() from error

    async def ask_all(self, questions: Sequence[Question]) -> list[Any]:
        """Answers to the questions of one request, or the first problem among them."""
        answers = await asyncio.gather(*(self.ask(question) for question in questions), return_exceptions=True)
        for place, answer in enumerate(answers):
            if isinstance(answer, Problem):
                raise answer.at(f"requests.{place}")
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def _answer(self, questions: Sequence[Question]) -> list[Any]:
        engine = self.engine
        return engine.answer(questions, self._known(engine, [q.user for q in questions if q.user is not None]))

    def _known(self, engine: Engine, users: Sequence[Id]) -> Known:
        if self.store is None or not users:
            return NOTHING_KNOWN
        ids = [user for user in map(engine.user_id, dict.fromkeys(users)) if _fits(engine, user)]
        return Known(self.store.ratings_of(ids), self.store.forgotten(ids))

    async def pairs(self, ask: schemas.PairsRequest) -> schemas.PairPredictions:
        """Predictions of pairs: one question a user."""
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
        answers = await asyncio.gather(*(self.ask(question) for question in questions), return_exceptions=True)
        found: list[schemas.PairPrediction | None] = [None] * len(ask.pairs)
        for (user, places), answer in zip(by_user.items(), answers, strict=True):
            if isinstance(answer, Problem):
                # items.3 of the question is pairs.17.item of the request
                kind, _, number = (answer.field or "").partition(".")
                at = places[int(number)] if kind == "items" else places[0]
                field = f"pairs.{at}.{'item' if kind == 'items' else 'user'}"
                raise Problem(answer.status, answer.kind, answer.detail, field=field)
            if isinstance(answer, BaseException):
                raise answer
            for place, prediction in zip(places, answer.predictions, strict=True):
                found[place] = schemas.PairPrediction(user=user, **prediction.model_dump())
        return schemas.PairPredictions(predictions=[each for each in found if each is not None])

    async def aside(self, work: Callable[[], _T]) -> _T:
        """Work that must not hold up the batches, done in another thread.

        Raises
        ------
        Problem
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._others, work)
        except StoreUnavailableError as error:
            raise _unavailable() from error

    async def explain(self, ask: schemas.ExplainRequest) -> schemas.Explanation:
        """Why an item is predicted as it is."""
        engine = self.engine
        users = [] if ask.user is None else [ask.user]
        return await self.aside(lambda: engine.explain(ask, self._known(engine, users)))

    # -- what users do ------------------------------------------------------------------------------------

    def _require_store(self) -> EventStore:
        if self.store is None:
            raise Problem(503, "no-store", "this service keeps no ratings: start it with --database")
        return self.store

    async def record(self, ask: schemas.EventsRequest) -> schemas.Stored:
        """Store ratings, all or none; they are on the disk when this returns."""
        store, engine, now = self._require_store(), self.engine, int(time.time())
        events = []
        for place, event in enumerate(ask.events):
            user = engine.user_id(event.user)
            _require_fitting(engine, user, f"events.{place}.user")
            item = engine.catalogue.index(event.item, f"events.{place}.item")
            engine.check_rating(event.rating, f"events.{place}.rating")
            item_id = engine.catalogue.ids[item]
            events.append(RatingEvent(event.key, user, item_id, event.rating, event.timestamp or now))
        try:
            stored = await self.aside(lambda: store.record(events))
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
        event = await self.aside(lambda: store.undo(key))
        if event is None:
            raise Problem(404, "unknown-event", "no rating was stored with this key", field="key")
        return schemas.StoredEvent(**event._asdict(), undone=True)

    async def events_of(self, user: Id) -> schemas.StoredEvents:
        """What was stored of a user."""
        store, user = self._require_store(), self.engine.user_id(user)
        _require_fitting(self.engine, user, "user")
        events = await self.aside(lambda: store.events_of(user))
        return schemas.StoredEvents(
            events=[schemas.StoredEvent(**event._asdict(), undone=undone) for event, undone in events]
        )

    async def forget(self, user: Id) -> schemas.Forgotten:
        """Delete what was stored of a user, and answer no more from what the run holds of them."""
        store, engine = self._require_store(), self.engine
        user = engine.user_id(user)
        _require_fitting(engine, user, "user")
        gone = await self.aside(lambda: store.forget(user))
        in_run = int(engine.history.users.index([user])[0]) >= 0
        return schemas.Forgotten(user=user, events=gone, in_run=in_run)

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
                fingerprint, previous = await self.aside(self.live.reload)
            except HyvaeError as error:
                # where it lies is the operator's to know: the log has it
                raise Problem(409, "run-refused", "the run cannot be used; the one before goes on") from error
        return schemas.Reloaded(fingerprint=fingerprint, previous=previous, changed=fingerprint != previous)

    async def ready(self) -> None:
        """Whether it can answer, the store included.

        Raises
        ------
        Problem
            503.
        """
        if self.store is not None:
            await self.aside(self.store.check)


def _fits(engine: Engine, user: Id) -> bool:
    return isinstance(user, int) == engine.history.users.is_integer


def _require_fitting(engine: Engine, user: Id, field: str) -> None:
    """Refuse ids of another type: a store that held both could never be trained from."""
    if not _fits(engine, user):
        kind = "integers" if engine.history.users.is_integer else "strings"
        raise Problem(422, "wrong-id", f"ids of users are {kind} here", field=field)


def _unavailable() -> Problem:
    return Problem(
        503, "store-unavailable", "the store of ratings does not answer; try again", headers={"Retry-After": "5"}
    )
