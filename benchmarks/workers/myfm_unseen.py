"""myFM's ordered probit with implicit features, asked about users or items of whom it was given nothing in training.

Run by myFM's Python. Settings: `train`, `test`, `known` (files, each with so many ratings of the unseen ones), `side`
(users or items), `rank`, `sweeps`, `kept`, `seed`. An unseen one is its features: what it rated, or who rated it; its
own column, of which training knows nothing, is left empty.
"""

from __future__ import annotations

import numpy as np
from arrays import Arrays, errors, load
from myfm import MyFMOrderedProbit, RelationBlock
from protocol import Worker
from scipy import sparse


def matrix_of(part: Arrays) -> sparse.csr_matrix:
    shape = (part.n_users, part.n_items)
    return sparse.csr_matrix((np.ones(len(part.values)), part.indices, part.indptr), shape)


def features_of(rated: sparse.csr_matrix, unseen: np.ndarray) -> sparse.csr_matrix:
    """[one-hot, unless unseen; what it rated / √n], a row each."""
    share = sparse.diags(1 / np.sqrt(np.maximum(rated.getnnz(axis=1), 1)))
    return sparse.csr_matrix(sparse.hstack([sparse.diags((~unseen).astype(float)), share @ rated]))


if __name__ == "__main__":
    worker = Worker()
    settings = worker.settings
    train, test = load(settings["train"]), load(settings["test"])
    rated = matrix_of(train)
    unseen = [np.asarray(side.getnnz(axis=1) == 0) for side in (rated, rated.T.tocsr())]

    def blocks(part: Arrays, matrix: sparse.csr_matrix) -> list[RelationBlock]:
        of_user, of_item = features_of(matrix, unseen[0]), features_of(sparse.csr_matrix(matrix.T), unseen[1])
        return [RelationBlock(part.user_index, of_user), RelationBlock(part.indices.astype(np.int64), of_item)]

    levels, level = np.unique(train.values, return_inverse=True)
    worker.loaded()
    model = MyFMOrderedProbit(rank=settings["rank"], random_seed=settings["seed"])
    users, items = rated.shape
    groups = [users, items, items, users]
    kept = {"n_iter": settings["sweeps"], "n_kept_samples": settings["kept"]}
    model.fit(None, level, blocks(train, rated), group_shapes=groups, **kept)
    found = {}
    for name, path in settings["known"].items():
        known = matrix_of(load(path))
        # of the other side nothing changes: its features are those of training
        of_user, of_item = features_of(rated + known, unseen[0]), features_of(sparse.csr_matrix(rated.T), unseen[1])
        if settings["side"] == "items":
            of_user, of_item = (
                features_of(rated, unseen[0]),
                features_of(sparse.csr_matrix((rated + known).T), unseen[1]),
            )
        asked = [RelationBlock(test.user_index, of_user), RelationBlock(test.indices.astype(np.int64), of_item)]
        found[name] = errors(model.predict_proba(None, asked) @ levels, test)
    worker.answer(**found)
