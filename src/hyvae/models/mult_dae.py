"""Mult-DAE: a denoising autoencoder of users' rows with a multinomial likelihood.

Liang, D., Krishnan, R. G., Hoffman, M. D., Jebara, T. (2018). Variational autoencoders for collaborative filtering.
WWW 2018, § 2.2.1: the Mult-VAE without a distribution over its code.
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
from hyvae.nn.rows import ItemHead, RowLayer


class MultDAEConfig(FeedbackConfig):
    """Settings of Mult-DAE; the defaults are the published ones."""

    hidden: Widths = Field((), description="widths between the items and the code; the decoder mirrors them")
    latent: int = Field(200, gt=0, description="units of the code")
    # the published 0.01, divided by the published batch of 500
    l2: float = Field(2e-5, ge=0, description="weight of all summed squared weights against the mean loss of a user")


PLAN = TrainingPlan(epochs=200, batch_users=500, patience=20)


class MultDAE(RowAutoencoder, RatingModel):
    """Denoising autoencoder for collaborative filtering."""

    name: ClassVar[str] = "mult_dae"
    title: ClassVar[str] = "Mult-DAE"
    citation: ClassVar[str] = "Liang, Krishnan, Hoffman, Jebara (2018), WWW, Variational autoencoders for CF, § 2.2.1"
    Config: ClassVar[type[Config]] = MultDAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(MultDAEConfig(), PLAN),
        "ranking": Preset(MultDAEConfig(likelihood="multinomial"), PLAN),
    }

    config: MultDAEConfig

    def __init__(self, config: MultDAEConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        c = config
        widths = (*c.hidden, c.latent, *reversed(c.hidden))
        super().__init__(config, n_users, n_items, scale, widths[-1] + 1)
        self.feedback = Feedback(c, n_items, scale)
        self.inputs = RowLayer(n_items, widths[0], c.presence and not self.feedback.ranks, self.feedback.scaled)
        self.layers = nn.ModuleList(xavier_linear(a, b) for a, b in pairwise(widths))
        self.head = ItemHead(n_items, widths[-1])

    def _coded(self, hidden: Tensor) -> Tensor:
        """What the head is given, from the first layer's sums."""
        hidden = torch.tanh(hidden)
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        return hidden

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """−log p(x | code of the corrupted x), averaged over users."""
        rows = self.feedback.rows(block, corrupted=targets is None)
        code = self._coded(self.inputs(rows.pattern, rows.values, rows.kept))
        return {"rec": self.feedback.loss(code, self.head, rows, step, targets)}

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """The last hidden layer, and what centring took away."""
        rows = self.feedback.rows(block)
        return self.feedback.answer(self._coded(self.inputs(rows.pattern, rows.values)), rows)
