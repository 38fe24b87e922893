"""What it costs to add new ratings to a run, and what it gives: folded in, trained further, trained afresh.

    HYVAE_DATA=… .venv/bin/python benchmarks/update.py ml-1m

The earlier run knows the oldest nine tenths of the training ratings (a random nine tenths where there are no times);
the rest is new to it, people and things among it. Errors are of the validation part. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from hyvae import HyVAE, Ratings, Recommender
from hyvae.data.joining import reindexed
from hyvae.metrics import rmse
from hyvae.ratings import Vocabulary


def parted(ratings: Ratings) -> tuple[Ratings, Ratings]:
    """The older ratings, in vocabularies of their own, and the newer ones."""
    order = np.random.default_rng(0).random(len(ratings)) if ratings.timestamps is None else ratings.timestamps
    old = order < np.quantile(order, 0.9)
    known = ratings.take(old)
    users = Vocabulary(ratings.users.ids[known.user_counts > 0])
    items = Vocabulary(ratings.items.ids[known.item_counts > 0])
    return reindexed(known, users, items), ratings.take(~old)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", default="movielens-small")
    source = parser.parse_args().source
    train, valid, _ = Ratings.read(source).split(seed=0)
    old, new = parted(train)
    earlier = HyVAE(preset="fast").fit(old, reindexed(valid, old.users, old.items), seed=0)
    ways: dict[str, Callable[[], Recommender]] = {
        "folded_in": lambda: earlier.with_ratings(new),
        "updated": lambda: earlier.update(train, valid, seed=0),
        "afresh": lambda: HyVAE(preset="fast").fit(train, valid, seed=0),
    }
    result: dict[str, Any] = {
        "source": source,
        "new_ratings": len(new),
        "new_users": int(np.count_nonzero(train.user_counts)) - old.n_users,
        "new_items": int(np.count_nonzero(train.item_counts)) - old.n_items,
    }
    for name, way in ways.items():
        started = time.perf_counter()
        recommender = way()
        seconds = time.perf_counter() - started
        error = rmse(recommender.predict_ratings(valid), valid.values)
        result[name] = {"seconds": round(seconds, 2), "validation_rmse": round(error, 4)}
    result["update_cost_ratio"] = round(result["updated"]["seconds"] / result["afresh"]["seconds"], 3)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
