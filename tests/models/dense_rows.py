"""Mult-VAE, Mult-DAE and CDAE in plain dense numpy, from their papers' equations; ratings and interactions alike.

R ratings and M where they are, (n_users, n_items); K factors of the inputs, 0 where one is dropped.
"""

import numpy as np
from dense_hyvae import centring


def taken(R, M):
    """X of ranking mode: 1 where someone liked an item (4 stars or 5)."""
    return np.where(M & (R >= 4), 1.0, 0.0)


def baseline(R, M, config, counted=None):
    """What centring takes from each pair: μ + b_u + b_i; `counted`: the ratings that b_u is taken from."""
    B = centring(R, M, M.astype(float), config)
    if config.center != "biases" or counted is None:
        return B
    mean = R[M].mean()
    items = item_effects(R, M, config)
    users = (counted * (R - mean - items)).sum(1) / (counted.sum(1) + config.bias_shrinkage)
    return mean + users[:, None] + items


def item_effects(R, M, config):
    """b_i by alternation with b_u (Koren 2010), two sweeps."""
    mean, n_u, n_i = R[M].mean(), M.sum(1), M.sum(0)
    users = np.zeros(len(R))
    for _ in range(2):
        items = (M * (R - mean - users[:, None])).sum(0) / (n_i + config.bias_shrinkage)
        users = (M * (R - mean - items)).sum(1) / (n_u + config.bias_shrinkage)
    return items


def first_layer(X, M, K, P, config, divided):
    """Pre-activations of the first layer: rows divided by the root of their count (+ 1 where they are ratings)."""
    total = (X * K) @ P["inputs.table"]
    if "inputs.presence_table" in P:
        total = total + (M * K) @ P["inputs.presence_table"]
    if divided is not None:
        total = total / np.sqrt(np.maximum(M.sum(1, keepdims=True) + divided, 1e-12))
    return total + P["inputs.bias"]


def inputs(R, M, K, config):
    """X, where it stands, and what centring took."""
    if config.likelihood != "gaussian":
        X = taken(R, M)
        return X, X > 0, np.zeros_like(R)
    counted = (K > 0) & M if config.learn_from == "dropped" else None
    B = baseline(R, M, config, counted)
    return np.where(M, R - B, 0.0), M, B


def layer(x, P, name):
    return x @ P[f"{name}.weight"].T + P[f"{name}.bias"]


def variance(R, M, config):
    return (R - baseline(R, M, config))[M].var()


def log_softmax(Y):
    return Y - np.log(np.exp(Y - Y.max(1, keepdims=True)).sum(1, keepdims=True)) - Y.max(1, keepdims=True)


def reconstruction(Y, X, M, K, s2, config):
    """−log p(x | outputs Y), summed over a user's items and averaged over users."""
    if config.likelihood == "multinomial":
        return -(X * log_softmax(Y)).sum() / len(X)
    if config.likelihood == "logistic":
        p = 1 / (1 + np.exp(-Y))
        return -(X * np.log(p) + (1 - X) * np.log(1 - p)).sum() / len(X)
    errors = np.where(M, X - Y, 0.0) ** 2 / (2 * s2)
    if config.learn_from == "dropped":
        return errors[K == 0].sum() / (config.input_dropout * len(X))
    return errors.sum() / len(X)


def l2(P, config, weights=None):
    return config.l2 * sum((W**2).sum() * (weights or {}).get(name, 1.0) for name, W in P.items() if W.ndim == 2)


def divisor(config):
    return 1 if config.likelihood == "gaussian" else 0


# -- Mult-VAE -------------------------------------------------------------------------------------------


def mult_vae(P, config, R, M, K, noise):
    """Outputs, μ and log σ²: equations 1, 4 and 5 of Liang et al."""
    X, M, B = inputs(R, M, K, config)
    h = np.tanh(first_layer(X, M, K, P, config, divisor(config)))
    for n in range(len(config.hidden) - 1):
        h = np.tanh(layer(h, P, f"encoder.{n}"))
    mu, log_variance = layer(h, P, "to_mean"), layer(h, P, "to_log_variance")
    z = mu + np.exp(0.5 * log_variance) * noise
    for n in range(len(config.hidden)):
        z = np.tanh(layer(z, P, f"decoder.{n}"))
    return z @ P["head.rows"].T + P["head.bias"], mu, log_variance, X, M, B


def mult_vae_loss(P, config, R, M, K, noise, progress):
    s2 = variance(R, M, config) if config.likelihood == "gaussian" else None
    Y, mu, log_variance, X, M, _ = mult_vae(P, config, R, M, K, noise)
    kl = 0.5 * (np.exp(log_variance) + mu**2 - 1 - log_variance).sum(1).mean()
    beta = config.beta * min(1.0, progress / config.kl_warmup)
    parts = {"rec": reconstruction(Y, X, M, K, s2, config), "kl": beta * kl}
    return parts | ({"l2": l2(P, config)} if config.l2 else {})


# -- Mult-DAE -------------------------------------------------------------------------------------------


def mult_dae(P, config, R, M, K):
    X, M, B = inputs(R, M, K, config)
    h = np.tanh(first_layer(X, M, K, P, config, divisor(config)))
    for n in range(2 * len(config.hidden)):
        h = np.tanh(layer(h, P, f"layers.{n}"))
    return h @ P["head.rows"].T + P["head.bias"], X, M, B


def mult_dae_loss(P, config, R, M, K):
    s2 = variance(R, M, config) if config.likelihood == "gaussian" else None
    Y, X, M, _ = mult_dae(P, config, R, M, K)
    return {"rec": reconstruction(Y, X, M, K, s2, config), "l2": l2(P, config)}


# -- CDAE -----------------------------------------------------------------------------------------------


def cdae(P, config, R, M, K, kept_users=1.0):
    """Equations 8 and 9 of Wu et al.: z = σ(Wᵀx̃ + V_u + b), y = W'z + b'."""
    X, M, B = inputs(R, M, K, config)
    a = first_layer(X, M, K, P, config, divisor(config) if config.row_scaling else None)
    z = 1 / (1 + np.exp(-(a + kept_users * P["user_vectors"])))
    # a tied output layer has no weights of its own
    return z @ P.get("head.rows", P["inputs.table"]).T + P["head.bias"], X, M, B


def cdae_loss(P, config, R, M, K, kept_users=1.0):
    s2 = variance(R, M, config) if config.likelihood == "gaussian" else None
    Y, X, M, _ = cdae(P, config, R, M, K, kept_users)
    rec = reconstruction(Y, X, M, K, s2, config)
    return {"rec": rec, "l2": l2(P, config, {"user_vectors": 1 / len(R)})}


def scores(outputs, B):
    """Answers: outputs where nothing is dropped and no noise is added, and what centring took away."""
    return outputs + B
