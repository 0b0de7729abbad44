"""Files of weights give back what was written, and notice every change of it."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vseg_nas.errors import DataError
from vseg_nas.models.weights import read_foreign_safetensors, read_safetensors, write_safetensors

STATE = {
    "matrix": torch.arange(6.0).view(2, 3),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "count": torch.tensor(3),
    "turned": torch.arange(6.0).view(2, 3).t(),
    "empty": torch.zeros(0, 4),
}


def test_everything_comes_back(tmp_path: Path) -> None:
    write_safetensors(STATE, {"b": "2", "a": "1"}, tmp_path / "w.safetensors")
    state, metadata = read_safetensors(tmp_path / "w.safetensors")
    assert metadata == {"a": "1", "b": "2"}
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], value) and state[name].dtype == value.dtype for name, value in STATE.items())


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Whatever bit of the file it is, but for the padding of the header."""
    path = tmp_path / "w.safetensors"
    write_safetensors(STATE, {"a": "1"}, path)
    whole = path.read_bytes()
    silent = 0
    for place in range(len(whole)):
        for bit in (0, 3, 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
            try:
                state, metadata = read_safetensors(path)
            except DataError:
                continue
            silent += 1
            assert metadata == {"a": "1"}
            assert all(torch.equal(state[name], value) for name, value in STATE.items())
    assert silent < 24


def test_foreign_files_are_told_from_ours(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "f.safetensors")
    assert read_foreign_safetensors(tmp_path / "f.safetensors")[1] == {}
    with pytest.raises(DataError, match="found no SHA-256"):
        read_safetensors(tmp_path / "f.safetensors")
