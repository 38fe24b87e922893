"""The search spaces of RecBole's models and of ours, as data, and the trials drawn from them.

Trial 0 is the system's own default configuration; the others are drawn at random without replacement. The ranges are
those of the papers and of RecBole's published searches, cut to what trains on one thread within `CAPS` seconds:
MovieLens-1M has 6040 users, so a batch of 2048 is three steps an epoch. KL weights reach their cap within training,
which they don't with RecBole's default of 200000 steps. Ours are such ranges under our names, with as many epochs as
take about those seconds, because our plans end by epochs and not by the clock; a learning rate can then end with them.

    python benchmarks/ranking_floor/spaces.py [MODEL ...]       # what will be tried
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from trials import draw

TRIALS, SEED = 10, 0

# seconds of training and validating a trial, and epochs between two validations
CAPS = {"MultiVAE": 50, "MultiDAE": 50, "CDAE": 55, "RecVAE": 110, "MacridVAE": 110}
EVAL_STEP = {"MultiVAE": 4, "MultiDAE": 4, "CDAE": 4, "RecVAE": 2, "MacridVAE": 2}
STOPPING_STEP = 3
EPOCHS = 300

SPACES: dict[str, dict[str, list[Any]]] = {
    "MultiVAE": {
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "mlp_hidden_size": [[200], [400], [600]],
        # means and log-variances together: a z of 64, 100, 200
        "latent_dimension": [128, 200, 400],
        "dropout_prob": [0.3, 0.5, 0.7],
        "anneal_cap": [0.05, 0.1, 0.2, 0.5],
        "total_anneal_steps": [100, 300, 1000],
        "train_batch_size": [256, 512, 1024],
    },
    "MultiDAE": {
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "mlp_hidden_size": [[200], [400], [600]],
        "latent_dimension": [64, 128, 200],
        "dropout_prob": [0.3, 0.5, 0.7, 0.8],
        "train_batch_size": [256, 512, 1024],
    },
    "CDAE": {
        "learning_rate": [1e-3, 2e-3, 5e-3],
        "hid_activation": ["sigmoid", "relu", "tanh"],
        "corruption_ratio": [0.3, 0.5, 0.7, 0.8],
        "embedding_size": [64, 128, 200, 400],
        "reg_weight_2": [0.0, 0.01, 0.1],
        "train_batch_size": [128, 256, 512],
    },
    "RecVAE": {
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "hidden_dimension": [200, 400, 600],
        "latent_dimension": [64, 128, 200],
        "dropout_prob": [0.3, 0.5, 0.7],
        "gamma": [0.0025, 0.0035, 0.005, 0.01],
        "train_batch_size": [128, 256, 512],
    },
    "MacridVAE": {
        "learning_rate": [1e-3, 2e-3, 5e-3],
        "encoder_hidden_size": [[200], [400], [600]],
        "embedding_size": [64, 128, 200],
        "kfac": [2, 3, 5, 7],
        "tau": [0.05, 0.1, 0.2],
        "dropout_prob": [0.3, 0.5, 0.7],
        "anneal_cap": [0.05, 0.2, 0.5],
        "total_anneal_steps": [100, 300, 1000],
        "train_batch_size": [128, 256, 512],
    },
}

OURS: dict[str, dict[str, list[Any]]] = {
    "mult_vae": {
        "schedule": ["one_cycle"],
        "learning_rate": [2e-3, 4e-3],
        "hidden": [(200,), (400,)],
        "latent": [64, 100, 200],
        "input_dropout": [0.5, 0.7],
        "beta": [0.1, 0.2, 0.3, 0.5],
        "kl_warmup": [0.3, 0.855],
        "batch_users": [256, 512],
    },
    "mult_dae": {
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "hidden": [(), (200,), (400,), (600,)],
        "latent": [64, 128, 200],
        "input_dropout": [0.3, 0.5, 0.7, 0.8],
        "batch_users": [256, 512, 1024],
    },
    "cdae": {
        "optimiser": ["adam"],
        "learning_rate": [1e-3, 2e-3, 5e-3],
        "activation": ["sigmoid", "relu", "tanh"],
        "input_dropout": [0.3, 0.5, 0.7, 0.8],
        "width": [64, 128, 200, 400],
        "tied": [False],
        "negatives": [None],
        "l2": [2e-5, 2e-4, 1e-3],
        "batch_users": [128, 256, 512],
    },
    "rec_vae": {
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "hidden": [200, 400, 600],
        "latent": [64, 128, 200],
        "input_dropout": [0.3, 0.5, 0.7],
        "gamma": [0.0025, 0.0035, 0.005, 0.01],
        "batch_users": [128, 256, 512],
    },
    "macrid_vae": {
        "schedule": ["one_cycle"],
        "learning_rate": [1e-3, 2e-3, 3e-3],
        "latent": [128, 200],
        "concepts": [3, 5],
        "temperature": [0.1],
        "input_dropout": [0.5, 0.6, 0.7],
        "beta": [0.2, 0.5],
        "kl_warmup": [0.05, 0.2],
        "batch_users": [256, 512],
    },
}
# how long ours train: about the seconds of `CAPS`
LENGTH = {
    "mult_vae": {"epochs": 50, "patience": 8},
    "mult_dae": {"epochs": 50, "patience": 8},
    "cdae": {"epochs": 50, "patience": 8},
    "rec_vae": {"epochs": 25, "patience": 5},
    "macrid_vae": {"epochs": 50, "patience": 8},
}
# RecBole's name of each
THEIRS = {
    "mult_vae": "MultiVAE",
    "mult_dae": "MultiDAE",
    "cdae": "CDAE",
    "rec_vae": "RecVAE",
    "macrid_vae": "MacridVAE",
}


def trials(model: str) -> list[dict[str, Any]]:
    """Settings of each trial; {} is the default."""
    return draw({**SPACES, **OURS}[model], TRIALS, SEED)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or (*SPACES, *OURS):
        for number, settings in enumerate(trials(wanted)):
            print(wanted, number, json.dumps(settings))
