"""What the files of a run must be like before anything is made of them: a run may come from anywhere.

Checksums tell what was damaged on the way, but whoever makes a file can make its checksum too. So types, shapes and
sizes are compared with each other first. What they promise must be there in bytes, and no size is believed that only
one small number says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hyvae.data.columnar import parquet_size, parquet_table
from hyvae.errors import HyvaeError, RunError
from hyvae.files import require_regular
from hyvae.models import RatingModel
from hyvae.nn.precision import single_precision
from hyvae.nn.randomness import seeded

# of tables that are not small. 1,000 users × 1,000 items, all rated alike, are 40 rows a byte, and unpack to 211 times
# their size; common ratings are one row a byte, and unpack to 30 times
_SMALL_TABLE, _MOST_ROWS_A_BYTE = 1 << 22, 256
_SMALL, _MOST_UNPACKED = 1 << 26, 500
# what only training needs is not in the file; of the paper's dense head it is hundreds of times what is
_MOST_TRAINING_ONLY = 1000
# thresholds of levels that there are not
_MAY_BE_INFINITE = ("cuts",)
_MOST_REASON = 300
# of a tensor of numbers that are not there
_DRAWS = {"normal_", "uniform_", "kaiming_uniform_", "mul"}
_MEND = "restore it or train again"


class Column(NamedTuple):
    """A column of a table: the types that it may have, whether it may be absent, and whether values may be missing."""

    types: tuple[type[pl.DataType], ...]
    optional: bool = False
    gaps: bool = False


_ID = (pl.Int64, pl.String)
_RATINGS = {
    "user": Column(_ID),
    "item": Column(_ID),
    "rating": Column((pl.Float32,), gaps=True),  # `Ratings` tells which one is no number
    "timestamp": Column((pl.Int64,), optional=True, gaps=True),
}
#: the tables of a run folder. More columns than these are passed over
TABLES: dict[str, dict[str, Column]] = {
    "vocabulary.parquet": {
        "kind": Column((pl.String,)),
        "id": Column((pl.String,)),
        "title": Column((pl.String, pl.Null), gaps=True),
        "ratings": Column((pl.Int64,), gaps=True),
        "encoded": Column((pl.Boolean,), optional=True, gaps=True),
    },
    "ratings.parquet": _RATINGS,
    "split.parquet": {**_RATINGS, "part": Column((pl.String,))},
    "left_out.parquet": {"user": Column(_ID), "item": Column(_ID), "kind": Column((pl.String,))},
    "curves.parquet": {"epoch": Column((pl.Int64,))},
}


@contextmanager
def damage_told(run: object, said: str = "is damaged") -> Iterator[None]:
    """Turn all that goes wrong with the files of a run into one line.

    Parameters
    ----------
    run : object
        What the line begins with.
    said : str
        What it says of that, before the reason.

    Raises
    ------
    RunError
    """
    try:
        yield
    except RunError:
        raise
    # no family holds all that decoders and torch raise for damaged files, and a panic of Rust is no Exception at all
    except (Exception, pl.exceptions.PanicException) as error:
        if isinstance(error, OSError) and error.strerror:  # the system's, where a decoder's has no number
            name = "" if error.filename is None else f"{Path(error.filename).name}: "
            raise RunError(f"{run} cannot be read: {name}{error.strerror}; {_MEND}") from error
        raise RunError(f"{run} {said}: {one_line(error)}; {_MEND}") from error


def one_line(error: BaseException) -> str:
    """The first line of what an error says, without what steers a terminal, or else its name."""
    if isinstance(error, ValidationError):
        found = error.errors()[0]
        return f"{'.'.join(map(str, found['loc']))}: {found['msg']}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # the mend of one of our own errors is not that of a run
    reason = lines[0].partition(";")[0] if isinstance(error, HyvaeError) else lines[0]
    return "".join(each if each.isprintable() else " " for each in reason[:_MOST_REASON]).rstrip(";. ")


def read_table(file: Path, most_rows: int) -> pl.DataFrame:
    """Read a table of `TABLES`, after a look at what it promises.

    Parameters
    ----------
    most_rows : int
        That the other files leave room for.

    Raises
    ------
    ValueError
        More rows than that, more than its bytes can hold, a column that is missing or of another type.
    Exception
        Whatever its decoder raises.
    """
    require_regular(file)
    size = parquet_size(file)
    stored = file.stat().st_size
    if size.rows > min(most_rows, max(_SMALL_TABLE, stored * _MOST_ROWS_A_BYTE)):
        raise ValueError(f"{file.name} has {size.rows:,} rows, for which there is no room")
    if size.unpacked > max(_SMALL, stored * _MOST_UNPACKED):
        raise ValueError(f"{file.name} has {stored:,} bytes and would unpack to {size.unpacked:,}")
    table = parquet_table(file)
    for name, column in TABLES[file.name].items():
        if name not in table.columns:
            if not column.optional:
                raise ValueError(f"{file.name} has no column {name!r}")
        elif table.schema[name] not in column.types:
            raise ValueError(f"{file.name}: the column {name!r} is of type {table.schema[name]}")
        elif not column.gaps and table[name].null_count():
            raise ValueError(f"{file.name}: values are missing from the column {name!r}")
    return table


def check_tensors(make: Callable[[], RatingModel], weights: Mapping[str, Tensor], prefix: str) -> None:
    """Compare tensors with the model that is to have them, of which only shapes are made yet.

    Parameters
    ----------
    make : callable
        Makes the model.
    weights : dict of str to Tensor
        By name, with the prefix. What is absent is not missed here.

    Raises
    ------
    ValueError
        Another shape or type, a number that is none, or a model that is far larger than its tensors.
    """
    with seeded(0), single_precision(), torch.device("meta"), _Undrawn():
        model = make()
    kept = {name: tensor for name, tensor in model.answering_state().items() if prefix + name in weights}
    for name, wanted in kept.items():
        found = weights[prefix + name]
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise ValueError(f"{prefix}{name} is {_kind(found)}, where the settings make it {_kind(wanted)}")
        check_finite(prefix + name, found)
    stored = sum(tensor.nbytes for tensor in kept.values())
    whole = sum(tensor.nbytes for tensor in model.state_dict().values())
    if whole > max(_SMALL, stored * _MOST_TRAINING_ONLY):
        raise ValueError(f"its settings make a model of {whole:,} bytes, of which the run has {stored:,}")


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuse what is no number, in one pass that makes no copy.

    Raises
    ------
    ValueError
    """
    if not tensor.numel() or not tensor.is_floating_point():
        return
    ends = [float(end) for end in torch.aminmax(tensor)]
    fails = math.isnan if name.endswith(_MAY_BE_INFINITE) else lambda end: not math.isfinite(end)
    if any(map(fails, ends)):
        raise ValueError(f"{name} holds what is no number")


class _Undrawn(TorchFunctionMode):
    """Weights are made, and not drawn: on the device ``meta`` drawing imports torch's compiler, for seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, named = getattr(func, "__name__", ""), kwargs or {}
        if name == "randn":
            return torch.empty(*args, **{key: value for key, value in named.items() if key != "generator"})
        return next(iter([*args, *named.values()])) if name in _DRAWS else func(*args, **named)


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
