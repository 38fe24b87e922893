"""The peers that hyvae is measured against, each in a virtual environment of its own, made when first asked for.

    python benchmarks/peers.py [NAME ...]      # make some, or all, now

An environment is `.peers/NAME`, from the pinned `benchmarks/peers/NAME.txt`; it is made anew when that file changes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from functools import cache
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "peers"
ENVIRONMENTS = Path(__file__).parent.parent / ".peers"
NAMES = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))


@cache
def python_of(name: str) -> str:
    """The interpreter of a peer's environment."""
    wanted = (REQUIREMENTS / f"{name}.txt").read_text()
    folder = ENVIRONMENTS / name
    python, installed = folder / "bin" / "python", folder / "requirements.txt"
    if not installed.exists() or installed.read_text() != wanted:
        print(f"installing {name} into {folder} …", file=sys.stderr)
        ENVIRONMENTS.mkdir(exist_ok=True)
        (ENVIRONMENTS / ".gitignore").write_text("*\n")
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(REQUIREMENTS / f"{name}.txt")], check=True)
        # written last: an installation that was cut short is made anew
        installed.write_text(wanted)
    return str(python)


@cache
def versions_of(python: str) -> dict[str, str]:
    """Every package that an interpreter has, with its version."""
    command = [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {package["name"]: package["version"] for package in listed}


if __name__ == "__main__":
    for wanted in sys.argv[1:] or NAMES:
        print(python_of(wanted))
