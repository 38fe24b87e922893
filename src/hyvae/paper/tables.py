"""Tables I, II and III: what the paper prints, and what came out here beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hyvae.data.describe import describe
from hyvae.evaluation.cells import Cell
from hyvae.evaluation.comparison import COVERAGE, Estimate, mean_estimate, paired_difference
from hyvae.paper import printed
from hyvae.paper.blocks import DASH, Block, Part, Table, number, percent, with_half
from hyvae.paper.cells import Cells
from hyvae.paper.experiments import (
    BRANCHES,
    MONTI_SEEDS,
    PEER,
    PRINTED_SEEDS,
    PROTOCOLS,
    REFERENCE,
    SEEDS,
    TABLE_2,
    Plan,
    Protocol,
    Row,
    Training,
    monti,
    named,
    peer_errors,
    row_of,
    table_2,
    table_3,
    tuned,
)
from hyvae.ratings import Ratings

LEGEND = (
    "± is half of a 95 % interval (Student's t, corrected for splits that share data; Nadeau, Bengio 2003); * marks "
    "differences, paired by split, whose interval leaves out 0 (not corrected for their number)."
)
# n_test/n_train of an 80/10/10 split, by which the variance over splits that share data is corrected
TEST_SHARE = 1 / 8
IMPOSSIBLE, OFF = "†", "‡"
# of a difference whose interval leaves out 0
CLEAR = "*"
# a printed RAND may differ by so much from what a uniform draw gives before it is marked
FAR = 0.1
MEASURES = {"mae": "MAE", "rmse": "RMSE", "user_mae": "user-mean MAE", "user_rmse": "user-mean RMSE"}
PEER_KEYS = {"mae": "mae", "rmse": "rmse", "user_mae": "um_mae", "user_rmse": "um_rmse"}

Scores = Mapping[str, Sequence[float]]


def scores_of(cells: Sequence[Cell]) -> dict[str, list[float]]:
    """Values of each measure, one a seed."""
    return {measure: [cell.scores[measure] for cell in cells] for measure in MEASURES}


# -- Table I --------------------------------------------------------------------------------------------


def table_one(plan: Plan, cells: Cells) -> Part:
    """Table I, from the data."""
    rows = []
    for data in plan.data:
        said, found = printed.TABLE_1[data], describe(cells.ratings(data))
        name = printed.TITLES[data]
        rows += [
            _beside(f"{name}: users", said.users, found["users"], found["listed_users"]),
            _beside(f"{name}: items", said.items, found["items"], found["listed_items"]),
            [f"{name}: interactions", f"{said.interactions:,}", f"{found['ratings']:,}", DASH],
            [
                f"{name}: sparsity",
                percent(said.sparsity, 2),
                percent(1 - found["density"], 2),
                percent(1 - found["listed_density"], 2),
            ],
        ]
    notes = (
        "Rated: with at least one rating, which is what can be learnt from. Listed: named by the files, rated or not.",
        "MovieLens-1M: the printed 3,952 is the highest film number; 3,883 films are listed, and 3,706 of them rated. "
        "The printed sparsity is that of 6,040 × 3,952.",
        "Douban and Flixster: Monti's matrices are 3,000 × 3,000. The printed 3,001, 2,999 and 2,998 are neither their "
        "size nor the number of rated rows and columns; in Flixster's matrix 659 users have no rating at all.",
    )
    columns = ("", "printed", "rated", "listed")
    return Part("table1", "Table I: the data", [Table("table1", "Statistics of the data sets", columns, rows, notes)])


def _beside(name: str, said: int, rated: int, listed: int) -> list[str]:
    return [name, f"{said:,}", f"{rated:,}", f"{listed:,}"]


# -- Table II -------------------------------------------------------------------------------------------


def wanted_for_two(plan: Plan) -> list[Training]:
    """Trainings behind Table II."""
    return [each for study in (table_2, monti) for _, _, trainings in study(plan) for each in trainings]


def table_two(plan: Plan, cells: Cells) -> Part:
    """Table II: errors of all systems, on random splits and on Monti's."""
    blocks: list[Block] = []
    found = _results(plan, cells)
    for data, results in found.items():
        expected = uniform_rmse(cells.ratings(data))
        notes = [
            _sentence("random"),
            _OF_FORMS,
            _of_the_choices("random"),
            _OF_OURS,
            *_of_what_is_printed(data, expected),
        ]
        blocks.append(_errors_table(f"table2-{data}", data, results, TEST_SHARE, notes, uniform=expected))
    if plan.monti:
        fixed: dict[str, dict[str, Scores]] = {}
        for row, data, trainings in monti(plan):
            fixed.setdefault(data, {})[row.key] = scores_of([cells[training] for training in trainings])
        for data, results in fixed.items():
            if not plan.quick:
                _add_peer(results, f"{data}-monti", plan.seeds(MONTI_SEEDS))
            notes = [_sentence("given"), _of_the_choices("given"), _OF_OURS]
            if not plan.quick:
                notes.insert(1, _OF_FEWER_SEEDS)
            blocks.append(_errors_table(f"table2-monti-{data}", data, results, 0.0, notes))
    blocks.append(_improvements(found))
    return Part("table2", "Table II: errors of all systems", blocks)


_OF_FORMS = (
    "Hy-VAE in three forms: as printed; steadied, which is the same model of the same raw ratings with its two output "
    "layers folded into one and Adam's steps, a cycle of 60 epochs; tuned, of ratings less the bias model's effects, "
    "with the settings that a search chose, which on few ratings leave little beside the bias model (docs/paper.md)."
)
_OF_FEWER_SEEDS = (
    f"Hy-VAE as printed: seeds 0 to {PRINTED_SEEDS - 1}, each for its 500 epochs, as no validation part stops it."
)
_OF_OURS = (
    "HyVAE() is not the paper's model: its answer is the mean of a two-sided network's and of draws from the posterior "
    "of a linear one, which do most of it; the network alone stands below it."
)


def _results(plan: Plan, cells: Cells) -> dict[str, dict[str, Scores]]:
    """Scores on random splits, by data set and row; the peer's too, where they are known for these splits."""
    found: dict[str, dict[str, Scores]] = {}
    for row, data, trainings in table_2(plan):
        found.setdefault(data, {})[row.key] = scores_of([cells[training] for training in trainings])
    if not plan.quick:
        for data, results in found.items():
            _add_peer(results, data, plan.seeds(SEEDS[data]))
    return found


def _add_peer(results: dict[str, Scores], name: str, seeds: Sequence[int]) -> None:
    errors = peer_errors(name, seeds)
    if errors is not None:
        results[PEER.key] = {measure: [one[key] for one in errors] for measure, key in PEER_KEYS.items()}


def _errors_table(
    name: str,
    data: str,
    results: Mapping[str, Scores],
    share: float,
    notes: Sequence[str],
    *,
    uniform: float | None = None,
) -> Table:
    """A row a system; beside what is printed, where the RMSE of a uniform draw is given."""
    n = len(next(iter(results.values()))["rmse"])
    rows = []
    for row in (*TABLE_2, PEER):
        if row.key not in results:
            continue
        scores = results[row.key]
        cells = [row.label]
        if uniform is not None:
            cells += _said(row, data, uniform)
        cells += [_shown(mean_estimate(scores[measure], share)) for measure in MEASURES]
        for reference in (REFERENCE, "flagship"):
            known = row.key != reference and reference in results
            cells.append(_paired(scores, results[reference], share) if known else DASH)
        rows.append(cells)
    columns = ["model", *(["printed MMAE", "printed MRMSE"] if uniform is not None else []), *MEASURES.values()]
    columns += [f"RMSE less that of {row_of(REFERENCE).label}", f"RMSE less that of {row_of('flagship').label}"]
    seeds = f"seeds 0 to {n - 1}" if n > 1 else "seed 0 alone, so that there are no intervals"
    what = printed.TITLES[data] + ("" if uniform is not None else ", Monti's split")
    return Table(name, f"{what}, {seeds}", columns, rows, notes)


def _said(row: Row, data: str, uniform: float) -> list[str]:
    """What is printed, marked where it cannot be."""
    if row.printed is None:
        return [DASH, DASH]
    said = printed.TABLE_2[row.printed][data]
    if said.impossible:
        return [f"{said.mmae:.3f}{IMPOSSIBLE}", f"{said.mrmse:.3f}{IMPOSSIBLE}"]
    return [f"{said.mmae:.3f}", f"{said.mrmse:.3f}{OFF if row.printed == 'random' and _is_off(data, uniform) else ''}"]


def _is_off(data: str, uniform: float) -> bool:
    return abs(printed.TABLE_2["random"][data].mrmse / uniform - 1) > FAR


def _of_what_is_printed(data: str, uniform: float) -> Iterator[str]:
    """What the marks mean."""
    yield (
        "MAE and RMSE are pooled over all test ratings; the user means are each user's error, averaged over users. The "
        "paper does not say which it prints."
    )
    if any(errors[data].impossible for errors in printed.TABLE_2.values()):
        yield f"{IMPOSSIBLE} MMAE above MRMSE, which no single way to average can give; not imitated."
    said = printed.TABLE_2["random"][data].mrmse
    mark = OFF if _is_off(data, uniform) else "RAND:"
    yield f"{mark} a draw of the levels, each with the same chance, has RMSE {uniform:.3f}; printed is {said:.3f}."


def uniform_rmse(ratings: Ratings) -> float:
    """Root of the mean squared error that drawing each level with equal chance must have, of all ratings."""
    levels, counts = np.unique(ratings.values.astype(np.float64), return_counts=True)
    squares = (levels[:, None] - levels[None, :]) ** 2
    return float(np.sqrt(counts @ squares.mean(1) / counts.sum()))


def _sentence(protocol: Protocol) -> str:
    told = PROTOCOLS[protocol]
    return f"{told[0].upper()}{told[1:]}. " + (
        LEGEND
        if protocol == "random"
        else "± is half of a 95 % interval over training seeds: of the training's chance alone, as all share one test "
        "part; differences are of means."
    )


def _of_the_choices(protocol: Protocol) -> str:
    """What tuning has seen."""
    seen = "the test part of Monti's split" if protocol == "given" else "the test parts of the other splits"
    return (
        "Settings of tuned rows, and the defaults of HyVAE(), were chosen by the validation part of random split 0 "
        f"(trials: table of settings), and so with ratings that are in {seen}: small differences may be due to that."
    )


def _shown(estimate: Estimate) -> str:
    return with_half(estimate.mean, estimate.half_width)


def _paired(scores: Scores, reference: Scores, share: float) -> str:
    return difference_of(scores["rmse"], reference["rmse"], share)


def difference_of(values: Sequence[float], reference: Sequence[float], share: float) -> str:
    """A paired difference with half of its interval, marked where that leaves out 0; of one test part, none."""
    if not share:
        return number(float(np.mean(values) - np.mean(reference)), signed=True)
    difference = paired_difference(values, reference, share)
    shown = with_half(difference.mean, difference.half_width, signed=True)
    return f"{shown}{CLEAR}" if difference.p is not None and difference.p < 1 - COVERAGE else shown


def _improvements(found: Mapping[str, Mapping[str, Scores]]) -> Table:
    """§ V.E: by how much Hy-VAE is better than each."""
    rows = []
    for key, claimed in printed.IMPROVEMENTS.items():
        said = [_gain(printed.TABLE_2[key][data].mrmse, printed.TABLE_2["hyvae"][data].mrmse) for data in found]
        cells = [row_of(key).label, percent(claimed), percent(float(np.mean(said)))]
        for ours in (REFERENCE, "flagship"):
            gains = [_gain(*(float(np.mean(of[name]["rmse"])) for name in (key, ours))) for of in found.values()]
            cells.append(percent(float(np.mean(gains))))
        rows.append(cells)
    columns = ("Hy-VAE is better than", "§ V.E says", "from the printed table", "here, tuned", "here, HyVAE()")
    notes = ("(RMSE of the other − RMSE of Hy-VAE) / RMSE of Hy-VAE, averaged over the data sets shown.",)
    return Table("improvements", "The percentages of § V.E", columns, rows, notes)


def _gain(other: float, ours: float) -> float:
    """How much worse another is, as a share of ours: the paper's own reading."""
    return other / ours - 1


# -- Table III ------------------------------------------------------------------------------------------

ABLATED = {"steady": "steadied", "tuned": "tuned", "as_printed": "as printed"}


def wanted_for_three(plan: Plan) -> list[Training]:
    """Trainings behind Table III."""
    return [each for key in ABLATED for _, _, trainings in table_3(plan, key) for each in trainings]


def table_three(plan: Plan, cells: Cells) -> Part:
    """Table III: each branch alone."""
    blocks: list[Block] = []
    for key, how in ABLATED.items():
        found: dict[str, dict[str, list[float]]] = {}
        for branches, data, trainings in table_3(plan, key):
            found.setdefault(branches, {})[data] = [cells[training].scores["rmse"] for training in trainings]
        blocks.append(_branches_table(f"table3-{key}", how, found))
    blocks.append(_promotions())
    return Part("table3", "Table III: each branch alone", blocks)


def _branches_table(name: str, how: str, found: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    rows = []
    for branches, label in BRANCHES.items():
        cells = [label]
        for data, values in found[branches].items():
            said = printed.TABLE_3[branches][data] if branches != "both" else printed.TABLE_2["hyvae"][data].mrmse
            both = found["both"][data]
            apart = DASH if branches == "both" else difference_of(values, both, TEST_SHARE)
            cells += [f"{said:.3f}", _shown(mean_estimate(values, TEST_SHARE)), apart]
        means = [_gain(float(np.mean(v)), float(np.mean(found["both"][data]))) for data, v in found[branches].items()]
        cells.append(DASH if branches == "both" else percent(float(np.mean(means)), signed=True))
        rows.append(cells)
    splits = ", ".join(f"{printed.TITLES[data]} {len(values)}" for data, values in found["both"].items())
    columns = ["branches"]
    for data in found["both"]:
        columns += [f"{printed.TITLES[data]}, printed", "RMSE", "less Hy-VAE's"]
    notes = (
        f"Hy-VAE {how} (the row of Table II) with one branch switched off. Splits: {splits}. Promotion: by how much "
        "the whole is better, as a share of its RMSE, averaged over the data sets; a minus says that it is worse. "
        "A branch alone has no search of its own.",
        LEGEND,
    )
    return Table(name, f"RMSE of each branch alone, {how}", [*columns, "average promotion"], rows, notes)


def _promotions() -> Table:
    rows = []
    for branches, claimed in printed.PROMOTIONS.items():
        errors = [(printed.TABLE_3[branches][data], printed.TABLE_2["hyvae"][data].mrmse) for data in printed.TITLES]
        gains = [[1 - ours / branch for branch, ours in errors], [_gain(*pair) for pair in errors]]
        means = (percent(float(np.mean(each)), signed=True) for each in gains)
        rows.append([BRANCHES[branches], percent(claimed, signed=True), *means])
    columns = ("", "printed", "of the branch's RMSE", "of Hy-VAE's RMSE")
    notes = ("The average promotion of Table III, computed from its own rows and Table II's last one, in both ways.",)
    return Table("promotions", "The paper's average promotion from its own rows", columns, rows, notes)


# -- what it took ---------------------------------------------------------------------------------------


def settings(plan: Plan) -> Part:
    """What each row of Table II is set to, and how it was chosen."""
    rows = []
    for row in TABLE_2:
        for data in plan.data:
            training = plan.training(data, "random", 0, row)
            trials = f"best of {tuned(named(row.model, row.preset), data)['trials']}" if row.tuned else "not searched"
            changed = ", ".join(f"{key}={value}" for key, value in training.settings.items()) or "nothing"
            rows.append([f"{row.label}, {printed.TITLES[data]}", f"preset {row.preset}", trials, changed])
    columns = ("row of Table II", "preset", "how chosen", "changed in it")
    notes = (
        "All in raw units (units='raw'): the models see ratings as they are given, as in the papers.",
        "Best: of so many trials of a random search, on the validation part of random split 0.",
    )
    return Part("settings", "Settings", [Table("settings", "Settings of Table II", columns, rows, notes, words=True)])


def run_times(plan: Plan, cells: Cells) -> Part:
    """Mean seconds of a training of each row of Table II."""
    rows = []
    for row in TABLE_2:
        taken = [
            [cells[training].training_seconds for training in trainings]
            for of, _, trainings in table_2(plan)
            if of.key == row.key
        ]
        rows.append([row.label, *(number(float(np.mean(seconds)), 1) for seconds in taken)])
    columns = ("model", *(printed.TITLES[data] for data in plan.data))
    notes = ("On random splits. The machine is told below; other work may have shared it.",)
    table = Table("times", "Mean seconds of a training", columns, rows, notes)
    return Part("times", "What it took", [table])
