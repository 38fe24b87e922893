"""Write what was measured into docs/models and docs/accuracy.md.

    .venv/bin/python benchmarks/model_pages.py

It goes between the marks `<!-- NAME -->` and `<!-- /NAME -->` of each page: the tables that `rating_bars/search.py
--table`, `ranking_floor/table.py` and the scripts of `accuracy` print, and `results/flixster.json`, the
comparison.json of a `hyvae compare flixster --models all --seeds 10 --out DIR`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from hyvae.evaluation.comparison import mean_estimate

HERE = Path(__file__).resolve().parent
PAGES = HERE.parent / "docs" / "models"
DEFAULT = HERE / "accuracy" / "results" / "flixster-hyvae.json"
ACCURACY = PAGES.parent / "accuracy.md"
COMPARISON = HERE / "results" / "flixster.json"


# what the comparison's models are called since the default has draws beside its network
NAMES = {"hyvae": "hyvae:fast", "hyvae:draws": "hyvae, one chain of 200 sweeps, 40 draws"}


def printed(*command: str) -> list[str]:
    """The lines of a Markdown table that a script prints."""
    done = subprocess.run([sys.executable, *command], check=True, capture_output=True, text=True, cwd=HERE)
    return done.stdout.splitlines()


def compared() -> list[str]:
    """All models on Flixster."""
    comparison = json.loads(COMPARISON.read_text())
    lines = ["| model | RMSE | MAE | NDCG@10 | seconds |", "|---|---|---|---|---|", default_line()]
    for model in comparison["models"]:
        rmse, mae, ndcg, seconds = (model["means"][key] for key in ("rmse", "mae", "ndcg", "seconds"))
        interval = f"{rmse['mean']:.4f} ± {(rmse['high'] - rmse['low']) / 2:.4f}"
        others = f"{mae['mean']:.4f} | {ndcg['mean']:.4f} | {seconds['mean']:.1f}"
        lines.append(f"| {NAMES.get(model['model'], model['model'])} | {interval} | {others} |")
    return lines


def default_line() -> str:
    """The default model's, which the bench of `accuracy` has trained on the same splits."""
    runs = json.loads(DEFAULT.read_text())["runs"]
    rmse = mean_estimate([one["rmse"] for one in runs], 1 / 8)
    mae, seconds = (sum(one[key] for one in runs) / len(runs) for key in ("mae", "seconds"))
    return f"| hyvae | {rmse.mean:.4f} ± {rmse.half_width or 0:.4f} | {mae:.4f} | – | {seconds:.1f} |"


def about(model: str, table: list[str]) -> list[str]:
    """The head of a table and the model's lines; nothing where it has none."""
    lines = [line for line in table[2:] if model in [cell.strip() for cell in line.split("|")[1:3]]]
    return [*table[:2], *lines] if lines else []


def filled(page: str, marks: dict[str, str]) -> str:
    """The page with what stands between its marks replaced."""
    for name, text in marks.items():
        pattern = rf"<!-- {name} -->\n(.*?<!-- /{name} -->\n)?"
        page = re.sub(pattern, lambda _: f"<!-- {name} -->\n{text}\n<!-- /{name} -->\n", page, flags=re.DOTALL)  # noqa: B023
    return page


def main() -> None:
    bars, floor, flixster = printed("rating_bars/search.py", "--table"), printed("ranking_floor/table.py"), compared()
    titled = {
        "Test errors beside the paper's, after a search ([how](README.md#errors-beside-the-papers)):": bars,
        "Lists on MovieLens-1M beside RecBole's ([how](README.md#lists-beside-recboles)):": floor,
        "In the default preset, on Flixster ([all models](README.md#all-models-as-they-come)):": flixster,
    }
    for path in PAGES.glob("*.md"):
        parts = [
            f"{title}\n\n" + "\n".join(rows) for title, table in titled.items() if (rows := about(path.stem, table))
        ]
        marks = {"results": "\n\n".join(parts), "bars": "\n".join(bars), "floor": "\n".join(floor)}
        marks["flixster"] = "\n".join(flixster)
        path.write_text(filled(path.read_text(encoding="utf-8"), marks), encoding="utf-8")
    tables = {
        "accuracy": ("run.py", "--table"),
        "uncertainty": ("run.py", "--uncertainty"),
        "activity": ("run.py", "--activity"),
        "ablation": ("ablation.py", "--table"),
        "cold": ("cold.py", "--table"),
    }
    marks = {name: "\n".join(printed(f"accuracy/{script}", flag)) for name, (script, flag) in tables.items()}
    printed("accuracy/run.py", "--reliability")
    ACCURACY.write_text(filled(ACCURACY.read_text(encoding="utf-8"), marks), encoding="utf-8")


if __name__ == "__main__":
    main()
