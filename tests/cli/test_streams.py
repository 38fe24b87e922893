"""Where the command runs: terminals of any encoding, closed streams, and Ctrl-C from the first moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hyvae import HyVAE
from hyvae.runs import read_run

COMMAND = [sys.executable, "-m", "hyvae"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=300, check=False, env=ENVIRONMENT | environment)


def test_fit_needs_no_standard_error(small_ratings, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    model = HyVAE(preset="fast", epochs=1)
    assert model.fit(small_ratings).recommend(100)
    assert HyVAE(preset="fast", epochs=1).fit(small_ratings, progress=True).fingerprint == model.fingerprint


@pytest.mark.integration
@pytest.mark.parametrize("encoding", ["latin-1"])
def test_output_of_any_encoding(tmp_path: Path, encoding: str):
    trained = run("train", "movielens-small", "--model", "bias", "--out", tmp_path / "run", PYTHONIOENCODING=encoding)
    assert trained.returncode == 0, trained.stderr
    assert "run written to" in trained.stdout.decode(encoding)
    shown = run("recommend", tmp_path / "run", "--ratings", '{"Amelie": 5, "Alien": 4}', PYTHONIOENCODING=encoding)
    assert shown.returncode in (0, 1)
    assert b"unexpected" not in shown.stderr


@pytest.mark.integration
@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str):
    out = tmp_path / "run"
    command = f'"$@" {closed}'
    settings = ["train", "movielens-small", "--preset", "fast", "--set", "epochs=1", "--out", str(out)]
    done = subprocess.run(["sh", "-c", command, "sh", *COMMAND, *settings], timeout=300, check=False, env=ENVIRONMENT)
    assert done.returncode == 0
    assert read_run(out).metrics["pooled"]["rmse"] > 0


@pytest.mark.integration
def test_ctrl_c_during_the_imports_is_one_line(tmp_path: Path):
    # in torch's place: what is pressed while it is imported, and a library that catches it
    (tmp_path / "torch.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(30)\nexcept BaseException:\n    pass\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    stopped = run("train", "movielens-small", "--out", tmp_path / "run", PYTHONPATH=path)
    assert (stopped.returncode, stopped.stdout, stopped.stderr) == (128 + signal.SIGINT, b"", b"stopped\n")
