"""The checkpoint: all that the next step of a training run depends on, in one file that executes nothing.

A safetensors file. Its tensors are the model's state, the best weights so far, the optimiser's state and the states of
the random generators; its metadata hold, as JSON, everything else. `Keeper` decides when one is written, and whether
one that is there may be gone on from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from hyvae.errors import ConfigError, TrainingError
from hyvae.files import PART, cannot_be_written, held, place_of, require_regular, written_whole
from hyvae.models.base import Config, RatingModel, TrainingPlan
from hyvae.nn import kernels
from hyvae.nn.randomness import generator
from hyvae.ratings import Ratings
from hyvae.tensors import as_bytes, read_tensors, write_tensors
from hyvae.training.optimisers import Optimiser
from hyvae.verification import one_line
from hyvae.versions import installed
from hyvae.wording import say

SCHEMA = 1
_MOST_DIFFERENCES = 3

logger = logging.getLogger(__name__)

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpointing:
    """Where a training run keeps its checkpoint.

    Attributes
    ----------
    path : Path
    every : float
        Seconds of training between two checkpoints; 0: one after every optimiser step and epoch.
    resume : bool
        Go on from the checkpoint if there is one; else it is removed, and training starts afresh.
    start : str or None
        What tells the weights that training begins with, where the seed does not.

    Raises
    ------
    ConfigError
        A negative `every`.
    """

    path: Path
    every: float = 60.0
    resume: bool = False
    start: str | None = None

    def __post_init__(self) -> None:
        if not self.every >= 0:
            raise ConfigError(f"checkpoints are 0 or more seconds apart, got {self.every}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the checkpoint for one training, so that no second one writes to it, removes it or goes on from it.

        Raises
        ------
        TrainingError
            Another training holds it, or its folder cannot be written to.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(held(self.path))
            except OSError as error:
                raise TrainingError(cannot_be_written(self.path, error)) from error
            yield


def checkpoint_path(run: str | Path) -> Path:
    """The checkpoint that belongs to a run folder: beside it, since the folder itself is written whole."""
    place = place_of(run)
    if place.name in ("", ".."):
        place = place.resolve()
    return place.with_name(f"{place.name}.checkpoint")


# -- what is saved --------------------------------------------------------------------------------------


@dataclass
class Place:
    """How far training has come.

    Attributes
    ----------
    epoch : int
        The one that is running, from 1.
    done : int
        Optimiser steps of it that lie behind.
    step : int
        Optimiser steps of all epochs that lie behind.
    sums : dict of str to float
        Of each loss part, over the steps of this epoch.
    """

    epoch: Annotated[int, Field(ge=1)] = 1
    done: Annotated[int, Field(ge=0)] = 0
    step: Annotated[int, Field(ge=0)] = 0
    sums: dict[str, float] = field(default_factory=dict)


_PLACE = TypeAdapter(Place)


@dataclass
class State:
    """A training run between two steps.

    Attributes
    ----------
    place : Place
    history : dict
        ``rows`` and ``outcome`` of the `History` so far.
    seconds : float
        Since training began, without the time in which it stood still.
    model : dict of str to Tensor
    best : dict of str to Tensor or None
        The weights of the best validation so far.
    optimiser : dict
        ``state_dict`` of the optimiser.
    random : dict of str to Tensor
        From `random_states`.
    """

    place: Place
    history: dict[str, Any]
    seconds: float
    model: Tensors
    best: Tensors | None
    optimiser: dict[str, Any]
    random: Tensors


def random_states(device: str) -> Tensors:
    """The states of the generators that training on `device` draws from."""
    return {torch.device(each).type: _generator(each).get_state() for each in {"cpu", device}}


def set_random_states(states: Tensors, device: str) -> None:
    """Put the generators back into the states that `random_states` gave; a device that had none draws on."""
    _generator("cpu").set_state(states["cpu"])
    kind = torch.device(device).type
    if kind != "cpu" and kind in states:
        _generator(device).set_state(states[kind])


def _generator(device: str) -> torch.Generator:
    own = generator(device)
    assert own is not None  # training has one
    return own


def describe_job(
    model: str,
    config: Config,
    plan: TrainingPlan,
    *,
    seed: int,
    train: Ratings,
    validation: Ratings | None = None,
    given: Ratings | None = None,
    start: str | None = None,
) -> dict[str, Any]:
    """All that the trained weights follow from: two trainings with the same description end in the same weights."""

    def fingerprint(ratings: Ratings | None) -> str | None:
        return ratings.fingerprint if ratings is not None and len(ratings) else None

    settings = config.model_dump(mode="json") | plan.model_dump(mode="json")
    if settings["units"] == "raw":
        del settings["units"]  # as before there were others: the same job
    return {
        "model": model,
        "seed": seed,
        "training ratings": fingerprint(train),
        "validation ratings": fingerprint(validation),
        "given ratings": fingerprint(given),
        "first weights": start,
        "scale": list(train.scale),
        **{f"setting {key}": value for key, value in settings.items()},
    }


def job_hash(job: dict[str, Any]) -> str:
    """SHA-256 of a job's description; it goes into a run's ``provenance.json``."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()


# -- when, and whose ------------------------------------------------------------------------------------


class Keeper:
    """Keeps the checkpoint of one training run.

    Parameters
    ----------
    checkpointing : Checkpointing
    job : dict
        From `describe_job`.
    device : str
    """

    def __init__(self, checkpointing: Checkpointing, job: dict[str, Any], device: str) -> None:
        self.path, self.every, self.resume = checkpointing.path, checkpointing.every, checkpointing.resume
        self.job = job
        self.circumstances = {
            "device": device,
            "threads": torch.get_num_threads(),
            "kernels": kernels.way(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            **{package: installed(package) for package in ("hyvae", "torch")},
        }
        self.latest = time.monotonic()

    def start(self) -> State | None:
        """The state to go on from, if there is one and it is wanted. Shows at once if no checkpoint can be written.

        Raises
        ------
        TrainingError
            The checkpoint is damaged or of another job, or its folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            part = self.path.with_name(f"{self.path.name}{PART}")
            part.touch()
            part.unlink()
            if self.path.exists() and not self.resume:
                self.path.unlink()
                unsaid = say("resume=True", "--resume")
                logger.warning("%s is removed: training starts afresh, as %s was not given", self.path, unsaid)
        except OSError as error:
            raise TrainingError(cannot_be_written(self.path, error)) from error
        return self._read() if self.path.exists() else None

    def _read(self) -> State:
        state, job, circumstances = read_checkpoint(self.path)
        differing = _differences(job, self.job)
        if differing:
            raise TrainingError(
                f"{self.path} is of another training: {'; '.join(differing)}; "
                f"train as then, choose another place, or start afresh without {say('resume=True', '--resume')}"
            )
        for difference in _differences(circumstances, self.circumstances):
            logger.warning("%s: %s: the weights may differ in their last bits", self.path, difference)
        logger.info("going on from %s at step %d", self.path, state.place.step)
        return state

    @property
    def is_due(self) -> bool:
        """Whether the latest checkpoint is old enough for another one."""
        return time.monotonic() - self.latest >= self.every

    def save(self, state: State) -> None:
        """Write a checkpoint in the place of the one before.

        Raises
        ------
        TrainingError
            It cannot be written; the one before is as it was.
        """
        try:
            write_checkpoint(self.path, state, self.job, self.circumstances)
        except OSError as error:
            raise TrainingError(cannot_be_written(self.path, error)) from error
        self.latest = time.monotonic()


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """The keys in which two descriptions differ, with their values where a person can read them."""
    found = []
    for key in dict.fromkeys([*here, *there]):
        before, now = there.get(key), here.get(key)
        if before != now:
            found.append(f"other {key}" if key.endswith(" ratings") else f"{key} was {before} and is {now} now")
    more = len(found) - _MOST_DIFFERENCES
    return found if more <= 0 else [*found[:_MOST_DIFFERENCES], f"and {more} more"]


# -- the file -------------------------------------------------------------------------------------------


def write_checkpoint(path: Path, state: State, job: dict[str, Any], circumstances: dict[str, Any]) -> None:
    """Write a checkpoint beside its place, see it onto the disk and rename it there.

    Raises
    ------
    OSError
    """
    tensors, optimiser = _flat(state.optimiser)
    for prefix, group in (("model", state.model), ("best", state.best or {}), ("random", state.random)):
        tensors |= {f"{prefix}.{name}": tensor for name, tensor in group.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = {
        "schema": SCHEMA,
        "job": job,
        "circumstances": circumstances,
        "place": asdict(state.place),
        "history": state.history,
        "seconds": state.seconds,
        "optimiser": optimiser,
    }
    text = json.dumps(content)
    with written_whole(path) as part, part.open("wb") as file:
        write_tensors(file, tensors, {"checkpoint": text, "checksum": _checksum(text, tensors)})


def read_checkpoint(path: Path) -> tuple[State, dict[str, Any], dict[str, Any]]:
    """A checkpoint's state, the job that it belongs to, and the circumstances in which it was written.

    Raises
    ------
    TrainingError
        It cannot be read, is damaged, or was written by a newer hyvae.
    """
    mend = "remove it and train from the start"
    try:
        require_regular(path)
        mapped, metadata = read_tensors(path)
        # clones: training writes into them, and the file is replaced by the next checkpoint
        tensors = {name: tensor.clone() for name, tensor in mapped.items()}
        text = metadata["checkpoint"]
        if metadata["checksum"] != _checksum(text, tensors):
            raise ValueError("its checksum does not fit")
        content = json.loads(text)
        if content["schema"] > SCHEMA:
            newer = f"{path} has schema {content['schema']}, this hyvae reads up to {SCHEMA}"
            raise TrainingError(f"{newer}; install a newer hyvae, or {mend}")
        state = State(
            place=_PLACE.validate_python(content["place"]),
            history=content["history"],
            seconds=content["seconds"],
            model=_group(tensors, "model."),
            best=_group(tensors, "best.") or None,
            optimiser=_unflat(tensors, content["optimiser"]),
            random=_group(tensors, "random."),
        )
    except KeyError as error:
        raise TrainingError(f"{path} is not a checkpoint of hyvae: it has no {error}; {mend}") from error
    except TrainingError:
        raise
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or error}; {mend}") from error
    # a file may hold anything, and its checksum fit it
    except Exception as error:
        raise TrainingError(f"{path} is damaged: {one_line(error)}; {mend}") from error
    return state, content["job"], content["circumstances"]


def check_fits(state: State, model: RatingModel, optimiser: Optimiser) -> None:
    """Compare a checkpoint's tensors with those of the training that is to go on from it.

    Kernels trust the sizes of what they move, and the best weights are looked at in the end only.

    Parameters
    ----------
    optimiser : Optimiser
        With the checkpoint's state.

    Raises
    ------
    ValueError
    """
    for part, tensors in (("model", state.model), ("best", state.best)):
        for name, wanted in model.state_dict().items() if tensors is not None else ():
            found = (tensors or {}).get(name)
            if found is None or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
                raise ValueError(f"{part}.{name} is missing, or of another shape or type")
    for parameter, values in optimiser.state.items():
        for name, value in values.items():
            shape, dtype = parameter.shape, parameter.dtype
            if name in ("step", "latest"):
                shape, dtype = (shape[:0], torch.float32) if name == "step" else (shape[:1], torch.int32)
            if not isinstance(value, Tensor) or (value.shape, value.dtype) != (shape, dtype):
                raise ValueError(f"the optimiser's {name} is of another shape or type")


def _group(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _flat(optimiser: dict[str, Any]) -> tuple[Tensors, dict[str, Any]]:
    """The tensors of an optimiser's state, as ``optimiser.0.exp_avg``, and what else there is in it."""
    tensors: Tensors = {}
    scalars: dict[str, dict[str, Any]] = {}
    for number, values in optimiser["state"].items():
        scalars[str(number)] = {}
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimiser.{number}.{name}"] = value
            else:
                scalars[str(number)][name] = value
    return tensors, {"state": scalars, "param_groups": optimiser["param_groups"]}


def _unflat(tensors: Tensors, optimiser: dict[str, Any]) -> dict[str, Any]:
    state = {
        int(number): {**scalars, **_group(tensors, f"optimiser.{number}.")}
        for number, scalars in optimiser["state"].items()
    }
    return {"state": state, "param_groups": optimiser["param_groups"]}


def _checksum(text: str, tensors: Tensors) -> str:
    value = zlib.crc32(text.encode())
    for name in sorted(tensors):
        value = zlib.crc32(as_bytes(tensors[name]), zlib.crc32(name.encode(), value))
    return f"{value:08x}"
