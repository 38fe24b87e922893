"""A file's text is shown, and never obeyed: whatever a command prints of hostile ratings is harmless."""

import csv
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hyvae.cli import main
from hyvae.terminal import visible

CLEAR, LINK, C1, TURNED, BELL = "\x1b[2J\x1b[H", "\x1b]8;;http://x\x07", "\x9b31m", "\u202efdp.exe", "\x07"
TITLES = [f"{CLEAR}Alien", f"{LINK}Brazil", f"{C1}Clue", f"{TURNED} Dune", f"Eraser{BELL}", "[red]Fargo[/red]"]
COLUMN = f"user{CLEAR}"


class Screen(io.TextIOWrapper):
    """A terminal of one encoding that keeps what was written to it."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, write_through=True)

    @property
    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


def run(*arguments: object, encoding: str = "utf-8") -> tuple[int, str, str]:
    """A command in this process: its exit status, and all that it writes."""
    out, err = Screen(encoding), Screen(encoding)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["hyvae", *map(str, arguments)])
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.text, err.text


def harmless(text: str) -> bool:
    return visible(text) == text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of ratings whose titles, ids and columns are hostile, and files that are wrong in hostile ways."""
    place = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    pairs = rng.choice(30 * 6, 140, replace=False)
    with (place / "ratings.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([COLUMN, "item", "rating", "title"])
        for user, item in zip(*np.divmod(pairs, 6), strict=True):
            writer.writerow([f"{CLEAR}u{user}", f"={C1}{item}", rng.integers(1, 6), TITLES[item]])
    (place / "pairs.csv").write_text(f"user,item\n{CLEAR}u1,={C1}1\n{LINK}nobody,2\n", encoding="utf-8")
    (place / "bad.csv").write_text(f"user,item,rating\n1,2,{CLEAR}five\n", encoding="utf-8")
    (place / "columns.csv").write_text(f"who{CLEAR},what{LINK},how\n1,2,3\n", encoding="utf-8")
    columns = ("--user-column", COLUMN, "--item-column", "item", "--title-column", "title")
    code, out, err = run("train", place / "ratings.csv", *columns, "--model", "bias", "--out", place / "run")
    assert code == 0, err
    assert harmless(out + err)
    return place


USER = f"{CLEAR}u1"
COMMANDS = {
    "known user": ["recommend", "run", "--user", USER],
    "someone new": ["recommend", "run", "--ratings", json.dumps({TITLES[0]: 5})],
    "for a program": ["recommend", "run", "--user", USER, "--json"],
    "evaluate": ["evaluate", "run"],
    "similar": ["similar", "run", TITLES[1]],
    "explain": ["explain", "run", TITLES[1], "--user", USER],
    "predict": ["predict", "run", "pairs.csv", "--out", "predictions.csv"],
    "describe": ["data", "describe", "ratings.csv", "--user-column", COLUMN],
    "forget": ["forget", "run", "--user", USER, "--json", "--out", "left"],
    "an unknown user": ["recommend", "run", "--user", f"{LINK}nobody"],
    "an unknown title": ["similar", "run", "\x1b[2JAlian"],
    "a bad row": ["data", "describe", "bad.csv"],
    "unknown columns": ["data", "describe", "columns.csv"],
    "a file that is not there": ["data", "describe", f"{CLEAR}.csv"],
    "a traceback": ["recommend", "run", "--user", f"{LINK}nobody", "--debug"],
}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_no_command_passes_on_what_a_terminal_obeys(folder, monkeypatch, command, encoding):
    monkeypatch.chdir(folder)
    code, out, err = run(*command, encoding=encoding)
    assert code in (0, 1)
    assert "unexpected" not in err
    assert out + err
    assert harmless(out + err)
    if "--debug" not in command and code == 1:
        assert err.count("\n") == 1
    if "--json" in command:
        json.loads(out)


def test_to_a_program_the_text_is_what_it_was(folder):
    lists = json.loads(run("recommend", folder / "run", "--user", USER, "--include-seen", "--json")[1])
    assert {line["title"] for line in lists} == set(TITLES)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
@pytest.mark.parametrize("arguments", [["train", "--help"], ["recommend", "--usr", "Amélie …"], ["--help"]])
def test_help_and_usage_need_no_utf8(arguments, encoding):
    code, out, err = run(*arguments, encoding=encoding)
    assert code == (0 if "--help" in arguments else 2)
    assert "hyvae" in out + err


@pytest.mark.parametrize(
    "arguments",
    [["similar", "run", "\udcff"], ["data", "describe", "\udcff.csv"], ["train", "movielens-small", "--out", "\udcff"]],
)
def test_arguments_that_are_not_utf8_are_one_line(folder, monkeypatch, arguments):
    monkeypatch.chdir(folder)
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "is not UTF-8" in err


class TestFormulas:
    """Text that a spreadsheet would run."""

    def written(self, folder, tmp_path, *options):
        code, out, err = run("recommend", folder / "run", "--all", "--out", tmp_path / "lists.csv", *options)
        assert code == 0, err
        with (tmp_path / "lists.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file)), out, err

    def test_ids_are_as_they_were_and_a_note_tells(self, folder, tmp_path):
        rows, _, err = self.written(folder, tmp_path)
        assert all(row["item"].startswith("=") for row in rows)
        assert f"note: {len(rows)} cells begin like a formula" in err
        assert "--for-spreadsheets" in err

    def test_on_request_they_are_text_to_a_spreadsheet(self, folder, tmp_path):
        rows, _, err = self.written(folder, tmp_path, "--for-spreadsheets")
        assert all(row["item"].startswith("'=") for row in rows)
        assert "formula" not in err
        assert all(1 <= float(row["score"]) <= 5 for row in rows)

    @pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
    def test_numbers_are_numbers(self, begins):
        import polars as pl

        from hyvae.cli.formulas import count_formulas, without_formulas

        frame = pl.DataFrame({"id": [f"{begins}1", "a=1", None], "number": [-1.5, 2.0, None], "count": [-1, 2, 3]})
        assert count_formulas(frame) == 1
        assert without_formulas(frame)["id"].to_list() == [f"'{begins}1", "a=1", None]
        assert without_formulas(frame).drop("id").equals(frame.drop("id"))


def test_lists_to_standard_output_are_csv(folder: Path):
    code, out, err = run("recommend", folder / "run", "--all", "-n", 2, "--include-seen", "--out", "-")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert {int(row["rank"]) for row in rows} == {1, 2}
    assert all(row["user"].startswith(CLEAR) for row in rows)
    assert "lists for" not in out + err
