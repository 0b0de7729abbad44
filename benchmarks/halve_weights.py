"""Stores a network in half the room: ``python benchmarks/halve_weights.py FROM.safetensors TO.safetensors``.

Weights are rounded to half precision, which readers turn back; prints the largest relative change of a weight.
"""

import sys
from pathlib import Path

import torch

from vseg_nas.models.weights import read_safetensors, write_safetensors

if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    state, metadata = read_safetensors(source)
    halved = {name: value.half() if value.dtype is torch.float32 else value for name, value in state.items()}
    changes = [
        ((halved[name].float() - value).abs() / value.abs().clamp_min(torch.finfo(torch.float16).tiny)).max().item()
        for name, value in state.items()
        if value.dtype is torch.float32
    ]
    assert all(value.isfinite().all() for value in halved.values())
    write_safetensors(halved, metadata, target)
    print(f"{target}: {target.stat().st_size} bytes, largest relative change of a weight {max(changes, default=0):.1e}")
