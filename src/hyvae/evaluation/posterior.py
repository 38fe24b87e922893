"""How much each unit of a variational model's code tells about a user."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hyvae.nn.latent import kl_to_standard_normal
from hyvae.recommender import Recommender
from hyvae.scoring import rating_block, user_blocks

# a unit below this many nats is as good as the prior: it tells nothing about anyone
ACTIVE_NATS = 0.01


def kl_per_unit(recommender: Recommender) -> NDArray[np.float64] | None:
    """KL(q(z|x) ‖ N(0, I)) of each latent unit, in nats, averaged over the training users; shape (latent,).

    Returns None for a model without a posterior, and for a run that keeps no ratings to encode.
    """
    history = recommender.history
    known = np.flatnonzero(history.user_counts)
    total: NDArray[np.float64] | None = None
    for rows in user_blocks(len(known)):
        posterior = recommender.model.posterior(rating_block(history, known[rows], recommender.device))
        if posterior is None:
            return None
        kl = kl_to_standard_normal(*posterior).sum(0).double().cpu().numpy()
        total = kl if total is None else total + kl
    return None if total is None else total / len(known)
