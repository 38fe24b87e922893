"""The trainer: one loop for every model."""

from hyvae.training.trainer import EpochReport, History, train

__all__ = ["EpochReport", "History", "train"]
