"""DeepAE: a deep autoencoder of users' rows, most of whose code is dropped, that learns from its own answers too.

Kuchaiev, O., Ginsburg, B. (2017). Training deep autoencoders for collaborative filtering. arXiv:1708.01715. Section and
equation numbers are the paper's; where it leaves something open, the authors' code (DeepRecommender) decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import linear, selu
from torch.utils.checkpoint import checkpoint

from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan, Widths
from hyvae.models.feedback import Feedback, FeedbackConfig, RowAutoencoder, Rows
from hyvae.nn.dense import Linear, xavier_linear
from hyvae.nn.hiding import dropout
from hyvae.nn.randomness import draw_key
from hyvae.nn.rows import ItemHead, RowLayer
from hyvae.nn.sparse import at_columns, sampled_product

# answers for all items at a time: 16 MB of float32
_ANSWERS = 1 << 22


class DeepAEConfig(FeedbackConfig):
    """Settings of DeepAE; the fields' defaults are the published ones, but for centring."""

    likelihood: Literal["gaussian"] = Field("gaussian", description="masked squared error of ratings")
    hidden: Widths = Field((512, 512), min_length=1, description="widths between the items and the code")
    latent: int = Field(1024, gt=0, description="units of the code")
    code_dropout: float = Field(0.8, ge=0, lt=1, description="share of the code's units that a step drops (§ 3.5)")
    tied: bool = Field(False, description="the decoder's weights are the encoder's, transposed (§ 2)")
    refeeds: int = Field(1, ge=0, description="times that a batch's answers are fed in again, each a step (§ 2.2)")
    row_scaling: bool = Field(False, description="divide a row's inputs by the root of their number; published: not")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="share of a user's inputs that a step drops")
    l2: float = Field(0.0, ge=0, description="weight of all summed squared weights against the mean squared error")


class _Answers(NamedTuple):
    """What was said of some users and all items; not written out, for it may be large.

    Attributes
    ----------
    code : (n_rows, width) tensor
    rows : (n_items, width) tensor
    bias : (n_items,) tensor
    """

    code: Tensor
    rows: Tensor
    bias: Tensor

    def of(self, users: slice) -> Tensor:
        """Of some of the users, (n, n_items)."""
        return torch.addmm(self.bias, self.code[users], self.rows.T)


class DeepAE(RowAutoencoder, RatingModel):
    """Deep autoencoder with dense re-feeding."""

    name: ClassVar[str] = "deep_ae"
    title: ClassVar[str] = "DeepAE"
    citation: ClassVar[str] = "Kuchaiev, Ginsburg (2017), Training deep autoencoders for collaborative filtering"
    Config: ClassVar[type[Config]] = DeepAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(
            DeepAEConfig(row_scaling=True, input_dropout=0.5, learn_from="dropped", l2=3e-5),
            TrainingPlan(learning_rate=2e-3, schedule="one_cycle", epochs=10, batch_users=500, patience=None),
        ),
        "published": Preset(
            DeepAEConfig(),
            TrainingPlan(optimiser="sgd", learning_rate=0.005, epochs=100, batch_users=128, patience=10),
        ),
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
                layer.register_parameter("weight", None)
            self.head.rows = self.inputs.table

    # -- the network ----------------------------------------------------------------------------------

    def _coded(self, hidden: Tensor, key: int | None = None) -> Tensor:
        """What the head is given, from the first layer's sums; SELU everywhere, and a linear head (§ 3.2, 3.3)."""
        hidden = selu(hidden)
        for layer in self.encoder:
            hidden = selu(layer(hidden))
        hidden = dropout(hidden, self.config.code_dropout, self.training, key)
        for layer, mirrored in zip(self.decoder, reversed(self.encoder), strict=True):
            assert isinstance(layer, Linear)
            assert isinstance(mirrored, Linear)
            hidden = selu(linear(hidden, mirrored.weight.T, layer.bias) if self.config.tied else layer(hidden))
        return hidden

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
        """The loss, and then that of a fixed point: f(y) should be y, for the answers y = f(x) (§ 2.2)."""
        rows = self.feedback.rows(block, corrupted=True)
        code = self._coded(self.inputs(rows.pattern, rows.values, rows.kept))
        parts = {"rec": self._error(code, rows, step)}
        for _ in range(self.config.refeeds):
            # the step that comes now must not change what was said
            answers = _Answers(code.detach(), self.head.rows.detach().clone(), self.head.bias.detach().clone())
            yield parts
            error, code = self._refed(answers)
            parts = {"refeed": error / (step.n_users * self.n_items)}
        yield parts

    def _refed(self, answers: _Answers) -> tuple[Tensor, Tensor]:
        """Σ (y − f(y))² over users and all items, and what the head was given for it."""
        size = max(1, _ANSWERS // self.n_items)
        pieces = [slice(start, start + size) for start in range(0, len(answers.code), size)]
        if len(pieces) == 1:
            return self._refed_piece(answers, pieces[0])
        # users × items numbers of one piece at a time; the backward pass computes them again, from the same key
        keys = [draw_key() if self.config.code_dropout else None for _ in pieces]
        refed = partial(checkpoint, self._refed_piece, answers, use_reentrant=False, preserve_rng_state=False)
        done = [refed(piece, key) for piece, key in zip(pieces, keys, strict=True)]
        return torch.stack([error for error, _ in done]).sum(), torch.cat([code for _, code in done])

    def _refed_piece(self, answers: _Answers, users: slice, key: int | None = None) -> tuple[Tensor, Tensor]:
        wanted = answers.of(users)
        code = self._coded(self._fed(wanted), key)
        return (torch.addmm(self.head.bias, code, self.head.rows.T) - wanted).square().sum(), code

    # -- answering ------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """The last hidden layer, and what centring took away."""
        rows = self.feedback.rows(block)
        return self.feedback.answer(self._coded(self.inputs(rows.pattern, rows.values)), rows)
