"""PMF in plain dense numpy: equation 4 of Salakhutdinov and Mnih, with each user's vector solved for.

R ratings and M where they are, (n_users, n_items).
"""

import numpy as np
from dense_rows import item_effects


def effects(R, M, config):
    """μ, b_u (n_users, 1) and b_i."""
    mean, items = R[M].mean(), item_effects(R, M, config)
    users = (M * (R - mean - items)).sum(1, keepdims=True) / (M.sum(1, keepdims=True) + config.bias_shrinkage)
    return mean, users, items


def user_vectors(R, M, Q, baseline, strength):
    """(QᵀQ + λI)⁻¹Qᵀe over the items of each user."""
    solved = np.zeros((len(R), Q.shape[1]))
    for u, rated in enumerate(M):
        q, e = Q[rated], (R - baseline)[u, rated]
        solved[u] = np.linalg.solve(q.T @ q + strength * np.eye(Q.shape[1]), q.T @ e)
    return solved


def outputs(P, config, R, M):
    """Predictions of all pairs, and the users' vectors."""
    mean, users, items = effects(R, M, config)
    baseline = mean + users + items + P["offset"]
    vectors = user_vectors(R, M, P["item_vectors"], baseline, config.strength)
    return baseline + vectors @ P["item_vectors"].T, vectors


def loss(P, config, R, M):
    Y, vectors = outputs(P, config, R, M)
    n_users = M.any(1).sum()
    return {
        "rec": (M * (R - Y) ** 2).sum() / (2 * len(R)),
        "prior": config.strength * (vectors**2).sum() / (2 * len(R)),
        "l2": (config.strength * (P["item_vectors"] ** 2).sum() + config.bias_shrinkage * (P["offset"] ** 2).sum())
        / (2 * n_users),
    }
