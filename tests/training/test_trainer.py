"""The trainer: reproducible, block by block the same, keeps the best weights, stops when it should."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from hyvae.errors import TrainingError
from hyvae.metrics import rmse
from hyvae.models.base import Config, RatingModel, TrainingPlan
from hyvae.models.bias import Bias, BiasConfig
from hyvae.models.hyvae import HyVAE
from hyvae.models.settings import configure
from hyvae.nn import latent
from hyvae.nn.schedules import one_cycle
from hyvae.ratings import Ratings, Vocabulary
from hyvae.scoring import predict_pairs
from hyvae.training import epochs_by_held_out, train, trainer
from hyvae.training.optimisers import Adam, RMSprop

SMALL = {
    "default": {"hidden": 8, "latent": 3, "deep_layers": (4,), "epochs": 4, "patience": None, "samples": 0},
    "paper": {"hidden": 8, "latent": 3, "deep_layers": (4,), "decoder": 5, "epochs": 3, "batch_users": 16},
}
presets = pytest.mark.parametrize("preset", SMALL)


def run(ratings, preset="default", *, validation=None, seed=0, on_epoch=None, **settings):
    """A trained Hy-VAE, its plan and its history; weights start the same at any seed of training."""
    config, plan = configure(HyVAE, preset, {**SMALL[preset], **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HyVAE(config, ratings.n_users, ratings.n_items, ratings.scale)
    return model, plan, train(model, ratings, plan, validation=validation, seed=seed, on_epoch=on_epoch)


def configured(ratings, **settings):
    config, _ = configure(HyVAE, "default", {**SMALL["default"], **settings})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return HyVAE(config, ratings.n_users, ratings.n_items, ratings.scale)


def same_bits(a, b):
    theirs = b.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in a.state_dict().items())


class Plain(RatingModel):
    """One weight an item, pulled towards the ratings: small enough to follow by hand."""

    name, title, citation = "plain", "Plain", ""
    Config, presets = Config, {}

    def __init__(self, n_users, n_items):
        super().__init__(Config(), n_users, n_items, (1.0, 5.0), 1)
        self.level = nn.Parameter(torch.zeros(n_items))
        self.steps = []

    def shared(self, train, step):
        return {"level": 1.0 * self.level}

    def loss(self, block, shared, step, targets=None):
        if targets is None:
            self.steps.append((step, block.users.tolist()))
        on = block if targets is None else targets
        error = on.values - shared["level"][on.pattern.col]
        return {"rec": error.square().sum() / (step.n_targets or step.n_ratings)}

    def penalties(self):
        return {"level": 0.01}

    def finish(self, train):
        with torch.no_grad():
            self.item_bias.copy_(self.level)

    def encode(self, block):
        return torch.zeros(block.pattern.shape[0], 1)


def train_plain(ratings, **plan):
    model = Plain(ratings.n_users, ratings.n_items)
    return model, train(model, ratings, TrainingPlan(**plan))


@pytest.fixture
def sgd(monkeypatch):
    """Plain gradient steps, so that weights tell gradients."""
    monkeypatch.setitem(trainer.OPTIMISERS, "adam", lambda groups, lr: torch.optim.SGD(groups, lr=lr))


# -- the same again -------------------------------------------------------------------------------------


class TestReproducible:
    @pytest.mark.bits
    @presets
    def test_the_same_seed_gives_the_same_bits(self, small_ratings, preset):
        assert same_bits(run(small_ratings, preset, seed=4)[0], run(small_ratings, preset, seed=4)[0])

    @presets
    def test_another_seed_gives_others(self, small_ratings, preset):
        assert not same_bits(run(small_ratings, preset, seed=4)[0], run(small_ratings, preset, seed=5)[0])

    @presets
    def test_the_callers_random_state_has_no_say(self, small_ratings, preset):
        torch.manual_seed(1)
        one = run(small_ratings, preset)[0]
        torch.manual_seed(2)
        assert same_bits(one, run(small_ratings, preset)[0])

    @presets
    def test_the_callers_random_state_is_left_alone(self, small_ratings, preset):
        before = torch.get_rng_state()
        run(small_ratings, preset)
        assert torch.equal(torch.get_rng_state(), before)

    def test_the_random_state_is_left_alone_by_a_failure_too(self, small_ratings):
        before = torch.get_rng_state()
        with pytest.raises(TrainingError):
            run(small_ratings, "paper", learning_rate=1e30)
        assert torch.equal(torch.get_rng_state(), before)

    def test_validation_does_not_change_the_course(self, parts):
        # with patience none and the last epoch best or not, the reported losses are those of the same weights
        without, with_it = [], []
        run(parts[0], on_epoch=without.append)
        run(parts[0], validation=parts[1], validate_every=1, on_epoch=with_it.append)
        assert [report.parts for report in without] == [report.parts for report in with_it]


# -- steps and blocks -----------------------------------------------------------------------------------


class TestSteps:
    def test_every_user_with_ratings_is_met_once_an_epoch(self, small_ratings):
        model, _ = train_plain(small_ratings, epochs=3, batch_users=16)
        rated = np.flatnonzero(small_ratings.user_counts).tolist()
        steps_per_epoch = -(-len(rated) // 16)
        assert len(model.steps) == 3 * steps_per_epoch
        for epoch in range(3):
            batches = model.steps[epoch * steps_per_epoch : (epoch + 1) * steps_per_epoch]
            assert sorted(user for _, users in batches for user in users) == rated

    def test_the_order_differs_between_epochs(self, small_ratings):
        model, _ = train_plain(small_ratings, epochs=2, batch_users=16)
        half = len(model.steps) // 2
        assert [users for _, users in model.steps[:half]] != [users for _, users in model.steps[half:]]

    def test_steps_know_where_they_stand(self, small_ratings):
        model, _ = train_plain(small_ratings, epochs=2, batch_users=16)
        steps = [step for step, _ in model.steps]
        assert [step.number for step in steps] == list(range(1, len(steps) + 1))
        assert [step.progress for step in steps] == [k / len(steps) for k in range(len(steps))]
        for step, users in model.steps:
            assert step.n_users == len(users)
            assert step.n_ratings == small_ratings.user_counts[users].sum()

    def test_blocks_of_one_step_share_its_totals(self, small_ratings):
        model, _ = train_plain(small_ratings, epochs=1, batch_users=None, block_users=7)
        assert {step.number for step, _ in model.steps} == {1}
        assert {step.n_ratings for step, _ in model.steps} == {len(small_ratings)}
        assert max(len(users) for _, users in model.steps) == 7

    def test_one_step_is_the_gradient_by_hand(self, small_ratings, sgd):
        model, _ = train_plain(small_ratings, epochs=1, batch_users=None, learning_rate=0.5)
        sums = np.bincount(small_ratings.indices, small_ratings.values, small_ratings.n_items)
        np.testing.assert_allclose(model.level.detach(), 0.5 * 2 * sums / len(small_ratings), rtol=1e-5)

    def test_a_penalty_counts_once_a_step_whatever_the_blocks(self, small_ratings):
        histories = [train_plain(small_ratings, epochs=2, batch_users=None, block_users=b)[1] for b in (7, 4096)]
        one, whole = (history.epochs[-1].parts["l2"] for history in histories)
        assert one == pytest.approx(whole, rel=1e-5)
        assert whole > 0

    def test_a_penalty_is_the_gradient_of_its_part(self, small_ratings, sgd):
        model, _ = train_plain(small_ratings, epochs=1, batch_users=None, learning_rate=0.5)
        before = model.level.detach().clone()
        train(model, small_ratings, TrainingPlan(epochs=1, batch_users=None, learning_rate=0.5))
        gradient = torch.zeros_like(before).index_add_(
            0,
            torch.from_numpy(small_ratings.indices),
            before[small_ratings.indices] - torch.from_numpy(small_ratings.values),
        )
        wanted = before - 0.5 * (2 * gradient / len(small_ratings) + 2 * 0.01 * before)
        torch.testing.assert_close(model.level.detach(), wanted)

    @pytest.mark.parametrize("optimiser", ["adam", "rmsprop"])
    @pytest.mark.parametrize("batch_users", [None, 20])
    @pytest.mark.parametrize("settings", [{}, {"vae_loss": 0.0}, {"branches": "vae"}, {"item_encoder": False}])
    @pytest.mark.parametrize("preset", ["default", "paper"])
    def test_everything_learns(self, small_ratings, preset, settings, batch_users, optimiser):
        settings = {**settings, "fusion": "folded"} if preset == "paper" else settings
        settings = {**settings, "optimiser": optimiser, "batch_users": batch_users, "l2_scope": "all", "l2": 1e-9}
        config, _ = configure(HyVAE, preset, {**SMALL[preset], **settings})
        torch.manual_seed(0)
        before = HyVAE(config, small_ratings.n_users, small_ratings.n_items, small_ratings.scale)
        after, *_ = run(small_ratings, preset, **settings)
        moved = dict(after.named_parameters())
        assert [name for name, weight in before.named_parameters() if torch.equal(weight, moved[name])] == []

    def test_rmsprop_moves_the_same_rows_whatever_the_blocks(self, small_ratings, monkeypatch):
        # a last batch of one user is consecutive, and must be no different
        monkeypatch.setattr(latent, "normal_like", torch.zeros_like)
        settings = {"fusion": "folded", "l2_scope": "all", "l2": 0.1, "batch_users": 19, "deep_dropout": 0.0}
        one, whole = (run(small_ratings, "paper", block_users=b, **settings)[0] for b in (7, 4096))
        theirs = whole.state_dict()
        for name, tensor in one.state_dict().items():
            torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("batch_users", [None, 40])
    @pytest.mark.parametrize("branches", ["deep", "both"])
    def test_blocks_give_the_same_weights(self, small_ratings, sgd, monkeypatch, batch_users, branches):
        block_of = trainer.rating_block

        def in_float64(*args, **kwargs):
            block = block_of(*args, **kwargs)
            return replace(block, values=block.values.double())

        monkeypatch.setattr(trainer, "rating_block", in_float64)
        monkeypatch.setattr(latent, "normal_like", torch.zeros_like)  # noise is drawn block by block
        weights = []
        for block_users in (11, 4096):
            config, plan = configure(
                HyVAE,
                "default",
                {
                    **SMALL["default"],
                    "hidden_dropout": 0.0,
                    "branches": branches,
                    "batch_users": batch_users,
                    "block_users": block_users,
                    "learning_rate": 0.05,
                    "schedule": "constant",
                },
            )
            torch.manual_seed(0)
            model = HyVAE(config, small_ratings.n_users, small_ratings.n_items, small_ratings.scale).double()
            before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
            train(model, small_ratings, plan)
            weights.append(dict(model.named_parameters()))
        for name, small_blocks in weights[0].items():
            torch.testing.assert_close(small_blocks, weights[1][name], rtol=0, atol=1e-12)
            assert not torch.equal(small_blocks, before[name]), name

    def test_the_gradient_is_clipped(self, small_ratings, sgd):
        free, _ = train_plain(small_ratings, epochs=1, batch_users=None, learning_rate=1.0)
        clipped, _ = train_plain(small_ratings, epochs=1, batch_users=None, learning_rate=1.0, gradient_clip=0.1)
        assert free.level.detach().norm() > 0.2
        assert float(clipped.level.detach().norm()) == pytest.approx(0.1, rel=1e-4)

    def test_small_gradients_are_not_clipped(self, small_ratings, sgd):
        free, _ = train_plain(small_ratings, epochs=1, batch_users=None)
        clipped, _ = train_plain(small_ratings, epochs=1, batch_users=None, gradient_clip=1e6)
        torch.testing.assert_close(free.level, clipped.level)

    def test_the_learning_rate_follows_the_schedule(self, small_ratings):
        reports = []
        run(small_ratings, epochs=10, learning_rate=0.01, schedule="one_cycle", on_epoch=reports.append)
        wanted = [0.01 * one_cycle(k / 10) for k in range(10)]
        assert [report.learning_rate for report in reports] == pytest.approx(wanted)

    @pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("rmsprop", RMSprop)])
    def test_the_plan_names_the_optimiser(self, name, kind):
        optimiser = trainer.OPTIMISERS[name]([nn.Parameter(torch.zeros(1))], 0.3)
        assert isinstance(optimiser, kind)
        assert optimiser.param_groups[0]["lr"] == 0.3


# -- what is kept ---------------------------------------------------------------------------------------

OVERFITTING = {"epochs": 60, "learning_rate": 0.05, "batch_users": 16, "center": "global", "l2": 0.0}


class TestBestWeights:
    @pytest.fixture(scope="class")
    @classmethod
    def overfitted(cls, parts):
        return run(parts[0], "paper", validation=parts[1], patience=None, **OVERFITTING)

    def test_the_kept_weights_have_the_best_rmse(self, overfitted, parts):
        model, _, history = overfitted
        predictions = predict_pairs(model, *parts).clip(1, 5)
        assert rmse(predictions, parts[1].values) == pytest.approx(history.best_validation_rmse, abs=1e-7)

    def test_the_best_is_the_least_of_the_curve_and_not_the_last(self, overfitted):
        history = overfitted[2]
        curve = [report.validation_rmse for report in history.epochs]
        assert len(curve) == 60
        assert min(curve) == history.best_validation_rmse == curve[history.best_epoch - 1]
        assert curve[-1] > min(curve), "the case must overfit, or this proves nothing"

    def test_without_validation_the_last_are_kept(self, parts):
        _, _, history = run(parts[0], "paper")
        assert history.best_epoch is history.best_validation_rmse is None
        assert [report.validation_rmse for report in history.epochs] == [None] * 3

    def test_an_empty_validation_part_is_none(self, parts):
        empty = Ratings.empty(parts[0].users, parts[0].items, parts[0].scale)
        assert run(parts[0], "paper", validation=empty)[2].best_epoch is None

    @pytest.mark.parametrize(("every", "patience"), [(1, 3), (2, 2)])
    def test_training_stops_when_patience_is_out(self, parts, every, patience):
        settings = {**OVERFITTING, "patience": patience, "validate_every": every}
        history = run(parts[0], "paper", validation=parts[1], **settings)[2]
        assert history.stopped_early
        assert len(history.epochs) == history.best_epoch + every * patience < 40

    def test_validation_is_as_often_as_the_plan_says_and_at_the_end(self, parts):
        history = run(parts[0], validation=parts[1], epochs=7, validate_every=3)[2]
        assert [report.epoch for report in history.epochs if report.validation_rmse is not None] == [3, 6, 7]

    def test_the_model_is_left_ready_to_answer(self, overfitted):
        assert not overfitted[0].training
        assert overfitted[0].item_rows.any()

    def test_reports_add_up(self, parts):
        reports = []
        _, _, history = run(parts[0], "paper", on_epoch=reports.append)
        assert reports == history.epochs
        assert [report.epoch for report in reports] == [1, 2, 3]
        assert [report.steps for report in reports] == [4, 8, 12]
        assert set(reports[0].parts) == {"rec", "deep", "kl", "l2"}
        seconds = [report.seconds for report in reports]
        assert seconds == sorted(seconds)

    def test_the_loss_falls(self, parts):
        history = run(parts[0], "paper", epochs=10, learning_rate=3e-3)[2]
        assert history.epochs[-1].parts["rec"] < 0.9 * history.epochs[0].parts["rec"]


class TestValidationParts:
    @pytest.fixture(scope="class")
    @classmethod
    def history(cls, parts):
        return run(parts[0], validation=parts[1], epochs=7, validate_every=3)[2]

    def test_they_are_reported_where_an_epoch_is_validated(self, history):
        assert [report.epoch for report in history.epochs if report.validation_parts] == [3, 6, 7]
        for report in history.epochs:
            assert (report.validation_rmse is not None) == bool(report.validation_parts)
            assert not report.validation_parts or report.validation_parts.keys() == report.parts.keys()
            assert all(np.isfinite(value) for value in report.validation_parts.values())

    def test_without_validation_there_are_none(self, parts):
        assert not any(report.validation_parts for report in run(parts[0])[2].epochs)

    def test_rows_and_back(self, history):
        rows = history.rows()
        assert {"loss_rec", "loss_kl"} <= rows[0].keys()
        assert not [name for name in rows[0] if name.startswith("valid_")]
        assert {"valid_rec", "valid_kl", "valid_l2"} <= rows[2].keys()
        assert trainer.History.from_rows(rows, history.outcome()) == history

    def test_a_table_and_back(self, history):
        # as a run folder keeps them: every row has every column, null where there is nothing
        rows = pl.DataFrame(history.rows(), infer_schema_length=None).to_dicts()
        assert rows[0]["valid_rec"] is None
        assert trainer.History.from_rows(rows, history.outcome()) == history

    def test_they_are_the_loss_on_the_validation_ratings(self, parts):
        train_part, validation = parts
        model = Plain(train_part.n_users, train_part.n_items)
        history = train(model, train_part, TrainingPlan(epochs=1, batch_users=None), validation=validation)
        level = model.level.detach().numpy()  # those of the only epoch
        wanted = np.mean((validation.values - level[validation.indices]) ** 2)
        assert history.epochs[-1].validation_parts["rec"] == pytest.approx(wanted, rel=1e-5)
        assert history.epochs[-1].validation_parts["l2"] == pytest.approx(0.01 * (level**2).sum(), rel=1e-5)

    @pytest.mark.parametrize("block_users", [7, 4096])
    def test_blocks_make_no_difference(self, parts, block_users):
        whole, small = (run(parts[0], validation=parts[1], epochs=1, block_users=n)[2] for n in (4096, block_users))
        # the steps draw their noise block by block, and the reports are of the weights after them
        assert small.epochs[0].validation_parts == pytest.approx(whole.epochs[0].validation_parts, rel=0.05)

    def test_users_without_ratings_weigh_nothing(self, parts):
        def last(ratings, validation):
            return train_counting(ratings, validation).seen

        def widened(ratings):
            users = Vocabulary(np.concatenate([ratings.users.ids, [10**6, 10**6 + 1]]))
            return Ratings.from_indices(
                users, ratings.items, ratings.user_index, ratings.indices, ratings.values, scale=ratings.scale
            )

        def train_counting(ratings, validation):
            class Counting(Plain):
                seen = None

                def loss(self, block, shared, step, targets=None):
                    if targets is not None:
                        self.seen = (step.n_users, step.n_ratings, step.n_targets, block.pattern.shape[0])
                    return super().loss(block, shared, step, targets)

            model = Counting(ratings.n_users, ratings.n_items)
            train(model, ratings, TrainingPlan(epochs=1), validation=validation)
            return model

        both = (parts[0].user_counts + parts[1].user_counts > 0).sum()
        wanted = (both, len(parts[0]), len(parts[1]), both)
        assert last(*parts) == last(*map(widened, parts)) == wanted

    def test_given_ratings_are_inputs(self, small_ratings):
        by_user = small_ratings.split("user")
        reports = []
        for given in (None, by_user.given):
            model = configured(by_user.train)
            plan = TrainingPlan(epochs=1, batch_users=None)
            history = train(model, by_user.train, plan, validation=by_user.valid, given=given)
            reports.append(history.epochs[0])
        assert reports[0].parts == reports[1].parts
        assert reports[0].validation_parts["rec"] != reports[1].validation_parts["rec"]
        assert reports[0].validation_rmse != reports[1].validation_rmse


# -- what goes wrong ------------------------------------------------------------------------------------


class TestNotANumber:
    def test_the_message_names_step_part_cause_and_mend(self, small_ratings):
        message = (
            r"step \d+ of 12: loss part '(rec|deep|kl|l2)' is (nan|inf); .*too long.* learning rate \(now 1e\+30\)"
        )
        with pytest.raises(TrainingError, match=message):
            run(small_ratings, "paper", learning_rate=1e30)

    def test_the_broken_weights_are_named(self, small_ratings):
        class Broken(Plain):
            def shared(self, train, step):
                if step.number == 3:
                    with torch.no_grad():
                        self.level.fill_(torch.nan)
                return super().shared(train, step)

        model = Broken(small_ratings.n_users, small_ratings.n_items)
        with pytest.raises(TrainingError, match=r"step 3 of 5: loss part 'rec' is nan; the weights 'level'"):
            train(model, small_ratings, TrainingPlan(epochs=5, batch_users=None))

    def test_a_part_that_is_infinite_is_named(self, small_ratings):
        class Infinite(Plain):
            def loss(self, *arguments):
                return {"penalty": self.level.sum() + torch.inf}

        model = Infinite(small_ratings.n_users, small_ratings.n_items)
        with pytest.raises(TrainingError, match=r"step 1 of 2: loss part 'penalty' is inf"):
            train(model, small_ratings, TrainingPlan(epochs=2, batch_users=None))

    def test_predictions_that_are_not_finite_stop_training(self, parts):
        class Lost(Plain):
            def finish(self, train):
                self.item_bias.fill_(torch.nan)

        model = Lost(parts[0].n_users, parts[0].n_items)
        with pytest.raises(TrainingError, match="validation predictions are no longer finite"):
            train(model, parts[0], TrainingPlan(epochs=1), validation=parts[1])


class TestThinRatings:
    @presets
    def test_users_and_items_without_ratings(self, preset):
        one = Ratings.from_arrays([1, 2, 3, 3], [1, 2, 1, 4], [3.0, 4.0, 2.0, 5.0])
        thin = one.take(np.array([0, 3]))
        model, _, history = run(thin, preset)
        assert len(history.epochs) == SMALL[preset]["epochs"]
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    @presets
    def test_a_single_rating(self, preset):
        model, _, _ = run(Ratings.from_arrays([1], [1], [3.0], scale=(1, 5)), preset)
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    @presets
    def test_ratings_that_are_all_the_same(self, preset):
        same = Ratings.from_arrays([1, 1, 2, 2, 3], [1, 2, 1, 3, 3], [4.0] * 5, scale=(1, 5))
        model, _, _ = run(same, preset)
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())

    def test_a_model_without_gradients_is_finished_only(self, small_ratings):
        model = Bias(BiasConfig(), small_ratings.n_users, small_ratings.n_items, small_ratings.scale)
        history = train(model, small_ratings, TrainingPlan(epochs=5))
        assert history.epochs == []
        assert model.item_bias.any()

    def test_no_epochs_leave_the_weights_as_they_were(self, small_ratings):
        model, _ = train_plain(small_ratings, epochs=0)
        assert model.steps == []
        assert not model.level.any()


class TestEpochsByHeldOut:
    """Without a validation part, a tenth of the ratings tells first how long to train."""

    def chosen(self, ratings, **settings):
        model = configured(ratings)
        plan = configure(HyVAE, "default", {**SMALL["default"], "validate_every": 1, "patience": 3, **settings})[1]
        return epochs_by_held_out(model, ratings, plan, seed=0)

    @pytest.fixture
    def few(self, monkeypatch):
        monkeypatch.setattr(trainer, "FEWEST_TO_HOLD_OUT", 10)

    def test_it_is_the_best_epoch_of_a_training_on_the_rest(self, small_ratings, few):
        ratings = small_ratings
        epochs = self.chosen(ratings, epochs=30, learning_rate=0.05)
        held_out, rest = np.split(np.random.default_rng(0).permutation(len(ratings)), [len(ratings) // 10])
        kept, told = ratings.take(np.sort(rest)), ratings.take(np.sort(held_out))
        settings = {**SMALL["default"], "epochs": 30, "validate_every": 1, "patience": 3, "learning_rate": 0.05}
        model, plan = configured(ratings), configure(HyVAE, "default", settings)[1]
        assert epochs == train(model, kept, plan, validation=told, seed=0).best_epoch
        assert 1 <= epochs < 30

    def test_a_plan_that_never_stops_early_is_carried_out(self, small_ratings, few):
        assert self.chosen(small_ratings, patience=None) is None

    def test_too_few_ratings_tell_nothing(self, small_ratings, monkeypatch):
        monkeypatch.setattr(trainer, "FEWEST_TO_HOLD_OUT", len(small_ratings) + 1)
        assert self.chosen(small_ratings) is None

    def test_training_ends_there_within_the_schedule_of_all(self, small_ratings):
        settings = {**SMALL["default"], "epochs": 8}
        plan = configure(HyVAE, "default", settings)[1]
        whole, stopped = configured(small_ratings), configured(small_ratings)
        rates = [report.learning_rate for report in train(whole, small_ratings, plan).epochs]
        history = train(stopped, small_ratings, plan, stop_after=5)
        assert [report.learning_rate for report in history.epochs] == rates[:5]
