"""Does a model depend on the unit of its ratings? Test RMSE over the factor that they are multiplied with.

    python benchmarks/units.py movielens-small

Prints a line a factor: RMSE / factor of the presets `fast` and `default`, of the split of seed 0.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from hyvae import HyVAE, Ratings
from hyvae.metrics import rmse
from hyvae.models.settings import parse_setting

FACTORS = (1.0, 0.01, 0.2, 20.0, 1000.0, 1e6)


def multiplied(ratings: Ratings, factor: float) -> Ratings:
    low, high = (float(np.float32(end * factor)) for end in ratings.scale)
    values = (ratings.values.astype(np.float64) * factor).astype(np.float32)
    return replace(ratings, values=values, scale=(low, high))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="movielens-small")
    parser.add_argument("--presets", nargs="+", default=["fast", "default"])
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the presets")
    arguments = parser.parse_args()
    settings = dict(parse_setting(each) for each in arguments.set)
    split = Ratings.read(arguments.data).split(seed=0)
    print("| ratings × | " + " | ".join(arguments.presets) + " |")
    for factor in FACTORS:
        train, valid, test = (multiplied(part, factor) for part in (split.train, split.valid, split.test))
        errors = []
        for preset in arguments.presets:
            model = HyVAE(preset=preset, **settings).fit(train, valid, seed=0, progress=False)
            errors.append(rmse(model.predict_ratings(test), test.values) / factor)
        print(f"| {factor:g} | " + " | ".join(f"{error:.5f}" for error in errors) + " |", flush=True)


if __name__ == "__main__":
    main()
