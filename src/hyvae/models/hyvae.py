"""Hy-VAE: a variational and a deterministic autoencoder that share an encoder input and fuse their outputs.

Liu, J., Xiao, Y., Zhu, K., Zheng, W., Hsu, C.-H. (2022). Hybrid Variational Autoencoder for Collaborative Filtering.
Equation numbers are the paper's. `docs/paper.md` sets the text beside each field, and says what it leaves open.

One class, three presets. ``paper`` is the paper's model: a user's ratings in, one shared layer, two branches, a dense
layer over both outputs. ``fast`` makes the same idea two-sided: inputs carry the centred rating and its presence,
the rows of the output layer also encode the item's own column, each step learns only from ratings that it hides, and
an encoded user is refined in closed form. ``default`` answers by a mean of that network and of draws from the posterior
of a linear autoencoder of the same two sides (`hyvae.nn.draws`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import pad

from hyvae.errors import ConfigError
from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan, Widths
from hyvae.nn import kernels
from hyvae.nn.biases import DEFAULT_SHRINKAGE, Shrinkage, fit_biases, fold_in_user_bias, shrinkage_of
from hyvae.nn.dense import ACTIVATIONS, Linear
from hyvae.nn.draws import Draws, kept_sweeps
from hyvae.nn.fusion import DenseFusion
from hyvae.nn.hiding import dropout, visible_ratings
from hyvae.nn.latent import LOG_VARIANCE_RANGE, expected_relu, sample, total_kl
from hyvae.nn.ordinal import OrdinalHead
from hyvae.nn.randomness import generator
from hyvae.nn.refinement import solve_refinement
from hyvae.nn.schedules import kl_weight
from hyvae.nn.sparse import (
    SparsePattern,
    at_columns,
    paired_product,
    sampled_product,
    sampled_product_in_parts,
    sparse_product,
)

# tenths: a tenth hidden is what training does
CROSS_FIT_FOLDS = 10
REFINED_USERS = 2048
# of the thread that asked: others are answered by the whole model meanwhile
_network_alone: ContextVar[bool] = ContextVar("network_alone", default=False)
# of a chain, where the config leaves it open: few ratings leave much unknown, and cost little
FEWEST_SWEEPS, MOST_SWEEPS, RATINGS_LOOKED_AT = 100, 200, 15_000_000


class HyVAEConfig(Config):
    """Settings of Hy-VAE; the defaults are the ``default`` preset."""

    center: Literal["none", "global", "biases"] = Field(
        "biases", description="subtracted from ratings: nothing, their mean, or mean + user and item effects"
    )
    bias_shrinkage: float | None = Field(
        None, gt=0, description="ratings at the mean added to each user and item effect; none: estimated for each side"
    )
    fill: Literal["zero", "user_mean"] = Field("zero", description="what stands at unrated inputs (§ II)")
    presence: bool = Field(True, description="second input channel: 1 where there is a rating")
    row_scaling: bool = Field(True, description="divide the input sums by √(n + 1), n the number of ratings")
    hide: float = Field(
        0.1, ge=0, lt=1, description="share of ratings hidden from all inputs of a step, which learns from these only"
    )

    hidden: int = Field(128, gt=0, description="width of the shared pre-coding layer")
    activation: Literal["relu", "selu", "tanh"] = "selu"
    hidden_dropout: float = Field(0.4, ge=0, lt=1, description="dropout after the shared layer")
    branches: Literal["both", "vae", "deep"] = Field("both", description="Table III switches one off")
    latent: int = Field(32, gt=0, description="units of z")
    deep_layers: Widths = Field(
        (32,), min_length=1, description="widths of the deterministic encoder's layers; the last is its code"
    )
    deep_dropout: float = Field(0.0, ge=0, lt=1, description="dropout at the deterministic code")
    decoder: int | None = Field(
        None, gt=0, description="width of each branch's decoder layer; none: codes meet the item rows directly"
    )

    fusion: Literal["dense", "folded"] = Field(
        "folded", description="dense: the paper's 2I → I layer; folded: the same functions with I × 2·width weights"
    )
    output_activation: Literal["none", "relu"] = Field("none", description="on V_V and V_D, before the dense fusion")
    item_encoder: bool = Field(True, description="item rows are a free row plus an encoding of the item's column")
    user_vectors: bool = Field(True, description="training adds a free vector to each user's code")
    refine: float | None = Field(
        40.0, gt=0, description="λ of the closed-form refinement of an encoded user; none: no refinement"
    )

    likelihood: Literal["gaussian", "multinomial", "ordinal"] = Field(
        "gaussian",
        description="masked squared error; eq. 3–4 (dense head only; predicts N_u·π_i); or ordered levels, whose "
        "expectation is the prediction",
    )
    levels: int = Field(5, ge=2, description="of the ordinal likelihood: rating levels, evenly spaced over the scale")
    loss_reduction: Literal["elbo", "rating", "user"] = Field(
        "elbo",
        description="elbo: squared errors averaged over ratings, KL over as many and times 2s² (s² the variance that "
        "centring leaves), so that β = 1 is the bound of a Gaussian likelihood; rating: errors averaged over ratings, "
        "KL over users; user: errors summed within a user, all averaged over users",
    )
    beta: float = Field(0.05, ge=0, description="weight of the KL term (eq. 8)")
    kl_warmup: float = Field(0.0, ge=0, le=1, description="share of the steps in which β rises from 0")
    vae_loss: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of L_rec that the variational branch must earn alone: keeps it from collapse",
    )
    deep_loss: Literal["masked", "none"] = Field("none", description="L_Deep (eq. 9): squared error of V_D, or nothing")
    l2: float = Field(50.0, ge=0, description="weight of the summed squares of the weights in l2_scope")
    l2_against: Literal["sum", "mean"] = Field(
        "sum",
        description="l2 weighs against the sum of all squared errors (the ratio of residual to prior variance, the "
        "same at any number of ratings), or against their mean",
    )
    l2_scope: Literal["all", "deep"] = Field("all", description="every weight matrix, or the deterministic branch's")
    predict_with: Literal["mean", "mu"] = Field(
        "mean", description="expected output over z ~ q(z|x), or the output at its mean"
    )

    samples: int = Field(
        80,
        ge=0,
        description="draws that are kept of a two-sided linear autoencoder with ordered levels, beside the network; "
        "0: the network answers alone",
    )
    sample_width: int = Field(32, gt=1, description="units of their vectors, the bias included")
    chains: int = Field(4, gt=0, description="Gibbs samplers that draw them, each from a start of its own")
    sweeps: int | None = Field(
        None, gt=0, description="of each chain; none: as many as look at 15 million ratings, but 100 to 200"
    )
    network_share: float = Field(0.3, ge=0, le=1, description="of the prediction, where there are draws beside it")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        def refuse(when: bool, why: str) -> None:
            if when:
                raise ValueError(why)

        dense = self.fusion == "dense"
        refuse(dense and self.item_encoder, "item_encoder needs fusion='folded'")
        refuse(dense and (self.decoder is None), "fusion='dense' needs a decoder width")
        refuse(dense and self.user_vectors, "user_vectors needs fusion='folded'")
        refuse(dense and self.vae_loss > 0, "vae_loss needs fusion='folded'")
        refuse(self.l2_against == "sum" and not self.l2, "l2_against='sum' needs a positive l2")
        refuse(not dense and self.output_activation != "none", "output_activation='relu' needs fusion='dense'")
        refuse(not dense and self.likelihood == "multinomial", "likelihood='multinomial' needs fusion='dense'")
        refuse(self.samples > 0 and self.likelihood == "multinomial", "likelihood='multinomial' needs samples=0")
        kept = self.chains * kept_sweeps(self.sweeps or FEWEST_SWEEPS)
        refuse(self.samples > kept, f"after the burn-in there are {kept} sweeps to keep, which is less than samples")
        nonlinear = self.output_activation != "none" or self.likelihood == "multinomial"
        refuse(nonlinear and self.refine is not None, "refine needs a linear output: set refine=none")
        refuse(
            self.likelihood == "multinomial" and (self.center != "none" or self.hide > 0),
            "likelihood='multinomial' needs center='none' and hide=0",
        )
        exact = self.decoder is None or self.activation == "relu" or self.branches == "deep"
        refuse(
            self.predict_with == "mean" and not exact, "predict_with='mean' through a decoder needs activation='relu'"
        )
        return self


PAPER = HyVAEConfig(
    center="none",
    presence=False,
    row_scaling=False,
    hide=0.0,
    hidden=256,
    activation="relu",
    hidden_dropout=0.0,
    latent=512,
    deep_layers=(512,),
    deep_dropout=0.8,
    decoder=256,
    fusion="dense",
    item_encoder=False,
    user_vectors=False,
    refine=None,
    beta=0.2,
    deep_loss="masked",
    vae_loss=0.0,
    loss_reduction="user",
    l2=1e-4,
    l2_against="mean",
    l2_scope="deep",
    samples=0,
)


NETWORK_PLAN = TrainingPlan(
    learning_rate=5e-3, schedule="one_cycle", epochs=140, batch_users=None, validate_every=10, patience=5
)


class HyVAE(RatingModel):
    """Hybrid variational autoencoder."""

    name: ClassVar[str] = "hyvae"
    title: ClassVar[str] = "Hy-VAE"
    citation: ClassVar[str] = (
        "Liu, Xiao, Zhu, Zheng, Hsu (2022), Hybrid Variational Autoencoder for Collaborative Filtering"
    )
    Config: ClassVar[type[Config]] = HyVAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(HyVAEConfig(), NETWORK_PLAN),
        "fast": Preset(HyVAEConfig(samples=0), NETWORK_PLAN),
        "paper": Preset(
            PAPER, TrainingPlan(optimiser="rmsprop", learning_rate=1e-4, epochs=500, batch_users=500, patience=50)
        ),
    }
    settings_before: ClassVar[dict[str, Any]] = {"samples": 0}
    item_tables: ClassVar[tuple[str, ...]] = (
        *RatingModel.item_tables,
        "rating_table",
        "presence_table",
        "item_effect",
        "item_free",
        "head_bias",
        "draws.users.effects",
    )
    user_tables: ClassVar[tuple[str, ...]] = (
        "user_effect",
        "user_rating_table",
        "user_presence_table",
        "user_vectors",
        "draws.items.effects",
    )

    config: HyVAEConfig
    mean: Tensor
    item_effect: Tensor
    user_effect: Tensor
    residual_variance: Tensor
    z_scale: Tensor
    shrinkage: Tensor

    def __init__(self, config: HyVAEConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        c = config
        self.widths = (  # of what the variational and the deterministic branch hand to the head
            0 if c.branches == "deep" else c.decoder or c.latent,
            0 if c.branches == "vae" else c.decoder or c.deep_layers[-1],
        )
        width = sum(self.widths)
        self.n_ratings = 1  # of training, known from prepare on
        self.n_drawn = c.samples * c.sample_width
        super().__init__(config, n_users, n_items, scale, self.n_drawn + width + 1)
        self.draws = Draws(n_users, n_items, c.samples, c.sample_width) if c.samples else None
        for effect, shape in (("mean", ()), ("item_effect", (n_items,)), ("user_effect", (n_users,))):
            self.register_buffer(effect, torch.zeros(shape))
        self.register_buffer("residual_variance", torch.ones(()))
        self.register_buffer("z_scale", torch.ones(()))
        self.register_buffer("shrinkage", torch.full((2,), c.bias_shrinkage or DEFAULT_SHRINKAGE))

        self.rating_table = _table(n_items, c.hidden)
        self.presence_table = _table(n_items, c.hidden) if c.presence else None
        self.hidden_bias = nn.Parameter(torch.zeros(c.hidden))
        if c.branches != "deep":
            self.to_mean = Linear(c.hidden, c.latent)
            self.to_log_variance = Linear(c.hidden, c.latent)
            self.decode_z = Linear(c.latent, c.decoder) if c.decoder else None
            # starts with less noise than the prior's, and the same for everyone
            nn.init.constant_(self.to_log_variance.bias, -1.0)
            nn.init.normal_(self.to_log_variance.weight, std=0.1 * c.hidden**-0.5, generator=generator())
        if c.branches != "vae":
            sizes = (c.hidden, *c.deep_layers)
            self.deep = nn.ModuleList(Linear(a, b) for a, b in pairwise(sizes))
            self.decode_deep = Linear(c.deep_layers[-1], c.decoder) if c.decoder else None
        self.user_vectors = _table(n_users, width, 0.001) if c.user_vectors else None
        if c.item_encoder:
            self.user_rating_table = _table(n_users, c.hidden)
            self.user_presence_table = _table(n_users, c.hidden) if c.presence else None
            self.item_hidden_bias = nn.Parameter(torch.zeros(c.hidden))
            self.to_item_row = Linear(c.hidden, width)

        if c.decoder is None:
            self._scale_linear_heads()
        if c.likelihood == "ordinal":
            self.ordinal = OrdinalHead(c.levels, scale)
        self._deep_has_own_output = c.branches == "both" and c.deep_loss == "masked"
        if c.fusion == "dense":
            self.fusion = DenseFusion(self.widths, n_items, relu=c.output_activation == "relu")
        else:
            self.item_free = _table(n_items, width)
            if c.center != "biases":
                self.head_bias = nn.Parameter(torch.zeros(n_items))
            if self._deep_has_own_output:
                self.deep_rows = _table(n_items, self.widths[1])
                self.deep_bias = nn.Parameter(torch.zeros(n_items))

    def _scale_linear_heads(self) -> None:
        """Start the linear maps from hidden units to codes at unit gain: both sides must move for either to learn."""
        heads = [getattr(self, name) for name in ("to_mean", "to_item_row") if hasattr(self, name)]
        if self.config.branches != "vae":
            heads.append(self.deep[-1])
        for head in heads:
            nn.init.normal_(head.weight, std=head.in_features**-0.5, generator=generator())
            nn.init.zeros_(head.bias)

    # -- encoding -------------------------------------------------------------------------------------

    def _activate(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.config.activation](x)

    def _encode_rows(
        self,
        pattern: SparsePattern,
        values: Tensor,
        seen: Tensor | None,
        tables: tuple[Tensor, Tensor | None],
        bias: Tensor,
        columns: bool = False,
    ) -> Tensor:
        """Shared layer of rows (or columns) of centred ratings, which are 0 where `seen` is; (n, hidden)."""
        rating_table, presence_table = tables
        sums = pattern.column_sums if columns else pattern.row_sums
        seen = torch.ones_like(values) if seen is None else seen
        count = sums(seen)
        filled: Tensor | float = 0.0
        if self.config.fill == "user_mean":
            # a row whose gaps hold its mean m is m everywhere plus what its ratings differ from m: sparse again
            mean = sums(values) / count.clamp_min(1.0)
            effect = {"col": mean} if columns else {"row": mean}
            values = pattern.residuals(values, seen, **effect)
            filled = mean.unsqueeze(1) * rating_table.sum(0)
        if presence_table is None:
            total = sparse_product(values, rating_table, pattern, columns)
        else:
            total = paired_product(values, rating_table, seen, presence_table, pattern, columns)
        return self._to_hidden(total + filled, count, bias)

    def _to_hidden(self, total: Tensor, count: Tensor, bias: Tensor) -> Tensor:
        if self.config.row_scaling:
            total = total * torch.rsqrt(count + 1.0).unsqueeze(1)
        return dropout(self._activate(total + bias), self.config.hidden_dropout, self.training)

    def _user_tables(self) -> tuple[Tensor, Tensor | None]:
        return self.rating_table, self.presence_table

    def _branches(self, hidden: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What both branches hand to the head, (n_rows, sum of widths), with μ and log σ² (eq. 5–6)."""
        outputs: list[Tensor] = []
        mean = log_variance = None
        if self.config.branches != "deep":
            # in units of the code, as the deterministic branch's output is, and then of z, whose prior is N(0, 1)
            mean = self.to_mean(hidden) / self.z_scale
            log_variance = self.to_log_variance(hidden).clamp(*LOG_VARIANCE_RANGE)
            outputs.append(self._decode_variational(mean, log_variance))
        if self.config.branches != "vae":
            outputs.append(self._deterministic(hidden))
        return torch.cat(outputs, 1), mean, log_variance

    def _decode_variational(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        if self.training:
            z = sample(mean, log_variance)
            return self.z_scale * z if self.decode_z is None else self._activate(self.decode_z(z))
        if self.decode_z is None:
            return self.z_scale * mean
        if self.config.predict_with == "mu":
            return self._activate(self.decode_z(mean))
        variance = log_variance.exp() @ self.decode_z.weight.square().T
        return expected_relu(self.decode_z(mean), variance)

    def _deterministic(self, hidden: Tensor) -> Tensor:
        *inner, last = self.deep
        for layer in inner:
            hidden = self._activate(layer(hidden))
        code = last(hidden)
        if self.decode_deep is None:
            return dropout(code, self.config.deep_dropout, self.training)
        code = dropout(self._activate(code), self.config.deep_dropout, self.training)
        return self._activate(self.decode_deep(code))

    # -- training -------------------------------------------------------------------------------------

    def prepare(self, train: RatingBlock) -> None:
        """Fit the centring on all training ratings."""
        c = self.config
        self.n_ratings = train.pattern.nnz
        if c.center == "global":
            self.mean.copy_(train.values.mean())
        elif c.center == "biases":
            shrinkage = shrinkage_of(c.bias_shrinkage, train.values, train.pattern)
            self.shrinkage.copy_(torch.stack(shrinkage))
            biases = fit_biases(train.values, train.pattern, shrinkage)
            self.mean.copy_(biases.mean)
            self.item_effect.copy_(biases.item)
            self.user_effect.copy_(biases.user)
        centred = train.pattern.residuals(train.values, None, self.mean, self.user_effect, self.item_effect)
        # ratings that centring explains altogether leave no variance to divide by
        self.residual_variance.copy_(centred.var(correction=0).clamp_min(1e-6))
        if c.decoder is None and c.l2_against == "sum":
            # z is standard normal a priori; every other code has the prior variance s² / l2 that its L2 term means
            self.z_scale.copy_((self.residual_variance / c.l2).sqrt())

    def shared(self, train: RatingBlock, step: Step) -> Shared:
        """Centring without the hidden ratings, and the item rows."""
        c = self.config
        weights = self._visible(train, step)
        mean, item, user = self.mean, self.item_effect, self.user_effect
        if c.center == "biases" and weights is not None:
            biases = fit_biases(train.values, train.pattern, Shrinkage(*self.shrinkage), weights)
            mean, item, user = biases.mean, biases.item, biases.user
        shared = {"mean": mean, "item_effect": item, "user_effect": user}
        if c.fusion == "folded":
            shared["item_rows"] = self._item_rows(train, weights, mean, item, user)
        return shared

    def _visible(self, block: RatingBlock, step: Step) -> Tensor | None:
        if not self.config.hide or step.n_targets is not None:
            return None
        assert block.keys is not None
        return visible_ratings(step.seed, step.number, block.keys, self.config.hide).to(block.values.dtype)

    def _item_rows(
        self, train: RatingBlock, weights: Tensor | None, mean: Tensor, item: Tensor, user: Tensor
    ) -> Tensor:
        if not self.config.item_encoder:
            return self.item_free
        return self.item_free + self._encoded_items(train, weights, mean, item, user)

    def _encoded_items(
        self, train: RatingBlock, weights: Tensor | None, mean: Tensor, item: Tensor, user: Tensor
    ) -> Tensor:
        centred = train.pattern.residuals(train.values, weights, mean, user, item)
        return self._encode_columns(train.pattern, centred, weights, columns=True)

    def _encode_columns(
        self, pattern: SparsePattern, centred: Tensor, seen: Tensor | None, columns: bool = False
    ) -> Tensor:
        tables = self.user_rating_table, self.user_presence_table
        return self.to_item_row(self._encode_rows(pattern, centred, seen, tables, self.item_hidden_bias, columns))

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """L_rec + β·L_KL + L_Deep (eq. 9) of one block of users, on the ratings that the step hides (or on all)."""
        c = self.config
        assert block.users is not None
        pattern, visible = block.pattern, self._visible(block, step)
        # validation users need not be training users: then their ratings tell their effect
        effect = shared["user_effect"][block.users] if targets is None else self._user_effect(block)
        seen = _centred(block, shared, effect, visible)
        code, mean, log_variance = self._branches(
            self._encode_rows(pattern, seen, visible, self._user_tables(), self.hidden_bias)
        )
        if self.user_vectors is not None:
            code = code + self.user_vectors[block.users]
        if targets is not None:
            pattern, ratings = targets.pattern, targets.values
            centred = _centred(targets, shared, effect)
        elif visible is not None:
            pattern, places = pattern.hidden(visible)
            ratings = block.values[places]
            centred = _centred(RatingBlock(pattern, ratings), shared, effect)
        else:
            ratings, centred = block.values, seen
        # the expected number of hidden ratings, so that blocks on any machine divide by the same number
        n_ratings = step.n_ratings * (c.hide or 1.0)
        total = float(step.n_users) if c.loss_reduction == "user" else n_ratings
        if targets is not None:
            assert step.n_targets is not None
            # as if there were as many of them as training has, so that both losses are in one unit
            total *= step.n_targets / n_ratings

        output, alone, deep_output = self._outputs(code, shared, pattern)
        parts = {"rec": self._misfit(output, centred, ratings) / total}
        if alone is not None:
            parts["rec"] = (1 - c.vae_loss) * parts["rec"]
            parts["vae"] = c.vae_loss * self._misfit(alone, centred, ratings) / total
        if deep_output is not None:
            parts["deep"] = (centred - deep_output).square().sum() / total
        if mean is not None and log_variance is not None:
            kl = total_kl(mean, log_variance)
            scale = 2 * self.residual_variance / step.n_ratings if c.loss_reduction == "elbo" else 1 / step.n_users
            parts["kl"] = kl_weight(step.progress, c.beta, c.kl_warmup) * scale * kl
        return parts

    def _misfit(self, output: Tensor, centred: Tensor, ratings: Tensor) -> Tensor:
        """L_rec, summed: squared errors, −Σ x log π (eq. 4), or the ordinal likelihood in units of squared errors."""
        if self.config.likelihood == "multinomial":
            return -(output * centred).sum()
        if self.config.likelihood == "ordinal":
            # times 2s², as the Gaussian's −log p is squared error / 2s²: the other parts keep their weights
            score = output + (ratings - centred)
            return -2 * self.residual_variance * self.ordinal.log_likelihood(score, ratings).sum()
        return (centred - output).square().sum()

    def _outputs(
        self, code: Tensor, shared: Shared, pattern: SparsePattern
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """x̂ (or log π, eq. 2) at the positions of `pattern`, (nnz,), and what has a loss of its own.

        These are the variational branch's part of x̂, and V_D.
        """
        if self.config.fusion == "dense":
            if self.config.likelihood == "multinomial":
                fused, deep = self.fusion(code)
                at = pattern.row, pattern.col
                fused, deep = torch.log_softmax(fused, 1)[at], deep[at]
            else:
                fused, deep = self.fusion.at(code, pattern)
            return fused, None, deep if self._deep_has_own_output else None
        bias = 0.0 if self.config.center == "biases" else at_columns(self.head_bias, pattern)
        z, alone = self.widths[0], None
        if self.config.vae_loss and self.config.branches == "both":
            first, second = sampled_product_in_parts(code, shared["item_rows"], pattern, z)
            output, alone = first + second + bias, first + bias
        else:
            output = sampled_product(code, shared["item_rows"], pattern) + bias
        if not self._deep_has_own_output:
            return output, alone, None
        deep = sampled_product(code[:, z:], self.deep_rows, pattern)
        return output, alone, deep + at_columns(self.deep_bias, pattern)

    def penalties(self) -> dict[str, float]:
        """λ of the weights in scope; biases are free."""
        prefixes = (
            ("",) if self.config.l2_scope == "all" else ("deep.", "decode_deep.", "fusion.outputs.1", "deep_rows")
        )
        if not self.config.l2:
            return {}
        weight = self.config.l2 / (self.n_ratings if self.config.l2_against == "sum" else 1)
        return {name: weight for name, p in self.named_parameters() if p.dim() == 2 and name.startswith(prefixes)}

    # -- answering ------------------------------------------------------------------------------------

    @property
    def _folds(self) -> bool:
        return self.config.output_activation == "none" and self.config.likelihood != "multinomial"

    @property
    def training_only(self) -> tuple[str, ...]:
        """Parameters that are folded into the item rows, or that only training uses."""
        folded = ("fusion.", "item_free", "head_bias") if self._folds else ()
        return (*folded, "user_vectors", "deep_rows", "deep_bias")

    @property
    def _network_rows(self) -> Tensor:
        """The part of the item rows that the branches' codes meet: those of the draws come before, a one behind."""
        return self.item_rows[:, self.n_drawn : -1]

    @torch.no_grad()
    def conclude(self, train: RatingBlock, told: Callable[[int, int], None]) -> None:
        """Draw from the posterior of the linear autoencoder."""
        if self.draws is not None:
            chains = min(self.config.chains, self.config.samples)
            as_many = RATINGS_LOOKED_AT // max(train.pattern.nnz, 1)
            sweeps = self.config.sweeps or min(max(as_many, FEWEST_SWEEPS), MOST_SWEEPS)
            self.item_rows[:, : self.n_drawn] = self.draws.draw(
                train.pattern, train.values, sweeps, chains, lambda done: told(done, sweeps * chains)
            )

    @torch.no_grad()
    def finish(self, train: RatingBlock) -> None:
        """Fold the head, and encode the columns, into item rows and biases."""
        if self.config.fusion == "dense":
            if not self._folds:
                return
            rows, bias = self.fusion.fold()
        else:
            rows = self._item_rows(train, None, self.mean, self.item_effect, self.user_effect)
            bias = torch.zeros_like(self.item_bias) if self.config.center == "biases" else self.head_bias
        self._network_rows[:] = rows
        self.item_rows[:, -1] = 1.0
        self.item_bias.copy_(bias + self.item_effect)

    @torch.no_grad()
    def posterior(self, block: RatingBlock) -> tuple[Tensor, Tensor] | None:
        """μ and log σ² of q(z|x) (eq. 5), in units of z."""
        effect = self._user_effect(block)
        centred = block.pattern.residuals(block.values, None, self.mean, effect, self.item_effect)
        hidden = self._encode_rows(block.pattern, centred, None, self._user_tables(), self.hidden_bias)
        _, mean, log_variance = self._branches(hidden)
        return None if mean is None or log_variance is None else (mean, log_variance)

    @property
    def code_parts(self) -> dict[str, slice]:
        """Columns of a code that each branch gives."""
        start, middle, stop = self.n_drawn, self.n_drawn + self.widths[0], self.n_drawn + sum(self.widths)
        parts = {"z": slice(start, middle), "d": slice(middle, stop)}
        return {name: columns for name, columns in parts.items() if columns.start < columns.stop}

    @contextmanager
    def network_alone(self) -> Iterator[None]:
        """A context in which the draws do not answer."""
        before = _network_alone.set(True)
        try:
            yield
        finally:
            _network_alone.reset(before)

    @property
    def _answering_draws(self) -> Draws | None:
        """The draws, where they answer beside the network."""
        return self.draws if self.draws is not None and self.draws.drawn and not _network_alone.get() else None

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """Codes of users, refined where the config says so; the last column is what the centring took away."""
        c, pattern = self.config, block.pattern
        multinomial = c.likelihood == "multinomial"
        offset = pattern.row_sums(block.values) if multinomial else self.mean.expand_as(block.counts)  # N_u of eq. 3
        effect = self._user_effect(block)
        centred = pattern.residuals(block.values, None, self.mean, effect, self.item_effect)
        code, _, _ = self._branches(self._encode_rows(pattern, centred, None, self._user_tables(), self.hidden_bias))
        if c.refine is not None:
            code = code + self._refinement(block, c.refine)
        code = torch.cat([code, (offset + effect).unsqueeze(1)], 1)
        if self.draws is None:
            return code
        draws = self._answering_draws
        if draws is None:
            return torch.cat([code.new_zeros(len(code), self.n_drawn), code], 1)
        return torch.cat([draws.encode(pattern, block.values, self.item_rows[:, : self.n_drawn]), code], 1)

    def _user_effect(self, block: RatingBlock) -> Tensor:
        """Effect of each row on its ratings, from these alone, where the centring has one; (n_rows,)."""
        if self.config.center != "biases":
            return torch.zeros_like(block.counts)
        return fold_in_user_bias(block.values, block.pattern, self.mean, self.item_effect, self.shrinkage[0])

    def _refinement(self, block: RatingBlock, strength: float) -> Tensor:
        """What the ratings of each row say of its code beyond their encoding, in closed form; (n_rows, width)."""
        refined = []
        # each user's history is encoded once for each fold: some users at a time
        for part in block.pieces(REFINED_USERS):
            residuals = self._cross_fitted_residuals(part)
            refined.append(solve_refinement(residuals, self._network_rows, part.pattern, strength))
        return torch.cat(refined) if refined else self._network_rows[:0]

    def _cross_fitted_residuals(self, block: RatingBlock) -> Tensor:
        """A user's own ratings less their predictions, each by an encoding that did not see it; (nnz,).

        Residuals that the encoder has seen are optimistic, and would spoil the refinement. Every rating is summed once,
        with its fold, and not once for each of the other folds.
        """
        c, folds = self.config, CROSS_FIT_FOLDS
        parts, order = _folded(block.pattern, folds)
        taste = block.pattern.residuals(block.values, mean=self.mean, col=self.item_effect)[order]
        ones = torch.ones_like(taste)

        def others(sums: Tensor) -> Tensor:
            # not the total less its own, which would let its own through by rounding
            return kernels.others(sums.unflatten(0, (-1, folds))).flatten(0, 1)

        count = others(parts.row_sums(ones))
        effect = torch.zeros_like(count)
        if c.center == "biases":
            effect = others(parts.row_sums(taste)) / (count + self.shrinkage[0])
        rating_table, presence_table = self._user_tables()
        values, seen = kernels.product_both(parts.crow, parts.col, None, taste, ones, rating_table)
        taken, filled = effect, torch.zeros(())
        if c.fill == "user_mean":
            mean = others(parts.row_sums(taste)) / count.clamp_min(1.0) - effect
            taken, filled = effect + mean, mean.unsqueeze(1) * rating_table.sum(0)
        total = others(values) - taken.unsqueeze(1) * others(seen) + filled
        if presence_table is not None:
            total = total + others(sparse_product(ones, presence_table, parts))
        code, _, _ = self._branches(self._to_hidden(total, count, self.hidden_bias))
        head_bias = self.item_bias - self.item_effect
        scores = sampled_product(code, self._network_rows, parts)
        residuals = parts.residuals(taste - scores, row=effect, col=head_bias)
        return torch.empty_like(residuals).index_copy_(0, order, residuals)

    @torch.no_grad()
    def score(self, codes: Tensor, items: slice) -> Tensor:
        """Scores of a block of items: the network's, and the draws' beside it."""
        network = self._network_score(codes[:, self.n_drawn :], items)
        draws = self._answering_draws
        if draws is None:
            return network
        expected = draws.expected(codes[:, : self.n_drawn], self.item_rows[items, : self.n_drawn])
        return torch.lerp(expected, network, self.config.network_share)

    @torch.no_grad()
    def score_pairs(self, codes: Tensor, pattern: SparsePattern) -> Tensor:
        """Scores at the positions of `pattern`."""
        if self._folds:
            rows = self.item_rows[:, self.n_drawn :]
            network = self._rate(sampled_product(codes[:, self.n_drawn :], rows, pattern) + self.item_bias[pattern.col])
        else:
            network = self._network_score(codes[:, self.n_drawn :], slice(None))[pattern.row, pattern.col]
        draws = self._answering_draws
        if draws is None:
            return network
        expected = draws.expected_at(codes[:, : self.n_drawn], self.item_rows[:, : self.n_drawn], pattern)
        return torch.lerp(expected, network, self.config.network_share)

    @torch.no_grad()
    def score_parts(self, codes: Tensor, pattern: SparsePattern) -> dict[str, Tensor] | None:
        """Where the head is linear: what each branch adds, and what the draws would answer."""
        if not self._folds or self.config.likelihood == "ordinal" or self.config.branches != "both":
            return None

        def product(columns: slice) -> Tensor:
            return sampled_product(codes[:, columns].contiguous(), self.item_rows[:, columns].contiguous(), pattern)

        z, d = self.code_parts["z"], self.code_parts["d"]
        parts = {"effects": product(slice(-1, None)) + self.item_bias[pattern.col]}
        parts |= {"variational": product(z), "deterministic": product(d)}
        draws = self._answering_draws
        if draws is not None:
            drawn = slice(0, self.n_drawn)
            parts["draws"] = draws.expected_at(codes[:, drawn], self.item_rows[:, drawn], pattern)
        return parts

    def _network_score(self, codes: Tensor, items: slice) -> Tensor:
        """Scores of the network; the unfoldable heads decode all items first."""
        if self._folds:
            return self._rate(torch.addmm(self.item_bias[items], codes, self.item_rows[items, self.n_drawn :].T))
        fused, _ = self.fusion(codes[:, :-1])
        if self.config.likelihood == "multinomial":
            return (codes[:, -1:] * torch.softmax(fused, 1))[:, items]  # E[x] = N_u·π (eq. 3)
        return self._rate(codes[:, -1:] + fused + self.item_effect)[:, items]

    def _rate(self, scores: Tensor) -> Tensor:
        return self.ordinal.expectation(scores) if self.config.likelihood == "ordinal" else scores

    @property
    def predicts_ratings(self) -> bool:
        """Not with the multinomial likelihood, which asks what a user takes: N_u·π_i orders items."""
        return self.config.likelihood != "multinomial"

    @property
    def encodes_items(self) -> bool:
        """Where the item encoder is on."""
        return self.config.item_encoder

    @torch.no_grad()
    def recover_training_state(self, train: RatingBlock) -> dict[str, Tensor]:
        """Free item rows: the stored rows without their encoding; user vectors: the refinement that replaced them."""
        c = self.config
        if c.fusion == "dense":
            raise ConfigError("fusion='dense' is folded when a run is saved, so that training cannot go on from a run")
        free = self._network_rows
        if c.item_encoder:
            free = free - self._encoded_items(train, None, self.mean, self.item_effect, self.user_effect)
        state = {"item_free": free}
        if c.center != "biases":
            state["head_bias"] = self.item_bias - self.item_effect
        if c.user_vectors and c.refine is not None:
            state["user_vectors"] = self._refinement(train, c.refine)
        return state

    @torch.no_grad()
    def encode_items(self, columns: RatingBlock, raters: RatingBlock) -> tuple[Tensor, Tensor]:
        """Rows and biases of items from their columns: the encoding alone, with a free row of zero.

        Their vectors in the draws are found as users' are, by a regression on the raters' vectors.
        """
        if not self.config.item_encoder:
            return super().encode_items(columns, raters)
        pattern = columns.pattern
        effect = torch.zeros_like(columns.counts)
        if self.config.center == "biases":
            effect = fold_in_user_bias(columns.values, pattern, self.mean, self.user_effect, self.shrinkage[1])
        centred = pattern.residuals(columns.values, None, self.mean, effect, self.user_effect)
        rows = self._encode_columns(pattern, centred, None)
        parts = [rows, torch.ones_like(rows[:, :1])]
        if self.draws is not None:
            assert raters.users is not None
            vectors = self.draws.encode(raters.pattern, raters.values, self.item_rows[:, : self.n_drawn])
            parts = [self.draws.encode_items(pattern, columns.values, vectors, raters.users), *parts]
        return torch.cat(parts, 1), effect


def _centred(block: RatingBlock, shared: Shared, effect: Tensor, weights: Tensor | None = None) -> Tensor:
    """Ratings less the mean, the effects of their items and of the rows, (n_rows,), times weights; shape (nnz,)."""
    return block.pattern.residuals(block.values, weights, shared["mean"], effect, shared["item_effect"])


def _folded(pattern: SparsePattern, folds: int) -> tuple[SparsePattern, Tensor]:
    """Each row parted into `folds` rows, entry by entry in turn; and where each of their entries stood, (nnz,)."""
    counts = (pattern.crow.diff().unsqueeze(1) + torch.arange(folds - 1, -1, -1, device=pattern.crow.device)) // folds
    crow = pad(counts.flatten().cumsum(0), (1, 0))
    number = torch.arange(pattern.nnz, device=crow.device) - pattern.crow[pattern.row]
    place = crow[pattern.row * folds + number % folds] + number // folds
    order = torch.empty_like(place)
    order[place] = torch.arange(pattern.nnz, device=crow.device)
    return SparsePattern((pattern.shape[0] * folds, pattern.shape[1]), crow, pattern.col[order]), order


def _table(rows: int, width: int, deviation: float = 0.02) -> nn.Parameter:
    # small enough that the first predictions are the baseline's
    return nn.Parameter(deviation * torch.randn(rows, width, generator=generator()))
