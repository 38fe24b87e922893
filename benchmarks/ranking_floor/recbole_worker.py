"""One trial of one RecBole model, on one thread; run by RecBole's Python (`.peers/recbole`), see `search_recbole.py`.

    .peers/recbole/bin/python benchmarks/ranking_floor/recbole_worker.py '{"model": "MultiVAE", "settings": {},
        "data": "parts.npz", "output": "trial", "seconds": 60, "eval_step": 5, "stopping_step": 3, "epochs": 300}'

RecBole trains with its own loop and stops by its own rule (NDCG@10 of the validation part). `seconds` is a cap on
training and validating: it is looked at after each validation, and the best state up to there counts, as always.
Written into the folder `output`: `lists.npy` (see `protocol.top_lists`; the lists for validation and test are the same,
because inputs and masks are) and `result.json`.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path

import numpy as np
import protocol

PARTS = ("train", "valid", "test")


class OutOfTimeError(Exception):
    """The cap on seconds was reached."""


def write_parts(data: Path) -> None:
    """RecBole's atomic files of the three parts, beside ours; a token is our index."""
    folder = data.parent / "ml"
    folder.mkdir(exist_ok=True)
    for name in PARTS:
        path = folder / f"ml.{name}.inter"
        if not path.exists():
            part = protocol.load(data, name)
            rows = np.stack([part.users, part.items], 1)
            np.savetxt(path, rows, "%d", delimiter="\t", header="user_id:token\titem_id:token", comments="")


def sparse_dropout(dropout):
    """The same dropout at less cost for input rows: what is zero needs no random number to stay zero."""

    def faster(x, p: float = 0.5, training: bool = True, inplace: bool = False):
        if not training or p == 0 or x.requires_grad:
            return dropout(x, p, training, inplace)
        flat = x.reshape(-1)
        at = flat.nonzero().squeeze(1)
        return flat.new_zeros(flat.shape).index_put_((at,), dropout(flat[at], p, True)).view(x.shape)

    return faster


def configure(task: dict, data: Path, output: Path):
    """RecBole's configuration: the trial's settings over what every trial shares."""
    from recbole.config import Config

    shared = {
        "data_path": str(data.parent),
        "benchmark_filename": list(PARTS),
        "load_col": {"inter": ["user_id", "item_id"]},
        "use_gpu": False,
        "train_neg_sample_args": None,
        "eval_args": {"order": "RO", "group_by": "user", "mode": "full"},
        "metrics": ["NDCG", "Recall"],
        "topk": [protocol.TOP],
        "valid_metric": f"NDCG@{protocol.TOP}",
        "metric_decimal_place": 6,
        # RecBole divides it by the number of items: ~1100 users at a time
        "eval_batch_size": 4_000_000,
        "epochs": task["epochs"],
        "eval_step": task["eval_step"],
        "stopping_step": task["stopping_step"],
        "checkpoint_dir": str(output / "saved"),
        "show_progress": False,
        "seed": 0,
    }
    return Config(model=task["model"], dataset="ml", config_dict={**shared, **task["settings"]})


def scorer(model, dataset, n_users: int, n_items: int):
    """Scores in our numbering, from RecBole's ids; items that RecBole never saw get −inf."""
    import torch
    from recbole.data.interaction import Interaction

    ours = {
        "user_id": dataset.field2id_token["user_id"][1:].astype(np.int64),
        "item_id": dataset.field2id_token["item_id"][1:].astype(np.int64),
    }
    id_of_user = np.zeros(n_users, dtype=np.int64)
    id_of_user[ours["user_id"]] = np.arange(1, len(ours["user_id"]) + 1)

    def score(users: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            batch = Interaction({"user_id": torch.from_numpy(id_of_user[users])})
            theirs = model.full_sort_predict(batch).view(len(users), -1).numpy()
        scores = np.full((len(users), n_items), -np.inf)
        scores[:, ours["item_id"]] = theirs[:, 1:]
        return scores

    return score


def main(task: dict) -> None:
    output = Path(task["output"]).resolve()
    data = Path(task["data"]).resolve()
    output.mkdir(parents=True, exist_ok=True)
    # RecBole writes its logs into the working folder
    os.chdir(output)
    write_parts(data)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

    import torch

    # its files are pickles, which newer versions of torch refuse unless they are told
    read = torch.load
    torch.load = lambda *args, **kwargs: read(*args, **{**kwargs, "weights_only": False})
    torch.nn.functional.dropout = sparse_dropout(torch.nn.functional.dropout)
    torch.set_num_threads(1)
    # matrix products with bfloat16 factors, float32 sums: what the CPU has units for (AMX), several times as fast
    torch.set_float32_matmul_precision(task.get("precision", "medium"))
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    config = configure(task, data, output)
    logging.disable(logging.INFO)
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, _ = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train_data.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)

    curve, started = [], time.perf_counter()

    def watch(epoch: int, valid_score: float) -> None:
        curve.append([epoch + 1, round(float(valid_score), 6), round(time.perf_counter() - started, 1)])
        if time.perf_counter() - started > task["seconds"]:
            raise OutOfTimeError

    stopped_by = "early stopping"
    try:
        trainer.fit(train_data, valid_data, verbose=False, saved=True, callback_fn=watch)
        if curve[-1][0] + config["eval_step"] > config["epochs"]:
            stopped_by = "epochs"
    except OutOfTimeError:
        stopped_by = "seconds"
    except ValueError as error:
        if "nan" not in str(error) or not curve:
            raise
        stopped_by = "nan"
    seconds = time.perf_counter() - started

    model.load_state_dict(torch.load(trainer.saved_model_file)["state_dict"])
    model.eval()
    train = protocol.load(data, "train")
    lists = protocol.top_lists(scorer(model, train_data.dataset, train.n_users, train.n_items), train)
    np.save(output / "lists.npy", lists)
    result = {
        "seconds": round(seconds, 1),
        "epochs": curve[-1][0],
        "best_epoch": max(curve, key=lambda row: (row[1], row[0]))[0],
        "stopped_by": stopped_by,
        "recbole_valid_ndcg": float(trainer.best_valid_score),
        "trainer": type(trainer).__name__,
        "curve": curve,
    }
    (output / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
