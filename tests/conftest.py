"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder with local copies of the data sets."""
    folder = os.environ.get("HYVAE_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("HYVAE_DATA is unset, and CI must test against the real data")
        pytest.skip("HYVAE_DATA is unset: no local copies of the data sets")
    return Path(folder)
