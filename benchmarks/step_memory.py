"""Peak memory and seconds of a step of the default model on a large sparse set.

    .venv/bin/python benchmarks/step_memory.py --users 100000 --items 100000 --ratings 5000000

Prints one JSON object. Peak memory is of the whole process (ratings, weights, optimiser and all), as the system
counts it. Popularity of items follows a power law, activity of users a log-normal law; ratings are noise, which costs
the same.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import torch
from synthetic import synthetic

from hyvae.models import REGISTRY
from hyvae.models.settings import configure
from hyvae.training import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--ratings", type=int, default=5_000_000)
    parser.add_argument("--steps", type=int, default=2)
    options = parser.parse_args()
    ratings = synthetic(options.users, options.items, options.ratings)
    config, plan = configure(REGISTRY["hyvae"], "fast", {"epochs": options.steps})
    model = REGISTRY["hyvae"](config, ratings.n_users, ratings.n_items, ratings.scale)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends = [time.perf_counter()]
    train(model, ratings, plan, seed=0, on_epoch=lambda _: ends.append(time.perf_counter()))
    print(
        json.dumps(
            {
                "users": ratings.n_users,
                "items": ratings.n_items,
                "ratings": len(ratings),
                "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
                "before_training_gib": round(before / 2**20, 2),
                "last_step_seconds": round(ends[-1] - ends[-2], 2),
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
