"""The one exception family. Each message says what is wrong, where, and the mend."""

from __future__ import annotations

import warnings


def warn(message: str) -> None:
    """Issue a `DataWarning` that prints as itself, without a line of source below."""
    # between angle brackets, as no file on the path is called
    warnings.warn_explicit(message, DataWarning, filename="<hyvae>", lineno=1)


class HyvaeError(Exception):
    """Base of every error that hyvae raises on purpose."""


class DataError(HyvaeError):
    """The ratings, or the file they come from, cannot be used as they are."""


class ConfigError(HyvaeError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class NotFittedError(HyvaeError):
    """A model was asked for answers before `fit` or `load`."""


class TrainingError(HyvaeError):
    """Training cannot go on (for example, the loss is no longer a number)."""


class RunError(HyvaeError):
    """A folder is not a run of hyvae, is damaged, or was written by a version that is too new."""


class ForkError(HyvaeError):
    """A forked process asked for something whose threads stayed with its parent; spawn workers instead."""


class ServiceError(HyvaeError):
    """A service of hyvae refused a request, or was not reached.

    Attributes
    ----------
    status : int
        Of HTTP; 0 where it was not reached.
    problem : dict
        What it sent (RFC 9457).
    """

    def __init__(self, message: str, status: int, problem: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.status, self.problem = status, problem or {}


class DataWarning(UserWarning):
    """Ratings were read, but not all as they stood: rows were left out, or repeated pairs merged."""


class TrainingWarning(RuntimeWarning):
    """A model was trained, but it learnt nothing that the bias model does not know."""


class Interrupted(HyvaeError):  # noqa: N818 — not a mistake, but a wish
    """Ctrl-C or SIGTERM stopped training between two steps; the checkpoint is written.

    Attributes
    ----------
    step, steps : int
        Steps done, and steps planned.
    signal : int
        Number of the signal.
    """

    def __init__(self, step: int, steps: int, signal: int) -> None:
        super().__init__(f"stopped at step {step} of {steps}; go on with resume=True")
        self.step, self.steps, self.signal = step, steps, signal
