"""The claims: does the posterior collapse less, where should noise go, what is steadier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from hyvae.evaluation.cells import Cell
from hyvae.paper import figures
from hyvae.paper.blocks import Block, Part, Picture, Table, number
from hyvae.paper.cells import Cells
from hyvae.paper.curves import said
from hyvae.paper.experiments import BRANCHES, NOISE, Plan, Training, collapse, noise, repeats, row_of, table_2
from hyvae.paper.printed import TITLES
from hyvae.paper.tables import CLEAR, LEGEND, TEST_SHARE, difference_of

# the paper's
BETA = 0.2
# systems with noise at the input, less such with noise at the code
SYSTEMS = (("cdae", "mult_vae"), ("cdae", "rec_vae"), ("mult_dae", "mult_vae"))
_SYSTEMS = {key for pair in SYSTEMS for key in pair}
# what more of would show that the posterior has collapsed less
RELIEF = {"kl": "KL, nats", "active": "active units", "mutual_information": "I(x; z), nats", "change": "z permuted"}


# -- (a) posterior collapse -----------------------------------------------------------------------------


def wanted_for_claims(plan: Plan) -> list[Training]:
    """Trainings behind the claims."""
    swept = [t for by in collapse(plan).values() for by_beta in by.values() for each in by_beta.values() for t in each]
    compared = [t for row, _, trainings in table_2(plan) if row.key in _SYSTEMS for t in trainings]
    controlled = [t for study in (noise, repeats) for _, _, trainings in study(plan) for t in trainings]
    return [*swept, *compared, *controlled]


def claims(plan: Plan, cells: Cells) -> Part:
    """The three claims, and what was found."""
    blocks = [*_collapse(plan, cells), *_noise(plan, cells), *_steadiness(plan, cells)]
    return Part("claims", "The claims", blocks)


def _collapse(plan: Plan, cells: Cells) -> list[Block]:
    # by data set, branches and β: a training a seed
    each = {
        data: {
            branches: {beta: [_posterior(cells[training]) for training in trainings] for beta, trainings in by.items()}
            for branches, by in by_branches.items()
        }
        for data, by_branches in collapse(plan).items()
    }
    means = {
        data: {branches: {beta: _mean(found) for beta, found in by.items()} for branches, by in by_branches.items()}
        for data, by_branches in each.items()
    }
    drawn = {
        data: {
            branches: figures.Measured(
                list(by_beta), {key: [found[key] for found in by_beta.values()] for key in figures.COLLAPSE}
            )
            for branches, by_beta in by_branches.items()
        }
        for data, by_branches in means.items()
    }
    labels = {"vae": BRANCHES["vae"], "both": BRANCHES["both"]}
    examples = collapse(plan)[plan.data[0]]["both"][BETA]
    title = "Posterior collapse: VAE against Hy-VAE"
    caption = (
        f"{title}, over the weight β of the KL term; splits: {len(examples)}, means over them. For example: "
        f"{said(examples[0])} Units are active whose mean has a variance over users of more than 0.01 (Burda et al. "
        "2016); I(x; z) by the aggregated posterior of at most 4,096 users, whose logarithm bounds it; last row: the "
        "rise of the test RMSE where each user gets another's z."
    )
    rows = [
        _said_of_z(f"{TITLES[data]}, {BRANCHES[branches]}, β = {beta:g}", found)
        for data, by_branches in means.items()
        for branches, by_beta in by_branches.items()
        for beta, found in by_beta.items()
    ]
    columns = ("model", "RMSE", "KL, nats", "active units", "I(x; z)", "z permuted", "without z", "without d")
    notes = (
        "I(x; z) in nats, and the logarithm of the number of users, which bounds the estimate: near it, more cannot be "
        "told from most.",
        "The last three: change of the RMSE, over test ratings of users and items with training ratings. Without: what "
        "the branch says, replaced by its mean over users.",
        "Both as the row of Table II that is called steadied: raw ratings in, as in the paper.",
    )
    return [
        "(a) Does the deterministic branch relieve posterior collapse?",
        Picture("collapse", title, caption, partial(figures.collapse, drawn, labels)),
        Table("collapse", "What z says, and who listens", columns, rows, notes),
        *_relief({data: {branches: by[BETA] for branches, by in found.items()} for data, found in each.items()}),
    ]


def _said_of_z(name: str, found: Mapping[str, Any]) -> list[str]:
    return [
        name,
        number(found["rmse"]),
        number(found["kl"], 2),
        f"{found['active']:.4g} of {found['units']:g}",
        f"{number(found['mutual_information'], 2)} of {number(found['log_users'], 2)}",
        *(number(found[key], signed=True) for key in ("change", "without_z", "without_d")),
    ]


def _posterior(cell: Cell) -> dict[str, Any]:
    found = cell.posterior
    assert found is not None
    errors = found["rmse"]
    whole = errors["all"]
    without = {key: errors[key] - whole if key in errors else None for key in ("without_z", "without_d")}
    return {
        "rmse": cell.scores["rmse"],
        "kl": found["kl"],
        "active": found["active_units"],
        "units": found["units"],
        "active_share": found["active_units"] / found["units"],
        "mutual_information": found["mutual_information"],
        "log_users": found["log_users"],
        "change": errors["z_permuted"] - whole,
        **without,
    }


def _mean(found: Sequence[Mapping[str, float | None]]) -> dict[str, Any]:
    """Of each measure over the seeds."""
    values = {key: [each[key] for each in found] for key in found[0]}
    return {key: None if None in of else float(np.mean(of)) for key, of in values.items()}  # type: ignore[arg-type]


def _relief(found: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]]) -> list[Block]:
    """Hy-VAE less the VAE at the paper's β, paired by split."""
    rows, clear = [], []
    for data, by_branches in found.items():
        values = {key: [[one[key] for one in by_branches[of]] for of in ("both", "vae")] for key in RELIEF}
        shown = [difference_of(both, alone, TEST_SHARE) for both, alone in values.values()]
        rows.append([TITLES[data], *shown])
        clear += [cell for cell in shown if cell.endswith(CLEAR)]
    title = f"Hy-VAE less the VAE alone, at the paper's β = {BETA:g}"
    table = Table("relief", title, ("", *RELIEF.values()), rows, (LEGEND,))
    more = sum(not cell.startswith("−") for cell in clear)
    verdict = (
        "Relief would show as more, not less: a deterministic branch beside z can also take over what z would have "
        f"said. Of {len(rows) * len(RELIEF)} differences {len(clear)} are clear of 0; of these, {more} are more, and "
        f"{len(clear) - more} less."
    )
    return [table, verdict]


# -- (b) noise at the input or at the code --------------------------------------------------------------


def _noise(plan: Plan, cells: Cells) -> list[Block]:
    errors: dict[str, dict[str, list[float]]] = {}
    compared = ((row.key, data, trainings) for row, data, trainings in table_2(plan) if row.key in _SYSTEMS)
    for name, data, trainings in (*compared, *noise(plan)):
        errors.setdefault(name, {})[data] = [cells[training].scores["rmse"] for training in trainings]

    def differences(one: str, other: str) -> list[str]:
        return [difference_of(errors[one][data], errors[other][data], TEST_SHARE) for data in plan.data]

    controlled = ["Mult-VAE, noise at its input less noise at its code", *differences("input", "code")]
    rows = [[f"{row_of(one).label} less {row_of(other).label}", *differences(one, other)] for one, other in SYSTEMS]
    columns = ("RMSE", *(TITLES[data] for data in plan.data))
    told = {place: ", ".join(f"{key}={value:g}" for key, value in changed.items()) for place, changed in NOISE.items()}
    notes = (
        f"Below 0: noise at the input is better. The first row is one model in two settings, {told['input']} and "
        f"{told['code']}, the rest as tuned. With β = 0 nothing holds up the variance of z, and it is learnt away.",
        "The others compare systems, which differ in more: Mult-VAE as tuned has noise at its input too, widths and "
        "penalties are not the same, and CDAE has a vector of each user.",
        LEGEND,
    )
    table = Table("noise", "Noise at the input against noise at the code", columns, [controlled, *rows], notes)
    clear = [cell for cell in controlled[1:] if cell.endswith(CLEAR)]
    better = sum(cell.startswith("−") for cell in clear)
    verdict = (
        f"In the one model, noise at the input is clearly better on {better} of {len(plan.data)} data sets, and "
        f"clearly worse on {len(clear) - better}."
    )
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
    title = f"Standard deviation of the test RMSE over training seeds ({n}), split seed 0, steadied"
    table = Table("steadiness", title, columns, rows)
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
