"""Random search over our models in ranking mode, by the protocol and with as many trials as RecBole's.

    HYVAE_DATA=... taskset -c 1 .venv/bin/python benchmarks/ranking_floor/search_hyvae.py [MODEL ...]

Every finished trial is appended to `results/hyvae-MODEL.json`; see `search_recbole.py`. `results/earlier` has searches
of other spaces that came before.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import protocol
import spaces
import torch

from hyvae import Ratings, Recommender
from hyvae.errors import TrainingError
from hyvae.scoring import rating_block

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
sys.path.append(str(HERE.parent))

from trials import search  # noqa: E402


def path_of(model: str) -> Path:
    return RESULTS / f"hyvae-{model}.json"


def liked(part: Ratings) -> Ratings:
    """The interactions of a part: nothing else is shown to the model."""
    return part.take(part.values >= protocol.LIKED)


def run(model: str, parts: tuple[Ratings, Ratings, Ratings], settings: dict[str, Any]) -> dict[str, Any]:
    """One trial, measured."""
    train, valid, test = parts
    try:
        changes = {**spaces.LENGTH[model], **settings}
        recommender = Recommender(model, preset="ranking", **changes).fit(train, valid, seed=0, progress=False)
    except TrainingError as error:
        return {"failed": str(error)}

    @torch.no_grad()
    def score(users: np.ndarray) -> np.ndarray:
        codes = recommender.model.encode(rating_block(recommender.model, train, users))
        return recommender.model.score(codes, slice(0, train.n_items)).numpy()

    known = protocol.interactions(train)
    lists = protocol.top_lists(score, known)
    training = recommender.training
    return {
        "valid": protocol.measure(lists, valid, known),
        "test": protocol.measure(lists, test, known),
        "seconds": round(training.seconds, 1),
        "epochs": len(training.epochs),
        "best_epoch": training.best_epoch,
    }


def main(names: list[str]) -> None:
    parts = tuple(liked(part) for part in protocol.parts())
    about = {
        "versions": {name: version(name) for name in ("hyvae", "torch", "numpy")},
        "protocol": protocol.ABOUT,
    }
    torch.set_num_threads(1)
    # as on RecBole's side
    torch.set_float32_matmul_precision("medium")
    for model in names or spaces.OURS:
        search(path_of(model), {"model": model, **about}, spaces.trials(model), partial(run, model, parts))


if __name__ == "__main__":
    main(sys.argv[1:])
