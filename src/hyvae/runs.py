"""The run folder: a trained model as files that execute nothing. DESIGN of the format: docs/architecture.md."""

from __future__ import annotations

import errno
import hashlib
import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from hyvae.errors import RunError
from hyvae.files import cannot_be_written, place_of, replace_folder, require_regular, staged_folder, try_folder
from hyvae.forks import require_polars
from hyvae.nn import kernels
from hyvae.ratings import Ratings, Vocabulary
from hyvae.tensors import read_tensors, write_tensors
from hyvae.verification import damage_told, one_line, read_table
from hyvae.versions import installed
from hyvae.wording import say

SCHEMA = 1
#: the kinds of pairs that lists leave out
LEFT_OUT_KINDS = ("validation", "others")
CONFIG = "config.json"
REPORT = "report.html"
FILES = {
    CONFIG,
    REPORT,
    "weights.safetensors",
    "vocabulary.parquet",
    "ratings.parquet",
    "split.parquet",
    "left_out.parquet",
    "curves.parquet",
    "metrics.json",
    "provenance.json",
}


# every run has them; of the others a run has those that it says it has
_ALWAYS = {"weights.safetensors", "vocabulary.parquet", "provenance.json"}
# bytes; a config has about 3,000
_MOST_CONFIG, _MOST_JSON = 1 << 16, 1 << 24
_MOST_PARTS, _MOST_EPOCHS = 16, 1 << 20


class RunConfig(BaseModel):
    """How to build the model again."""

    model: str
    preset: str
    settings: dict[str, Any]
    plan: dict[str, Any]
    n_users: int = Field(ge=1)
    # of runs from before `hyvae.uncertainty`
    interval_half_width: FiniteFloat | None = None


class _Provenance(BaseModel, extra="allow"):
    """``provenance.json``: what of it is more than told."""

    job: str | None = None
    started_from: str | None = None
    folded_in: list[Any] = Field(default_factory=list)
    forgotten_users: int = Field(0, ge=0)


class StoredConfig(RunConfig):
    """``config.json``: the same, and what the other files must be."""

    schema_version: int = Field(alias="schema")
    id_types: dict[Literal["users", "items"], Literal["int64", "string"]] = Field(alias="ids", min_length=2)
    scale: tuple[FiniteFloat, FiniteFloat]
    files: dict[str, str]
    # of the config itself; absent from runs of before there was one
    sha256: str | None = None


@dataclass
class Run:
    """What a run folder holds.

    Attributes
    ----------
    config : RunConfig
    weights : dict of str to Tensor
    history : Ratings
        Training ratings; with no rating in it where the run was saved without them.
    item_counts : (n_items,) int array
        Ratings of each item that its row comes from; kept also where the history is not.
    encoded_items : (n_items,) bool array
        Items that training has not seen, whose rows were encoded from ratings that came later.
    held_out : dict of str to Ratings
        ``validation`` and ``test`` ratings, where the run came from a split.
    left_out : dict of str to Ratings
        Pairs that lists leave out and that stand neither in `history` nor in `held_out`, by kind: ``validation`` and
        ``others`` of `hyvae.left_out.LeftOut`.
    curves : list of dict
        A row an epoch.
    metrics, provenance : dict
    """

    config: RunConfig
    weights: dict[str, Tensor]
    history: Ratings
    item_counts: NDArray[np.int64]
    encoded_items: NDArray[np.bool_]
    held_out: dict[str, Ratings] = field(default_factory=dict)
    left_out: dict[str, Ratings] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def write_run(run: Run, path: str | Path, *, with_history: bool = True) -> None:
    """Write a run beside its place and put it there at once, so that a reader sees the old run or the new one.

    Raises
    ------
    RunError
        `path` exists and is not a run, or cannot be written.
    """
    require_polars("saving a run")
    check_target(path)
    try:
        target = place_of(path).resolve()  # through a link, as any file is written
        with staged_folder(target) as staging:
            _write_files(run, staging, with_history)
            replace_folder(staging, target)
    except (OSError, SafetensorError, pl.exceptions.PolarsError) as error:
        raise RunError(cannot_be_written(path, error)) from error
    except TypeError as error:
        # json, of what a caller gave as metrics or details
        raise RunError(f"{path} cannot be written: {error}; give text, numbers, lists and dicts alone") from error


def check_target(path: str | Path) -> None:
    """Refuse a place where a run must not be written: anything that is there and is not a run, and nothing else.

    Other programs call their files ``config.json`` too, so a run is known by what that file says. A place where nothing
    can be written is refused too, so that a training need not end to find it out.

    Raises
    ------
    RunError
    """
    target = place_of(path)
    try:
        try_folder(target.resolve())
        target.stat()
        if target.is_dir() and not any(target.iterdir()):
            return
    except FileNotFoundError:
        return
    except OSError as error:  # a circle of links, or a folder that must not be looked into
        raise RunError(cannot_be_written(target, error)) from error
    refusal = f"{target} exists and is not a run of hyvae; choose another folder or remove it"
    try:
        _read_config(target)
        foreign = sorted({file.name for file in target.iterdir()} - FILES)
    except (RunError, OSError) as error:
        raise RunError(refusal) from error
    if foreign:
        raise RunError(f"{target} holds more than a run of hyvae ({foreign[0]}); choose another folder or move it away")


def _write_files(run: Run, folder: Path, with_history: bool) -> None:
    with (folder / "weights.safetensors").open("wb") as file:
        write_tensors(file, run.weights)
    _vocabulary_table(run).write_parquet(folder / "vocabulary.parquet")
    if with_history:
        _history_table(run.history).write_parquet(folder / "ratings.parquet")
    held_out = {name: part for name, part in run.held_out.items() if len(part)}
    if held_out:
        parts = [_ratings_table(part).with_columns(pl.lit(name).alias("part")) for name, part in held_out.items()]
        # diagonal: one part may have timestamps where another has none
        pl.concat(parts, how="diagonal").write_parquet(folder / "split.parquet")
    if run.left_out:
        tables = [
            _ratings_table(pairs).with_columns(pl.lit(kind).alias("kind")) for kind, pairs in run.left_out.items()
        ]
        pl.concat(tables).drop("rating").write_parquet(folder / "left_out.parquet")
    if run.curves:
        pl.DataFrame(run.curves, infer_schema_length=None).write_parquet(folder / "curves.parquet")
    _write_json(run.metrics, folder / "metrics.json")
    _write_json(run.provenance, folder / "provenance.json")
    # the config comes last and knows what the other files must be, so that a damaged run is recognised
    files = {file.name: _sha256(file) for file in sorted(folder.iterdir()) if file.name != "metrics.json"}
    ids = {"users": _id_type(run.history.users), "items": _id_type(run.history.items)}
    config = RunConfig(**vars(run.config)).model_dump()
    content = {"schema": SCHEMA, **config, "ids": ids, "scale": run.history.scale, "files": files}
    _write_json(content | {"sha256": checksum(content)}, folder / CONFIG)


def read_run(path: str | Path) -> Run:
    """Read and verify a run folder.

    Raises
    ------
    RunError
        Not a run, damaged, or written by a newer hyvae.
    """
    require_polars("loading a run")
    folder = place_of(path)
    if not folder.is_dir():
        writer = say("Recommender.save", "'hyvae train … --out'")
        raise RunError(f"{folder} is not a folder; give the run folder that {writer} wrote")
    config = _read_config(folder)
    with damage_told(folder):
        for name, digest in config.files.items():
            file = folder / name
            if not file.exists():
                raise ValueError(f"{name} is missing")
            if _sha256(file) != digest:
                raise ValueError(f"{name} differs from what was written")
        return _read_files(folder, config)


def config_digest(folder: Path) -> str:
    """SHA-256 of a run's config, which changes whenever one of its files does.

    Raises
    ------
    OSError
        It cannot be read.
    """
    return hashlib.sha256(_json_bytes(folder / CONFIG)).hexdigest()


def checksum(config: dict[str, Any]) -> str:
    """SHA-256 of what a ``config.json`` says, less the checksum itself."""
    content = {key: value for key, value in config.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_config(folder: Path) -> StoredConfig:
    content = _read_json(folder / CONFIG)
    version = content.get("schema")
    if not isinstance(version, int) or "files" not in content:
        raise RunError(f"{folder} is not a run of hyvae: its {CONFIG} has no schema")
    if version > SCHEMA:
        raise RunError(f"{folder} has schema {version}, this hyvae reads up to {SCHEMA}; install a newer hyvae")
    with damage_told(folder):
        try:
            config = StoredConfig.model_validate(content)
        except ValidationError as error:
            raise ValueError(f"{CONFIG}: {one_line(error)}") from error
        if config.sha256 not in (None, checksum(content)):
            raise ValueError(f"{CONFIG} differs from what was written")
        foreign = [name for name in config.files if Path(name).name != name]
        if foreign or not config.files.keys() >= _ALWAYS:
            raise ValueError(f"{CONFIG}: files: {foreign[0] if foreign else min(_ALWAYS - config.files.keys())}")
    return config


def _read_files(folder: Path, config: StoredConfig) -> Run:
    weights = read_tensors(folder / "weights.safetensors")[0]
    # their bytes are there, so that nothing larger than the file is made of a number in the config
    for name in ("floor.user_bias", "floor.item_bias"):
        if name not in weights:
            raise ValueError(f"weights {name} are missing")
    n_users, n_items = weights["floor.user_bias"].numel(), weights["floor.item_bias"].numel()
    if config.n_users != n_users:
        raise ValueError(f"{CONFIG}: n_users is {config.n_users:,}, and there are weights of {n_users:,}")
    vocabulary = read_table(folder / "vocabulary.parquet", n_users + n_items)
    users, _ = _vocabulary(vocabulary, "user", config.id_types["users"], n_users)
    items, titles = _vocabulary(vocabulary, "item", config.id_types["items"], n_items)
    empty = Ratings.empty(users, items, config.scale, titles)

    def ratings(table: pl.DataFrame) -> Ratings:
        return empty if table.is_empty() else _ratings(table, empty)

    def table(name: str, most_rows: int) -> pl.DataFrame | None:
        return read_table(folder / name, most_rows) if name in config.files else None

    pairs = n_users * n_items
    history, split = table("ratings.parquet", pairs), table("split.parquet", pairs)
    held_out: dict[str, Ratings] = {}
    if split is not None:
        names = split["part"].unique(maintain_order=True)
        if len(names) > _MOST_PARTS:
            raise ValueError(f"split.parquet has {len(names):,} parts")
        held_out = {name: ratings(split.filter(pl.col("part") == name)) for name in names}
    left_out: dict[str, Ratings] = {}
    others = table("left_out.parquet", 2 * pairs)
    if others is not None:
        rows = others.with_columns(pl.lit(config.scale[0], pl.Float32).alias("rating"))
        left_out = {kind: ratings(rows.filter(pl.col("kind") == kind)) for kind in LEFT_OUT_KINDS}
    curves = table("curves.parquet", _MOST_EPOCHS)
    of_items = vocabulary.filter(pl.col("kind") == "item")
    counts = of_items["ratings"]
    if counts.null_count() or (counts < 0).any():
        raise ValueError("vocabulary.parquet: an item has no number of ratings")
    # runs from before it was kept: such items were encoded once and for all
    known = "encoded" in of_items.columns
    encoded = of_items["encoded"].fill_null(False).to_numpy() if known else np.zeros(n_items, bool)
    return Run(
        config=config,
        item_counts=counts.to_numpy(),
        encoded_items=encoded,
        weights=weights,
        history=empty if history is None else ratings(history),
        held_out=held_out,
        left_out=left_out,
        curves=[] if curves is None else curves.to_dicts(),
        metrics=_read_json(folder / "metrics.json"),
        provenance=_Provenance.model_validate(_read_json(folder / "provenance.json")).model_dump(exclude_unset=True),
    )


def _id_type(vocabulary: Vocabulary) -> str:
    return "int64" if vocabulary.is_integer else "string"


def _vocabulary_table(run: Run) -> pl.DataFrame:
    def part(kind: str, vocabulary: Vocabulary, titles: Any, counts: Any, encoded: Any) -> pl.DataFrame:
        return pl.DataFrame(
            {
                "kind": [kind] * len(vocabulary),
                "id": [str(id_) for id_ in vocabulary.ids.tolist()],
                "title": titles if titles is not None else [None] * len(vocabulary),
                "ratings": counts if counts is not None else [None] * len(vocabulary),
                "encoded": encoded if encoded is not None else [None] * len(vocabulary),
            },
            schema={"kind": pl.String, "id": pl.String, "title": pl.String, "ratings": pl.Int64, "encoded": pl.Boolean},
        )

    titles = None if run.history.titles is None else run.history.titles.tolist()
    users, items = run.history.users, run.history.items
    of_items = part("item", items, titles, run.item_counts, run.encoded_items)
    return pl.concat([part("user", users, None, None, None), of_items])


def _vocabulary(table: pl.DataFrame, kind: str, id_type: str, size: int) -> tuple[Vocabulary, np.ndarray | None]:
    rows = table.filter(pl.col("kind") == kind)
    if len(rows) != size:
        raise ValueError(f"vocabulary.parquet has {len(rows):,} {kind}s, and there are weights of {size:,}")
    ids = rows["id"].cast(pl.Int64).to_numpy() if id_type == "int64" else _objects(rows["id"])
    if not (ids[1:] > ids[:-1]).all():
        raise ValueError(f"vocabulary.parquet: the ids of {kind}s are not in order, or not unique")
    titles = None if rows["title"].null_count() == len(rows) else _objects(rows["title"])
    return Vocabulary(ids), titles


def _objects(column: pl.Series) -> np.ndarray:
    out = np.empty(len(column), dtype=object)
    out[:] = column.to_list()
    return out


def _ratings_table(ratings: Ratings) -> pl.DataFrame:
    def ids(column: np.ndarray) -> pl.Series:
        return pl.Series(column.tolist(), dtype=pl.String) if column.dtype == object else pl.Series(column)

    columns: dict[str, Any] = {
        "user": ids(ratings.user_ids),
        "item": ids(ratings.item_ids),
        "rating": ratings.values,
    }
    if ratings.timestamps is not None:
        columns["timestamp"] = ratings.timestamps
    return pl.DataFrame(columns)


def _history_table(ratings: Ratings) -> pl.DataFrame:
    """The ratings, and a null for each pair without one."""
    table = _ratings_table(ratings)
    if ratings.unrated is None:
        return table
    unrated = _ratings_table(ratings.taken).with_columns(pl.lit(None, pl.Float32).alias("rating"))
    return pl.concat([table, unrated], how="diagonal")


def _ratings(table: pl.DataFrame, like: Ratings) -> Ratings:
    def index(vocabulary: Vocabulary, column: pl.Series) -> np.ndarray:
        found = vocabulary.index(column.to_numpy() if vocabulary.is_integer else _objects(column))
        if (found < 0).any():
            raise ValueError(f"{column.name} ids are not in the vocabulary")
        return found

    without = table.filter(pl.col("rating").is_null())
    unrated = np.stack([index(like.users, without["user"]), index(like.items, without["item"])], axis=1)
    table = table.filter(pl.col("rating").is_not_null())
    if table.is_empty():
        return like.with_unrated(unrated)
    timed = "timestamp" in table.columns and not table["timestamp"].null_count()
    return Ratings.from_indices(
        like.users,
        like.items,
        index(like.users, table["user"]),
        index(like.items, table["item"]),
        table["rating"].to_numpy(),
        scale=like.scale,
        timestamps=table["timestamp"].to_numpy() if timed else None,
        titles=like.titles,
        unrated=unrated,
    )


def _sha256(file: Path) -> str:
    require_regular(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_json(content: dict[str, Any], file: Path) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    # half of a character, as in the name of a file that is not UTF-8: JSON has an escape for it
    file.write_bytes(text.encode("utf-8", "backslashreplace"))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_json_bytes(file).decode("utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{file.parent} is not a run of hyvae: it has no {file.name}") from error
    except OSError as error:
        raise RunError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} cannot be read as JSON: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise RunError(f"{file} must hold a JSON object")
    return content


def _json_bytes(file: Path) -> bytes:
    require_regular(file)
    most = _MOST_CONFIG if file.name == CONFIG else _MOST_JSON
    with file.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes")
    return content


def provenance(
    train: Ratings, validation: Ratings | None, seed: int, device: str, seconds: float, job: str
) -> dict[str, Any]:
    """What a reader needs to tell, and to repeat, where a model came from.

    Parameters
    ----------
    job : str
        From `hyvae.training.job_hash`: equal jobs end in equal weights.
    """
    return {
        "job": job,
        "train": {"fingerprint": train.fingerprint, "ratings": len(train)},
        "layout": None if train.layout is None else train.layout.to_dict(),
        "validation": None
        if validation is None
        else {"fingerprint": validation.fingerprint, "ratings": len(validation)},
        "seed": seed,
        "device": device,
        "threads": torch.get_num_threads(),
        "kernels": kernels.way(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "seconds": round(seconds, 3),
        "versions": {
            "python": platform.python_version(),
            **{
                package: installed(package)
                for package in ("hyvae", "torch", "numpy", "scipy", "polars", "scikit-learn")
            },
        },
        "machine": platform.machine(),
    }
