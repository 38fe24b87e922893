"""hyvae diagnose: whether the posterior has collapsed."""

from __future__ import annotations

from typing import Any

from hyvae.cli import options
from hyvae.cli.output import print_json, stdout, table
from hyvae.errors import ConfigError, DataError
from hyvae.evaluation.posterior import ACTIVE_VARIANCE
from hyvae.evaluation.posterior import diagnose as diagnose_recommender
from hyvae.recommender import Recommender
from hyvae.runs import read_run

SHOWN_UNITS = 10
ERRORS = {
    "all": "as it is",
    "z_permuted": "z of another user",
    "without_z": "z the same for all",
    "without_d": "d the same for all",
    "without_both": "both",
}


def diagnose(run: options.RunFolder, json: options.Json = False) -> None:
    """Say whether the posterior has collapsed: KL per unit, active units, mutual information, and who listens to z.

    Example:

        hyvae diagnose run --json
    """
    content = read_run(run)
    recommender = Recommender.from_run(content)
    if not len(recommender.history):
        raise DataError(f"{run} keeps no ratings (--no-history), so there is nobody to encode")
    found = diagnose_recommender(recommender, content.held_out.get("test"))
    if found is None:
        raise ConfigError(f"{recommender.name}, as it is set, has no posterior that could collapse")
    if json:
        print_json(found)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    units, kl = found["units"], sorted(found["kl_per_unit"], reverse=True)
    rows = [
        ("users", f"{found['users']:,}"),
        ("units of z", f"{units:,}"),
        (f"active units (variance of μ over users > {ACTIVE_VARIANCE:g})", f"{found['active_units']:,}"),
        ("KL to the prior, nats a user", f"{found['kl']:.3f}"),
        (f"of which the {min(SHOWN_UNITS, units)} largest units", ", ".join(f"{x:.2f}" for x in kl[:SHOWN_UNITS])),
        ("mutual information of user and z, nats", f"{found['mutual_information']:.3f}"),
        ("which cannot exceed the logarithm of the users", f"{found['log_users']:.3f}"),
    ]
    table("Posterior", ("", ""), rows)
    if "rmse" not in found:
        stdout.print("No test part, or no rating predictions: so no errors without z.", markup=False)
        return
    whole = found["rmse"]["all"]
    errors = [(ERRORS[name], error, f"{error - whole:+.4f}") for name, error in found["rmse"].items()]
    table("RMSE of the test part", ("code", "RMSE", "change"), errors)
