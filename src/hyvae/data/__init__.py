"""Reading, splitting and describing ratings."""

from hyvae.data.describe import describe
from hyvae.data.joining import extend_split, merge
from hyvae.data.named import DATASETS, NamedDataset, find_local, load, names
from hyvae.data.pairs import read_pairs
from hyvae.data.readers import read
from hyvae.data.splits import Split, SplitRows, rows_fingerprint, split, split_rows, whole
from hyvae.data.tables import ratings_from_table

__all__ = [
    "DATASETS",
    "NamedDataset",
    "Split",
    "SplitRows",
    "describe",
    "extend_split",
    "find_local",
    "load",
    "merge",
    "names",
    "ratings_from_table",
    "read",
    "read_pairs",
    "rows_fingerprint",
    "split",
    "split_rows",
    "whole",
]
