"""Which ratings a training step hides: a pure function of (seed, step, rating)."""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = (1 << 53) - 1


def hidden_ratings(seed: int, step: int, keys: Tensor, share: float) -> Tensor:
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
    (n,) bool tensor
    """
    mixed = _mix(keys + _signed(_mix_int(_mix_int(seed) + step)))
    return (mixed & _MASK).double() / float(_MASK + 1) < share


def _shifted(x: Tensor, bits: int) -> Tensor:
    # int64 shifts keep the sign; a logical shift drops it
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _mix_int(value: int) -> int:
    return int(_mix(torch.tensor([_signed(value)]))[0]) % 2**64


def _signed(value: int) -> int:
    """The int64 with the same bits as `value` modulo 2^64."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value
