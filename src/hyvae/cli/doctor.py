"""hyvae doctor: what this installation has and where it looks."""

from __future__ import annotations

import os
import platform

import torch

from hyvae.cli import options
from hyvae.cli.output import print_json, table
from hyvae.data import DATASETS, find_local
from hyvae.data.named import DATA_FOLDER_VARIABLE
from hyvae.nn import kernels
from hyvae.versions import installed

NOT_COMPILED = "plain torch, several times slower: install again where a C++ compiler with OpenMP is (g++ 12 or newer)"
PACKAGES = ("hyvae", "torch", "numpy", "scipy", "polars", "scikit-learn", "pydantic", "safetensors", "h5py", "pandas")


def doctor(json: options.Json = False) -> None:
    """Show versions, devices, threads and data folders.

    Example:

        hyvae doctor
    """
    facts = {
        "python": platform.python_version(),
        **{package: installed(package) for package in PACKAGES},
        "platform": platform.platform(),
        "cpu threads": str(torch.get_num_threads()),
        "kernels": "compiled" if kernels.compiled() else NOT_COMPILED,
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else "not available",
        DATA_FOLDER_VARIABLE: os.environ.get(DATA_FOLDER_VARIABLE, "not set"),
        **{f"data set {name}": find_local(name) for name in DATASETS},
    }
    if json:
        print_json(facts)
        return
    table("hyvae doctor", ("", "found"), list(facts.items()))
