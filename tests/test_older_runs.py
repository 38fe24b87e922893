"""Runs written by earlier versions stay loadable and give the answers that they gave (tools/make_run_fixture.py)."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hyvae import Recommender

FOLDER = Path(__file__).parent / "fixtures"


@pytest.mark.parametrize("name", ["run-schema1", "run-raw-units"])
def test_predictions_are_what_they_were(name: str):
    expected = pl.read_csv(FOLDER / f"{name}.expected.csv", schema_overrides={"user": pl.String})
    model = Recommender.load(FOLDER / name)
    found = model.predict_table(expected["user"].to_list(), expected["item"].to_list())
    np.testing.assert_allclose(found["prediction"], expected["prediction"], atol=1e-4)
    np.testing.assert_allclose(found["interval_high"], expected["interval_high"], atol=1e-4)
    assert model.recommend({"Film 3": 5.0}, n=2)[0].title.startswith("Film ")
