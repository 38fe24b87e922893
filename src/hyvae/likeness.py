"""How alike items are to a model: the cosine of their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def directions(rows: Tensor) -> NDArray[np.float32]:
    """Rows of items, without the constant that some have last, of length 1."""
    found = rows.detach().cpu().numpy()
    found = found[:, :-1] if found.shape[1] > 1 else found
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def most_alike(
    of_all: NDArray[np.float32], candidates: NDArray[np.bool_], item: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The `n` candidates most like an item, without itself, and their cosines; fewer where there are no more.

    Parameters
    ----------
    of_all : (n_items, width) array
        From `directions`.
    candidates : (n_items,) bool array
    """
    alike = of_all @ of_all[item]
    others = candidates.copy()
    others[item] = False
    places = np.flatnonzero(others)
    order = places[np.argsort(-alike[places], kind="stable")[:n]]
    return order, alike[order]
