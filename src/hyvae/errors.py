"""The one exception family. Each message says what is wrong, where, and the mend."""


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
