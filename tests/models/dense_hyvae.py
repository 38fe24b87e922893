"""Hy-VAE as the paper writes it: dense matrices, numpy, float64, one line an equation. What the tests compare with.

Nothing here is shared with `hyvae.models.hyvae` but the names of the weights.
"""

import numpy as np

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def relu(x):
    return np.maximum(x, 0.0)


def selu(x):
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x))


def biases(R, M, W, shrinkage):
    """μ, b_u, b_i of the ratings R at M, those of weight W = 0 unseen; two sweeps."""
    mean = (R * W).sum() / W.sum()
    user, item = np.zeros(len(R)), np.zeros(R.shape[1])
    for _ in range(2):
        item = ((R - mean - user[:, None]) * W).sum(0) / (W.sum(0) + shrinkage)
        user = ((R - mean - item) * W).sum(1) / (W.sum(1) + shrinkage)
    return mean, user, item


def centring(R, M, W, config):
    """What is subtracted from each rating, (n_users, n_items)."""
    if config.center == "none":
        return np.zeros_like(R)
    if config.center == "global":
        return np.full_like(R, R[M].mean())
    mean, user, item = biases(R, M, W, config.bias_shrinkage)
    return mean + user[:, None] + item


def shared_layer(X, W, config, ratings, presence, bias):
    """The pre-coding layer of rows of centred ratings X, seen where W is 1."""
    activate = {"relu": relu, "selu": selu, "tanh": np.tanh}[config.activation]
    X = X * W
    if config.fill == "user_mean":
        row_mean = X.sum(1, keepdims=True) / np.maximum(W.sum(1, keepdims=True), 1)
        X = np.where(W > 0, X, row_mean)
    total = X @ ratings
    if config.presence:
        total = total + W @ presence
    if config.row_scaling:
        total = total / np.sqrt(W.sum(1, keepdims=True) + 1)
    return activate(total + bias)


def paper_forward(P, config, R, M, noise, deep_mask):
    """x̂, V_V, V_D, μ and log σ² of every user for the paper's one-sided model with its dense head.

    Parameters
    ----------
    P : dict of str to array
        Weights by the names of the module.
    R, M : (n_users, n_items) arrays
        Ratings, and where there are some.
    noise : (n_users, latent) array
        ε of eq. 5; zero gives the output at μ.
    deep_mask : (n_users, deep width) array
        What dropout multiplies the deterministic code with.
    """
    W = M.astype(float)
    X = np.where(M, R - centring(R, M, W, config), 0.0)
    h = shared_layer(X, W, config, P["rating_table"], P.get("presence_table"), P["hidden_bias"])
    mu = h @ P["to_mean.weight"].T + P["to_mean.bias"]
    log_variance = h @ P["to_log_variance.weight"].T + P["to_log_variance.bias"]
    z = mu + np.exp(log_variance / 2) * noise  # eq. 5–6, reparametrised
    V_V = relu(z @ P["decode_z.weight"].T + P["decode_z.bias"]) @ P["fusion.outputs.0.weight"].T
    V_V = V_V + P["fusion.outputs.0.bias"]
    d = h
    for layer in range(len(config.deep_layers)):
        d = relu(d @ P[f"deep.{layer}.weight"].T + P[f"deep.{layer}.bias"])
    d = d * deep_mask
    V_D = relu(d @ P["decode_deep.weight"].T + P["decode_deep.bias"]) @ P["fusion.outputs.1.weight"].T
    V_D = V_D + P["fusion.outputs.1.bias"]
    if config.output_activation == "relu":
        V_V, V_D = relu(V_V), relu(V_D)
    x_hat = np.hstack([V_V, V_D]) @ P["fusion.fuse.weight"].T + P["fusion.fuse.bias"]
    return x_hat, V_V, V_D, mu, log_variance


def paper_loss(P, config, R, M, noise, deep_mask, progress=1.0):
    """The parts of eq. 9 and the L2 term."""
    x_hat, _, V_D, mu, log_variance = paper_forward(P, config, R, M, noise, deep_mask)
    n_users, n_ratings = len(R), M.sum()
    X = np.where(M, R - centring(R, M, M.astype(float), config), 0.0)
    total = n_users if config.loss_reduction == "user" else n_ratings
    if config.likelihood == "multinomial":
        log_pi = x_hat - np.log(np.exp(x_hat).sum(1, keepdims=True))  # eq. 2
        rec = -(X * log_pi).sum() / total  # eq. 4
    else:
        rec = ((X - x_hat)[M] ** 2).sum() / total
    kl = 0.5 * (np.exp(log_variance) + mu**2 - 1 - log_variance).sum() / n_users
    warm = 1.0 if config.kl_warmup == 0 else min(1.0, progress / config.kl_warmup)
    deep_weights = [
        *(P[f"deep.{layer}.weight"] for layer in range(len(config.deep_layers))),
        P["decode_deep.weight"],
        P["fusion.outputs.1.weight"],
    ]
    every_weight = [array for name, array in P.items() if array.ndim == 2]
    squares = sum((w**2).sum() for w in (every_weight if config.l2_scope == "all" else deep_weights))
    parts = {"rec": rec, "kl": config.beta * warm * kl, "l2": config.l2 * squares}
    if config.deep_loss == "masked":
        parts["deep"] = ((X - V_D)[M] ** 2).sum() / total
    return parts


def two_sided_loss(P, config, R, M, hidden, noise, z_scale, residual_variance):
    """Parts of the default preset's loss in a step that hides `hidden` (n_users, n_items) of the ratings M."""
    W = (M & ~hidden).astype(float)
    centred = np.where(M, R - centring(R, M, W, config), 0.0)
    h = shared_layer(centred, W, config, P["rating_table"], P["presence_table"], P["hidden_bias"])
    mu = (h @ P["to_mean.weight"].T + P["to_mean.bias"]) / z_scale
    log_variance = h @ P["to_log_variance.weight"].T + P["to_log_variance.bias"]
    z = z_scale * (mu + np.exp(log_variance / 2) * noise)
    d = h @ P["deep.0.weight"].T + P["deep.0.bias"]
    code = np.hstack([z, d]) + P["user_vectors"]
    g = shared_layer(centred.T, W.T, config, P["user_rating_table"], P["user_presence_table"], P["item_hidden_bias"])
    rows = P["item_free"] + g @ P["to_item_row.weight"].T + P["to_item_row.bias"]
    total = M.sum() * config.hide
    width = z.shape[1]
    rec = ((centred - code @ rows.T)[hidden] ** 2).sum() / total
    alone = ((centred - code[:, :width] @ rows[:, :width].T)[hidden] ** 2).sum() / total
    kl = 0.5 * (np.exp(log_variance) + mu**2 - 1 - log_variance).sum()
    squares = sum((array**2).sum() for array in P.values() if array.ndim == 2)
    return {
        "rec": (1 - config.vae_loss) * rec,
        "vae": config.vae_loss * alone,
        "kl": config.beta * kl * 2 * residual_variance / M.sum(),
        "l2": config.l2 * squares / M.sum(),
    }
