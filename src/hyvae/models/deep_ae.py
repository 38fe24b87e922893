"""DeepAE: a deep autoencoder of users' rows, most of whose code is dropped, that learns from its own answers too.

Kuchaiev, O., Ginsburg, B. (2017). Training deep autoencoders for collaborative filtering. arXiv:1708.01715. Section and
equation numbers are the paper's; where it leaves something open, the authors' code (DeepRecommender) decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear, selu

from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan, Widths
from hyvae.models.feedback import Feedback, FeedbackConfig, RowAutoencoder, Rows
from hyvae.nn.dense import xavier_linear
from hyvae.nn.hiding import dropout
from hyvae.nn.rows import ItemHead, RowLayer
from hyvae.nn.sparse import at_columns, sampled_product


class DeepAEConfig(FeedbackConfig):
    """Settings of DeepAE; the defaults are the published ones, but for centring."""

    likelihood: Literal["gaussian"] = Field("gaussian", description="masked squared error of ratings")
    hidden: Widths = Field((512, 512), min_length=1, description="widths between the items and the code")
    latent: int = Field(1024, gt=0, description="units of the code")
    code_dropout: float = Field(0.8, ge=0, lt=1, description="share of the code's units that a step drops (§ 3.5)")
    tied: bool = Field(False, description="the decoder's weights are the encoder's, transposed (§ 2)")
    refeeds: int = Field(1, ge=0, description="times that a batch's answers are fed in again, each a step (§ 2.2)")
    row_scaling: bool = Field(False, description="divide a row's inputs by the root of their number; published: not")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="share of a user's inputs that a step drops")


class DeepAE(RowAutoencoder, RatingModel):
    """Deep autoencoder with dense re-feeding."""

    name: ClassVar[str] = "deep_ae"
    title: ClassVar[str] = "DeepAE"
    citation: ClassVar[str] = "Kuchaiev, Ginsburg (2017), Training deep autoencoders for collaborative filtering"
    Config: ClassVar[type[Config]] = DeepAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(
            DeepAEConfig(),
            TrainingPlan(optimiser="sgd", learning_rate=0.005, epochs=100, batch_users=128, patience=10),
        )
    }

    config: DeepAEConfig

    def __init__(self, config: DeepAEConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        c = config
        super().__init__(config, n_users, n_items, scale, c.hidden[0] + 1)
        self.feedback = Feedback(c, n_items, scale)
        self.inputs = RowLayer(n_items, c.hidden[0], c.presence, self.feedback.scaled if c.row_scaling else None)
        widths = (*c.hidden, c.latent)
        self.encoder = nn.ModuleList(xavier_linear(a, b) for a, b in pairwise(widths))
        self.decoder = nn.ModuleList(xavier_linear(b, a) for a, b in reversed(list(pairwise(widths))))
        self.head = ItemHead(n_items, c.hidden[0])
        if c.tied:
            for layer in self.decoder:
                layer.weight = None
            self.head.rows = self.inputs.table

    # -- the network ----------------------------------------------------------------------------------

    def _coded(self, hidden: Tensor) -> Tensor:
        """What the head is given, from the first layer's sums; SELU everywhere, and a linear head (§ 3.2, 3.3)."""
        hidden = selu(hidden)
        for layer in self.encoder:
            hidden = selu(layer(hidden))
        hidden = dropout(hidden, self.config.code_dropout, self.training)
        for layer, mirrored in zip(self.decoder, reversed(self.encoder), strict=True):
            weight = mirrored.weight.T if layer.weight is None else layer.weight
            hidden = selu(linear(hidden, weight, layer.bias))
        return hidden

    def _everything(self, code: Tensor) -> Tensor:
        """Centred ratings of all items, (n_rows, n_items)."""
        return torch.addmm(self.head.bias, code, self.head.rows.T)

    def _fed(self, ratings: Tensor) -> Tensor:
        """First layer's sums for rows that have a rating of every item, (n_rows, n_items) in."""
        total = ratings @ self.inputs.table
        if self.inputs.presence_table is not None:
            total = total + self.inputs.presence_table.sum(0)
        if self.inputs.scaled is not None:
            total = total * (self.n_items + self.inputs.scaled) ** -0.5
        return total + self.inputs.bias

    # -- loss -----------------------------------------------------------------------------------------

    def _error(self, code: Tensor, rows: Rows, step: Step, targets: RatingBlock | None = None) -> Tensor:
        """Mean squared error of the observed ratings (eq. 1), a scalar."""
        pattern, values, n_users = self.feedback.targets(rows, targets, step)
        predicted = sampled_product(code, self.head.rows, pattern) + at_columns(self.head.bias, pattern)
        return (values - predicted).square().sum() * (step.n_users / (n_users * step.n_ratings))

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """Mean squared error of the observed ratings."""
        rows = self.feedback.rows(block, corrupted=targets is None)
        code = self._coded(self.inputs(rows.pattern, rows.values, rows.kept))
        return {"rec": self._error(code, rows, step, targets)}

    def losses(self, block: RatingBlock, shared: Shared, step: Step) -> Iterator[LossParts]:
        """The loss, and then that of a fixed point: f(y) should be y, for the answers y = f(x) (§ 2.2).

        The second needs users × items numbers of the block at hand, and no more.
        """
        rows = self.feedback.rows(block, corrupted=True)
        code = self._coded(self.inputs(rows.pattern, rows.values, rows.kept))
        answers = self._everything(code).detach() if self.config.refeeds else code
        yield {"rec": self._error(code, rows, step)}
        for _ in range(self.config.refeeds):
            again = self._everything(self._coded(self._fed(answers)))
            yield {"refeed": (again - answers).square().sum() / (step.n_users * self.n_items)}
            answers = again.detach()

    # -- answering ------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """The last hidden layer, and what centring took away."""
        rows = self.feedback.rows(block)
        return self.feedback.answer(self._coded(self.inputs(rows.pattern, rows.values)), rows)
