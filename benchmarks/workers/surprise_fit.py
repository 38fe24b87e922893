"""Surprise's SVD or SVD++, fitted once. Run by Surprise's Python.

Settings: `train`, `valid`, `test`, `algorithm` (SVD or SVDpp), `arguments`.
"""

from __future__ import annotations

import time

import numpy as np
import surprise
from arrays import Arrays, errors, load
from protocol import Worker
from surprise import Reader
from surprise.dataset import Dataset

if __name__ == "__main__":
    worker = Worker()
    parts = {name: load(worker.settings[name]) for name in ("train", "valid", "test")}
    train = parts["train"]
    rows = zip(train.user_index.tolist(), train.indices.tolist(), train.values.tolist(), strict=True)
    trainset = Dataset(Reader(rating_scale=train.scale)).construct_trainset([(*row, None) for row in rows])
    worker.loaded()
    model = getattr(surprise, worker.settings["algorithm"])(random_state=0, **worker.settings["arguments"])
    started = time.perf_counter()
    model.fit(trainset)
    seconds = time.perf_counter() - started

    def predicted(part: Arrays) -> np.ndarray:
        pairs = zip(part.user_index.tolist(), part.indices.tolist(), strict=True)
        return np.array([model.predict(user, item).est for user, item in pairs])

    worker.answer(seconds=seconds, **{name: errors(predicted(parts[name]), parts[name]) for name in ("valid", "test")})
