"""Surprise's SVD or SVD++, fitted once. Run by Surprise's Python.

Settings: `train`, `valid` (or none), `test`, `seed` (0), `algorithm` (SVD or SVDpp), `arguments`.
"""

from __future__ import annotations

import time

import numpy as np
import surprise
from arrays import Arrays, errors, parts_of
from protocol import Worker
from surprise import Reader
from surprise.dataset import Dataset

if __name__ == "__main__":
    worker = Worker()
    parts = parts_of(worker.settings)
    train = parts["train"]
    rows = zip(train.user_index.tolist(), train.indices.tolist(), train.values.tolist(), strict=True)
    trainset = Dataset(Reader(rating_scale=train.scale)).construct_trainset([(*row, None) for row in rows])
    worker.loaded()
    seed = worker.settings.get("seed", 0)
    model = getattr(surprise, worker.settings["algorithm"])(random_state=seed, **worker.settings["arguments"])
    started = time.perf_counter()
    model.fit(trainset)
    seconds = time.perf_counter() - started

    def predicted(part: Arrays) -> np.ndarray:
        pairs = zip(part.user_index.tolist(), part.indices.tolist(), strict=True)
        return np.array([model.predict(user, item).est for user, item in pairs])

    held_out = {name: part for name, part in parts.items() if name != "train"}
    worker.answer(seconds=seconds, **{name: errors(predicted(part), part) for name, part in held_out.items()})
