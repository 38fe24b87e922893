"""The checkpoint: a training that goes on from any of its steps ends in the same bits as one that never stopped."""

import json
import logging
import shutil
import signal
import threading
from functools import partial
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from hyvae import BiasModel, HyVAE, Recommender, recommender
from hyvae.errors import ConfigError, Interrupted, TrainingError
from hyvae.models.hyvae import HyVAE as HyVAEModule
from hyvae.models.settings import configure
from hyvae.tensors import read_tensors
from hyvae.training import Checkpointing, checkpoint_path, train
from hyvae.training.checkpoint import Keeper, read_checkpoint
from hyvae.training.progress import TrainingProgress
from hyvae.training.trainer import OPTIMISERS, parameter_groups

WIDTHS = {"hidden": 8, "latent": 3, "deep_layers": (4,), "samples": 0}
SWEEPS = 3
OVERFITTING = {**WIDTHS, "decoder": 5, "learning_rate": 0.05, "batch_users": 16, "center": "global", "l2": 0.0}
# every way in which a training can differ where it goes on: blocks, steps, optimisers, noise, validation, its best
TRAININGS = {
    "one step an epoch": ("default", {**WIDTHS, "epochs": 4, "validate_every": 2}),
    "mini-batches of blocks": ("default", {**WIDTHS, "epochs": 2, "batch_users": 16, "block_users": 7}),
    "clipped": ("default", {**WIDTHS, "epochs": 3, "gradient_clip": 0.01, "schedule": "constant"}),
    "draws": ("default", {**WIDTHS, "epochs": 2, "samples": 2, "sample_width": 3, "sweeps": SWEEPS}),
    "ordinal": ("default", {**WIDTHS, "epochs": 3, "likelihood": "ordinal", "batch_users": 40}),
    "paper": ("paper", {**WIDTHS, "decoder": 5, "epochs": 3, "batch_users": 16}),
    "no noise": ("default", {**WIDTHS, "epochs": 3, "branches": "deep", "hidden_dropout": 0.0, "hide": 0.0}),
    "the best is not the last": ("paper", {**OVERFITTING, "epochs": 30, "patience": None}),
    "stops early": ("paper", {**OVERFITTING, "epochs": 40, "patience": 2, "validate_every": 2}),
}


def run(training, parts, *, seed=5, validation=True, **arguments):
    """A trained model and its history."""
    preset, settings = training
    config, plan = configure(HyVAEModule, preset, settings)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = HyVAEModule(config, parts[0].n_users, parts[0].n_items, parts[0].scale)
    held_out = parts[1] if validation else None
    return model, train(model, parts[0], plan, validation=held_out, seed=seed, **arguments)


def all_checkpoints(training, parts, folder, monkeypatch, **arguments):
    """Every checkpoint that a training writes, as a file of its own."""
    kept, save = [], Keeper.save

    def save_and_copy(keeper, state):
        save(keeper, state)
        kept.append(shutil.copy(keeper.path, folder / f"{len(kept)}.copy"))

    monkeypatch.setattr(Keeper, "save", save_and_copy)
    finished = run(training, parts, checkpoint=Checkpointing(folder / "whole", every=0), **arguments)
    monkeypatch.undo()
    return kept, finished


def assert_same(one, other):
    """The same bits everywhere, and the same history but for the seconds."""
    theirs = other[0].state_dict()
    for name, tensor in one[0].state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    assert [without_seconds(row) for row in one[1].rows()] == [without_seconds(row) for row in other[1].rows()]
    assert without_seconds(one[1].outcome()) == without_seconds(other[1].outcome())


def without_seconds(row):
    return {key: value for key, value in row.items() if key != "seconds"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


@pytest.fixture
def stopped(parts, path):
    """A checkpoint of "one step an epoch" after its second epoch."""
    return stop(TRAININGS["one step an epoch"], parts, path, 2)


def stop(training, parts, path, epoch, number=signal.SIGINT, **arguments):
    def press(report):
        if report.epoch == epoch:
            signal.raise_signal(number)

    with pytest.raises(Interrupted) as stopped:
        run(training, parts, checkpoint=Checkpointing(path), on_epoch=press, **arguments)
    return stopped.value


class TestTwoTrainings:
    def test_the_second_is_refused_before_it_begins_and_harms_nothing(self, parts, path):
        model, refused = Recommender("hyvae", **WIDTHS, epochs=3), []

        def begin_another(report):
            if report.epoch == 1:
                assert path.exists()
                before = path.read_bytes()
                with pytest.raises(TrainingError, match="another training or command is writing it; wait") as error:
                    # without validation a whole training comes before the one that keeps checkpoints
                    Recommender("hyvae", **WIDTHS, epochs=3).fit(parts[0], checkpoint=path, progress=False)
                assert path.read_bytes() == before
                refused.append(str(error.value))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingProgress, "__call__", lambda _, report: begin_another(report))
            patch.setattr(recommender, "epochs_by_held_out", pytest.fail)
            model.fit(*parts, checkpoint=path, checkpoint_every=0, progress=False)
        assert len(refused) == 1
        assert "\n" not in refused[0]
        Recommender("hyvae", **WIDTHS, epochs=3).fit(*parts, checkpoint=path, checkpoint_every=0, progress=False)
        assert [file.name for file in path.parent.iterdir()] == [path.name]


# -- the same bits --------------------------------------------------------------------------------------


class TestGoingOn:
    @pytest.mark.parametrize(
        ("name", "validation"), [*product(TRAININGS, [True]), *product(list(TRAININGS)[:4], [False])]
    )
    @pytest.mark.bits
    def test_from_any_step_ends_in_the_same_bits(self, name, validation, parts, tmp_path, path, monkeypatch):
        training = TRAININGS[name]
        uninterrupted = run(training, parts, validation=validation)
        kept, while_keeping = all_checkpoints(training, parts, tmp_path, monkeypatch, validation=validation)
        assert_same(uninterrupted, while_keeping)
        history = uninterrupted[1]
        assert len(kept) == history.epochs[-1].steps + len(history.epochs) + (2 * SWEEPS if name == "draws" else 0)
        if validation:
            assert history.stopped_early == (name == "stops early")
            if name in ("the best is not the last", "stops early"):
                assert history.best_epoch < len(history.epochs)
        for file in kept if len(kept) < 20 else [*kept[::11], *kept[-3:]]:
            shutil.copy(file, path)
            torch.manual_seed(int(torch.randint(1000, ())))  # whatever else draws has no say
            assert_same(uninterrupted, run(training, parts, validation=validation, checkpoint=going_on(path)))

    def test_from_a_checkpoint_that_was_itself_gone_on_from(self, parts, path):
        training = TRAININGS["mini-batches of blocks"]
        for epoch in (1, 2):
            stop(training, parts, path, epoch)
        assert_same(run(training, parts), run(training, parts, checkpoint=going_on(path)))

    def test_the_random_state_is_needed(self, parts, path, stopped):
        # or the tests above could pass without restoring it
        change(path, lambda tensors: tensors | {"random.cpu": torch.Generator().manual_seed(9).get_state()})
        model, _ = run(TRAININGS["one step an epoch"], parts, checkpoint=going_on(path))
        uninterrupted, _ = run(TRAININGS["one step an epoch"], parts)
        assert not torch.equal(model.item_rows, uninterrupted.item_rows)

    def test_the_callers_random_state_is_left_alone(self, parts, path, stopped):
        before = torch.get_rng_state()
        run(TRAININGS["one step an epoch"], parts, checkpoint=going_on(path))
        assert torch.equal(torch.get_rng_state(), before)

    def test_what_prepare_knows_besides_the_state_is_known_again(self, parts, path, stopped):
        model, _ = run(TRAININGS["one step an epoch"], parts, checkpoint=going_on(path))
        assert model.n_ratings == len(parts[0])

    def test_without_a_checkpoint_it_starts_from_the_start(self, parts, path):
        training = TRAININGS["one step an epoch"]
        assert_same(run(training, parts), run(training, parts, checkpoint=going_on(path)))

    def test_the_clock_goes_on(self, parts, path, stopped):
        before = read_checkpoint(path)[0].seconds
        change(path, lambda tensors: tensors, seconds=1000.0)
        history = run(TRAININGS["one step an epoch"], parts, checkpoint=going_on(path))[1]
        assert 0 < before < 1000 < history.seconds < 1000 + 60
        assert [report.seconds > 1000 for report in history.epochs] == [False, False, True, True]

    def test_who_watches_sees_all_epochs(self, parts, path, stopped):
        seen = []
        history = run(TRAININGS["one step an epoch"], parts, checkpoint=going_on(path), on_epoch=seen.append)[1]
        assert [report.epoch for report in seen] == [1, 2, 3, 4]
        assert seen == history.epochs

    def test_the_recommender_goes_on(self, parts, path):
        settings = {**WIDTHS, "epochs": 3}
        whole = HyVAE(**settings).fit(*parts, seed=2)
        assert whole.fit(*parts, seed=2, checkpoint=path, checkpoint_every=0).training.seconds
        assert path.exists()
        resumed = HyVAE(**settings).fit(*parts, seed=2, checkpoint=str(path), resume=True)
        assert torch.equal(whole.model.item_rows, resumed.model.item_rows)
        assert whole.provenance["job"] == resumed.provenance["job"]

    def test_a_model_without_epochs_needs_no_checkpoint(self, parts, path):
        BiasModel().fit(*parts, checkpoint=path, checkpoint_every=0, resume=True)
        assert not list(path.parent.iterdir())


def going_on(path):
    return Checkpointing(path, resume=True)


def change(path, change_tensors, **changes):
    """A checkpoint with other contents, and a checksum that fits."""
    from hyvae.training import checkpoint

    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["checkpoint"])
    tensors = change_tensors(read_tensors(path)[0])
    text = json.dumps({**content, **changes})
    save_file(tensors, path, {"checkpoint": text, "checksum": checkpoint._checksum(text, tensors)})


# -- the file -------------------------------------------------------------------------------------------


class TestFile:
    @pytest.mark.parametrize("name", OPTIMISERS)
    def test_an_optimiser_is_the_same_again(self, name, parts, path):
        training = ("default", {**WIDTHS, "epochs": 3, "optimiser": name})
        stop(training, parts, path, 2)
        state = read_checkpoint(path)[0]
        model, _ = run(training, parts, validation=False)
        fresh = OPTIMISERS[name](parameter_groups(model), 1.0)
        fresh.load_state_dict(state.optimiser)
        again = fresh.state_dict()
        assert again["state"].keys() == state.optimiser["state"].keys() == set(range(len(list(model.parameters()))))
        for number, values in state.optimiser["state"].items():
            assert values["step"] == 2
            for key, value in values.items():
                assert torch.equal(value, again["state"][number][key])
                assert value.dtype == again["state"][number][key].dtype

    def test_it_is_a_safetensors_file_of_tensors_and_json(self, path, stopped):
        with safe_open(path, framework="pt") as file:
            assert set(file.metadata()) == {"checkpoint", "checksum"}
            content = json.loads(file.metadata()["checkpoint"])
        assert content["schema"] == 1
        assert content["place"] == {"epoch": 3, "done": 0, "step": 2, "sums": {}}
        prefixes = {name.split(".")[0] for name in read_tensors(path)[0]}
        assert prefixes == {"model", "best", "optimiser", "random"}

    def test_nothing_else_is_left_beside_it(self, path, stopped):
        assert [file.name for file in path.parent.iterdir()] == ["run.checkpoint"]

    def test_it_is_rewritten_only_when_due(self, parts, path, monkeypatch):
        now = SimpleNamespace(value=0.0)
        monkeypatch.setattr("hyvae.training.checkpoint.time", SimpleNamespace(monotonic=lambda: now.value))
        written, save = [], Keeper.save
        monkeypatch.setattr(
            Keeper, "save", lambda keeper, state: (written.append(state.place.step), save(keeper, state))
        )

        def tick(report):
            now.value += 25

        run(("default", {**WIDTHS, "epochs": 8}), parts, checkpoint=Checkpointing(path, every=60), on_epoch=tick)
        assert written == [3, 6]

    @pytest.mark.parametrize("cut", [0, 4, 100, -1])
    def test_a_truncated_one_is_refused(self, cut, parts, path, stopped):
        path.write_bytes(path.read_bytes()[:cut])
        self.refused(parts, path, r"run\.checkpoint is damaged: .*; remove it and train from the start")

    @pytest.mark.parametrize("place", [20, 2000, -20, -7000])
    def test_a_changed_byte_is_refused(self, place, parts, path, stopped):
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        self.refused(parts, path, "is damaged|is not a checkpoint")

    def test_another_safetensors_file_is_refused(self, parts, path):
        save_file({"a": torch.zeros(1)}, path)
        self.refused(parts, path, "is not a checkpoint of hyvae: it has no 'checkpoint'; remove it")

    def test_a_newer_schema_is_refused(self, parts, path, stopped):
        change(path, lambda tensors: tensors, schema=2)
        self.refused(parts, path, "has schema 2, this hyvae reads up to 1; install a newer hyvae, or remove it")

    def test_state_that_does_not_fit_the_model_is_refused(self, parts, path, stopped):
        change(path, lambda tensors: {k: v for k, v in tensors.items() if k != "model.hidden_bias"})
        self.refused(parts, path, "does not fit this version of hyvae: .*; remove it and train from the start")

    def test_a_folder_in_its_place_is_refused(self, parts, path):
        path.mkdir()
        self.refused(parts, path, r"run\.checkpoint")

    def test_a_place_that_cannot_be_written_shows_before_training(self, parts, tmp_path):
        (tmp_path / "file").touch()
        self.refused(parts, tmp_path / "file" / "run.checkpoint", "cannot be written")

    def refused(self, parts, path, match):
        with pytest.raises(TrainingError, match=match) as error:
            run(TRAININGS["one step an epoch"], parts, checkpoint=going_on(path))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("run_folder", "name"), [("run", "run.checkpoint"), ("a/b.c/", "b.c.checkpoint"), ("r.1", "r.1.checkpoint")]
    )
    def test_it_lies_beside_the_run(self, run_folder, name):
        assert checkpoint_path(run_folder).name == name

    def test_it_lies_beside_a_run_without_a_name(self, tmp_path, monkeypatch):
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        assert checkpoint_path(".") == tmp_path / "here.checkpoint"


# -- whose ----------------------------------------------------------------------------------------------


class TestOtherJobs:
    def test_settings_are_named_with_both_values(self, parts, path, stopped):
        training = ("default", {**WIDTHS, "epochs": 4, "validate_every": 2, "hidden": 9, "learning_rate": 0.25})
        self.refused("setting hidden was 8 and is 9 now; setting learning_rate was 0.005 and is 0.25 now; ")(
            training, parts, path
        )

    def test_many_differences_are_counted(self, parts, path, stopped):
        self.refused(r"seed was 5 and is 1 now; setting center was biases and is none now; .*; and \d+ more; ")(
            TRAININGS["paper"], parts, path, seed=1
        )

    def test_the_seed(self, parts, path, stopped):
        self.refused("run.checkpoint is of another training: seed was 5 and is 6 now; train as then")(
            TRAININGS["one step an epoch"], parts, path, seed=6
        )

    def test_the_training_ratings(self, parts, small_ratings, path, stopped):
        self.refused("another training: other training ratings; train")(
            TRAININGS["one step an epoch"], (small_ratings, parts[1]), path
        )

    def test_no_validation(self, parts, path, stopped):
        self.refused("other validation ratings")(TRAININGS["one step an epoch"], parts, path, validation=False)

    def test_the_ratings_of_held_out_people(self, parts, path, stopped):
        self.refused("other given ratings")(TRAININGS["one step an epoch"], parts, path, given=parts[1])

    def refused(self, match):
        def check(training, parts, path, **arguments):
            before = path.read_bytes()
            with pytest.raises(TrainingError, match=match) as error:
                run(training, parts, checkpoint=going_on(path), **arguments)
            assert "\n" not in str(error.value)
            assert path.read_bytes() == before

        return check

    def test_other_circumstances_are_noted(self, parts, path, stopped, caplog):
        circumstances = read_checkpoint(path)[2]
        change(path, lambda tensors: tensors, circumstances={**circumstances, "threads": 99, "torch": "1.0"})
        _, history = run(TRAININGS["one step an epoch"], parts, checkpoint=going_on(path))
        assert len(history.epochs) == 4
        notes = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert f"threads was 99 and is {torch.get_num_threads()} now: the weights may differ" in notes[0]
        assert "torch was 1.0" in notes[1]
        assert len(notes) == 2

    def test_without_resume_it_is_removed_with_a_note(self, parts, path, stopped, caplog):
        training = ("default", {**WIDTHS, "epochs": 1})
        run(training, parts, checkpoint=Checkpointing(path))
        assert not path.exists()
        assert [record.getMessage() for record in caplog.records] == [
            f"{path} is removed: training starts afresh, as resume=True was not given"
        ]

    def test_resuming_needs_a_place(self, parts):
        with pytest.raises(ConfigError, match="resume needs a checkpoint"):
            HyVAE(**WIDTHS).fit(*parts, resume=True)

    @pytest.mark.parametrize("every", [-1, float("nan")])
    def test_an_interval_that_is_none(self, every, parts, path):
        with pytest.raises(ConfigError, match="0 or more seconds"):
            HyVAE(**WIDTHS).fit(*parts, checkpoint=path, checkpoint_every=every)

    def test_a_job_is_the_same_wherever_it_runs(self, parts):
        jobs = [Recommender(**WIDTHS).job(*parts, seed=1), HyVAE(**WIDTHS).job(*parts, seed=1)]
        others = [HyVAE(**WIDTHS).job(*parts), HyVAE().job(*parts, seed=1), HyVAE(**WIDTHS).job(parts[0], seed=1)]
        assert jobs[0] == jobs[1]
        assert len({jobs[0], *others}) == 4


# -- Ctrl-C ---------------------------------------------------------------------------------------------


class TestInterruption:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_stops_between_two_steps(self, number, parts, path):
        handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
        stopped = stop(TRAININGS["mini-batches of blocks"], parts, path, 1, number)
        assert (stopped.step, stopped.steps, stopped.signal) == (4, 8, number)
        assert str(stopped) == "stopped at step 4 of 8; go on with resume=True"
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers

    def test_a_signal_within_a_step_lets_it_finish(self, parts, path, monkeypatch):
        loss = HyVAEModule.loss

        def loss_and_press(model, block, shared, step, targets=None):
            if step.number == 3:
                signal.raise_signal(signal.SIGINT)
            return loss(model, block, shared, step, targets)

        training = TRAININGS["ordinal"]
        monkeypatch.setattr(HyVAEModule, "loss", loss_and_press)
        with pytest.raises(Interrupted) as stopped:
            run(training, parts, checkpoint=Checkpointing(path))
        monkeypatch.undo()
        assert stopped.value.step == 3
        assert_same(run(training, parts), run(training, parts, checkpoint=going_on(path)))

    @pytest.mark.parametrize(("number", "raises"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
    def test_a_second_signal_stops_at_once(self, number, raises, parts, path):
        def press_twice(report):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(number)

        with pytest.raises(raises):
            run(TRAININGS["paper"], parts, checkpoint=Checkpointing(path), on_epoch=press_twice)
        assert not list(path.parent.iterdir())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_without_a_checkpoint_ctrl_c_is_what_it_always_was(self, parts):
        with pytest.raises(KeyboardInterrupt):
            run(TRAININGS["paper"], parts, on_epoch=lambda report: signal.raise_signal(signal.SIGINT))

    def test_a_signal_that_no_step_followed_is_raised_in_the_end(self, parts, path, monkeypatch):
        finish = HyVAEModule.finish

        def finish_and_press(model, train):
            finish(model, train)
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(HyVAEModule, "finish", finish_and_press)
        with pytest.raises(KeyboardInterrupt):
            run(TRAININGS["paper"], parts, validation=False, checkpoint=Checkpointing(path))

    def test_an_ignored_signal_stays_ignored(self, parts, path):
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            _, history = run(
                TRAININGS["paper"],
                parts,
                checkpoint=Checkpointing(path),
                on_epoch=lambda report: signal.raise_signal(signal.SIGINT),
            )
        finally:
            signal.signal(signal.SIGINT, before)
        assert len(history.epochs) == 3

    def test_another_thread_may_train(self, parts, path):
        result = []
        work = partial(run, TRAININGS["paper"], parts, checkpoint=Checkpointing(path, every=0))
        thread = threading.Thread(target=lambda: result.append(work()))
        thread.start()
        thread.join()
        assert_same(run(TRAININGS["paper"], parts), result[0])
