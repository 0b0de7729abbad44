"""Files of weights that somebody has made, digests included: refused in one line, before anything is computed."""

import hashlib
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from tests.builders import video_spec
from vseg_nas.errors import DataError
from vseg_nas.graphs.metadata import GraphMetadata
from vseg_nas.models.mobilenet_v2 import MobileNetV2Encoder, read_state_dict
from vseg_nas.models.segmenter_file import load_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.weights import read_foreign_safetensors, write_safetensors
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD

SPEC = video_spec(classes=("a", "b"))
State = dict[str, Tensor]
WEIGHT, VARIANCE = "propagation.classifier.weight", "propagation.cell.adapters.layer2.1.running_var"


@pytest.fixture(scope="module")
def state() -> State:
    found = SPEC.build().state_dict()
    assert {WEIGHT, VARIANCE} <= found.keys(), sorted(found)[:5]
    return found


WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "complex": lambda w: w.to(torch.complex64),
    "double": lambda w: w.double(),
    "whole numbers": lambda w: w.long(),
    "truths": lambda w: w.bool(),
    "of no size": lambda w: w[:0],
    "of another shape": lambda w: w.flatten(),
    "a number": lambda w: w.sum(),
    "NaN": lambda w: w * float("nan"),
    "infinity": lambda w: w / 0,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(tmp_path: Path, state: State, name: str) -> None:
    kind = "safetensors" if name in ("double", "of no size") else "ckpt"
    refused(tmp_path / f"w.{kind}", state | {WEIGHT: WEIGHTS[name](state[WEIGHT])})


def test_weights_may_be_stored_in_half_the_room(tmp_path: Path, state: State) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(state | {WEIGHT: state[WEIGHT].half()}, {"spec": json.dumps(SPEC.to_dict())}, path)
    loaded = load_segmenter(path)[0].state_dict()[WEIGHT]
    assert loaded.dtype is torch.float32
    assert torch.equal(loaded, state[WEIGHT].half().float())


@pytest.mark.parametrize(
    "make",
    [lambda w: w.to_sparse(), lambda w: w.to("meta"), lambda w: 3, lambda w: None],
    ids=["sparse", "nowhere", "a number of Python", "nothing"],
)  # fmt: skip
def test_what_only_a_checkpoint_can_hold(tmp_path: Path, state: State, make: Callable[[Tensor], Any]) -> None:
    refused(tmp_path / "w.ckpt", state | {WEIGHT: make(state[WEIGHT])})


def test_a_negative_variance(tmp_path: Path, state: State) -> None:
    refused(tmp_path / "w.safetensors", state | {VARIANCE: -state[VARIANCE]})


def refused(path: Path, state: dict[str, Any], spec: object = None) -> None:
    text = json.dumps(SPEC.to_dict() if spec is None else spec)
    if path.suffix == ".ckpt":
        content = {"state_dict": {f"segmenter.{n}": v for n, v in state.items()}, "hyper_parameters": {"spec": text}}
        torch.save(content, path)
        path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    else:
        write_safetensors(state, {"spec": text}, path)
    with pytest.raises(DataError) as caught:
        load_segmenter(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert len(line.splitlines()) == 1
    assert len(line) < len(str(path)) + 220


NUMBERS: dict[str, dict[str, Any]] = {
    "mean 1e300": {"mean": [1e300, 0.0, 0.0]},
    "mean -1e9": {"mean": [0.0, -1e9, 0.0]},
    "mean of whole numbers": {"mean": [0, 0, 0]},
    "mean of four": {"mean": [0.0] * 4},
    "std 1e-300": {"std": [1e-300, 1.0, 1.0]},
    "std 0": {"std": [1.0, 0.0, 1.0]},
    "std -1": {"std": [1.0, 1.0, -1.0]},
    "std 1e300": {"std": [1e300, 1.0, 1.0]},
    "size of great frames": {"size": [10**9, 10**9]},
    "size of no frames": {"size": [0, 64]},
    "size below zero": {"size": [-64, 64]},
    "three sizes": {"size": [64, 64, 64]},
    "seed of text": {"seed": "one"},
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_the_specification(tmp_path: Path, state: State, name: str) -> None:
    refused(tmp_path / "w.safetensors", state, SPEC.to_dict() | NUMBERS[name])


@pytest.mark.parametrize(
    ("text", "digits"), [("[[1e999, 0.0, 0.0]]", 999), (f"[{'9' * 5000}]", 5000)], ids=["infinite", "5000 digits"]
)
def test_numbers_that_json_cannot_hold(tmp_path: Path, text: str, digits: int) -> None:
    write_safetensors({"a": torch.zeros(1)}, {"spec": text, "format": "x"}, tmp_path / "w.safetensors")
    with pytest.raises(DataError, match=r"w.safetensors: not a video network of `train` \(JSON: found"):
        load_segmenter(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "classes", ["9" * 5000, "[" * 5000, "{}", "[]", "3", "null", "[1]", r'["\ud800"]', json.dumps(["a"] * 256), "x"]
)
def test_classes_of_a_static_network(tmp_path: Path, classes: str) -> None:
    path = tmp_path / "s.safetensors"
    write_safetensors({"a": torch.zeros(1)}, {"format": "vseg_nas.static/1", "classes": classes}, path)
    with pytest.raises(DataError, match=r"s.safetensors: classes: "):
        StaticSegmenter.load(path)


def header(data: object, length: int | None = None) -> bytes:
    text = json.dumps(data).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(64)


def many(tensors: int) -> bytes:
    text = (
        b"{" + b",".join(b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(tensors)) + b"}"
    )
    return struct.pack("<Q", len(text)) + text


ONE: dict[str, Any] = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
HEADERS: dict[str, Callable[[], bytes]] = {
    "300,000 tensors": lambda: many(300_000),
    "11,000 tensors": lambda: many(11_000),
    "100 MB": lambda: header({"a": ONE}, 10**8),
    "a negative side": lambda: header({"a": ONE | {"shape": [-1]}}),
    "a great side": lambda: header({"a": ONE | {"shape": [2**62, 4]}}),
    "offsets that cross": lambda: header({"a": ONE | {"data_offsets": [4, 0]}}),
    "offsets outside": lambda: header({"a": ONE | {"data_offsets": [0, 2**40]}}),
    "an unknown type": lambda: header({"a": ONE | {"dtype": "F7"}}),
    "complex": lambda: save({"a": torch.zeros(2, dtype=torch.complex64)}),
    "eight bits": lambda: save({"a": torch.zeros(2).to(torch.float8_e4m3fn)}),
    "deep": lambda: struct.pack("<Q", 5000) + b"[" * 5000,
    "no text": lambda: struct.pack("<Q", 8) + b"\xff" * 8,
    "longer than the file": lambda: header({"a": ONE}, 2**19),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_headers(tmp_path: Path, name: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(HEADERS[name]())
    started = time.process_time()
    with pytest.raises(DataError, match=r"w.safetensors: ") as caught:
        read_foreign_safetensors(path)
    assert time.process_time() - started < 1
    assert len(str(caught.value)) < len(str(path)) + 180


@pytest.mark.parametrize("name", ["complex", "double", "of no size", "NaN"])
def test_weights_of_the_encoder(tmp_path: Path, name: str) -> None:
    encoder = MobileNetV2Encoder()
    torchvisions = {
        "features." + n.split(".", 2)[2]: v for n, v in encoder.state_dict().items() if n.startswith("stages")
    }
    key = next(name for name in torchvisions if name.endswith("0.1.weight"))
    torch.save(torchvisions | {key: WEIGHTS[name](torchvisions[key])}, tmp_path / "e.pth")
    with pytest.raises(DataError, match=r"e.pth: "):
        encoder.load_torchvision(read_state_dict(tmp_path / "e.pth"), "e.pth")


GRAPH = GraphMetadata(
    "m", "out = a", ("a", "b"), ((0, 0, 0), (1, 1, 1)), IMAGENET_MEAN, IMAGENET_STD, None, "logits"
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [1e300, 0, 0]}, {"std": [1e-300, 1, 1]}, {"mean": ["nan", 0, 0]}, {"std": ["inf", 1, 1]},
        {"size": [10**9, 4]}, {"size": [0, 4]}, {"size": [4]}, {"palette": [[0, 0], [1, 1, 1]]}, {"name": "a\nb"},
        {"classes": ["a"] * 300, "palette": [[0, 0, 0]] * 300}, {"classes": ["a", ""]}, {"output": ["logits"] * 100},
        {"mean": None}, {"name": "x" * 10_000},
    ],
    ids=str,
)  # fmt: skip
def test_metadata_of_graphs(changes: dict[str, Any]) -> None:
    text = json.dumps(json.loads(GRAPH.to_json()) | changes)
    with pytest.raises(ValueError) as caught:
        GraphMetadata.from_json(text)
    assert len(str(caught.value)) < 200


def test_equal_content_makes_equal_bytes(tmp_path: Path) -> None:
    state = {f"a{i}": torch.full((i % 4, 3), float(i)) for i in range(60)}
    metadata = {f"é{i}": "x" * i for i in range(12)}
    contents = set()
    for attempt in range(5):
        path = tmp_path / f"{attempt}.safetensors"
        write_safetensors(dict(reversed(state.items())) if attempt % 2 else state, metadata, path)
        contents.add(path.read_bytes())
    assert len(contents) == 1
    read, found = read_foreign_safetensors(path)
    assert {name: value.tolist() for name, value in read.items()} == {n: v.tolist() for n, v in state.items()}
    assert {key: found[key] for key in metadata} == metadata
