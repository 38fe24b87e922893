"""Commands that write to one place: the second is refused at its start, in one line, and changes nothing."""

from pathlib import Path

import pytest
from command import hyvae

from hyvae import BiasModel, files
from hyvae.files import held

pytestmark = pytest.mark.skipif(files.fcntl is None, reason="no locks on this system")

# by name: the command, and what it holds from its start to its end. A command that writes is listed here
COMMANDS = {
    "train": (["train", "ratings.csv", "--out", "run"], "run"),
    "train through a link": (["train", "ratings.csv", "--out", "link"], "run"),
    "fold-in": (["fold-in", "run", "ratings.csv"], "run"),
    "fold-in --out": (["fold-in", "other", "ratings.csv", "--out", "run"], "run"),
    "forget": (["forget", "run", "--user", "100"], "run"),
    "demo": (["demo", "--quick", "--out", "run"], "run"),
    "compare": (["compare", "ratings.csv", "--models", "bias", "--out", "page"], "page/comparison.html"),
    "paper": (["paper", "table1", "--quick", "--out", "page"], "page/report.html"),
}


@pytest.fixture
def place(parts, tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    BiasModel().fit(*parts).save("run")
    Path("link").symlink_to("run")
    Path("ratings.csv").write_text("user,item,rating\n1,1,5\n1,2,3\n2,1,4\n2,2,1\n")
    return tmp_path


@pytest.mark.parametrize(("arguments", "holds"), COMMANDS.values(), ids=COMMANDS)
def test_the_second_is_refused_in_one_line(arguments, holds, place):
    before = {file: file.read_bytes() for file in Path("run").iterdir()}
    with held(place / holds):
        done = hyvae(*arguments, code=1)
    assert done.stderr.startswith("error: ")
    assert "cannot be written: another training or command is writing it; wait until that ends" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {file: file.read_bytes() for file in Path("run").iterdir()} == before
