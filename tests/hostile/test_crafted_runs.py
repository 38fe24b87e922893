"""Runs that were made to do harm, with checksums that fit: one clear line, whether loaded, asked for or served.

The next file of the format comes under the same fire by being listed in `CRAFTS`.
"""

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import torch
from command import hyvae
from listening import TOKEN, WRITING, served
from safetensors.torch import load_file, save_file

from hyvae import HyVAE, Recommender
from hyvae.data import columnar
from hyvae.errors import RunError
from hyvae.runs import _sha256, checksum, read_run
from hyvae.serving.settings import Settings

SMALL = {"hidden": 8, "latent": 3, "deep_layers": (4,), "epochs": 2, "samples": 2, "sample_width": 3, "sweeps": 4}
WEIGHTS, VOCABULARY, RATINGS, CONFIG = "weights.safetensors", "vocabulary.parquet", "ratings.parquet", "config.json"
Damage = Callable[[Path], Any]
DEEP = '{"a":' * 10_000 + "1" + "}" * 10_000


# -- damages, each with the checksums that fit it -------------------------------------------------------


def sums_mended(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / CONFIG).read_bytes())
    regular = {name: _sha256(folder / name) for name in config["files"] if (folder / name).is_file()}
    config = config | {"files": config["files"] | regular, "note": "a reload looks at it"} | changes
    (folder / CONFIG).write_text(json.dumps(config | {"sha256": checksum(config)}))


def configured(**changes: Any) -> Damage:
    return lambda folder: sums_mended(folder, **changes)


def set_to(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        sums_mended(folder, settings=json.loads((folder / CONFIG).read_bytes())["settings"] | changes)

    return damage


def bytes_of(name: str, change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))
        if name != CONFIG:
            sums_mended(folder)

    return damage


def text_of(name: str, text: str) -> Damage:
    return bytes_of(name, lambda _: text.encode())


def replaced(name: str, make: Callable[[Path], Any]) -> Damage:
    def damage(folder: Path) -> None:
        sums_mended(folder)
        (folder / name).unlink()
        make(folder / name)

    return damage


def endless(place: Path) -> None:
    place.symlink_to("/dev/zero")


def circle(place: Path) -> None:
    place.symlink_to(place.name)


def tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Damage:
    def damage(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        save_file({**weights, name: change(weights[name].clone()).contiguous()}, folder / WEIGHTS)
        sums_mended(folder)

    return damage


def table(name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Damage:
    def damage(folder: Path) -> None:
        change(pl.read_parquet(folder / name)).write_parquet(folder / name)
        sums_mended(folder)

    return damage


def column(name: str, **columns: pl.Expr) -> Damage:
    return table(name, lambda frame: frame.with_columns(**columns))


def first(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(found: torch.Tensor) -> torch.Tensor:
        found.view(-1)[0] = value
        return found

    return change


def header(length: int, text: bytes) -> Callable[[bytes], bytes]:
    return lambda _: length.to_bytes(8, "little") + text


def one_tensor(**entry: Any) -> Callable[[bytes], bytes]:
    text = json.dumps({"floor.user_bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | entry}).encode()
    return lambda _: len(text).to_bytes(8, "little") + text + bytes(8)


def user_ids(folder: Path) -> None:
    kind = pl.col("kind") == "user"
    column(VOCABULARY, id=pl.when(kind).then(pl.lit("100")).otherwise("id"))(folder)


# name: (how to damage a run, what the one line says)
CRAFTS: dict[str, tuple[Damage, str]] = {
    # sizes that only a number says
    "n_users": (configured(n_users=5_000_000), "n_users is 5,000,000, and there are weights of 60"),
    "n_users of a whole machine": (configured(n_users=2**62), "n_users is"),
    "n_users of none": (configured(n_users=0), "n_users"),
    "a wide layer": (set_to(hidden=10**9), "where the settings make it"),
    "wide draws": (set_to(sample_width=10**7), "where the settings make it"),
    "many draws": (set_to(samples=10**7), "does not fit|where the settings make it"),
    "many layers": (set_to(deep_layers=[1] * 10_000), "does not fit"),
    "a setting of the wrong kind": (set_to(hidden="wide"), "does not fit"),
    "a model that is none": (configured(model="pickle"), "no model is called"),
    "a long config": (configured(note="x" * 100_000), "more than 65,536 bytes"),
    # JSON
    "a config that differs": (bytes_of(CONFIG, lambda b: b.replace(b'"latent": 3', b'"latent": 4')), "differs"),
    "a deep config": (text_of(CONFIG, DEEP[:60_000]), "cannot be read as JSON"),
    "deep metrics": (text_of("metrics.json", DEEP), "cannot be read as JSON"),
    "deep provenance": (text_of("provenance.json", DEEP), "cannot be read as JSON"),
    "a number of 5,000 digits": (text_of(CONFIG, '{"schema": ' + "1" * 5_000 + "}"), "cannot be read as JSON"),
    "a scale that is no number": (configured(scale=[1, float("nan")]), "scale"),
    "a scale without an end": (configured(scale=[1, float("inf")]), "scale"),
    "a scale that descends": (configured(scale=[5, 1]), "scale"),
    "an interval that is no number": (configured(interval_half_width=float("nan")), "interval_half_width"),
    "ids of the other kind": (configured(ids={"users": "string", "items": "string"}), "ids"),
    "forgotten by a word": (text_of("provenance.json", '{"forgotten_users": "many"}'), "forgotten_users"),
    "folded in by a number": (text_of("provenance.json", '{"folded_in": 3}'), "folded_in"),
    "a list for provenance": (text_of("provenance.json", "[]"), "must hold a JSON object"),
    "a file elsewhere": (
        lambda folder: sums_mended(
            folder, files=json.loads((folder / CONFIG).read_bytes())["files"] | {"../../x": "0" * 64}
        ),
        "config.json: files",
    ),
    "no sum of the weights": (configured(files={}), "config.json: files"),
    # what is no file
    **{
        f"{name} is {what}": (replaced(name, make), f"{name}.*{says}")
        for name in (WEIGHTS, VOCABULARY, CONFIG, "metrics.json")
        for what, make, says in (
            ("a pipe", os.mkfifo, "not a regular file"),
            ("a device", endless, "not a regular file"),
            ("a folder", os.mkdir, "not a regular file"),
            ("a circle of links", circle, "missing|Too many levels|it has no"),
        )
    },
    # weights
    "NaN": (tensor("model.item_rows", first(float("nan"))), "model.item_rows holds what is no number"),
    "infinite": (tensor("floor.user_bias", first(float("inf"))), "floor.user_bias holds what is no number"),
    "NaN among the thresholds": (tensor("model.draws.cuts", first(float("nan"))), "cuts holds what is no number"),
    "draws of no level": (tensor("model.draws.levels", lambda t: 0 * t), "does not fit"),
    "predictions beyond all numbers": (tensor("model.item_rows", lambda t: t + 3e38), "no numbers|no number"),
    "levels that do not ascend": (tensor("uncertainty.levels", lambda t: t.flip(0)), "levels does not ascend"),
    "doubt that is no number": (tensor("uncertainty.exponent", first(float("nan"))), "uncertainty.exponent"),
    "doubt beyond all numbers": (tensor("uncertainty.log_scale", lambda t: t + 1e6), "no number|does not fit"),
    "an endless header": (bytes_of(WEIGHTS, header(2**40, b"{")), "damaged"),
    "a header of blanks": (bytes_of(WEIGHTS, header(1 << 20, b" " * (1 << 20))), "damaged"),
    "a deep header": (bytes_of(WEIGHTS, lambda b: header(len(DEEP), DEEP.encode())(b)), "damaged"),
    "a tensor larger than the file": (bytes_of(WEIGHTS, one_tensor(shape=[2**40])), "damaged"),
    "a tensor outside the file": (bytes_of(WEIGHTS, one_tensor(data_offsets=[2**40, 2**40 + 4])), "damaged"),
    "a tensor of an unknown type": (bytes_of(WEIGHTS, one_tensor(dtype="Q7")), "damaged"),
    "a negative shape": (bytes_of(WEIGHTS, one_tensor(shape=[-1])), "damaged"),
    "no tensors": (bytes_of(WEIGHTS, header(2, b"{}")), "weights floor.user_bias are missing"),
    # tables
    "no table": (bytes_of(RATINGS, lambda _: b"PAR1 and no more PAR1"), "damaged"),
    "half a table": (bytes_of(RATINGS, lambda b: b[: len(b) // 2]), "damaged"),
    "more ratings than pairs": (table(RATINGS, lambda t: pl.concat([t] * 100)), "for which there is no room"),
    "ratings twice": (table(RATINGS, lambda t: pl.concat([t, t])), "damaged"),
    "a rating that is no number": (column(RATINGS, rating=pl.lit(np.float32("nan"))), "damaged: .*finite"),
    "a rating off the scale": (column(RATINGS, rating=pl.lit(np.float32(7))), "damaged: .*off the declared scale"),
    "a missing user": (column(RATINGS, user=pl.lit(None, pl.Int64)), "values are missing"),
    "ratings of text": (column(RATINGS, rating=pl.lit("5")), "column 'rating' is of type String"),
    "ratings of nobody": (column(RATINGS, user=pl.lit(7, pl.Int64)), "user ids are not in the vocabulary"),
    "no users": (table(RATINGS, lambda t: t.drop("user")), "has no column 'user'"),
    "a user too few": (table(VOCABULARY, lambda t: t[1:]), "has 59 users, and there are weights of 60"),
    "an item too many": (table(VOCABULARY, lambda t: pl.concat([t, t[-1:]])), "for which there is no room"),
    "a user twice": (user_ids, "not unique"),
    "ids that are no integers": (column(VOCABULARY, id=pl.lit("x")), "damaged"),
    "ids that are missing": (column(VOCABULARY, id=pl.lit(None, pl.String)), "values are missing"),
    "items without a number": (column(VOCABULARY, ratings=pl.lit(None, pl.Int64)), "no number of ratings"),
    "items of less than nothing": (column(VOCABULARY, ratings=pl.lit(-1, pl.Int64)), "no number of ratings"),
    "titles of numbers": (column(VOCABULARY, title=pl.lit(5)), "column 'title' is of type"),
    "titles that unpack": (column(VOCABULARY, title=pl.lit("A" * 1_000_000) + pl.col("id")), "would unpack to"),
    "a thousand parts": (column("split.parquet", part=pl.int_range(pl.len()).cast(pl.String)), "parts"),
    "no epochs": (table("curves.parquet", lambda t: t.drop("epoch")), "has no column 'epoch'"),
    "curves of something else": (column("curves.parquet", slope=pl.lit(1)), "does not fit"),
}


# -- the three ways to meet a run -----------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def bounded() -> Iterator[None]:
    """Where a size is believed after all, the test fails, and not the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (4 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    HyVAE(**SMALL).fit(*parts, seed=0, progress=False).save(folder, held_out={"validation": parts[1]})
    return folder


@pytest.fixture(scope="module")
def place(whole, tmp_path_factory) -> Path:
    """Where the service looks for its run."""
    return Path(shutil.copytree(whole, tmp_path_factory.mktemp("served") / "run"))


@pytest.fixture(scope="module")
def service(place) -> Iterator[httpx.Client]:
    with served(Settings(run=place, token=TOKEN, rate=0)) as client:
        yield client


@pytest.fixture
def run(whole, place) -> Path:
    shutil.rmtree(place)
    return Path(shutil.copytree(whole, place))


@pytest.mark.parametrize(("damage", "says"), CRAFTS.values(), ids=CRAFTS)
def test_one_line_and_the_old_run_goes_on(damage, says, run, service):
    before = service.post("/v1/recommend", json={"user": 100, "n": 3}).json()
    damage(run)
    with pytest.raises(RunError, match=says) as refused:
        Recommender.load(run)
    line = str(refused.value)
    assert "\n" not in line
    assert len(line) < 600
    assert hyvae("recommend", run, "--user", 100, code=1).stderr == f"error: {line}\n"
    reloaded = service.post("/v1/admin/reload", headers=WRITING)
    assert reloaded.status_code == 409
    assert reloaded.json()["detail"] == "the run cannot be used; the one before goes on"
    assert service.post("/v1/recommend", json={"user": 100, "n": 3}).json() == before


def test_the_crafts_are_what_is_refused(run, service):
    sums_mended(run)
    assert Recommender.load(run).recommend(100, 3)
    assert service.post("/v1/admin/reload", headers=WRITING).status_code == 200


# -- every tensor, every byte ---------------------------------------------------------------------------

ODD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "of half precision": lambda t: t.half(),
    "of another type": lambda t: t.int(),
    "complex": lambda t: t.to(torch.complex64),
    "in one more dimension": lambda t: t.unsqueeze(0),
    "longer": lambda t: torch.cat([t.reshape(-1), t.reshape(-1)]),
    "empty": lambda t: t.new_empty(0),
    "of no numbers": lambda t: torch.full(t.shape, torch.nan),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_every_tensor_is_compared_with_what_the_model_expects(change, whole):
    run = read_run(whole)
    # the users' and items' numbers are compared with the tables before
    assert {name.split(".")[0] for name in run.weights} == {"model", "floor", "uncertainty"}
    for name, found in run.weights.items():
        odd = change(found.clone())
        if not found.numel() and odd.dtype == found.dtype and odd.shape == found.shape:
            continue  # empty it was
        # which of the uncertainty's tensors is wrong, where their lengths differ, nobody knows
        told = "uncertainty" if name.startswith("uncertainty") else name.replace(".", r"\.")
        with pytest.raises(RunError, match=told) as refused:
            Recommender.from_run(replace(run, weights={**run.weights, name: odd}))
        assert "\n" not in str(refused.value), name


def test_every_tensor_is_missed(whole):
    run = read_run(whole)
    for name in run.weights:
        if name.endswith("shrinkage"):  # runs of before it was estimated have none
            continue
        with pytest.raises(RunError, match=name.replace(".", r"\.")):
            Recommender.from_run(replace(run, weights={k: v for k, v in run.weights.items() if k != name}))


@pytest.mark.parametrize("name", [RATINGS, VOCABULARY, WEIGHTS])
def test_a_flipped_bit_is_refused_or_read(name, whole, run):
    content = (whole / name).read_bytes()
    rng, said = np.random.default_rng(0), []
    for at in rng.choice(len(content), 40, replace=False):
        flipped = bytearray(content)
        flipped[at] ^= 1 << int(rng.integers(8))
        (run / name).write_bytes(flipped)
        sums_mended(run)
        try:
            Recommender.load(run)
        except RunError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in line for line in said)
    shutil.rmtree(run)
    shutil.copytree(whole, run)


def test_a_panic_of_the_decoder_is_one_line(run, monkeypatch):
    def panics(*arguments: Any, **more: Any) -> None:
        raise pl.exceptions.PanicException("index out of bounds\nand 88 lines more")

    monkeypatch.setattr(columnar, "_pyarrow", lambda: None)
    monkeypatch.setattr(pl, "read_parquet", panics)
    with pytest.raises(RunError, match=r"damaged: index out of bounds; restore it or train again$"):
        Recommender.load(run)


def test_without_pyarrow_a_run_is_read_alike(run, monkeypatch):
    before = Recommender.load(run).recommend(100, 5)
    monkeypatch.setattr(columnar, "_pyarrow", lambda: None)
    assert Recommender.load(run).recommend(100, 5) == before
    partial(table(RATINGS, lambda t: pl.concat([t] * 100)), run)()
    with pytest.raises(RunError, match="for which there is no room"):
        Recommender.load(run)
