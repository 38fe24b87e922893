"""MacridVAE: a variational autoencoder of users' rows that sorts the items into concepts, with a code for each.

Ma, J., Zhou, C., Cui, P., Yang, H., Zhu, W. (2019). Learning disentangled representations for recommendation.
NeurIPS 2019. `docs/models/macrid_vae.md` says what stands where, and what rating mode makes of it.

An item i belongs to concept k by c_ik, Σ_k c_ik = 1. A user's row is read once for each concept, x_i · c_ik in place of
x_i, and divided by the root of what is left of its length: √Σ c_ik² over the user's items, and √(1 + Σ c_ik²) where
they are ratings, so that few ratings stay few (with one concept, that of `Feedback.scaled`).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from hyvae.models.base import Config, LossParts, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan
from hyvae.models.feedback import Feedback, FeedbackConfig, RowAutoencoder, Rows
from hyvae.nn import kernels
from hyvae.nn.dense import xavier_linear
from hyvae.nn.implicit import wanted_gradients
from hyvae.nn.latent import sample
from hyvae.nn.randomness import generator
from hyvae.nn.rows import RowLayer
from hyvae.nn.schedules import kl_weight
from hyvae.nn.sparse import SparsePattern, TableGradient, at_columns, sampled_product, sparse_product

# logits at a time: 16 MB of float32
_LOGITS = 1 << 22


class MacridVAEConfig(FeedbackConfig):
    """Settings of MacridVAE; the defaults are the published ones."""

    likelihood: Literal["gaussian", "multinomial"] = Field(
        "gaussian", description="masked squared error of ratings; or what was taken, out of all items (ranking mode)"
    )
    concepts: int = Field(7, gt=0, description="K, kinds of items, each with a code of its own")
    latent: int = Field(100, gt=0, description="units of the code of one concept, and of the hidden layer")
    temperature: float = Field(
        0.1, gt=0, description="τ; cosines are divided by it: of item and concept, and of code and item in ranking mode"
    )
    deviation: float = Field(0.075, gt=0, description="σ₀, of the prior of each unit of a code")
    beta: float = Field(0.2, ge=0, description="weight of the KL term when it has risen")
    kl_warmup: float = Field(
        0.005, ge=0, le=1, description="share of the steps in which β rises from 0; published: one epoch of 200"
    )


PLAN = TrainingPlan(epochs=200, batch_users=350, patience=20)


class MacridVAE(RowAutoencoder, RatingModel):
    """Variational autoencoder that tells concepts apart."""

    name: ClassVar[str] = "macrid_vae"
    title: ClassVar[str] = "MacridVAE"
    citation: ClassVar[str] = "Ma, Zhou, Cui, Yang, Zhu (2019), NeurIPS, Learning disentangled representations"
    Config: ClassVar[type[Config]] = MacridVAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(MacridVAEConfig(), PLAN),
        "ranking": Preset(MacridVAEConfig(likelihood="multinomial"), PLAN),
    }
    item_tables: ClassVar[tuple[str, ...]] = (
        *RatingModel.item_tables,
        "gates",
        "feedback.item_effect",
        "inputs.table",
        "inputs.presence_table",
        "item_vectors",
        "offset",
    )

    config: MacridVAEConfig
    gates: Tensor

    def __init__(self, config: MacridVAEConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        c = config
        ranks = c.likelihood != "gaussian"
        width = c.latent + c.concepts if ranks else c.latent * c.concepts + 1
        super().__init__(config, n_users, n_items, scale, width)
        self.feedback = Feedback(c, n_items, scale)
        self.inputs = RowLayer(n_items, c.latent, c.presence and not ranks, self.feedback.scaled)
        self.to_mean = xavier_linear(c.latent, c.latent)
        self.to_log_precision = xavier_linear(c.latent, c.latent)
        self.item_vectors = nn.Parameter(torch.empty(n_items, c.latent))
        self.prototypes = nn.Parameter(torch.empty(c.concepts, c.latent))
        for table in (self.item_vectors, self.prototypes):
            nn.init.xavier_normal_(table, generator=generator())
        # of ratings: what one unit of a cosine is worth, and an item's own part
        self.amplitude = None if ranks else nn.Parameter(torch.ones(()))
        self.offset = None if ranks else nn.Parameter(torch.zeros(n_items))
        self.register_buffer("gates", torch.zeros(n_items, c.concepts))

    # -- concepts -------------------------------------------------------------------------------------

    def _concepts(self, drawn: bool) -> tuple[Tensor, Tensor]:
        """Item vectors of length 1, (n_items, latent), and log c_ik, (n_items, K).

        Parameters
        ----------
        drawn : bool
            Whether c is a sample, a relaxed one-hot vector (Jang et al. 2017, at temperature 1), or the plain softmax.
        """
        items = normalize(self.item_vectors)
        logits = items @ normalize(self.prototypes).T / self.config.temperature
        if drawn:
            logits = logits + gumbel_like(logits)
        return items, logits.log_softmax(1)

    def shared(self, train: RatingBlock, step: Step) -> Shared:
        """One draw of the concepts for all blocks of a step."""
        items, log_gates = self._concepts(drawn=self.training)
        return {"items": items, "log_gates": log_gates}

    # -- encoder --------------------------------------------------------------------------------------

    def _encoded(self, rows: Rows, gates: Tensor) -> tuple[Tensor, Tensor]:
        """μ, of length 1, and log σ²/σ₀² of each concept's code, both (n_rows, K, latent)."""
        inputs, pattern = self.inputs, rows.pattern
        dropped = rows.values if rows.kept is None else rows.values * rows.kept
        hidden = _GatedProduct.apply(dropped, inputs.table, gates, pattern)
        ones = torch.ones_like(rows.values)
        if inputs.presence_table is not None:
            seen = ones if rows.kept is None else rows.kept
            hidden = hidden + _GatedProduct.apply(seen, inputs.presence_table, gates, pattern)
        count = sparse_product(ones, gates.square(), pattern)
        length = (count + self.feedback.scaled).clamp_min(1e-12).sqrt().unsqueeze(2)
        # a concept of a user is a row like any other
        each = torch.tanh(hidden / length + inputs.bias).flatten(0, 1)
        mean, log_ratio = normalize(self.to_mean(each)), -self.to_log_precision(each)
        return mean.view_as(hidden), log_ratio.view_as(hidden)

    # -- loss -----------------------------------------------------------------------------------------

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """−ELBO with the KL terms of all concepts weighted by β, averaged over users."""
        c = self.config
        items, log_gates = shared["items"], shared["log_gates"]
        gates = log_gates.exp()
        rows = self.feedback.rows(block, corrupted=targets is None)
        mean, log_ratio = self._encoded(rows, gates)
        z = normalize(sample(mean, log_ratio + 2 * math.log(c.deviation)), dim=2) if self.training else mean
        pattern, values, total = self.feedback.targets(rows, targets, step)
        if self.feedback.ranks:
            factors = self._codes(z), torch.cat([items, log_gates], 1)
            rec = _MixtureOverAllItems.apply(*factors, pattern, wanted_gradients(*factors))
        else:
            errors = values - self._predicted(z, items, gates, pattern)
            rec = errors.square().sum() / (2 * self.feedback.residual_variance)
        # μ has length 1: its part of the divergence is the same for all
        kl = 0.5 * (log_ratio.exp() - log_ratio - 1.0).sum()
        beta = kl_weight(step.progress, c.beta, c.kl_warmup)
        return {"rec": rec / total, "kl": beta * kl / step.n_users}

    def _codes(self, z: Tensor) -> Tensor:
        """Codes of ranking mode, whose product with (h_i, log c_i1 … log c_iK) is ⟨z_k, h_i⟩ / τ + log c_ik."""
        concept = torch.eye(z.shape[1], dtype=z.dtype, device=z.device).expand(z.shape[0], -1, -1)
        return torch.cat([z / self.config.temperature, concept], 2)

    def _predicted(self, z: Tensor, items: Tensor, gates: Tensor, pattern: SparsePattern) -> Tensor:
        """Centred ratings at `pattern`: a · Σ_k c_ik ⟨z_k, h_i⟩ + b_i."""
        assert self.amplitude is not None
        assert self.offset is not None
        cosines = [
            at_columns(gates[:, k], pattern) * sampled_product(z[:, k], items, pattern) for k in range(z.shape[1])
        ]
        return self.amplitude * torch.stack(cosines).sum(0) + at_columns(self.offset, pattern)

    # -- answering ------------------------------------------------------------------------------------

    @torch.no_grad()
    def finish(self, train: RatingBlock) -> None:
        """Copy the concepts; of ratings, fold them into one row an item."""
        items, log_gates = self._concepts(drawn=False)
        self.gates.copy_(log_gates.exp())
        if self.offset is None:
            self.item_rows.copy_(torch.cat([items, log_gates], 1))
            return
        self.item_rows[:, :-1] = (self.gates.unsqueeze(2) * items.unsqueeze(1)).flatten(1)
        self.item_rows[:, -1] = 1.0
        self.item_bias.copy_(self.offset + self.feedback.item_effect)

    @property
    def training_only(self) -> tuple[str, ...]:
        """The item vectors and their offsets, which the item rows repeat."""
        return ("item_vectors", "offset")

    def recover_training_state(self, train: RatingBlock) -> dict[str, Tensor]:
        """Item vectors, of length 1 now: no answer depends on their length."""
        if self.offset is None:
            return {"item_vectors": self.item_rows[:, : self.config.latent]}
        parts = self.item_rows[:, :-1].unflatten(1, (self.config.concepts, -1))
        return {"item_vectors": parts.sum(1), "offset": self.item_bias - self.feedback.item_effect}

    @torch.no_grad()
    def posterior(self, block: RatingBlock) -> tuple[Tensor, Tensor]:
        """μ and log σ² of all codes, in units of σ₀, in which their prior is N(0, I); both (n_rows, K · latent)."""
        mean, log_ratio = self._encoded(self.feedback.rows(block), self.gates)
        return mean.flatten(1) / self.config.deviation, log_ratio.flatten(1)

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """The codes at z = μ side by side; of ratings times a, and then what centring took away."""
        rows = self.feedback.rows(block)
        mean, _ = self._encoded(rows, self.gates)
        if self.amplitude is None:
            return self._codes(mean).flatten(1)
        return self.feedback.answer(self.amplitude * mean.flatten(1), rows)

    def score(self, codes: Tensor, items: slice) -> Tensor:
        """Scores of a block of items; in ranking mode log Σ_k c_ik exp(⟨z_k, h_i⟩ / τ)."""
        if not self.feedback.ranks:
            return super().score(codes, items)
        return _logits(codes.unflatten(1, (self.config.concepts, -1)), self.item_rows[items]).logsumexp(0)

    def score_pairs(self, codes: Tensor, pattern: SparsePattern) -> Tensor:
        """The same at the positions of `pattern`."""
        if not self.feedback.ranks:
            return super().score_pairs(codes, pattern)
        each = codes.unflatten(1, (self.config.concepts, -1)).unbind(1)
        return torch.stack([sampled_product(code, self.item_rows, pattern) for code in each]).logsumexp(0)


def gumbel_like(x: Tensor) -> Tensor:
    """Standard Gumbel numbers, shape and type of `x`."""
    return -torch.empty_like(x).exponential_(generator=generator(x.device)).clamp_min(torch.finfo(x.dtype).tiny).log()


def _logits(codes: Tensor, rows: Tensor) -> Tensor:
    """⟨code_uk, row_i⟩ of all users, concepts and items, (K, n_users, n_items), from (n_users, K, width)."""
    return (codes.transpose(0, 1).flatten(0, 1) @ rows.T).view(codes.shape[1], codes.shape[0], len(rows))


class _GatedProduct(torch.autograd.Function):
    """Σ_i x_i · c_ik · W_i of each row and concept, (n_rows, K, width): a sparse product for each concept."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Tensor, gates: Tensor, pattern: SparsePattern) -> Tensor:
        weights = (gates[pattern.col] * values.unsqueeze(1)).T.contiguous()
        ctx.save_for_backward(values, table, weights)
        ctx.pattern = pattern
        return torch.stack([kernels.product(pattern.crow, pattern.col, None, w, table) for w in weights], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, Tensor, None]:
        values, table, weights = ctx.saved_tensors
        pattern: SparsePattern = ctx.pattern
        to_table, to_gates = torch.zeros_like(table), []
        for k, w in enumerate(weights):
            left = grad[:, k]
            to_table += TableGradient(pattern, w, left).dense()
            to_gates.append(pattern.column_sums(values * kernels.sample(pattern.crow, pattern.col, left, table)))
        return None, to_table, torch.stack(to_gates, 1), None


class _MixtureOverAllItems(torch.autograd.Function):
    """−Σ_u Σ_{i taken by u} log softmax_i(log Σ_k exp⟨code_uk, row_i⟩), with its gradient, some users at a time."""

    @staticmethod
    def forward(ctx: Any, codes: Tensor, rows: Tensor, taken: SparsePattern, wanted: tuple[bool, ...]) -> Tensor:
        to_codes = torch.empty_like(codes) if wanted[0] else None
        to_rows = torch.zeros_like(rows) if wanted[1] else None
        total = codes.new_zeros(())
        size = max(1, _LOGITS // (codes.shape[1] * len(rows)))
        for start in range(0, len(codes), size):
            stop = min(start + size, len(codes))
            some, part = codes[start:stop], taken.rows(start, stop)
            at = part.row * len(rows) + part.col
            logits = _logits(some, rows)
            each = logits.flatten(1)[:, at]
            scores = each.logsumexp(0)
            top = logits.amax((0, 2), keepdim=True)
            odds = logits.sub_(top).exp_()
            sums = odds.sum((0, 2), keepdim=True)
            count = part.crow.diff().to(codes.dtype)
            total += count @ (sums.log() + top)[0, :, 0] - scores.sum()
            if not any(wanted):
                continue
            slope = odds.mul_(count.view(1, -1, 1) / sums)
            slope.flatten(1).index_add_(1, at, (each - scores).exp_(), alpha=-1)
            flat = slope.flatten(0, 1)
            if to_codes is not None:
                to_codes[start:stop] = (flat @ rows).view(-1, *some[:, 0].shape).transpose(0, 1)
            if to_rows is not None:
                to_rows.addmm_(flat.T, some.transpose(0, 1).flatten(0, 1))
        ctx.save_for_backward(to_codes, to_rows)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if each is None else grad * each for each in ctx.saved_tensors), None, None
