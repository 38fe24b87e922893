"""Regularised global, user and item effects: no taste at all, and the floor that a model must beat.

Koren, Y. (2010). Factor in the neighbors: scalable and accurate collaborative filtering. ACM TKDD 4(1), § 2.1.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from hyvae.models.base import Config, Preset, RatingBlock, RatingModel, TrainingPlan
from hyvae.nn.biases import DEFAULT_SHRINKAGE, fit_biases, fold_in_user_bias, shrinkage_of


class BiasConfig(Config):
    """Settings of the bias model."""

    shrinkage: float | None = Field(
        None, gt=0, description="ratings at the mean added to each user and item; none: estimated for each side"
    )
    sweeps: int = Field(10, ge=1, description="alternations between item and user effects")


class Bias(RatingModel):
    """r̂_ui = μ + b_u + b_i, each effect shrunk towards zero."""

    name: ClassVar[str] = "bias"
    title: ClassVar[str] = "Bias"
    citation: ClassVar[str] = "Koren (2010), ACM TKDD 4(1), § 2.1"
    Config: ClassVar[type[Config]] = BiasConfig
    presets: ClassVar[dict[str, Preset]] = {"default": Preset(BiasConfig(), TrainingPlan(epochs=0))}

    user_tables: ClassVar[tuple[str, ...]] = ("user_bias",)

    config: BiasConfig
    mean: Tensor
    user_bias: Tensor
    shrinkage: Tensor

    def __init__(self, config: BiasConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        super().__init__(config, n_users, n_items, scale, width=1)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("user_bias", torch.zeros(n_users))
        self.register_buffer("shrinkage", torch.full((2,), config.shrinkage or DEFAULT_SHRINKAGE))

    def finish(self, train: RatingBlock) -> None:
        """Alternate the effects to convergence."""
        shrinkage = shrinkage_of(self.config.shrinkage, train.values, train.pattern)
        self.shrinkage.copy_(torch.stack(shrinkage))
        biases = fit_biases(train.values, train.pattern, shrinkage, sweeps=self.config.sweeps)
        self.mean.copy_(biases.mean)
        self.user_bias.copy_(biases.user)
        self.item_bias.copy_(biases.item)
        self.item_rows.fill_(1.0)

    @torch.no_grad()
    def restate(self, deviation: float) -> None:
        """Change the unit to `deviation` of what it is; ratings stay as they are."""
        for effects in (self.mean, self.user_bias, self.item_bias):
            effects /= deviation
        self.unit[1] *= deviation
        self.scale = (self.scale[0] / deviation, self.scale[1] / deviation)

    def encode(self, block: RatingBlock) -> Tensor:
        """μ + b_u of each row, shape (n_rows, 1)."""
        effect = fold_in_user_bias(block.values, block.pattern, self.mean, self.item_bias, self.shrinkage[0])
        return (self.mean + effect).unsqueeze(1)

    @property
    def encodes_items(self) -> bool:
        """Always."""
        return True

    def encode_items(self, columns: RatingBlock, raters: RatingBlock) -> tuple[Tensor, Tensor]:
        """b_i from the item's ratings and the effects of the users who gave them."""
        effect = fold_in_user_bias(columns.values, columns.pattern, self.mean, self.user_bias, self.shrinkage[1])
        return torch.ones_like(effect).unsqueeze(1), effect
