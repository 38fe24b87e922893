"""What a piece of work costs, counted and not timed: operations of each kind, FLOPs, bytes of the tensors it makes."""

from collections import Counter

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from hyvae.nn import kernels

aten = torch.ops.aten


def _dense(a, b):
    return 2 * a.shape[0] * a.shape[1] * b.shape[1]


#: multiplications and additions of the operations that do nearly all of them
FLOPS = {
    aten.mm.default: _dense,
    aten.addmm.default: lambda bias, a, b: _dense(a, b),
    aten.bmm.default: lambda a, b: a.shape[0] * _dense(a[0], b[0]),
    kernels.product: lambda crow, col, order, values, table: 2 * len(col) * table.shape[1],
    kernels.product_pair: lambda crow, col, order, values, seen, table, other: 4 * len(col) * table.shape[1],
    kernels.product_both: lambda crow, col, order, values, seen, table: 4 * len(col) * table.shape[1],
    kernels.sample: lambda crow, col, left, right: 2 * len(col) * left.shape[1],
    kernels.ridge: lambda crow, col, values, table, strength: len(col) * table.shape[1] ** 2,
    kernels.rmsprop_rows_: lambda weight, square, latest, rows, crow, col, order, values, left, *rest: (
        2 * len(col) * left.shape[1]
    ),
}


class Cost(TorchDispatchMode):
    """Counts all that torch is asked to do inside, backward passes and hyvae's own kernels included.

    Attributes
    ----------
    calls : Counter of str
    flops : int
        Of the operations in `FLOPS`.
    allocated : int
        Bytes of all tensors made, whether or not they live on: views and what is written in place are not among them.
    largest : int
        Bytes of the largest of them.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.flops, self.allocated, self.largest = Counter(), 0, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {storage for tensor in tree_flatten((args, kwargs))[0] for storage in _storages(tensor)}
        result = func(*args, **(kwargs or {}))
        self.calls[func.name().removesuffix(".default")] += 1
        if func in FLOPS:
            self.flops += FLOPS[func](*[arg for arg in args if not isinstance(arg, bool)][:14])
        for tensor in tree_flatten(result)[0]:
            for storage, size in _storages(tensor).items():
                if storage not in given:
                    self.allocated += size
                    self.largest = max(self.largest, size)
        return result

    def ours(self):
        """Calls of hyvae's kernels."""
        return {name.removeprefix("hyvae::"): n for name, n in self.calls.items() if name.startswith("hyvae::")}


def _storages(tensor):
    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided:
        return {}
    storage = tensor.untyped_storage()
    return {storage.data_ptr(): storage.nbytes()} if storage.nbytes() else {}
