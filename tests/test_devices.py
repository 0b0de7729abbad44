"""``gpu.devices``: what is refused, in one line, and that two devices train the network that one would."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import pytest
import torch
from torch import Tensor

import vseg_nas.benchmark
import vseg_nas.evaluate
from tests import processes
from tests.builders import video_training
from tests.fixtures import InProcess
from tests.processes import PIPE, is_alive, start, wait_until
from vseg_nas.cli.printed import shared_overrides
from vseg_nas.data import SyntheticStreet, resized
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.errors import ConfigError
from vseg_nas.models.segmenter_file import load_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.training.device import open_device
from vseg_nas.training.fitting import quiet_trainer
from vseg_nas.training.settings import DeviceSettings
from vseg_nas.training.video_module import VideoModule

SIZE = (48, 64)
PRETRAIN = [
    *("gpu=cpu", "dataset.size=[48,64]", "dataset.clips=9", "dataset.val_clips=5", "dataset.frames_per_drive=11"),
    *("phase.pretrain.epochs=1", "phase.pretrain.batch_size=8", "phase.pretrain.transform.crop=[48,64]"),
]
"""One step: a network without ImageNet's weights soon makes much of how sums are rounded, also of 1 or 2 threads."""
TRAIN = [
    *PRETRAIN,
    *("phase.train.cell.epochs=2", "phase.train.cell.batch_size=4", "phase.train.cell.transform.crop=[48,64]"),
    *("phase.train.video.epochs=4", "phase.train.video.batch_size=4", "phase.train.video.transform.crop=[48,64]"),
    *("logger=none", "cell=local_filters"),
]


@pytest.mark.parametrize(
    ("main", "overrides", "found"),
    [
        (vseg_nas.evaluate.main, ["gpu=many", "checkpoint=a.safetensors"], "null (all)"),
        (vseg_nas.benchmark.main, ["gpu.devices=2", "cell=local_filters"], "2"),
    ],
)
def test_other_commands_compute_on_one_device(
    in_process: InProcess, tmp_path: Path, main: Callable[[], None], overrides: list[str], found: str
) -> None:
    status, _, error = in_process(main, *overrides)
    assert status == 2
    assert error.startswith(f"error: gpu.devices: found {found}, expected 1: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_commands_to_go_on_with_leave_devices_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["train", "gpu=many", "dataset=camvid", "name=a", "gpu.devices=2", "gpu.threads=1"]
    )
    assert shared_overrides() == "gpu=one dataset=camvid gpu.threads=1"


def gpu(accelerator: Literal["auto", "cpu", "cuda"], devices: int | None) -> DeviceSettings:
    return DeviceSettings(
        name="test",
        accelerator=accelerator,
        precision="32-true",
        workers=0,
        threads=None,
        cache_precision="fp32",
        devices=devices,
    )


@pytest.mark.parametrize(
    ("settings", "there", "expected"),
    [
        (gpu("cpu", 1), 4, 1),
        (gpu("cpu", 2), 0, 2),
        (gpu("auto", 2), 0, 2),
        (gpu("auto", None), 4, 4),
        (gpu("cuda", 3), 4, 3),
        (gpu("cuda", 6), 4, r"^gpu.devices: found 6, expected at most 4, as many as CUDA devices are there$"),
        (gpu("cuda", None), 0, r"^gpu.accelerator: found no CUDA device, expected one"),
        (gpu("auto", None), 0, r"^gpu.devices: found null \(all CUDA devices\) on the CPU, expected a number"),
        (gpu("cpu", 5), 0, r"^key: found 12, expected a multiple of 5, the devices that share a batch$"),
        (gpu("auto", None), 8, r"^key: found 12, expected a multiple of 8, the devices that share a batch$"),
    ],
)
def test_devices_are_counted(
    settings: DeviceSettings, there: int, expected: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    if isinstance(expected, int):
        assert open_device(settings).count_ranks(12, "key") == expected
    else:
        with pytest.raises(ConfigError, match=expected):
            open_device(settings).count_ranks(12, "key")


def mean_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Of all weights and statistics, as a share of their mean size."""
    names = [name for name, value in one.items() if value.is_floating_point()]
    difference = torch.cat([(one[name] - other[name]).abs().flatten() for name in names])
    return float(difference.mean() / torch.cat([one[name].abs().flatten() for name in names]).mean())


@pytest.mark.slow
def test_two_devices_train_what_one_does(tmp_path: Path) -> None:
    """Pre-training and the second stage; that of two devices is cut short by the kill of a process, and resumed."""
    run = tmp_path / "runs/train/synthetic/two"
    cut = start("vseg_nas.train", *TRAIN, "name=two", "gpu.devices=2", cwd=tmp_path, stderr=PIPE)
    wait_until((run / "last.ckpt").is_file, cut)
    ranks = [child for child in psutil.Process(cut.pid).children() if "spawn_main" in " ".join(child.cmdline())]
    assert len(ranks) == 2
    killed = time.monotonic()
    os.kill(ranks[1].pid, signal.SIGKILL)
    _, errors = cut.communicate(timeout=30)
    assert time.monotonic() - killed < 10
    assert cut.returncode == 2
    assert errors.splitlines()[-1].startswith("error: gpu.devices: process 2 of 2 ended by SIGKILL")
    assert not any(is_alive(rank.pid) for rank in ranks)
    assert not (run / "video.safetensors").exists()

    def succeed(verb: str, *overrides: str) -> str:
        done = processes.run(f"vseg_nas.{verb}", *overrides, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    printed = succeed("train", "resume=runs/train/synthetic/two")
    assert "cell alone" not in printed
    assert printed.count("end to end: epoch 4/4") == 1
    assert "end to end: epoch 1/4" not in printed
    succeed("train", *TRAIN, "name=one")
    succeed("pretrain", *PRETRAIN, "static.name=one")
    assert not [path for path in tmp_path.rglob("*") if "partial" in path.name]

    one, two = (
        load_segmenter(tmp_path / f"runs/train/synthetic/{name}/video.safetensors")[0] for name in ("one", "two")
    )
    assert mean_difference(one.state_dict(), two.state_dict()) < 1e-6
    alone, arch2 = (
        StaticSegmenter.load(tmp_path / f"runs/pretrain/synthetic/{name}/static.safetensors").state_dict()
        for name in ("one", "arch2")
    )
    assert mean_difference(alone, arch2) < 3e-5

    # On equal weights the scores are equal to the last bit, though here one device counts what two did there.
    scores = json.loads((run / "train.json").read_text())["val"]
    segmenter, spec = load_segmenter(run / "video.safetensors")
    train, val = SyntheticStreet(9, 2, SIZE, 7, "train", 11), SyntheticStreet(5, 2, SIZE, 7, "val", 11)
    data = ClipDataModule(train, val, resized(), resized(spec.size), batch_size=4)
    module = VideoModule(segmenter, video_training(), "{}")
    quiet_trainer(tmp_path, 1, [], accelerator="cpu", enable_checkpointing=False).validate(module, data, verbose=False)
    assert module.scores is not None
    assert {name: scores[name] for name in ("miou", "fwiou", "macc", "score")} == {
        name: getattr(module.scores, name) for name in ("miou", "fwiou", "macc", "score")
    }
    assert str(scores["iou_per_class"]) == str(list(module.scores.iou_per_class))
