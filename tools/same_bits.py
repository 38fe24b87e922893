"""Run the tests that promise equal bits on other machines than this one, as far as one processor can stand for others.

The libraries choose their loops by the processor, and variables make them choose those of another. hyvae's own kernels
are built anew for each level of x86-64. Prints a line a setting, and exits with 1 if a test fails in any.

Usage: python tools/same_bits.py [pytest's arguments]
"""

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

SOURCE = Path(__file__).parents[1] / "src" / "hyvae" / "nn" / "_kernels.cpp"
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fopenmp",
    "-fvisibility=hidden",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-shared",
    "-fPIC",
]
# the weights of a saved run lie 4 bytes off their alignment in some, as in files of an earlier hyvae
SETTINGS = [
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "level": "x86-64-v3", "OMP_NUM_THREADS": "1"},
    {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "level": "x86-64", "OMP_NUM_THREADS": "2"},
    {"MKL_CBWR": "COMPATIBLE", "level": "x86-64-v4", "OMP_NUM_THREADS": "1", "HYVAE_TEST_SHIFT": "4"},
    {"OMP_NUM_THREADS": "2", "HYVAE_TEST_SHIFT": "4"},
]
NEEDED = {"x86-64-v3": "AVX2", "x86-64-v4": "AVX512"}


def built(level: str, folder: Path) -> Path:
    """The kernels for one level of the instruction set."""
    library = folder / f"{level}.so"
    compiler = os.environ.get("CXX", "g++")
    subprocess.run([compiler, *FLAGS, f"-march={level}", "-DHYVAE_ONE_LEVEL", SOURCE, "-o", library], check=True)
    return library


def runs_here(level: str) -> bool:
    """Whether this processor has the instructions of a level."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    own = torch.backends.cpu.get_cpu_capability()
    return level not in NEEDED or own == "AVX512" or own == NEEDED[level]


def main(arguments: list[str]) -> int:
    """Run the marked tests under each setting."""
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for setting in SETTINGS:
            variables = dict(setting)
            level = variables.pop("level", None)
            if level is not None and runs_here(level):
                variables["HYVAE_KERNELS"] = str(built(level, Path(folder)))
            told = " ".join(f"{name}={value}" for name, value in setting.items())
            tests = [sys.executable, "-m", "pytest", "-q", "-m", "bits", "-p", "no:cacheprovider", *arguments]
            code = subprocess.run(tests, env=os.environ | variables, check=False).returncode
            print(f"{'passed' if code == 0 else 'FAILED'}: {told}", flush=True)
            failed |= code
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
