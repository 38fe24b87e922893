"""The exact correction of an encoded user: a ridge regression of what the encoder missed on the item codes."""

from __future__ import annotations

import torch
from torch import Tensor

from hyvae.nn.sparse import SparsePattern, sparse_product


def solve_refinement(residuals: Tensor, item_codes: Tensor, pattern: SparsePattern, strength: float) -> Tensor:
    """δ_u = argmin_δ Σ_i (e_ui − ⟨δ, q_i⟩)² + λ‖δ‖² for each row, in closed form.

    With a linear Gaussian decoder this is the posterior mean of the user's code around the encoder's (their prior).

    Parameters
    ----------
    residuals : (nnz,) tensor
        e_ui, of predictions that did not see the rating they predict.
    item_codes : (n_items, width) tensor
        q_i.
    strength : float
        λ, in units of residual variance.

    Returns
    -------
    (n_rows, width) tensor
        Zero for a row without entries.
    """
    n_rows, width = pattern.shape[0], item_codes.shape[1]
    gram = item_codes.new_empty(n_rows, width, width)
    bounds = pattern.crow.tolist()
    # one GEMM a user: rows differ in length, and padding them would cost more than the calls
    for row in range(n_rows):
        codes = item_codes[pattern.col[bounds[row] : bounds[row + 1]]]
        torch.mm(codes.T, codes, out=gram[row])
    gram.diagonal(dim1=1, dim2=2).add_(strength)
    moment = sparse_product(residuals, item_codes, pattern)
    return torch.cholesky_solve(moment.unsqueeze(2), torch.linalg.cholesky(gram)).squeeze(2)
