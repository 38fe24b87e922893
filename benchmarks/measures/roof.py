"""How far each hot kernel is from what this machine could do: its matrix product and its memory, measured in the run.

The roof of a kernel is max(FLOPs / GEMM rate, bytes / bandwidth). Its bytes are the compulsory ones: each array read or
written once, of a table only the rows that are touched. What a gather reads again and again is given beside it
(`gathered_bytes`): at best caches serve it, so that the roof is a bound and not a promise. Small arrays that stay in
the caches from call to call may beat it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from driver import Run
from synthetic import ML_25M, synthetic
from torch import nn

from hyvae import HyVAE
from hyvae.nn import kernels
from hyvae.nn.sparse import SparsePattern
from hyvae.ratings import Ratings
from hyvae.scoring import best_items, rating_block

FLOAT = 4
BATCH_USERS, HIDDEN, LATENT, HEAD, DEEP_HEAD = 500, 256, 512, 512, 256
ANSWERED_USERS = 1024


class Kernel(NamedTuple):
    """What to time, and what it must do at least."""

    run: Callable[[], object]
    flops: float
    bytes: float
    gathered: float = 0.0


def measure(run: Run) -> dict[str, Any]:
    repeat = 3 if run.quick else 10 * run.repeat
    limits = _limits(2**22 if run.quick else 2**27, 512 if run.quick else 2048, repeat)
    print(f"  {limits}", file=sys.stderr)
    train = Ratings.read("movielens-small" if run.quick else "ml-1m").split(seed=0).train
    users, items, ratings = (600, 5_000, 60_000) if run.quick else ML_25M
    large = synthetic(users, items, ratings, exponent=1.0)
    measured = {
        "ml-1m": {**_one_batch(train), **_dense(), **_full_batch(train), **_answering(train)},
        "ml-25m-shape": {**_one_batch(large), **_full_batch(large)},
    }
    return {
        **limits,
        "kernels": {
            data: {name: _reported(name, kernel, limits, repeat) for name, kernel in table.items()}
            for data, table in measured.items()
        },
        "seed": 0,
    }


def _reported(name: str, kernel: Kernel, limits: dict[str, float], repeat: int) -> dict[str, Any]:
    seconds = _seconds(kernel.run, repeat)
    by_flops, by_bytes = kernel.flops / limits["gemm_flops_a_second"], kernel.bytes / limits["bytes_a_second"]
    roof = max(by_flops, by_bytes)
    print(f"  {name}: {1000 * seconds:.3g} ms, {seconds / roof:.2f} × its roof", file=sys.stderr)
    return {
        "seconds": seconds,
        "flops": kernel.flops,
        "bytes": kernel.bytes,
        "gathered_bytes": kernel.gathered,
        "roof_seconds": roof,
        "bound_by": "compute" if by_flops > by_bytes else "memory",
        "times_the_roof": seconds / roof,
    }


def _seconds(run: Callable[[], object], repeat: int) -> float:
    """Median of `repeat` calls after two to warm up."""
    times = []
    for _ in range(repeat + 2):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return median(times[2:])


def _limits(floats: int, side: int, repeat: int) -> dict[str, float]:
    """Rates of this machine: a float32 GEMM, and memory far larger than its caches."""
    a, b, c = (torch.randn(side, side) for _ in range(3))
    x, y = torch.ones(floats), torch.zeros(floats)
    gemm = 2 * side**3 / _seconds(lambda: torch.mm(a, b, out=c), min(repeat, 10))
    copy = 2 * FLOAT * floats / _seconds(lambda: y.copy_(x), min(repeat, 10))
    read = FLOAT * floats / _seconds(lambda: torch.dot(x, y), min(repeat, 10)) * 2
    return {
        "gemm_flops_a_second": gemm,
        "copy_bytes_a_second": copy,
        "read_bytes_a_second": read,
        # the better of both is the bound
        "bytes_a_second": max(copy, read),
    }


def _index_bytes(pattern: SparsePattern) -> int:
    return pattern.col.element_size() * pattern.nnz + pattern.crow.element_size() * (pattern.shape[0] + 1)


def _one_batch(ratings: Ratings) -> dict[str, Kernel]:
    """The kernels of one mini-batch of the paper's model with a folded head, 256-512-256."""
    users = np.flatnonzero(ratings.user_counts)
    chosen = np.sort(np.random.default_rng(0).permutation(users)[:BATCH_USERS])
    block = rating_block(None, ratings, chosen, row_gradients=True)
    pattern, values = block.pattern, block.values
    n, nnz, n_items = len(chosen), pattern.nnz, ratings.n_items
    t = pattern.transpose
    touched = len(t.touched)
    index = _index_bytes(pattern)
    table = {}

    def sparse(width: int) -> Kernel:
        rows = torch.randn(n_items, width)
        return Kernel(
            lambda: kernels.product(pattern.crow, pattern.col, None, values, rows),
            2 * nnz * width,
            index + FLOAT * (nnz + touched * width + n * width),
            FLOAT * nnz * width,
        )

    def sampled(width: int) -> Kernel:
        left, right = torch.randn(n, width), torch.randn(n_items, width)
        return Kernel(
            lambda: kernels.sample(pattern.crow, pattern.col, left, right),
            2 * nnz * width,
            index + FLOAT * (nnz + touched * width + n * width),
            FLOAT * nnz * width,
        )

    def learning(width: int) -> Kernel:
        weight, square = torch.randn(n_items, width), torch.ones(n_items, width)
        latest, left = torch.zeros(n_items, dtype=torch.int32), torch.randn(n, width)
        gradient = (t.touched, t.crow, t.col, t.order, values, left)
        return Kernel(
            lambda: kernels.rmsprop_rows_(weight, square, latest, *gradient, 1, 0.99, 1e-4, 1e-8, 0.0),
            2 * nnz * width + 8 * touched * width,
            # weights and second moment are read and written
            index + FLOAT * (2 * nnz + 4 * touched * width + n * width),
            FLOAT * nnz * width,
        )

    table["input layer"] = sparse(HIDDEN)
    for width in (HEAD, DEEP_HEAD):
        table[f"output layer, width {width}"] = sampled(width)
        table[f"gradient of the codes, width {width}"] = sparse(width)
        table[f"gradient and RMSprop of a table, width {width}"] = learning(width)
    table["transposing a batch"] = Kernel(
        lambda: kernels.transpose(pattern.crow, pattern.col, n_items, True), 0, index + 8 * nnz + 4 * n_items
    )
    table["cutting a batch"] = Kernel(
        lambda: rating_block(None, ratings, chosen, row_gradients=True), 0, 2 * (index + FLOAT * nnz) + 2 * 8 * nnz
    )
    return table


def _dense() -> dict[str, Kernel]:
    """What a mini-batch does whatever the items: dense layers, noise, dropout, KL."""
    x, y = torch.randn(BATCH_USERS, LATENT), torch.randn(BATCH_USERS, LATENT)
    size, weight = FLOAT * x.numel(), torch.tensor(0.3)
    return {
        "dense middle layers, both directions": _middle(BATCH_USERS),
        "dropout": Kernel(lambda: kernels.dropout(x, 1, 0.8), 0, 2 * size),
        "normal numbers": Kernel(lambda: kernels.normal(x, 1), 20 * x.numel(), size),
        "samples of z": Kernel(lambda: kernels.latent(x, y, x), 12 * x.numel(), 4 * size),
        "KL": Kernel(lambda: kernels.kl(x, y), 14 * x.numel(), 2 * size),
        "gradient of the KL": Kernel(lambda: kernels.kl_gradient(x, y, weight), 13 * x.numel(), 4 * size),
    }


def _full_batch(ratings: Ratings) -> dict[str, Kernel]:
    """The kernels of a step of the two-sided default, over all ratings at once."""
    block = rating_block(None, ratings)
    pattern, values = block.pattern, block.values
    (n, n_items), nnz, width = pattern.shape, pattern.nnz, HyVAE(preset="fast").config.hidden
    t, seen = pattern.transpose, kernels.visible(block.keys, 1, 0.1)
    items = [torch.randn(n_items, width) for _ in range(2)]
    users = [torch.randn(n, width) for _ in range(2)]
    index = _index_bytes(pattern)
    mean, user, item = torch.tensor(3.5), torch.randn(n), torch.randn(n_items)
    rows, columns = (pattern.crow, pattern.col, None), (t.crow, t.col, t.order)
    entries, tables = index + 2 * FLOAT * nnz, FLOAT * width * (2 * n_items + n)
    other_tables = FLOAT * width * (2 * n + n_items)
    flops, gathered = 4 * nnz * width, FLOAT * nnz * width
    return {
        "both channels of the users": Kernel(
            lambda: kernels.product_pair(*rows, values, seen, *items), flops, entries + tables, 2 * gathered
        ),
        "both channels of the items": Kernel(
            lambda: kernels.product_pair(*columns, values, seen, *users), flops, entries + other_tables, 2 * gathered
        ),
        "gradients of the items' tables": Kernel(
            lambda: kernels.product_both(*columns, values, seen, users[0]), flops, entries + tables, gathered
        ),
        "gradients of the users' tables": Kernel(
            lambda: kernels.product_both(*rows, values, seen, items[0]), flops, entries + other_tables, gathered
        ),
        "choosing what is hidden": Kernel(lambda: kernels.visible(block.keys, 1, 0.1), 0, 12 * nnz),
        "centring": Kernel(lambda: pattern.residuals(values, seen, mean, user, item), 4 * nnz, index + 3 * FLOAT * nnz),
        "item effects": Kernel(lambda: pattern.column_sums(values, seen, mean, row=user), 4 * nnz, entries),
        "user effects": Kernel(lambda: pattern.row_sums(values, seen, mean, col=item), 4 * nnz, entries),
        "hidden entries": Kernel(lambda: pattern.hidden(seen), 0, index + FLOAT * nnz + 0.8 * nnz),
    }


def _middle(n: int) -> Kernel:
    """256 → 512 (μ), 256 → 512 (log σ²), 512 → 256, 256 → 512, 512 → 256, forward and backward."""
    widths = ((HIDDEN, LATENT), (HIDDEN, LATENT), (LATENT, HIDDEN), (HIDDEN, LATENT), (LATENT, HIDDEN))
    layers = [nn.Linear(a, b) for a, b in widths]
    inputs = [torch.randn(n, a, requires_grad=True) for a, _ in widths]

    def both() -> None:
        sum(layer(x).sum() for layer, x in zip(layers, inputs, strict=True)).backward()

    weights = sum(a * b for a, b in widths)
    # three products each: of the output, of the input's gradient, and of the weights'
    moved = FLOAT * sum(3 * a * b + 3 * n * (a + b) for a, b in widths)
    return Kernel(both, 6 * n * weights, moved)


def _answering(train: Ratings) -> dict[str, Kernel]:
    """Encoding users of the default model, and ranking all items for them."""
    recommender = HyVAE(preset="fast", epochs=1).fit(train, seed=0, progress=False)
    model, config = recommender.model, recommender.config
    users = np.flatnonzero(train.user_counts)[:ANSWERED_USERS]
    block = rating_block(None, train, users)
    n, nnz, n_items = len(users), block.pattern.nnz, train.n_items
    with torch.no_grad():
        codes = model.encode(block)
    width, hidden = codes.shape[1] - 1, config.hidden
    touched = len(np.unique(block.pattern.col.numpy()))
    layers = 2 * hidden * (2 * config.latent + config.deep_layers[-1])
    # one encoding, and the sums of ten folds, which give ten more; then a ridge regression a user
    flops = 4 * nnz * hidden + 6 * nnz * hidden + 11 * n * layers + 2 * nnz * width + nnz * width**2 + n * width**3 / 3
    index = _index_bytes(block.pattern)
    moved = index + FLOAT * (nnz + touched * (2 * hidden + width) + n * (width + 1))
    candidates = np.ones(n_items, bool)

    @torch.no_grad()
    def encode() -> None:
        model.encode(block)

    return {
        f"encoding {n:,} users, refinement included": Kernel(
            encode, flops, moved, FLOAT * nnz * (4 * hidden + 2 * width)
        ),
        f"ten best of all items for {n:,} users": Kernel(
            lambda: best_items(model, codes, 10, block.pattern, candidates),
            2 * n * n_items * (width + 1),
            FLOAT * (n + n_items) * (width + 1) + 8 * nnz + 12 * 10 * n,
        ),
    }
