"""Which of a person's own ratings moved a prediction: each is left out in turn, and the person encoded again.

No approximation of the model stands between: an effect is the difference of two of its answers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hyvae.models.base import RatingBlock, RatingModel
from hyvae.nn.sparse import SparsePattern

#: ratings that are left out in turn; of longer histories those of the items most like the one that is asked for
MOST_LEFT_OUT = 50
#: ratings of all rows that are encoded at once, which bounds memory
MOST_AT_ONCE = 65_536


@torch.no_grad()
def effects_of_ratings(model: RatingModel, block: RatingBlock, item: int) -> tuple[Tensor, Tensor]:
    """What each rating of a row changes about the prediction of an item.

    Parameters
    ----------
    block : RatingBlock
        One row, with at least two ratings.
    item : int

    Returns
    -------
    places : (n,) int64 tensor
        Places in the row of the ratings that were left out; of the item's own rating, if any, never.
    effects : (n,) tensor
        The prediction with all ratings less that without this one, on the rating scale and not clipped.
    """
    model.eval()
    places = _considered(model, block, item)
    # of long histories a few at a time: each is encoded in full
    rows = max(1, MOST_AT_ONCE // max(1, block.pattern.nnz))
    scores = [_predictions_without(model, block, item, some) for some in places.split(rows)]
    return places, torch.cat([each[0] - each[1:] for each in scores]) * model.unit[1]


def _predictions_without(model: RatingModel, block: RatingBlock, item: int, places: Tensor) -> Tensor:
    """Scores of an item from all ratings of a row, and from all but each of those at some places."""
    rows, total = 1 + len(places), block.pattern.nnz
    # the first row is whole
    keep = torch.ones(rows, total, dtype=torch.bool, device=places.device)
    keep[torch.arange(1, rows, device=places.device), places] = False
    crow = torch.nn.functional.pad(keep.sum(1).cumsum(0), (1, 0))
    col = block.pattern.col.expand(rows, total)[keep]
    values = block.values.expand(rows, total)[keep]
    codes = model.encode(RatingBlock(SparsePattern((rows, model.n_items), crow, col), values))
    wanted = torch.full((rows,), item, dtype=block.pattern.col.dtype, device=places.device)
    return model.score_pairs(
        codes, SparsePattern((rows, model.n_items), torch.arange(rows + 1, device=places.device), wanted)
    )


def _considered(model: RatingModel, block: RatingBlock, item: int) -> Tensor:
    places = torch.nonzero(block.pattern.col != item).squeeze(1)
    if len(places) <= MOST_LEFT_OUT:
        return places
    rows = torch.nn.functional.normalize(model.item_rows[block.pattern.col[places].long()], dim=1)
    alike = (rows @ model.item_rows[item]).abs()
    return places[alike.topk(MOST_LEFT_OUT).indices.sort().values]
