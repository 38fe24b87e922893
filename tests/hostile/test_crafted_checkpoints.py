"""Checkpoints that were made to do harm, with a checksum that fits: one clear line before any step, and it stays."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hyvae import HyVAE
from hyvae.errors import TrainingError
from hyvae.tensors import read_tensors, write_tensors
from hyvae.training.checkpoint import _checksum

SMALL = {"hidden": 8, "latent": 3, "deep_layers": (4,), "epochs": 2, "samples": 0, "validate_every": 1}
MISFIT = "does not fit this version"
DEEP = '{"a":' * 100_000
Damage = Callable[[Path], Any]
Tensors = dict[str, torch.Tensor]


def rewritten(path: Path, tensors: Tensors, text: str) -> None:
    with path.open("wb") as file:
        write_tensors(file, tensors, {"checkpoint": text, "checksum": _checksum(text, tensors)})


def contents(change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Another content, or another text."""

    def damage(path: Path) -> None:
        tensors, metadata = read_tensors(path)
        content = json.loads(metadata["checkpoint"])
        changed = change(content)
        text = changed if isinstance(changed, str) else json.dumps(content if changed is None else changed)
        rewritten(path, copies(tensors), text)

    return damage


def copies(tensors: Tensors) -> Tensors:
    """Not the pages of the file that is about to be written."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def put(*place: str, value: Any) -> Damage:
    def change(content: dict[str, Any]) -> None:
        for key in place[:-1]:
            content = content[key]
        content[place[-1]] = value

    return contents(change)


def tensors_of(prefix: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Damage:
    def damage(path: Path) -> None:
        tensors, metadata = read_tensors(path)
        found = {name: change(t) if name.startswith(prefix) else t for name, t in copies(tensors).items()}
        kept = {name: tensor.contiguous() for name, tensor in found.items() if tensor is not None}
        rewritten(path, kept, metadata["checkpoint"])

    return damage


def replaced(make: Callable[[Path], Any]) -> Damage:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


CRAFTS: dict[str, tuple[Damage, str]] = {
    "a pipe": (replaced(os.mkfifo), "it is not a regular file"),
    "a device": (replaced(lambda path: path.symlink_to("/dev/zero")), "it is not a regular file"),
    "a folder": (replaced(os.mkdir), "it is not a regular file"),
    "an endless header": (lambda path: path.write_bytes((2**40).to_bytes(8, "little") + b"{"), "is damaged"),
    "deep JSON": (contents(lambda content: DEEP), "is damaged"),
    "a list": (contents(lambda content: []), "is damaged"),
    "a schema of words": (put("schema", value="one"), "is damaged"),
    "no place": (put("place", value=None), "is damaged"),
    "an epoch before the first": (put("place", "epoch", value=-1), "is damaged: epoch: .*greater"),
    "half a step": (put("place", "done", value=0.5), "is damaged: done: "),
    "sums of words": (put("place", "sums", value={"rec": "much"}), "is damaged: sums.rec: "),
    "no optimiser": (put("optimiser", value=[]), "is damaged"),
    "states of nobody": (put("optimiser", "state", value={"9999": {}}), MISFIT),
    "groups of nobody": (put("optimiser", "param_groups", value=[]), MISFIT),
    "a rate of words": (
        put("optimiser", "param_groups", value=[{"params": "all", "lr": "x"}]),
        MISFIT,
    ),
    "no seconds": (put("seconds", value="long"), MISFIT),
    "rows of something else": (put("history", "rows", value=[{"slope": 1}]), MISFIT),
    "weights of another shape": (tensors_of("model.", lambda t: t.reshape(1, -1)), MISFIT),
    "weights of another type": (tensors_of("model.", lambda t: t.double()), rf"{MISFIT}.*model\."),
    "no best weights of its shape": (
        tensors_of("best.", lambda t: t.reshape(-1)[:1]),
        rf"{MISFIT}.*best\.",
    ),
    "averages of another shape": (
        tensors_of("optimiser.0.exp", lambda t: t.reshape(-1)[:1]),
        MISFIT,
    ),
    "averages of another type": (
        tensors_of("optimiser.0.exp", lambda t: t.to(torch.int32)),
        MISFIT,
    ),
    "steps of many numbers": (tensors_of("optimiser.0.step", lambda t: torch.ones(5)), MISFIT),
    "no random numbers": (tensors_of("random.", lambda t: None), MISFIT),
    "few random numbers": (tensors_of("random.", lambda t: t[:7]), MISFIT),
}


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "run.checkpoint"
    HyVAE(**SMALL).fit(*parts, checkpoint=path, checkpoint_every=0, progress=False)
    return path.read_bytes()


@pytest.fixture
def path(whole, tmp_path) -> Path:
    (tmp_path / "run.checkpoint").write_bytes(whole)
    return tmp_path / "run.checkpoint"


@pytest.mark.parametrize(("damage", "says"), CRAFTS.values(), ids=CRAFTS)
def test_it_is_refused_in_one_line(damage, says, path, parts):
    damage(path)
    before = path.lstat().st_mode, path.lstat().st_size
    with pytest.raises(
        TrainingError, match=rf"run\.checkpoint .*{says}.*; remove it and train from the start"
    ) as error:
        HyVAE(**SMALL).fit(*parts, checkpoint=path, resume=True, progress=False)
    assert "\n" not in str(error.value)
    assert (path.lstat().st_mode, path.lstat().st_size) == before


def test_the_crafts_are_what_is_refused(path, parts):
    contents(lambda content: None)(path)
    assert HyVAE(**SMALL).fit(*parts, checkpoint=path, resume=True, progress=False).training.epochs
