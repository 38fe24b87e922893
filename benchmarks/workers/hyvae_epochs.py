"""hyvae's own trainer; a unit is one epoch or more, with all that belongs to them.

Settings: `data`, `preset`, `settings` (fields of the config or the plan).
"""

from __future__ import annotations

from hyvae_ratings import ratings_of
from protocol import Worker

from hyvae.models import REGISTRY
from hyvae.models.settings import configure
from hyvae.nn.randomness import seeded
from hyvae.training import train

if __name__ == "__main__":
    worker = Worker()
    ratings = ratings_of(worker.settings["data"])
    worker.loaded()
    # more epochs than anyone asks for: the driver ends the process when it has seen enough
    settings = {"epochs": 100_000, **worker.settings["settings"]}
    config, plan = configure(REGISTRY["hyvae"], worker.settings["preset"], settings)
    with seeded(0):
        model = REGISTRY["hyvae"](config, ratings.n_users, ratings.n_items, ratings.scale)
    train(model, ratings, plan, seed=0, on_epoch=lambda report: worker.pause(parts=report.parts))
