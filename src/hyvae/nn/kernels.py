"""The hot loops, as operators of torch (``torch.ops.hyvae``), so that its profilers and counters see them.

Each has two ways that give the same, up to rounding and to the order of equal scores: compiled from ``_kernels.cpp``
for the CPU, and plain torch, for CUDA, for types that are not compiled, and for machines on which nothing could be.
``HYVAE_KERNELS=torch`` chooses plain torch; the path of a library, such as `tools/same_bits.py` builds, chooses that.

A matrix is given by `crow` (n_rows + 1,) int64, the bounds of its compressed rows from 0 on, and `col` (nnz,) int32.
`order` (nnz,) int32, where given, says for each entry where its value stands: for a transposed matrix, in the row order
of the original. Sums are over a row's entries from left to right, on one thread, whatever the number of threads.
"""

from __future__ import annotations

import ctypes
import importlib.util
import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

VARIABLE = "HYVAE_KERNELS"
# of the functions' arguments: that of _kernels.cpp must be the same
_VERSION = 7
# the low 32 bits
_HALF = (1 << 32) - 1
_GATHER_CHUNK = 1 << 16
_MIX_BITS = (1 << 53) - 1

_SIGNATURES = {
    # i: int64, p: pointer (or null), f: float, d: double, u: uint64, v: uint32, t: threads
    "product_f32": "iippppppp" + "iippi" + "t",
    "product_f64": "iippppppp" + "iippi" + "t",
    "sample_f32": "iipppipiipt",
    "sample_f64": "iipppipiipt",
    "ridge_f32": "ippppiidpt",
    "ridge_f64": "ippppiidpt",
    "regressions_f32": "ippppiidippt",
    "regressions_f64": "ippppiidippt",
    "draw_rows": "ippppippppppt",
    "draw_table": "ipppppippppp" + "t",
    "probit_rows": "iipppipiipippppp" + "ipt",
    "interpolate": "ipffippt",
    "mean_levels": "iiiipipippippt",
    "transpose": "iipppppp",
    "hidden_entries": "ipppppp",
    "residuals": "ippppfpppt",
    "sum_rows": "ippppfpppt",
    "sum_columns": "iippppfpppt",
    "visible": "ipuupt",
    "dropout": "iuvfppt",
    "normal": "iuupt",
    "latent": "ippppt",
    "kl": "ippt",
    "kl_gradient": "ifppppt",
    "rmsprop": "iippppifffft",
    "rmsprop_rows": "ippppppii" + "pppifffft",
    "adam": "ippppfffffft",
    "others_f32": "iiippt",
    "others_f64": "iiippt",
    "best": "iipiiipppppt",
}
_C_TYPES = {
    "i": ctypes.c_int64,
    "p": ctypes.c_void_p,
    "f": ctypes.c_float,
    "d": ctypes.c_double,
    "u": ctypes.c_uint64,
    "v": ctypes.c_uint32,
    "t": ctypes.c_int,
}
_RESULTS = {"transpose": ctypes.c_int64, "hidden_entries": ctypes.c_int64, "kl": ctypes.c_double}


def _load() -> dict[str, Any]:
    """The compiled functions by name; none where they were not built, or are not wanted."""
    choice = os.environ.get(VARIABLE, "compiled")
    if choice not in ("compiled", "torch") and not os.path.isfile(choice):
        raise ValueError(f"{VARIABLE} must be 'compiled', 'torch' or the path of a library, got {choice!r}")
    spec = importlib.util.find_spec("hyvae.nn._kernels")
    path = (None if spec is None else spec.origin) if choice == "compiled" else choice
    if choice == "torch" or path is None:
        return {}
    try:
        # after torch, whose OpenMP the library then shares: two pools of spinning threads would fight over the cores
        library = ctypes.CDLL(path)
        fits = library.hyvae_version() == _VERSION
    except (OSError, AttributeError):
        fits = False
    if not fits:
        mend = "install hyvae again; until then plain torch computes, several times slower"
        warnings.warn(f"{path} is of another version or machine: {mend}", stacklevel=2)
        return {}
    functions = {}
    for name, signature in _SIGNATURES.items():
        function = getattr(library, f"hyvae_{name}")
        function.argtypes = [_C_TYPES[letter] for letter in signature]
        function.restype = _RESULTS.get(name)
        functions[name] = function
    return functions


_compiled = _load()
_in_plain_torch: ContextVar[bool] = ContextVar("in_plain_torch", default=False)


def compiled() -> bool:
    """Whether the compiled kernels are in use."""
    return bool(_compiled) and not _in_plain_torch.get()


@contextmanager
def plain_torch() -> Iterator[None]:
    """A context in which nothing is computed by compiled code, in this thread alone."""
    before = _in_plain_torch.set(True)
    try:
        yield
    finally:
        _in_plain_torch.reset(before)


def way() -> str:
    """How the hot loops are computed on the CPU, ``compiled`` or ``torch``: sums of both differ by rounding."""
    return "compiled" if compiled() else "torch"


def _by_kernel(*tensors: Tensor | None, types: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    """Whether the compiled way can take these arrays of numbers."""
    if not compiled():
        return False
    given = [tensor for tensor in tensors if tensor is not None]
    return given[0].dtype in types and all(
        t.dtype == given[0].dtype and t.device.type == "cpu" and (t.dim() != 1 or t.is_contiguous()) for t in given
    )


def _whole(*tensors: Tensor) -> bool:
    """Whether tensors that are written to lie in one piece, all of one shape."""
    return all(tensor.is_contiguous() and tensor.shape == tensors[0].shape for tensor in tensors)


_FLOATS = (torch.float32, torch.float64)
_SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _rows_together(table: Tensor) -> Tensor:
    """The table, or a copy where the numbers of a row do not lie side by side."""
    return table if table.stride(1) == 1 and table.stride(0) >= table.shape[1] else table.contiguous()


def csr(crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """The torch CSR tensor."""
    return torch.sparse_csr_tensor(crow, col.long(), values, shape, check_invariants=False)


# -- products ---------------------------------------------------------------------------------------------


def _product(crow: Tensor, col: Tensor, order: Tensor | None, values: Tensor, table: Tensor) -> Tensor:
    if _by_kernel(values, table, types=_FLOATS):
        return _run_product(crow, col, order, values, None, table, None)[0]
    values = values if order is None else values[order]
    return csr(crow, col, values, (len(crow) - 1, len(table))) @ table


def _product_pair(
    crow: Tensor, col: Tensor, order: Tensor | None, values: Tensor, weights: Tensor, table: Tensor, other: Tensor
) -> Tensor:
    if _by_kernel(values, weights, table, other, types=_FLOATS):
        return _run_product(crow, col, order, values, weights, table, other)[0]
    return _product(crow, col, order, values, table) + _product(crow, col, order, weights, other)


def _product_both(
    crow: Tensor, col: Tensor, order: Tensor | None, values: Tensor, weights: Tensor, table: Tensor
) -> tuple[Tensor, Tensor]:
    if _by_kernel(values, weights, table, types=_FLOATS):
        first, second = _run_product(crow, col, order, values, weights, table, None)
        assert second is not None
        return first, second
    return _product(crow, col, order, values, table), _product(crow, col, order, weights, table)


def _run_product(
    crow: Tensor,
    col: Tensor,
    order: Tensor | None,
    values: Tensor,
    weights: Tensor | None,
    table: Tensor,
    other: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    table = _rows_together(table)
    if other is not None and other.stride() != table.stride():
        table, other = table.contiguous(), other.contiguous()
    width, n_rows = table.shape[1], len(crow) - 1
    out = table.new_empty(n_rows, width)
    second = table.new_empty(n_rows, width) if weights is not None and other is None else None
    _compiled[f"product_{_SUFFIX[table.dtype]}"](
        n_rows,
        len(table),
        crow.data_ptr(),
        col.data_ptr(),
        _pointer(order),
        values.data_ptr(),
        _pointer(weights),
        table.data_ptr(),
        _pointer(other),
        width,
        table.stride(0),
        out.data_ptr(),
        _pointer(second),
        width,
        torch.get_num_threads(),
    )
    return out, second


def _sample(crow: Tensor, col: Tensor, left: Tensor, right: Tensor) -> Tensor:
    if _by_kernel(left, right, types=_FLOATS):
        left, right = _rows_together(left), _rows_together(right)
        out = left.new_empty(len(col))
        _compiled[f"sample_{_SUFFIX[left.dtype]}"](
            len(crow) - 1,
            len(right),
            crow.data_ptr(),
            col.data_ptr(),
            left.data_ptr(),
            left.stride(0),
            right.data_ptr(),
            right.stride(0),
            left.shape[1],
            out.data_ptr(),
            torch.get_num_threads(),
        )
        return out
    left, right = left.contiguous(), right.contiguous()
    if left.is_cuda or torch.backends.mkl.is_available():
        zeros = csr(crow, col, left.new_zeros(len(col)), (len(crow) - 1, len(right)))
        return torch.sparse.sampled_addmm(zeros, left, right.T, beta=0.0).values()
    return _sample_by_gathering(crow, col, left, right)


def _sample_by_gathering(crow: Tensor, col: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Compute the same where torch has no kernel for it (CPU builds without MKL), in chunks."""
    row = rows_of(crow, len(col))
    out = left.new_empty(len(col))
    for start in range(0, len(col), _GATHER_CHUNK):
        chunk = slice(start, start + _GATHER_CHUNK)
        out[chunk] = (left[row[chunk]] * right[col[chunk]]).sum(1)
    return out


def _grams(crow: Tensor, col: Tensor, table: Tensor) -> Tensor:
    """Σ q qᵀ over the table's rows that each row's entries name, (n_rows, width, width)."""
    grams = table.new_empty(len(crow) - 1, table.shape[1], table.shape[1])
    bounds = crow.tolist()
    # one GEMM a row: rows differ in length, and padding them would cost more than the calls
    for row in range(len(grams)):
        codes = table[col[bounds[row] : bounds[row + 1]]]
        torch.mm(codes.T, codes, out=grams[row])
    return grams


def _ridge(crow: Tensor, col: Tensor, values: Tensor, table: Tensor, strength: float) -> Tensor:
    n_rows, width = len(crow) - 1, table.shape[1]
    if _by_kernel(values, table, types=_FLOATS):
        table = _rows_together(table)
        out = table.new_empty(n_rows, width)
        _compiled[f"ridge_{_SUFFIX[table.dtype]}"](
            n_rows,
            crow.data_ptr(),
            col.data_ptr(),
            values.data_ptr(),
            table.data_ptr(),
            table.stride(0),
            width,
            strength,
            out.data_ptr(),
            torch.get_num_threads(),
        )
        return out
    gram = _grams(crow, col, table)
    gram.diagonal(dim1=1, dim2=2).add_(strength)
    moment = _product(crow, col, None, values, table)
    return torch.cholesky_solve(moment.unsqueeze(2), torch.linalg.cholesky(gram)).squeeze(2)


def _regressions(
    crow: Tensor, col: Tensor, values: Tensor, table: Tensor, strength: float, intercept: bool
) -> tuple[Tensor, Tensor]:
    n_rows = len(crow) - 1
    outputs, bias = table.new_zeros(n_rows, table.shape[1]), table.new_zeros(n_rows)
    if _by_kernel(values, table, types=_FLOATS):
        table = _rows_together(table)
        _compiled[f"regressions_{_SUFFIX[table.dtype]}"](
            n_rows,
            crow.data_ptr(),
            col.data_ptr(),
            values.data_ptr(),
            table.data_ptr(),
            table.stride(0),
            table.shape[1],
            strength,
            intercept,
            outputs.data_ptr(),
            bias.data_ptr(),
            torch.get_num_threads(),
        )
        return outputs, bias
    for row, (begin, end) in enumerate(pairwise(crow.tolist())):
        if begin == end:
            continue
        # in double, as the strength may be small against many rows of the table
        H, r = table[col[begin:end]].double(), values[begin:end].double()
        mean_code, mean_value = H.mean(0), r.mean()
        if intercept:
            H, r = H - mean_code, r - mean_value
        few = end - begin < table.shape[1]
        # (H'H + λI)⁻¹H' = H'(HH' + λI)⁻¹: of the two matrices, the smaller
        gram = H @ H.T if few else H.T @ H
        gram.diagonal().add_(strength)
        moment = r if few else H.T @ r
        solved = torch.cholesky_solve(moment.unsqueeze(1), torch.linalg.cholesky(gram)).squeeze(1)
        w = H.T @ solved if few else solved
        outputs[row] = w
        if intercept:
            bias[row] = mean_value - w @ mean_code
    return outputs, bias


def _draw_rows(
    crow: Tensor,
    col: Tensor,
    values: Tensor,
    table: Tensor,
    precision: Tensor,
    mean: Tensor,
    noise: Tensor,
    vectors: Tensor,
) -> tuple[Tensor, Tensor]:
    n_rows, width = vectors.shape
    if _by_kernel(values, table, precision, mean, noise, vectors) and _whole(table) and _whole(noise, vectors):
        grams, moments = table.new_empty(n_rows, width, width), table.new_empty(n_rows, width)
        _compiled["draw_rows"](
            n_rows,
            crow.data_ptr(),
            col.data_ptr(),
            values.data_ptr(),
            table.data_ptr(),
            width,
            precision.data_ptr(),
            mean.data_ptr(),
            noise.data_ptr(),
            vectors.data_ptr(),
            grams.data_ptr(),
            moments.data_ptr(),
            torch.get_num_threads(),
        )
        return grams, moments
    grams = _grams(crow, col, table)
    moments = _product(crow, col, None, values, table)
    right = moments + (grams @ vectors.unsqueeze(2)).squeeze(2) + precision * mean
    drawn = _draw(grams + torch.diag(precision), right, noise)
    moments -= (grams @ (drawn - vectors).unsqueeze(2)).squeeze(2)
    vectors.copy_(drawn)
    return grams, moments


def _draw(precision: Tensor, right: Tensor, noise: Tensor) -> Tensor:
    """Draws from N(A⁻¹ b, A⁻¹), with standard normal noise; (…, n)."""
    upper = torch.linalg.cholesky(precision).mT
    mean = torch.cholesky_solve(right.unsqueeze(-1), upper, upper=True)
    return (mean + torch.linalg.solve_triangular(upper, noise.unsqueeze(-1), upper=True)).squeeze(-1)


def _draw_table(
    crow: Tensor,
    rows: Tensor,
    weights: Tensor,
    grams: Tensor,
    sums: Tensor,
    precision: Tensor,
    mean: Tensor,
    noise: Tensor,
    table: Tensor,
    moments: Tensor,
) -> None:
    n, width = table.shape
    if _by_kernel(weights, grams, sums, precision, mean, noise, table, moments) and _whole(noise, table):
        _compiled["draw_table"](
            n,
            crow.data_ptr(),
            rows.data_ptr(),
            weights.data_ptr(),
            grams.data_ptr(),
            sums.data_ptr(),
            width,
            precision.data_ptr(),
            mean.data_ptr(),
            noise.data_ptr(),
            table.data_ptr(),
            moments.data_ptr(),
            torch.get_num_threads(),
        )
        return
    bounds = crow.tolist()
    for j in range(n):
        of = rows[bounds[j] : bounds[j + 1]].long()
        right = weights[of] @ moments[of] + sums[j] @ table[j] + precision * mean
        drawn = _draw(sums[j] + torch.diag(precision), right, noise[j])
        moments[of] -= weights[of].unsqueeze(1) * (grams[of] @ (drawn - table[j]))
        table[j] = drawn


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
    samples, n_levels, cells = noise.shape[0], noise.shape[1], noise.shape[2] - 1
    n_rows, width = len(means), means.shape[1] // samples
    if not means.shape[1] == table.shape[1] == samples * width == precision.numel() == spread.numel():
        raise ValueError(f"means {means.shape}, table {table.shape} and precision {precision.shape} of {samples} draws")
    out = means.clone(memory_format=torch.contiguous_format)
    if _by_kernel(table, noise, low, per_step, precision, spread, missing, means) and noise.is_contiguous():
        table = _rows_together(table)
        _compiled["probit_rows"](
            n_rows,
            samples,
            crow.data_ptr(),
            col.data_ptr(),
            level.data_ptr(),
            n_levels,
            table.data_ptr(),
            table.stride(0),
            width,
            noise.data_ptr(),
            cells,
            low.data_ptr(),
            per_step.data_ptr(),
            precision.data_ptr(),
            spread.data_ptr(),
            missing.data_ptr(),
            steps,
            out.data_ptr(),
            torch.get_num_threads(),
        )
        return out
    for s in range(samples):
        part = slice(s * width, (s + 1) * width)
        design, offsets, prior = table[:, part].clone(), table[col, s * width + width - 1], means[:, part]
        design[:, -1] = 1.0
        vectors = prior.clone()
        own = precision[s] / (1 + precision[s] * spread[s] * missing.unsqueeze(1))
        lower = torch.linalg.cholesky(_grams(crow, col, design) + torch.diag_embed(own))
        for _ in range(steps):
            place = (_sample(crow, col, vectors, design) + offsets - low[s]) * per_step[s]
            cell = place.clamp(0, cells - 1).long()
            expected = torch.lerp(noise[s, level, cell], noise[s, level, cell + 1], place - cell)
            slope = _product(crow, col, None, expected, design) + own * (prior - vectors)
            vectors += torch.cholesky_solve(slope.unsqueeze(2), lower).squeeze(2)
        out[:, part] = vectors
    return out


def _interpolate(out: Tensor, x: Tensor, low: float, per_step: float, values: Tensor) -> None:
    cells = len(values) - 1
    if _by_kernel(out, x, values) and _whole(out, x):
        threads = torch.get_num_threads()
        pointers = values.data_ptr(), out.data_ptr()
        _compiled["interpolate"](x.numel(), x.data_ptr(), low, per_step, cells, *pointers, threads)
        return
    place = ((x - low) * per_step).clamp(0, cells)
    cell = place.long().clamp_max(cells - 1)
    out += torch.lerp(values[cell], values[cell + 1], place - cell)


def _mean_levels(codes: Tensor, items: Tensor, low: Tensor, per_step: Tensor, expected: Tensor) -> Tensor:
    samples = len(expected)
    width = codes.shape[1] // samples
    if not codes.shape[1] == items.shape[1] == samples * width or len(low) != samples or len(per_step) != samples:
        raise ValueError(f"codes {codes.shape} and items {items.shape} of {samples} draws")
    if _by_kernel(codes, items, low, per_step, expected) and expected.is_contiguous():
        codes, items = _rows_together(codes), _rows_together(items)
        out = codes.new_empty(len(codes), len(items))
        _compiled["mean_levels"](
            len(codes),
            len(items),
            samples,
            width,
            codes.data_ptr(),
            codes.stride(0),
            items.data_ptr(),
            items.stride(0),
            low.data_ptr(),
            per_step.data_ptr(),
            expected.shape[1] - 1,
            expected.data_ptr(),
            out.data_ptr(),
            torch.get_num_threads(),
        )
        return out
    # in one pass over the items, whose rows hold all draws: a pass a draw would fetch each row anew
    offsets = items.unflatten(1, (samples, width))[:, :, -1].T.contiguous()
    total = codes.new_zeros(len(codes), len(items))
    for s in range(samples):
        of_user, of_item = (table[:, s * width : (s + 1) * width] for table in (codes, items))
        scores = torch.addmm(offsets[s], of_user[:, :-1], of_item[:, :-1].T).add_(of_user[:, -1:])
        _interpolate(total, scores, float(low[s]), float(per_step[s]), expected[s])
    return total / samples


# -- patterns ---------------------------------------------------------------------------------------------


def rows_of(crow: Tensor, nnz: int) -> Tensor:
    """Row of each entry, (nnz,) int64."""
    rows = torch.arange(crow.shape[0] - 1, device=crow.device)
    return torch.repeat_interleave(rows, crow.diff(), output_size=nnz)


def _transpose(crow: Tensor, col: Tensor, n_cols: int, touched_only: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if compiled() and col.device.type == "cpu":
        bounds = crow.new_empty(n_cols + 1)
        rows, order = torch.empty_like(col), torch.empty_like(col)
        touched = col.new_empty(n_cols if touched_only else 0)
        count = _compiled["transpose"](
            len(crow) - 1,
            n_cols,
            crow.data_ptr(),
            col.data_ptr(),
            bounds.data_ptr(),
            rows.data_ptr(),
            order.data_ptr(),
            touched.data_ptr() if touched_only else None,
        )
        return bounds[: count + 1], rows, order, touched[:count].long() if touched_only else touched.long()
    order = torch.sort(col, stable=True).indices
    counts = torch.bincount(col, minlength=n_cols)
    touched = counts.nonzero()[:, 0] if touched_only else counts.new_empty(0)
    bounds = pad((counts[touched] if touched_only else counts).cumsum(0), (1, 0))
    return bounds, rows_of(crow, len(col))[order].int(), order.int(), touched


def _hidden_entries(crow: Tensor, col: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if _by_kernel(visible):
        bounds = torch.empty_like(crow)
        arguments = (len(crow) - 1, crow.data_ptr(), col.data_ptr(), visible.data_ptr(), bounds.data_ptr())
        count = _compiled["hidden_entries"](*arguments, None, None)
        columns, places = col.new_empty(count), col.new_empty(count)
        _compiled["hidden_entries"](*arguments, columns.data_ptr(), places.data_ptr())
        return bounds, columns, places
    hidden = visible == 0
    return pad(hidden.cumsum(0), (1, 0))[crow], col[hidden], hidden.nonzero()[:, 0].int()


# -- residuals --------------------------------------------------------------------------------------------


def _residuals(
    crow: Tensor,
    col: Tensor,
    values: Tensor,
    weights: Tensor | None,
    mean: Tensor | None,
    row_effect: Tensor | None,
    col_effect: Tensor | None,
) -> Tensor:
    if _by_kernel(values, weights, mean, row_effect, col_effect):
        out = torch.empty_like(values)
        _run_residual("residuals", (len(crow) - 1,), crow, col, values, weights, mean, row_effect, col_effect, out)
        return out
    out = values
    if mean is not None:
        out = out - mean
    if row_effect is not None:
        out = out - row_effect[rows_of(crow, col.shape[0])]
    if col_effect is not None:
        out = out - col_effect[col]
    return out.clone() if out is values and weights is None else out if weights is None else out * weights


def _sum_rows(
    crow: Tensor,
    col: Tensor,
    values: Tensor,
    weights: Tensor | None,
    mean: Tensor | None,
    row_effect: Tensor | None,
    col_effect: Tensor | None,
) -> Tensor:
    n_rows = crow.shape[0] - 1
    if _by_kernel(values, weights, mean, row_effect, col_effect):
        out = values.new_empty(n_rows)
        _run_residual("sum_rows", (n_rows,), crow, col, values, weights, mean, row_effect, col_effect, out)
        return out
    residuals = _residuals(crow, col, values, weights, mean, row_effect, col_effect).double()
    return residuals.new_zeros(n_rows).index_add_(0, rows_of(crow, col.shape[0]), residuals).to(values.dtype)


def _sum_columns(
    crow: Tensor,
    col: Tensor,
    n_cols: int,
    values: Tensor,
    weights: Tensor | None,
    mean: Tensor | None,
    row_effect: Tensor | None,
    col_effect: Tensor | None,
) -> Tensor:
    if _by_kernel(values, weights, mean, row_effect, col_effect):
        out = values.new_empty(n_cols)
        sizes = (len(crow) - 1, n_cols)
        _run_residual("sum_columns", sizes, crow, col, values, weights, mean, row_effect, col_effect, out)
        return out
    residuals = _residuals(crow, col, values, weights, mean, row_effect, col_effect).double()
    return residuals.new_zeros(n_cols).index_add_(0, col, residuals).to(values.dtype)


def _run_residual(
    name: str,
    sizes: tuple[int, ...],
    crow: Tensor,
    col: Tensor,
    values: Tensor,
    weights: Tensor | None,
    mean: Tensor | None,
    row_effect: Tensor | None,
    col_effect: Tensor | None,
    out: Tensor,
) -> None:
    _compiled[name](
        *sizes,
        crow.data_ptr(),
        col.data_ptr(),
        values.data_ptr(),
        _pointer(weights),
        0.0 if mean is None else float(mean),
        _pointer(row_effect),
        _pointer(col_effect),
        out.data_ptr(),
        torch.get_num_threads(),
    )


# -- random choices that are a function of a counter ------------------------------------------------------


def signed(value: int) -> int:
    """The int64 with the same bits as `value` modulo 2^64."""
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value


def mix(x: Tensor) -> Tensor:
    """The finaliser of SplitMix64 (Steele et al. 2014) of each int64, as a counter-based hash."""
    x = x + signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    # int64 shifts keep the sign; a logical shift drops it
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _visible(keys: Tensor, key: int, share: float) -> Tensor:
    bound = math.ceil(share * (_MIX_BITS + 1))
    if compiled() and keys.device.type == "cpu":
        out = torch.empty(len(keys), dtype=torch.float32, device="cpu")
        _compiled["visible"](
            len(keys), keys.data_ptr(), key % (1 << 64), bound, out.data_ptr(), torch.get_num_threads()
        )
        return out
    # 64-bit integers wrap around, as they do in C
    return ((mix(keys + signed(key)) & _MIX_BITS) >= bound).to(torch.float32)


def _hashed(n: int, key: int, device: torch.device) -> Tensor:
    """32 bits of each counter 0 … n − 1 under a key, as int64 (the multiplications of MurmurHash3's finaliser)."""
    low, high = key & _HALF, key >> 32 & _HALF
    x = (torch.arange(n, device=device) * 0x9E3779B1 + low) & _HALF
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _HALF
    x = (x ^ (x >> 13) ^ high) * 0xC2B2AE35 & _HALF
    return x ^ (x >> 16)


def _dropout(x: Tensor, key: int, rate: float) -> Tensor:
    bound, scale = min(round(rate * (_HALF + 1)), _HALF), 1.0 / (1.0 - rate)
    x = x.contiguous()
    if _by_kernel(x):
        out = torch.empty_like(x)
        threads = torch.get_num_threads()
        _compiled["dropout"](x.numel(), key % (1 << 64), bound, scale, x.data_ptr(), out.data_ptr(), threads)
        return out
    return torch.where(_hashed(x.numel(), key, x.device).view(x.shape) < bound, 0.0, x * scale)


def _normal(like: Tensor, key: int) -> Tensor:
    n, other_key = like.numel() + like.numel() % 2, mixed(key)
    if compiled() and like.device.type == "cpu":
        out = torch.empty(n, dtype=torch.float32, device="cpu")
        _compiled["normal"](n, key % (1 << 64), other_key, out.data_ptr(), torch.get_num_threads())
    else:
        uniform, turns = ((_hashed(n // 2, k, like.device) >> 8).double() / (1 << 24) for k in (key, other_key))
        radius, angle = (-2 * (uniform + 0.5 / (1 << 24)).log()).sqrt(), 2 * math.pi * (turns - 0.5)
        out = torch.cat([radius * angle.cos(), radius * angle.sin()])
    return out[: like.numel()].view(like.shape).to(like.dtype)


def mixed(value: int) -> int:
    """`mix` of one number, modulo 2^64."""
    return int(mix(torch.tensor([signed(value)], device="cpu"))[0]) % (1 << 64)


# -- folds ------------------------------------------------------------------------------------------------


def _others(x: Tensor) -> Tensor:
    x = x.contiguous()
    if _by_kernel(x, types=_FLOATS):
        out = torch.empty_like(x)
        groups, folds = x.shape[:2]
        width = x.numel() // max(groups * folds, 1)
        threads = torch.get_num_threads()
        _compiled[f"others_{_SUFFIX[x.dtype]}"](groups, folds, width, x.data_ptr(), out.data_ptr(), threads)
        return out
    before, after = torch.zeros_like(x), x.flip(1).cumsum(1).flip(1)
    before[:, 1:] = x[:, :-1].cumsum(1)
    before[:, :-1] += after[:, 1:]
    return before


# -- Gaussian latents -------------------------------------------------------------------------------------


def _latent(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    if _by_kernel(mean, log_variance, noise):
        mean, log_variance, noise = mean.contiguous(), log_variance.contiguous(), noise.contiguous()
        z = torch.empty_like(mean)
        arguments = (mean.data_ptr(), log_variance.data_ptr(), noise.data_ptr(), z.data_ptr())
        _compiled["latent"](z.numel(), *arguments, torch.get_num_threads())
        return z
    return mean + torch.exp(0.5 * log_variance) * noise


def _kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    if _by_kernel(mean, log_variance):
        mean, log_variance = mean.contiguous(), log_variance.contiguous()
        threads = torch.get_num_threads()
        return mean.new_tensor(_compiled["kl"](mean.numel(), mean.data_ptr(), log_variance.data_ptr(), threads))
    return 0.5 * (log_variance.exp() + mean.square() - 1.0 - log_variance).sum()


def _kl_gradient(mean: Tensor, log_variance: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    if _by_kernel(mean, log_variance, weight):
        mean, log_variance = mean.contiguous(), log_variance.contiguous()
        first, second = torch.empty_like(mean), torch.empty_like(mean)
        pointers = (tensor.data_ptr() for tensor in (mean, log_variance, first, second))
        _compiled["kl_gradient"](mean.numel(), float(weight), *pointers, torch.get_num_threads())
        return first, second
    return weight * mean, 0.5 * weight * (log_variance.exp() - 1.0)


# -- in place ---------------------------------------------------------------------------------------------


def _rmsprop(
    weight: Tensor,
    square: Tensor,
    latest: Tensor | None,
    gradient: Tensor,
    step: int,
    alpha: float,
    rate: float,
    epsilon: float,
    penalty: float,
) -> None:
    gradient = gradient.contiguous()
    if _by_kernel(weight, square, gradient) and _whole(weight, square):
        n = len(weight) if weight.dim() > 1 else weight.numel()
        _compiled["rmsprop"](
            n,
            weight.numel() // max(n, 1),
            gradient.data_ptr(),
            weight.data_ptr(),
            square.data_ptr(),
            _pointer(latest),
            step,
            alpha,
            rate,
            epsilon,
            penalty,
            torch.get_num_threads(),
        )
        return
    decay: float | Tensor = alpha
    if latest is not None:
        decay = (alpha ** (step - latest).to(weight.dtype)).unsqueeze(1)
        latest.fill_(step)
    slope = gradient + penalty * weight
    square.mul_(decay).add_((1 - alpha) * slope.square())
    weight.sub_(rate * slope / (square.sqrt() + epsilon))


def _rmsprop_rows(
    weight: Tensor,
    square: Tensor,
    latest: Tensor,
    rows: Tensor,
    crow: Tensor,
    col: Tensor,
    order: Tensor,
    values: Tensor,
    left: Tensor,
    step: int,
    alpha: float,
    rate: float,
    epsilon: float,
    penalty: float,
) -> None:
    if _by_kernel(weight, square, values, left) and _whole(weight, square):
        left = _rows_together(left)
        _compiled["rmsprop_rows"](
            len(rows),
            rows.data_ptr(),
            crow.data_ptr(),
            col.data_ptr(),
            order.data_ptr(),
            values.data_ptr(),
            left.data_ptr(),
            left.shape[1],
            left.stride(0),
            weight.data_ptr(),
            square.data_ptr(),
            latest.data_ptr(),
            step,
            alpha,
            rate,
            epsilon,
            penalty,
            torch.get_num_threads(),
        )
        return
    gradient = _product(crow, col, order, values, left)
    some, moments, since = weight[rows], square[rows], latest[rows]
    _rmsprop(some, moments, since, gradient, step, alpha, rate, epsilon, penalty)
    weight[rows], square[rows], latest[rows] = some, moments, since


def _adam(
    weight: Tensor,
    mean: Tensor,
    square: Tensor,
    gradient: Tensor,
    step: int,
    beta1: float,
    beta2: float,
    rate: float,
    epsilon: float,
    penalty: float,
) -> None:
    rate, correction = rate / (1 - beta1**step), (1 - beta2**step) ** -0.5
    gradient = gradient.contiguous()
    if _by_kernel(weight, mean, square, gradient) and _whole(weight, mean, square):
        pointers = (tensor.data_ptr() for tensor in (gradient, weight, mean, square))
        numbers = (beta1, beta2, rate, correction, epsilon, penalty)
        _compiled["adam"](weight.numel(), *pointers, *numbers, torch.get_num_threads())
        return
    slope = gradient + penalty * weight
    mean.lerp_(slope, 1 - beta1)
    square.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
    weight.addcdiv_(mean, (square.sqrt() * correction).add_(epsilon), value=-rate)


def _best(
    scores: Tensor,
    first_item: int,
    seen_crow: Tensor | None,
    seen_col: Tensor | None,
    allowed: Tensor | None,
    best: Tensor,
    items: Tensor,
) -> None:
    n_rows, n = scores.shape
    k = best.shape[1]
    if _by_kernel(scores, best) and scores.stride(1) == 1:
        _compiled["best"](
            n_rows,
            n,
            scores.data_ptr(),
            scores.stride(0),
            k,
            first_item,
            _pointer(seen_crow),
            _pointer(seen_col),
            _pointer(allowed),
            best.data_ptr(),
            items.data_ptr(),
            torch.get_num_threads(),
        )
        return
    scores = torch.where(scores.isnan(), -torch.inf, scores)
    if allowed is not None:
        scores[:, ~allowed[first_item : first_item + n]] = -torch.inf
    if seen_crow is not None and seen_col is not None:
        inside = (seen_col >= first_item) & (seen_col < first_item + n)
        scores[rows_of(seen_crow, len(seen_col))[inside], seen_col[inside].long() - first_item] = -torch.inf
    top = torch.topk(scores, min(k, n), dim=1)
    merged = torch.cat([best, top.values], 1)
    numbers = torch.cat([items, torch.where(top.values == -torch.inf, -1, top.indices + first_item)], 1)
    kept = torch.topk(merged, k, dim=1)
    items.copy_(numbers.gather(1, kept.indices))
    best.copy_(kept.values)


_RESIDUAL = "Tensor crow, Tensor col, Tensor values, Tensor? weights, Tensor? mean, Tensor? row_effect, "
_RESIDUAL += "Tensor? col_effect"
_OPERATORS: dict[str, Callable[..., Any]] = {
    "product(Tensor crow, Tensor col, Tensor? order, Tensor values, Tensor table) -> Tensor": _product,
    "product_pair(Tensor crow, Tensor col, Tensor? order, Tensor values, Tensor weights, Tensor table, Tensor other)"
    " -> Tensor": _product_pair,
    "product_both(Tensor crow, Tensor col, Tensor? order, Tensor values, Tensor weights, Tensor table)"
    " -> (Tensor, Tensor)": _product_both,
    "sample(Tensor crow, Tensor col, Tensor left, Tensor right) -> Tensor": _sample,
    "ridge(Tensor crow, Tensor col, Tensor values, Tensor table, float strength) -> Tensor": _ridge,
    "regressions(Tensor crow, Tensor col, Tensor values, Tensor table, float strength, bool intercept)"
    " -> (Tensor, Tensor)": _regressions,
    "draw_rows(Tensor crow, Tensor col, Tensor values, Tensor table, Tensor precision, "
    "Tensor mean, Tensor noise, Tensor(a!) vectors) -> (Tensor, Tensor)": _draw_rows,
    "draw_table(Tensor crow, Tensor rows, Tensor weights, Tensor grams, Tensor sums, Tensor precision, Tensor mean, "
    "Tensor noise, Tensor(a!) table, Tensor(b!) moments) -> ()": _draw_table,
    "probit_rows(Tensor crow, Tensor col, Tensor level, Tensor table, Tensor noise, Tensor low, Tensor per_step, "
    "Tensor precision, Tensor spread, Tensor missing, Tensor means, int steps) -> Tensor": _probit_rows,
    "interpolate_(Tensor(a!) out, Tensor x, float low, float per_step, Tensor values) -> ()": _interpolate,
    "mean_levels(Tensor codes, Tensor items, Tensor low, Tensor per_step, Tensor expected) -> Tensor": _mean_levels,
    "transpose(Tensor crow, Tensor col, int n_cols, bool touched_only) -> (Tensor, Tensor, Tensor, Tensor)": _transpose,
    "hidden_entries(Tensor crow, Tensor col, Tensor visible) -> (Tensor, Tensor, Tensor)": _hidden_entries,
    f"residuals({_RESIDUAL}) -> Tensor": _residuals,
    f"sum_rows({_RESIDUAL}) -> Tensor": _sum_rows,
    f"sum_columns({_RESIDUAL.replace('col,', 'col, int n_cols,')}) -> Tensor": _sum_columns,
    "visible(Tensor keys, int key, float share) -> Tensor": _visible,
    "dropout(Tensor x, int key, float rate) -> Tensor": _dropout,
    "normal(Tensor like, int key) -> Tensor": _normal,
    "latent(Tensor mean, Tensor log_variance, Tensor noise) -> Tensor": _latent,
    "kl(Tensor mean, Tensor log_variance) -> Tensor": _kl,
    "kl_gradient(Tensor mean, Tensor log_variance, Tensor weight) -> (Tensor, Tensor)": _kl_gradient,
    "rmsprop_(Tensor(a!) weight, Tensor(b!) square, Tensor(c!)? latest, Tensor gradient, int step, float alpha, "
    "float rate, float epsilon, float penalty) -> ()": _rmsprop,
    "rmsprop_rows_(Tensor(a!) weight, Tensor(b!) square, Tensor(c!) latest, Tensor rows, Tensor crow, Tensor col, "
    "Tensor order, Tensor values, Tensor left, int step, float alpha, float rate, float epsilon, float penalty) -> ()"
    "": _rmsprop_rows,
    "adam_(Tensor(a!) weight, Tensor(b!) mean, Tensor(c!) square, Tensor gradient, int step, float beta1, "
    "float beta2, float rate, float epsilon, float penalty) -> ()": _adam,
    "others(Tensor x) -> Tensor": _others,
    "best_(Tensor(a!) scores, int first_item, Tensor? seen_crow, Tensor? seen_col, Tensor? allowed, Tensor(b!) best, "
    "Tensor(c!) items) -> ()": _best,
}
_library = torch.library.Library("hyvae", "DEF")
#: what each operator calls
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
for _schema, _function in _OPERATORS.items():
    _name = _schema.partition("(")[0]
    _library.define(_schema)
    _library.impl(_name, _function, "CompositeExplicitAutograd")
    FUNCTIONS[getattr(torch.ops.hyvae, _name).default] = _function

product = torch.ops.hyvae.product.default
product_pair = torch.ops.hyvae.product_pair.default
product_both = torch.ops.hyvae.product_both.default
sample = torch.ops.hyvae.sample.default
ridge = torch.ops.hyvae.ridge.default
regressions = torch.ops.hyvae.regressions.default
draw_rows = torch.ops.hyvae.draw_rows.default
draw_table = torch.ops.hyvae.draw_table.default
probit_rows = torch.ops.hyvae.probit_rows.default
interpolate_ = torch.ops.hyvae.interpolate_.default
mean_levels = torch.ops.hyvae.mean_levels.default
transpose = torch.ops.hyvae.transpose.default
hidden_entries = torch.ops.hyvae.hidden_entries.default
residuals = torch.ops.hyvae.residuals.default
sum_rows = torch.ops.hyvae.sum_rows.default
sum_columns = torch.ops.hyvae.sum_columns.default
visible = torch.ops.hyvae.visible.default
dropout = torch.ops.hyvae.dropout.default
normal = torch.ops.hyvae.normal.default
latent = torch.ops.hyvae.latent.default
kl = torch.ops.hyvae.kl.default
kl_gradient = torch.ops.hyvae.kl_gradient.default
rmsprop_ = torch.ops.hyvae.rmsprop_.default
rmsprop_rows_ = torch.ops.hyvae.rmsprop_rows_.default
adam_ = torch.ops.hyvae.adam_.default
others = torch.ops.hyvae.others.default
best_ = torch.ops.hyvae.best_.default
