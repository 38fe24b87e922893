"""CDAE: a denoising autoencoder of users' rows with a vector of its own for each user.

Wu, Y., DuBois, C., Zheng, A. X., Ester, M. (2016). Collaborative denoising auto-encoders for top-N recommender
systems. WSDM 2016. Equation numbers are the paper's. Somebody never seen in training has no vector: zero stands in its
place, and training drops vectors now and then, so that the other weights know that case.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan
from hyvae.models.feedback import Feedback, FeedbackConfig, RowAutoencoder, Rows
from hyvae.nn.dense import ACTIVATIONS
from hyvae.nn.hiding import dropout
from hyvae.nn.randomness import generator
from hyvae.nn.rows import ItemHead, RowLayer


class CDAEConfig(FeedbackConfig):
    """Settings of CDAE; the defaults are the published ones."""

    width: int = Field(50, gt=0, description="units of the hidden layer")
    activation: Literal["sigmoid", "identity", "tanh", "relu"] = Field(
        "sigmoid", description="of the hidden layer; the paper tries the first two"
    )
    tied: bool = Field(True, description="the output layer's weights are the input layer's (the authors' code)")
    row_scaling: bool = Field(
        False, description="divide a row's inputs by the root of their number; published: not, and so in ranking mode"
    )
    user_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of the users whose vector a step drops, as it is for someone never seen"
    )
    negatives: int | None = Field(
        5, gt=0, description="ranking mode; items drawn for each that was taken; none: all that was not"
    )
    l2: float = Field(0.01, ge=0, description="weight of all summed squared weights against the mean loss of a user")


PLAN = TrainingPlan(optimiser="adagrad", learning_rate=0.1, epochs=200, batch_users=100, patience=20)


class CDAE(RowAutoencoder, RatingModel):
    """Collaborative denoising autoencoder."""

    name: ClassVar[str] = "cdae"
    title: ClassVar[str] = "CDAE"
    citation: ClassVar[str] = "Wu, DuBois, Zheng, Ester (2016), WSDM, Collaborative denoising auto-encoders"
    Config: ClassVar[type[Config]] = CDAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(CDAEConfig(row_scaling=True), PLAN),
        "ranking": Preset(CDAEConfig(likelihood="logistic"), PLAN),
    }
    user_tables: ClassVar[tuple[str, ...]] = ("user_vectors",)

    config: CDAEConfig

    def __init__(self, config: CDAEConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        c = config
        super().__init__(config, n_users, n_items, scale, c.width + 1)
        self.feedback = Feedback(c, n_items, scale)
        presence = c.presence and not self.feedback.ranks
        self.inputs = RowLayer(n_items, c.width, presence, self.feedback.scaled if c.row_scaling else None)
        self.head = ItemHead(n_items, c.width)
        # Glorot and Bengio (2010), as the authors start
        bound = (4 if c.activation == "sigmoid" else 1) * (6 / (n_items + c.width)) ** 0.5
        for weights in (self.inputs.table, self.head.rows):
            nn.init.uniform_(weights, -bound, bound, generator=generator())
        if c.tied:
            self.head.rows = self.inputs.table
        # a user is like somebody never seen until the ratings say otherwise
        self.user_vectors = nn.Parameter(torch.zeros(n_users, c.width))

    def _hidden(self, rows: Rows, users: Tensor | None) -> Tensor:
        """The hidden layer z = h(Wᵀx̃ + V_u + b) (eq. 9), shape (n_rows, width)."""
        hidden = self.inputs(rows.pattern, rows.values, rows.kept)
        if users is not None:
            vectors = self.user_vectors[users]
            if self.training and self.config.user_dropout:
                kept = dropout(torch.ones_like(vectors[:, :1]), self.config.user_dropout, training=True).sign()
                vectors = vectors * kept
            hidden = hidden + vectors
        return ACTIVATIONS[self.config.activation](hidden)

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """Loss of the outputs for the corrupted input (eq. 10), averaged over users."""
        rows = self.feedback.rows(block, corrupted=targets is None)
        code = self._hidden(rows, block.users)
        return {"rec": self.feedback.loss(code, self.head, rows, step, targets, self.config.negatives)}

    def penalties(self) -> dict[str, float]:
        """λ of every weight matrix; a user's own vector counts with that user's loss, which is one of many."""
        penalties = super().penalties()
        if "user_vectors" in penalties:
            penalties["user_vectors"] /= self.n_users
        return penalties

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """The hidden layer, with the vectors of users who have one, and what centring took away."""
        rows = self.feedback.rows(block)
        return self.feedback.answer(self._hidden(rows, block.users), rows)
