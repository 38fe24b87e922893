"""Lists of ten for all users of a saved run.

Settings: `run`, `folder`. A unit is one of

- `best_items`: hyvae's ranking of all items from codes and item rows, in blocks of 1,024 users;
- `matmul`: a blocked dense product and `torch.topk` on the same tensors, as a competent user would write it;
- `histories`: the whole answer, encoding included.

Leaves `factors.npz` for the peer: the same codes and item rows, the item's bias in place of the column that is alike
for all items of a user. Before the first unit the lists of both ways are in `best_items.npy` and `matmul.npy`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from protocol import Worker

from hyvae import HyVAE
from hyvae.scoring import best_items, rating_block

BLOCK, N = 1024, 10


@torch.no_grad()
def by_best_items(recommender: HyVAE, codes: torch.Tensor) -> np.ndarray:
    model, history = recommender.model, recommender.history
    # as for the peers, every item may be in a list
    candidates = np.ones(history.n_items, bool)
    lists = []
    for start in range(0, history.n_users, BLOCK):
        users = np.arange(start, min(start + BLOCK, history.n_users))
        seen = rating_block(None, history, users).pattern
        lists.append(best_items(model, codes[start : start + BLOCK], N, seen, candidates)[0])
    return np.concatenate(lists)


@torch.no_grad()
def by_matmul(recommender: HyVAE, codes: torch.Tensor) -> np.ndarray:
    model, history = recommender.model, recommender.history
    rows, bias = model.item_rows.T, model.item_bias
    lists = []
    for start in range(0, history.n_users, BLOCK):
        scores = torch.addmm(bias, codes[start : start + BLOCK], rows)
        bounds = history.indptr[start : start + len(scores) + 1]
        user = torch.from_numpy(np.repeat(np.arange(len(scores)), np.diff(bounds)))
        item = torch.from_numpy(history.indices[bounds[0] : bounds[-1]].astype(np.int64))
        scores[user, item] = -torch.inf
        lists.append(torch.topk(scores, N, dim=1).indices.numpy())
    return np.concatenate(lists)


if __name__ == "__main__":
    worker = Worker()
    folder = Path(worker.settings["folder"])
    recommender = HyVAE.load(worker.settings["run"])
    everyone = np.arange(recommender.history.n_users)
    worker.loaded()
    with torch.no_grad():
        blocks = np.array_split(everyone, max(1, len(everyone) // BLOCK))
        model = recommender.model
        codes = torch.cat([model.encode(rating_block(model, recommender.history, block)) for block in blocks])
    model = recommender.model
    np.savez(
        folder / "factors.npz",
        users=torch.cat([codes[:, :-1], torch.ones(len(codes), 1)], 1).numpy(),
        items=torch.cat([model.item_rows[:, :-1], model.item_bias.unsqueeze(1)], 1).numpy(),
    )
    ways = {
        "best_items": lambda: by_best_items(recommender, codes),
        "matmul": lambda: by_matmul(recommender, codes),
        "histories": lambda: recommender.recommend_indices(everyone, N),
    }
    for name, way in ways.items():
        np.save(folder / f"{name}.npy", way())
    asked = worker.pause(width=codes.shape[1])
    while True:
        ways[asked]()
        asked = worker.pause()
