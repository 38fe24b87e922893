"""What is shipped: linted, since nothing here builds images, and its steps run as plain commands."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def tool(name, *others):
    """A linter beside this Python, or of the system."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed, and CI must lint what is shipped")
        pytest.skip(f"{name} is not installed")
    return [found, *others]


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)


def test_the_dockerfile_has_no_faults():
    done = run(*tool("hadolint"), str(DEPLOY / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_compose_file_is_one():
    done = run(*tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_is_one(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = (DEPLOY / "hyvae.service").read_text().replace("/opt/hyvae/bin/hyvae", sys.executable)
    (tmp_path / "hyvae.service").write_text(unit)
    done = run("systemd-analyze", "verify", "--man=no", str(tmp_path / "hyvae.service"))
    assert "hyvae.service" not in done.stderr, done.stderr


def test_what_the_image_copies_is_there_and_let_through():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [name for names in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.M) for name in names.split()]
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


@pytest.mark.slow
def test_the_images_steps_work_as_plain_commands(tmp_path):
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    steps = [step for step in re.findall(r"^RUN (.*)$", text, re.M) if "/opt/hyvae" in step]
    assert len(steps) == 2
    for name in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "locks", tmp_path / "locks")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for step in steps:
        done = run("bash", "-euc", step.replace("/opt/hyvae", str(tmp_path / "installed")), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    done = run(str(tmp_path / "installed" / "bin" / "hyvae"), "serve", "--help")
    assert "--workers" in done.stdout
