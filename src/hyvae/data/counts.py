"""A notice where ratings look like counts: plays or hours, which are on no scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyvae.errors import warn
from hyvae.wording import say

# no scale goes further
_HIGHEST_RATING = 100
# of the highest value and the middle one: on a scale they are near each other
_LEAST_SKEW = 10


def warn_of_counts(ratings: NDArray[np.float32], source: str) -> None:
    """Say so where the highest rating is far beyond any scale and far from the middle one.

    Warns
    -----
    DataWarning
    """
    low, high = float(ratings.min()), float(ratings.max())
    if low < 0 or high <= _HIGHEST_RATING:
        return
    middle = float(np.median(ratings))
    if high > _LEAST_SKEW * middle:
        taking = say(
            "Recommender('mult_vae', preset='ranking', positive_from=1)",
            "--model mult_vae --preset ranking --set positive_from=1",
        )
        warn(
            f"{source}: the ratings run from {low:g} to {high:g} with {middle:g} in the middle, as plays or hours do; "
            f"for who took what, train {taking}; if they are ratings, declare {say('scale=…', '--scale LOW,HIGH')}"
        )
