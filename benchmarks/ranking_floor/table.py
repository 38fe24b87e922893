"""The best trial of each model by validation, ours beside RecBole's, as Markdown.

.venv/bin/python benchmarks/ranking_floor/table.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

import spaces

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

from trials import read  # noqa: E402


def searched(system: str, model: str) -> list[dict[str, Any]]:
    """The trials that came to an end."""
    return [trial for trial in read(HERE / "results" / f"{system}-{model}.json")["trials"] if "valid" in trial]


def best(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """The trial with the highest NDCG on validation."""
    return max(trials, key=lambda trial: trial["valid"]["ndcg"])


def main() -> None:
    print("| model | NDCG@10 | RecBole | ratio | recall@10 | RecBole | ratio | s/trial | RecBole | chosen |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for model, theirs in spaces.THEIRS.items():
        ours, recbole = searched("hyvae", model), searched("recbole", theirs)
        if not ours or not recbole:
            continue
        cells = [model]
        for metric in ("ndcg", "recall"):
            one, other = best(ours)["test"][metric], best(recbole)["test"][metric]
            cells += [f"{one:.4f}", f"{other:.4f}", f"{one / other:.3f}"]
        cells += [f"{mean(trial['seconds'] for trial in trials):.0f}" for trials in (ours, recbole)]
        print("|", " | ".join([*cells, f"`{json.dumps(best(ours)['settings'])}`"]), "|")


if __name__ == "__main__":
    main()
