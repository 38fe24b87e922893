"""Tensors in a file: read back as they were, each aligned, whoever wrote the file."""

import hashlib
import io
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hyvae import HyVAE
from hyvae.tensors import ALIGNMENT, read_tensors, write_tensors
from shifting import shifted

TENSORS = {
    "rows": torch.arange(30.0).reshape(10, 3),
    "half": torch.arange(5).to(torch.bfloat16),
    "flags": torch.tensor([True, False, True]),
    "count": torch.tensor(7),
    "numbers": torch.arange(4, dtype=torch.float64),
    "none": torch.empty(0, 4),
    "lone": torch.ones(1, 1).expand(1, 1)[:, 0],
    "turned": torch.arange(6).reshape(2, 3).T,
}


def content_of(tensors, **metadata):
    file = io.BytesIO()
    write_tensors(file, tensors, metadata)
    return file.getvalue()


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "tensors"
    path.write_bytes(content_of(TENSORS, version="7"))
    found, metadata = read_tensors(path)
    assert metadata == {"version": "7"}
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name], tensor)


def test_each_tensor_begins_at_a_multiple_of_the_alignment():
    content = content_of(TENSORS)
    size = int.from_bytes(content[:8], "little")
    for entry in json.loads(content[8 : 8 + size]).values():
        if entry["dtype"] != "U8":  # padding
            assert (8 + size + entry["data_offsets"][0]) % ALIGNMENT == 0


def test_other_readers_of_the_format_read_it(tmp_path):
    path = tmp_path / "tensors"
    path.write_bytes(content_of(TENSORS))
    found = load_file(path)
    assert all(torch.equal(found[name], tensor) for name, tensor in TENSORS.items())


def test_what_is_aligned_is_mapped(tmp_path):
    path = tmp_path / "tensors"
    path.write_bytes(content_of({"rows": torch.zeros(1000)}))
    tensor = read_tensors(path)[0]["rows"]
    with path.open("r+b") as file:
        file.seek(-4000 - (-4000 % ALIGNMENT), io.SEEK_END)
        file.write(b"\x00\x00\x80\x3f")
    assert tensor[0] == 1


@pytest.mark.parametrize("by", [1, 4, 16, 60])
def test_what_is_not_aligned_is_copied_to_where_it_is(tmp_path, by):
    path = tmp_path / "tensors"
    path.write_bytes(shifted(content_of(TENSORS), by))
    found, _ = read_tensors(path)
    for name, tensor in TENSORS.items():
        assert found[name].data_ptr() % ALIGNMENT == 0
        assert torch.equal(found[name], tensor)


def test_so_is_a_run_of_an_earlier_version(parts, tmp_path):
    model = HyVAE(hidden=8, latent=3, deep_layers=(4,), epochs=2, samples=0).fit(parts[0])
    model.save(tmp_path / "run")
    file = tmp_path / "run" / "weights.safetensors"
    save_file(load_file(file), file)  # as the library writes it
    config = tmp_path / "run" / "config.json"
    content = json.loads(config.read_text())
    content["files"]["weights.safetensors"] = hashlib.sha256(file.read_bytes()).hexdigest()
    del content["sha256"]  # which came later
    config.write_text(json.dumps(content))
    loaded = HyVAE.load(tmp_path / "run")
    for tensor in loaded.model.state_dict().values():
        assert tensor.data_ptr() % ALIGNMENT == 0
