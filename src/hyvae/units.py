"""The unit in which models see ratings, and the bias model that it is taken from.

Ratings may be stars, points of 100, or seconds. A model sees them less their mean, over the residual standard deviation
of the bias model: what is left to learn has the deviation 1, whatever the ratings are. Learning rates, penalties,
priors and tolerances are numbers in that unit.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hyvae.models.bias import Bias, BiasConfig
from hyvae.nn.precision import single_precision
from hyvae.people import squared_residuals
from hyvae.ratings import Ratings
from hyvae.scoring import rating_block

#: as ratings were given: 0 is 0 to the model, and 1 is 1
RAW = torch.tensor([0.0, 1.0], dtype=torch.float32)
# share of the ratings' own deviation that the unit is at least, where the bias model explains them altogether
_LEAST = 1e-3


def new_bias_model(n_users: int, n_items: int, scale: tuple[float, float], *, device: str) -> Bias:
    """A bias model that is not fitted yet."""
    with single_precision():
        return Bias(BiasConfig(), n_users, n_items, scale).to(device)


def fitted_bias_model(ratings: Ratings, device: str, unit: Tensor | None = None) -> Bias:
    """The bias model of some ratings, in the unit in which a model is to see them.

    Parameters
    ----------
    unit : (2,) tensor, optional
        As `RatingModel.unit`; default: the standard unit of these ratings.
    """
    bias = new_bias_model(ratings.n_users, ratings.n_items, ratings.scale, device=device)
    # the residuals' deviation is not known before the fit: until then, that of the ratings
    bias.use_unit(_own_unit(ratings) if unit is None else unit)
    block = rating_block(bias, ratings)
    bias.finish(block)
    if unit is None:
        bias.restate(max(float(squared_residuals(bias, block).mean().sqrt()), _LEAST))
        # by the ratings as they are in that unit, rounded anew: what folding in computes
        bias.user_bias.copy_(bias.encode(rating_block(bias, ratings))[:, 0] - bias.mean)
    return bias.eval()


def _own_unit(ratings: Ratings) -> Tensor:
    values = ratings.values.astype(np.float64)
    return torch.tensor([values.mean(), values.std() or 1.0], dtype=torch.float32)
