"""The kernels for torch's exporter: operators of torch alone, for any number of rows and entries.

A traced program knows no bounds of rows when it is made, so that no loop over rows may be in it, and of operators it
may hold those only that other runtimes have: no sparse matrix, no Cholesky factor. What is computed is the same as in
`hyvae.nn.kernels`, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves

from hyvae.nn import kernels

# numbers: no table of a model is as small, but for those that training on next to nothing makes
_FEW = 4096


class Traceable(TorchFunctionMode):
    """A context in which models compute with what can be traced."""

    def __torch_function__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call what stands for `func`."""
        kwargs = kwargs or {}
        if func in _OWN:
            return _OWN[func](*args, **kwargs)
        if func in kernels.FUNCTIONS:
            # what it calls is looked at, too
            with self, kernels.plain_torch():
                return kernels.FUNCTIONS[func](*args, **kwargs)
        if _known((args, kwargs)):
            with _disable_current_modes():
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def _known(arguments: Any) -> bool:
    """Whether something follows from some numbers of the model alone: then it is computed once, when tracing.

    So models may ask what their settings of that kind are; tables stay what they are, rather than being copied.
    """
    tensors = [leaf for leaf in tree_leaves(arguments) if isinstance(leaf, Tensor)]
    # those that stand for what is not known yet are of other classes
    known = all(type(tensor) in (Tensor, nn.Parameter) for tensor in tensors)
    return bool(tensors) and known and sum(tensor.numel() for tensor in tensors) <= _FEW


def _repeated(times: int, body: Callable[[Tensor, Tensor], Tensor], start: Tensor) -> Tensor:
    """What `body`, given k (1,) and what it said before, says at last, for k from 0 to `times` − 1.

    A traced program has one loop, rather than as many copies of its body.
    """
    first = torch.zeros(1, dtype=torch.int64, device=start.device)
    if not torch.compiler.is_exporting():
        for k in range(times):
            start = body(first + k, start)
        return start

    # importing it takes a while
    from torch._higher_order_ops.while_loop import while_loop

    def unfinished(k: Tensor, state: Tensor) -> Tensor:
        return (k < times).squeeze(0)

    def step(k: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return k + 1, body(k, state)

    _, last = while_loop(unfinished, step, (first, start))
    return last


# -- rows -------------------------------------------------------------------------------------------------


def _repeat_interleave(rows: Tensor, repeats: Tensor, *, output_size: int) -> Tensor:
    first = repeats.cumsum(0)[:-1]
    # a row begins where one or more rows end before it
    begun = repeats.new_zeros(output_size + 1).index_add(0, first, torch.ones_like(first))
    return rows[begun.cumsum(0)[:output_size]]


def _rows_of(crow: Tensor, col: Tensor) -> Tensor:
    """Row of each entry, (nnz,) int64."""
    counts = crow.diff()
    return _repeat_interleave(torch.arange(counts.shape[0], device=crow.device), counts, output_size=col.shape[0])


def _bucketize(values: Tensor, bounds: Tensor) -> Tensor:
    return (values.unsqueeze(-1) > bounds).sum(-1)


def _places(crow: Tensor, col: Tensor) -> Tensor:
    """Places of each row's entries, (n_rows, most entries of a row), behind which is the number of all entries."""
    counts = crow.diff().unsqueeze(1)
    longest = counts.max().clamp_min(1).item()
    torch._check(longest >= 1)
    number = torch.arange(longest, device=crow.device)
    return torch.where(number < counts, crow[:-1].unsqueeze(1) + number, col.shape[0])


def _padded(entries: Tensor, places: Tensor) -> Tensor:
    """What belongs to each entry, (nnz, …), by rows of equal length, with zeros behind; (*shape of `places`, …)."""
    return torch.cat([entries, entries.new_zeros(1, *entries.shape[1:])])[places]


# -- products ---------------------------------------------------------------------------------------------


def _product(crow: Tensor, col: Tensor, order: Tensor | None, values: Tensor, table: Tensor) -> Tensor:
    values = values if order is None else values[order]
    sums = table.new_zeros(crow.shape[0] - 1, table.shape[1])
    return sums.index_add(0, _rows_of(crow, col), values.unsqueeze(1) * table[col])


def _product_pair(
    crow: Tensor, col: Tensor, order: Tensor | None, values: Tensor, weights: Tensor, table: Tensor, other: Tensor
) -> Tensor:
    return _product(crow, col, order, values, table) + _product(crow, col, order, weights, other)


def _product_both(
    crow: Tensor, col: Tensor, order: Tensor | None, values: Tensor, weights: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    return _product(crow, col, order, values, table), _product(crow, col, order, weights, table)


def _sample(crow: Tensor, col: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return (left[_rows_of(crow, col)] * right[col]).sum(1)


# -- regressions ------------------------------------------------------------------------------------------


def inverse(matrices: Tensor) -> Tensor:
    """Inverses of symmetric positive definite matrices, (…, n, n) float64, by the sweep operator (Goodnight 1979).

    Sweeping by k subtracts v vᵀ / d, with v the row k, less 1 at k, and d the pivot; but for 2 at each pivot, which no
    later sweep reads, so that the 2s are taken off at the end. Pivots far from 1 cost digits: hence float64.
    """
    n = matrices.shape[-1]
    one = torch.eye(n, dtype=matrices.dtype, device=matrices.device)

    def sweep(k: Tensor, swept: Tensor) -> Tensor:
        row = swept.index_select(-2, k)
        v = row - one.index_select(0, k)
        return swept - v.mT * (v / row.index_select(-1, k))

    return 2 * one - _repeated(n, sweep, matrices)


def _ridge(crow: Tensor, col: Tensor, values: Tensor, table: Tensor, strength: float) -> Tensor:
    return _regressions(crow, col, values, table, strength, False)[0]


def _regressions(
    crow: Tensor, col: Tensor, values: Tensor, table: Tensor, strength: float, intercept: bool
) -> tuple[Tensor, Tensor]:
    places = _places(crow, col)
    codes, wanted = _padded(table[col], places).double(), _padded(values, places).double().unsqueeze(2)
    mean_code, mean_value = codes.new_zeros(1, 1, 1), wanted.new_zeros(1, 1, 1)
    if intercept:
        there = (places < col.shape[0]).unsqueeze(2)
        counts = there.sum(1, keepdim=True).clamp_min(1)
        mean_code, mean_value = codes.sum(1, keepdim=True) / counts, wanted.sum(1, keepdim=True) / counts
        codes, wanted = (codes - mean_code) * there, (wanted - mean_value) * there
    grams = codes.mT @ codes + strength * torch.eye(table.shape[1], dtype=codes.dtype, device=codes.device)
    solved = inverse(grams) @ (codes.mT @ wanted)
    bias = mean_value - mean_code @ solved if intercept else solved.new_zeros(crow.shape[0] - 1, 1, 1)
    return solved.squeeze(2).to(table.dtype), bias.flatten().to(table.dtype)


# -- draws ------------------------------------------------------------------------------------------------


def _probit_rows(
    crow: Tensor,
    col: Tensor,
    level: Tensor,
    table: Tensor,
    noise: Tensor,
    low: Tensor,
    per_step: Tensor,
    precision: Tensor,
    spread: Tensor,
    missing: Tensor,
    means: Tensor,
    steps: int,
) -> Tensor:
    samples, n_levels = noise.shape[:2]
    # all draws at once: (samples, n_rows, entries of a row, width)
    places = _places(crow, col)
    codes = _padded(_by_sample(table, samples)[:, col].transpose(0, 1), places).permute(2, 0, 1, 3)
    there = (places < col.shape[0]).to(codes.dtype)
    offsets = codes[..., -1]
    design = torch.cat([codes[..., :-1], there.unsqueeze(2).expand(*offsets.shape, 1)], 3)
    low, per_step, precision, spread = (each.unsqueeze(1) for each in (low, per_step, precision, spread))
    own = precision / (1 + precision * spread * missing.unsqueeze(1))
    one = torch.eye(own.shape[2], dtype=torch.float64, device=own.device)
    inverses = inverse((design.mT @ design).double() + own.double().unsqueeze(3) * one).to(codes.dtype)
    vectors = prior = _by_sample(means, samples)
    curve = torch.arange(samples, device=level.device).view(-1, 1, 1) * n_levels + _padded(level, places)
    for _ in range(steps):
        scores = (design @ vectors.unsqueeze(3)).squeeze(3) + offsets
        expected = _between(noise.flatten(0, 1), (scores - low.unsqueeze(2)) * per_step.unsqueeze(2), curve)
        slope = (design.mT @ expected.unsqueeze(3)).squeeze(3) + own * (prior - vectors)
        vectors = vectors + (inverses @ slope.unsqueeze(3)).squeeze(3)
    return vectors.transpose(0, 1).flatten(1)


def _mean_levels(codes: Tensor, items: Tensor, low: Tensor, per_step: Tensor, expected: Tensor) -> Tensor:
    samples = len(expected)
    codes, items = _by_sample(codes, samples), _by_sample(items, samples)
    design, offsets = torch.cat([codes[..., :-1], torch.ones_like(codes[..., -1:])], 2), codes[..., -1:]

    def add(s: Tensor, total: Tensor) -> Tensor:
        def of_sample(each: Tensor) -> Tensor:
            return each.index_select(0, s).squeeze(0)

        scores = of_sample(design) @ of_sample(items).T + of_sample(offsets)
        place = (scores - of_sample(low)) * of_sample(per_step)
        return total + _between(of_sample(expected).unsqueeze(0), place.clamp(0, expected.shape[1] - 1))

    return _repeated(samples, add, codes.new_zeros(codes.shape[1], items.shape[1])) / samples


def _by_sample(table: Tensor, samples: int) -> Tensor:
    """Vectors of all draws side by side, one draw after the other; (samples, n, width)."""
    return table.unflatten(1, (samples, -1)).transpose(0, 1)


def _between(curves: Tensor, places: Tensor, curve: Tensor | int = 0) -> Tensor:
    """Values of curves between their cells, (n, cells + 1), linear also beyond; shape of `places`."""
    cell = places.clamp(0, curves.shape[1] - 2).long()
    at = (cell + curve * curves.shape[1]).flatten()
    first, second = (curves.flatten().index_select(0, each).view_as(places) for each in (at, at + 1))
    return first + (places - cell) * (second - first)


_OWN: dict[Any, Callable[..., Any]] = {
    torch.repeat_interleave: _repeat_interleave,
    torch.bucketize: _bucketize,
    kernels.product: _product,
    kernels.product_pair: _product_pair,
    kernels.product_both: _product_both,
    kernels.sample: _sample,
    kernels.ridge: _ridge,
    kernels.regressions: _regressions,
    kernels.probit_rows: _probit_rows,
    kernels.mean_levels: _mean_levels,
}
