"""Exported models answer as the recommender does, for anybody."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hyvae import export
from hyvae.errors import ConfigError, DataError
from hyvae.models import REGISTRY
from hyvae.nn.traced import inverse
from hyvae.people import People
from hyvae.ratings import Ratings, Vocabulary
from hyvae.recommender import Recommender

Run = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript or onnxruntime is not installed: pip install 'hyvae[onnx]' onnxruntime",
)
# numbers of ratings of the people in a batch
BATCHES = ([1], [2], [10], [350], [0], [0, 0], [1, 1, 1], [3, 0, 10, 300, 1])
DRAWS = {"samples": 6, "sweeps": 20, "chains": 2, "sample_width": 8}
PRESETS = [(name, preset) for name, model in REGISTRY.items() if name != "random" for preset in model.presets]
VARIANTS = [
    ("hyvae", "fast", {"likelihood": "ordinal"}),
    ("hyvae", "fast", {"fill": "user_mean", "center": "global"}),
    ("hyvae", "fast", {"refine": None, "branches": "vae", "vae_loss": 0, "presence": False}),
    ("hyvae", "paper", {"output_activation": "relu", "center": "biases"}),
    ("hyvae", "paper", {"likelihood": "multinomial"}),
]


@pytest.fixture(scope="module")
def ratings(make_ratings: Callable[..., Ratings]) -> Ratings:
    """Enough items for people with hundreds of ratings; three of them have none."""
    return make_ratings(n_items=400)


def trained(ratings: Ratings, name: str, preset: str = "default", **settings: Any) -> Recommender:
    if REGISTRY[name].presets[preset].plan.epochs:
        settings["epochs"] = 2
    if (name, preset) == ("hyvae", "default"):
        settings |= DRAWS
    if (name, preset) == ("autorec", "published"):
        settings["width"] = 40
    return Recommender(name, preset=preset, **settings).fit(ratings, progress=False)


def batch(ratings: Ratings, counts: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(sum(counts))
    items = [rng.choice(ratings.n_items, count, replace=False) for count in counts]
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    values = rng.integers(1, 6, offsets[-1]).astype(np.float32)
    return offsets, np.concatenate(items).astype(np.int64), values


def check(recommender: Recommender, run: Run) -> None:
    """The answers are those to people who are folded in."""
    ratings = recommender.history
    for counts in BATCHES:
        offsets, items, values = batch(ratings, counts)
        scores = run(offsets, items, values)
        assert scores.shape == (len(counts), ratings.n_items)
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, folded_in(recommender, counts).scores(range(len(counts))), rtol=0, atol=1e-4)


def folded_in(recommender: Recommender, counts: list[int]) -> People:
    _, items, values = batch(recommender.history, counts)
    # someone more, of whom nothing is then taken: there are no ratings without a rating
    people = Vocabulary.of(np.arange(len(counts) + 1))
    owners = np.append(np.repeat(np.arange(len(counts)), counts), len(counts))
    ratings = Ratings.from_indices(
        people, recommender.history.items, owners, np.append(items, 0), np.append(values, 1.0), scale=(1.0, 5.0)
    )
    return recommender.people(ratings.take(ratings.user_index < len(counts)))


def session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options)


def under_onnx(path: Path) -> Run:
    opened = session(path)
    return lambda *inputs: opened.run(["scores"], dict(zip(("offsets", "items", "values"), inputs, strict=True)))[0]


@pytest.mark.parametrize(("name", "preset", "settings"), [*((*each, {}) for each in PRESETS), *VARIANTS])
def test_what_is_traced_answers_alike(ratings: Ratings, name: str, preset: str, settings: dict[str, Any]):
    recommender = trained(ratings, name, preset, **settings)
    answers = export.Answers(recommender)
    check(recommender, lambda *inputs: answers(*map(torch.from_numpy, inputs)).numpy())


@needs_onnx
@pytest.mark.parametrize(
    ("name", "preset"),
    [
        # each exporting takes torch some seconds; what is traced is tested of all above
        *((name, "default") for name in ("hyvae", "bias", "autorec")),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in (
                *((name, "default") for name in REGISTRY if name not in ("random", "hyvae", "bias", "autorec")),
                ("hyvae", "paper"),
                ("autorec", "user"),
                ("mult_vae", "ranking"),
                ("macrid_vae", "ranking"),
            )
        ),
    ],
)
def test_onnx_answers_alike(ratings: Ratings, tmp_path: Path, name: str, preset: str):
    recommender = trained(ratings, name, preset)
    export.export_onnx(recommender, tmp_path / "model.onnx")
    check(recommender, under_onnx(tmp_path / "model.onnx"))
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.fixture(scope="module")
def recommender(string_ratings: Ratings) -> Recommender:
    return trained(string_ratings, "bias")


@pytest.fixture(scope="module")
def path(recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    export.export_onnx(recommender, path)
    return path


@needs_onnx
class TestFile:
    def test_metadata_tell_which_item_is_where(self, path: Path, string_ratings: Ratings):
        found = session(path).get_modelmeta()
        content = {name: json.loads(text) for name, text in found.custom_metadata_map.items()}
        assert content["item_ids"] == string_ratings.items.ids.tolist()
        assert "07" in content["item_ids"]
        assert string_ratings.titles is not None
        assert content["titles"] == string_ratings.titles.tolist()
        assert content["scale"] == [1.0, 5.0]
        assert content["unrated_items"] == np.flatnonzero(string_ratings.item_counts == 0).tolist()
        assert (content["model"], content["preset"], content["predicts_ratings"]) == ("bias", "default", True)
        assert "not clipped" in found.description
        assert found.producer_name == "hyvae"

    def test_inputs_and_output(self, path: Path, string_ratings: Ratings):
        opened = session(path)
        inputs = {each.name: (each.type, len(each.shape)) for each in opened.get_inputs()}
        assert inputs == {
            "offsets": ("tensor(int64)", 1),
            "items": ("tensor(int64)", 1),
            "values": ("tensor(float)", 1),
        }
        (output,) = opened.get_outputs()
        assert (output.name, output.type, output.shape[1]) == ("scores", "tensor(float)", string_ratings.n_items)

    def test_nobody_is_named(self, path: Path, string_ratings: Ratings):
        named = session(path).get_modelmeta().custom_metadata_map
        assert not {"user_ids", "users"} & set(named)

    def test_large_weights_lie_beside(self, recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(export, "_LARGEST", 100)
        export.export_onnx(recommender, tmp_path / "model.onnx")
        assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}
        offsets, items, values = batch(recommender.history, [2, 3])
        scores = under_onnx(tmp_path / "model.onnx")(offsets, items, values)
        answers = export.Answers(recommender)(*map(torch.from_numpy, (offsets, items, values)))
        np.testing.assert_allclose(scores, answers.numpy(), rtol=0, atol=1e-4)

    def test_a_place_that_cannot_be_written(self, recommender: Recommender, tmp_path: Path):
        with pytest.raises(DataError, match="cannot be written"):
            export.export_onnx(recommender, tmp_path / "nowhere" / "model.onnx")
        (tmp_path / "folder").mkdir()
        with pytest.raises(DataError, match="is a folder"):
            export.export_onnx(recommender, tmp_path / "folder")
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]

    def test_random_is_refused(self, string_ratings: Ratings, tmp_path: Path):
        with pytest.raises(ConfigError, match="random cannot be exported"):
            export.export_onnx(trained(string_ratings, "random"), tmp_path / "model.onnx")
        assert not list(tmp_path.iterdir())

    def test_what_torch_cannot_trace_is_refused_in_a_line(
        self, recommender: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(type(recommender.model), "encode", lambda model, block: block.values.tolist())
        with pytest.raises(ConfigError, match="cannot be exported with torch") as refusal:
            export.export_onnx(recommender, tmp_path / "model.onnx")
        assert "\n" not in str(refusal.value)


def test_the_order_of_ratings_is_all_one(ratings: Ratings):
    answers = export.Answers(trained(ratings, "hyvae", "fast"))
    offsets, items, values = map(torch.from_numpy, batch(ratings, [30]))
    order = torch.randperm(30)
    assert torch.equal(answers(offsets, items, values), answers(offsets, items[order], values[order]))


def test_without_the_extra(ratings: Ratings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'hyvae\[onnx\]'"):
        export.export_onnx(trained(ratings, "bias"), tmp_path / "model.onnx")


def test_inverse():
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(3, 5, 20, 12, generator=draw, dtype=torch.float64)
    # pivots from a hundredth to thousands
    scale = torch.logspace(-2, 3, 12, dtype=torch.float64).sqrt()
    matrices = (root.mT @ root) * scale * scale.unsqueeze(1)
    identity = torch.eye(12, dtype=torch.float64).expand_as(matrices)
    torch.testing.assert_close(inverse(matrices) @ matrices, identity, rtol=0, atol=1e-7)
