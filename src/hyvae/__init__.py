"""hyvae: predict ratings and recommend with sparse hybrid variational autoencoders."""

from hyvae.cores import keep_to_the_cores

keep_to_the_cores()  # first of all: torch and Polars look at the environment when they are imported
from importlib.metadata import PackageNotFoundError, version

from hyvae.client import Client
from hyvae.errors import (
    ConfigError,
    DataError,
    ForkError,
    HyvaeError,
    NotFittedError,
    RunError,
    ServiceError,
    TrainingError,
)
from hyvae.ratings import Ratings
from hyvae.recommender import BiasModel, HyVAE, Recommendation, Recommender

try:
    __version__ = version("hyvae")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "BiasModel",
    "Client",
    "ConfigError",
    "DataError",
    "ForkError",
    "HyVAE",
    "HyvaeError",
    "NotFittedError",
    "Ratings",
    "Recommendation",
    "Recommender",
    "RunError",
    "ServiceError",
    "TrainingError",
]
