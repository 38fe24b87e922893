"""The README is a test: its Python runs, its commands exist."""

import re
from pathlib import Path

import pytest

import hyvae

README = Path(__file__).parent.parent / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    (code,) = blocks("python")
    assert "HyVAE()" in code
    # two epochs, since what is tested is the code and not the model
    exec(compile(code.replace("HyVAE()", "HyVAE(epochs=2, samples=2, sweeps=2)"), str(README), "exec"), {})
    assert "rmse" in capsys.readouterr().out
    assert isinstance(hyvae.HyVAE.load("run"), hyvae.HyVAE)


def test_the_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (README.parent / "Makefile").read_text(), flags=re.MULTILINE))
    text = README.read_text(encoding="utf-8") + (README.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert set(re.findall(r"make ([a-z]+)\b(?= *(?:#|\n))", text)) <= targets
