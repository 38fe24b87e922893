"""hyvae: predict ratings and recommend with sparse hybrid variational autoencoders."""

from importlib.metadata import PackageNotFoundError, version

from hyvae.errors import ConfigError, DataError, HyvaeError, NotFittedError, RunError, TrainingError
from hyvae.ratings import Ratings
from hyvae.recommender import BiasModel, HyVAE, Recommendation, Recommender

try:
    __version__ = version("hyvae")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "BiasModel",
    "ConfigError",
    "DataError",
    "HyVAE",
    "HyvaeError",
    "NotFittedError",
    "Ratings",
    "Recommendation",
    "Recommender",
    "RunError",
    "TrainingError",
]
