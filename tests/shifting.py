"""A safetensors file as a writer would have it who does not align: its tensors at other addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, BinaryIO

import pytest
from torch import Tensor

from hyvae import runs


def shifted(content: bytes, by: int) -> bytes:
    """The same tensors, `by` bytes later in the file."""
    size = int.from_bytes(content[:8], "little")
    return (size + by).to_bytes(8, "little") + content[8 : 8 + size] + b" " * by + content[8 + size :]


@contextmanager
def weights_shifted(by: int) -> Iterator[None]:
    """A context in which the weights of runs are written `by` bytes later."""
    write = runs.write_tensors

    def write_shifted(file: BinaryIO, tensors: Mapping[str, Tensor], *rest: Any) -> None:
        content = BytesIO()
        write(content, tensors, *rest)
        file.write(shifted(content.getvalue(), by))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "write_tensors", write_shifted)
        yield
