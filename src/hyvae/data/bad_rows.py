"""Rows that cannot be used: the first is an error, or all are left out, counted and listed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from hyvae.errors import DataError, warn
from hyvae.wording import say

Place = Callable[[int], str]
MOST_LISTED = 20


class BadRows:
    """Collects, check by check, which rows of a source cannot be used, and why.

    Parameters
    ----------
    n_rows : int
    """

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self._found: list[tuple[NDArray[np.bool_], Callable[[int], str]]] = []

    def add(self, bad: pl.Series, reason: Callable[[int], str]) -> None:
        """Note the rows where `bad` holds; `reason` says of a row (from 0) what is wrong, and the mend."""
        if bad.any():
            self._found.append((bad.to_numpy(), reason))

    def settle(self, source: str, place: Place, *, skip: bool) -> NDArray[np.int64] | None:
        """Row numbers (from 0) that can be used; None for all of them.

        Parameters
        ----------
        place : callable
            How messages call the row with this 1-based number.
        skip : bool
            Leave bad rows out, with a `DataWarning` that counts and lists them; else the first is an error.

        Raises
        ------
        DataError
            A bad row (unless `skip`), or nothing but bad rows.
        """
        if not self._found:
            return None
        rows = np.flatnonzero(np.logical_or.reduce([bad for bad, _ in self._found]))
        if not skip:
            mend = say("on_bad_rows='skip'", "--on-bad-rows skip")
            raise DataError(
                f"{source}, {place(int(rows[0]) + 1)}: {self._reason(int(rows[0]))} "
                f"({len(rows):,} bad row{'s' * (len(rows) > 1)} in all; {mend} leaves them out)"
            )
        listed = [f"{place(row + 1)}: {self._reason(row)}" for row in rows[:MOST_LISTED].tolist()]
        if len(rows) > MOST_LISTED:
            listed.append(f"and {len(rows) - MOST_LISTED:,} more")
        if len(rows) == self.n_rows:
            raise DataError(f"{source}: none of its {self.n_rows:,} rows can be used; {listed[0]}")
        count = f"{source}: left out {len(rows):,} of {self.n_rows:,} rows"
        warn("\n  ".join([count, *listed]))
        return np.setdiff1d(np.arange(self.n_rows), rows, assume_unique=True)

    def _reason(self, row: int) -> str:
        return next(reason(row) for bad, reason in self._found if bad[row])
