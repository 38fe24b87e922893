"""Who is compared: models as people name them, and the recommenders that they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hyvae.errors import ConfigError
from hyvae.models import REGISTRY
from hyvae.recommender import Recommender

#: stands for every model of the registry in its default preset
ALL = "all"
DEFAULT = "default"


@dataclass(frozen=True)
class Contestant:
    """A model in one of its presets, with some settings changed."""

    name: str
    preset: str = DEFAULT
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name, with the preset where it is not the default one."""
        return label_of(f"{self.name}:{self.preset}")

    def recommender(self, device: str = "cpu") -> Recommender:
        """A new one, not fitted.

        Raises
        ------
        ConfigError
            Unknown model, preset, setting or device.
        """
        return Recommender(self.name, preset=self.preset, device=device, **self.settings)


def label_of(text: str) -> str:
    """``NAME:PRESET`` as it is shown: ``hyvae:default`` is ``hyvae``."""
    return text.strip().removesuffix(f":{DEFAULT}")


def contestants(models: Iterable[str], settings: Mapping[str, Mapping[str, Any]] | None = None) -> list[Contestant]:
    """Find the models that are named; one that is named twice counts once.

    Parameters
    ----------
    models : iterable of str
        ``NAME`` or ``NAME:PRESET``; ``all`` for every model of the registry.
    settings : dict of model to dict of setting to value
        ``NAME:PRESET`` means that preset alone, ``NAME`` every preset of the model.

    Raises
    ------
    ConfigError
        No model, one that does not exist, or settings of a model that is not compared.
    """
    if isinstance(models, str):
        models = models.split(",")
    entries = [name.strip() for entry in models for name in (REGISTRY if entry.strip() == ALL else [entry])]
    pairs = dict.fromkeys((name, preset or DEFAULT) for name, _, preset in (e.partition(":") for e in entries if e))
    if not pairs:
        raise ConfigError("name at least one model to compare, or 'all'")
    for name, _ in pairs:
        if name not in REGISTRY:
            raise ConfigError(f"no model is called {name!r}; there are: {', '.join(REGISTRY)}")
    wanted = {whose: dict(changes) for whose, changes in (settings or {}).items()}
    known = {spelling for name, preset in pairs for spelling in (name, f"{name}:{preset}")}
    for whose in wanted:
        if whose not in known:
            compared = ", ".join(label_of(":".join(pair)) for pair in pairs)
            raise ConfigError(f"a setting is for {whose!r}, which is not among the compared models: {compared}")
    return [
        Contestant(name, preset, wanted.get(name, {}) | wanted.get(f"{name}:{preset}", {})) for name, preset in pairs
    ]
