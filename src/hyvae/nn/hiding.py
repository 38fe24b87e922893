"""Random choices that are a pure function of a counter: which ratings a step hides, which units dropout drops."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hyvae.nn import kernels
from hyvae.nn.randomness import draw_key


def visible_ratings(seed: int, step: int, keys: Tensor, share: float) -> Tensor:
    """Choose the ratings that step `step` hides.

    A counter-based hash (the finaliser of SplitMix64, Steele et al. 2014), so that any block of rows on any machine
    can tell its own part without a random state to pass around.

    Parameters
    ----------
    keys : (n,) int64 tensor
        Row number of each rating in the training ratings.
    share : float
        Expected share of hidden ratings, 0 to 1.

    Returns
    -------
    (n,) float32 tensor
        0 for a hidden rating, 1 for one that is seen.
    """
    return kernels.visible(keys, kernels.signed(kernels.mixed(kernels.mixed(seed) + step)), share)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, key: int, rate: float) -> Tensor:
        ctx.key, ctx.rate = key, rate
        return kernels.dropout(x, key, rate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # the same units again, from the same key: no mask is kept
        return kernels.dropout(grad, ctx.key, ctx.rate), None, None


def dropout(x: Tensor, rate: float, training: bool, key: int | None = None) -> Tensor:
    """Set a share of the units to zero and scale the others up (Srivastava et al. 2014).

    torch's own draws one unit after the other on one thread; here one number is drawn, and hashed on all of them.

    Parameters
    ----------
    rate : float
        Expected share of units dropped, 0 to 1 (1 excluded).
    key : int, optional
        Tells which; default: drawn.
    """
    if not training or rate == 0:
        return x
    return _Dropout.apply(x, draw_key() if key is None else key, rate)
