"""How much a request may ask for, and what it is charged. The unit of work is one plain question of a batch.

The prices are times measured on MovieLens small (preset ``fast``), where a list of ten for someone with a dozen ratings
takes 0.34 ms in a batch of 32.
"""

from __future__ import annotations

from hyvae.serving import schemas
from hyvae.serving.problems import Problem

#: of one request: 100 lists of 100, or 1,000 pairs
MOST_WORK = 1_250
#: braces and brackets of a body: each becomes an object in memory, several hundred bytes large; and its commas
MOST_OBJECTS, MOST_VALUES = 10_000, 40_000
#: a title that is not known, for which similar ones are looked up
HINT = 70.0
#: a search by title; items alike
SEARCH, SIMILAR = 12.0, 4.0
#: in front of the application: bytes of the request line and the headers
HEAD = 65_536
#: bytes of an answer that wait in memory for a client to read them
UNREAD = 16_384
#: bytes of a connection that the system keeps until the service reads them
UNSEEN = 32_768
#: bytes of an answer that are written at once
PIECE = 65_536
#: work that a token of the rate limit pays for; the first is free
_PER_TOKEN = 4.0
_BYTES_PER_TOKEN = 8_192
#: tokens of a request that asks for too much, or is not what it should be: to find that out is work too
REFUSED = 5.0

_LINES, _DISTRIBUTED, _GIVEN, _DIVERSE, _NAMED, _EXPLAINED = 12, 7.5, 100, 12, 1_000, 10


def work_of(question: schemas.RecommendRequest | schemas.PredictRequest | schemas.ExplainRequest, given: int) -> float:
    """What a question costs: by its ratings, the lines of its answer, and what each line needs.

    Parameters
    ----------
    given : int
        Ratings that it is about.
    """
    if isinstance(question, schemas.ExplainRequest):
        return 20 + given / _EXPLAINED
    work = 1 + given / _GIVEN
    if isinstance(question, schemas.PredictRequest):
        lines = len(question.items)
        return work + lines / _LINES + (lines / _DISTRIBUTED) * (question.distribution + question.branches)
    named = len(question.allow or ()) + len(question.deny)
    return work + question.n / _LINES + named / _NAMED + (question.n / _DIVERSE if question.diversity else 0)


def check_work(work: float) -> None:
    """Refuse a request that asks for more than one may.

    Raises
    ------
    Problem
        413.
    """
    if work > MOST_WORK:
        raise Problem(
            413,
            "too-much-work",
            f"the request asks for {work / MOST_WORK:.1f} times the work that one may take: send fewer questions, "
            "shorter lists or fewer items at once",
        )


def check_objects(body: bytes) -> None:
    """Refuse a body whose parsing would take long, and many times its size in memory; counted before it is parsed.

    Raises
    ------
    Problem
        413.
    """
    if body.count(b"{") + body.count(b"[") > MOST_OBJECTS or body.count(b",") > MOST_VALUES:
        raise Problem(
            413,
            "too-large",
            f"a request may have {MOST_OBJECTS:,} objects, such as ratings, and {MOST_VALUES:,} values; send several",
        )


def tokens_for_bytes(size: int) -> float:
    """Tokens of the rate limit that a body costs beyond the first, which every request costs."""
    return max(0.0, size / _BYTES_PER_TOKEN - 1)


def tokens_for_work(work: float) -> float:
    """Tokens that work costs beyond the first."""
    return max(0.0, work / _PER_TOKEN - 1)
