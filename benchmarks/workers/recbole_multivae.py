"""RecBole's MultiVAE; a unit is an epoch of its own trainer. Run by RecBole's Python.

Settings: `data`, `latent_dimension`. RecBole counts means and log-variances together: 512 is a z of 256, and 1024 is
hyvae's z of 512.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import numpy as np
from arrays import load
from protocol import Worker

HIDDEN, BATCH_USERS = 256, 500


def write_atomic(path: Path, part) -> None:
    rows = np.stack([part.user_index + 1, part.indices + 1, part.values], 1)
    np.savetxt(
        path, rows, "%d\t%d\t%g", header="user_id:token\titem_id:token\trating:float", comments="", encoding="utf-8"
    )


if __name__ == "__main__":
    worker = Worker()
    folder = Path(tempfile.mkdtemp(dir="."))
    (folder / "train").mkdir()
    write_atomic(folder / "train" / "train.inter", load(worker.settings["data"]))
    os.environ["CUDA_VISIBLE_DEVICES"] = ""

    import torch

    # its files are pickles, which newer versions of torch refuse unless they are told
    read = torch.load
    torch.load = lambda *args, **kwargs: read(*args, **{**kwargs, "weights_only": False})
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.general_recommender import MultiVAE
    from recbole.trainer import Trainer

    config = Config(
        model="MultiVAE",
        dataset="train",
        config_dict={
            "data_path": str(folder),
            "load_col": {"inter": ["user_id", "item_id", "rating"]},
            "use_gpu": False,
            "train_neg_sample_args": None,
            "mlp_hidden_size": [HIDDEN],
            "latent_dimension": worker.settings["latent_dimension"],
            "train_batch_size": BATCH_USERS,
            # every rating is for training; RecBole wants validation and test parts, which nobody looks at
            "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "RO", "group_by": "user", "mode": "full"},
            "checkpoint_dir": str(folder / "saved"),
            "show_progress": False,
            "seed": 0,
        },
    )
    logging.disable(logging.INFO)
    torch.manual_seed(0)
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)
    worker.loaded()
    trainer = Trainer(config, MultiVAE(config, train.dataset))
    epoch = 0
    while True:
        loss = trainer._train_epoch(train, epoch)
        epoch += 1
        worker.pause(loss=float(loss), interactions=len(train.dataset), batches=len(train))
