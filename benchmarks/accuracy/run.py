"""Systems on identical splits: train, test, keep seed by seed, and tell them apart with paired intervals.

    HYVAE_DATA=... .venv/bin/python benchmarks/accuracy/run.py PROTOCOL [PROTOCOL ...] --systems NAME [NAME ...]
    .venv/bin/python benchmarks/accuracy/run.py --table --uncertainty --activity --reliability
    .venv/bin/python benchmarks/accuracy/run.py --peer   # the peer's errors, as hyvae.paper has them

Protocols are those of `protocols.py`, systems those of `systems.py`: `MODEL[:PRESET]` of hyvae, and peers such as
`myfm:strong`. Kept in `results/PROTOCOL-SYSTEM.json`; what is there is not trained again. With `--predicted FOLDER`,
which holds `results.jsonl`, a line a run of myFM (data, seed, rmse, mae, um_rmse, um_mae, seconds), these runs are
taken over as `myfm:strong`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from protocols import PROTOCOLS
from systems import PEERS, errors_of, versions

from hyvae import Ratings
from hyvae.evaluation.comparison import Estimate, paired_difference

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
REFERENCE, DEFAULT = "myfm:strong", "hyvae"
MEASURES = ("rmse", "mae", "um_rmse", "um_mae")
STATED = (80, 90, 95)
PEER_ERRORS = HERE.parents[1] / "src" / "hyvae" / "paper" / "peer.json"
RELIABILITY = HERE.parents[1] / "docs" / "figures" / "accuracy-reliability.svg"
sys.path.append(str(HERE.parent))

import plots  # noqa: E402
from trials import read, write  # noqa: E402


def path_of(protocol: str, system: str) -> Path:
    return RESULTS / f"{protocol}-{system.replace(':', '-')}.json"


def run(protocol: str, system: str) -> None:
    """Train and test on every split that is not there yet."""
    plan, path = PROTOCOLS[protocol], path_of(protocol, system)
    kept: dict[str, Any] = {"protocol": protocol, "system": system, **read(path)}
    kept.pop("trials", None)
    runs = kept.setdefault("runs", [])
    if len(runs) == plan.seeds:
        return
    ratings = Ratings.read(plan.data)
    kept |= {"fingerprint": ratings.fingerprint, "versions": versions(system)}
    if system.startswith("myfm"):
        kept["rank"] = plan.rank
    for seed in range(len(runs), plan.seeds):
        runs.append({"seed": seed, **errors_of(system, plan, plan.part(ratings, seed), seed)})
        write(path, kept)
        print(protocol, system, json.dumps({key: runs[-1][key] for key in ("seed", *MEASURES, "seconds")}), flush=True)


def take_over(folder: Path) -> None:
    """Keep the runs of a folder as `myfm:strong`."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    for protocol in {line["data"] for line in lines}:
        of_this = sorted((line for line in lines if line["data"] == protocol), key=lambda line: line["seed"])
        runs = [{key: line[key] for key in ("seed", *MEASURES, "seconds")} for line in of_this]
        about = {"protocol": protocol, "system": REFERENCE, "rank": PROTOCOLS[protocol].rank}
        write(path_of(protocol, REFERENCE), {**about, "runs": runs, "from": "predictions that were handed in"})


def table() -> None:
    """Means, and paired differences to the strongest peer, as Markdown."""
    print("| protocol | system | seeds | RMSE | difference | MAE | difference | user-mean RMSE | difference | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for protocol, plan in PROTOCOLS.items():
        found = [read(path) for path in RESULTS.glob("*.json")]
        found = [kept for kept in found if kept.get("protocol") == protocol]
        reference = next((kept["runs"] for kept in found if kept["system"] == REFERENCE), None)
        for kept in sorted(found, key=lambda kept: mean(kept["runs"], "rmse")):
            cells = [protocol, kept["system"], str(len(kept["runs"]))]
            for measure in MEASURES[:3]:
                cells.append(f"{mean(kept['runs'], measure):.4f}")
                cells.append(difference(kept["runs"], reference, measure, plan.test_share))
            print(f"| {' | '.join(cells)} | {mean(kept['runs'], 'seconds'):.0f} |")


def uncertainty_table() -> None:
    """Means over the splits of what `hyvae.evaluation.calibration` measures, as Markdown."""
    print("| protocol | system | seeds | held of 80 % | 90 % | 95 % | width of 90 % | sd | CRPS | log-likelihood |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for protocol in PROTOCOLS:
        for path in sorted(RESULTS.glob(f"{protocol}-*.json")):
            kept = read(path)
            found = [one["uncertainty"] for one in kept["runs"] if "uncertainty" in one]
            if kept["protocol"] != protocol or not found:
                continue
            rows = [[each["coverage"][place] for each in found] for place in range(3)]
            cells = [f"{100 * mean(row, 'observed'):.1f}" for row in rows] + [f"{mean(rows[1], 'width'):.2f}"]
            cells += [f"{mean(found, measure):.4f}" for measure in ("sd", "crps", "log_likelihood")]
            print(f"| {protocol} | {kept['system']} | {len(found)} | {' | '.join(cells)} |")


def activity_table() -> None:
    """What intervals of the default model hold by the user's number of known ratings, all splits together."""
    print("| protocol | known ratings | test ratings | held of 80 % | 90 % | 95 % |")
    print("|---|---|---|---|---|---|")
    for protocol in PROTOCOLS:
        rows: dict[str, list[dict[str, Any]]] = {}
        for one in read(path_of(protocol, DEFAULT)).get("runs", []):
            for row in one.get("uncertainty", {}).get("by_user_activity", []):
                name = f"{row['from']}–{row['to']}" if row["to"] else f"{row['from']} or more"
                rows.setdefault("0" if row["to"] == 0 else name, []).append(row)
        for name, found in rows.items():
            total = sum(row["ratings"] for row in found)
            shares = (sum(row["ratings"] * row[f"observed_{stated}%"] for row in found) / total for stated in STATED)
            print(f"| {protocol} | {name} | {total:,} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |")


def draw_reliability() -> None:
    """What intervals of each stated share hold, means over the splits."""
    found = {}
    for protocol in PROTOCOLS:
        runs = [run for run in read(path_of(protocol, DEFAULT)).get("runs", []) if "uncertainty" in run]
        if runs:
            found[protocol] = np.mean([run["uncertainty"]["reliability"] for run in runs], 0)
    plots.drawn(RELIABILITY, plots.draw_reliability, 2, 9.0, found)


def mean(runs: list[dict[str, Any]], measure: str) -> float:
    return sum(one[measure] for one in runs) / len(runs)


def difference(
    runs: list[dict[str, Any]], reference: list[dict[str, Any]] | None, measure: str, test_share: float
) -> str:
    """Paired, over the seeds that both have, with its corrected 95 % interval where the splits differ."""
    if reference is None or runs is reference:
        return ""
    by_seed = [{one["seed"]: one[measure] for one in each} for each in (runs, reference)]
    ours, other = ([each[seed] for seed in sorted(by_seed[0].keys() & by_seed[1].keys())] for each in by_seed)
    if test_share:
        return shown(paired_difference(ours, other, test_share))
    return f"{(sum(ours) - sum(other)) / len(ours):+.4f}"


def shown(estimate: Estimate) -> str:
    half = "" if estimate.half_width is None else f" ± {estimate.half_width:.4f}"
    return f"{estimate.mean:+.4f}{half}"


def write_peer() -> None:
    """Write the strongest peer's errors where `hyvae paper` finds them."""
    found = {}
    for protocol in ("ml-1m", "douban", "flixster", "douban-monti", "flixster-monti"):
        kept = read(path_of(protocol, REFERENCE))
        if "runs" in kept:
            found[protocol] = [{key: one[key] for key in ("seed", *MEASURES)} for one in kept["runs"]]
    write(PEER_ERRORS, {"system": "myFM, ordered probit, implicit features", "errors": found})


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("protocols", nargs="*", choices=[*PROTOCOLS, []])
    arguments.add_argument("--systems", nargs="+", default=["hyvae", *PEERS])
    arguments.add_argument("--predicted", type=Path)
    arguments.add_argument("--table", action="store_true")
    arguments.add_argument("--uncertainty", action="store_true", help="coverage and scores of distributions")
    arguments.add_argument("--activity", action="store_true", help="coverage by number of known ratings")
    arguments.add_argument("--reliability", action="store_true", help=f"draw {RELIABILITY.name}")
    arguments.add_argument("--peer", action="store_true", help=f"write {PEER_ERRORS.name} of hyvae.paper")
    given = arguments.parse_args()
    if given.predicted:
        take_over(given.predicted)
    for protocol in given.protocols:
        for system in given.systems:
            run(protocol, system)
    if given.table:
        table()
    if given.uncertainty:
        uncertainty_table()
    if given.activity:
        activity_table()
    if given.reliability:
        draw_reliability()
    if given.peer:
        write_peer()


if __name__ == "__main__":
    main()
