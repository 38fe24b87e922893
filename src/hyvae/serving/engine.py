"""A loaded run, and its answers to many questions at once."""

from __future__ import annotations

import hashlib
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
from hyvae.runs import CONFIG
from hyvae.serving import schemas
from hyvae.serving.problems import Problem
from hyvae.titles import ItemFinder, normalise
from hyvae.uncertainty import Evidence

# of a list that is to be diverse: the best so many times its length are chosen from
POOL = 10
LEAST_POOL = 100
MOST_LEVELS = 20
MAPPED = 2_000
#: what a person has told since training: of users, by id, ratings by item id; and who is to be forgotten
Told = Mapping[Id, Mapping[Id, float]]


class Person(NamedTuple):
    """Someone by their ratings: item indices, ascending, and values."""

    items: NDArray[np.int64]
    values: NDArray[np.float32]


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
        self.finder = ItemFinder(self.history.items, self.history.titles)
        self.rated = recommender.item_counts > 0
        self.fingerprint = recommender.fingerprint
        self.loaded_at = time.time()

    @classmethod
    def load(cls, run: Path) -> Engine:
        """Read a run, and ask it once: one that cannot answer is refused here.

        Raises
        ------
        RunError
            Not a run, damaged, or written by a newer hyvae.
        DataError
            It answers with what is no number.
        """
        digest = digest_of(run)  # first: if the run is replaced meanwhile, the next reload sees it
        engine = cls(Recommender.load(run), digest)
        some = np.flatnonzero(engine.rated)[:3]
        low, high = engine.history.scale
        someone = Person(some.astype(np.int64), np.linspace(low, high, len(some)).astype(np.float32))
        scores = engine._people([someone]).scores()
        if not np.isfinite(scores).all():
            raise DataError(f"{run} answers with scores that are no numbers; train it again")
        return engine

    # -- who and what -------------------------------------------------------------------------------------

    def item_index(self, name: Id, field: str) -> int:
        """Index of an item by id or title.

        Raises
        ------
        Problem
            404, with titles that are close.
        """
        try:
            return int(self.finder.indices([name])[0])
        except DataError as error:
            raise Problem(404, "unknown-item", str(error), field=field) from error

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
            items[place] = self.item_index(one.item, f"ratings.{place}.item")
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
        index = int(self.history.users.index([user])[0])
        told = known.ratings.get(user, {})
        if (index < 0 or user in known.forgotten) and not told:
            raise Problem(
                404, "unknown-user", f"user {user!r} is not known; ask with their ratings instead of user", field="user"
            )
        items, values = np.empty(0, np.int64), np.empty(0, np.float32)
        if index >= 0 and user not in known.forgotten:
            row_items, values = self.history.history(index)
            items = row_items.astype(np.int64)
        if told:
            newer = self.history.items.index(list(told))
            told_values = np.fromiter(told.values(), np.float32, len(told))
            # the run need not have all that was ever rated
            newer, told_values = newer[newer >= 0], told_values[newer >= 0]
            kept = ~np.isin(items, newer)
            items, values = np.concatenate([items[kept], newer]), np.concatenate([values[kept], told_values])
            order = np.argsort(items)
            items, values = items[order], values[order]
        return Person(items, values)

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

    def answer(self, questions: Sequence[schemas.RecommendRequest | schemas.PredictRequest], known: Known) -> list[Any]:
        """Answer questions together: everyone is encoded at once, and scored at once.

        Returns
        -------
        list
            `schemas.Recommendations` or `schemas.Predictions`, or a `Problem`, for each.
        """
        answers: list[Any] = [None] * len(questions)
        persons: list[Person] = []
        places: list[int] = []
        wanted: list[NDArray[np.int64]] = []
        for place, question in enumerate(questions):
            try:
                person = self.person(question, known)
                if isinstance(question, schemas.PredictRequest):
                    self._require_ratings()
                    wanted.append(self._indices(question.items, "items"))
                else:
                    wanted.append(np.empty(0, np.int64))
                persons.append(person)
                places.append(place)
            except Problem as problem:
                answers[place] = problem
        if not persons:
            return answers
        people = self._people(persons)
        evidence = people.evidence()
        lists = [row for row, place in enumerate(places) if isinstance(questions[place], schemas.RecommendRequest)]
        scores = dict(zip(lists, people.scores(lists), strict=True)) if lists else {}
        pairs = self._predicted(people, wanted)
        for row, place in enumerate(places):
            own = None if evidence is None else evidence.take(np.array([row]))
            question = questions[place]
            try:
                if isinstance(question, schemas.RecommendRequest):
                    answers[place] = self._list(question, persons[row], scores[row], own)
                else:
                    branches = self._branches(people, row, wanted[row]) if question.branches else None
                    answers[place] = schemas.Predictions(
                        predictions=self._lines(
                            wanted[row],
                            pairs[row],
                            own,
                            question.coverage,
                            no_user=not len(persons[row].items),
                            distribution=question.distribution,
                            branches=branches,
                        )
                    )
            except Problem as problem:
                answers[place] = problem
        return answers

    def _indices(self, names: Sequence[Id], field: str) -> NDArray[np.int64]:
        return np.array([self.item_index(name, f"{field}.{place}") for place, name in enumerate(names)], np.int64)

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

    def _list(
        self, ask: schemas.RecommendRequest, person: Person, scores: NDArray[np.float32], evidence: Evidence | None
    ) -> schemas.Recommendations:
        allowed = self.rated.copy()
        if ask.allow is not None:
            named = np.zeros(len(allowed), bool)
            named[self._indices(ask.allow, "allow")] = True
            allowed &= named
        allowed[self._indices(ask.deny, "deny")] = False
        if not ask.include_seen:
            allowed[person.items] = False
        candidates = np.flatnonzero(allowed)
        if ask.max_sd is not None:
            if evidence is None:
                raise Problem(
                    422,
                    "certainty-unknown",
                    "this run does not know how sure it is: train with a split",
                    field="max_sd",
                )
            candidates = candidates[self._deviation(scores[candidates], evidence) <= ask.max_sd]
        size = ask.n if ask.diversity == 0 else max(POOL * ask.n, LEAST_POOL)
        if len(candidates) > size:
            best = np.argpartition(-scores[candidates], size - 1)[:size]
            candidates = candidates[best]
        # ties by place in the catalogue, as everywhere
        candidates = candidates[np.lexsort((candidates, -scores[candidates]))]
        if ask.diversity > 0:
            candidates = self._diverse(candidates, scores[candidates], ask.n, ask.diversity)
        lines = self._lines(candidates, scores[candidates], evidence, ask.coverage, no_user=not len(person.items))
        return schemas.Recommendations(recommendations=lines)

    def _deviation(self, predictions: NDArray[np.float32], evidence: Evidence) -> NDArray[np.float64]:
        low, high = self.history.scale
        everyone = evidence.take(np.zeros(len(predictions), np.int64))
        return self.recommender.uncertainty.deviation(predictions.clip(low, high), everyone)

    def _diverse(
        self, candidates: NDArray[np.int64], scores: NDArray[np.float32], n: int, diversity: float
    ) -> NDArray[np.int64]:
        """Maximal marginal relevance (Carbonell, Goldstein 1998), with what is predicted as relevance, 0 to 1."""
        spread = float(np.ptp(scores)) or 1.0
        relevance = (scores - scores.min()) / spread
        rows = self._directions(candidates)
        closest = np.full(len(candidates), -np.inf, np.float32)
        chosen: list[int] = []
        free = np.ones(len(candidates), bool)
        for _ in range(min(n, len(candidates))):
            gain = relevance if not chosen else (1 - diversity) * relevance - diversity * closest
            best = int(np.where(free, gain, -np.inf).argmax())
            chosen.append(best)
            free[best] = False
            closest = np.maximum(closest, rows @ rows[best])
        return candidates[chosen]

    def _directions(self, items: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows of items, without the constant that some have last, of length 1."""
        rows = self.recommender.model.item_rows[items].cpu().numpy()
        rows = rows[:, :-1] if rows.shape[1] > 1 else rows
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)

    def _lines(
        self,
        items: NDArray[np.int64],
        scores: NDArray[np.float32],
        evidence: Evidence | None,
        coverage: float,
        *,
        no_user: bool,
        distribution: bool = False,
        branches: Sequence[schemas.Branches] | None = None,
    ) -> list[schemas.Prediction]:
        low, high = self.history.scale
        if self.recommender.predicts_ratings:
            scores = scores.clip(low, high)
        sd = half = shares = None
        if evidence is not None and len(items):
            everyone = evidence.take(np.zeros(len(items), np.int64))
            sd = self._deviation(scores, evidence)
            half = self.recommender.uncertainty.quantile(everyone, coverage) * sd
            if distribution:
                levels = [f"{level:g}" for level in self.recommender.uncertainty.levels.tolist()]
                found = self.recommender.uncertainty.distribution(scores, everyone)
                shares = [dict(zip(levels, row, strict=True)) for row in found.tolist()]
        ids = self.history.items.ids
        lines = []
        for place, (item, score) in enumerate(zip(items.tolist(), scores.tolist(), strict=True)):
            no_item = not self.rated[item]
            lines.append(
                schemas.Prediction(
                    item=ids[item : item + 1].tolist()[0],
                    title=self.title(item),
                    prediction=score,
                    sd=None if sd is None else float(sd[place]),
                    low=None if half is None else max(low, score - float(half[place])),
                    high=None if half is None else min(high, score + float(half[place])),
                    fallback=("both" if no_item else "user") if no_user else ("item" if no_item else ""),
                    distribution=None if shares is None else shares[place],
                    branches=None if branches is None else branches[place],
                )
            )
        return lines

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
        item = self.item_index(ask.item, "item")
        self._require_ratings()
        ids = self.history.items.ids
        folded = self.recommender.fold_in(dict(zip(ids[person.items].tolist(), person.values.tolist(), strict=True)))
        item_id = ids[item : item + 1].tolist()[0]
        try:
            reasons = folded.explain(item_id, ask.n)
        except DataError as error:
            raise Problem(422, "nothing-to-explain", str(error), field="item") from error
        return schemas.Explanation(
            item=item_id,
            title=self.title(item),
            prediction=float(folded.predict([item_id])[0]),
            reasons=[schemas.Reason(item=r.item, title=r.title, rating=r.rating, effect=r.effect) for r in reasons],
        )

    # -- the catalogue ------------------------------------------------------------------------------------

    def title(self, item: int) -> str:
        """What an item is called; its id where it has no title."""
        titles = self.history.titles
        return str(self.history.items.ids[item] if titles is None else titles[item])

    def _item(self, item: int) -> dict[str, Any]:
        return {
            "item": self.history.items.ids[item : item + 1].tolist()[0],
            "title": self.title(item),
            "ratings": int(self.recommender.item_counts[item]),
        }

    @cached_property
    def _searchable(self) -> list[str]:
        return [normalise(self.title(item)) for item in range(self.history.n_items)]

    def search(self, query: str, limit: int) -> schemas.Items:
        """Items whose titles hold what was typed: those that begin with it first, and of these what is rated most."""
        wanted = normalise(query)
        words = wanted.split()
        counts = self.recommender.item_counts
        found = []
        for item, title in enumerate(self._searchable):
            if all(word in title for word in words):
                rank = 0 if title == wanted else 1 if title.startswith(wanted) else 2 if wanted in title else 3
                found.append((rank, -int(counts[item]), item))
        if not found and self.finder.titles is not None:
            close = self.finder.titles.similar(query, limit)
            found = [(4, 0, index) for title in close for index in self.finder.titles.find(title)[:1]]
        return schemas.Items(items=[schemas.Item(**self._item(item)) for *_, item in sorted(found)[:limit]])

    def popular(self, limit: int) -> schemas.Items:
        """What is rated most."""
        order = np.argsort(-self.recommender.item_counts, kind="stable")[:limit]
        return schemas.Items(items=[schemas.Item(**self._item(item)) for item in order.tolist()])

    @cached_property
    def _all_directions(self) -> NDArray[np.float32]:
        return self._directions(np.arange(self.history.n_items))

    def similar(self, name: Id, limit: int) -> schemas.SimilarItems:
        """Items that the model knows the most alike.

        Raises
        ------
        Problem
            404.
        """
        item = self.item_index(name, "item")
        alike = self._all_directions @ self._all_directions[item]
        alike[~self.rated] = -np.inf
        alike[item] = -np.inf
        order = [other for other in np.argsort(-alike, kind="stable")[:limit].tolist() if np.isfinite(alike[other])]
        return schemas.SimilarItems(
            items=[schemas.SimilarItem(**self._item(other), similarity=float(alike[other])) for other in order]
        )

    @cached_property
    def map(self) -> schemas.Map:
        """The most rated items in two dimensions: the principal components of their directions."""
        items = np.argsort(-self.recommender.item_counts, kind="stable")[:MAPPED]
        rows = self._directions(items)
        rows = rows - rows.mean(0)
        # from the smaller of the two Gram matrices: rows of all draws are long
        values, vectors = np.linalg.eigh((rows @ rows.T).astype(np.float64))
        places = vectors[:, -2:][:, ::-1] * np.sqrt(values[-2:][::-1].clip(0))
        places = places / (np.abs(places).max(0) + 1e-12)
        return schemas.Map(
            items=[
                schemas.Place(**self._item(item), x=float(x), y=float(y))
                for item, (x, y) in zip(items.tolist(), places.tolist(), strict=True)
            ]
        )

    @cached_property
    def _has_branches(self) -> bool:
        someone = self._people([Person(np.empty(0, np.int64), np.empty(0, np.float32))])
        return someone.score_parts(0, np.zeros(1, np.int64)) is not None

    def describe(self) -> schemas.Model:
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
        return hashlib.sha256((run / CONFIG).read_bytes()).hexdigest()
    except OSError:
        return ""
