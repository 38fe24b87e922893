"""The live line: what it says, and that it is silent where nobody watches."""

import pytest

from hyvae.training import EpochReport
from hyvae.training.progress import TrainingProgress


def report(epoch=3, validation=None, seconds=2.0, ndcg=None):
    return EpochReport(epoch, 12, 0.01, {"rec": 0.51234, "kl": 0.01}, {}, validation, seconds, ndcg)


def test_the_line_has_step_parts_and_rate():
    progress = TrainingProgress(10, n_ratings=1000, shown=False)
    progress(report())
    assert progress.line(report()) == "step 12 · rec 0.5123 · kl 0.0100 · 1,500 ratings/s"


def test_the_line_has_the_latest_and_the_best_rmse():
    progress = TrainingProgress(10, n_ratings=1000, shown=False)
    for rmse in (0.9, 0.85, 0.87):
        progress(report(validation=rmse))
    assert "valid RMSE 0.8700 (best 0.8500)" in progress.line(report())


def test_the_line_of_a_model_that_only_ranks_has_its_latest_and_best_ndcg():
    progress = TrainingProgress(10, n_ratings=1000, shown=False)
    for ndcg in (0.1, 0.25, 0.2):
        progress(report(ndcg=ndcg))
    progress(report(epoch=4))
    assert "valid NDCG@10 0.2000 (best 0.2500)" in progress.line(report(epoch=4))
    assert "RMSE" not in progress.line(report(epoch=4))


def test_an_epoch_without_validation_keeps_the_latest():
    progress = TrainingProgress(10, n_ratings=1000, shown=False)
    progress(report(validation=0.9))
    progress(report(epoch=4))
    assert "valid RMSE 0.9000 (best 0.9000)" in progress.line(report(epoch=4))


def test_the_bar_follows_the_epochs():
    progress = TrainingProgress(10, n_ratings=1000, shown=False)
    with progress:
        progress(report(epoch=7))
    assert progress.progress.tasks[0].completed == 7
    assert progress.progress.tasks[0].total == 10


def test_an_instant_epoch_does_not_divide_by_zero():
    progress = TrainingProgress(10, n_ratings=1000, shown=False)
    assert "ratings/s" in progress.line(report(seconds=0.0))


@pytest.mark.parametrize("shown", [False, None])
def test_it_is_silent_where_nobody_watches(shown, capsys):
    # captured standard error is no terminal
    with TrainingProgress(10, n_ratings=1000, shown=shown) as progress:
        progress(report())
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_it_writes_to_standard_error_only(capsys):
    with TrainingProgress(10, n_ratings=1000, shown=True) as progress:
        progress(report())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch" in captured.err
