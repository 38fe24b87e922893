"""AutoRec in plain dense numpy, from the equations of Sedhain et al. (2015).

R ratings and M where they are, (n_users, n_items); K factors of the inputs, 0 where one is dropped.
"""

import numpy as np
from dense_rows import baseline

ACTIVATIONS = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "identity": lambda x: x}


def forward(P, config, R, M, K):
    """Outputs for all pairs, the codes, and what centring took; the columns (or rows) of R are encoded."""
    B = baseline(R, M, config)
    X, layers = np.where(M, R - B, 0.0) * K, "by_item"
    if config.rows == "items":
        X, M, layers = X.T, M.T, "by_user"
    total = X @ P[f"{layers}.inputs"]
    if config.row_scaling:
        total = total / np.sqrt(M.sum(1, keepdims=True) + 1)
    codes = ACTIVATIONS[config.activation](total + P[f"{layers}.hidden_bias"])
    # effects stand in for the output biases
    Y = codes @ P[f"{layers}.outputs"].T + P.get(f"{layers}.output_bias", 0.0)
    return Y.T if config.rows == "items" else Y, codes, B


def loss(P, config, R, M, K):
    """Eq. 3 and 4, divided by the number of users; λ by that of users with ratings."""
    Y, _, B = forward(P, config, R, M, K)
    weights = sum((W**2).sum() for W in P.values() if W.ndim == 2)
    return {"rec": (M * (R - B - Y) ** 2).sum() / len(R), "l2": config.l2 * weights / M.any(1).sum()}


def best_outputs(H, r, strength, intercept=True):
    """w and b that minimise ‖r − Hw − b‖² + λ‖w‖², the bias free, or 0."""
    if not intercept:
        return np.linalg.solve(H.T @ H + strength * np.eye(H.shape[1]), H.T @ r), 0.0
    A = np.hstack([H, np.ones((len(H), 1))])
    penalty = strength * np.eye(A.shape[1])
    penalty[-1, -1] = 0.0
    solved = np.linalg.solve(A.T @ A + penalty, A.T @ r)
    return solved[:-1], solved[-1]


def item_scores(P, config, R, M):
    """Answers of I-AutoRec: everybody's outputs are the best for the codes of what they rated."""
    _, codes, B = forward(P, config, R, M, np.ones_like(R))
    Y = np.zeros_like(R)
    for user in np.flatnonzero(M.any(1)):
        w, b = best_outputs(codes[M[user]], (R - B)[user, M[user]], config.l2, config.center != "biases")
        Y[user] = codes @ w + b
    return Y + B
