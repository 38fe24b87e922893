"""Python names arguments, the command line names flags."""

import pytest

from hyvae import BiasModel, HyvaeError, Ratings, Recommender
from hyvae.wording import command_line, say

CASES = {
    "one user": (
        lambda folder: BiasModel().fit(Ratings.from_arrays([1, 1], [1, 2], [1, 2])),
        "user=…",
        "--user-column",
    ),
    "all alike": (
        lambda folder: BiasModel().fit(Ratings.from_arrays([1, 2], [1, 2], [1, 1])),
        "preset='ranking'",
        "--preset ranking",
    ),
    "repeated": (
        lambda folder: Ratings.from_arrays([1, 1], [1, 1], [1, 2]),
        "on_duplicates='last'",
        "--on-duplicates last",
    ),
    "device": (lambda folder: Recommender(device="cuda:9"), "device='cpu'", "--device cpu"),
    "no run": (lambda folder: Recommender.load(folder / "nowhere"), "Recommender.save", "'hyvae train … --out'"),
}


@pytest.mark.parametrize(("ask", "python", "command"), CASES.values(), ids=CASES)
def test_messages_name_what_their_reader_can_type(ask, python, command, tmp_path):
    with pytest.raises(HyvaeError) as raised:
        ask(tmp_path)
    assert python in str(raised.value)
    assert command not in str(raised.value)
    with command_line(), pytest.raises(HyvaeError) as raised:
        ask(tmp_path)
    assert command in str(raised.value)
    assert python not in str(raised.value)


def test_it_ends_with_the_command():
    with pytest.raises(ZeroDivisionError), command_line():
        print(1 / 0)
    assert say("a", "b") == "a"
