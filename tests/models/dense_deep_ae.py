"""DeepAE in plain dense numpy, from Kuchaiev and Ginsburg's equations; see `dense_rows` for R, M and K.

D factors of the code's units, 0 where one is dropped.
"""

import dense_rows
import numpy as np


def selu(x):
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def network(a, P, config, D):
    """Outputs for all items, from the first layer's sums."""
    h, n = selu(a), len(config.hidden)
    for k in range(n):
        h = selu(dense_rows.layer(h, P, f"encoder.{k}"))
    h = h * D
    for k in range(n):
        W = P[f"encoder.{n - 1 - k}.weight"].T if config.tied else P[f"decoder.{k}.weight"]
        h = selu(h @ W.T + P[f"decoder.{k}.bias"])
    return h @ P["inputs.table" if config.tied else "head.rows"].T + P["head.bias"]


def outputs(P, config, R, M, K, D=1.0):
    """Y, the inputs and what centring took."""
    X, M, B = dense_rows.inputs(R, M, K, config)
    a = dense_rows.first_layer(X, M, K, P, config, 1 if config.row_scaling else None)
    return network(a, P, config, D), X, B


def loss(P, config, R, M, K, D):
    """Equation 1: Σ m (r − y)² / Σ m."""
    Y, X, _ = outputs(P, config, R, M, K, D)
    if config.learn_from == "dropped":
        return ((X - Y) ** 2)[M & (K == 0)].sum() / (config.input_dropout * M.sum())
    return ((X - Y) ** 2)[M].mean()


def refed(P, config, Y, D):
    """The mean of (y − f(y))² over users and items, and f(y): each item has an input."""
    everywhere = np.ones_like(Y, dtype=bool)
    a = dense_rows.first_layer(Y, everywhere, 1.0, P, config, 1 if config.row_scaling else None)
    again = network(a, P, config, D)
    return ((Y - again) ** 2).mean(), again
