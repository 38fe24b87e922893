"""The pages for users are tests: their Python runs, and their commands end well."""

import gzip
import re
import shlex
import sqlite3
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from hyvae.cli import main

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(
    r"(<!-- (?:not run: [^>]+|exits 1) -->\n)?^```(python|sh|)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE
)


def steps(page: str) -> list[tuple[str, str, int]]:
    """Language, text and exit status of what is run, in order; a line of a shell block is one step.

    The language of an output that the page shows is empty.
    """
    found = []
    for mark, language, text in FENCE.findall((DOCS / page).read_text(encoding="utf-8")):
        if "not run" not in mark:
            lines = [line for line in text.splitlines() if line.startswith("hyvae")] if language == "sh" else [text]
            found += [(language, line, int(mark != "")) for line in lines]
    return found


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the small files that the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYVAE_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    rows = [
        (user, int(item), int(draw.integers(1, 6)), 1_700_000_000 + 3600 * int(draw.integers(20_000)))
        for user in range(1, 41)
        for item in np.sort(draw.choice(30, 15, replace=False)) + 1
    ]
    frame = pl.DataFrame(rows, schema=["user", "item", "rating", "time"], orient="row")
    frame.write_csv("ratings.csv")
    Path("ratings.csv.gz").write_bytes(gzip.compress(Path("ratings.csv").read_bytes()))
    frame.write_csv("ratings.tsv", separator="\t")
    frame.write_csv("triplets.txt", separator=" ", include_header=False)
    frame.write_ndjson("ratings.jsonl")
    frame.write_parquet("ratings.parquet")
    Path("parts").mkdir()
    frame[:300].write_parquet("parts/0.parquet")
    frame[300:].write_parquet("parts/1.parquet")
    frame.write_ipc("ratings.arrow")
    typed = frame.rename({"user": "user_id:token", "item": "item_id:token", "rating": "rating:float"}).drop("time")
    typed.write_csv("ratings.inter", separator="\t")
    Path("ratings.libfm").write_text("".join(f"{row[2]} {row[0]}:1 {100 + row[1]}:1\n" for row in rows))
    users, items, values, _ = zip(*rows, strict=True)
    places = np.array(users) - 1, np.array(items) - 1
    sparse.save_npz("ratings.npz", sparse.csr_array((np.array(values, float), places)))
    with sqlite3.connect("ratings.db") as database:
        database.execute("create table ratings (user int, item int, rating real, time int)")
        database.executemany("insert into ratings values (?, ?, ?, ?)", rows)
    database.close()
    frame.select("user", "item", pl.lit(1).alias("rating")).write_csv("ones.csv")
    for name, text in (
        ("odd.csv", "who,what,points\nJo,x,3\nAnn,y,4\n"),
        ("anime.csv", "user_id,anime_id,rating\n1,20,-1\n1,24,8\n2,24,7\n2,31,-1\n2,20,9\n"),
        ("bad.csv", "user,item,rating\n007,A1,4\n12,A2,five\n12,A3,\n7,A1,5\n"),
        ("twice.csv", "user,item,rating\n1,2,4\n1,2,5\n2,2,3\n"),
        ("pairs.csv", "user,item\n1,318\n99999,318\n1,424242\n"),
        ("week.csv", "user,item,rating\n100001,318,5\n100001,296,4\n1,424242,3.5\n"),
    ):
        Path(name).write_text(text)
    Path("latin.csv").write_bytes("user,item,rating\nJosé,x,3\nAnn,y,4\n".encode("latin-1"))
    return tmp_path


@pytest.mark.filterwarnings("always::hyvae.errors.DataWarning")
@pytest.mark.parametrize("page", ["data.md", "questions.md", "comparing.md"])
def test_what_a_page_shows_runs(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    names: dict[str, object] = {}
    done = steps(page)
    assert {"python", "sh"} <= {language for language, *_ in done}
    said = ""
    for language, text, status in done:
        if language == "":
            # shown as it was printed by the steps above, wrapped anew; … stands for what is left out
            pattern = ".*".join(map(re.escape, " ".join(text.split()).split("…")))
            assert re.search(pattern, " ".join(said.split())), f"{page} shows what nothing printed: {text}"
            continue
        if language == "python":
            exec(compile(text, page, "exec"), names)
            continue
        monkeypatch.setattr(sys, "argv", shlex.split(text, comments=True))
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        printed = capsys.readouterr()
        said += printed.out + printed.err
        assert code == status, f"{page}: {text}\n{printed.err}"
