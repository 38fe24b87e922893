"""A loaded run, and its answers to many questions at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyvae.errors import DataError
from hyvae.people import People
from hyvae.ratings import Id, Ratings, Vocabulary
from hyvae.recommender import Recommender
from hyvae.runs import config_digest
from hyvae.serving import schemas
from hyvae.serving.catalogue import Catalogue
from hyvae.serving.choosing import choose
from hyvae.serving.problems import Problem
from hyvae.uncertainty import Evidence

# different ratings that are told one by one
MOST_LEVELS = 20
Question = schemas.RecommendRequest | schemas.PredictRequest
#: what a person has told since training: of users, by id, ratings by item id; and who is to be forgotten
Told = Mapping[Id, Mapping[Id, float]]


class Person(NamedTuple):
    """Someone by their ratings: item indices, ascending, and values; and what lists leave out besides."""

    items: NDArray[np.int64]
    values: NDArray[np.float32]
    left_out: NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def seen(self) -> NDArray[np.int64]:
        """Items that they have rated, held-out ratings included, which may stand twice."""
        return np.concatenate([self.items, self.left_out])


@dataclass(frozen=True)
class Known:
    """What the store knows of the users that questions are about.

    Attributes
    ----------
    ratings : dict
        By user, by item: what they told since training.
    forgotten : set
        Of whom the run's histories are not to be used.
    """

    ratings: Told
    forgotten: set[Id]


class _Found(NamedTuple):
    """The items of an answer and their scores, not clipped; which question it is of, and which row of the people."""

    place: int
    row: int
    items: NDArray[np.int64]
    scores: NDArray[np.float32]
    distribution: bool = False
    branches: Sequence[schemas.Branches] | None = None


class _Spread(NamedTuple):
    """Around each item of an answer: standard deviation, half of the interval, and the probability of each level."""

    sd: list[float]
    half: list[float]
    share: list[list[float]] | None


class Engine:
    """Answers from one run. It never changes: a reload makes another one.

    Parameters
    ----------
    recommender : Recommender
    digest : str
        Of the run's config, which holds those of its files.
    """

    def __init__(self, recommender: Recommender, digest: str = "") -> None:
        self.recommender, self.digest = recommender, digest
        self.history = recommender.history
        self.catalogue = Catalogue(recommender)
        self.rated = recommender.item_counts > 0
        self.left_out = recommender.left_out
        self.fingerprint = recommender.fingerprint
        self.loaded_at = time.time()

    @classmethod
    def load(cls, run: Path) -> Engine:
        """Read a run. One that cannot answer is refused.

        Raises
        ------
        RunError
            Not a run, damaged, or written by a newer hyvae.
        """
        digest = digest_of(run)  # first: if the run is replaced meanwhile, the next reload sees it
        return cls(Recommender.load(run), digest)

    # -- who and what -------------------------------------------------------------------------------------

    def check_rating(self, rating: float, field: str) -> None:
        """Refuse a rating off the scale.

        Raises
        ------
        Problem
            422.
        """
        low, high = self.history.scale
        if not low <= rating <= high:
            raise Problem(422, "rating-off-scale", f"ratings are from {low:g} to {high:g}, got {rating:g}", field=field)

    def user_id(self, user: Id) -> Id:
        """A user's id as this run has it: digits in a path are the integer, where ids are integers."""
        return self.history.users.parse(user) if isinstance(user, str) else user

    def fits(self, user: Id) -> bool:
        """Whether an id is of the run's type: text, or an integer of 64 bits."""
        if not self.history.users.is_integer:
            return isinstance(user, str)
        return isinstance(user, int) and -(2**63) <= user < 2**63

    def user_index(self, user: Id) -> int:
        """Row of a user in the run's history, −1 where there is none."""
        return self.history.users.find(user) if self.fits(user) else -1

    def history_of(self, user: Id | None) -> int:
        """How many ratings the run has of a user."""
        index = -1 if user is None else self.user_index(self.user_id(user))
        return 0 if index < 0 else int(self.history.indptr[index + 1] - self.history.indptr[index])

    def person(self, who: schemas.Who, known: Known) -> Person:
        """Whom a question is about.

        Raises
        ------
        Problem
            404 for an unknown user or item, 422 for a rating off the scale or an item twice.
        """
        if who.ratings is not None:
            return self._given(who.ratings)
        assert who.user is not None
        return self.known_user(who.user, known)

    def _given(self, ratings: Sequence[schemas.Rated]) -> Person:
        items = np.empty(len(ratings), np.int64)
        values = np.empty(len(ratings), np.float32)
        for place, one in enumerate(ratings):
            items[place] = self.catalogue.index(one.item, f"ratings.{place}.item")
            self.check_rating(one.rating, f"ratings.{place}.rating")
            values[place] = one.rating
        order = np.argsort(items, kind="stable")
        items, values = items[order], values[order]
        twice = np.flatnonzero(np.diff(items) == 0)
        if len(twice):
            place = int(order[twice[0] + 1])
            raise Problem(422, "rated-twice", "the same item is rated twice", field=f"ratings.{place}.item")
        return Person(items, values)

    def known_user(self, user: Id, known: Known) -> Person:
        """All that is known of a user: the run's history and, over it, what they told since.

        Raises
        ------
        Problem
            404 where nothing is.
        """
        user = self.user_id(user)
        index = self.user_index(user)
        told = known.ratings.get(user, {})
        if (index < 0 or user in known.forgotten) and not told:
            raise Problem(
                404, "unknown-user", f"user {user!r} is not known; ask with their ratings instead of user", field="user"
            )
        items, values = np.empty(0, np.int64), np.empty(0, np.float32)
        left_out = np.empty(0, np.int64)
        if index >= 0 and user not in known.forgotten:
            row_items, values = self.history.history(index)
            items, left_out = row_items.astype(np.int64), self.left_out.of_user(index)
        if told:
            newer = self.history.items.index(list(told))
            told_values = np.fromiter(told.values(), np.float32, len(told))
            # the run need not have all that was ever rated
            newer, told_values = newer[newer >= 0], told_values[newer >= 0]
            kept = ~np.isin(items, newer)
            items, values = np.concatenate([items[kept], newer]), np.concatenate([values[kept], told_values])
            order = np.argsort(items)
            items, values = items[order], values[order]
        return Person(items, values, left_out)

    def _people(self, persons: Sequence[Person]) -> People:
        history, counts = self.history, [len(person.items) for person in persons]
        users = Vocabulary(np.arange(len(persons)))
        if not any(counts):
            return self.recommender.people(Ratings.empty(users, history.items, history.scale, history.titles))
        ratings = Ratings.from_indices(
            users,
            history.items,
            np.repeat(np.arange(len(persons)), counts),
            np.concatenate([person.items for person in persons]),
            np.concatenate([person.values for person in persons]),
            scale=history.scale,
        )
        return self.recommender.people(ratings)

    # -- answers ------------------------------------------------------------------------------------------

    def answer(self, questions: Sequence[Question], known: Known) -> list[Any]:
        """Answer questions together: everyone is encoded at once, and scored at once.

        Returns
        -------
        list
            `schemas.Recommendations` or `schemas.Predictions`, or a `Problem`, for each.
        """
        answers: list[Any] = [None] * len(questions)
        asked: list[tuple[int, Person, NDArray[np.int64]]] = []
        for place, question in enumerate(questions):
            try:
                person = self.person(question, known)
                items = np.empty(0, np.int64)
                if isinstance(question, schemas.PredictRequest):
                    self._require_ratings()
                    items = self.catalogue.indices(question.items, "items")
                asked.append((place, person, items))
            except Problem as problem:
                answers[place] = problem
        if not asked:
            return answers
        people = self._people([person for _, person, _ in asked])
        evidence = people.evidence()
        predicted = self._predicted(people, [items for *_, items in asked])
        lists = [row for row, (place, *_) in enumerate(asked) if isinstance(questions[place], schemas.RecommendRequest)]
        scores = dict(zip(lists, people.scores(lists), strict=True)) if lists else {}
        found: list[_Found] = []
        for row, (place, person, items) in enumerate(asked):
            question = questions[place]
            try:
                if isinstance(question, schemas.RecommendRequest):
                    own = None if evidence is None else evidence.take(np.array([row]))
                    items = choose(question, person.seen, scores[row], own, self.recommender, self.catalogue)
                    found.append(_Found(place, row, items, scores[row][items]))
                else:
                    branches = self._branches(people, row, items) if question.branches else None
                    found.append(_Found(place, row, items, predicted[row], question.distribution, branches))
            except Problem as problem:
                answers[place] = problem
        for each, spread in zip(found, self._spreads(found, questions, evidence), strict=True):
            lines = self._lines(each, spread, no_user=not len(asked[each.row][1].items))
            of_list = isinstance(questions[each.place], schemas.RecommendRequest)
            answers[each.place] = (
                schemas.Recommendations(recommendations=lines) if of_list else schemas.Predictions(predictions=lines)
            )
        return answers

    def _require_ratings(self) -> None:
        if not self.recommender.predicts_ratings:
            raise Problem(422, "ranks-only", "this model ranks items and predicts no ratings; ask it for lists")

    def _predicted(self, people: People, wanted: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Predictions of the items that each row wants, in its order."""
        columns = [np.unique(items) for items in wanted]
        rows = np.repeat(np.arange(len(columns)), [len(each) for each in columns])
        if not len(rows):
            return [np.empty(0, np.float32) for _ in wanted]
        pairs = Ratings.from_indices(
            people.ratings.users, people.ratings.items, rows, np.concatenate(columns), np.zeros(len(rows))
        )
        predicted = np.split(people.predict(pairs), pairs.indptr[1:-1])
        return [own[np.searchsorted(each, items)] for own, each, items in zip(predicted, columns, wanted, strict=True)]

    def _spreads(
        self, found: Sequence[_Found], questions: Sequence[Question], evidence: Evidence | None
    ) -> list[_Spread | None]:
        """Standard deviations, halves of intervals and distributions of all answers, worked out together."""
        counts = [len(each.items) for each in found]
        if evidence is None or not any(counts):
            return [None] * len(found)
        low, high = self.history.scale
        uncertainty = self.recommender.uncertainty
        everyone = evidence.take(np.repeat([each.row for each in found], counts))
        scores = np.concatenate([each.scores for each in found]).clip(low, high)
        share = uncertainty.distribution(scores, everyone)
        sd = uncertainty.deviation_of(share)
        ends = np.cumsum(counts)
        spreads: list[_Spread | None] = []
        for each, end, count in zip(found, ends.tolist(), counts, strict=True):
            rows = slice(end - count, end)
            own = everyone.take(np.arange(end - count, end))
            half = uncertainty.quantile(own, questions[each.place].coverage) * sd[rows]
            spreads.append(
                _Spread(sd[rows].tolist(), half.tolist(), share[rows].tolist() if each.distribution else None)
            )
        return spreads

    def _lines(self, found: _Found, spread: _Spread | None, *, no_user: bool) -> list[schemas.Prediction]:
        low, high = self.history.scale
        scores = found.scores.clip(low, high) if self.recommender.predicts_ratings else found.scores
        lines = []
        for place, (item, score) in enumerate(zip(found.items.tolist(), scores.tolist(), strict=True)):
            no_item = not self.rated[item]
            fields: dict[str, Any] = {
                "item": self.catalogue.ids[item],
                "title": self.catalogue.title(item),
                "prediction": score,
                "sd": None,
                "low": None,
                "high": None,
                "distribution": None,
                "fallback": ("both" if no_item else "user") if no_user else ("item" if no_item else ""),
                "branches": None if found.branches is None else found.branches[place],
            }
            if spread is not None:
                half = spread.half[place]
                fields |= {"sd": spread.sd[place], "low": max(low, score - half), "high": min(high, score + half)}
                if spread.share is not None:
                    fields["distribution"] = dict(zip(self._levels, spread.share[place], strict=True))
            lines.append(schemas.Prediction.model_construct(**fields))
        return lines

    @cached_property
    def _levels(self) -> list[str]:
        return self.recommender.uncertainty.level_names

    def _branches(self, people: People, row: int, items: NDArray[np.int64]) -> list[schemas.Branches]:
        parts = people.score_parts(row, items)
        if parts is None:
            raise Problem(422, "no-branches", "this model has no two branches to tell apart", field="branches")
        return [
            schemas.Branches(**{name: float(part[place]) for name, part in parts.items()})
            for place in range(len(items))
        ]

    def explain(self, ask: schemas.ExplainRequest, known: Known) -> schemas.Explanation:
        """Which ratings of someone move a prediction.

        Raises
        ------
        Problem
        """
        person = self.person(ask, known)
        item = self.catalogue.index(ask.item, "item")
        self._require_ratings()
        ids, item_id = self.history.items.ids, self.catalogue.ids[item]
        folded = self.recommender.fold_in(dict(zip(ids[person.items].tolist(), person.values.tolist(), strict=True)))
        try:
            reasons = folded.explain(item_id, ask.n)
        except DataError as error:
            raise Problem(422, "nothing-to-explain", str(error), field="item") from error
        return schemas.Explanation(
            item=item_id,
            title=self.catalogue.title(item),
            prediction=float(folded.predict([item_id])[0]),
            reasons=[schemas.Reason(item=r.item, title=r.title, rating=r.rating, effect=r.effect) for r in reasons],
        )

    @cached_property
    def _has_branches(self) -> bool:
        someone = self._people([Person(np.empty(0, np.int64), np.empty(0, np.float32))])
        return someone.score_parts(0, np.zeros(1, np.int64)) is not None

    @cached_property
    def map_json(self) -> bytes:
        """The map as it is sent."""
        return self.catalogue.map.model_dump_json().encode()

    @cached_property
    def description(self) -> schemas.Model:
        """What answers."""
        recommender, history = self.recommender, self.history
        levels = np.unique(history.values)
        return schemas.Model(
            model=recommender.name,
            preset=recommender.preset,
            fingerprint=self.fingerprint,
            users=int(np.count_nonzero(history.user_counts)),
            items=int(np.count_nonzero(self.rated)),
            ratings=len(history),
            scale=list(history.scale),
            levels=levels.tolist() if len(levels) <= MOST_LEVELS else [],
            user_ids="integer" if history.users.is_integer else "string",
            item_ids="integer" if history.items.is_integer else "string",
            knows_uncertainty=recommender.knows_uncertainty,
            predicts_ratings=recommender.predicts_ratings,
            has_branches=self._has_branches,
        )


class Live:
    """The engine that answers now, which a reload replaces.

    Parameters
    ----------
    run : Path
        Read again at every reload: another run may have been put in its place.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self.engine = Engine.load(run)

    def reload(self) -> tuple[str, str]:
        """Load the run if it is another one now, and let it answer; if it cannot, the old one goes on.

        Returns
        -------
        fingerprint, previous : str

        Raises
        ------
        HyvaeError
        """
        previous = self.engine
        if digest_of(self._run) != previous.digest:
            engine = Engine.load(self._run)
            if (engine.history.users.is_integer, engine.history.items.is_integer) != (
                previous.history.users.is_integer,
                previous.history.items.is_integer,
            ):
                raise DataError(f"{self._run} has ids of another type; start a service of its own for it")
            self.engine = engine
        return self.engine.fingerprint, previous.fingerprint


def digest_of(run: Path) -> str:
    """Of a run's config, which changes whenever one of its files does; empty where there is none."""
    try:
        return config_digest(run)
    except OSError:
        return ""
