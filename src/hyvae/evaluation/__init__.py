"""How good a fitted recommender is on ratings that it has not seen, and how models compare."""

from hyvae.evaluation.protocol import evaluate
from hyvae.evaluation.study import Comparison, Standing, compare, default_cache

__all__ = ["Comparison", "Standing", "compare", "default_cache", "evaluate"]
