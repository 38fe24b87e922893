"""Milliseconds of single requests from people never seen: twenty ratings in, a list of ten out.

Settings: `data` and either `run`, a saved run, or none: then a model is trained on the data for one epoch, as how well
it predicts costs nothing. A unit is 300 requests.
"""

from __future__ import annotations

import time

import numpy as np
from hyvae_ratings import ratings_of
from protocol import Worker

from hyvae import HyVAE

REQUESTS, WARM_UP, PEOPLE, RATINGS = 300, 30, 200, 20

if __name__ == "__main__":
    worker = Worker()
    ratings = ratings_of(worker.settings["data"])
    worker.loaded()
    run = worker.settings["run"]
    recommender = HyVAE.load(run) if run else HyVAE(preset="fast", epochs=1).fit(ratings, seed=0, progress=False)
    rng = np.random.default_rng(0)
    active = np.flatnonzero(ratings.user_counts >= RATINGS)
    people = []
    for user in rng.choice(active, min(PEOPLE, len(active)), replace=False):
        rows = ratings.indptr[user] + rng.choice(ratings.user_counts[user], RATINGS, replace=False)
        # by id, as a service gets them
        ids = recommender.history.items.ids[ratings.indices[rows]].tolist()
        people.append(dict(zip(ids, ratings.values[rows].tolist(), strict=True)))

    def milliseconds(number: int) -> float:
        started = time.perf_counter()
        recommender.fold_in(people[number % len(people)]).recommend(10)
        return 1000 * (time.perf_counter() - started)

    for number in range(WARM_UP):
        milliseconds(number)
    worker.pause(items=ratings.n_items)
    while True:
        times = [milliseconds(number) for number in range(REQUESTS)]
        worker.pause(p50_ms=float(np.percentile(times, 50)), p99_ms=float(np.percentile(times, 99)))
