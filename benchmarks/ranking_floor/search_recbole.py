"""Random search over RecBole's models, one trial after the other, on one thread.

    HYVAE_DATA=... taskset -c 1 .venv/bin/python benchmarks/ranking_floor/search_recbole.py MultiVAE [MODEL ...]
    .venv/bin/python benchmarks/ranking_floor/search_recbole.py --table       # the best of each by validation

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


def path_of(model: str) -> Path:
    return RESULTS / f"recbole-{model}.json"


def read(model: str) -> dict[str, Any]:
    """What is known of a model's search."""
    if path_of(model).exists():
        return json.loads(path_of(model).read_text())
    return {"model": model, "trials": []}


def write(kept: dict[str, Any]) -> None:
    """Whole, or not at all."""
    RESULTS.mkdir(exist_ok=True)
    path = path_of(kept["model"])
    part = path.with_suffix(".part")
    part.write_text(json.dumps(kept, indent=1) + "\n")
    os.replace(part, path)


def run(model: str, settings: dict[str, Any], data: Path, parts: tuple) -> dict[str, Any]:
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
            return {"settings": settings, "failed": done.stderr.strip().splitlines()[-1:], "wall_seconds": wall}
        lists = np.load(output / "lists.npy")
        result = json.loads((output / "result.json").read_text())
    return {
        "settings": settings,
        "valid": protocol.measure(lists, valid, train),
        "test": protocol.measure(lists, test, train),
        **result,
        "wall_seconds": wall,
        "cap_seconds": task["seconds"],
    }


def search(model: str, data: Path, parts: tuple) -> None:
    """All the trials of a model that are not there yet."""
    kept = read(model)
    versions = versions_of(python_of("recbole"))
    kept["versions"] = {name: versions[name] for name in ("recbole", "torch", "numpy")}
    kept["protocol"] = {"data": protocol.DATA, "seed": protocol.SEED, "liked": protocol.LIKED, "top": protocol.TOP}
    for number, settings in enumerate(spaces.trials(model)):
        if number < len(kept["trials"]):
            if kept["trials"][number]["settings"] != settings:
                raise SystemExit(f"{path_of(model).name}: trial {number} is of another space; remove the file")
            continue
        trial = run(model, settings, data, parts)
        kept["trials"].append(trial)
        write(kept)
        print(time.strftime("%H:%M:%S"), model, number, json.dumps(trial), flush=True)


def best(model: str) -> dict[str, Any] | None:
    """The trial with the highest NDCG on validation."""
    good = [trial for trial in read(model)["trials"] if "valid" in trial]
    return max(good, key=lambda trial: trial["valid"]["ndcg"]) if good else None


def table() -> None:
    """The best trial of each model, as Markdown."""
    print("| model | valid NDCG@10 | valid recall@10 | test NDCG@10 | test recall@10 | s/trial | settings |")
    print("|---|---|---|---|---|---|---|")
    for model in spaces.SPACES:
        if chosen := best(model):
            numbers = [chosen[part][name] for part in ("valid", "test") for name in ("ndcg", "recall")]
            seconds = np.mean([trial["wall_seconds"] for trial in read(model)["trials"]])
            cells = [model, *(f"{number:.4f}" for number in numbers), f"{seconds:.0f}"]
            print("|", " | ".join([*cells, f"`{json.dumps(chosen['settings'])}`"]), "|")


def main(names: list[str]) -> None:
    if names == ["--table"]:
        table()
        return
    parts = tuple(protocol.interactions(part) for part in protocol.parts())
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "parts.npz"
        protocol.save(data, **dict(zip(("train", "valid", "test"), parts, strict=True)))
        for model in names or spaces.SPACES:
            search(model, data, parts)


if __name__ == "__main__":
    main(sys.argv[1:])
