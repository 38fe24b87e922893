"""myFM's ordered probit, fitted once. Run by myFM's Python.

Settings: `train`, `valid` (or none), `test`, `seed` (0), `rank`, `sweeps`, `kept`, and `implicit`: whether users and
items also carry what they rated, and who rated them, in the training part, as relation blocks.
"""

from __future__ import annotations

import time

import numpy as np
from arrays import Arrays, errors, parts_of
from myfm import MyFMOrderedProbit, RelationBlock
from protocol import Worker
from scipy import sparse


def features_of(train: Arrays) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """[one-hot user, its items / √n] and [one-hot item, its users / √n], a row a user and a row an item."""
    rated = sparse.csr_matrix((np.ones(len(train.values)), train.indices, train.indptr), (train.n_users, train.n_items))

    def of(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
        share = sparse.diags(1 / np.sqrt(np.maximum(matrix.getnnz(axis=1), 1)))
        return sparse.csr_matrix(sparse.hstack([sparse.identity(matrix.shape[0]), share @ matrix]))

    return of(rated), of(sparse.csr_matrix(rated.T))


if __name__ == "__main__":
    worker = Worker()
    settings = worker.settings
    parts = parts_of(settings)
    train = parts["train"]
    users, items = train.n_users, train.n_items
    of_user, of_item = features_of(train) if settings["implicit"] else (None, None)

    def inputs(part: Arrays) -> tuple[sparse.csr_matrix | None, list[RelationBlock]]:
        user, item = part.user_index, part.indices.astype(np.int64)
        if settings["implicit"]:
            return None, [RelationBlock(user, of_user), RelationBlock(item, of_item)]
        n = len(user)
        columns = np.stack([user, users + item], 1).ravel()
        return sparse.csr_matrix((np.ones(2 * n), columns, np.arange(0, 2 * n + 1, 2)), (n, users + items)), []

    levels, level = np.unique(train.values, return_inverse=True)
    worker.loaded()
    model = MyFMOrderedProbit(rank=settings["rank"], random_seed=settings.get("seed", 0))
    X, blocks = inputs(train)
    started = time.perf_counter()
    model.fit(
        X,
        level,
        blocks,
        n_iter=settings["sweeps"],
        n_kept_samples=settings["kept"],
        group_shapes=[users, items, items, users] if settings["implicit"] else [users, items],
    )
    seconds = time.perf_counter() - started

    def predicted(part: Arrays) -> np.ndarray:
        X, blocks = inputs(part)
        return model.predict_proba(X, blocks) @ levels

    held_out = {name: part for name, part in parts.items() if name != "train"}
    worker.answer(seconds=seconds, **{name: errors(predicted(part), part) for name, part in held_out.items()})
