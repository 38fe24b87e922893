"""The paper's model with a folded head, in plain dense PyTorch, as a competent user would write it.

    .venv/bin/python benchmarks/workers/dense_twin.py --check      # is it the same function as hyvae's?

A unit is an epoch, or its first `batches` batches. Settings: `data`, `batches` (none: all).
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from arrays import Arrays, load
from protocol import Worker
from scipy import sparse
from torch import Tensor, nn

HIDDEN, LATENT, DECODER, DROPOUT = 256, 512, 256, 0.8
BATCH_USERS, LEARNING_RATE, BETA, L2 = 500, 1e-4, 0.2, 1e-4


class DenseTwin(nn.Module):
    """Shared layer, two branches, and the folded head over both; the deterministic branch has an output of its own."""

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.encode = nn.Linear(n_items, HIDDEN)
        self.to_mean = nn.Linear(HIDDEN, LATENT)
        self.to_log_variance = nn.Linear(HIDDEN, LATENT)
        self.decode_z = nn.Linear(LATENT, DECODER)
        self.deep = nn.Linear(HIDDEN, LATENT)
        self.dropout = nn.Dropout(DROPOUT)
        self.decode_deep = nn.Linear(LATENT, DECODER)
        self.head = nn.Linear(2 * DECODER, n_items)
        self.deep_head = nn.Linear(DECODER, n_items)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hidden = torch.relu(self.encode(x))
        mean = self.to_mean(hidden)
        log_variance = self.to_log_variance(hidden).clamp(-10.0, 5.0)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean) if self.training else mean
        variational = torch.relu(self.decode_z(z))
        deep = torch.relu(self.decode_deep(self.dropout(torch.relu(self.deep(hidden)))))
        return self.head(torch.cat([variational, deep], 1)), self.deep_head(deep), mean, log_variance

    def loss(self, x: Tensor) -> dict[str, Tensor]:
        """The parts of the loss of a dense batch (n_users, n_items); 0 is unrated."""
        mask = x != 0
        output, deep_output, mean, log_variance = self(x)
        kl = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
        decayed = (self.deep.weight, self.decode_deep.weight, self.deep_head.weight)
        return {
            "rec": ((x - output).square() * mask).sum() / len(x),
            "deep": ((x - deep_output).square() * mask).sum() / len(x),
            "kl": BETA * kl / len(x),
            "l2": L2 * sum(weight.square().sum() for weight in decayed),
        }


def csr(part: Arrays) -> sparse.csr_array:
    return sparse.csr_array((part.values, part.indices, part.indptr), shape=(part.n_users, part.n_items))


def work(worker: Worker) -> None:
    matrix = csr(load(worker.settings["data"]))
    worker.loaded()
    torch.manual_seed(0)
    model = DenseTwin(matrix.shape[1])
    optimiser = torch.optim.RMSprop(model.parameters(), lr=LEARNING_RATE)
    users = np.flatnonzero(np.diff(matrix.indptr))
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(users)[: BATCH_USERS * (worker.settings["batches"] or len(users))]
        for start in range(0, len(order), BATCH_USERS):
            x = torch.from_numpy(matrix[order[start : start + BATCH_USERS]].toarray())
            optimiser.zero_grad()
            loss = sum(model.loss(x).values())
            loss.backward()
            optimiser.step()
        worker.pause(loss=loss.item(), users=len(order))


# hyvae's name of each of the twin's layers
_LAYERS = ("to_mean", "to_log_variance", "decode_z", "decode_deep")


def check() -> None:
    """Same weights, same batch: the same parts of the loss and the same gradients; and the same noise on average."""
    from hyvae.models import REGISTRY, Step
    from hyvae.models.settings import configure
    from hyvae.ratings import Ratings
    from hyvae.scoring import rating_block

    rng = np.random.default_rng(0)
    n_users, n_items = 300, 400
    rated = np.argwhere(rng.random((n_users, n_items)) < 0.1)
    values = rng.integers(1, 6, len(rated)).astype(np.float32)
    ratings = Ratings.from_scipy(sparse.coo_array((values, rated.T), shape=(n_users, n_items)), scale=(1.0, 5.0))
    # without noise both decode z at its mean
    settings = {"fusion": "folded", "predict_with": "mu"}
    config, _ = configure(REGISTRY["hyvae"], "paper", settings)
    torch.manual_seed(0)
    ours, twin = REGISTRY["hyvae"](config, n_users, n_items, ratings.scale), DenseTwin(n_items)
    with torch.no_grad():
        # beyond the small weights of the start, where a wrong mask or branch would hardly show
        for parameter in ours.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        twin.encode.weight.copy_(ours.rating_table.T)
        twin.encode.bias.copy_(ours.hidden_bias)
        for name in _LAYERS:
            getattr(twin, name).load_state_dict(getattr(ours, name).state_dict())
        twin.deep.load_state_dict(ours.deep[0].state_dict())
        for layer, rows, bias in (("head", "item_free", "head_bias"), ("deep_head", "deep_rows", "deep_bias")):
            getattr(twin, layer).weight.copy_(getattr(ours, rows))
            getattr(twin, layer).bias.copy_(getattr(ours, bias))
    block = rating_block(None, ratings)
    ours.prepare(block)
    step = Step(1, 0.0, 0, n_users, len(ratings))
    x = torch.from_numpy(csr(Arrays(ratings.indptr, ratings.indices, ratings.values, n_items, ratings.scale)).toarray())

    def parts_of_ours() -> dict[str, Tensor]:
        # hyvae's optimiser takes the gradient of the L2 term; here it stands in the loss
        weights = dict(ours.named_parameters())
        l2 = sum(weight * weights[name].square().sum() for name, weight in ours.penalties().items())
        return {**ours.loss(block, ours.shared(block, step), step), "l2": l2}

    for training, draws, tolerance in ((False, 1, 1e-4), (True, 40, 2e-2)):
        ours.train(training)
        twin.train(training)
        sums: dict[str, list[float]] = {}
        for _ in range(draws):
            one, other = parts_of_ours(), twin.loss(x)
            if set(one) != set(other):
                raise SystemExit(f"hyvae's loss has the parts {sorted(one)}, the twin's {sorted(other)}")
            for name in one:
                pair = sums.setdefault(name, [0.0, 0.0])
                pair[0] += one[name].item() / draws
                pair[1] += other[name].item() / draws
        for name, (a, b) in sums.items():
            print(f"{'noisy' if training else 'exact'} {name}: hyvae {a:.6g}, twin {b:.6g}", file=sys.stderr)
            if abs(a - b) > tolerance * abs(a):
                raise SystemExit(f"the twin is another function: {name} is {b} where hyvae has {a}")
        if not training:
            sum(one.values()).backward()
            sum(other.values()).backward()
            pairs = {
                "first layer": (ours.rating_table.grad, twin.encode.weight.grad.T),
                "head": (ours.item_free.grad, twin.head.weight.grad),
                "deep head": (ours.deep_rows.grad, twin.deep_head.weight.grad),
                **{name: (getattr(ours, name).weight.grad, getattr(twin, name).weight.grad) for name in _LAYERS},
            }
            for name, (a, b) in pairs.items():
                if not torch.allclose(a, b, rtol=1e-3, atol=1e-4 * a.abs().max().item()):
                    raise SystemExit(f"the twin is another function: the gradient of its {name} differs")
    print(f"the twin's loss and gradients are hyvae's: {', '.join(sums)}")


if __name__ == "__main__":
    if "--check" in sys.argv:
        check()
    else:
        work(Worker())
