"""The registry: one line a model."""

from __future__ import annotations

from hyvae.models.autorec import AutoRec
from hyvae.models.base import Config, Phase, Preset, RatingBlock, RatingModel, Step, TrainingPlan
from hyvae.models.bias import Bias
from hyvae.models.cdae import CDAE
from hyvae.models.deep_ae import DeepAE
from hyvae.models.hyvae import HyVAE
from hyvae.models.macrid_vae import MacridVAE
from hyvae.models.mf import MF
from hyvae.models.mult_dae import MultDAE
from hyvae.models.mult_vae import MultVAE
from hyvae.models.random import Random
from hyvae.models.rec_vae import RecVAE

_MODELS: tuple[type[RatingModel], ...] = (
    Random,
    Bias,
    AutoRec,
    CDAE,
    DeepAE,
    MacridVAE,
    MF,
    MultDAE,
    MultVAE,
    RecVAE,
    HyVAE,
)
REGISTRY: dict[str, type[RatingModel]] = {model.name: model for model in _MODELS}

__all__ = ["REGISTRY", "Config", "Phase", "Preset", "RatingBlock", "RatingModel", "Step", "TrainingPlan"]
