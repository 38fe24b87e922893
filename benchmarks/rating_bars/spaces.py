"""Where the rating models are searched, as data. What a space does not name stays as the default preset has it.

python benchmarks/rating_bars/spaces.py [MODEL ...]       # what will be tried
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))

from trials import draw

TRIALS, SEED = 20, 0

# what all autoencoders of users' rows have in common; one cycle needs a tenth of the epochs of a constant rate
_ROWS: dict[str, list[Any]] = {
    "epochs": [30],
    "schedule": ["one_cycle"],
    "patience": [None],
    "presence": [True, False],
    "input_dropout": [0.1, 0.2, 0.3, 0.5],
    "learn_from": ["all", "dropped"],
    "l2": [2e-4, 1e-3, 2e-3, 4e-3, 8e-3],
}

SPACES: dict[str, dict[str, list[Any]]] = {
    "mult_vae": {
        **_ROWS,
        "hidden": [(200,), (400,), (600,)],
        "latent": [100, 200],
        "beta": [0.02, 0.1, 0.2],
        "kl_warmup": [0.2, 0.5],
        "learning_rate": [1e-3, 2e-3, 4e-3],
    },
    "mult_dae": {
        **_ROWS,
        "latent": [100, 200, 400],
        "learning_rate": [1e-3, 2e-3, 4e-3],
    },
    "cdae": {
        **_ROWS,
        "epochs": [40, 60, 80],
        "optimiser": ["adam"],
        "batch_users": [500],
        "width": [300, 500, 700],
        "activation": ["identity", "tanh"],
        "tied": [True],
        "presence": [True],
        "learn_from": ["dropped"],
        "input_dropout": [0.6, 0.7],
        "l2": [3e-3, 3.5e-3, 4e-3, 5e-3],
        "user_dropout": [0.1, 0.3, 0.5],
        "learning_rate": [5e-4, 1e-3, 1.5e-3],
    },
    "macrid_vae": {
        **_ROWS,
        "concepts": [1, 2, 4],
        "latent": [50, 100, 200],
        "beta": [0.02, 0.1, 0.2],
        "learning_rate": [1e-3, 3e-3],
    },
    "rec_vae": {
        **_ROWS,
        # four passes each
        "epochs": [10],
        "hidden": [200, 400],
        "layers": [1, 2, 3],
        "gamma": [0.0005, 0.0015, 0.005],
        "learning_rate": [5e-4, 1e-3, 2e-3],
    },
    "deep_ae": {
        **_ROWS,
        "epochs": [40, 60, 80],
        "optimiser": ["adam"],
        "batch_users": [500],
        "row_scaling": [True],
        "hidden": [(512,)],
        "latent": [256, 512],
        "code_dropout": [0.1, 0.3, 0.5],
        "input_dropout": [0.4, 0.5, 0.6, 0.7],
        "learn_from": ["dropped"],
        # what is fed again claims that every item is present
        "presence": [True],
        "refeeds": [0],
        "tied": [False],
        # its loss is a mean over ratings, not over users
        "l2": [6e-5, 1e-4, 1.5e-4, 2e-4],
        "learning_rate": [5e-4, 1e-3],
    },
    "autorec": {
        "optimiser": ["adam"],
        "schedule": ["one_cycle"],
        "epochs": [60, 80, 120],
        "validate_every": [20],
        "patience": [None],
        "width": [300, 400, 500],
        "activation": ["sigmoid"],
        "center": ["biases"],
        "row_scaling": [True],
        "input_dropout": [0.1, 0.2, 0.3],
        "l2": [5.0, 6.0, 7.0],
        "learning_rate": [0.007, 0.01, 0.015],
    },
    # the paper's own form, its widths as printed: what moves it and what holds it back
    "hyvae:paper": {
        "fusion": ["folded"],
        "center": ["biases"],
        "row_scaling": [True],
        "presence": [True, False],
        "hide": [0.0, 0.1, 0.3, 0.5],
        "hidden_dropout": [0.0, 0.3, 0.5],
        "deep_dropout": [0.5, 0.8],
        "beta": [0.05, 0.2, 1.0],
        "l2_scope": ["all"],
        "l2": [3e-3, 1e-2, 3e-2, 1e-1],
        "optimiser": ["adam"],
        "schedule": ["one_cycle"],
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "epochs": [30, 60],
        "validate_every": [5],
        "patience": [None],
    },
    "mf": {
        "latent": [5, 8, 10, 16, 24],
        "strength": [8.0, 12.0, 16.0, 24.0],
        "learning_rate": [0.02, 0.05, 0.1],
        "epochs": [15, 30],
    },
}


def trials(model: str) -> list[dict[str, Any]]:
    """Settings of each trial; {} is the default preset."""
    return draw(SPACES[model], TRIALS, SEED)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or SPACES:
        for number, settings in enumerate(trials(wanted)):
            print(wanted, number, json.dumps(settings))
