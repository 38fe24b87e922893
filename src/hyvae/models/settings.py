"""From names and values, as people give them, to a model's config and training plan."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from hyvae.errors import ConfigError
from hyvae.models.base import Config, RatingModel, TrainingPlan


def configure(model: type[RatingModel], preset: str, settings: Mapping[str, Any]) -> tuple[Config, TrainingPlan]:
    """A preset's config and plan with some fields changed.

    Parameters
    ----------
    settings : dict of field name to value
        Fields of the config or of the plan; no name is in both. Values may be text, as from a command line.

    Raises
    ------
    ConfigError
        Unknown preset or field, or a value that does not fit; the message names it.
    """
    if preset not in model.presets:
        raise ConfigError(f"{model.name} has no preset {preset!r}; there are: {', '.join(model.presets)}")
    config, plan = model.presets[preset]
    known = [*model.Config.model_fields, *TrainingPlan.model_fields]
    for key in settings:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
            raise ConfigError(f"{model.name} has no setting {key!r}; {hint}")

    def changed(base: Config) -> dict[str, Any]:
        return base.model_dump() | {key: settings[key] for key in type(base).model_fields if key in settings}

    try:
        return model.Config.model_validate(changed(config)), TrainingPlan.model_validate(changed(plan))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise ConfigError(f"{model.name}: {where}: {first['msg']} (got {first['input']!r})"[:500]) from error


def parse_setting(text: str) -> tuple[str, Any]:
    """``key=value`` from a command line: ``none`` is None, ``a,b`` a tuple, all else is left to the config.

    Raises
    ------
    ConfigError
        No ``=`` in it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, got {text!r}; for example --set learning_rate=0.01")
    if value.lower() in ("none", "null"):
        return key, None
    return key, tuple(value.split(",")) if "," in value else value
