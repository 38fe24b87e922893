"""AutoRec: an autoencoder with one hidden layer, of items' columns (I-AutoRec) or of users' rows (U-AutoRec).

Sedhain, S., Menon, A. K., Sanner, S., Xie, L. (2015). AutoRec: autoencoders meet collaborative filtering. WWW 2015
Companion. Equation numbers are the paper's. `docs/models/autorec.md` says how anybody is answered by I-AutoRec, whose
outputs are one a training user.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan
from hyvae.nn import kernels
from hyvae.nn.biases import DEFAULT_SHRINKAGE, fit_biases, fold_in_user_bias, shrinkage_of
from hyvae.nn.dense import ACTIVATIONS
from hyvae.nn.hiding import dropout
from hyvae.nn.randomness import generator
from hyvae.nn.sparse import SparsePattern, at_columns, sampled_product, sparse_product


class AutoRecConfig(Config):
    """Settings of AutoRec; the fields' defaults are the published ones where the paper names any."""

    rows: Literal["items", "users"] = Field(
        "items", description="what is encoded: an item's ratings by all users, or a user's of all items"
    )
    width: int = Field(500, gt=0, description="units of the code")
    activation: Literal["sigmoid", "tanh", "identity"] = Field("sigmoid", description="g, of the code")
    center: Literal["none", "global", "biases"] = Field(
        "none",
        description="subtracted from ratings: nothing, their mean, or mean + user and item effects, which then "
        "stand in for the output biases b",
    )
    bias_shrinkage: float | None = Field(
        None, gt=0, description="ratings at the mean added to each user and item effect; none: estimated for each side"
    )
    row_scaling: bool = Field(False, description="divide the input sums by √(n + 1), n the number of ratings")
    input_dropout: float = Field(0.0, ge=0, lt=1, description="share of the inputs that a step drops")
    l2: float = Field(
        10.0, gt=0, description="weight of ‖V‖² + ‖W‖² against the sum of all squared errors: half of the paper's λ"
    )


class Layers(nn.Module):
    """V, μ, W and b of eq. 1–2: a row of V and of W, and an output bias, for each of `n` places of a rating vector."""

    def __init__(self, n: int, width: int, biases: bool) -> None:
        super().__init__()
        self.inputs = nn.Parameter(torch.empty(n, width))
        self.hidden_bias = nn.Parameter(torch.zeros(width))
        self.outputs = nn.Parameter(torch.empty(n, width))
        self.output_bias = nn.Parameter(torch.zeros(n)) if biases else None
        for table in (self.inputs, self.outputs):
            nn.init.xavier_normal_(table, generator=generator())


class AutoRec(RatingModel):
    """r̂ = W · g(V r + μ) + b, of the ratings that an item (or a user) has."""

    name: ClassVar[str] = "autorec"
    title: ClassVar[str] = "AutoRec"
    citation: ClassVar[str] = "Sedhain, Menon, Sanner, Xie (2015), WWW Companion, AutoRec"
    Config: ClassVar[type[Config]] = AutoRecConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(
            AutoRecConfig(width=100, center="biases", row_scaling=True, l2=4.0),
            TrainingPlan(
                learning_rate=0.02, schedule="one_cycle", epochs=50, batch_users=None, validate_every=10, patience=None
            ),
        ),
        "user": Preset(
            AutoRecConfig(rows="users", width=100, center="biases", row_scaling=True, input_dropout=0.5, l2=2.0),
            TrainingPlan(learning_rate=0.005, schedule="one_cycle", epochs=40, batch_users=500, patience=None),
        ),
        "published": Preset(
            AutoRecConfig(),
            TrainingPlan(
                optimiser="rprop", learning_rate=1e-3, epochs=200, batch_users=None, validate_every=10, patience=3
            ),
        ),
    }
    item_tables: ClassVar[tuple[str, ...]] = (
        *RatingModel.item_tables,
        "item_effect",
        "by_item.inputs",
        "by_item.outputs",
        "by_item.output_bias",
    )
    user_tables: ClassVar[tuple[str, ...]] = (
        "user_effect",
        "by_user.inputs",
        "by_user.outputs",
        "by_user.output_bias",
    )

    config: AutoRecConfig
    mean: Tensor
    item_effect: Tensor
    user_effect: Tensor
    shrinkage: Tensor

    def __init__(self, config: AutoRecConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        super().__init__(config, n_users, n_items, scale, config.width + 1)
        self.n_training = n_users  # users with ratings, known from prepare on
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("item_effect", torch.zeros(n_items))
        self.register_buffer("user_effect", torch.zeros(n_users))
        self.register_buffer("shrinkage", torch.full((2,), config.bias_shrinkage or DEFAULT_SHRINKAGE))
        # shrunk effects, which a free bias on top would undo
        biases = config.center != "biases"
        # an item's column has one place a user, a user's row one an item
        self.by_user = Layers(n_users, config.width, biases) if config.rows == "items" else None
        self.by_item = Layers(n_items, config.width, biases) if config.rows == "users" else None

    # -- encoding -------------------------------------------------------------------------------------

    def _effect(self, block: RatingBlock) -> Tensor:
        """Effect of each user on their ratings, from these alone, where the centring has one; (n_rows,)."""
        if self.config.center != "biases":
            return torch.zeros_like(block.counts)
        return fold_in_user_bias(block.values, block.pattern, self.mean, self.item_effect, self.shrinkage[0])

    def _centred(self, block: RatingBlock, effect: Tensor) -> Tensor:
        """What centring leaves of users' ratings, (nnz,)."""
        return block.pattern.residuals(block.values, None, self.mean, effect, self.item_effect)

    def _code(self, layers: Layers, centred: Tensor, pattern: SparsePattern, columns: bool = False) -> Tensor:
        """g(V r + μ) of the rows (or columns) of centred ratings; (n, width)."""
        values = dropout(centred, self.config.input_dropout, self.training)
        total = sparse_product(values, layers.inputs, pattern, columns)
        if self.config.row_scaling:
            ones = torch.ones_like(centred)
            count = pattern.column_sums(ones) if columns else pattern.row_sums(ones)
            total = total * (count + 1.0).rsqrt().unsqueeze(1)
        return ACTIVATIONS[self.config.activation](total + layers.hidden_bias)

    def _item_codes(self, layers: Layers, train: RatingBlock) -> Tensor:
        """Codes of all items from their training ratings, (n_items, width)."""
        return self._code(layers, self._centred(train, self._effect(train)), train.pattern, columns=True)

    # -- training -------------------------------------------------------------------------------------

    def prepare(self, train: RatingBlock) -> None:
        """Fit the centring."""
        self.n_training = int((train.counts > 0).sum())
        if self.config.center == "global":
            self.mean.copy_(train.values.mean())
        elif self.config.center == "biases":
            shrinkage = shrinkage_of(self.config.bias_shrinkage, train.values, train.pattern)
            self.shrinkage.copy_(torch.stack(shrinkage))
            biases = fit_biases(train.values, train.pattern, shrinkage)
            self.mean.copy_(biases.mean)
            self.item_effect.copy_(biases.item)
            self.user_effect.copy_(biases.user)

    def shared(self, train: RatingBlock, step: Step) -> Shared:
        """I-AutoRec's codes of the items."""
        return {} if self.by_user is None else {"codes": self._item_codes(self.by_user, train)}

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """Squared errors at the ratings (eq. 3 and 4, without λ), summed within a user, averaged over users."""
        effect, total = self._effect(block), float(step.n_users)
        centred, asked = self._centred(block, effect), block
        wanted = centred
        if targets is not None:
            assert step.n_targets is not None
            # as if there were as many of them as training has, so that both losses are in one unit
            total *= step.n_targets / step.n_ratings
            asked, wanted = targets, self._centred(targets, effect)
        if self.by_item is not None:
            code = self._code(self.by_item, centred, block.pattern)
            predicted = sampled_product(code, self.by_item.outputs, asked.pattern)
            if self.by_item.output_bias is not None:
                predicted = predicted + at_columns(self.by_item.output_bias, asked.pattern)
        else:
            outputs, bias = self._user_outputs(block, centred, shared["codes"], learnt=targets is None)
            predicted = sampled_product(outputs, shared["codes"], asked.pattern)
            if bias is not None:
                predicted = predicted + bias[asked.pattern.row]
        return {"rec": (wanted - predicted).square().sum() / total}

    def penalties(self) -> dict[str, float]:
        """λ of V and W in the unit of the loss, a user's mean; biases are free."""
        return {name: self.config.l2 / self.n_training for name, p in self.named_parameters() if p.dim() == 2}

    @property
    def training_only(self) -> tuple[str, ...]:
        """The outputs, which the item rows repeat, or every user's ratings tell."""
        return ("by_user.output", "by_item.output")

    @torch.no_grad()
    def recover_training_state(self, train: RatingBlock) -> dict[str, Tensor]:
        """The outputs: from the item rows, or from the training ratings."""
        bias: Tensor | None = self.item_bias - self.item_effect
        name, outputs = "by_item", self.item_rows[:, :-1]
        if self.by_user is not None:
            centred = self._centred(train, self._effect(train))
            name, (outputs, bias) = "by_user", self._user_outputs(train, centred, self.item_rows[:, :-1])
        biases = {} if bias is None or self.config.center == "biases" else {f"{name}.output_bias": bias}
        return {f"{name}.outputs": outputs, **biases}

    @torch.no_grad()
    def finish(self, train: RatingBlock) -> None:
        """Item rows are the items' codes, or their outputs; the last column meets what is the user's alone."""
        self.item_rows[:, -1] = 1.0
        self.item_bias.copy_(self.item_effect)
        if self.by_user is not None:
            self.item_rows[:, :-1] = self._item_codes(self.by_user, train)
        elif self.by_item is not None:
            self.item_rows[:, :-1] = self.by_item.outputs
            if self.by_item.output_bias is not None:
                self.item_bias += self.by_item.output_bias

    # -- answering ------------------------------------------------------------------------------------

    def _user_outputs(
        self, block: RatingBlock, centred: Tensor, codes: Tensor, learnt: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """W and b of users, (n_rows, width) and (n_rows,): those that training learns, or the best for their ratings.

        Answers are from the best, for anybody; validation users need not be training users either.
        """
        assert self.by_user is not None
        bias = self.by_user.output_bias
        if not learnt:
            outputs, best = regressions(centred, codes, block.pattern, self.config.l2, bias is not None)
            return outputs, None if bias is None else best
        assert block.users is not None
        return self.by_user.outputs[block.users], None if bias is None else bias[block.users]

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """The outputs that fit a user's ratings best (I-AutoRec), or the code of their row (U-AutoRec).

        The last column is what is the same for all items: the user's bias, and what centring took away.
        """
        effect = self._effect(block)
        centred, offset = self._centred(block, effect), self.mean + effect
        if self.by_item is not None:
            code = self._code(self.by_item, centred, block.pattern)
        else:
            code, bias = self._user_outputs(block, centred, self.item_rows[:, :-1])
            offset = offset if bias is None else offset + bias
        return torch.cat([code, offset.unsqueeze(1)], 1)

    @property
    def encodes_items(self) -> bool:
        """I-AutoRec does nothing else."""
        return self.by_user is not None

    @torch.no_grad()
    def encode_items(self, columns: RatingBlock, raters: RatingBlock) -> tuple[Tensor, Tensor]:
        """Codes of items from their columns."""
        if self.by_user is None:
            return super().encode_items(columns, raters)
        pattern, effect = columns.pattern, torch.zeros_like(columns.counts)
        if self.config.center == "biases":
            effect = fold_in_user_bias(columns.values, pattern, self.mean, self.user_effect, self.shrinkage[1])
        centred = pattern.residuals(columns.values, None, self.mean, effect, self.user_effect)
        code = self._code(self.by_user, centred, pattern)
        return torch.cat([code, torch.ones_like(code[:, :1])], 1), effect


@torch.no_grad()
def regressions(
    values: Tensor, codes: Tensor, pattern: SparsePattern, strength: float, intercept: bool = True
) -> tuple[Tensor, Tensor]:
    """w_u, b_u = argmin Σ_i (r_ui − ⟨w, h_i⟩ − b)² + λ‖w‖² for each row, exactly; zero for a row without entries.

    What I-AutoRec's loss asks of a user's outputs, given the codes. The bias is free, so codes are taken less their
    mean over the row's items; without `intercept` it is 0.

    Parameters
    ----------
    values : (nnz,) tensor
        r_ui.
    codes : (n_items, width) tensor
        h_i.
    strength : float
        λ.

    Returns
    -------
    outputs : (n_rows, width) tensor
    bias : (n_rows,) tensor
    """
    return kernels.regressions(pattern.crow, pattern.col, values, codes, strength, intercept)
