"""Ratings that stand for *not rated*: those that the caller names, and a notice where a value looks like one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.errors import warn
from hyvae.wording import say

# a value that many rows share is found in a part of them
_MOST_LOOKED_AT = 1_000_000
# a scale has no more steps; a value apart from finer ones must be frequent
_MOST_STEPS = 101
_FREQUENT = 0.005


def not_rated_rows(column: pl.Series, values: Sequence[float | str]) -> pl.Series | None:
    """Where a rating is one of the values that stand for *not rated*; None where none is."""
    numbers = [value for value in values if isinstance(value, float)]
    texts = [value for value in values if isinstance(value, str)]
    found = pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        found |= text.is_in(texts).fill_null(False)
        column = text.cast(pl.Float64, strict=False)
        empty = text.is_null() | (text == "").fill_null(False)
    else:
        empty = column.is_null()
    if "" in texts:
        found |= empty
    if numbers and column.dtype.is_numeric():
        exact = np.array(numbers, np.float32).tolist()  # as exact as ratings are
        found |= column.cast(pl.Float32, strict=False).is_in(exact).fill_null(False)
    return found if found.any() else None


def warn_of_sentinel(ratings: NDArray[np.float32], source: str) -> None:
    """Say so where the lowest or highest rating looks as if it stood for *not rated*.

    Warns
    -----
    DataWarning
    """
    step = -(-len(ratings) // _MOST_LOOKED_AT)
    counted = pl.Series("rating", ratings[::step]).value_counts(name="count").sort("rating")
    levels, counts = counted["rating"].to_numpy().astype(np.float64), counted["count"].to_numpy()
    if len(levels) < 2:
        return
    for end, inner in ((0, slice(1, None)), (-1, slice(None, -1))):
        others = levels[inner]
        if _stands_apart(levels[end], others, counts, end) or (end == 0 and _is_spike_at_zero(levels, counts)):
            mend = say(f"not_rated={levels[end]:g}", f"--not-rated {levels[end]:g}")
            warn(
                f"{source}: {counts[end] / counts.sum():.0%} of the ratings are {levels[end]:g}, the others "
                f"{others[0]:g} to {others[-1]:g}; if {levels[end]:g} means 'not rated', say {mend}"
            )


def _stands_apart(level: float, others: NDArray[np.float64], counts: NDArray[np.integer], end: int) -> bool:
    """Whether a level at the end of the scale is far from the next, seen beside the steps of the others."""
    gap, widest = np.abs(others - level).min(), np.diff(others).max(initial=0.0)
    # not the -1 of a thumb down beside 1, and not the 0 beside 1
    negative = level < 0 <= others[0] and others[-1] > -level
    if len(others) <= _MOST_STEPS and negative and (level == -1 or gap > 1.5 * widest):
        return True
    if len(others) < 2:
        return False
    if len(others) <= _MOST_STEPS and level == 0 and gap > 1.5 * widest:
        return True
    frequent = counts[end] >= max(2, _FREQUENT * counts.sum())
    return bool(frequent and gap >= 3 * widest)


def _is_spike_at_zero(levels: NDArray[np.float64], counts: NDArray[np.integer]) -> bool:
    """Whether 0 is given far more often than the rating above it."""
    on_a_scale = levels[0] == 0 and 2 < len(levels) <= _MOST_STEPS
    return bool(on_a_scale and counts[0] >= max(3, 2 * counts[1], 0.02 * counts.sum()))
