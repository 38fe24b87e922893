"""The registry: one line a model."""

from __future__ import annotations

from hyvae.models.base import Config, Preset, RatingBlock, RatingModel, Step, TrainingPlan
from hyvae.models.bias import Bias
from hyvae.models.hyvae import HyVAE

REGISTRY: dict[str, type[RatingModel]] = {model.name: model for model in (Bias, HyVAE)}

__all__ = ["REGISTRY", "Config", "Preset", "RatingBlock", "RatingModel", "Step", "TrainingPlan"]
