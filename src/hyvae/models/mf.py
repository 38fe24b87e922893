"""PMF: probabilistic matrix factorisation, what is left of an autoencoder when all is linear and Gaussian.

Salakhutdinov, R., Mnih, A. (2007). Probabilistic matrix factorization. NIPS 2007. Equation numbers are the paper's.
Given the item vectors, the best vector of a user is a ridge regression, so users have no parameters: each is solved for
when their ratings are looked at, in training as in answers. By the envelope theorem the gradient of the item vectors
is that of the loss with the users' vectors held fixed at the solution (variable projection, Golub & Pereyra 1973).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan
from hyvae.nn import kernels
from hyvae.nn.biases import DEFAULT_SHRINKAGE, fit_biases, shrinkage_of
from hyvae.nn.randomness import generator
from hyvae.nn.sparse import at_columns, sampled_product


class MFConfig(Config):
    """Settings of PMF."""

    latent: int = Field(10, gt=0, description="units of a vector")
    strength: float = Field(
        15.0, gt=0, description="λ of users and of items (eq. 4): σ² of a rating over that of a vector's unit"
    )
    bias_shrinkage: float | None = Field(
        None, gt=0, description="ratings at the mean added to each user and item effect; none: estimated for each side"
    )


class MF(RatingModel):
    """r̂_ui = μ + b_u + b_i + ⟨p_u, q_i⟩, with Gaussian priors on p and q."""

    name: ClassVar[str] = "mf"
    title: ClassVar[str] = "PMF"
    citation: ClassVar[str] = "Salakhutdinov, Mnih (2007), NIPS, Probabilistic matrix factorization"
    Config: ClassVar[type[Config]] = MFConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(
            MFConfig(),
            TrainingPlan(learning_rate=0.05, schedule="one_cycle", epochs=15, batch_users=500, patience=None),
        )
    }
    item_tables: ClassVar[tuple[str, ...]] = (*RatingModel.item_tables, "item_effect", "item_vectors", "offset")

    config: MFConfig
    mean: Tensor
    item_effect: Tensor
    n_training: Tensor
    shrinkage: Tensor

    def __init__(self, config: MFConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        super().__init__(config, n_users, n_items, scale, config.latent + 1)
        self.item_vectors = nn.Parameter(0.1 * torch.randn(n_items, config.latent, generator=generator()))
        self.offset = nn.Parameter(torch.zeros(n_items))
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("item_effect", torch.zeros(n_items))
        self.register_buffer("shrinkage", torch.full((2,), config.bias_shrinkage or DEFAULT_SHRINKAGE))
        self.register_buffer("n_training", torch.ones(()))

    def prepare(self, train: RatingBlock) -> None:
        """Fit the effects; an item without ratings has no taste."""
        shrinkage = shrinkage_of(self.config.bias_shrinkage, train.values, train.pattern)
        self.shrinkage.copy_(torch.stack(shrinkage))
        biases = fit_biases(train.values, train.pattern, shrinkage)
        self.mean.copy_(biases.mean)
        self.item_effect.copy_(biases.item)
        self.n_training.fill_(int((train.counts > 0).sum()))
        self.item_vectors[train.pattern.column_sums(torch.ones_like(train.values)) == 0] = 0.0

    def _effect(self, block: RatingBlock) -> Tensor:
        """b_u of each row, (n_rows,)."""
        total = block.pattern.row_sums(block.values, None, self.mean, None, self.item_effect)
        return total / (block.counts + self.shrinkage[0])

    @torch.no_grad()
    def _solved(self, block: RatingBlock, effect: Tensor, item_vectors: Tensor, item_bias: Tensor) -> Tensor:
        """p_u of each row, (n_rows, latent): argmin Σ_i (r_ui − μ − b_u − b_i − ⟨p, q_i⟩)² + λ‖p‖²."""
        pattern = block.pattern
        residuals = pattern.residuals(block.values, None, self.mean, effect, item_bias)
        return kernels.ridge(pattern.crow, pattern.col, residuals, item_vectors, self.config.strength)

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """Half of the squared errors (eq. 4), and of λ‖p‖², summed within a user, averaged over users."""
        effect = self._effect(block)
        vectors = self._solved(block, effect, self.item_vectors, self.item_effect + self.offset)
        asked, total = (block, 1.0) if targets is None else (targets, (step.n_targets or 1) / step.n_ratings)
        residuals = asked.pattern.residuals(asked.values, None, self.mean, effect, self.item_effect)
        predicted = sampled_product(vectors, self.item_vectors, asked.pattern) + at_columns(self.offset, asked.pattern)
        return {
            "rec": (residuals - predicted).square().sum() / (2 * step.n_users * total),
            "prior": self.config.strength * vectors.square().sum() / (2 * step.n_users),
        }

    def penalties(self) -> dict[str, float]:
        """λ/2 of the item vectors, in the unit of the loss: a user's mean.

        What is learnt beside the fitted effects is held back as they are: rare items would forget their shrinkage.
        """
        unit = 2 * float(self.n_training)
        return {"item_vectors": self.config.strength / unit, "offset": float(self.shrinkage[1]) / unit}

    @torch.no_grad()
    def finish(self, train: RatingBlock) -> None:
        """Copy the item vectors; the last column meets μ + b_u."""
        self.item_rows[:, :-1] = self.item_vectors
        self.item_rows[:, -1] = 1.0
        self.item_bias.copy_(self.item_effect + self.offset)

    @property
    def training_only(self) -> tuple[str, ...]:
        """The item vectors, which the item rows repeat."""
        return ("item_vectors", "offset")

    def recover_training_state(self, train: RatingBlock) -> dict[str, Tensor]:
        """The item vectors, from the item rows."""
        return {"item_vectors": self.item_rows[:, :-1], "offset": self.item_bias - self.item_effect}

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """p_u, and μ + b_u."""
        effect = self._effect(block)
        vectors = self._solved(block, effect, self.item_rows[:, :-1], self.item_bias)
        return torch.cat([vectors, (self.mean + effect).unsqueeze(1)], 1)
