"""MacridVAE in plain dense numpy, from the equations of Ma et al. (2019); ratings and interactions alike.

R ratings and M where they are, (n_users, n_items); K factors of the inputs, 0 where one is dropped.
"""

import numpy as np
from dense_rows import inputs, l2, layer, reconstruction, variance


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(x):
    odds = np.exp(x - x.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def concepts(P, config, gumbel=0.0):
    """h_i, and c_ik as plain softmax or, with Gumbel noise, as a relaxed one-hot vector at temperature 1."""
    h, m = unit(P["item_vectors"]), unit(P["prototypes"])
    return h, softmax(h @ m.T / config.temperature + gumbel)


def encoder(P, config, X, M, K, c_k):
    """μ_k and log σ_k²/σ₀² from the row x · c_k, divided by its length before any of it is dropped."""
    if config.likelihood == "gaussian":
        length = np.sqrt(1 + (M * c_k**2).sum(1, keepdims=True))
    else:
        length = np.maximum(np.linalg.norm(X * c_k, axis=1, keepdims=True), 1e-6)
    a = (X * c_k / length * K) @ P["inputs.table"]
    if "inputs.presence_table" in P:
        a = a + (M * c_k / length * K) @ P["inputs.presence_table"]
    h = np.tanh(a + P["inputs.bias"])
    return unit(layer(h, P, "to_mean")), -layer(h, P, "to_log_precision")


def outputs(P, config, R, M, K, gumbel, noise):
    """Outputs of all pairs; `noise` (n_users, concepts, latent)."""
    X, M, B = inputs(R, M, K, config)
    h, c = concepts(P, config, gumbel)
    total, divergence = 0.0, 0.0
    for k in range(config.concepts):
        mu, log_ratio = encoder(P, config, X, M, K, c[:, k])
        sigma = config.deviation * np.exp(0.5 * log_ratio)
        z = unit(mu + sigma * noise[:, k])
        if config.likelihood == "gaussian":
            total = total + c[:, k] * (z @ h.T)
        else:
            total = total + c[:, k] * np.exp(z @ h.T / config.temperature)
        divergence = divergence + 0.5 * (np.exp(log_ratio) - log_ratio - 1).sum(1)
    Y = P["amplitude"] * total + P["offset"] if config.likelihood == "gaussian" else np.log(total)
    return Y, divergence, X, M, B


def loss(P, config, R, M, K, gumbel, noise, progress):
    Y, divergence, X, seen, _ = outputs(P, config, R, M, K, gumbel, noise)
    s2 = variance(R, M, config) if config.likelihood == "gaussian" else None
    beta = config.beta * min(1.0, progress / config.kl_warmup)
    parts = {"rec": reconstruction(Y, X, seen, K, s2, config), "kl": beta * divergence.mean()}
    return parts | ({"l2": l2(P, config)} if config.l2 else {})
