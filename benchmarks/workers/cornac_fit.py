"""Cornac's VAECF or BiVAECF, fitted once, asked for ratings as its own evaluation asks. Run by Cornac's Python.

Both learn from who took what: their ratings are what `rate` makes of that. Settings: `train`, `test`, `seed`,
`algorithm`, `arguments`.
"""

from __future__ import annotations

import time

import numpy as np
from arrays import Arrays, errors, parts_of
from cornac import models
from cornac.data import Dataset
from protocol import Worker

if __name__ == "__main__":
    worker = Worker()
    settings = worker.settings
    parts = parts_of(settings)
    train = parts["train"]
    triplets = zip(train.user_index.tolist(), train.indices.tolist(), train.values.tolist(), strict=True)
    dataset = Dataset.build(list(triplets), seed=settings["seed"])
    worker.loaded()
    model = getattr(models, settings["algorithm"])(seed=settings["seed"], **settings["arguments"])
    started = time.perf_counter()
    model.fit(dataset)
    seconds = time.perf_counter() - started
    users, items, mean = dataset.uid_map, dataset.iid_map, float(train.values.mean())

    def predicted(part: Arrays) -> np.ndarray:
        pairs = zip(part.user_index.tolist(), part.indices.tolist(), strict=True)
        known = ((users.get(user), items.get(item)) for user, item in pairs)
        # a number, or with BiVAE an array of one
        rates = (mean if None in pair else np.ravel(model.rate(*pair))[0] for pair in known)
        return np.fromiter(rates, float, len(part.indices))

    worker.answer(seconds=seconds, test=errors(predicted(parts["test"]), parts["test"]))
