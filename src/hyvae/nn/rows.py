"""The two ends of an autoencoder of users' rows: sparse ratings in, a row of weights an item out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hyvae.nn.randomness import generator
from hyvae.nn.sparse import SparsePattern, paired_product, sparse_product


class RowLayer(nn.Module):
    """Linear layer over all items whose input is sparse.

    Parameters
    ----------
    n_items, width : int
    presence : bool
        Whether a second channel tells where there is a rating.
    scaled : float or None
        Inputs of a row with n entries are divided by √(n + scaled): 0 for rows of ones is x/‖x‖. None: not divided.
    """

    def __init__(self, n_items: int, width: int, presence: bool = False, scaled: float | None = None) -> None:
        super().__init__()
        self.scaled = scaled
        self.table = nn.Parameter(torch.empty(n_items, width))
        self.presence_table = nn.Parameter(torch.empty(n_items, width)) if presence else None
        self.bias = nn.Parameter(torch.empty(width))
        for table in (self.table, self.presence_table):
            if table is not None:
                nn.init.xavier_normal_(table, generator=generator())
        nn.init.normal_(self.bias, std=0.001, generator=generator())

    def forward(self, pattern: SparsePattern, values: Tensor, kept: Tensor | None = None) -> Tensor:
        """Pre-activations, shape (n_rows, width).

        Parameters
        ----------
        values : (nnz,) tensor
        kept : (nnz,) tensor, optional
            Factor of each entry: 0 for one that is dropped.
        """
        inputs = values if kept is None else values * kept
        if self.presence_table is None:
            total = sparse_product(inputs, self.table, pattern)
        else:
            seen = torch.ones_like(values) if kept is None else kept
            total = paired_product(inputs, self.table, seen, self.presence_table, pattern)
        if self.scaled is not None:
            # a row without entries is zero, whatever it is multiplied with
            count = pattern.crow.diff().to(values.dtype)
            total = total * (count + self.scaled).clamp_min(1e-12).rsqrt().unsqueeze(1)
        return total + self.bias


class ItemHead(nn.Module):
    """Linear output layer: a row of weights and a bias an item, which are asked for where they are needed."""

    def __init__(self, n_items: int, width: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.empty(n_items, width))
        self.bias = nn.Parameter(torch.zeros(n_items))
        nn.init.xavier_normal_(self.rows, generator=generator())
