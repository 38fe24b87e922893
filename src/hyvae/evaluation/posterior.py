"""Has the posterior collapsed? How much each unit of a variational model's code tells about a user, and who listens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hyvae import metrics
from hyvae.nn.latent import kl_to_standard_normal
from hyvae.nn.randomness import draw_normal, generator, seeded
from hyvae.ratings import Ratings
from hyvae.recommender import Recommender
from hyvae.scoring import rating_block, user_blocks

# a unit below this many nats is as good as the prior: it tells nothing about anyone
TELLING_NATS = 0.01
# variance over users of a unit's mean above which it is active; Burda, Grosse, Salakhutdinov (2016), § 5.2
ACTIVE_VARIANCE = 0.01
# users whose posteriors stand for the aggregated one: a matrix of as many squared is held
MOST_USERS = 4096
SEED = 0


def posteriors(recommender: Recommender) -> tuple[Tensor, Tensor] | None:
    """μ and log σ² of q(z|x) for all training users with ratings, both (n_users, latent) float64.

    Returns None for a model without a posterior, and for a run that keeps no ratings to encode.
    """
    history = recommender.history
    known = np.flatnonzero(history.user_counts)
    parts = []
    for rows in user_blocks(len(known)):
        posterior = recommender.model.posterior(rating_block(history, known[rows], recommender.device))
        if posterior is None:
            return None
        parts.append([part.double().cpu() for part in posterior])
    if not parts:
        return None
    means, log_variances = zip(*parts, strict=True)
    return torch.cat(means), torch.cat(log_variances)


def kl_per_unit(recommender: Recommender) -> NDArray[np.float64] | None:
    """KL(q(z|x) ‖ N(0, I)) of each latent unit, in nats, averaged over the training users; shape (latent,).

    Returns None for a model without a posterior, and for a run that keeps no ratings to encode.
    """
    found = posteriors(recommender)
    return None if found is None else kl_to_standard_normal(*found).mean(0).numpy()


def mutual_information(mean: Tensor, log_variance: Tensor) -> float:
    """I(x; z) = E KL(q(z|x) ‖ q(z)) in nats, q(z) the mean of all users' posteriors; by one sample of z a user.

    Hoffman, M. D., Johnson, M. J. (2016), ELBO surgery. The estimate cannot exceed log n_users, the entropy of who it
    is.

    Parameters
    ----------
    mean, log_variance : (n_users, latent) float64 tensors
    """
    noise = draw_normal(mean)
    z = mean + (0.5 * log_variance).exp() * noise
    own = -0.5 * (noise.square() + log_variance).sum(1)
    precision = (-log_variance).exp()
    # log N(z_u; μ_v, σ_v²) for all pairs, less the constant that `own` lacks as well
    constant = (mean.square() * precision + log_variance).sum(1)
    pairs = -0.5 * (z.square() @ precision.T - 2 * z @ (mean * precision).T + constant)
    return float((own - torch.logsumexp(pairs, 1) + math.log(len(z))).mean())


def diagnose(recommender: Recommender, held_out: Ratings | None = None) -> dict[str, Any] | None:
    """Measure how far the posterior is from the prior, and how much predictions depend on each branch.

    Parameters
    ----------
    held_out : Ratings, optional
        Of training users, not trained on; without it, or in ranking mode, there are no errors.

    Returns
    -------
    dict or None
        None for a model without a posterior, and for a run without ratings. ``users``, ``units``; ``kl``, nats a user,
        and ``kl_per_unit``; ``active_units`` (variance of the unit's mean over users above 0.01);
        ``mutual_information`` in nats, and the ``log_users`` that it cannot exceed; ``rmse`` of the held-out ratings of
        users and items that have training ratings, pooled: ``all``, ``z_permuted`` (each user's z is another user's),
        and with what a branch says replaced by its mean over users, ``without_z``, ``without_d`` and ``without_both``.
        Where draws answer beside a network, the errors are the network's alone.
    """
    found = posteriors(recommender)
    if found is None:
        return None
    mean, log_variance = found
    per_unit = kl_to_standard_normal(mean, log_variance).mean(0)
    with seeded(SEED):
        some = torch.randperm(len(mean), generator=generator())[:MOST_USERS]
        information = mutual_information(mean[some], log_variance[some])
        measured = {
            "users": len(mean),
            "units": mean.shape[1],
            "kl": float(per_unit.sum()),
            "kl_per_unit": per_unit.tolist(),
            "active_units": int((mean.var(0, correction=0) > ACTIVE_VARIANCE).sum()),
            "mutual_information": information,
            "log_users": math.log(len(some)),
        }
        if held_out is not None and recommender.predicts_ratings:
            # others have no code, or no row, of their own, and the bias model answers
            known = recommender.history.user_counts[held_out.user_index] > 0
            held_out = held_out.take(known & (recommender.item_counts[held_out.indices] > 0))
            if len(held_out):
                measured["rmse"] = _errors_without(recommender, held_out)
    return measured


@torch.no_grad()
def _errors_without(recommender: Recommender, held_out: Ratings) -> dict[str, float]:
    model, history = recommender.model, recommender.history
    users = np.flatnonzero(held_out.user_counts)
    low, high = history.scale
    with model.network_alone():
        codes = torch.cat(
            [model.encode(rating_block(history, users[rows], recommender.device)) for rows in user_blocks(len(users))]
        )
        wanted = rating_block(held_out, users, recommender.device)
        ratings = wanted.values.cpu().numpy()

        def error(*changed: tuple[slice, Tensor]) -> float:
            altered = codes.clone()
            for columns, values in changed:
                altered[:, columns] = values
            predicted = model.score_pairs(altered, wanted.pattern).clamp(low, high)
            return metrics.rmse(predicted.cpu().numpy(), ratings)

        parts = model.code_parts
        off = {name: (columns, codes[:, columns].mean(0).expand(len(codes), -1)) for name, columns in parts.items()}
        z = parts["z"]
        # nobody keeps their own: everyone gets that of who comes a random step later in a random order
        order = torch.randperm(len(codes), generator=generator())
        others = torch.empty_like(order)
        others[order] = order.roll(1)
        measured = {"all": error(), "z_permuted": error((z, codes[others][:, z])), "without_z": error(off["z"])}
        if "d" in off:
            measured |= {"without_d": error(off["d"]), "without_both": error(off["z"], off["d"])}
        return measured
