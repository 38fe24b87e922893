"""25 million rows of CSV and Parquet to a canonical matrix with its ids: hyvae beside pandas + scipy, and Polars."""

from __future__ import annotations

from typing import Any

from driver import Run
from reading import compared, table_of


def measure(run: Run) -> dict[str, Any]:
    rows = 200_000 if run.quick else 25_000_000
    return {"rows": rows, "files": compared(table_of(rows), run.folder, run.repeat), "seed": 0}
