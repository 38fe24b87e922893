"""The claims: does the posterior collapse less, where should noise go, what is steadier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hyvae.evaluation.cells import Cell
from hyvae.evaluation.comparison import paired_difference
from hyvae.paper import figures
from hyvae.paper.blocks import Block, Part, Picture, Table, number
from hyvae.paper.cells import Cells
from hyvae.paper.curves import said
from hyvae.paper.experiments import BRANCHES, Plan, Training, collapse, repeats, row_of, table_2
from hyvae.paper.printed import TITLES
from hyvae.paper.tables import TEST_SHARE, difference_of

# the paper's
BETA = 0.2
NOISE = (("cdae", "mult_vae"), ("cdae", "rec_vae"), ("mult_dae", "mult_vae"))


# -- (a) posterior collapse -----------------------------------------------------------------------------


def wanted_for_claims(plan: Plan) -> list[Training]:
    """Trainings behind the claims."""
    swept = [t for by in collapse(plan).values() for by_beta in by.values() for each in by_beta.values() for t in each]
    noise = {key for pair in NOISE for key in pair}
    compared = [t for row, _, trainings in table_2(plan) if row.key in noise for t in trainings]
    return [*swept, *compared, *(t for _, _, trainings in repeats(plan) for t in trainings)]


def claims(plan: Plan, cells: Cells) -> Part:
    """The three claims, and what was found."""
    blocks = [*_collapse(plan, cells), *_noise(plan, cells), *_steadiness(plan, cells)]
    return Part("claims", "The claims", blocks)


def _collapse(plan: Plan, cells: Cells) -> list[Block]:
    measured = {
        data: {
            branches: {
                beta: _mean([_posterior(cells[training]) for training in trainings])
                for beta, trainings in by_beta.items()
            }
            for branches, by_beta in by_branches.items()
        }
        for data, by_branches in collapse(plan).items()
    }
    drawn = {
        data: {
            branches: figures.Measured(
                list(by_beta), {key: [found[key] for found in by_beta.values()] for key in figures.COLLAPSE}
            )
            for branches, by_beta in by_branches.items()
        }
        for data, by_branches in measured.items()
    }
    labels = {"vae": BRANCHES["vae"], "both": BRANCHES["both"]}
    first = collapse(plan)[plan.data[0]]["both"][BETA][0]
    seeds = len(collapse(plan)[plan.data[0]]["both"][BETA])
    title = "Posterior collapse: VAE against Hy-VAE"
    caption = (
        f"{title}, over the weight β of the KL term; splits: {seeds}, means over them. For example: {said(first)} "
        "Units are active whose mean varies over users by more than 0.01 (Burda et al. 2016); I(x; z) by the "
        "aggregated posterior of at most 4,096 users, whose logarithm bounds it; last row: the rise of the test "
        "RMSE where each user gets another's z."
    )
    rows = [
        _said_of_z(f"{TITLES[data]}, {BRANCHES[branches]}, β = {beta:g}", found)
        for data, by_branches in measured.items()
        for branches, by_beta in by_branches.items()
        for beta, found in by_beta.items()
    ]
    columns = ("model", "RMSE", "KL, nats", "active units", "I(x; z)", "z permuted", "without z", "without d")
    notes = ("The last three: change of the RMSE. Without: what the branch says, replaced by its mean over users.",)
    table = Table("collapse", "What z says, and who listens", columns, rows, notes)
    picture = Picture("collapse", title, caption, partial(figures.collapse, drawn, labels))
    return [
        "(a) Does the deterministic branch relieve posterior collapse?",
        picture,
        table,
        _collapse_verdict(measured),
    ]


def _said_of_z(name: str, found: Mapping[str, Any]) -> list[str]:
    return [
        name,
        number(found["rmse"]),
        number(found["kl"], 2),
        f"{found['active']:.4g} of {found['units']:g}",
        number(found["mutual_information"], 2),
        *(number(found[key], signed=True) for key in ("change", "without_z", "without_d")),
    ]


def _posterior(cell: Cell) -> dict[str, Any]:
    found = cell.posterior
    assert found is not None
    errors = found["rmse"]
    whole = errors["all"]
    without = {key: errors[key] - whole if key in errors else None for key in ("without_z", "without_d")}
    return {
        "rmse": whole,
        "kl": found["kl"],
        "active": found["active_units"],
        "units": found["units"],
        "active_share": found["active_units"] / found["units"],
        "mutual_information": found["mutual_information"],
        "change": errors["z_permuted"] - whole,
        **without,
    }


def _mean(found: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """Of each measure over the seeds."""
    values = {key: [each[key] for each in found] for key in found[0]}
    return {key: None if None in of else float(np.mean(of)) for key, of in values.items()}  # type: ignore[arg-type]


def _collapse_verdict(measured: Mapping[str, Any]) -> str:
    def more(key: str) -> int:
        return sum(by["both"][BETA][key] > by["vae"][BETA][key] for by in measured.values())

    n = len(measured)
    each = "; ".join(
        f"{TITLES[data]}: KL {by['both'][BETA]['kl']:.2f} against {by['vae'][BETA]['kl']:.2f} nats, active units "
        f"{by['both'][BETA]['active']:.4g} against {by['vae'][BETA]['active']:.4g}"
        for data, by in measured.items()
    )
    return (
        f"At the paper's β = {BETA:g}, z of Hy-VAE has more nats than that of the VAE alone on {more('kl')} of {n} "
        f"data sets, more active units on {more('active')}, and more mutual information with the user on "
        f"{more('mutual_information')}; predictions depend more on it (z permuted) on {more('change')}. {each}. "
        "A deterministic branch beside z can take over what z would have said: relief would show as more, not less."
    )


# -- (b) noise at the input or at the code --------------------------------------------------------------


def _noise(plan: Plan, cells: Cells) -> list[Block]:
    errors: dict[str, dict[str, list[float]]] = {}
    for row, data, trainings in table_2(plan):
        if any(row.key in pair for pair in NOISE):
            errors.setdefault(row.key, {})[data] = [cells[training].scores["rmse"] for training in trainings]
    rows, better = [], 0
    for one, other in NOISE:
        shown = [f"{row_of(one).label} less {row_of(other).label}"]
        for data in plan.data:
            difference = paired_difference(errors[one][data], errors[other][data], TEST_SHARE)
            better += difference.mean < 0
            shown.append(difference_of(errors[one][data], errors[other][data], TEST_SHARE))
        rows.append(shown)
    columns = ("RMSE", *(TITLES[data] for data in plan.data))
    notes = ("Below 0: noise at the input is better. Mult-DAE and Mult-VAE differ in little else than where noise is.",)
    table = Table("noise", "Noise at the input against noise at the code", columns, rows, notes)
    verdict = f"Noise at the input has the lower mean error in {better} of {len(NOISE) * len(plan.data)} comparisons."
    return ["(b) Is noise at the input better than noise at the code?", table, verdict]


# -- (c) steadiness -------------------------------------------------------------------------------------


def _steadiness(plan: Plan, cells: Cells) -> list[Block]:
    deviations: dict[str, dict[str, float | None]] = {}
    for branches, data, trainings in repeats(plan):
        values = [cells[training].scores["rmse"] for training in trainings]
        deviations.setdefault(branches, {})[data] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    rows = [[BRANCHES[branches], *(number(value, 5) for value in of.values())] for branches, of in deviations.items()]
    columns = ("branches", *(TITLES[data] for data in plan.data))
    n = len(next(trainings for _, _, trainings in repeats(plan)))
    table = Table(
        "steadiness", f"Standard deviation of the test RMSE over {n} training seeds, split seed 0", columns, rows
    )
    question = "(c) Is the deterministic model steadier over seeds?"
    if n < 2:
        return [question, table, "One seed tells nothing of it."]
    steadier = [data for data in plan.data if (deviations["deep"][data] or 0) < (deviations["vae"][data] or 0)]
    return [
        question,
        table,
        f"DeepAE varies less than the VAE on {len(steadier)} of {len(plan.data)} data sets. With {n} seeds the ratio "
        "of two such deviations is known to a factor of about three either way (95 %, F distribution).",
    ]
