"""Mult-VAE: a variational autoencoder of users' rows with a multinomial likelihood and an annealed KL term.

Liang, D., Krishnan, R. G., Hoffman, M. D., Jebara, T. (2018). Variational autoencoders for collaborative filtering.
WWW 2018. Equation numbers are the paper's. `docs/models/mult_vae.md` says where rating mode differs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan, Widths
from hyvae.models.feedback import Feedback, FeedbackConfig, RowAutoencoder
from hyvae.nn.dense import xavier_linear
from hyvae.nn.latent import sample, total_kl
from hyvae.nn.rows import ItemHead, RowLayer
from hyvae.nn.schedules import kl_weight


class MultVAEConfig(FeedbackConfig):
    """Settings of Mult-VAE; the defaults are the published ones."""

    hidden: Widths = Field((600,), min_length=1, description="widths of the encoder's layers; the decoder mirrors them")
    latent: int = Field(200, gt=0, description="units of z")
    beta: float = Field(0.2, ge=0, description="weight of the KL term when it has risen (§ 2.2.2)")
    kl_warmup: float = Field(
        0.855,
        ge=0,
        le=1,
        description="share of the steps in which β rises from 0; published: 40,000 of 46,800 updates",
    )


PLAN = TrainingPlan(epochs=200, batch_users=500, patience=20)


class MultVAE(RowAutoencoder, RatingModel):
    """Variational autoencoder for collaborative filtering."""

    name: ClassVar[str] = "mult_vae"
    title: ClassVar[str] = "Mult-VAE"
    citation: ClassVar[str] = "Liang, Krishnan, Hoffman, Jebara (2018), WWW, Variational autoencoders for CF"
    Config: ClassVar[type[Config]] = MultVAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(MultVAEConfig(), PLAN),
        "ranking": Preset(MultVAEConfig(likelihood="multinomial"), PLAN),
    }
    config: MultVAEConfig

    def __init__(self, config: MultVAEConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        c = config
        super().__init__(config, n_users, n_items, scale, c.hidden[0] + 1)
        self.feedback = Feedback(c, n_items, scale)
        self.inputs = RowLayer(n_items, c.hidden[0], c.presence and not self.feedback.ranks, self.feedback.scaled)
        self.encoder = nn.ModuleList(xavier_linear(a, b) for a, b in pairwise(c.hidden))
        self.to_mean = xavier_linear(c.hidden[-1], c.latent)
        self.to_log_variance = xavier_linear(c.hidden[-1], c.latent)
        self.decoder = nn.ModuleList(xavier_linear(a, b) for a, b in pairwise((c.latent, *reversed(c.hidden))))
        self.head = ItemHead(n_items, c.hidden[0])

    def _encoded(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² from the first layer's sums (eq. 4)."""
        hidden = torch.tanh(hidden)
        for layer in self.encoder:
            hidden = torch.tanh(layer(hidden))
        return self.to_mean(hidden), self.to_log_variance(hidden)

    def _decoded(self, z: Tensor) -> Tensor:
        for layer in self.decoder:
            z = torch.tanh(layer(z))
        return z

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """−ELBO with the KL term weighted by β (eq. 7), averaged over users."""
        rows = self.feedback.rows(block, corrupted=targets is None)
        mean, log_variance = self._encoded(self.inputs(rows.pattern, rows.values, rows.kept))
        z = sample(mean, log_variance) if self.training else mean
        beta = kl_weight(step.progress, self.config.beta, self.config.kl_warmup)
        return {
            "rec": self.feedback.loss(self._decoded(z), self.head, rows, step, targets),
            "kl": beta * total_kl(mean, log_variance) / step.n_users,
        }

    @torch.no_grad()
    def posterior(self, block: RatingBlock) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q(z|x)."""
        rows = self.feedback.rows(block)
        return self._encoded(self.inputs(rows.pattern, rows.values))

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """The decoder's last hidden layer at z = μ, and what centring took away."""
        rows = self.feedback.rows(block)
        mean, _ = self._encoded(self.inputs(rows.pattern, rows.values))
        return self.feedback.answer(self._decoded(mean), rows)
