"""Fold-in recommendations a second, and how long each takes, of `hyvae serve` under an open-loop load.

    .venv/bin/python benchmarks/serving/load.py RUN [--rate 300] [--seconds 60] [--workers 1] [--reloads 20]
    .venv/bin/python benchmarks/serving/load.py --table

The generator is loadtest (npm), on the same machine. Each request gives a dozen ratings of someone drawn by chance
from the run's users, so that histories are real; with `--reloads`, runs take turns in the served place meanwhile.
Results in `results.json`, a row a setting.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from hyvae import Recommender

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
TOOL = HERE.parents[1] / ".peers" / "loadtest"
TOKEN = "only-for-this-load-test"
PEOPLE, GIVEN = 500, 12
sys.path.append(str(HERE.parent))

from trials import read, write  # noqa: E402


def generator() -> Path:
    """The load generator's script, beside its packages, which are installed once."""
    if not (TOOL / "node_modules").exists():
        TOOL.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "load.mjs"):
            shutil.copy(HERE / name, TOOL)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=TOOL, check=True)
    shutil.copy(HERE / "load.mjs", TOOL)
    return TOOL / "load.mjs"


def requests(recommender: Recommender) -> list[dict[str, Any]]:
    """People of the run with some of their ratings."""
    rng, history = np.random.default_rng(0), recommender.history
    users = rng.choice(np.flatnonzero(history.user_counts >= GIVEN), PEOPLE)
    bodies = []
    for user in users.tolist():
        items, values = history.history(user)
        some = rng.choice(len(items), GIVEN, replace=False)
        ids = history.items.ids[items[some]].tolist()
        rated = [{"item": item, "rating": value} for item, value in zip(ids, values[some].tolist(), strict=True)]
        bodies.append({"ratings": rated, "n": 10})
    return bodies


def memory(pid: int) -> dict[str, float]:
    """Of all processes of a service, in MiB: with what they share counted once (PSS), and what each counts (RSS)."""
    found = {"pss": 0.0, "rss": 0.0}
    for folder in Path("/proc").iterdir():
        try:
            if os.getpgid(int(folder.name)) != pid:
                continue
            text = (folder / "smaps_rollup").read_text()
        except (ValueError, OSError):
            continue
        for name in found:
            found[name] += int(re.search(rf"^{name.capitalize()}:\s+(\d+)", text, re.M | re.I)[1]) / 1024
    return found


def measured(run: Path, given: argparse.Namespace) -> dict[str, Any]:
    recommender = Recommender.load(run)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "run"
        shutil.copytree(run, place)
        bodies = Path(folder) / "bodies.json"
        bodies.write_text(json.dumps(requests(recommender)))
        command = [sys.executable, "-m", "hyvae", "serve", str(place), "--port", "0", "--rate", "0"]
        service = subprocess.Popen(
            [*command, "--workers", str(given.workers), "--batch", str(given.batch)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HYVAE_TOKEN": TOKEN},
            start_new_session=True,
        )
        try:
            return _loaded(service, place, run, bodies, given)
        finally:
            os.killpg(service.pid, 15)
            service.wait()


def _loaded(service: Any, place: Path, run: Path, bodies: Path, given: argparse.Namespace) -> dict[str, Any]:
    ports: list[int] = []
    for line in service.stderr:
        if found := re.search(r'"port": (\d+)', line):
            ports.append(int(found[1]))
        if len(ports) == given.workers:
            break
    # what it says later is thrown away, or it would stop to wait for a reader
    threading.Thread(target=lambda: [None for _ in service.stderr], daemon=True).start()
    url = f"http://127.0.0.1:{ports[0]}"
    script = generator()

    def load(seconds: float) -> dict[str, Any]:
        command = ["node", str(script), url, str(given.rate), str(seconds), str(bodies)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    load(3)
    stop = threading.Event()
    reloads: list[float] = []
    reloading = threading.Thread(target=_reload, args=(url, place, run, given, stop, reloads))
    reloading.start()
    result = load(given.seconds)
    stop.set()
    reloading.join()
    return {**result, "memory_mib": memory(service.pid), "reload_seconds": reloads}


def _reload(
    url: str, place: Path, run: Path, given: argparse.Namespace, stop: threading.Event, reloads: list[float]
) -> None:
    """Put copies of the run in its place, evenly over the time; each is another one to the service."""
    begun = time.perf_counter()
    for turn in range(given.reloads):
        due = begun + given.seconds * (turn + 1) / (given.reloads + 1)
        if stop.wait(max(0.0, due - time.perf_counter())):
            return
        beside, old = place.with_name("new"), place.with_name("old")
        shutil.copytree(run, beside)
        config = beside / "config.json"
        config.write_text(config.read_text() + "\n" * (turn + 1))
        place.rename(old)
        beside.rename(place)
        shutil.rmtree(old)
        started = time.perf_counter()
        answer = httpx.post(f"{url}/v1/admin/reload", headers={"authorization": f"Bearer {TOKEN}"}, timeout=120)
        answer.raise_for_status()
        reloads.append(time.perf_counter() - started)


def table() -> None:
    print("| run | workers | asked a second | answered | p50 | p99 | p99.9 ms | not answered | reloads | memory |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in read(RESULTS)["trials"]:
        found, latency = row["found"], row["found"]["latency_ms"]
        print(
            f"| {row['name']} | {row['workers']} | {row['rate']:g} | {found['per_second']:.0f} | {latency['p50']:g} | "
            f"{latency['p99']:g} | {latency['p99_9']:g} | {found['not_answered']} | "
            f"{len(found['reload_seconds'])} | {found['memory_mib']['pss']:.0f} MiB |"
        )


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("run", nargs="?", type=Path)
    arguments.add_argument("--name", help="of the run, in the table")
    arguments.add_argument("--rate", type=float, default=300)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--reloads", type=int, default=0)
    arguments.add_argument("--table", action="store_true")
    given = arguments.parse_args()
    if given.table:
        table()
        return
    setting = {key: value for key, value in vars(given).items() if key not in ("run", "table")}
    setting["name"] = given.name or given.run.name
    found = measured(given.run, given)
    kept = read(RESULTS)
    rows = [row for row in kept["trials"] if {**row, "found": None} != {**setting, "found": None}]
    write(RESULTS, {"trials": [*rows, {**setting, "found": found}]})
    print(json.dumps({**setting, "found": found}))


if __name__ == "__main__":
    main()
