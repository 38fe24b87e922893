"""hyvae: predict ratings and recommend with sparse hybrid variational autoencoders."""

import os

# OpenMP reads it when torch is first imported: for how long a thread without work spins before it sleeps. The default
# is milliseconds, and on cores that others use every parallel loop then waits for a thread that spins
# (docs/performance.md)
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

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
