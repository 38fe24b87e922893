"""Comparing models over repeated splits: means, paired differences and their intervals. Numbers in, numbers out.

Over the splits of one data set errors are not independent: training parts overlap, and so do test parts. The plain
variance of a mean, s²/n, is then too small, and its tests find differences where there are none far more often than
they say. All intervals here are Student's t with n − 1 degrees of freedom and the corrected variance

    (1/n + n_test/n_train) · s²

of Nadeau, C., Bengio, Y. (2003). Inference for the generalization error. Machine Learning 52(3), 239–281.
https://doi.org/10.1023/A:1024068626366 (§ 3, the corrected resampled t-test). With one split there is no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hyvae.errors import ConfigError

#: nominal coverage of all intervals
COVERAGE = 0.95


class Metric(NamedTuple):
    """What models are compared by.

    Attributes
    ----------
    key : str
    title : str
        ``{k}`` stands for the length of the ranked lists.
    lower_is_better : bool
    path : tuple of str
        Where `hyvae.evaluation.evaluate` has it; empty for what is measured beside it.
    """

    key: str
    title: str
    lower_is_better: bool
    path: tuple[str, ...] = ()


RMSE = Metric("rmse", "RMSE", True, ("pooled", "rmse"))
NDCG = Metric("ndcg", "NDCG@{k}", False, ("ranking", "ndcg"))
SECONDS = Metric("seconds", "seconds", True)
METRICS = (
    RMSE,
    Metric("mae", "MAE", True, ("pooled", "mae")),
    Metric("user_rmse", "user-mean RMSE", True, ("user_mean", "rmse")),
    Metric("user_mae", "user-mean MAE", True, ("user_mean", "mae")),
    NDCG,
    Metric("recall", "recall@{k}", False, ("ranking", "recall")),
    SECONDS,
)


class Estimate(NamedTuple):
    """A mean with its 95 % confidence interval, and for a difference the two-sided p of its being 0.

    None where there is one split only; `p` also for what is no difference.
    """

    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def half_width(self) -> float | None:
        """Half of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_estimate(values: ArrayLike, test_share: float) -> Estimate:
    """Mean over splits with its interval.

    Parameters
    ----------
    values : (n_splits,) array
    test_share : float
        n_test/n_train of the splits; 0 where they are independent of each other, which is the ordinary t interval.
    """
    mean, error, _ = _student(values, test_share)
    return Estimate(mean) if error is None else Estimate(mean, mean - error, mean + error)


def paired_difference(values: ArrayLike, reference: ArrayLike, test_share: float) -> Estimate:
    """Mean of ``values − reference``, split by split, with its interval and p.

    Parameters
    ----------
    values, reference : (n_splits,) arrays
        Of two models, trained and tested on the same rows in each split.
    test_share : float
        As for `mean_estimate`.

    Raises
    ------
    ValueError
        The two differ in length.
    """
    ours, theirs = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"values of {ours.shape} and {theirs.shape} splits cannot be paired")
    mean, error, p = _student(ours - theirs, test_share)
    return Estimate(mean) if error is None else Estimate(mean, mean - error, mean + error, p)


def _student(values: ArrayLike, test_share: float) -> tuple[float, float | None, float | None]:
    """Mean, half of its interval, and the two-sided p of a mean of 0."""
    # imported here because it takes most of a second, which commands that compare nothing should not cost
    from scipy import stats

    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"needs a vector with a value a split, got shape {sample.shape}")
    if not test_share >= 0:
        raise ValueError(f"n_test/n_train must be 0 or more, got {test_share}")
    n, mean = len(sample), float(sample.mean())
    if n == 1:
        return mean, None, None
    if np.ptp(sample) == 0:
        # without spread t is 0/0 or infinite: no evidence of a difference, or no doubt
        return float(sample[0]), 0.0, 1.0 if sample[0] == 0 else 0.0
    spread = float(np.sqrt((1 / n + test_share) * sample.var(ddof=1)))
    error = float(stats.t.ppf((1 + COVERAGE) / 2, n - 1)) * spread
    return mean, error, float(2 * stats.t.sf(abs(mean) / spread, n - 1))


@dataclass(frozen=True)
class Line:
    """What a comparison says of one model.

    Attributes
    ----------
    model : str
    scores : dict of metric key to tuple of float
        A value a split. Metrics that the model lacks on some split (one that only ranks has no RMSE) are left out.
    means : dict of metric key to Estimate
    differences : dict of metric key to Estimate
        To the reference, for the metrics that both have.
    """

    model: str
    scores: dict[str, tuple[float, ...]]
    means: dict[str, Estimate]
    differences: dict[str, Estimate]


@dataclass(frozen=True)
class Summary:
    """All lines, best first.

    Attributes
    ----------
    chief : Metric
        By which lines are in order: RMSE, or NDCG where some model lacks the one and all have the other.
    reference : str
        The model that differences are to.
    lines : tuple of Line
        Models without the chief metric come last.
    """

    chief: Metric
    reference: str
    lines: tuple[Line, ...]

    def best(self, metric: Metric) -> list[str]:
        """The models of the best mean; none where there is nothing to compare."""
        means = {line.model: line.means[metric.key].mean for line in self.lines if metric.key in line.means}
        if len(means) < 2:
            return []
        best = (min if metric.lower_is_better else max)(means.values())
        return [model for model, mean in means.items() if mean == best]


def summarise(
    scores: Mapping[str, Sequence[Mapping[str, float]]], test_share: float, reference: str | None = None
) -> Summary:
    """Means and differences of all models.

    Parameters
    ----------
    scores : dict of model to a dict of metric key to value for each split
        The same splits in the same order for every model.
    test_share : float
        As for `mean_estimate`.
    reference : str, optional
        Default: the model of the best mean.

    Raises
    ------
    ConfigError
        The reference is not among the models.
    """
    if reference is not None and reference not in scores:
        raise ConfigError(f"the reference {reference!r} is not among the compared models: {', '.join(scores)}")
    values = {model: _by_metric(splits) for model, splits in scores.items()}
    chief = NDCG if _all_have(NDCG, values) and not _all_have(RMSE, values) else RMSE
    sign = 1 if chief.lower_is_better else -1
    order = sorted(
        values,
        key=lambda model: sign * np.mean(values[model][chief.key]) if chief.key in values[model] else np.inf,
    )
    reference = order[0] if reference is None else reference
    lines = []
    for model in order:
        means = {key: mean_estimate(sample, test_share) for key, sample in values[model].items()}
        differences = {
            key: paired_difference(sample, values[reference][key], test_share)
            for key, sample in values[model].items()
            if key in values[reference]
        }
        lines.append(Line(model, values[model], means, differences))
    return Summary(chief, reference, tuple(lines))


def _by_metric(splits: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    return {
        metric.key: tuple(split[metric.key] for split in splits)
        for metric in METRICS
        if all(metric.key in split for split in splits)
    }


def _all_have(metric: Metric, values: Mapping[str, Mapping[str, tuple[float, ...]]]) -> bool:
    return all(metric.key in of for of in values.values())
