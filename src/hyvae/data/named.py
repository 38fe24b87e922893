"""The data sets that hyvae knows by name, where their files are looked for, and what they must hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hyvae.data.formats import read_path
from hyvae.data.movielens import read_bundled
from hyvae.data.text import ReadOptions
from hyvae.errors import DataError
from hyvae.ratings import Ratings

DATA_FOLDER_VARIABLE = "HYVAE_DATA"


@dataclass(frozen=True)
class NamedDataset:
    """A published data set.

    Attributes
    ----------
    files : tuple of str
        Paths tried in turn inside the folder that the environment variable HYVAE_DATA names; empty when the
        data come with the package.
    scale : (float, float)
        Lowest and highest rating that a user could give.
    url : str
        Where to get the file.
    ratings, users, items : int
        Published counts, with users and items that the source lists without any rating.
    """

    name: str
    title: str
    files: tuple[str, ...]
    scale: tuple[float, float]
    url: str
    licence: str
    citation: str
    ratings: int
    users: int
    items: int


_GROUPLENS_LICENCE = "research use with acknowledgement; no endorsement; no commercial use without permission"
_HARPER = (
    "F. M. Harper, J. A. Konstan. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5(4):19, 2015. https://doi.org/10.1145/2827872"
)
_MONTI = (
    "F. Monti, M. M. Bronstein, X. Bresson. Geometric Matrix Completion with Recurrent Multi-Graph Neural "
    "Networks. NIPS 2017."
)
_MONTI_URL = "https://github.com/fmonti/mgcnn (Data folder)"
_MONTI_LICENCE = "none stated by the source; not redistributed here"

DATASETS: dict[str, NamedDataset] = {
    dataset.name: dataset
    for dataset in (
        NamedDataset(
            name="movielens-small",
            title="MovieLens latest small (September 2018)",
            files=(),
            scale=(0.5, 5.0),
            url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
            licence=f"{_GROUPLENS_LICENCE}; redistribution under the same conditions",
            citation=_HARPER,
            ratings=100_836,
            users=610,
            items=9_742,
        ),
        NamedDataset(
            name="ml-1m",
            title="MovieLens 1M",
            files=("ml-1m.zip", "ml-1m"),
            scale=(1.0, 5.0),
            url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            licence=f"{_GROUPLENS_LICENCE}; no redistribution",
            citation=_HARPER,
            ratings=1_000_209,
            users=6_040,
            items=3_883,
        ),
        NamedDataset(
            name="douban",
            title="Douban 3k (Monti et al.)",
            files=("monti/douban.mat", "douban.mat", "douban/training_test_dataset.mat"),
            scale=(1.0, 5.0),
            url=_MONTI_URL,
            licence=_MONTI_LICENCE,
            citation=_MONTI,
            ratings=136_891,
            users=3_000,
            items=3_000,
        ),
        NamedDataset(
            name="flixster",
            title="Flixster 3k (Monti et al.)",
            files=("monti/flixster.mat", "flixster.mat", "flixster/training_test_dataset_10_NNs.mat"),
            scale=(0.5, 5.0),
            url=_MONTI_URL,
            licence=_MONTI_LICENCE,
            citation=_MONTI,
            ratings=26_173,
            users=3_000,
            items=3_000,
        ),
    )
}


def names() -> list[str]:
    """Names of the data sets that `load` knows."""
    return list(DATASETS)


def load(name: str) -> Ratings:
    """Read a named data set and check it against its published counts.

    Raises
    ------
    DataError
        The name is unknown, no local copy is found, or the copy is not the published data set.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise DataError(f"no data set is called {name!r}; there are: {', '.join(DATASETS)}")
    ratings = _read_local(dataset) if dataset.files else read_bundled()
    _check_counts(dataset, ratings)
    return ratings


def _read_local(dataset: NamedDataset) -> Ratings:
    return read_path(_local_copy(dataset), ReadOptions(scale=dataset.scale))


def _local_copy(dataset: NamedDataset) -> Path:
    mend = f"get it from {dataset.url} and put it there as {dataset.files[0]}"
    folder = os.environ.get(DATA_FOLDER_VARIABLE)
    if not folder:
        raise DataError(f"{dataset.name}: set {DATA_FOLDER_VARIABLE} to the folder of your data sets; {mend}")
    for file in dataset.files:
        path = Path(folder).expanduser() / file
        if path.exists():
            return path
    raise DataError(f"{dataset.name}: not found in {folder} ({DATA_FOLDER_VARIABLE}); {mend}")


def find_local(name: str) -> str:
    """Say where a named data set would be read from."""
    dataset = DATASETS[name]
    try:
        return str(_local_copy(dataset)) if dataset.files else "comes with hyvae"
    except DataError:
        return "not found"


def _check_counts(dataset: NamedDataset, ratings: Ratings) -> None:
    counts = (
        ("ratings", len(ratings), dataset.ratings),
        ("users", ratings.n_users, dataset.users),
        ("items", ratings.n_items, dataset.items),
    )
    wrong = [f"{found:,} {noun} (published: {true:,})" for noun, found, true in counts if found != true]
    if wrong:
        raise DataError(f"{dataset.name}: the local copy holds {', '.join(wrong)}; get it again from {dataset.url}")
