"""What tests of several packages make: trials, networks, data sets and recorded runs.

Libraries that take long to import are imported where they are used: processes of candidates import this file, too.
"""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.space import Genotype, Layer, SearchSpace
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import STREAMING

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from torch import Tensor

    from vseg_nas.models.segmenter_file import SegmenterSpec
    from vseg_nas.reporting.table_formats import Table
    from vseg_nas.training.settings import StaticTraining, VideoTraining

TINY = [
    "gpu=cpu",
    "gpu.threads=1",
    "logger=none",
    "dataset.size=[64,64]",
    "dataset.clips=12",
    "dataset.val_clips=4",
    "phase.pretrain.epochs=1",
    "phase.pretrain.batch_size=4",
    "phase.pretrain.transform.crop=[64,64]",
    "phase.search.transform.crop=[64,64]",
    "phase.search.epochs=2",
    "phase.search.trials=4",
]
"""Overrides of a search that takes seconds, pre-training included."""

TINY_EVALUATION = [
    "gpu=cpu",
    "dataset.size=[48,64]",
    "dataset.val_clips=2",
    "dataset.frames_per_drive=4",
    "baselines=false",
]
"""Overrides of an evaluation of a moment."""

_CAMVID_SEQUENCES = {"train": "0001TP", "val": "0016E5", "test": "0006R0"}

_TRANSFORM = {"scale": (1.0, 1.0), "crop": (32, 48), "flip": True, "jitter": 0.0}

SPACE = SearchSpace(2)
TARGET = SPACE.genotype([0, 1, 2, 3, 4, 5, 4, 3, 2, 1])
_ALIGN, _GATE = (STREAMING.aggregations.index(name) for name in ("align", "gated_residual"))
_PREV_LAYER2, _DISTANCE = (STREAMING.inputs.index(name) for name in ("prev_layer2", "distance"))
ALL_STREAMING = Genotype(
    (
        Layer(_PREV_LAYER2, 1, 4, 4, 0),  # layer 2 and dec of the previous frame
        Layer(2, 7, 0, 4, _ALIGN),  # moved onto layer 2
        Layer(8, _DISTANCE, 4, 4, 0),
        Layer(2, 9, 0, 4, _GATE),
    ),
    width=16,
    vocabulary=STREAMING,
    encoder=2,
)
"""A cell that uses every word that the paper does not have."""
GOOD = Evaluation(0.5, 0.4, 0.7, 0.6, parameters=10, macs=100, seconds=3.0, epochs=4)


def scored(genotype: Genotype, score: float | None, id_: int = 0, stopped: bool = False) -> Trial:
    """A trial that has ended with one value for all four scores; None: it failed."""
    fresh = Trial(id_, genotype, seed=id_, state=TrialState.RUNNING)
    if score is None:
        return fresh.failed("broken")
    return fresh.completed(Evaluation(score, score, score, score, 1000, 2000, 3.0, 4, stopped))


def store_trials(folder: Path, trials: Iterable[Trial]) -> None:
    """Writes the store of a search that these are the trials of."""
    with TrialStore(folder / STORE) as store:
        store.add(trials, b"")


def history(run: Path) -> list[tuple[object, ...]]:
    """Everything about the trials of a run but the time that they took."""
    with TrialStore.read(run / STORE) as store:
        trials = store.trials()
    timeless = [t.evaluation and dataclasses.replace(t.evaluation, seconds=0.0) for t in trials]
    return [
        (t.id, t.genotype.tokens, t.seed, t.state, evaluation, t.reused_from)
        for t, evaluation in zip(trials, timeless, strict=True)
    ]


def state_of(store: TrialStore) -> Any:
    """The state that a search has stored, without the time that it took and with lists for tensors."""
    import torch

    state = torch.load(io.BytesIO(store.snapshot() or b""), weights_only=True)
    del state["worked_s"]
    return _plain(state)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two networks have the same weights, bit by bit."""
    import torch

    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def video_spec(
    cell: str | None = "local_filters", classes: Sequence[str] = ("a", "b", "c"), **changes: Any
) -> SegmenterSpec:
    """What is needed besides weights to build a video network.

    Args:
        cell: The name of a cell written by hand; None: the static network predicts every frame.
        classes: The names of its classes.
        **changes: Values of other fields than the usual ones.
    """
    from vseg_nas.models.segmenter_file import SegmenterSpec

    usual: dict[str, Any] = {
        "name": "mine",
        "seed": 3,
        "recipe": "recipe",
        "palette": tuple((i, 2 * i, 255 - i) for i in range(len(classes))),
        "genotype": HAND_WRITTEN[cell] if cell else None,
        "past": "previous" if cell else None,
        "flow": False,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
    }
    return SegmenterSpec(classes=tuple(classes), **usual | changes)


def static_training(**changes: Any) -> StaticTraining:
    from vseg_nas.training.settings import StaticTraining

    settings: dict[str, Any] = {
        "epochs": 1, "batch_size": 2, "encoder_lr": 0.02, "decoder_lr": 0.05, "momentum": 0.9,
        "weight_decay": 1e-5, "power": 0.9, "auxiliary_weight": 0.3, "gradient_clip": 1.0, "average_decay": None,
        "val_every": 1, "transform": _TRANSFORM,
    }  # fmt: skip
    return StaticTraining(**settings | changes)


def video_training(**changes: Any) -> VideoTraining:
    from vseg_nas.training.settings import VideoTraining

    settings: dict[str, Any] = {
        "epochs": 1, "batch_size": 2, "cell_lr": 4e-3, "static_lr": 5e-4, "momentum": 0.9, "weight_decay": 1e-5,
        "power": 0.0, "static_weight": 1.0, "gradient_clip": 3.0, "val_every": 1, "transform": _TRANSFORM,
    }  # fmt: skip
    return VideoTraining(**settings | changes)


def make_shallow(patch: Callable[[object, str, object], None]) -> None:
    """Makes networks have fewer blocks of the same operators: what is done with them takes its time for each operator.

    Args:
        patch: Sets an attribute of an object, such as `pytest.MonkeyPatch.setattr`.
    """
    from torch import nn
    from torchvision.models import MobileNetV2
    from torchvision.models import mobilenet_v2 as whole

    from vseg_nas.models import arch2, mobilenet_v2

    blocks = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2), (6, 96, 1, 2), (6, 320, 1, 2)]

    def shallow(weights: None) -> MobileNetV2:
        network: MobileNetV2 = whole(weights=weights, inverted_residual_setting=blocks)
        for part in network.features.modules():
            for name, layer in part.named_children():
                if isinstance(layer, nn.ReLU6):  # slow to export; the expansion that is ours has one
                    setattr(part, name, nn.ReLU(inplace=True))
        return network

    patch(mobilenet_v2, "mobilenet_v2", shallow)
    patch(mobilenet_v2, "_STAGE_ENDS", (4, 5, 6, 7))
    patch(arch2, "_ENTRIES", arch2._ENTRIES[:1])


def save_network(path: Path, spec: SegmenterSpec, seed: int = 0) -> None:
    """Writes a video network with random weights, the same ones for a seed."""
    import torch

    from vseg_nas.models.segmenter_file import save_segmenter

    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        save_segmenter(spec.build(), spec, path)


def write_camvid(root: Path, frames: int = 3, size: tuple[int, int] = (48, 64), label: int = 0) -> Path:
    """Black frames with masks of one label in the folders of CamVid, a sequence for each split."""
    from PIL import Image

    for split, sequence in _CAMVID_SEQUENCES.items():
        names = [f"{sequence}_{number:06}" for number in range(30, 30 * frames + 1, 30)]
        images = {split: Image.new("RGB", size[::-1]), f"{split}annot": Image.new("L", size[::-1], label)}
        for folder, image in images.items():
            (root / folder).mkdir(parents=True)
            for name in names:
                image.save(root / folder / f"{name}.png")
        (root / f"{split}.txt").write_text("".join(f"{name}.png\n" for name in names))
    return root


def composed(verb: str, *overrides: str) -> DictConfig:
    """The configuration of a command line."""
    from hydra import compose, initialize_config_dir

    from vseg_nas.cli.composition import conf_dir

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose(verb, list(overrides))


def record(run_dir: Path, verb: str, *overrides: str) -> None:
    """Writes the record of a run, as the command writes it when it begins."""
    from omegaconf import OmegaConf

    run_dir.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(composed(verb, *overrides), run_dir / "config.yaml", resolve=True)
    (run_dir / "overrides.json").write_text(json.dumps(overrides))
    seal(run_dir)


def seal(run_dir: Path) -> None:
    """Writes the digests of a record's files as they are now: what an attacker or an editor would do."""
    names = [name for name in ("config.yaml", "overrides.json") if (run_dir / name).is_file()]
    if names:
        done = subprocess.run(["sha256sum", *names], cwd=run_dir, capture_output=True, check=True)
        (run_dir / "record.sha256").write_bytes(done.stdout)


def evaluation_of_one_row() -> dict[str, Any]:
    """The content of a small evaluate.json."""
    scores = {"miou": 0.5, "fwiou": 0.5, "macc": 0.5, "score": 0.5, "iou_per_class": [0.5, 0.5]}
    row = {
        "name": "static per frame", "group": "static per frame", "seed": None, "recipe": None, "trained_with": None,
        "checkpoint": None, "genotype": None, "expression": "", "past": None, "flow": None, "parameters": 1,
        "cell_parameters": 0, "macs": 1, "pair": scores, "rolling": {}, "consistency": {},
    }  # fmt: skip
    return {
        "format": "vseg_nas.evaluation/2", "dataset": "camvid", "split": "val", "size": [4, 4], "classes": ["a", "b"],
        "consistency_key_every": 5, "rolling_skip_reason": None, "command": "c", "machine": "m", "date": "d",
        "seconds": 1.0, "rows": [row], "truth_consistency": {}, "panels": [],
    }  # fmt: skip


def shown(table: Table) -> list[list[str]]:
    """The rows of a table of the report as text, with a dash for what is not there."""
    return [["-" if cell is None else str(cell) for cell in row] for row in table.rows]
