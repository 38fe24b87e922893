"""How good a fitted recommender is on ratings that it has not seen."""

from hyvae.evaluation.protocol import evaluate

__all__ = ["evaluate"]
