"""RecVAE in plain dense numpy, from the equations of Shenbin et al. (2020); ratings and interactions alike.

R ratings and M where they are, (n_users, n_items); K factors of the inputs, 0 where one is dropped.
"""

import numpy as np
from dense_rows import divisor, first_layer, inputs, l2, layer, reconstruction, variance


def swish(x):
    return x / (1 + np.exp(-x))


def layer_norm(x, P, name):
    centred = x - x.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 0.1) * P[f"{name}.weight"] + P[f"{name}.bias"]


def encoder(P, prefix, config, X, M, K):
    """μ and log σ²: five layers, each of which is given all outputs before it."""
    P = {name.removeprefix(prefix): W for name, W in P.items() if name.startswith(prefix)}
    outputs = [layer_norm(swish(first_layer(X, M, K, P, config, divisor(config))), P, "norms.0")]
    for n in range(config.layers - 1):
        a = layer(outputs[-1], P, f"layers.{n}") + sum(outputs)
        outputs.append(layer_norm(swish(a), P, f"norms.{n + 1}"))
    return layer(outputs[-1], P, "to_mean"), layer(outputs[-1], P, "to_log_variance")


def density(z, mu, log_variance):
    return np.exp(-((z - mu) ** 2) / (2 * np.exp(log_variance))) / np.sqrt(2 * np.pi * np.exp(log_variance))


def divergence(z, mu, log_variance, prior, earlier):
    """log q(z|x) − log p(z|x), summed over units; one number a user."""
    p = prior[0] * density(z, 0, 0) + prior[1] * density(z, *earlier) + prior[2] * density(z, 0, 10)
    return (np.log(density(z, mu, log_variance)) - np.log(p)).sum(1)


def outputs(P, config, R, M, K, noise):
    X, M, B = inputs(R, M, K, config)
    mu, log_variance = encoder(P, "encoder.", config, X, M, K)
    z = mu + np.exp(0.5 * log_variance) * noise
    return z @ P["head.rows"].T + P["head.bias"], z, mu, log_variance, X, M, B


def loss(P, config, R, M, K, noise, has_earlier=True):
    """The parts of −ELBO; without an earlier encoder the prior is N(0, 1)."""
    Y, z, mu, log_variance, X, seen, _ = outputs(P, config, R, M, K, noise)
    whole, seen_whole, _ = inputs(R, M, np.ones_like(R), config)
    earlier = encoder(P, "earlier.", config, whole, seen_whole, np.ones_like(R))
    kl = divergence(z, mu, log_variance, config.prior if has_earlier else (1, 0, 0), earlier)
    weight = config.beta if config.gamma is None else config.gamma * seen.sum(1)
    s2 = variance(R, M, config) if config.likelihood == "gaussian" else None
    parts = {"rec": reconstruction(Y, X, seen, K, s2, config), "kl": (weight * kl).mean()}
    learnt = {name: W for name, W in P.items() if not name.startswith("earlier.")}
    return parts | ({"l2": l2(learnt, config)} if config.l2 else {})
