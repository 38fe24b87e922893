"""Fixtures that every test may use."""

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hyvae.ratings import Ratings, Vocabulary
from shifting import weights_shifted


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Folder with local copies of the data sets."""
    folder = os.environ.get("HYVAE_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("HYVAE_DATA is unset, and CI must test against the real data")
        pytest.skip("HYVAE_DATA is unset: no local copies of the data sets")
    return Path(folder)


@pytest.fixture(autouse=True, scope="session")
def _weights_shifted() -> Iterator[None]:
    """Where `make bits` asks for it, weights are saved as by a writer who does not align them."""
    with weights_shifted(int(os.environ.get("HYVAE_TEST_SHIFT", "0"))):
        yield


_OF_CHROMIUM = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real one."""
    executable = shutil.which("chromium")
    if executable is None or find_spec("playwright") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium or playwright is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=executable, args=_OF_CHROMIUM)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def make_ratings() -> Callable[..., Ratings]:
    """Whole ratings 1 to 5 of a low-rank taste plus noise; the last two users and three items have none."""

    def make(
        n_users: int = 60, n_items: int = 80, share: float = 0.25, seed: int = 0, strings: bool = False
    ) -> Ratings:
        rng = np.random.default_rng(seed)
        taste = rng.normal(size=(n_users, 2)) @ rng.normal(size=(n_items, 2)).T
        effects = 0.5 * rng.normal(size=(n_users, 1)) + 0.5 * rng.normal(size=(1, n_items))
        whole = np.clip(np.round(3.5 + 0.7 * taste + effects + 0.3 * rng.normal(size=taste.shape)), 1, 5)
        rated = rng.random(taste.shape) < share
        rated[-2:] = rated[:, -3:] = False
        users, items = np.nonzero(rated)

        def vocabulary(n: int) -> Vocabulary:
            # leading zeros, and strings whose numeric and alphabetic orders differ
            return Vocabulary.of([f"0{7 * k}" for k in range(n)] if strings else np.arange(n) * 3 + 100)

        return Ratings.from_indices(
            vocabulary(n_users),
            vocabulary(n_items),
            users,
            items,
            whole[users, items],
            scale=(1.0, 5.0),
            titles=np.array([f"Film {k} ({1950 + k})" for k in range(n_items)], dtype=object),
        )

    return make


@pytest.fixture(scope="session")
def small_ratings(make_ratings: Callable[..., Ratings]) -> Ratings:
    """60 users by 80 items with integer ids."""
    return make_ratings()


@pytest.fixture(scope="session")
def string_ratings(make_ratings: Callable[..., Ratings]) -> Ratings:
    """The same with string ids that look like numbers."""
    return make_ratings(strings=True)


@pytest.fixture(scope="session")
def parts(small_ratings: Ratings) -> tuple[Ratings, Ratings]:
    """`small_ratings` as training (nine tenths) and validation ratings."""
    held_out = np.random.default_rng(1).random(len(small_ratings)) < 0.1
    return small_ratings.take(~held_out), small_ratings.take(held_out)
