"""What each part of the default model contributes, on the validation parts of the canonical splits.

    HYVAE_DATA=... .venv/bin/python benchmarks/accuracy/ablation.py [--data DATA ...] [--seeds N]
    .venv/bin/python benchmarks/accuracy/ablation.py --table

Per split the draws are made once, and a network is trained for each variant of it; both are left out in turn. Kept in
`results/ablation/DATA.json`, split by split.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from systems import trained

from hyvae import Ratings, Recommender, metrics
from hyvae.models.hyvae import HyVAE
from hyvae.nn.draws import Draws
from hyvae.scoring import predict_pairs

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "ablation"
sys.path.append(str(HERE.parent))

from trials import read, write  # noqa: E402

NETWORKS: dict[str, dict[str, Any]] = {
    "variational branch alone": {"branches": "vae"},
    "deterministic branch alone": {"branches": "deep"},
    "no encoder of items": {"item_encoder": False},
    "no presence in the inputs": {"presence": False},
    "nothing hidden in training": {"hide": 0.0},
    "no user vectors, no refinement": {"user_vectors": False, "refine": None},
    "refinement off": {"refine": None},
    "shrinkage of effects fixed at 5": {"bias_shrinkage": 5.0},
}


def validated(recommender: Recommender, parts: Any) -> np.ndarray:
    """Predictions of the validation ratings, not clipped."""
    return predict_pairs(recommender.model, parts.train, parts.valid).astype(np.float64)


def of_draws(model: HyVAE, parts: Any, chosen: list[int]) -> np.ndarray:
    """Predictions by some of the draws alone."""
    draws = model.draws
    assert draws is not None
    kept = draws.samples, model.n_drawn
    state = {name: tensor.clone() for name, tensor in [*draws.named_buffers(), ("rows", model.item_rows)]}
    columns = torch.cat([torch.arange(s * draws.width, (s + 1) * draws.width) for s in chosen])
    for name, tensor in state.items():
        if name.endswith("effects"):
            _set(draws, name, tensor[:, columns].contiguous())
        elif name.endswith(("prior", "encodings", "cuts")):
            _set(draws, name, tensor[chosen].contiguous())
    rows = state["rows"]
    model.item_rows = torch.cat([rows[:, columns], rows[:, model.n_drawn :]], 1)
    draws.samples, model.n_drawn = len(chosen), len(columns)
    share, model.config = model.config, model.config.model_copy(update={"network_share": 0.0})
    try:
        return predict_pairs(model, parts.train, parts.valid).astype(np.float64)
    finally:
        model.config = share
        draws.samples, model.n_drawn = kept
        model.item_rows = state.pop("rows")
        for name, tensor in state.items():
            _set(draws, name, tensor)


def _set(draws: Draws, name: str, tensor: torch.Tensor) -> None:
    """Change a buffer, by its name in the state."""
    part, _, last = name.rpartition(".")
    setattr(draws.get_submodule(part), last, tensor)


def split_of(data: str, seed: int) -> dict[str, float]:
    """Validation RMSE of every variant on one split."""
    parts = Ratings.read(data).split(seed=seed)
    low, high = parts.train.scale

    def rmse(predictions: np.ndarray) -> float:
        return metrics.rmse(predictions.clip(low, high), parts.valid.values)

    whole = trained("hyvae", parts.train, parts.valid, seed)
    model = whole.model
    assert isinstance(model, HyVAE) and model.draws is not None  # noqa: PT018
    share, samples, chains = model.config.network_share, model.config.samples, model.config.chains
    all_of_them = list(range(samples))
    drawn = of_draws(model, parts, all_of_them)
    found = {"whole": rmse(validated(whole, parts)), "draws alone": rmse(drawn)}
    found["draws alone: of one chain"] = rmse(of_draws(model, parts, all_of_them[: samples // chains]))
    few = all_of_them[::chains]
    found[f"draws alone: {len(few)} of {samples}, of all chains"] = rmse(of_draws(model, parts, few))
    usual = model.draws.users.usual_count.clone()
    model.draws.users.usual_count.fill_(1.0)
    found["draws alone: short histories as they are"] = rmse(of_draws(model, parts, all_of_them))
    model.draws.users.usual_count.copy_(usual)
    network = validated(trained("hyvae:fast", parts.train, parts.valid, seed), parts)
    found["network alone"] = rmse(network)
    for name, settings in NETWORKS.items():
        variant = validated(trained("hyvae:fast", parts.train, parts.valid, seed, **settings), parts)
        found[f"network alone: {name}"] = rmse(variant)
        found[f"whole: {name}"] = rmse((1 - share) * drawn + share * variant)
    return found


def table() -> None:
    paths = sorted(RESULTS.glob("*.json"))
    kept = [read(path) for path in paths]
    if not kept:
        print("Not measured yet.")
        return
    names = list(kept[0]["splits"][0])
    print(f"| validation RMSE, mean of the splits | {' | '.join(each['data'] for each in kept)} |")
    print("|---|" + "---|" * len(kept))
    print(f"| splits | {' | '.join(str(len(each['splits'])) for each in kept)} |")
    for name in names:
        means = (np.mean([split[name] for split in each["splits"]]) for each in kept)
        print(f"| {name} | {' | '.join(f'{value:.4f}' for value in means)} |")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", nargs="+", default=["douban", "flixster", "ml-1m"])
    arguments.add_argument("--seeds", type=int, default=1)
    arguments.add_argument("--table", action="store_true")
    given = arguments.parse_args()
    for data in [] if given.table else given.data:
        path = RESULTS / f"{data}.json"
        kept = {"data": data, "splits": [], **read(path)}
        kept.pop("trials", None)
        for seed in range(len(kept["splits"]), given.seeds):
            kept["splits"].append(split_of(data, seed))
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, kept)
            print(
                data,
                seed,
                json.dumps({name: round(value, 5) for name, value in kept["splits"][-1].items()}),
                flush=True,
            )
    table()


if __name__ == "__main__":
    main()
