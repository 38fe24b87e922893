"""How long `Ratings.read` takes, beside pandas + scipy and Polars, and for each kind of file.

    .venv/bin/python benchmarks/reading.py --rows 25000000 --repeat 5     # CSV and Parquet, sorted and shuffled
    .venv/bin/python benchmarks/reading.py --kinds --rows 1000000         # every kind of file

Each reading is a process of its own; ratios are medians over interleaved rounds. pandas + scipy ends with ids and a CSR
matrix in order, as hyvae does (without the times, which it would lose in the matrix); Polars reads and maps the ids
only. Prints one JSON object. Needs
about 3 GB of disk for 25 million rows, in the shape of MovieLens-25M: 162,541 users, 59,047 items, power-law
popularity.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import zstandard
from scipy import sparse
from synthetic import ML_25M, synthetic

USERS, ITEMS, _ = ML_25M

# getrusage's peak would include what the parent held when it forked
PEAK = """
sys.path.insert(0, WORKERS)
from protocol import memory_mib
print(memory_mib("VmHWM") / 1024)
""".replace("WORKERS", repr(str(Path(__file__).parent / "workers")))
POLARS = """
import sys, time
import numpy as np, polars as pl
started = time.perf_counter()
table = pl.read_csv(sys.argv[1]) if sys.argv[1].endswith("csv") else pl.read_parquet(sys.argv[1])
for column in ("userId", "movieId"):
    ids = table[column].unique().sort()
    table[column].replace_strict(ids, pl.Series(np.arange(len(ids))), return_dtype=pl.Int64)
print(time.perf_counter() - started)
"""
PANDAS = """
import sys, time
import numpy as np, pandas as pd
from scipy import sparse
started = time.perf_counter()
table = pd.read_csv(sys.argv[1]) if sys.argv[1].endswith("csv") else pd.read_parquet(sys.argv[1])
user, users = pd.factorize(table["userId"], sort=True)
item, items = pd.factorize(table["movieId"], sort=True)
ratings = table["rating"].to_numpy(np.float32)
matrix = sparse.coo_array((ratings, (user, item)), shape=(len(users), len(items))).tocsr()
matrix.sort_indices()
print(time.perf_counter() - started)
"""
HYVAE = """
import sys, time
import hyvae.data
from hyvae import Ratings
started = time.perf_counter()
Ratings.read(sys.argv[1], **({"query": sys.argv[2]} if len(sys.argv) > 2 else {}))
print(time.perf_counter() - started)
"""


def table_of(rows: int) -> pl.DataFrame:
    """Ratings by half stars with times, sorted by user and film."""
    ratings = synthetic(USERS, ITEMS, rows, exponent=1.0)
    rng = np.random.default_rng(1)
    film = np.sort(rng.choice(4 * ITEMS, ITEMS, replace=False)) + 1
    return pl.DataFrame(
        {
            "userId": ratings.user_index.astype(np.int64) + 1,
            "movieId": film[ratings.indices],
            "rating": rng.integers(1, 11, rows) / 2,
            "timestamp": rng.integers(789_652_009, 1_574_327_703, rows),
        }
    )


def seconds(program: str, *arguments: str) -> tuple[float, float]:
    """Seconds that a process reports, and its peak GiB."""
    command = [sys.executable, "-c", program + PEAK, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, second = done.stdout.split()[:2]  # DuckDB's binding may say more at the end
    return float(first), float(second)


def compared(table: pl.DataFrame, folder: Path, repeat: int) -> list[dict[str, object]]:
    """CSV and Parquet, in order and shuffled: hyvae beside pandas + scipy and Polars."""
    programs = {"hyvae": HYVAE, "pandas_scipy": PANDAS, "polars_and_mapping": POLARS}
    results = []
    for order, ordered in (("sorted", table), ("shuffled", table.sample(fraction=1.0, shuffle=True, seed=1))):
        for kind in ("csv", "parquet"):
            path = folder / f"{order}.{kind}"
            getattr(ordered, f"write_{kind}")(path)
            rounds = [{name: seconds(each, str(path)) for name, each in programs.items()} for _ in range(repeat)]
            print(f"  {path.name}: {rounds[-1]}", file=sys.stderr)
            results.append(
                {
                    "file": path.name,
                    "median_seconds": {name: statistics.median(each[name][0] for each in rounds) for name in programs},
                    "seconds": {name: [each[name][0] for each in rounds] for name in programs},
                    "peak_gib": {name: max(each[name][1] for each in rounds) for name in programs},
                    "ratios": {
                        name: statistics.median(each[name][0] / each["hyvae"][0] for each in rounds)
                        for name in programs
                        if name != "hyvae"
                    },
                }
            )
            path.unlink()
    return results


def of_each_kind(table: pl.DataFrame, folder: Path) -> dict[str, float]:
    """Microseconds a row, from the fastest kind to the slowest."""
    import duckdb
    import sqlalchemy

    text = table.write_csv().encode()
    files: dict[str, bytes] = {
        "text.csv": text,
        "leading zeros.csv": table.with_columns(userId="0" + pl.col("userId").cast(pl.String)).write_csv().encode(),
        "text ids.csv": table.with_columns(userId="u" + pl.col("userId").cast(pl.String)).write_csv().encode(),
        "no header.tsv": table.write_csv(include_header=False, separator="\t").encode(),
        "ratings.dat": table.write_csv(include_header=False).encode().replace(b",", b"::"),
        "text.csv.gz": gzip.compress(text, 6),
        "text.csv.zst": zstandard.compress(text),
        "lines.jsonl": table.write_ndjson().encode(),
    }
    names = dict(zip(table.columns, ("user_id:token", "item_id:token", "rating:float", "timestamp:float"), strict=True))
    files["atomic.inter"] = table.rename(names).write_csv(separator="\t").encode()
    features = table.select(pl.format("{} {}:1 {}:1", "rating", "userId", pl.col("movieId") + USERS + 1))
    files["features.libfm"] = features.write_csv(include_header=False).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    table.write_parquet(folder / "table.parquet")
    table.write_ipc(folder / "table.arrow")
    at = table["userId"].to_numpy(), table["movieId"].to_numpy()
    matrix = sparse.coo_array((table["rating"].to_numpy(), at))
    sparse.save_npz(folder / "matrix.npz", matrix.tocsr())
    query = 'select "userId", "movieId", rating, timestamp from ratings'
    sources = {name: (str(folder / name),) for name in [*files, "table.parquet", "table.arrow", "matrix.npz"]}
    for kind in ("sqlite", "duckdb"):
        address = f"{kind}:///{folder / kind}.db"
        if kind == "sqlite":
            engine = sqlalchemy.create_engine(address)
            table.write_database("ratings", engine)
            engine.dispose()
        else:
            with duckdb.connect(str(folder / "duckdb.db")) as connection:
                connection.execute(f"create table ratings as select * from '{folder / 'table.parquet'}'")
        sources[f"{kind}:///…"] = (address, query)
    per_row = {name: 1e6 * seconds(HYVAE, *arguments)[0] / len(table) for name, arguments in sources.items()}
    return {name: round(value, 2) for name, value in sorted(per_row.items(), key=lambda item: item[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=25_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--kinds", action="store_true", help="every kind of file, microseconds a row")
    options = parser.parse_args()
    table = table_of(options.rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.kinds:
            print(json.dumps({"rows": options.rows, "microseconds_a_row": of_each_kind(table, folder)}, indent=2))
        else:
            print(json.dumps({"rows": options.rows, "files": compared(table, folder, options.repeat)}, indent=2))


if __name__ == "__main__":
    main()
