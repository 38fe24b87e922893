"""RAND: ratings out of the air, the ceiling of any error.

Uniform over the levels of the scale, or, as Surprise's `NormalPredictor`, from a normal distribution with the mean and
deviation of the training ratings (which clipping to the scale then spoils a little). Draws are hashes of a key, the
user's history and the item: asked twice, it says the same.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from hyvae.models.base import Config, Preset, RatingBlock, RatingModel, TrainingPlan
from hyvae.nn import kernels
from hyvae.nn.randomness import generator
from hyvae.nn.sparse import SparsePattern

# whole numbers below it are exact in float32
_KEYS = 1 << 24
# a rating as given becomes a whole number, to be hashed; in another unit, that of its level
_PARTS = 1000


class RandomConfig(Config):
    """Settings of the random model."""

    draw: Literal["uniform", "normal"] = Field(
        "uniform", description="over the levels of the scale, or normal as the training ratings are (Surprise)"
    )


class Random(RatingModel):
    """Draws a rating for each user and item."""

    name: ClassVar[str] = "random"
    title: ClassVar[str] = "Random"
    citation: ClassVar[str] = "Liu et al. (2022), RAND; Surprise's NormalPredictor with draw='normal'"
    Config: ClassVar[type[Config]] = RandomConfig
    presets: ClassVar[dict[str, Preset]] = {"default": Preset(RandomConfig(), TrainingPlan(epochs=0))}

    config: RandomConfig
    key: Tensor
    mean: Tensor
    deviation: Tensor
    level: Tensor

    def __init__(self, config: RandomConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        super().__init__(config, n_users, n_items, scale, width=1)
        self.register_buffer("key", torch.randint(_KEYS, (), device="cpu", generator=generator()).float())
        for name in ("mean", "deviation", "level"):
            self.register_buffer(name, torch.ones(()))

    @property
    def exports(self) -> bool:
        """No: there are no operators for hashes of 64 bits."""
        return False

    def finish(self, train: RatingBlock) -> None:
        """Take mean, deviation and the distance of two levels from the training ratings."""
        self.mean.copy_(train.values.mean())
        self.deviation.copy_(train.values.std(correction=0))
        gaps = train.values.unique().diff()
        if len(gaps):
            # a whole number of them fills the scale, whose ends are exact where ratings in the unit are rounded
            width = self.scale[1] - self.scale[0]
            self.level.fill_(width / max(round(width / float(gaps.min())), 1))

    def encode(self, block: RatingBlock) -> Tensor:
        """A hash of each history, shape (n_rows, 1)."""
        ratings = block.values * _PARTS if self.is_raw else (block.values - self.scale[0]) / self.level
        entries = kernels.mix(kernels.mix(block.pattern.col.long()) + ratings.round().long())
        sums = torch.zeros(block.pattern.shape[0], dtype=torch.int64, device=entries.device)
        sums.index_add_(0, block.pattern.row, entries)
        return (sums % _KEYS).to(block.values.dtype).unsqueeze(1)

    def score(self, codes: Tensor, items: slice) -> Tensor:
        """The draw for each code and item."""
        columns = torch.arange(self.n_items, device=codes.device)[items]
        return self._draw(codes, columns.unsqueeze(0))

    def score_pairs(self, codes: Tensor, pattern: SparsePattern) -> Tensor:
        """The draws at the positions of `pattern`."""
        return self._draw(codes[pattern.row, 0], pattern.col.long())

    def _draw(self, codes: Tensor, items: Tensor) -> Tensor:
        key = kernels.mix(kernels.mix(self.key.long() + codes.long() * _KEYS) + items)
        low, high = self.scale
        if self.config.draw == "normal":
            # Box and Muller (1958)
            radius = (-2 * _uniform(key).log()).sqrt()
            normal = radius * torch.cos(2 * math.pi * _uniform(kernels.mix(key)))
            return self.mean + self.deviation * normal
        levels = torch.round((high - low) / self.level) + 1
        return low + (_uniform(key) * levels).ceil().sub(1).clamp_min(0) * self.level


def _uniform(key: Tensor) -> Tensor:
    """Numbers in (0, 1] from 24 bits of a hash."""
    return ((key >> 20).bitwise_and(_KEYS - 1) + 1).float() / _KEYS
