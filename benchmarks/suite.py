"""The benchmark suite: each measure a ratio against what a user would pick instead, in one run, interleaved.

    HYVAE_DATA=… .venv/bin/python benchmarks/suite.py [MEASURE ...] [--repeat 5] [--keep-peers] [--quick]

Writes `benchmarks/results/MEASURE.json`, from which `benchmarks/report.py` makes the tables and plots of
`docs/performance.md`. Peers are installed on first use (`benchmarks/peers.py`). `--quick` is for trying the suite:
tiny sizes, two rounds, results in a temporary folder.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from driver import Run, machine, names_of
from peers import versions_of

MEASURES = ("roof", "epoch", "inference", "scaling", "reading", "accuracy", "versions")
RESULTS = Path(__file__).parent / "results"
OURS = ("hyvae", "torch", "numpy", "scipy", "polars", "pandas", "pyarrow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"default: all, {', '.join(MEASURES)}")
    parser.add_argument("--repeat", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--keep-peers", action="store_true", help="accuracy: take the peers from the last result")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see whether the suite works")
    options = parser.parse_args()
    unknown = set(options.measures) - set(MEASURES)
    if unknown:
        parser.error(f"no measure is called {min(unknown)!r}; there are: {', '.join(MEASURES)}")
    results = Path(tempfile.mkdtemp(prefix="hyvae-bench-")) if options.quick else RESULTS
    for name in options.measures or MEASURES:
        print(f"{name} …", file=sys.stderr)
        # spinning threads and busy cores do not go together: a figure taken on a busy machine means little
        load = os.getloadavg()[0]
        if load > 0.5:
            print(f"  the load of this machine is {load:.1f}: leave it alone while it measures", file=sys.stderr)
        path, started = results / f"{name}.json", time.perf_counter()
        kept = json.loads(path.read_text()) if options.keep_peers and path.exists() else None
        with tempfile.TemporaryDirectory(prefix=f"hyvae-{name}-") as folder:
            run = Run(2 if options.quick else options.repeat, options.quick, Path(folder), kept)
            result = importlib.import_module(f"measures.{name}").measure(run)
        versions = {"ours": names_of(versions_of(sys.executable), OURS), **result.pop("versions", {})}
        record = {
            "measure": name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "load_before": load,
            "commit": _commit(),
            "versions": versions,
            "rounds": run.repeat,
            "took_seconds": time.perf_counter() - started,
            **result,
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rounded(record), indent=2) + "\n")
        print(f"{name}: {record['took_seconds']:.0f} s; {path}", file=sys.stderr)


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def rounded(value: object) -> object:
    """Floats to six digits, so that a result can be read and compared."""
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
