"""The paper's output: each branch decodes to all items, and a dense layer fuses the two (eq. 9 and Fig. 6)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from hyvae.nn.dense import full_linear
from hyvae.nn.sparse import SparsePattern, at_columns, sampled_product


class DenseFusion(nn.Module):
    """``[V_V ; V_D]`` (2·I) through one fully connected layer to x̂ (I): the one place where I × I may exist.

    With linear branch outputs the whole is linear, so that `fold` gives the same function with I × width weights.
    With one branch switched off there is nothing to fuse, and x̂ is the other branch's output.

    Parameters
    ----------
    widths : (int, int)
        Of the variational and the deterministic branch's decoder layer; 0 where the branch is off.
    n_items : int
    relu : bool
        ReLU on V_V and V_D: then the layer does not fold.
    """

    def __init__(self, widths: tuple[int, int], n_items: int, relu: bool = False) -> None:
        super().__init__()
        self.widths, self.relu = widths, relu
        self.outputs = nn.ModuleList(full_linear(width, n_items) for width in widths if width)
        self.fuse = full_linear(2 * n_items, n_items) if all(widths) else None

    def _branches(self, code: Tensor) -> list[Tensor]:
        """V_V and V_D, each (n, n_items), of those that are on."""
        inputs = code.split([width for width in self.widths if width], 1)
        outputs = [layer(part) for layer, part in zip(self.outputs, inputs, strict=True)]
        return [torch.relu(output) for output in outputs] if self.relu else outputs

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Both branches' code (n, sum of widths) to x̂ and the last branch's own output, each (n, n_items)."""
        outputs = self._branches(code)
        return outputs[0] if self.fuse is None else self.fuse(torch.cat(outputs, 1)), outputs[-1]

    def at(self, code: Tensor, pattern: SparsePattern) -> tuple[Tensor, Tensor]:
        """The same at the positions of `pattern`, each (nnz,): of the I × 2·I weights only the rows that are rated."""
        outputs = self._branches(code)
        last = outputs[-1][pattern.row, pattern.col]
        if self.fuse is None:
            return last, last
        fused = sampled_product(torch.cat(outputs, 1), self.fuse.weight, pattern)
        return fused + at_columns(self.fuse.bias, pattern), last

    @torch.no_grad()
    def fold(self) -> tuple[Tensor, Tensor]:
        """Item rows (n_items, sum of widths) and biases (n_items,) with ``forward(c)[0] == c @ rows.T + biases``."""
        if self.relu:
            raise ValueError("a ReLU before the fusion cannot be folded")
        weights = [cast(nn.Linear, layer).weight for layer in self.outputs]
        biases = [cast(nn.Linear, layer).bias for layer in self.outputs]
        if self.fuse is None:
            return weights[0].clone(), biases[0].clone()
        halves = self.fuse.weight.chunk(2, 1)
        rows = torch.cat([half @ weight for half, weight in zip(halves, weights, strict=True)], 1)
        bias = self.fuse.bias + sum(half @ bias for half, bias in zip(halves, biases, strict=True))
        return rows, bias
