"""What a run promises, before anything is made of it. The crafts are in tests/hostile."""

import subprocess
import sys

import pytest
import torch

from hyvae import Recommender
from hyvae.models import REGISTRY
from hyvae.verification import check_tensors, one_line

SCALE = (1.0, 5.0)
PRESETS = [(name, preset) for name, model in REGISTRY.items() for preset in model.presets]


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_every_model_has_the_shapes_that_it_is_compared_with(name, preset):
    config = Recommender(name, preset=preset).config
    model = REGISTRY[name](config, 12, 8, SCALE)
    state, before = model.answering_state(), torch.get_rng_state()
    check_tensors(lambda: REGISTRY[name](config, 12, 8, SCALE), state, "")
    assert torch.equal(before, torch.get_rng_state())
    if state:
        with pytest.raises(ValueError, match="where the settings make it"):
            check_tensors(lambda: REGISTRY[name](config, 12, 9, SCALE), state, "")


def test_what_only_training_needs_may_not_be_far_larger_than_the_run():
    # the paper's head has a layer from all items to all items
    config = Recommender("hyvae", preset="paper", hidden=4, latent=2, deep_layers=(2,), decoder=2, samples=0).config

    def make():
        return REGISTRY["hyvae"](config, 12, 50_000, SCALE)

    with torch.device("meta"):
        state = {name: torch.zeros(tensor.shape, device="cpu") for name, tensor in make().answering_state().items()}
    with pytest.raises(ValueError, match=r"its settings make a model of 20,00[\d,]+ bytes, of which the run has"):
        check_tensors(make, state, "")


@pytest.mark.integration
def test_it_does_not_import_the_compiler():
    # which takes seconds, at every first load
    code = (
        "import sys; from hyvae import Recommender; from hyvae.models import REGISTRY\n"
        "from hyvae.verification import check_tensors\n"
        "for name, model in REGISTRY.items():\n"
        "    check_tensors(lambda: model(Recommender(name).config, 12, 8, (1.0, 5.0)), {}, '')\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first;\nsecond"), "first"),
        (MemoryError(), "MemoryError"),
        (ValueError("a\x1b]0;title\x07b"), "a ]0;title b"),
        (ValueError("x" * 1000), "x" * 300),
    ],
)
def test_one_line_of_an_error(error, line):
    assert one_line(error) == line
