"""The exact correction of an encoded user: a ridge regression of what the encoder missed on the item codes."""

from __future__ import annotations

from torch import Tensor

from hyvae.nn import kernels
from hyvae.nn.sparse import SparsePattern


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
    return kernels.ridge(pattern.crow, pattern.col, residuals, item_codes, strength)
