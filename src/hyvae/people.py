"""People known by their ratings alone, many at once: encoded together, scored together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyvae.models.base import RatingBlock, RatingModel
from hyvae.models.bias import Bias
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings
from hyvae.scoring import best_items, rating_block
from hyvae.uncertainty import Evidence, Uncertainty


class Answering(NamedTuple):
    """What answers: the model, and the bias model where it cannot.

    Attributes
    ----------
    item_counts : (n_items,) int array
        Ratings that each item is known from; the bias model answers for those without.
    uncertainty : Uncertainty or None
    """

    model: RatingModel
    floor: Bias
    item_counts: NDArray[np.int64]
    uncertainty: Uncertainty | None
    device: str


class People:
    """People who need not have been there at training, a row each; made by `Recommender.people`.

    Parameters
    ----------
    answering : Answering
    ratings : Ratings
        All that is known of them; items are the model's.
    """

    def __init__(self, answering: Answering, ratings: Ratings) -> None:
        self.answering, self.ratings = answering, ratings
        # the bias model has the same unit
        self.block: RatingBlock = replace(rating_block(answering.model, ratings), users=None)
        # a model that ranks knows what is popular, where nothing is known of someone's taste
        self._strangers = (ratings.user_counts == 0) & answering.model.predicts_ratings
        self._unrated = answering.item_counts == 0

    @cached_property
    def codes(self) -> Tensor:
        """What the model makes of their ratings, (n_people, width)."""
        with torch.no_grad():
            return self.answering.model.encode(self.block)

    @cached_property
    def _floor_codes(self) -> Tensor:
        with torch.no_grad():
            return self.answering.floor.encode(self.block)

    @torch.no_grad()
    def scores(self, rows: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Predicted rating of every item (or its score, of a model that ranks); (n_rows, n_items), not clipped.

        Parameters
        ----------
        rows : sequence of int, optional
            Some of the people; default: all.
        """
        model, floor = self.answering.model, self.answering.floor
        some, everything = slice(None) if rows is None else list(rows), slice(0, model.n_items)
        scores = _as_ratings(model, model.score(self.codes[some], everything))
        others = self._strangers[some, None] | self._unrated[None, :]
        if others.any():
            np.copyto(scores, _as_ratings(floor, floor.score(self._floor_codes[some], everything)), where=others)
        return scores

    @torch.no_grad()
    def predict(self, wanted: Ratings) -> NDArray[np.float32]:
        """Predicted ratings of the pairs of `wanted`, in its row order, whose ratings do not matter; not clipped.

        Parameters
        ----------
        wanted : Ratings
            With these people and items.
        """
        model, floor, device = self.answering.model, self.answering.floor, self.answering.device
        pattern = SparsePattern.from_numpy(wanted.indptr, wanted.indices, wanted.n_items, device)
        scores = model.ratings(model.score_pairs(self.codes, pattern)).cpu().numpy()
        others = self._strangers[wanted.user_index] | self._unrated[wanted.indices]
        if others.any():
            baseline = floor.ratings(floor.score_pairs(self._floor_codes, pattern)).cpu().numpy()
            scores[others] = baseline[others]
        return scores

    @torch.no_grad()
    def score_parts(self, row: int, items: NDArray[np.int64]) -> dict[str, NDArray[np.float32]] | None:
        """What the parts of a model say of some items to one of the people; see `RatingModel.score_parts`.

        In units of ratings: ``effects`` and ``draws`` are ratings, and the branches what they add.
        """
        model = self.answering.model
        order, place = np.unique(items, return_inverse=True)
        bounds = np.array([0, len(order)])
        pattern = SparsePattern.from_numpy(bounds, order, self.ratings.n_items, self.answering.device)
        parts = model.score_parts(self.codes[row : row + 1], pattern)
        if parts is None:
            return None
        rated = {
            name: model.ratings(part) if name in ("effects", "draws") else part * model.unit[1]
            for name, part in parts.items()
        }
        return {name: part.cpu().numpy()[place] for name, part in rated.items()}

    def best(
        self, n: int, *, include_seen: bool = False, among: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The `n` items of highest score of each, as `hyvae.scoring.best_items` gives them.

        Parameters
        ----------
        among : (n_items,) bool array, optional
            Items that may be listed; default: all with ratings.
        """
        seen = None if include_seen else self.block.pattern
        known = ~self._unrated if among is None else among
        items, scores = best_items(self.answering.model, self.codes, n, seen, known)
        if self._strangers.any():
            by_floor = best_items(self.answering.floor, self._floor_codes, n, seen, known)
            items[self._strangers], scores[self._strangers] = (each[self._strangers] for each in by_floor)
        return items, scores

    @torch.no_grad()
    def evidence(self) -> Evidence | None:
        """What their ratings tell of how sure predictions for each are; None where no model of that was fitted."""
        uncertainty = self.answering.uncertainty
        if uncertainty is None:
            return None
        squares = self.block.pattern.row_sums(squared_residuals(self.answering.floor, self.block)).cpu().numpy()
        return Evidence.of(self.ratings.user_counts, squares.astype(np.float64), float(uncertainty.residual_variance))


def _as_ratings(model: RatingModel, scores: Tensor) -> NDArray[np.float32]:
    """Scores as `RatingModel.ratings` gives them, in their place: to wake threads for so few takes longer."""
    ratings: NDArray[np.float32] = scores.cpu().numpy()
    location, deviation = model.unit.cpu().numpy()
    ratings *= deviation
    ratings += location
    return ratings


@torch.no_grad()
def squared_residuals(floor: Bias, block: RatingBlock) -> Tensor:
    """Of the ratings of a block to what the bias model makes of them, (nnz,), in its unit."""
    return (block.values - floor.score_pairs(floor.encode(block), block.pattern)).square()
