"""RecVAE: a variational autoencoder of users' rows whose prior remembers what the encoder said an epoch before.

Shenbin, I., Alekseev, A., Tutubalina, E., Malykh, V., Nikolenko, S. I. (2020). RecVAE: a new variational autoencoder
for top-N recommendations with implicit feedback. WSDM 2020. `docs/models/rec_vae.md` says what stands where, and where
rating mode and the authors' code differ.
"""

from __future__ import annotations

import copy
import math
from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import silu

from hyvae.models.base import Config, LossParts, Phase, Preset, RatingBlock, RatingModel, Shared, Step, TrainingPlan
from hyvae.models.feedback import Feedback, FeedbackConfig, RowAutoencoder, Rows
from hyvae.nn.dense import xavier_linear
from hyvae.nn.latent import sample
from hyvae.nn.rows import ItemHead, RowLayer

# added to the variance of a layer's outputs, which silences those that differ little
_NORM_EPS = 0.1
_LOG_2PI = math.log(2 * math.pi)
_WIDE_LOG_VARIANCE = 10.0
# a step of this phase sees its whole input
_DECODER = "decoder"

Share = Annotated[float, Field(ge=0, le=1)]


class RecVAEConfig(FeedbackConfig):
    """Settings of RecVAE; the defaults are the published ones."""

    hidden: int = Field(600, gt=0, description="units of each layer of the encoder")
    layers: int = Field(5, gt=0, description="layers of the encoder")
    latent: int = Field(200, gt=0, description="units of z")
    prior: tuple[Share, Share, Share] = Field(
        (0.15, 0.75, 0.1), description="shares of N(0, 1), of the earlier encoder's q(z|x) and of N(0, e^10) in p(z|x)"
    )
    gamma: float | None = Field(
        0.005, gt=0, description="weight of a user's KL term for each of their inputs; none: beta for every user"
    )
    beta: float = Field(0.2, ge=0, description="weight of the KL term where gamma is none")
    encoder_passes: int = Field(3, gt=0, description="passes over the users in which the encoder learns, an epoch")
    decoder_passes: int = Field(1, gt=0, description="passes in which the decoder learns, an epoch")

    @model_validator(mode="after")
    def _shares_of_one(self) -> Self:
        if not math.isclose(sum(self.prior), 1.0):
            raise ValueError("the three shares of the prior must add up to 1")
        return self


# an epoch is four passes over the users
PLAN = TrainingPlan(learning_rate=5e-4, epochs=50, batch_users=500, patience=10)


class Encoder(nn.Module):
    """μ and log σ² of q(z|x) from layers of which each sees the sum of all before."""

    def __init__(self, config: RecVAEConfig, n_items: int, presence: bool, scaled: float) -> None:
        super().__init__()
        width = config.hidden
        self.inputs = RowLayer(n_items, width, presence, scaled)
        self.layers = nn.ModuleList(xavier_linear(width, width) for _ in range(config.layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=_NORM_EPS) for _ in range(config.layers))
        self.to_mean = xavier_linear(width, config.latent)
        self.to_log_variance = xavier_linear(width, config.latent)

    def forward(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """Both (n_rows, latent)."""
        norms = iter(self.norms)
        hidden = next(norms)(silu(self.inputs(rows.pattern, rows.values, rows.kept)))
        total = hidden
        for layer in self.layers:
            hidden = next(norms)(silu(layer(hidden) + total))
            total = total + hidden
        return self.to_mean(hidden), self.to_log_variance(hidden)


class RecVAE(RowAutoencoder, RatingModel):
    """Variational autoencoder with a composite prior, learning in turns."""

    name: ClassVar[str] = "rec_vae"
    title: ClassVar[str] = "RecVAE"
    citation: ClassVar[str] = "Shenbin, Alekseev, Tutubalina, Malykh, Nikolenko (2020), WSDM, RecVAE"
    Config: ClassVar[type[Config]] = RecVAEConfig
    presets: ClassVar[dict[str, Preset]] = {
        "default": Preset(RecVAEConfig(), PLAN),
        "ranking": Preset(RecVAEConfig(likelihood="multinomial"), PLAN),
    }
    item_tables: ClassVar[tuple[str, ...]] = (
        *RatingModel.item_tables,
        "feedback.item_effect",
        "encoder.inputs.table",
        "encoder.inputs.presence_table",
        "earlier.inputs.table",
        "earlier.inputs.presence_table",
        "head.rows",
        "head.bias",
    )

    config: RecVAEConfig
    has_earlier: Tensor

    def __init__(self, config: RecVAEConfig, n_users: int, n_items: int, scale: tuple[float, float]) -> None:
        c = config
        super().__init__(config, n_users, n_items, scale, c.latent + 1)
        self.feedback = Feedback(c, n_items, scale)
        self.encoder = Encoder(c, n_items, c.presence and not self.feedback.ranks, self.feedback.scaled)
        self.earlier = copy.deepcopy(self.encoder).requires_grad_(False)
        # 1 when `earlier` has learnt something: what was drawn at random is no prior
        self.register_buffer("has_earlier", torch.zeros(()))
        self.head = ItemHead(n_items, c.latent)

    # -- learning in turns ----------------------------------------------------------------------------

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Encoder and decoder learn in turns."""
        c = self.config
        return (Phase("encoder", c.encoder_passes, ("encoder.",)), Phase(_DECODER, c.decoder_passes, ("head.",)))

    @torch.no_grad()
    def end_phase(self, name: str) -> None:
        """Keep the encoder as it is now for the prior."""
        if name == "encoder":
            self.earlier.load_state_dict(self.encoder.state_dict())
            self.has_earlier.fill_(1.0)

    def penalties(self) -> dict[str, float]:
        """λ of every weight matrix that learns."""
        return {name: weight for name, weight in super().penalties().items() if not name.startswith("earlier.")}

    @property
    def training_only(self) -> tuple[str, ...]:
        """The head, which the item rows repeat, and the prior."""
        return (*super().training_only, "earlier.", "has_earlier")

    def recover_training_state(self, train: RatingBlock) -> dict[str, Tensor]:
        """The head, from the item rows, and the prior: after an epoch, the encoder is what was kept of it."""
        earlier = {f"earlier.{name}": tensor for name, tensor in self.encoder.state_dict().items()}
        return {**super().recover_training_state(train), **earlier, "has_earlier": torch.ones_like(self.has_earlier)}

    # -- loss -----------------------------------------------------------------------------------------

    def _log_prior(self, z: Tensor, earlier: tuple[Tensor, Tensor] | None) -> Tensor:
        """Composite prior of each unit, log p(z|x); N(0, 1) alone while there is no earlier encoder."""
        zero = z.new_zeros(())
        if earlier is None:
            return _log_normal(z, zero, zero)
        parts = ((zero, zero), earlier, (zero, zero + _WIDE_LOG_VARIANCE))
        logs = [
            _log_normal(z, *part) + math.log(share)
            for share, part in zip(self.config.prior, parts, strict=True)
            if share > 0
        ]
        return torch.stack(logs).logsumexp(0)

    def _kl(self, mean: Tensor, log_variance: Tensor, z: Tensor, earlier: tuple[Tensor, Tensor] | None) -> Tensor:
        """Estimate of KL(q(z|x) ‖ p(z|x)) of each row, from the z that is decoded."""
        if self.training:
            points = [z]
        else:
            # without noise: the two points that stand for q wherever a logarithm of a normal density is averaged
            deviation = torch.exp(0.5 * log_variance)
            points = [mean - deviation, mean + deviation]
        logs = [_log_normal(point, mean, log_variance) - self._log_prior(point, earlier) for point in points]
        return torch.stack(logs).mean(0).sum(1)

    def loss(self, block: RatingBlock, shared: Shared, step: Step, targets: RatingBlock | None = None) -> LossParts:
        """−ELBO with each user's KL term weighted by γ for each of their inputs, averaged over users."""
        c = self.config
        rows = self.feedback.rows(block, corrupted=targets is None and step.phase != _DECODER)
        mean, log_variance = self.encoder(rows)
        z = sample(mean, log_variance) if self.training else mean
        # the earlier encoder sees the whole input
        clean = rows if rows.kept is None else self.feedback.rows(block)
        earlier = self.earlier(clean) if self.has_earlier else None
        counts = rows.pattern.crow.diff().to(mean.dtype)
        weight = torch.full_like(counts, c.beta) if c.gamma is None else c.gamma * counts
        return {
            "rec": self.feedback.loss(z, self.head, rows, step, targets),
            "kl": weight @ self._kl(mean, log_variance, z, earlier) / step.n_users,
        }

    # -- answering ------------------------------------------------------------------------------------

    @torch.no_grad()
    def posterior(self, block: RatingBlock) -> tuple[Tensor, Tensor]:
        """μ and log σ² of q(z|x)."""
        return self.encoder(self.feedback.rows(block))

    @torch.no_grad()
    def encode(self, block: RatingBlock) -> Tensor:
        """μ, and what centring took away."""
        rows = self.feedback.rows(block)
        mean, _ = self.encoder(rows)
        return self.feedback.answer(mean, rows)


def _log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Logarithm of N(z; mean, variance) of each unit."""
    return -0.5 * (log_variance + _LOG_2PI + (z - mean).square() * torch.exp(-log_variance))
