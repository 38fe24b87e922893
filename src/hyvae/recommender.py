"""What people call: fit, predict, recommend, fold in, save, load.

Raw ids, people and things never seen, and clipping to the scale are handled here, once, for every model.
"""

from __future__ import annotations

import copy
import hashlib
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, cast
from uuid import UUID

import numpy as np
import polars as pl
import torch
from numpy.typing import ArrayLike, NDArray

from hyvae.data.joining import joint, merge, transposed, without_users
from hyvae.errors import ConfigError, DataError, NotFittedError, TrainingWarning
from hyvae.explanation import effects_of_ratings
from hyvae.extension import Move, known_users, moved_model, read_columns, warm_start, warn_of_forgotten
from hyvae.files import place_of
from hyvae.forks import polars_works
from hyvae.inputs import as_ids, as_length, as_seed
from hyvae.left_out import LeftOut, excluded_parts, seen_pattern, unrated_pairs, without_pairs
from hyvae.likeness import directions, most_alike
from hyvae.metrics import rmse
from hyvae.models import REGISTRY, RatingModel
from hyvae.models.base import RatingBlock, update_plan
from hyvae.models.bias import Bias, BiasConfig
from hyvae.models.settings import configure
from hyvae.nn.precision import single_precision
from hyvae.nn.randomness import seeded
from hyvae.people import Answering, People, squared_residuals
from hyvae.ratings import Id, Ratings, Vocabulary, require_ratings
from hyvae.runs import Run, RunConfig, provenance, read_run, write_run
from hyvae.scoring import USER_BLOCK, best_items, predict_pairs, rating_block, user_blocks
from hyvae.titles import ItemFinder
from hyvae.training import Checkpointing, History, describe_job, epochs_by_held_out, job_hash, train
from hyvae.training.progress import TrainingProgress
from hyvae.uncertainty import Evidence, Uncertainty
from hyvae.units import RAW, fitted_bias_model, new_bias_model
from hyvae.verification import check_tensors, damage_told
from hyvae.wording import say

# lines of lists that are made together
_LINES_AT_A_TIME = 1 << 20

#: nominal coverage of the intervals that `predict_table` gives
INTERVAL_COVERAGE = 0.9


class Recommendation(NamedTuple):
    """One line of a list.

    Attributes
    ----------
    item : int or str
        Its id.
    score : float
        Its predicted rating, clipped to the scale; of a model that ranks, its score.
    title : str
        Its title; its id where it has none.
    sd : float or None
        Standard deviation of the rating; None of a model that was fitted without validation, or ranks.
    unclipped : float or None
        The score before it was clipped. Lists are in its order, also where all of their scores are the highest rating.
    """

    item: Id
    score: float
    title: str
    sd: float | None = None
    unclipped: float | None = None


class SimilarItem(NamedTuple):
    """An item like another: its id, the cosine of what the model knows of both, its title or id."""

    item: Id
    similarity: float
    title: str


class Reason(NamedTuple):
    """A rating that moved a prediction: by how much, on the rating scale, and in which direction."""

    item: Id
    rating: float
    effect: float
    title: str


class Recommender:
    """A model bound to ratings: give it a name from `hyvae.models.REGISTRY`, or use `HyVAE` or `Bias`.

    Parameters
    ----------
    model : str
        Default: the class's own.
    preset : str
        One of the model's presets.
    device : str
        ``cpu`` or ``cuda``.
    settings
        Fields of the model's config or of its training plan, over the preset's values.

    Raises
    ------
    ConfigError
        Unknown model, preset, device or setting, or a value that does not fit.
    """

    default_model: ClassVar[str] = "hyvae"

    def __init__(
        self, model: str | None = None, *, preset: str = "default", device: str = "cpu", **settings: Any
    ) -> None:
        name = model or self.default_model
        if name not in REGISTRY:
            raise ConfigError(f"no model is called {name!r}; there are: {', '.join(REGISTRY)}")
        _check_device(device)
        self.name = name
        self.preset, self.device = preset, device
        self.config, self.plan = configure(REGISTRY[name], preset, settings)
        self._model: RatingModel | None = None
        self._floor: Bias | None = None
        self._history: Ratings | None = None
        self._item_counts: NDArray[np.int64] = np.empty(0, np.int64)
        self._encoded_items: NDArray[np.bool_] = np.empty(0, bool)
        self._left_out: LeftOut | None = None
        self._uncertainty: Uncertainty | None = None
        # of runs from before there was a distribution: half of a 90 % interval, the same for all
        self._half_width: float | None = None
        self.training: History = History()
        self.provenance: dict[str, Any] = {}

    def __repr__(self) -> str:
        state = repr(self._history) if self._model is not None else "not fitted"
        return f"{REGISTRY[self.name].title} ({self.preset}; {state})"

    # -- fitting --------------------------------------------------------------------------------------

    def fit(
        self,
        ratings: Ratings,
        validation: Ratings | None = None,
        *,
        given: Ratings | None = None,
        exclude: Ratings | Iterable[Ratings] | None = None,
        start_from: Recommender | None = None,
        seed: int = 0,
        progress: bool | None = None,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        checkpoint_every: float = 60.0,
    ) -> Self:
        """Train on `ratings`.

        Parameters
        ----------
        validation : Ratings, optional
            Chooses the epoch whose weights are kept, and calibrates how sure predictions are (see
            `hyvae.uncertainty`). Never learnt from. Without it, a model whose plan counts on it to stop is first
            trained with a tenth of the ratings held out, to see how many epochs are best.
        given : Ratings, optional
            Ratings of other users (those whom a split by user holds out), from which answers may be given, as if they
            had been folded in. Never learnt from.
        exclude : Ratings, or several, optional
            What users have rated besides, such as a test part: lists leave it out, as they leave out `ratings`,
            `validation` and `given`. Never learnt from. `hyvae.evaluation.evaluate` leaves out `ratings` and
            `validation` alone.
        start_from : Recommender, optional
            Begin at its weights instead of random ones; see `update`.
        seed : int
            The same seed gives the same weights, to the bit, with the same versions, threads and processor; on another
            processor, the same up to rounding. What it depends on is in `provenance`.
        progress : bool, optional
            Show a progress bar; default: on a terminal. In a notebook say True; the bar needs ipywidgets there.
        checkpoint : path, optional
            File that holds the state of training, replaced every `checkpoint_every` seconds (0: after every optimiser
            step). Ctrl-C and SIGTERM then stop after a step, with a last checkpoint. It stays when training ends.
        resume : bool
            Go on from the checkpoint if there is one, else replace it. On the same machine, with the same threads, it
            ends in the same bits as without the stop.

        Raises
        ------
        DataError
            No ratings, or a validation part with another vocabulary.
        ConfigError
            `resume` without `checkpoint`, or a negative `checkpoint_every`; a `start_from` that does not fit.
        TrainingError
            The loss is no longer finite; the checkpoint is damaged, of another training or in use by one that runs, or
            cannot be written.
        Interrupted
            Ctrl-C or SIGTERM stopped a training that keeps checkpoints.

        Warns
        -----
        TrainingWarning
            The validation ratings are predicted no better than by the bias model.
        """
        for part, noun in ((ratings, "ratings"), (validation, "validation"), (given, "given")):
            if part is not None or noun == "ratings":
                require_ratings(part, noun)
        seed = as_seed(seed)
        if not polars_works():
            warnings.warn(
                "this process was forked, so that save will not work in it; train in one started with "
                "multiprocessing.get_context('spawn')",
                stacklevel=2,
            )
        _require_learnable(ratings)
        if validation is not None and not (validation.users == ratings.users and validation.items == ratings.items):
            raise DataError("validation must share the users and items of the ratings; take both from ratings.split()")
        if resume and checkpoint is None:
            raise ConfigError("resume needs a checkpoint to go on from; give checkpoint='…'")
        if start_from is not None:
            self._require_start(start_from, ratings)
        excluded = excluded_parts(exclude)
        start = None if start_from is None else start_from.fingerprint
        keep = None if checkpoint is None else Checkpointing(place_of(checkpoint), checkpoint_every, resume, start)
        # one training at a time: a second one would take the first one's checkpoint away
        with nullcontext() if keep is None else keep.held():
            return self._fit(ratings, validation, given, excluded, start_from, seed, progress, keep)

    def _fit(
        self,
        ratings: Ratings,
        validation: Ratings | None,
        given: Ratings | None,
        excluded: list[Ratings],
        start_from: Recommender | None,
        seed: int,
        progress: bool | None,
        keep: Checkpointing | None,
    ) -> Self:
        started = time.perf_counter()
        model = self._build(ratings.n_users, ratings.n_items, ratings.scale, seed)
        if not model.learns_from_presence:
            _require_different(ratings)
        floor = fitted_bias_model(ratings, self.device, self._unit(model, start_from))
        model.use_unit(floor.unit)
        if start_from is not None:
            earlier, _, known = start_from._fitted
            users, items = Move.between(known.users, ratings.users), Move.between(known.items, ratings.items)
            warm_start(model, earlier, rating_block(earlier, known), users, items)
        shows = progress if self.plan.epochs else False
        chosen = None
        if start_from is None and (validation is None or not len(validation)):
            with TrainingProgress(self.plan.epochs, len(ratings), shows) as shown:
                spare = self._build(ratings.n_users, ratings.n_items, ratings.scale, seed)
                spare.use_unit(floor.unit)
                chosen = epochs_by_held_out(spare, ratings, self.plan, seed=seed, on_epoch=shown)
        with TrainingProgress(chosen or self.plan.epochs, len(ratings), shows) as shown:
            self.training = train(
                model,
                ratings,
                self.plan,
                validation=validation,
                given=given,
                seed=seed,
                on_epoch=shown,
                on_conclusion=shown.conclude,
                checkpoint=keep,
                stop_after=chosen,
            )
        self.training.chosen_epochs = chosen
        self._model, self._floor, self._history, self._item_counts = model, floor, ratings, ratings.item_counts
        self._encoded_items = np.zeros(ratings.n_items, bool)
        self._forget_lookups()
        earlier_left_out = [] if start_from is None else list(start_from.left_out)
        held_out = [] if validation is None else [validation]
        self._left_out = LeftOut.of(
            ratings.users, ratings.items, held_out, [*excluded, unrated_pairs(ratings), *earlier_left_out]
        )
        if given is not None and len(given):
            self.__dict__.update(self.with_ratings(given).__dict__)
        self._half_width, self._uncertainty = None, self._calibrated(validation)
        job = self.job(ratings, validation, given=given, start_from=start_from, seed=seed)
        self.provenance = provenance(ratings, validation, seed, self.device, time.perf_counter() - started, job)
        self.provenance["started_from"] = (
            None if start_from is None else start_from.provenance.get("job", start_from.fingerprint)
        )
        return self

    def _unit(self, model: RatingModel, start_from: Recommender | None) -> torch.Tensor | None:
        """The unit to train in; None is the standard one. Weights to begin at have theirs."""
        if start_from is not None:
            return start_from.model.unit
        return None if self.plan.units == "standard" and model.predicts_ratings else RAW

    def _require_start(self, start_from: Recommender, ratings: Ratings) -> None:
        """Refuse to begin at weights that do not fit, or that nothing is known to have been trained on."""
        known = start_from.history
        if (start_from.name, start_from.config) != (self.name, self.config):
            raise ConfigError("start_from is another model, or one of other settings; make this one with its to_update")
        if not len(known):
            raise ConfigError("a run without histories cannot be trained further; train afresh from all ratings")
        # ids of another type would match none of the earlier ones, and training begin afresh without a word
        joint(known.users, ratings.users, "user", ratings.source)
        joint(known.items, ratings.items, "item", ratings.source)
        warn_of_forgotten(known, ratings)

    def job(
        self,
        ratings: Ratings,
        validation: Ratings | None = None,
        *,
        given: Ratings | None = None,
        start_from: Recommender | None = None,
        seed: int = 0,
    ) -> str:
        """A hash of all that the weights follow from which `fit`, called with the same, would come to."""
        return job_hash(
            describe_job(
                self.name,
                self.config,
                self.plan,
                seed=as_seed(seed),
                train=ratings,
                validation=validation,
                given=given,
                start=None if start_from is None else start_from.fingerprint,
            )
        )

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights and the histories that answers are given from."""
        digest = hashlib.sha256(self.history.fingerprint.encode())
        for name, tensor in sorted(self.model.answering_state().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _build(self, n_users: int, n_items: int, scale: tuple[float, float], seed: int) -> RatingModel:
        model: Any = REGISTRY[self.name]
        with seeded(2 * seed), single_precision():
            return model(self.config, n_users, n_items, scale).to(self.device)

    def _calibrated(self, validation: Ratings | None) -> Uncertainty | None:
        if validation is None or not len(validation) or not self.model.predicts_ratings:
            return None
        _, floor, history = self._fitted
        variance = float(squared_residuals(floor, rating_block(floor, history)).mean())
        evidence = self._evidence(history.users.index(validation.user_ids), variance)
        predictions, ratings = self.predict_ratings(validation), validation.values
        if self.plan.epochs:
            self._warn_if_no_better(predictions, validation)
        return Uncertainty.fit(predictions.astype(np.float64), ratings.astype(np.float64), evidence, variance)

    def _warn_if_no_better(self, predictions: NDArray[np.float32], validation: Ratings) -> None:
        error = rmse(predictions, validation.values)
        baseline = rmse(self.predict_baseline(validation), validation.values)
        if error >= baseline:
            other = say("model='bias'", "--model bias")
            warnings.warn(
                f"{REGISTRY[self.name].title} is no better than the bias model: RMSE {error:.4g} on the validation "
                f"ratings, where that has {baseline:.4g}; train it for more epochs, or use {other}",
                TrainingWarning,
                stacklevel=5,
            )

    @torch.no_grad()
    def _evidence(self, users: NDArray[np.int64], residual_variance: float) -> Evidence:
        """What the histories of users tell of how sure predictions for them are; −1 is someone unknown."""
        _, floor, history = self._fitted
        people, place = np.unique(users, return_inverse=True)
        counts = np.where(people < 0, 0, history.user_counts[people])
        squares = np.zeros(len(people))
        for rows in user_blocks(len(people)):
            rows = rows[counts[rows] > 0]
            block = rating_block(floor, history, people[rows])
            squares[rows] = block.pattern.row_sums(squared_residuals(floor, block)).cpu().numpy()
        return Evidence.of(counts.astype(np.int64), squares, residual_variance).take(place)

    @property
    def _fitted(self) -> tuple[RatingModel, Bias, Ratings]:
        if self._model is None or self._floor is None or self._history is None:
            raise NotFittedError(f"{REGISTRY[self.name].title} is not fitted yet; call fit or load first")
        return self._model, self._floor, self._history

    @property
    def history(self) -> Ratings:
        """The training ratings, from which known users are answered."""
        return self._fitted[2]

    @property
    def left_out(self) -> LeftOut:
        """Pairs beside the history that lists leave out: held-out ratings and what `fit` was told to exclude."""
        history = self.history
        return self._left_out or LeftOut.of(history.users, history.items, [], [])

    @property
    def item_counts(self) -> NDArray[np.int64]:
        """Ratings of each item that it is known from, shape (n_items,); known also to a run saved without histories."""
        return self._item_counts

    @property
    def model(self) -> RatingModel:
        """The fitted module."""
        return self._fitted[0]

    @property
    def floor(self) -> Bias:
        """The bias model, fitted on the same ratings, which answers for who and what has none."""
        return self._fitted[1]

    # -- predicting -----------------------------------------------------------------------------------

    @property
    def predicts_ratings(self) -> bool:
        """Whether it predicts ratings; else it only ranks: it makes lists, whose scores are on no rating scale."""
        return self.model.predicts_ratings

    def require_ratings(self) -> None:
        """Refuse to predict ratings with a model that only ranks.

        Raises
        ------
        ConfigError
            It does.
        """
        if not self.predicts_ratings:
            other = say("likelihood='gaussian'", "--set likelihood=gaussian")
            raise ConfigError(
                f"{self.name}, as it is set, ranks items and predicts no ratings: ask it for lists, or train with "
                f"{other}"
            )

    def predict(self, users: ArrayLike, items: ArrayLike) -> NDArray[np.float32]:
        """Predicted ratings of pairs of ids, on the scale; shape (n,).

        A user or item without training ratings gets what the bias model knows; `predict_table` says which.

        Raises
        ------
        ConfigError
            The model only ranks (`predicts_ratings`); so for all that predict.
        """
        return self._predict_indices(*self._pair_indices(users, items))[0]

    def predict_table(self, users: ArrayLike, items: ArrayLike, *, coverage: float = INTERVAL_COVERAGE) -> pl.DataFrame:
        """Predictions with what stands behind them.

        Parameters
        ----------
        coverage : float
            Share of ratings that the intervals are to hold, above 0 and below 1.

        Returns
        -------
        polars.DataFrame
            ``user``, ``item``, ``prediction``; ``sd``, the standard deviation of the rating, ``interval_low`` and
            ``interval_high`` (see `hyvae.uncertainty`; null if the model was fitted without validation); and
            ``fallback``: empty, ``user``, ``item`` or ``both``, for what had no training ratings, so that the bias
            model answered.
        """
        user_index, item_index = self._pair_indices(users, items)
        prediction, fallback = self._predict_indices(user_index, item_index)
        evidence = None if self._uncertainty is None else self._evidence_of(user_index, self._uncertainty)
        return pl.DataFrame(
            {
                "user": as_ids(users).tolist(),
                "item": as_ids(items).tolist(),
                **self._around(prediction, evidence, coverage),
                "fallback": fallback,
            },
            schema_overrides=dict.fromkeys(("sd", "interval_low", "interval_high"), pl.Float32)
            | {"fallback": pl.String},
        )

    def predict_distribution(self, users: ArrayLike, items: ArrayLike) -> pl.DataFrame:
        """Probability of every rating level.

        Returns
        -------
        polars.DataFrame
            ``user``, ``item`` and a column a level, such as ``4.5``. Their mean is the prediction, but for one at an
            end of the scale.

        Raises
        ------
        ConfigError
            The model was fitted without validation.
        """
        user_index, item_index = self._pair_indices(users, items)
        prediction, _ = self._predict_indices(user_index, item_index)
        uncertainty = self.uncertainty
        share = uncertainty.distribution(prediction, self._evidence_of(user_index, uncertainty))
        return pl.DataFrame(
            {"user": as_ids(users).tolist(), "item": as_ids(items).tolist(), **_by_level(uncertainty, share)}
        )

    @property
    def knows_uncertainty(self) -> bool:
        """Whether it was fitted with validation ratings."""
        return self._uncertainty is not None

    @property
    def uncertainty(self) -> Uncertainty:
        """How sure predictions are, as the validation ratings calibrated it.

        Raises
        ------
        ConfigError
            There were none.
        """
        if self._uncertainty is None:
            mend = say("fit with validation ratings", "train with a split")
            raise ConfigError(f"nothing is known of how sure predictions are: {mend}")
        return self._uncertainty

    def evidence(self, pairs: Ratings) -> Evidence:
        """What `uncertainty` asks of the users of `pairs`, in its row order."""
        return self._evidence_of(self.history.users.index(pairs.user_ids), self.uncertainty)

    def _evidence_of(self, users: NDArray[np.int64], uncertainty: Uncertainty) -> Evidence:
        return self._evidence(users, float(uncertainty.residual_variance))

    def _around(
        self, prediction: NDArray[np.float32], evidence: Evidence | None, coverage: float
    ) -> dict[str, NDArray[np.float32] | list[None]]:
        """The prediction, its standard deviation and its interval on the scale, as columns of a table."""
        if not 0 < coverage < 1:
            raise ConfigError(f"coverage must be above 0 and below 1, such as 0.9, got {coverage}")
        sd = half = None
        if self._uncertainty is not None and evidence is not None:
            sd = self._uncertainty.deviation(prediction, evidence).astype(np.float32)
            half = self._uncertainty.quantile(evidence, coverage).astype(np.float32) * sd
        elif self._half_width is not None and coverage == INTERVAL_COVERAGE:
            half = np.full_like(prediction, self._half_width)
        low, high = self.history.scale
        columns = {
            "prediction": prediction,
            "sd": sd,
            "interval_low": None if half is None else (prediction - half).clip(low, high),
            "interval_high": None if half is None else (prediction + half).clip(low, high),
        }
        # one null that stands for a column would be repeated by Polars' threads, which a forked process lacks
        return {name: [None] * len(prediction) if column is None else column for name, column in columns.items()}

    def predict_ratings(self, pairs: Ratings) -> NDArray[np.float32]:
        """Predictions for the pairs of `pairs`, in its row order: for evaluation on a part of a split."""
        history = self.history
        if pairs.users == history.users and pairs.items == history.items:
            return self._predict_indices(pairs.user_index.astype(np.int64), pairs.indices.astype(np.int64))[0]
        return self.predict(pairs.user_ids, pairs.item_ids)

    def predict_baseline(self, pairs: Ratings) -> NDArray[np.float32]:
        """What the bias model, fitted on the same ratings, predicts for `pairs`: the honest floor; shape (n,)."""
        _, floor, history = self._fitted
        users, items = history.users.index(pairs.user_ids), history.items.index(pairs.item_ids)
        return _baseline(floor, users, items).clip(*history.scale)

    def _pair_indices(self, users: ArrayLike, items: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        history = self.history
        user_index, item_index = history.users.index(users), history.items.index(items)
        if len(user_index) != len(item_index):
            raise DataError(f"users and items differ in length: {len(user_index)} and {len(item_index)}")
        return user_index, item_index

    def _predict_indices(
        self, users: NDArray[np.int64], items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], list[str]]:
        """Predictions on the scale, and the fallback used; −1 is an unknown index."""
        self.require_ratings()
        model, floor, history = self._fitted
        no_user = (users < 0) | (history.user_counts[users] == 0)
        no_item = (items < 0) | (self._item_counts[items] == 0)
        out = np.empty(len(users), dtype=np.float32)
        known = ~(no_user | no_item)
        if known.any():
            out[known] = self._predict_known(model, users[known], items[known])
        if not known.all():
            out[~known] = _baseline(floor, users[~known], items[~known])
        kinds = np.array(["", "user", "item", "both"], dtype=object)
        return out.clip(*history.scale), kinds[no_user + 2 * no_item].tolist()

    def _predict_known(
        self, model: RatingModel, users: NDArray[np.int64], items: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        history = self.history
        # a pair may be asked for twice, where a matrix of pairs holds it once
        key, inverse = np.unique(users * history.n_items + items, return_inverse=True)
        pairs = Ratings.from_indices(
            history.users, history.items, key // history.n_items, key % history.n_items, np.zeros(len(key))
        )
        return predict_pairs(model, history, pairs)[inverse]

    # -- recommending ---------------------------------------------------------------------------------

    def recommend(
        self,
        who: Id | Mapping[Any, float],
        n: int = 10,
        *,
        include_seen: bool = False,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] = (),
    ) -> list[Recommendation]:
        """The `n` items with the highest predicted rating.

        Parameters
        ----------
        who : id, or dict of item id or title to rating
            A user of the training ratings, or the ratings of someone never seen: they are answered at once, by the
            same computation, without retraining.
        n : int
            Length of the list; it is shorter where there are not so many items.
        include_seen : bool
            Whether items that the user rated may be on the list.
        allow : iterable of item ids or titles, optional
            Only these items.
        deny : iterable of item ids or titles
            Not these items.

        Raises
        ------
        DataError
            Unknown user, item or title, or a rating off the scale.
        """
        who = _one(who, "recommend", "recommend_table(users)")
        if isinstance(who, Mapping):
            return self.fold_in(who).recommend(n, include_seen=include_seen, allow=allow, deny=deny)
        users = known_users(self.history, [who])
        among = self.candidates(allow, deny)
        items, scores = self._lists(users, self._length(n), None if include_seen else self.left_out, among)
        evidence = None if self._uncertainty is None else self._evidence_of(users, self._uncertainty)
        return self._named(items[0], scores[0], evidence)

    def recommend_table(
        self,
        users: Iterable[Id] | None = None,
        n: int = 10,
        *,
        include_seen: bool = False,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] = (),
    ) -> pl.DataFrame:
        """Lists for many users (default: everyone), as a table of ``user``, ``rank``, ``item`` and ``score``.

        Other arguments are those of `recommend`.
        """
        blocks = self.recommend_blocks(users, n, include_seen=include_seen, allow=allow, deny=deny)
        table = next(blocks)
        for block in blocks:  # unlike pl.concat, needs no threads of Polars, which a forked process lacks
            table.vstack(block, in_place=True)
        return table

    def recommend_blocks(
        self,
        users: Iterable[Id] | None = None,
        n: int = 10,
        *,
        include_seen: bool = False,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] = (),
    ) -> Iterator[pl.DataFrame]:
        """The table of `recommend_table` in pieces: memory is that of one, however many users there are."""
        history, n = self.history, self._length(n)
        index = np.flatnonzero(history.user_counts) if users is None else known_users(history, list(users))
        if not len(index):
            raise DataError("there is no user to recommend to")
        among, left_out = self.candidates(allow, deny), None if include_seen else self.left_out
        for block in self._blocks_of(index, n):
            items, scores = self._lists(block, n, left_out, among)
            filled = items >= 0
            yield pl.DataFrame(
                {
                    "user": _id_column(history.users, np.repeat(block, n).reshape(items.shape)[filled]),
                    "rank": np.tile(np.arange(1, n + 1, dtype=np.int32), (len(block), 1))[filled],
                    "item": _id_column(history.items, items[filled]),
                    "score": self._on_scale(scores[filled]),
                }
            )

    def _length(self, n: int) -> int:
        """Of a list: no more than there are items."""
        return min(as_length(n), self.history.n_items)

    def candidates(self, allow: Iterable[Any] | None = None, deny: Iterable[Any] = ()) -> NDArray[np.bool_]:
        """Items that may be on a list: those with ratings, of `allow`, and not of `deny`; (n_items,).

        Raises
        ------
        DataError
            Unknown items, or a single name where several are taken.
        """
        found = self._item_counts > 0
        for noun, names in (("allow", allow), ("deny", deny)):
            if isinstance(names, str | int):
                raise DataError(f"{noun} takes a list of item ids or titles, got {names!r}")
        if allow is not None:
            named = np.zeros(len(found), bool)
            named[self._finder.indices(allow)] = True
            found &= named
        found[self._finder.indices(deny)] = False
        return found

    @staticmethod
    def _blocks_of(index: NDArray[np.int64], n: int) -> Iterator[NDArray[np.int64]]:
        size = max(1, min(USER_BLOCK, _LINES_AT_A_TIME // n))
        return (index[block] for block in user_blocks(len(index), size))

    def recommend_indices(
        self, users: NDArray[np.int64], n: int = 10, *, targets: Ratings | None = None
    ) -> NDArray[np.int64]:
        """Item indices of the lists of users given by index, (n_users, n or all items); −1 fills up.

        Training and validation items are left out, and no others: these are the lists that evaluation looks at.

        Parameters
        ----------
        targets : Ratings, optional
            Pairs that may be on a list all the same: those that are evaluated.
        """
        validation = self.left_out.validation
        left_out = [validation if targets is None else without_pairs(validation, [targets])]
        n = self._length(n)
        blocks = [self._lists(block, n, left_out)[0] for block in self._blocks_of(users, n)]
        return np.concatenate(blocks) if blocks else np.empty((0, n), np.int64)

    @torch.no_grad()
    def _lists(
        self,
        users: NDArray[np.int64],
        n: int,
        left_out: Iterable[Ratings] | None,
        among: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Lists of some items without the users' histories and those pairs; None leaves nothing out. Not clipped."""
        among = self._item_counts > 0 if among is None else among
        model, floor, history = self._fitted
        items = np.full((len(users), n), -1, dtype=np.int64)
        scores = np.full(items.shape, np.nan, dtype=np.float32)
        # a model that ranks knows what is popular, where nothing is known of someone's taste
        without = (history.user_counts[users] == 0) & model.predicts_ratings
        for rows, answering in ((~without, model), (without, floor)):
            if rows.any():
                block = rating_block(answering, history, users[rows])
                seen = None if left_out is None else seen_pattern(block.pattern, left_out, users[rows])
                items[rows], scores[rows] = best_items(answering, answering.encode(block), n, seen, among)
        return items, scores

    def _on_scale(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        return scores.clip(*self.history.scale) if self.predicts_ratings else scores

    def _named(
        self, items: NDArray[np.int64], scores: NDArray[np.float32], evidence: Evidence | None
    ) -> list[Recommendation]:
        """The lines of a list of one user, of whom there is evidence; scores are not clipped."""
        items, unclipped = items[items >= 0], scores[items >= 0]
        scores = self._on_scale(unclipped)
        sd: list[float | None] = [None] * len(items)
        if self._uncertainty is not None and evidence is not None:
            of_all = evidence.take(np.zeros(len(items), np.int64))
            sd = self._uncertainty.deviation(scores, of_all).tolist()
        return [
            Recommendation(*self._name(item, score), deviation, exact)
            for item, score, deviation, exact in zip(
                items.tolist(), scores.tolist(), sd, unclipped.tolist(), strict=True
            )
        ]

    def _name(self, item: int, number: float) -> tuple[Id, float, str]:
        """Id of an item by index, a number, and its title."""
        id_ = self.history.items.ids[item : item + 1].tolist()[0]
        return id_, number, str(id_ if self.history.titles is None else self.history.titles[item])

    def similar_items(self, item: Any, n: int = 10) -> list[SimilarItem]:
        """The items that the model knows as most like one: the cosine of their rows, from the largest down.

        Parameters
        ----------
        item : id or title

        Raises
        ------
        DataError
            Unknown item.
        """
        place = int(self._finder.indices([item])[0])
        found = most_alike(self._directions, self._item_counts > 0, place, self._length(n))
        return [
            SimilarItem(*self._name(other, alike))
            for other, alike in zip(*(column.tolist() for column in found), strict=True)
        ]

    def explain(self, who: Id | Mapping[Any, float], item: Any, n: int = 5) -> list[Reason]:
        """The ratings of someone that moved the prediction of an item most, from the largest effect down.

        An effect is the prediction from all their ratings less that without this one (`hyvae.explanation`): above 0,
        the rating makes the item look better. Of histories longer than 50 ratings, those of the 50 items most like
        it are left out in turn.

        Parameters
        ----------
        who : id, or dict of item id or title to rating
            As for `recommend`.
        item : id or title

        Raises
        ------
        DataError
            Unknown user or item, one without training ratings, or someone with less than two ratings of other items.
        """
        who = _one(who, "explain", "a loop over users")
        if isinstance(who, Mapping):
            return self.fold_in(who).explain(item, n)
        user = known_users(self.history, [who])
        _, ratings = self.history.history(int(user[0]))
        return self._reasons(rating_block(self.model, self.history, user), ratings, item, n)

    def _reasons(self, block: RatingBlock, ratings: NDArray[np.float32], item: Any, n: int) -> list[Reason]:
        """The reasons of someone by their block and, in its order, their ratings as given."""
        model = self.model
        self.require_ratings()
        place = int(self._finder.indices([item])[0])
        if not self._item_counts[place]:
            raise DataError(f"{item!r} has no training ratings: the bias model answers, and no one rating moves it")
        if int((block.pattern.col != place).sum()) < 2:
            raise DataError(
                "there is nothing to compare with: it takes two ratings of other items to explain a prediction"
            )
        places, effects = effects_of_ratings(model, replace(block, users=None, keys=None), place)
        most = effects.abs().argsort(descending=True, stable=True)[:n]
        rows = places[most].cpu().numpy()
        items = block.pattern.col.cpu().numpy()[rows]
        return [
            Reason(id_, rating, effect, title)
            for (id_, rating, title), effect in zip(
                map(self._name, items.tolist(), ratings[rows].tolist()),
                effects[most].tolist(),
                strict=True,
            )
        ]

    # -- people and things never seen -----------------------------------------------------------------

    def people(self, ratings: Ratings) -> People:
        """People who are known by `ratings` alone, each a row of them, for many answers at once.

        Parameters
        ----------
        ratings : Ratings
            Of any users, and of this one's items.

        Raises
        ------
        DataError
            Of other items.
        """
        model, floor, history = self._fitted
        if ratings.items is not history.items and ratings.items != history.items:
            raise DataError("people must be given by ratings of the same items: build them with history.items")
        return People(Answering(model, floor, self._item_counts, self._uncertainty, self.device), ratings)

    def fold_in(self, ratings: Mapping[Any, float]) -> FoldedIn:
        """Someone who was not there at training: their ratings in, answers out, no retraining.

        Parameters
        ----------
        ratings : dict (or pandas Series) of item id or title to rating

        Raises
        ------
        DataError
            Unknown or repeated items, or a rating off the scale.
        """
        ratings = _as_mapping(ratings)
        if not isinstance(ratings, Mapping):
            raise DataError(f"ratings of a new user must be a dict of item to rating, got {type(ratings).__name__}")
        history = self.history
        items = self._finder.distinct(ratings)
        return FoldedIn(
            self,
            Ratings.from_indices(
                Vocabulary(np.zeros(1, np.int64)),
                history.items,
                np.zeros(len(items), np.int64),
                items,
                list(ratings.values()),
                scale=history.scale,
                titles=history.titles,
                source="ratings of a new user",
            )
            if ratings
            else Ratings.empty(Vocabulary(np.zeros(1, np.int64)), history.items, history.scale, history.titles),
        )

    def with_items(self, columns: Mapping[Id, Mapping[Id, float]], titles: Mapping[Id, str] | None = None) -> Self:
        """A copy that also knows new items, from the ratings that known users gave them, without retraining.

        Parameters
        ----------
        columns : dict of new item id to dict of user id to rating
        titles : dict of new item id to title, optional

        Raises
        ------
        DataError
            An item that is known already, an unknown user, or no ratings.
        ConfigError
            The model has no encoder of items.
        """
        new = read_columns(self.history, columns, titles or {})
        if not self.model.encodes_items:
            raise ConfigError(f"{self.name}, as it is set, cannot encode new items; train again with them")
        return self.with_ratings(new)

    def with_ratings(self, new: Ratings) -> Self:
        """A copy that also answers from new ratings, of known or new users and items, without retraining.

        Users are answered from all their ratings, new ones like known ones. Items without training ratings are encoded
        from all that they have, again whenever they get more, where the model can; else the bias model answers. The
        weights stay as they are.

        Parameters
        ----------
        new : Ratings
            With vocabularies of its own; where a pair is rated again, the new rating counts.

        Raises
        ------
        DataError
            Ids of another type than the known ones, or ratings off the scale.
        """
        model, floor, history = self._fitted
        merged = merge(history, new)
        users, items = Move.between(history.users, merged.users), Move.between(history.items, merged.items)
        clone = copy.copy(self)
        clone._forget_lookups()
        clone._model, clone._history = moved_model(model, users, items), merged
        clone._left_out = self.left_out.moved(merged)
        clone._floor = cast(Bias, moved_model(floor, users, items))
        clone._item_counts = np.zeros(len(merged.items), dtype=np.int64)
        clone._encoded_items = np.zeros(len(merged.items), dtype=bool)
        place = items.target.numpy()
        clone._item_counts[place], clone._encoded_items[place] = self._item_counts, self._encoded_items
        raters = np.unique(merged.users.index(new.user_ids))
        clone._fold_users(raters)
        clone._fold_items(np.unique(merged.items.index(new.item_ids)))
        # once more, now that the new items have effects: answers are those of `fold_in`, which knows them too
        clone._fold_users(raters)
        return clone

    @torch.no_grad()
    def _fold_users(self, users: NDArray[np.int64]) -> None:
        """Set the bias model's effects of users by their ratings; the model itself encodes them when it is asked."""
        _, floor, history = self._fitted
        if len(users):
            codes = floor.encode(rating_block(floor, history, users))
            for module in (self.model, floor):
                if isinstance(module, Bias):  # what it makes of a new item's column depends on who rated it
                    module.user_bias[torch.from_numpy(users)] = codes[:, 0] - floor.mean

    @torch.no_grad()
    def _fold_items(self, items: NDArray[np.int64]) -> None:
        """Encode those items that have no training ratings, from all ratings that they have now."""
        model, floor, history = self._fitted
        trained = (self._item_counts > 0) & ~self._encoded_items
        # of a run that was saved without histories, the ratings that they were encoded from are gone
        whole = history.item_counts >= self._item_counts
        items = items[(~trained & whole)[items]]
        if not len(items):
            return
        columns = transposed(history, items)
        block = rating_block(model, columns)  # the bias model has the same unit
        others = history.take(trained[history.indices])
        raters = rating_block(model, others, np.unique(columns.indices).astype(np.int64))
        for module in (model, floor):
            if module.encodes_items:
                place = torch.from_numpy(items)
                module.item_rows[place], module.item_bias[place] = module.encode_items(block, raters)
        if model.encodes_items:
            self._item_counts[items], self._encoded_items[items] = columns.user_counts, True

    def without_users(self, users: Sequence[Id]) -> Self:
        """A copy that has forgotten users: gone from histories, vocabulary and every table with a row a user.

        What their ratings taught the weights that all users share stays in these: only training without them removes
        it.

        Raises
        ------
        DataError
            Someone is not known, or nobody would be left.
        """
        model, floor, history = self._fitted
        gone = known_users(history, users)
        if len(np.unique(gone)) == history.n_users:
            raise DataError("nobody would be left; remove the run instead")
        clone = copy.copy(self)
        clone._forget_lookups()
        clone._history = without_users(history, users)
        clone._left_out = self.left_out.moved(clone._history)
        kept = Move.between(history.users, clone._history.users)
        items = Move.between(history.items, history.items)
        clone._model = moved_model(model, kept, items)
        clone._floor = cast(Bias, moved_model(floor, kept, items))
        return clone

    def to_update(self, **settings: Any) -> Recommender:
        """An unfitted one of the same model, with the plan of a training that begins at these weights.

        Where these come from an update themselves, the plan is theirs: updates of updates do not fade away.

        Parameters
        ----------
        settings
            Fields of the training plan, over those of an update: a tenth of the epochs, at a lower learning rate.

        Raises
        ------
        ConfigError
            A setting of the model itself or its units, which its weights fix.
        """
        updated = self.provenance.get("started_from") is not None
        plan = (self.plan if updated else update_plan(self.plan)).model_dump()
        fixed = sorted(set(settings) - set(plan) | set(settings) & {"units"})
        if fixed:
            raise ConfigError(f"{fixed[0]} cannot change where training goes on from weights; train afresh")
        return Recommender(
            self.name, preset=self.preset, device=self.device, **{**self.config.model_dump(), **plan, **settings}
        )

    def update(self, ratings: Ratings, validation: Ratings | None = None, **arguments: Any) -> Recommender:
        """One trained further on `ratings` from these weights, in a fraction of the time of a fresh training.

        Parameters
        ----------
        ratings, validation : Ratings
            Old and new ones together (`hyvae.data.merge`); what was held out must stay so (`hyvae.data.extend_split`).
            Users who are not among them are forgotten.
        arguments
            Further ones of `fit`.

        Raises
        ------
        ConfigError
            The run keeps no histories, or the model cannot be trained further from a run.

        Warns
        -----
        DataWarning
            Known users have no ratings here.
        """
        return self.to_update().fit(ratings, validation, start_from=self, **arguments)

    def _forget_lookups(self) -> None:
        """What was worked out of the items that are known."""
        for name in ("_finder", "_directions"):
            self.__dict__.pop(name, None)

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return directions(self.model.item_rows)

    @cached_property
    def _finder(self) -> ItemFinder:
        return ItemFinder(self.history.items, self.history.titles)

    # -- keeping --------------------------------------------------------------------------------------

    def save(
        self,
        path: str | Path,
        *,
        held_out: Mapping[str, Ratings] | None = None,
        metrics: dict[str, Any] | None = None,
        history: bool = True,
        details: dict[str, Any] | None = None,
    ) -> None:
        """Write a run folder, whole or not at all.

        Parameters
        ----------
        held_out : dict of str to Ratings, optional
            The ``validation`` and ``test`` parts, so that `hyvae evaluate` needs no source.
        history : bool
            Whether the training and held-out ratings go along. Without them known users are answered by the bias
            model, new ones by their own ratings.
        details : dict, optional
            More provenance: source, split, command.
        """
        model, floor, ratings = self._fitted
        weights = {f"model.{key}": value for key, value in model.answering_state().items()}
        weights |= {f"floor.{key}": value for key, value in floor.answering_state().items()}
        if self._uncertainty is not None:
            weights |= {f"uncertainty.{key}": value for key, value in self._uncertainty.state().items()}
        config = RunConfig(
            model=self.name,
            preset=self.preset,
            settings=self.config.model_dump(mode="json"),
            plan=self.plan.model_dump(mode="json"),
            n_users=model.n_users,
            interval_half_width=self._half_width,
        )
        # a run without histories keeps no rating of anyone, held-out ones included
        parts = dict(held_out or {}) if history else {}
        write_run(
            Run(
                config=config,
                weights=weights,
                history=ratings,
                item_counts=self._item_counts,
                encoded_items=self._encoded_items,
                held_out=parts,
                left_out=self.left_out.beside(ratings, parts.values()) if history else {},
                curves=self.training.rows(),
                metrics=metrics or {},
                provenance={**self.provenance, **self.training.outcome(), **(details or {})},
            ),
            path,
            with_history=history,
        )

    @classmethod
    def load(cls, path: str | Path, *, device: str = "cpu") -> Self:
        """Read a run folder. Nothing in it is executed.

        Raises
        ------
        RunError
            Not a run, damaged, or written by a newer hyvae.
        """
        return cls.from_run(read_run(path), device=device)

    @classmethod
    def from_run(cls, run: Run, *, device: str = "cpu") -> Self:
        """Make a recommender of what a run folder holds."""
        config, history = run.config, run.history
        with damage_told("the run", "does not fit this version of hyvae, or is damaged"):
            before = REGISTRY[config.model].settings_before if config.model in REGISTRY else {}
            settings = {**before, **config.settings, **config.plan}
            self = cls(config.model, preset=config.preset, device=device, **settings)
            sizes: Any = config.n_users, history.n_items, history.scale
            check_tensors(lambda: REGISTRY[self.name](self.config, *sizes), run.weights, "model.")
            check_tensors(lambda: Bias(BiasConfig(), *sizes), run.weights, "floor.")
            self._model = self._build(config.n_users, history.n_items, history.scale, seed=0)
            self._floor = new_bias_model(*sizes, device=device)
            for prefix, module in (("model.", self._model), ("floor.", self._floor)):
                _load_state(module, prefix, run.weights, raw=self.plan.units == "raw")
            uncertainty = _part(run.weights, "uncertainty.")
            self._uncertainty = Uncertainty.from_state(uncertainty) if uncertainty else None
            self._history, self._item_counts, self._encoded_items = history, run.item_counts, run.encoded_items
            pairs = {**run.left_out, **{f"part {name}": part for name, part in run.held_out.items()}}
            of_validation = [pairs.pop(name) for name in ("validation", "part validation") if name in pairs]
            self._left_out = LeftOut.of(
                history.users, history.items, of_validation, [*pairs.values(), unrated_pairs(history)]
            )
            self._half_width, self.provenance = config.interval_half_width, run.provenance
            self.training = History.from_rows(run.curves, run.provenance)
            self._check_answers()
        return self

    def _check_answers(self) -> None:
        """Ask for what someone with a few ratings would be told.

        Raises
        ------
        ValueError
            That is no number.
        """
        ratings, items = self.history, np.flatnonzero(self._item_counts)[:3]
        if not len(items):
            return
        nobody, values = np.zeros(len(items), np.int64), np.linspace(*ratings.scale, len(items))
        someone = Ratings.from_indices(
            Vocabulary.of([0]), ratings.items, nobody, items, values.clip(*ratings.scale), scale=ratings.scale
        )
        people = self.people(someone)
        scores = people.scores()[0]
        if not np.isfinite(scores).all():
            raise ValueError("its predictions are no numbers")
        evidence = people.evidence()
        if self._uncertainty is not None and evidence is not None:
            predictions = scores[items].clip(*ratings.scale)
            if not np.isfinite(self._uncertainty.deviation(predictions, evidence.take(nobody))).all():
                raise ValueError("how sure its predictions are is no number")


class FoldedIn:
    """Someone never seen in training, with their ratings; made by `Recommender.fold_in`."""

    def __init__(self, recommender: Recommender, ratings: Ratings) -> None:
        self.recommender, self.ratings = recommender, ratings
        self._people = recommender.people(ratings)

    def predict(self, items: Iterable[Any]) -> NDArray[np.float32]:
        """Predicted ratings of items by id or title, on the scale; shape (n,)."""
        self.recommender.require_ratings()
        index = self.recommender._finder.indices(items)
        columns, inverse = np.unique(index, return_inverse=True)
        nobody = np.zeros(len(columns), np.int64)
        wanted = Ratings.from_indices(self.ratings.users, self.ratings.items, nobody, columns, nobody)
        return self._people.predict(wanted)[inverse].clip(*self.ratings.scale)

    def predict_table(self, items: Iterable[Any], *, coverage: float = INTERVAL_COVERAGE) -> pl.DataFrame:
        """``item``, ``prediction``, ``sd``, ``interval_low`` and ``interval_high``, as `Recommender.predict_table`.

        Items that were asked for by title are told by id.
        """
        wanted = list(items)
        prediction = self.predict(wanted)
        evidence = self._evidence(len(wanted))
        return pl.DataFrame(
            {"item": self._ids(wanted), **self.recommender._around(prediction, evidence, coverage)},
            schema_overrides=dict.fromkeys(("sd", "interval_low", "interval_high"), pl.Float32),
        )

    def predict_distribution(self, items: Iterable[Any]) -> pl.DataFrame:
        """``item``, and the probability of every rating level, as `Recommender.predict_distribution`."""
        wanted = list(items)
        uncertainty, evidence = self.recommender.uncertainty, self._evidence(len(wanted))
        assert evidence is not None
        share = uncertainty.distribution(self.predict(wanted), evidence)
        return pl.DataFrame({"item": self._ids(wanted), **_by_level(uncertainty, share)})

    def _ids(self, items: list[Any]) -> list[Id]:
        return list(self.recommender.history.items.ids[self.recommender._finder.indices(items)].tolist())

    def explain(self, item: Any, n: int = 5) -> list[Reason]:
        """Which of their ratings moved the prediction of an item most, as `Recommender.explain`."""
        return self.recommender._reasons(self._people.block, self.ratings.values, item, n)

    def _evidence(self, n: int) -> Evidence | None:
        """What is known of them, as the evidence of n predictions."""
        own = self._people.evidence()
        return None if own is None else own.take(np.zeros(n, np.int64))

    def recommend(
        self,
        n: int = 10,
        *,
        include_seen: bool = False,
        allow: Iterable[Any] | None = None,
        deny: Iterable[Any] = (),
    ) -> list[Recommendation]:
        """The `n` items with the highest predicted rating; arguments are those of `Recommender.recommend`."""
        among = self.recommender.candidates(allow, deny)
        items, scores = self._people.best(self.recommender._length(n), include_seen=include_seen, among=among)
        return self.recommender._named(items[0], scores[0], self._evidence(1))


class HyVAE(Recommender):
    """Hy-VAE; ``HyVAE(preset="paper")`` is the paper's own."""

    default_model: ClassVar[str] = "hyvae"


class BiasModel(Recommender):
    """Regularised global, user and item effects: the honest floor."""

    default_model: ClassVar[str] = "bias"


def _as_mapping(who: Any) -> Any:
    """A pandas Series as a dict; anything else as it is."""
    return who.to_dict() if type(who).__name__ == "Series" and hasattr(who, "to_dict") else who


def _one(who: Any, verb: str, many: str) -> Id | Mapping[Any, float]:
    """One user, by id or by ratings."""
    who = _as_mapping(who)
    if not isinstance(who, str | int | np.integer | UUID | Mapping):
        raise DataError(
            f"{verb} answers one user, an id or a dict of ratings, got {type(who).__name__}; for several, use {many}"
        )
    return who  # type: ignore[return-value]


def _require_learnable(ratings: Ratings) -> None:
    """Refuse ratings that leave nothing to learn from."""
    if not len(ratings):
        raise DataError("there are no ratings to train on")
    for noun, counts, ids in (
        ("user", ratings.user_counts, ratings.users.ids),
        ("item", ratings.item_counts, ratings.items.ids),
    ):
        if np.count_nonzero(counts) == 1:
            column = say(f"{noun}=…", f"--{noun}-column")
            raise DataError(
                f"{ratings.source}: all {len(ratings):,} ratings are of one {noun}, {ids[counts > 0].tolist()[0]!r}; "
                f"give ratings of several {noun}s, or name another {noun} column ({column})"
            )


def _require_different(ratings: Ratings) -> None:
    """Refuse implicit feedback where ratings are to be predicted."""
    if len(ratings) > 1 and (ratings.values == ratings.values[0]).all():
        ranking = say("model='mult_vae', preset='ranking'", "--model mult_vae --preset ranking")
        raise DataError(
            f"{ratings.source}: all {len(ratings):,} ratings are {ratings.values[0]:g}: they tell who took what, not "
            "how much anyone liked it (implicit feedback), so no rating can be predicted; to rank instead, train with "
            f"{ranking}"
        )


def _baseline(floor: Bias, users: NDArray[np.int64], items: NDArray[np.int64]) -> NDArray[np.float32]:
    """μ + b_u + b_i, with 0 for what has index −1."""
    user, item = floor.user_bias.cpu().numpy(), floor.item_bias.cpu().numpy()
    effects = np.where(users < 0, 0.0, user[users]) + np.where(items < 0, 0.0, item[items])
    scores = (float(floor.mean) + effects).astype(np.float32)
    return floor.ratings(torch.from_numpy(scores).to(floor.unit.device)).cpu().numpy()


def _check_device(device: str) -> None:
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"device must be 'cpu' or 'cuda', got {device!r}")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        other = say("device='cpu'", "--device cpu")
        raise ConfigError(f"device {device!r} is not available on this machine; use {other}") from error


def _load_state(module: RatingModel, prefix: str, weights: Mapping[str, torch.Tensor], *, raw: bool) -> None:
    state = _part(weights, prefix)
    if "unit" in state:
        module.use_unit(state["unit"])
    # runs of before it was estimated have it in their config, from which the module was made; before there was a unit,
    # models saw ratings as they were given
    later = ("shrinkage", "unit") if raw else ("shrinkage",)
    missing = {name for name in module.answering_state() if not name.endswith(later)} - set(state)
    if missing:
        raise RuntimeError(f"weights {prefix}{min(missing)} are missing")
    # on the CPU the file's own pages are the weights, aligned as torch's own memory is, so that answers are those of
    # the model that was saved to the bit: processes that load a run share one copy in memory
    mapped = all(tensor.device == state[name].device for name, tensor in module.state_dict().items() if name in state)
    module.load_state_dict(state, strict=False, assign=mapped)
    module.eval()


def _part(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}


def _by_level(uncertainty: Uncertainty, share: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    return {name: share[:, place] for place, name in enumerate(uncertainty.level_names)}


def _id_column(vocabulary: Vocabulary, index: NDArray[np.int64]) -> pl.Series:
    ids = vocabulary.ids[index]
    return pl.Series(ids) if vocabulary.is_integer else pl.Series(ids.tolist(), dtype=pl.String)
