"""Which items make a list: filters, certainty, and diversity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyvae.recommender import Recommender
from hyvae.serving import schemas
from hyvae.serving.catalogue import Catalogue
from hyvae.serving.problems import Problem
from hyvae.uncertainty import Evidence

# of a list that is to be diverse: the best so many times its length are chosen from
POOL = 10
LEAST_POOL = 100
# or each of a long list's many comparisons would be with thousands
MOST_POOL = 1_000


def choose(
    ask: schemas.RecommendRequest,
    seen: NDArray[np.int64],
    scores: NDArray[np.float32],
    evidence: Evidence | None,
    recommender: Recommender,
    catalogue: Catalogue,
) -> NDArray[np.int64]:
    """The items of a list, best first; fewer than asked for where no more are left.

    Parameters
    ----------
    seen : (k,) int array
        Items that the person has rated.
    scores : (n_items,) array
        Of all items, not clipped, so that those at the end of the scale have an order.
    evidence : Evidence or None
        Of the one person.

    Raises
    ------
    Problem
        404 for an unknown item of `allow` or `deny`; 422 for `max_sd` where certainty is not known.
    """
    allowed = recommender.item_counts > 0
    if ask.allow is not None:
        named = np.zeros(len(allowed), bool)
        named[catalogue.indices(ask.allow, "allow")] = True
        allowed &= named
    allowed[catalogue.indices(ask.deny, "deny")] = False
    if not ask.include_seen:
        allowed[seen] = False
    candidates = np.flatnonzero(allowed)
    if ask.max_sd is not None:
        candidates = candidates[_deviation(scores[candidates], evidence, recommender) <= ask.max_sd]
    size = ask.n if ask.diversity == 0 else min(max(POOL * ask.n, LEAST_POOL), MOST_POOL)
    if len(candidates) > size:
        candidates = candidates[np.argpartition(-scores[candidates], size - 1)[:size]]
    # ties by place in the catalogue, as everywhere
    candidates = candidates[np.lexsort((candidates, -scores[candidates]))]
    if ask.diversity > 0 and len(candidates):
        chosen = diverse(scores[candidates], catalogue.directions(candidates), ask.n, ask.diversity)
        candidates = candidates[chosen]
    return candidates


def _deviation(scores: NDArray[np.float32], evidence: Evidence | None, recommender: Recommender) -> NDArray[np.float64]:
    if evidence is None:
        unknown = "this run does not know how sure it is: train with a split"
        raise Problem(422, "certainty-unknown", unknown, field="max_sd")
    everyone = evidence.take(np.zeros(len(scores), np.int64))
    return recommender.uncertainty.deviation(scores.clip(*recommender.history.scale), everyone)


def diverse(scores: NDArray[np.float32], directions: NDArray[np.float32], n: int, diversity: float) -> list[int]:
    """Places of a list by maximal marginal relevance (Carbonell, Goldstein 1998).

    Parameters
    ----------
    scores : (k,) array
        Relevance, which is brought to 0 to 1.
    directions : (k, width) array
        Of length 1: their products are how alike two items are.
    diversity : float
        0: by score alone. 1: after the first, the least like what is chosen already.
    """
    relevance = (scores - scores.min()) / (float(np.ptp(scores)) or 1.0)
    closest = np.full(len(scores), -np.inf, np.float32)
    chosen: list[int] = []
    free = np.ones(len(scores), bool)
    for _ in range(min(n, len(scores))):
        gain = (1 - diversity) * relevance - diversity * closest if chosen else relevance
        best = int(np.where(free, gain, -np.inf).argmax())
        chosen.append(best)
        free[best] = False
        closest = np.maximum(closest, directions @ directions[best])
    return chosen
