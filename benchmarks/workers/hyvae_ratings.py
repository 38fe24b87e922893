"""Exported arrays as hyvae's `Ratings`, without a sort."""

from __future__ import annotations

import numpy as np
from arrays import load

from hyvae.ratings import Ratings, Vocabulary


def ratings_of(path: str) -> Ratings:
    part = load(path)
    users, items = Vocabulary(np.arange(part.n_users)), Vocabulary(np.arange(part.n_items))
    return Ratings(users, items, part.indptr, part.indices, part.values, part.scale, source=path)
