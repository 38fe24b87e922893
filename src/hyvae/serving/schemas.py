"""What requests and answers look like; the OpenAPI document is made of it."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr, model_validator

from hyvae.ratings import LONGEST_ID

MOST_RATINGS = 5_000
MOST_ITEMS = 1_000
MOST_PAIRS = 1_000
MOST_EVENTS = 1_000
MOST_REQUESTS = 100
LONGEST_LIST = 500
LONGEST_KEY = 200
LONGEST_QUERY = 200
_BIGGEST = 2**63 - 1
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def writable(text: str) -> str:
    """Refuse control characters and lone surrogates: not all databases and addresses take them."""
    if _UNWRITABLE.search(text):
        raise ValueError("must be text without control characters")
    return text


def _short(text: str) -> str:
    if len(text.encode()) > LONGEST_ID:
        raise ValueError(f"must have {LONGEST_ID:,} bytes at most")
    return text


Key = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_KEY), AfterValidator(writable)]
Name = Annotated[
    StrictStr, Field(min_length=1, max_length=LONGEST_ID), AfterValidator(writable), AfterValidator(_short)
]
Id = Annotated[StrictInt, Field(ge=-_BIGGEST, le=_BIGGEST)] | Name
Coverage = Annotated[float, Field(0.9, gt=0, lt=1, description="share of ratings that intervals are to hold")]
Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]


class Request(BaseModel):
    """Base of all requests: what is not described is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Rated(Request):
    """An item and its rating."""

    item: Id = Field(description="id or title")
    rating: Number


class Who(Request):
    """Whom a question is about: a user, or someone given by their ratings."""

    user: Id | None = Field(None, description="a known user, with all that was stored of them since training")
    ratings: list[Rated] | None = Field(
        None, max_length=MOST_RATINGS, description="the ratings of someone, known or not, who is answered from these"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.user is None) == (self.ratings is None):
            raise ValueError("say who: give exactly one of user and ratings")
        return self


class RecommendRequest(Who):
    """A list for someone."""

    n: int = Field(10, ge=1, le=LONGEST_LIST, description="length of the list")
    include_seen: bool = Field(False, description="whether what they rated may be on it")
    allow: list[Id] | None = Field(None, max_length=MOST_ITEMS, description="only these items, by id or title")
    deny: list[Id] = Field([], max_length=MOST_ITEMS, description="not these items, by id or title")
    max_sd: Number | None = Field(None, gt=0, description="least certainty: no item whose standard deviation is above")
    diversity: float = Field(0.0, ge=0, le=1, description="0: the best; towards 1, the more unlike each other (MMR)")
    coverage: Coverage = 0.9


class PredictRequest(Who):
    """Ratings that someone would give."""

    items: list[Id] = Field(min_length=1, max_length=MOST_ITEMS, description="by id or title")
    coverage: Coverage = 0.9
    distribution: bool = Field(False, description="also the probability of each rating level")
    branches: bool = Field(False, description="also what each branch of Hy-VAE says")


class Pair(Request):
    """A known user and an item."""

    user: Id
    item: Id


class PairsRequest(Request):
    """Ratings of pairs."""

    pairs: list[Pair] = Field(min_length=1, max_length=MOST_PAIRS)
    coverage: Coverage = 0.9
    distribution: bool = False


class ExplainRequest(Who):
    """Why an item is rated as it is."""

    item: Id
    n: int = Field(5, ge=1, le=50, description="how many reasons")


class RecommendBatch(Request):
    """Lists for many."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=MOST_REQUESTS)


class PredictBatch(Request):
    """Predictions for many."""

    requests: list[PredictRequest] = Field(min_length=1, max_length=MOST_REQUESTS)


class Event(Request):
    """A rating that a user gave."""

    user: Id
    item: Id = Field(description="id or title; stored by id")
    rating: Number
    key: Key = Field(description="of this event, yours: sent again, it is stored once")
    timestamp: int | None = Field(None, ge=0, le=_BIGGEST, description="Unix seconds; default: now")


class EventsRequest(Request):
    """Ratings to store: all or none of them."""

    events: list[Event] = Field(min_length=1, max_length=MOST_EVENTS)


# -- answers ------------------------------------------------------------------------------------------------


class Branches(BaseModel):
    """What each part of Hy-VAE adds: effects + variational + deterministic is the network's prediction."""

    effects: float = Field(description="the mean and the effects of user and item")
    variational: float = Field(description="stars that the variational branch adds")
    deterministic: float = Field(description="stars that the deterministic branch adds")
    draws: float | None = Field(None, description="what the draws beside the network answer, where there are some")


class Prediction(BaseModel):
    """A predicted rating, and how sure it is."""

    item: int | str
    title: str
    prediction: float = Field(description="on the rating scale; of a model that ranks, its score")
    sd: float | None = Field(description="standard deviation of the rating; null where it is not known")
    low: float | None = Field(description="of the interval")
    high: float | None
    fallback: str = Field(description="empty, or what had no training ratings: the bias model answered")
    distribution: dict[str, float] | None = Field(None, description="probability of each rating level")
    branches: Branches | None = None


class Predictions(BaseModel):
    """In the order in which they were asked for."""

    predictions: list[Prediction]


class PairPrediction(Prediction):
    """Of a pair."""

    user: int | str


class PairPredictions(BaseModel):
    """In the order of the pairs."""

    predictions: list[PairPrediction]


class Recommendations(BaseModel):
    """A list, best first."""

    recommendations: list[Prediction]


class RecommendationLists(BaseModel):
    """In the order of the requests."""

    results: list[Recommendations]


class PredictionLists(BaseModel):
    """In the order of the requests."""

    results: list[Predictions]


class Reason(BaseModel):
    """A rating that moved a prediction."""

    item: int | str
    title: str
    rating: float
    effect: float = Field(description="stars by which this rating moves the prediction; below 0, down")


class Explanation(BaseModel):
    """Why an item is predicted as it is."""

    item: int | str
    title: str
    prediction: float
    reasons: list[Reason] = Field(description="largest effect first")


class Item(BaseModel):
    """An item of the catalogue."""

    item: int | str
    title: str
    ratings: int = Field(description="that it is known from")


class Items(BaseModel):
    """Best match first."""

    items: list[Item]


class SimilarItem(Item):
    """An item like another."""

    similarity: float = Field(description="cosine of what the model knows of both")


class SimilarItems(BaseModel):
    """Most similar first."""

    items: list[SimilarItem]


class Place(Item):
    """An item on the map."""

    x: float
    y: float


class Map(BaseModel):
    """Items that are liked by the same people stand close."""

    items: list[Place]


class Model(BaseModel):
    """What answers."""

    model: str
    preset: str
    fingerprint: str = Field(description="of the weights and histories")
    users: int
    items: int
    ratings: int
    scale: list[float] = Field(min_length=2, max_length=2, description="least and greatest rating")
    levels: list[float] = Field(description="ratings that people gave, where there are few different ones")
    user_ids: str = Field(description="integer or string")
    item_ids: str
    knows_uncertainty: bool
    predicts_ratings: bool
    has_branches: bool


class Stored(BaseModel):
    """What was stored."""

    stored: int = Field(description="events that were new")
    repeated: int = Field(description="events that had been stored before")


class StoredEvent(BaseModel):
    """A stored rating."""

    key: str
    user: int | str
    item: int | str
    rating: float
    timestamp: int
    undone: bool


class StoredEvents(BaseModel):
    """Oldest first."""

    events: list[StoredEvent]


class Forgotten(BaseModel):
    """What was forgotten."""

    user: int | str
    events: int = Field(description="stored ratings that were deleted")
    in_run: bool = Field(description="whether the run's own ratings hold them: use 'hyvae forget' and reload")
    erased: bool | None = Field(
        description="whether the database's files hold nothing of them any more; false: a log that another process "
        "reads still does, and is emptied as soon as that is possible; null: PostgreSQL overwrites them in its time"
    )


class Reloaded(BaseModel):
    """Which run answers now."""

    fingerprint: str
    previous: str
    changed: bool


class Health(BaseModel):
    """Whether it lives, or is ready."""

    status: str
