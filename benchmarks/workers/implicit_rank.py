"""implicit's `recommend` for all users, ten each, on factors that it is given. Run by implicit's Python.

Settings: `train`, `folder` (with `factors.npz`). A unit is `recommend`, from the factors, or `histories`, which first
solves for every user's factors from their ratings (`recalculate_user=True`). Leaves its lists in `implicit.npy`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from arrays import load
from implicit.cpu.als import AlternatingLeastSquares
from protocol import Worker
from scipy import sparse

N = 10

if __name__ == "__main__":
    worker = Worker()
    folder, train = Path(worker.settings["folder"]), load(worker.settings["train"])
    rated = sparse.csr_matrix((train.values, train.indices, train.indptr), (train.n_users, train.n_items))
    with np.load(folder / "factors.npz") as file:
        users, items = file["users"], file["items"]
    worker.loaded()
    model = AlternatingLeastSquares(factors=users.shape[1], random_state=0)
    model.user_factors, model.item_factors = users, items
    everyone = np.arange(train.n_users)

    def lists(recalculate: bool) -> np.ndarray:
        return model.recommend(everyone, rated, N=N, recalculate_user=recalculate)[0]

    ways = {"recommend": lambda: lists(False), "histories": lambda: lists(True)}
    np.save(folder / "implicit.npy", ways["recommend"]())
    ways["histories"]()
    asked = worker.pause()
    while True:
        ways[asked]()
        asked = worker.pause()
