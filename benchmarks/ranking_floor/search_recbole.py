"""Random search over RecBole's models, one trial after the other, on one thread.

    HYVAE_DATA=... taskset -c 1 .venv/bin/python benchmarks/ranking_floor/search_recbole.py MultiVAE [MODEL ...]

Every finished trial is appended to `results/recbole-MODEL.json`, which is written whole; a search that was interrupted
goes on at the first trial that is not there. RecBole lives in `.peers/recbole` (see `benchmarks/peers.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import protocol
import spaces

import hyvae.metrics  # noqa: F401  now, so that edits of the package during a search change nothing

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
sys.path.append(str(HERE.parent))

from peers import python_of, versions_of  # noqa: E402
from trials import search  # noqa: E402


def path_of(model: str) -> Path:
    return RESULTS / f"recbole-{model}.json"


def run(model: str, data: Path, parts: tuple, settings: dict[str, Any]) -> dict[str, Any]:
    """One trial, measured."""
    train, valid, test = parts
    task = {
        "model": model,
        "settings": settings,
        "data": str(data),
        "seconds": spaces.CAPS[model],
        "eval_step": spaces.EVAL_STEP[model],
        "stopping_step": spaces.STOPPING_STEP,
        "epochs": spaces.EPOCHS,
    }
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder)
        command = [python_of("recbole"), "-W", "ignore", str(HERE / "recbole_worker.py")]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        started = time.perf_counter()
        done = subprocess.run(
            [*command, json.dumps({**task, "output": folder})],
            env={**os.environ, **threads},
            capture_output=True,
            text=True,
        )
        wall = round(time.perf_counter() - started, 1)
        if done.returncode:
            return {"failed": done.stderr.strip().splitlines()[-1:], "wall_seconds": wall}
        lists = np.load(output / "lists.npy")
        result = json.loads((output / "result.json").read_text())
    return {
        "valid": protocol.measure(lists, valid, train),
        "test": protocol.measure(lists, test, train),
        **result,
        "wall_seconds": wall,
        "cap_seconds": task["seconds"],
    }


def main(names: list[str]) -> None:
    parts = tuple(protocol.interactions(part) for part in protocol.parts())
    versions = versions_of(python_of("recbole"))
    packages = {name: versions[name] for name in ("recbole", "torch", "numpy")}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "parts.npz"
        protocol.save(data, **dict(zip(("train", "valid", "test"), parts, strict=True)))
        for model in names or spaces.SPACES:
            about = {"model": model, "versions": packages, "protocol": protocol.ABOUT}
            search(path_of(model), about, spaces.trials(model), partial(run, model, data, parts))


if __name__ == "__main__":
    main(sys.argv[1:])
