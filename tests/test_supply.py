"""What the two commands install: exact versions, with hashes, of all that the package asks for; and its advisories."""

import importlib.util
import json
import re
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCKS = {
    "build": (),
    "package": ("report", "serve"),
    "image": ("serve", "postgres"),
    "dev": tuple(PROJECT["optional-dependencies"]),
}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    """Versions by name."""
    return {plain(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.M)}


def lock(name: str) -> str:
    return (ROOT / "locks" / f"{name}.txt").read_text()


@pytest.fixture(scope="module")
def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "tools" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", LOCKS)
def test_every_file_has_hashes_and_the_version_of_the_constraints(name):
    entries = re.split(r"\n(?=\S)", lock(name).strip())
    assert all(re.fullmatch(r"\S+==\S+( ; [^\n]+)?( \\\n +--hash=sha256:[0-9a-f]{64})+", entry) for entry in entries)
    exact = pins((ROOT / "constraints.txt").read_text())
    found = pins(lock(name))
    assert len(found) == len(entries)
    # what only Windows needs is in no list that was made on another system
    assert {package: version for package, version in found.items() if exact.get(package) != version}.keys() <= {
        "colorama"
    }
    assert "torch" not in found


@pytest.mark.parametrize("name", LOCKS)
def test_all_that_the_package_asks_for_is_locked(name):
    wanted = PROJECT["dependencies"] if name != "build" else ["pip", "setuptools"]
    for extra in LOCKS[name]:
        wanted = wanted + PROJECT["optional-dependencies"][extra]
    names = {plain(re.match(r"[\w.-]+", each)[0]) for each in wanted} - {"hyvae", "torch"}
    assert names <= pins(lock(name)).keys(), "run `make hashes`"


def test_an_unhashed_command_installs_torch_and_the_package_only():
    commands = [line for line in (ROOT / "Makefile").read_text().splitlines() if "$(PIP_INSTALL) " in line]
    unhashed = [line.split("$(PIP_INSTALL) ")[1] for line in commands if "--require-hashes" not in line]
    assert unhashed == ["--constraint constraints.txt torch", "--no-deps --no-build-isolation --editable ."]


@pytest.mark.parametrize(
    ("stdout", "stderr", "status", "says"),
    [
        ({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, "", 0, "no advisory is known of 1 packages"),
        (
            {"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}]},
            "",
            1,
            "a 1: X-1, mended in 2",
        ),
        ("", "requests.exceptions.ConnectionError: no such host", 0, "audit skipped: .*no such host"),
        ("", "error: no such file", 1, "pip-audit failed: error: no such file"),
    ],
)
def test_an_audit_says_what_it_found(audit, monkeypatch, stdout, stderr, status, says):
    done = SimpleNamespace(stdout=json.dumps(stdout) if stdout else "", stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **more: done)
    found, said = audit.audit(ROOT / "constraints.txt")
    assert found == status
    assert re.search(says, said)
    assert "\n" not in said
