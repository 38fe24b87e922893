"""What autoencoders of users' rows share: their ratings as input and as target, explicit or implicit.

In *rating mode* (``likelihood="gaussian"``) a model sees centred ratings and is asked for the observed ones. In
*ranking mode* it sees which items a user took, and is asked for that, over all items.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from hyvae.errors import ConfigError
from hyvae.metrics import relevant_from
from hyvae.models.base import Config, RatingBlock, Step
from hyvae.nn.biases import DEFAULT_SHRINKAGE, fit_biases, shrinkage_of
from hyvae.nn.hiding import dropout
from hyvae.nn.implicit import logistic_loss, multinomial_loss, sampled_logistic_loss
from hyvae.nn.rows import ItemHead, RowLayer
from hyvae.nn.sparse import SparsePattern, at_columns, sampled_product


class FeedbackConfig(Config):
    """Settings of how ratings are taken in and asked for."""

    likelihood: Literal["gaussian", "multinomial", "logistic"] = Field(
        "gaussian",
        description="masked squared error of ratings; or ranking mode, which asks what was taken: as draws out of all "
        "items, or as a yes or no for each item",
    )
    center: Literal["none", "global", "biases"] = Field(
        "biases",
        description="rating mode; subtracted from ratings: nothing, their mean, or mean + user and item effects",
    )
    bias_shrinkage: float | None = Field(
        None, gt=0, description="ratings at the mean added to each user and item effect; none: estimated for each side"
    )
    presence: bool = Field(False, description="rating mode; second input channel: 1 where there is a rating")
    positive_from: float | None = Field(
        None, description="ranking mode; lowest rating that tells of an interaction; none: 0.7 of the way up the scale"
    )
    input_dropout: float = Field(0.5, ge=0, lt=1, description="share of a user's inputs that a step drops")
    learn_from: Literal["all", "dropped"] = Field(
        "all", description="rating mode; errors that count: of all ratings, or of those that the input has lost"
    )
    l2: float = Field(0.0, ge=0, description="weight of all summed squared weights against the mean loss of a user")


class Rows(NamedTuple):
    """Users' rows as a model sees them.

    Attributes
    ----------
    pattern : SparsePattern
        Of ratings; in ranking mode of interactions.
    values : (nnz,) tensor
        Centred ratings; ones in ranking mode.
    kept : (nnz,) tensor or None
        Factor of each input: 0 where it is dropped. None: nothing is.
    effect : (n_rows,) tensor
        What centring takes away from all ratings of a row beside the mean.
    """

    pattern: SparsePattern
    values: Tensor
    kept: Tensor | None
    effect: Tensor


class Feedback(nn.Module):
    """Centring, corruption and likelihood."""

    mean: Tensor
    item_effect: Tensor
    residual_variance: Tensor
    shrinkage: Tensor

    def __init__(self, config: FeedbackConfig, n_items: int, scale: tuple[float, float]) -> None:
        super().__init__()
        self.config = config
        self.ranks = config.likelihood != "gaussian"
        self.positive_from = relevant_from(scale) if config.positive_from is None else config.positive_from
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("item_effect", torch.zeros(n_items))
        self.register_buffer("residual_variance", torch.ones(()))
        self.register_buffer("shrinkage", torch.full((2,), config.bias_shrinkage or DEFAULT_SHRINKAGE))

    @property
    def scaled(self) -> float:
        """What is added to the number of a row's entries before its inputs are divided by the root of it."""
        return 0.0 if self.ranks else 1.0

    def prepare(self, train: RatingBlock) -> None:
        """Fit the centring on all training ratings.

        Raises
        ------
        ConfigError
            In ranking mode: no rating tells of an interaction.
        """
        if self.ranks:
            if not (train.values >= self.positive_from).any():
                raise ConfigError(
                    f"no rating is {self.positive_from:g} or more, so nobody took anything; set positive_from lower"
                )
            return
        if self.config.center == "global":
            self.mean.copy_(train.values.mean())
        elif self.config.center == "biases":
            shrinkage = shrinkage_of(self.config.bias_shrinkage, train.values, train.pattern)
            self.shrinkage.copy_(torch.stack(shrinkage))
            biases = fit_biases(train.values, train.pattern, shrinkage)
            self.mean.copy_(biases.mean)
            self.item_effect.copy_(biases.item)
        centred = train.pattern.residuals(train.values, None, self.mean, self.effect(train), self.item_effect)
        # ratings that centring explains altogether leave no variance to divide by
        self.residual_variance.copy_(centred.var(correction=0).clamp_min(1e-6))

    def effect(self, block: RatingBlock, weights: Tensor | None = None) -> Tensor:
        """Effect of each row on its ratings, from those that count; (n_rows,)."""
        if self.ranks or self.config.center != "biases":
            return torch.zeros_like(block.counts)
        total = block.pattern.row_sums(block.values, weights, self.mean, None, self.item_effect)
        count = block.counts if weights is None else block.pattern.row_sums(weights)
        return total / (count + self.shrinkage[0])

    def rows(self, block: RatingBlock, corrupted: bool = False) -> Rows:
        """Read a block; `corrupted`: with some of its inputs dropped."""
        pattern, c = block.pattern, self.config
        if self.ranks:
            pattern, _ = pattern.hidden((block.values < self.positive_from).to(block.values.dtype))
            values = block.values.new_ones(pattern.nnz)
            kept = dropout(values, c.input_dropout, corrupted)
            return Rows(pattern, values, kept if corrupted and c.input_dropout else None, block.values.new_zeros(()))
        kept = dropout(torch.ones_like(block.values), c.input_dropout, corrupted)
        blind = corrupted and c.input_dropout > 0
        # what is to be predicted must not have helped to centre it
        effect = self.effect(block, kept.sign() if blind and c.learn_from == "dropped" else None)
        values = pattern.residuals(block.values, None, self.mean, effect, self.item_effect)
        return Rows(pattern, values, kept if blind else None, effect)

    def targets(self, rows: Rows, targets: RatingBlock | None, step: Step) -> tuple[SparsePattern, Tensor, float]:
        """Where the errors are that count, the values there, and what divides their sum."""
        total = float(step.n_users)
        if targets is not None:
            assert step.n_targets is not None
            # as if there were as many of them as training has, so that both losses are in one unit
            total *= step.n_targets / step.n_ratings
            if self.ranks:
                wanted = self.rows(targets)
                return wanted.pattern, wanted.values, total
            centred = targets.pattern.residuals(targets.values, None, self.mean, rows.effect, self.item_effect)
            return targets.pattern, centred, total
        if rows.kept is not None and self.config.learn_from == "dropped" and not self.ranks:
            pattern, places = rows.pattern.hidden(rows.kept)
            return pattern, rows.values[places], total * self.config.input_dropout
        return rows.pattern, rows.values, total

    def loss(
        self,
        code: Tensor,
        head: ItemHead,
        rows: Rows,
        step: Step,
        targets: RatingBlock | None = None,
        negatives: int | None = None,
    ) -> Tensor:
        """−log p of the targets, up to a constant: summed within a user, averaged over the step's users; a scalar.

        Rating mode: Σ (r − r̂)² / 2s², s² the variance that centring leaves. Ranking mode: −Σ log softmax, or −Σ log σ.

        Parameters
        ----------
        negatives : int, optional
            Of the logistic likelihood: items drawn for each that was taken; default: all that was not.
        """
        pattern, values, total = self.targets(rows, targets, step)
        if self.config.likelihood == "multinomial":
            return multinomial_loss(code, head.rows, head.bias, pattern) / total
        if self.config.likelihood == "logistic":
            if negatives is None:
                return logistic_loss(code, head.rows, head.bias, pattern) / total
            return sampled_logistic_loss(code, head.rows, head.bias, pattern, negatives) / total
        predicted = sampled_product(code, head.rows, pattern) + at_columns(head.bias, pattern)
        return (values - predicted).square().sum() / (2 * self.residual_variance * total)

    # -- answering ------------------------------------------------------------------------------------

    def answer(self, code: Tensor, rows: Rows) -> Tensor:
        """Codes as `RatingModel.encode` gives them: the last column is what centring took away; (n_rows, width + 1)."""
        offset = (self.mean + rows.effect).expand(code.shape[0]).unsqueeze(1)
        return torch.cat([code, offset], 1)


class RowAutoencoder:
    """The hooks that models with the parts `feedback`, `inputs` and `head` fill in alike.

    Stands before `RatingModel` among a model's bases; `loss` and `encode` are left to the model.
    """

    item_tables: ClassVar[tuple[str, ...]] = (
        "item_rows",
        "item_bias",
        "feedback.item_effect",
        "inputs.table",
        "inputs.presence_table",
        "head.rows",
        "head.bias",
    )

    config: FeedbackConfig
    feedback: Feedback
    inputs: RowLayer
    head: ItemHead
    item_rows: Tensor
    item_bias: Tensor

    def prepare(self, train: RatingBlock) -> None:
        """Fit the centring."""
        self.feedback.prepare(train)

    def penalties(self: _Module) -> dict[str, float]:
        """λ of every weight matrix; biases are free."""
        l2 = self.config.l2
        return {name: l2 for name, parameter in self.named_parameters() if l2 and parameter.dim() == 2}

    @property
    def training_only(self) -> tuple[str, ...]:
        """The head, which the item rows repeat."""
        return ("head.",)

    def recover_training_state(self, train: RatingBlock) -> dict[str, Tensor]:
        """The head, from the item rows."""
        return {"head.rows": self.item_rows[:, :-1], "head.bias": self.item_bias - self.feedback.item_effect}

    @torch.no_grad()
    def finish(self, train: RatingBlock) -> None:
        """Copy the head into item rows and biases; the last column meets what centring took away."""
        self.item_rows[:, :-1] = self.head.rows
        self.item_rows[:, -1] = 1.0
        self.item_bias.copy_(self.head.bias + self.feedback.item_effect)

    @property
    def predicts_ratings(self) -> bool:
        """In rating mode."""
        return not self.feedback.ranks


class _Module(Protocol):
    @property
    def config(self) -> FeedbackConfig: ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
