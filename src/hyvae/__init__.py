"""hyvae: predict ratings and recommend with sparse hybrid variational autoencoders."""

from hyvae.cores import keep_to_the_cores

keep_to_the_cores()  # first of all: torch and Polars look at the environment when they are imported

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

# imported when they are first asked for: torch takes a second or two, in which the command would not hear Ctrl-C
_HOMES = {
    "client": ("Client",),
    "errors": (
        "ConfigError",
        "DataError",
        "ForkError",
        "HyvaeError",
        "NotFittedError",
        "RunError",
        "ServiceError",
        "TrainingError",
    ),
    "ratings": ("Ratings",),
    "recommender": ("BiasModel", "HyVAE", "Recommendation", "Recommender"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        found = getattr(import_module(f"hyvae.{_HOME_OF[name]}"), name)
        globals()[name] = found
        return found
    if not name.startswith("_") and find_spec(f"hyvae.{name}") is not None:
        return import_module(f"hyvae.{name}")
    raise AttributeError(f"module 'hyvae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
