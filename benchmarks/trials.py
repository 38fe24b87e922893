"""Random searches that are kept trial by trial: what was interrupted goes on at the first trial that is not there.

A search is a JSON file: what it is about, and a list of trials, each with its settings. A space is a dict of a
setting's name to the values it may take; trial 0 is always the default.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Settings = dict[str, Any]
Trial = dict[str, Any]


def draw(space: dict[str, list[Any]], number: int, seed: int = 0) -> list[Settings]:
    """Settings of each trial: {} for the default, the others drawn without replacement."""
    from sklearn.model_selection import ParameterSampler

    return [{}, *ParameterSampler(space, number - 1, random_state=seed)]


def read(path: Path) -> dict[str, Any]:
    """What is known of a search."""
    return json.loads(path.read_text()) if path.exists() else {"trials": []}


def write(path: Path, kept: dict[str, Any]) -> None:
    """Whole, or not at all."""
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(kept, indent=1) + "\n")
    os.replace(part, path)


def search(
    path: Path, about: dict[str, Any], trials: list[Settings], run: Callable[[Settings], Trial]
) -> dict[str, Any]:
    """Run the trials that are not there yet; `run` gives what is kept beside the settings."""
    kept = {**read(path), **about}
    for number, settings in enumerate(trials):
        if number < len(kept["trials"]):
            if kept["trials"][number]["settings"] != settings:
                raise SystemExit(f"{path}: trial {number} is of another space; remove the file")
            continue
        kept["trials"].append({"settings": settings, **run(settings)})
        write(path, kept)
        print(time.strftime("%H:%M:%S"), path.stem, number, json.dumps(kept["trials"][-1]), flush=True)
    return kept
