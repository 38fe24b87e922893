"""A fitted model as a file that answers without hyvae, Python or torch.

The model's own `encode` and `score` are traced by torch's exporter, with the kernels as `hyvae.nn.traced` has them: no
model has a second implementation for this.
"""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hyvae
from hyvae.errors import ConfigError, DataError
from hyvae.files import cannot_be_written, place_of, written_whole
from hyvae.models.base import RatingBlock
from hyvae.nn.sparse import SparsePattern
from hyvae.nn.traced import Traceable
from hyvae.recommender import Recommender

# an ONNX file is a message of Protocol Buffers, which ends at 2 GiB; weights beyond go into a file beside it
_LARGEST = 1_800_000_000
_INPUTS = ("offsets", "items", "values")
_EXAMPLE = torch.tensor([0, 2, 2, 4]), torch.tensor([0, 1, 0, 1]), torch.ones(4)
_INPUTS_SAID = """\
offsets (n + 1,) int64: person u has the ratings offsets[u] to offsets[u + 1] - 1; from 0 to the number of ratings.
items (nnz,) int64: places of the rated items in the metadata's item_ids; each once a person, in any order.
values (nnz,) float32: the ratings.
"""
_RATINGS_SAID = """\
scores (n, n_items) float32: predicted ratings, not clipped to the metadata's scale, so that they order the items.
People without ratings are answered by the bias model, and so are the items whose places are in unrated_items, which
hyvae puts on no list.
"""
_RANKS_SAID = """\
scores (n, n_items) float32: they order a person's items, and are no ratings. The items whose places are in
unrated_items have scores that mean nothing; hyvae puts them on no list.
"""


class Answers(nn.Module):
    """Scores of all items for people known by their ratings alone, as `hyvae.people.People.scores` gives them.

    Parameters
    ----------
    recommender : Recommender
        Fitted, on the CPU.
    """

    def __init__(self, recommender: Recommender) -> None:
        super().__init__()
        # in a tuple, which torch does not look into: what is computed from weights alone is then known when tracing
        self._parts = recommender.model.eval(), recommender.floor.eval()
        self._unrated = torch.from_numpy(recommender.item_counts == 0)

    @torch.no_grad()
    def forward(self, offsets: Tensor, items: Tensor, values: Tensor) -> Tensor:
        """Scores (n, n_items) of the inputs that the ONNX file has.

        Parameters
        ----------
        offsets : (n + 1,) int64 tensor
            Bounds of each person's ratings; at least one person.
        items : (nnz,) int64 tensor
            Indices of the rated items; each once a person, in any order.
        values : (nnz,) float32 tensor
            Ratings.
        """
        model, floor = self._parts
        with Traceable():
            block = _block(offsets, items, model.in_unit(values), model.n_items)
            scores = model.ratings(model.score(model.encode(block), slice(None)))
            baseline = floor.ratings(floor.score(floor.encode(block), slice(None)))
            # as in `hyvae.people`
            others = self._unrated
            if model.predicts_ratings:
                others = others | (block.counts == 0).unsqueeze(1)
            return torch.where(others, baseline, scores)


def export_onnx(recommender: Recommender, out: str | Path) -> None:
    """Write an ONNX file beside its place and rename it there.

    Its inputs and its output are those of `Answers.forward`, for any number of people and of ratings; its metadata say
    which ids the items' indices stand for (``item_ids``), their ``titles`` (where they are known), the ``scale``, and
    which items have no ratings (``unrated_items``), all as JSON. Scores are not clipped to the scale, so that they
    order the items. Weights of more than 1.8 GB go into a second file, ``….data``, which belongs beside it.

    Memory grows with people × items and with people × the longest history: ask for many people in several calls.

    Raises
    ------
    ConfigError
        onnx and onnxscript are not installed, or the model cannot be exported.
    DataError
        A place that cannot be written.
    """
    require_onnx()
    import onnx_ir

    out = place_of(out)
    if out.is_dir():
        raise DataError(f"{out} is a folder; name a file to write")
    try:
        with written_whole(out) as part:
            model = _traced(recommender).model
            model.producer_name, model.producer_version = "hyvae", hyvae.__version__
            model.doc_string = _INPUTS_SAID + (_RATINGS_SAID if recommender.predicts_ratings else _RANKS_SAID)
            model.metadata_props.update(_metadata(recommender))
            weights = sum(value.const_value.nbytes for value in model.graph.initializers.values())
            onnx_ir.save(model, part, external_data=f"{out.name}.data" if weights > _LARGEST else None)
    except OSError as error:
        raise DataError(cannot_be_written(out, error)) from error


#: by the names that the command line gives them
FORMATS: dict[str, Callable[[Recommender, str | Path], None]] = {"onnx": export_onnx}


def require_onnx() -> None:
    """Say at once that ONNX files cannot be made.

    Raises
    ------
    ConfigError
        onnx or onnxscript is not installed.
    """
    if find_spec("onnx") is None or find_spec("onnxscript") is None:
        raise ConfigError("an ONNX file needs onnx and onnxscript; install them with: pip install 'hyvae[onnx]'")


def _block(offsets: Tensor, items: Tensor, values: Tensor, n_items: int) -> RatingBlock:
    pattern = _Pattern((offsets.shape[0] - 1, n_items), offsets, items)
    # as `Ratings` are: which ratings are left out together in the refinement goes by their order
    order = torch.argsort(pattern.row * n_items + items)
    return _Block(_Pattern(pattern.shape, offsets, items[order]), values[order])


class _Pattern(SparsePattern):
    """One that is not looked at before something is computed."""

    def narrowed(self, table: Tensor) -> tuple[SparsePattern, Tensor]:
        return self, table


class _Block(RatingBlock):
    """One whose rows stay together."""

    def pieces(self, size: int) -> Iterator[RatingBlock]:
        yield self


def _traced(recommender: Recommender) -> Any:
    """The ONNX program."""
    if not recommender.model.exports:
        raise ConfigError(f"{recommender.name} cannot be exported: ONNX has no operators for what it computes")
    if recommender.device != "cpu":
        raise ConfigError("a model is exported from the CPU: load it with device='cpu'")
    people, ratings = torch.export.Dim("people"), torch.export.Dim("ratings")
    shapes = {0: people + 1}, {0: ratings}, {0: ratings}
    try:
        answers = Answers(recommender)
        answers(*_EXAMPLE)  # what models compute when they are first asked, they must not when they are traced
        with _quiet(), torch.no_grad():
            program = torch.export.export(answers, _EXAMPLE, dynamic_shapes=shapes, strict=False)
            return torch.onnx.export(program, dynamo=True, input_names=_INPUTS, output_names=["scores"], verbose=False)
    except Exception as error:  # of many kinds, all of them torch's
        reason = str(error).strip().splitlines()[0]
        said = f"{recommender.name}, as it is set, cannot be exported with torch {torch.__version__}: {reason}"
        raise ConfigError(said) from error


_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of itself."""
    # filters of warnings and the level of logs are those of the whole process
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        disabled = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(disabled)


def _metadata(recommender: Recommender) -> dict[str, str]:
    history = recommender.history
    content = {
        "model": recommender.name,
        "preset": recommender.preset,
        "predicts_ratings": recommender.predicts_ratings,
        "scale": list(history.scale),
        "item_ids": history.items.ids.tolist(),
        "titles": None if history.titles is None else history.titles.tolist(),
        "unrated_items": (recommender.item_counts == 0).nonzero()[0].tolist(),
    }
    return {name: json.dumps(value, ensure_ascii=False) for name, value in content.items() if value is not None}
