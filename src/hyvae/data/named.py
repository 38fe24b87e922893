"""The data sets that hyvae knows by name: where they come from, and what they must hold."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from hyvae.data.columns import ReadOptions
from hyvae.data.download import cache_folder, discard, fetch
from hyvae.data.formats import read_path
from hyvae.data.movielens import read_bundled
from hyvae.errors import DataError
from hyvae.ratings import Ratings

DATA_FOLDER_VARIABLE = "HYVAE_DATA"


@dataclass(frozen=True)
class NamedDataset:
    """A published data set.

    Attributes
    ----------
    files : tuple of str
        Paths tried in turn inside the folder that the environment variable HYVAE_DATA names; the first is also
        the name in the cache of downloads. Empty when the data come with the package.
    scale : (float, float)
        Lowest and highest rating that a user could give.
    url : str
        Where the file is downloaded from.
    ratings, users, items : int
        Published counts, with users and items that the source lists without any rating.
    checksum : str or None
        Published checksum of the file at `url`, as ``"md5:…"``. A copy in HYVAE_DATA may be packed anew, and is
        verified by its counts alone.
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
    checksum: str | None = None


_GROUPLENS_LICENCE = "research use with acknowledgement; no endorsement; no commercial use without permission"
_HARPER = (
    "F. M. Harper, J. A. Konstan. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5(4):19, 2015. https://doi.org/10.1145/2827872"
)
_MONTI = (
    "F. Monti, M. M. Bronstein, X. Bresson. Geometric Matrix Completion with Recurrent Multi-Graph Neural "
    "Networks. NIPS 2017."
)
_WHOLE_STARS, _HALF_STARS = (1.0, 5.0), (0.5, 5.0)


def _movielens(
    name: str,
    title: str,
    scale: tuple[float, float],
    counts: tuple[int, int, int],
    md5: str,
    folders: tuple[str, ...] = (),
    redistribution: str = "no redistribution without permission",
) -> NamedDataset:
    return NamedDataset(
        name=name,
        title=title,
        files=(f"{name}.zip", name, *folders),
        scale=scale,
        url=f"https://files.grouplens.org/datasets/movielens/{name}.zip",
        licence=f"{_GROUPLENS_LICENCE}; {redistribution}",
        citation=_HARPER,
        ratings=counts[0],
        users=counts[1],
        items=counts[2],
        checksum=f"md5:{md5}",
    )


def _monti(
    name: str, title: str, path: str, scale: tuple[float, float], ratings: int, citation: str = _MONTI
) -> NamedDataset:
    folder = path.partition("/")[0]
    return NamedDataset(
        name=name,
        title=title,
        files=tuple(dict.fromkeys((f"{name}.mat", f"{folder}.mat", f"monti/{folder}.mat", path))),
        scale=scale,
        url=f"https://raw.githubusercontent.com/fmonti/mgcnn/master/Data/{path}",
        licence="none stated by the source; not redistributed here",
        citation=citation,
        ratings=ratings,
        users=3_000,
        items=3_000,
    )


_SMALL = NamedDataset(
    name="movielens-small",
    title="MovieLens latest small (September 2018)",
    files=(),
    scale=_HALF_STARS,
    url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
    licence=f"{_GROUPLENS_LICENCE}; redistribution under the same conditions",
    citation=_HARPER,
    ratings=100_836,
    users=610,
    items=9_742,
)
_SEE_README = "redistribution: see its README"

DATASETS: dict[str, NamedDataset] = {
    dataset.name: dataset
    for dataset in (
        _SMALL,
        replace(_SMALL, name="ml-latest-small", title="the same, by GroupLens's own name"),
        _movielens(
            "ml-100k", "MovieLens 100K", _WHOLE_STARS, (100_000, 943, 1_682), "0e33842e24a9c977be4e0107933c0723"
        ),
        _movielens(
            "ml-1m", "MovieLens 1M", _WHOLE_STARS, (1_000_209, 6_040, 3_883), "c4d9eecfca2ab87c1945afe126590906"
        ),
        _movielens(
            "ml-10m",
            "MovieLens 10M",
            _HALF_STARS,
            (10_000_054, 69_878, 10_681),
            "ce571fd55effeba0271552578f2648bd",
            folders=("ml-10M100K",),  # what the zip unpacks to
        ),
        _movielens(
            "ml-20m", "MovieLens 20M", _HALF_STARS, (20_000_263, 138_493, 27_278), "cd245b17a1ae2cc31bb14903e1204af3"
        ),
        _movielens(
            "ml-25m",
            "MovieLens 25M",
            _HALF_STARS,
            (25_000_095, 162_541, 62_423),
            "6b51fb2759a8657d3bfcbfc42b592ada",
            redistribution=_SEE_README,
        ),
        _movielens(
            "ml-32m",
            "MovieLens 32M",
            _HALF_STARS,
            (32_000_204, 200_948, 87_585),
            "d472be332d4daa821edc399621853b57",
            redistribution=_SEE_README,
        ),
        _monti("douban", "Douban 3k (Monti et al.)", "douban/training_test_dataset.mat", _WHOLE_STARS, 136_891),
        _monti(
            "flixster", "Flixster 3k (Monti et al.)", "flixster/training_test_dataset_10_NNs.mat", _HALF_STARS, 26_173
        ),
        _monti(
            "yahoo-music-3k",
            "Yahoo Music 3k (Monti et al.)",
            "yahoo_music/training_test_dataset_10_NNs.mat",
            (1.0, 100.0),
            5_335,
            citation=f"{_MONTI} From: G. Dror, N. Koenigstein, Y. Koren, M. Weimer. The Yahoo! Music Dataset and "
            "KDD-Cup'11. Proceedings of KDD Cup 2011.",
        ),
    )
}


def names() -> list[str]:
    """Names of the data sets that `load` knows."""
    return list(DATASETS)


def load(name: str) -> Ratings:
    """Read a named data set and check it against its published counts.

    It comes with the package, or is looked for in the folder HYVAE_DATA, then in the cache of downloads
    (`hyvae.data.download.cache_folder`), and downloaded into it where neither has it. A zip is read as it is:
    nothing is unpacked.

    Raises
    ------
    DataError
        The name is unknown, the file cannot be downloaded, or it is not the published data set. A file in the
        cache that is not is removed, so that the next call downloads it again.
    """
    dataset = DATASETS.get(name)
    if dataset is None:
        raise DataError(f"no data set is called {name!r}; there are: {', '.join(DATASETS)}")
    if not dataset.files:
        return _verified(dataset, read_bundled(), "the copy that comes with hyvae")
    own = _own_copy(dataset)
    path = own or fetch(dataset.url, dataset.files[0], cache_folder(), mend=_mend(dataset), checksum=dataset.checksum)
    try:
        return _verified(dataset, read_path(path, ReadOptions(scale=dataset.scale)), str(path))
    except DataError as error:
        # a file that may not be read tells nothing about what it holds
        if isinstance(error.__cause__, PermissionError):
            raise
        mend = f"{discard(path)}; {_mend(dataset)}" if own is None else f"get it again from {dataset.url}"
        raise DataError(f"{error}; {mend}") from error


def find_local(name: str) -> str:
    """Say where a named data set would be read from: the package, a path, or the host of a download."""
    dataset = DATASETS[name]
    if not dataset.files:
        return "comes with hyvae"
    path = _own_copy(dataset) or cache_folder() / dataset.files[0]
    return str(path) if os.path.exists(path) else f"would be downloaded from {urlsplit(dataset.url).hostname}"


def _own_copy(dataset: NamedDataset) -> Path | None:
    folder = os.environ.get(DATA_FOLDER_VARIABLE)
    if not folder:
        return None
    paths = (Path(os.path.expanduser(folder)) / file for file in dataset.files)
    return next((path for path in paths if os.path.exists(path)), None)


def _mend(dataset: NamedDataset) -> str:
    folder = os.environ.get(DATA_FOLDER_VARIABLE)
    place = f"{folder} as {dataset.files[0]} ({DATA_FOLDER_VARIABLE})"
    if not folder:
        place = f"a folder as {dataset.files[0]}, with {DATA_FOLDER_VARIABLE} set to that folder"
    return f"try again, or get {dataset.url} yourself and put it into {place}"


def _verified(dataset: NamedDataset, ratings: Ratings, source: str) -> Ratings:
    counts = (
        ("ratings", len(ratings), dataset.ratings),
        ("users", ratings.n_users, dataset.users),
        ("items", ratings.n_items, dataset.items),
    )
    wrong = [f"{found:,} {noun} (published: {true:,})" for noun, found, true in counts if found != true]
    if wrong:
        raise DataError(f"{source}: not {dataset.name}, for it holds {', '.join(wrong)}")
    return ratings
