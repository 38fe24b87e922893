"""What the paper prints, as data. Keys of data sets are `hyvae.data`'s names; of rows, those of `experiments`."""

from __future__ import annotations

from typing import NamedTuple


class Errors(NamedTuple):
    """A cell of Table II."""

    mmae: float
    mrmse: float

    @property
    def impossible(self) -> bool:
        """No single way to average gives a mean absolute error above the root of the mean squared one."""
        return self.mmae > self.mrmse


class Counts(NamedTuple):
    """A column of Table I; sparsity is a share."""

    users: int
    items: int
    interactions: int
    sparsity: float


TITLES = {"ml-1m": "MovieLens-1M", "douban": "Douban", "flixster": "Flixster"}

TABLE_1 = {
    "ml-1m": Counts(6040, 3952, 1_000_209, 0.9581),
    "douban": Counts(3001, 3000, 136_891, 0.9848),
    "flixster": Counts(2999, 2998, 26_173, 0.9971),
}

TABLE_2 = {
    "random": {"ml-1m": Errors(1.598, 1.918), "douban": Errors(1.865, 2.624), "flixster": Errors(2.119, 2.965)},
    "macrid_vae": {"ml-1m": Errors(1.142, 1.159), "douban": Errors(1.095, 1.379), "flixster": Errors(1.232, 1.176)},
    "mult_dae": {"ml-1m": Errors(0.768, 0.921), "douban": Errors(0.731, 0.846), "flixster": Errors(0.830, 0.933)},
    "cdae": {"ml-1m": Errors(0.770, 0.839), "douban": Errors(0.628, 0.780), "flixster": Errors(0.927, 0.932)},
    "mult_vae": {"ml-1m": Errors(0.816, 0.864), "douban": Errors(0.764, 0.877), "flixster": Errors(0.823, 0.927)},
    "autorec": {"ml-1m": Errors(0.781, 0.842), "douban": Errors(0.633, 0.772), "flixster": Errors(0.816, 0.910)},
    "rec_vae": {"ml-1m": Errors(0.778, 0.856), "douban": Errors(0.853, 0.744), "flixster": Errors(0.945, 0.908)},
    "hyvae": {"ml-1m": Errors(0.764, 0.807), "douban": Errors(0.608, 0.738), "flixster": Errors(0.787, 0.874)},
}

# § V.E: by how much Hy-VAE's MRMSE is said to be better, on average over the data sets
IMPROVEMENTS = {"autorec": 0.043, "cdae": 0.054, "rec_vae": 0.036, "mult_vae": 0.106, "mult_dae": 0.118}

# RMSE
TABLE_3 = {
    "deep": {"ml-1m": 0.845, "douban": 0.750, "flixster": 0.933},
    "vae": {"ml-1m": 0.860, "douban": 0.873, "flixster": 0.929},
}
PROMOTIONS = {"deep": 0.042, "vae": 0.103}
