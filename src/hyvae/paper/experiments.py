"""The experiments as data: which model in which preset with which settings, on which data, from which seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal, NamedTuple

DATA = ("ml-1m", "douban", "flixster")
SEEDS = {"ml-1m": 5, "douban": 5, "flixster": 10}
# Monti's own split: one test part, so that seeds are of training
MONTI = ("douban", "flixster")
MONTI_SEEDS = 5
REPEATS = 5

Protocol = Literal["random", "given", "repeated"]
PROTOCOLS: dict[Protocol, str] = {
    "random": "80/10/10 by rating, a split a seed, which is that of training too",
    "given": "Monti's fixed 90/10 split, a training a seed; nothing is validated",
    "repeated": "the 80/10/10 split of seed 0, a training a seed",
}


@dataclass(frozen=True)
class Training:
    """One model, trained on one part of one data set and tested on another.

    Attributes
    ----------
    protocol : str
        A key of `PROTOCOLS`.
    settings : dict
        Over the preset's.
    """

    data: str
    protocol: Protocol
    seed: int
    model: str
    preset: str = "default"
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{named(self.model, self.preset)} on {self.data}, {self.protocol} {self.seed}"


def named(model: str, preset: str) -> str:
    """``model:preset``, or the model alone in its default preset."""
    return model if preset == "default" else f"{model}:{preset}"


class Row(NamedTuple):
    """A system of Table II.

    Attributes
    ----------
    printed : str or None
        Which row of the paper it stands beside.
    tuned : bool
        Whether its settings are those of ``tuned.json``.
    changed : dict
        Settings over the preset's.
    """

    key: str
    label: str
    model: str
    preset: str = "default"
    printed: str | None = None
    tuned: bool = False
    changed: Mapping[str, Any] = {}


# the paper's model and ratings, with a head and steps that let it settle (docs/paper.md)
STEADY: dict[str, Any] = {
    "fusion": "folded",
    "optimiser": "adam",
    "schedule": "one_cycle",
    "learning_rate": 1e-3,
    "epochs": 60,
    "validate_every": 5,
    "patience": None,
}
#: as the paper orders them; what it does not have comes after
TABLE_2 = (
    Row("random", "RAND", "random", printed="random"),
    Row("macrid_vae", "MacridVAE", "macrid_vae", printed="macrid_vae", tuned=True),
    Row("mult_dae", "Mult-DAE", "mult_dae", printed="mult_dae", tuned=True),
    Row("cdae", "CDAE", "cdae", printed="cdae", tuned=True),
    Row("mult_vae", "Mult-VAE", "mult_vae", printed="mult_vae", tuned=True),
    Row("autorec", "I-AutoRec", "autorec", printed="autorec", tuned=True),
    Row("rec_vae", "RecVAE", "rec_vae", printed="rec_vae", tuned=True),
    Row("as_printed", "Hy-VAE, as printed", "hyvae", "paper", printed="hyvae"),
    Row("steady", "Hy-VAE, steadied", "hyvae", "paper", printed="hyvae", changed=STEADY),
    Row("tuned", "Hy-VAE, tuned", "hyvae", "paper", printed="hyvae", tuned=True),
    Row("flagship", "HyVAE(), ours", "hyvae"),
    Row("fast", "HyVAE(), its network alone", "hyvae", "fast"),
    Row("bias", "bias model", "bias"),
)
#: the best peer, whose errors on the same splits are kept as numbers
PEER = Row("peer", "myFM, ordered probit", "myfm")
#: the paper's Hy-VAE that is compared with all others, and the one by which its claims are judged: where settings are
#: tuned on few ratings, little of the network may be left
REFERENCE, JUDGED = "tuned", "steady"

# with the settings as printed, whose head with a layer over all items takes many minutes a seed: in Table III, and on
# Monti's split, where nothing stops it before its 500 epochs
PRINTED_SEEDS = 3

BRANCHES = {"deep": "DeepAE", "vae": "VAE", "both": "Hy-VAE"}
BETAS = (0.05, 0.1, 0.2, 0.5, 1.0)
# claim (b): one model, told to be noisy in one place. Without a KL term nothing holds up the variance of z
NOISE: dict[str, dict[str, Any]] = {
    "input": {"input_dropout": 0.5, "beta": 0.0},
    "code": {"input_dropout": 0.0, "beta": 0.2},
}
COLLAPSE_SEEDS = 3
# Fig. 3 and 4: the paper's optimiser to the end, with the head whose steps do not grow with the items (docs/paper.md)
CURVES: dict[str, Any] = {"fusion": "folded", "patience": None, "epochs": 300}
CURVE_BRANCHES = {"fig3": "vae", "fig4": "deep"}
# Fig. 5: hidden layers, and what stands on each side of the code
LAYERS: dict[int, tuple[int, ...]] = {3: (512,), 5: (512, 512), 7: (512, 512, 512)}
DEPTH: dict[str, Any] = {
    "latent": 256,
    "code_dropout": 0.0,
    "input_dropout": 0.0,
    "l2": 0.0,
    "learn_from": "all",
    "refeeds": 0,
    "tied": False,
    "optimiser": "adam",
    "learning_rate": 1e-4,
    "schedule": "constant",
    "batch_users": 500,
    "epochs": 100,
    "patience": None,
}

# --quick: 1,000 users, one seed, and these settings over all others
QUICK_USERS = 1000
QUICK: dict[str, dict[str, Any]] = {
    "random": {},
    "bias": {},
    "macrid_vae": {"latent": 32, "epochs": 8},
    "mult_dae": {"latent": 64, "epochs": 10},
    "cdae": {"width": 64, "epochs": 20},
    "mult_vae": {"hidden": (64,), "latent": 32, "epochs": 10},
    "autorec": {"width": 64, "epochs": 20, "validate_every": 10},
    "rec_vae": {"hidden": 64, "latent": 32, "layers": 2, "epochs": 4},
    "deep_ae": {"latent": 64, "epochs": 20},
    "hyvae:paper": {
        **{"hidden": 64, "latent": 64, "deep_layers": (64,), "decoder": 64},
        # steps enough for something to be learnt
        **{"epochs": 20, "batch_users": 100, "learning_rate": 1e-3},
    },
    "hyvae": {"samples": 16, "sample_width": 16, "chains": 2, "sweeps": 60},
    "hyvae:fast": {},
}
QUICK_WIDTH = 64


# what presets in standard units have, as it was chosen in raw ones
_IN_RAW_UNITS: dict[str, dict[str, Any]] = {
    "hyvae": {"l2": 50.0, "refine": 40.0},
    "hyvae:fast": {"l2": 50.0, "refine": 40.0},
    "autorec": {"l2": 4.0},
}


def in_raw_units(training: Training) -> dict[str, Any]:
    """The settings of a training, all of which are in raw units, as the papers are."""
    own = _IN_RAW_UNITS.get(named(training.model, training.preset), {})
    return {"units": "raw", **own, **training.settings}


def tuned(model: str, data: str) -> dict[str, Any]:
    """What a search on the validation part of split 0 came to (`benchmarks/rating_bars`): ``settings``, ``trials``."""
    return _packaged("tuned.json")[model][data]


def peer_errors(data: str, seeds: Sequence[int]) -> list[dict[str, float]] | None:
    """The best peer's errors on the splits of some seeds, or None where one is not known.

    ``rmse``, ``mae``, and of users' means ``um_…`` (`benchmarks/accuracy`).
    """
    known = {one["seed"]: one for one in _packaged("peer.json")["errors"].get(data, [])}
    return [known[seed] for seed in seeds] if set(seeds) <= set(known) else None


def _packaged(name: str) -> Any:
    return json.loads(files("hyvae.paper").joinpath(name).read_text(encoding="utf-8"))


class Plan(NamedTuple):
    """How much is done: the full study, or a quick look.

    Attributes
    ----------
    quick : bool
    data : tuple of str
    """

    quick: bool = False
    data: tuple[str, ...] = DATA

    @property
    def monti(self) -> tuple[str, ...]:
        """The data sets with a split of their own."""
        return tuple(data for data in self.data if data in MONTI)

    def seeds(self, full: int) -> range:
        """Seeds of an experiment that has so many."""
        return range(1 if self.quick else full)

    def training(self, data: str, protocol: Protocol, seed: int, row: Row, **settings: Any) -> Training:
        """Of a row of Table II, with some settings over its own."""
        own = named(row.model, row.preset)
        chosen = tuned(own, data)["settings"] if row.tuned else {}
        small = QUICK[own] if self.quick else {}
        return Training(data, protocol, seed, row.model, row.preset, {**chosen, **row.changed, **settings, **small})


def row_of(key: str) -> Row:
    """A row of Table II by its key."""
    return next(row for row in (*TABLE_2, PEER) if row.key == key)


def table_2(plan: Plan) -> Iterator[tuple[Row, str, list[Training]]]:
    """Trainings of each row and data set on random splits."""
    for data in plan.data:
        for row in TABLE_2:
            yield row, data, [plan.training(data, "random", seed, row) for seed in plan.seeds(SEEDS[data])]


def monti(plan: Plan) -> Iterator[tuple[Row, str, list[Training]]]:
    """The same on Monti's split."""
    for data in plan.monti:
        for row in TABLE_2:
            seeds = plan.seeds(PRINTED_SEEDS if row.key == "as_printed" else MONTI_SEEDS)
            yield row, data, [plan.training(data, "given", seed, row) for seed in seeds]


def table_3(plan: Plan, key: str) -> Iterator[tuple[str, str, list[Training]]]:
    """Each branch alone, and both, of one of Table II's rows of Hy-VAE."""
    for data in plan.data:
        for branches in BRANCHES:
            # what a whole one is in Table II is the same training here
            changed = {} if branches == "both" else {"branches": branches}
            seeds = plan.seeds(PRINTED_SEEDS if key == "as_printed" else SEEDS[data])
            trainings = [plan.training(data, "random", seed, row_of(key), **changed) for seed in seeds]
            yield branches, data, trainings


def curves(plan: Plan, branches: str) -> dict[str, Training]:
    """Fig. 3 and 4: one training a data set."""
    row = row_of("as_printed")
    return {data: plan.training(data, "random", 0, row, branches=branches, **CURVES) for data in plan.data}


def depths(plan: Plan) -> dict[str, dict[int, Training]]:
    """Fig. 5: by data set and number of hidden layers."""
    small = QUICK["deep_ae"] if plan.quick else {}
    made: dict[str, dict[int, Training]] = {}
    for data in plan.data:
        for layers, hidden in LAYERS.items():
            widths = tuple(QUICK_WIDTH for _ in hidden) if plan.quick else hidden
            settings = {**DEPTH, "hidden": widths, **small}
            made.setdefault(data, {})[layers] = Training(data, "random", 0, "deep_ae", settings=settings)
    return made


def collapse(plan: Plan) -> dict[str, dict[str, dict[float, list[Training]]]]:
    """Claim (a): by data set, branches and β, a training a seed."""
    row, seeds = row_of(JUDGED), plan.seeds(COLLAPSE_SEEDS)
    return {
        data: {
            branches: {
                beta: [plan.training(data, "random", seed, row, branches=branches, beta=beta) for seed in seeds]
                for beta in BETAS
            }
            for branches in ("vae", "both")
        }
        for data in plan.data
    }


def noise(plan: Plan) -> Iterator[tuple[str, str, list[Training]]]:
    """Claim (b): Mult-VAE with noise at its input, or at its code, and all else the same."""
    for data in plan.data:
        for place, settings in NOISE.items():
            row = row_of("mult_vae")
            yield (
                place,
                data,
                [plan.training(data, "random", seed, row, **settings) for seed in plan.seeds(SEEDS[data])],
            )


def repeats(plan: Plan) -> Iterator[tuple[str, str, list[Training]]]:
    """Claim (c): each branch, trained from several seeds on one split."""
    for data in plan.data:
        for branches in BRANCHES:
            changed = {} if branches == "both" else {"branches": branches}
            trainings = [
                plan.training(data, "repeated", seed, row_of(JUDGED), **changed) for seed in plan.seeds(REPEATS)
            ]
            yield branches, data, trainings
