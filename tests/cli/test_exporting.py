"""hyvae export, as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
from command import hyvae

from hyvae.recommender import Recommender


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("export") / "run"
    hyvae("train", "movielens-small", "--model", "bias", "--out", run, "--threads", 1)
    return run


def test_a_file_that_answers(run: Path, tmp_path: Path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'hyvae[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    out = tmp_path / "model.onnx"
    said = json.loads(hyvae("export", run, "--out", out, "--json").stdout)
    assert said == {"out": str(out), "format": "onnx", "bytes": out.stat().st_size, "items": 9742}
    session = onnxruntime.InferenceSession(str(out))
    place = {item: k for k, item in enumerate(json.loads(session.get_modelmeta().custom_metadata_map["item_ids"]))}
    given = {318: 5.0, 2571: 4.0}
    inputs = {
        "offsets": np.array([0, 2]),
        "items": np.array([place[item] for item in given]),
        "values": np.array(list(given.values()), np.float32),
    }
    (scores,) = session.run(["scores"], inputs)
    predicted = Recommender.load(run).fold_in(given).predict([1, 50])
    np.testing.assert_allclose(scores[0, [place[1], place[50]]].clip(0.5, 5), predicted, rtol=0, atol=1e-4)


def test_refusals(run: Path, tmp_path: Path):
    for arguments, said in (
        ((run, "--out", tmp_path / "model", "--format", "pmml"), "no format is called 'pmml'; there is: onnx"),
        ((tmp_path, "--out", tmp_path / "model.onnx"), "not a run"),
    ):
        error = hyvae("export", *arguments, code=1).stderr
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert said in error
    assert not list(tmp_path.iterdir())
