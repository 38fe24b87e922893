"""Which versions of packages are installed."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as _version


def installed(package: str) -> str:
    """Its version; ``not installed`` also of a source tree that was never installed."""
    try:
        return _version(package)
    except PackageNotFoundError:
        return "not installed"
