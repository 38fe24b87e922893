"""Ratings as the driver exports them: CSR arrays in one .npz file, which every system's Python can read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Arrays(NamedTuple):
    """One part of a data set: rows are users, columns items, both numbered from 0."""

    indptr: np.ndarray
    indices: np.ndarray
    values: np.ndarray
    n_items: int
    scale: tuple[float, float]

    @property
    def n_users(self) -> int:
        return len(self.indptr) - 1

    @property
    def user_index(self) -> np.ndarray:
        """User of each rating, shape (n_ratings,)."""
        return np.repeat(np.arange(self.n_users), np.diff(self.indptr))


def load(path: str) -> Arrays:
    with np.load(path) as file:
        low, high = file["scale"]
        return Arrays(file["indptr"], file["indices"], file["values"], int(file["n_items"]), (float(low), float(high)))


def errors(predictions: np.ndarray, part: Arrays) -> dict[str, float]:
    """RMSE and MAE of predictions of all ratings of a part, clipped to the scale: pooled, and means over users."""
    difference = np.clip(predictions, *part.scale) - part.values.astype(np.float64)
    rated = np.bincount(part.user_index)
    by_user = {power: np.bincount(part.user_index, np.abs(difference) ** power)[rated > 0] for power in (1, 2)}
    rated = rated[rated > 0]
    return {
        "rmse": float(np.sqrt((difference**2).mean())),
        "mae": float(np.abs(difference).mean()),
        "um_rmse": float(np.sqrt(by_user[2] / rated).mean()),
        "um_mae": float((by_user[1] / rated).mean()),
    }


def parts_of(settings: dict[str, Any]) -> dict[str, Arrays]:
    """The parts whose files the settings name."""
    return {name: load(settings[name]) for name in ("train", "valid", "test") if name in settings}
