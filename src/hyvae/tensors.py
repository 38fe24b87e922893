"""Tensors in a file: the safetensors format, with each tensor aligned.

A file that is mapped lends its pages to the tensors, at the addresses that the file gives them. Matrix products of some
processors end in another last bit where memory is aligned otherwise, so a mapped model would not answer as the model
did that was saved. Both here and in torch's own memory a tensor begins at a multiple of `ALIGNMENT` bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from torch import Tensor

#: bytes of which the place of each tensor is a multiple: what torch's allocator gives, and a line of the cache
ALIGNMENT = 64

_DTYPES = {torch.float64: "F64", torch.int64: "I64", torch.float32: "F32", torch.int32: "I32", torch.float16: "F16"}
_DTYPES |= {torch.bfloat16: "BF16", torch.uint8: "U8", torch.bool: "BOOL"}
# the format allows no gap between tensors: what fills one is a tensor of this name and a number
_PADDING = "padding."


def write_tensors(file: BinaryIO, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors one by one: the library's own writer aligns none of them, and copies all.

    https://github.com/huggingface/safetensors#format

    Raises
    ------
    OSError
    """
    cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    pieces: list[Tensor] = []

    def place(name: str, tensor: Tensor, start: int) -> int:
        end = start + tensor.nbytes
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        pieces.append(tensor)
        return end

    end = 0
    for number, (name, tensor) in enumerate(cpu.items()):
        end = place(name, tensor, end)
        if gap := -end % ALIGNMENT:
            end = place(f"{_PADDING}{number}", torch.zeros(gap, dtype=torch.uint8), end)
    text = json.dumps(header).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    file.write(len(text).to_bytes(8, "little") + text)
    for piece in pieces:
        file.write(as_bytes(piece))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file.

    A tensor that is aligned in the file is the file's own pages, which processes that read it share. One that is not,
    as in files of other writers, is copied.

    Raises
    ------
    OSError, SafetensorError
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        names = [name for name in file.keys() if not name.startswith(_PADDING)]  # noqa: SIM118
        return {name: aligned(file.get_tensor(name)) for name in names}, metadata


def aligned(tensor: Tensor) -> Tensor:
    """The tensor itself where its memory is aligned, else a copy that is."""
    return tensor if tensor.data_ptr() % ALIGNMENT == 0 else tensor.clone()


def as_bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    # a lone number may have a stride of 0, which a view of bytes refuses
    return tensor.as_strided((tensor.numel(),), (1,)).view(torch.uint8).numpy().data
