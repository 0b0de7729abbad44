"""An evaluation as a user starts it, of networks with random weights on tiny synthetic clips."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

import vseg_nas.evaluate
from tests.builders import video_spec
from vseg_nas.assembly.split_evaluator import SplitEvaluator, VideoMethod
from vseg_nas.data.synthetic import CLASSES
from vseg_nas.models.segmenter_file import save_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.results.row_files import MeasuredRow

pytestmark = pytest.mark.usefixtures("shallow_networks")
TINY = [
    "gpu=cpu",
    "dataset.size=[48,64]",
    "dataset.val_clips=5",
    "dataset.frames_per_drive=7",
    "static.weights=static.safetensors",
    "panels=1",
    "name=e",
]
Start = Callable[..., tuple[int, str, str]]


def make(path: Path, seed: int = 0, cell: str | None = "local_filters", size: tuple[int, int] | None = None) -> Path:
    """A network with random weights, whose key frames are all of the class of its seed; None: without a cell."""
    torch.manual_seed(seed)
    name = "mine" if cell else "fine-tuned"
    spec = video_spec(cell, CLASSES, name=name, seed=seed, recipe="r", size=size)
    path.parent.mkdir(parents=True)
    segmenter = spec.build()
    with torch.no_grad():
        segmenter.static.decoder.classifier.bias.view(-1)[seed] += 9  # type: ignore[union-attr]
    save_segmenter(segmenter, spec, path)
    return path


@pytest.fixture
def start(in_process: Start, tmp_path: Path) -> Start:
    """Runs `evaluate`, where there is a static network."""
    torch.manual_seed(0)
    StaticSegmenter(CLASSES).save(tmp_path / "static.safetensors")
    return partial(in_process, vseg_nas.evaluate.main)


@pytest.mark.long
def test_a_trained_static_network_has_the_rows_of_the_pretrained_one(start: Start, tmp_path: Path) -> None:
    make(tmp_path / "a/v.safetensors", 1)
    make(tmp_path / "b/v.safetensors", 2, None)
    make(tmp_path / "c/v.safetensors", 3, None)
    status, out, _ = start(*TINY, f"checkpoint=[{','.join(f'{name}/v.safetensors' for name in 'abc')}]")
    assert status == 0
    result = json.loads((tmp_path / "runs/evaluate/synthetic/e/evaluate.json").read_text())
    rows = result["rows"]
    baselines = [
        "static per frame",
        "previous labels copied",
        "previous labels warped by flow",
        "average of static logits over time",
        "average of static logits along flow",
    ]
    trained = [(f"{name}, fine-tuned", training) for name in baselines for training in "bc"]
    assert [(row["group"], row["name"]) for row in rows] == [
        *zip(baselines, baselines, strict=True),
        *trained,
        ("mine", "a"),
    ]
    static, copied, warped, averaged, along_flow, tuned, *_, cell = rows
    assert tuned["rolling"]["never"]["iou_per_class"] == tuned["rolling"]["1"]["iou_per_class"]
    assert tuned["rolling"]["never"]["iou_per_class"] != static["rolling"]["never"]["iou_per_class"]
    assert averaged["rolling"]["never"]["iou_per_class"] == averaged["rolling"]["1"]["iou_per_class"]  # K is nothing
    assert [entry["frames"] for entry in averaged["rolling"]["2"]["by_distance"]] == [3, 2]  # of a run of 5
    assert (tuned["genotype"], tuned["expression"], tuned["cell_parameters"], tuned["recipe"]) == (None, "", 0, "r")
    assert (tuned["past"], tuned["flow"], tuned["seed"]) == (None, None, 2)
    assert cell["parameters"] == tuned["parameters"] + cell["cell_parameters"] + 64 * 9 * len(result["classes"]) + len(
        result["classes"]
    )
    assert [row["macs"] for row in (copied, warped)] == [0, 0]
    assert static["macs"] == averaged["macs"] == along_flow["macs"] == tuned["macs"] > 0
    assert 0 < cell["macs"] < static["macs"]
    assert "static per frame, fine-tuned, seed 2: mIoU of pairs" in out
    assert [panel["row"] for panel in result["panels"]] == ["mine"] * 3


def test_the_truth_is_as_steady_as_can_be(start: Start, tmp_path: Path) -> None:
    make(tmp_path / "b/v.safetensors", 2, None)
    clips = ["dataset.val_clips=19", "dataset.frames_per_drive=21"]
    assert start(*TINY, *clips, "checkpoint=b/v.safetensors", "baselines=false")[0] == 0
    result = json.loads((tmp_path / "runs/evaluate/synthetic/e/evaluate.json").read_text())
    truth = result["truth_consistency"]
    for n, name in ((8, "vc8"), (16, "vc16")):
        assert truth[name] == {"correct": 1.0, "reference": 1.0, "windows": 19 - n + 1, "flow": None}
    assert truth["tc"]["windows"] == 18
    assert 0.5 < truth["tc"]["correct"] < 1


def test_static_networks_alone_can_be_scored_without_baselines(start: Start, tmp_path: Path) -> None:
    make(tmp_path / "b/v.safetensors", 2, None)
    assert start(*TINY, "checkpoint=b/v.safetensors", "baselines=false")[0] == 0
    result = json.loads((tmp_path / "runs/evaluate/synthetic/e/evaluate.json").read_text())
    assert [row["group"] for row in result["rows"]] == ["static per frame, fine-tuned"]
    assert [panel["title"] for panel in result["panels"]] == ["confusion"]


@pytest.mark.long
def test_an_interrupted_evaluation_measures_no_row_twice(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a/v.safetensors", 1)
    arguments = [*TINY, "checkpoint=a/v.safetensors"]
    assert start(*arguments, "name=whole")[0] == 0
    measure, measured = SplitEvaluator.measure, list[str]()

    def stop(self: SplitEvaluator, method: VideoMethod, tick: Callable[[], None]) -> MeasuredRow:
        if len(measured) == 2:
            measured.append("interrupted")
            raise KeyboardInterrupt
        measured.append(method.group)
        return measure(self, method, tick)

    monkeypatch.setattr(SplitEvaluator, "measure", stop)
    assert start(*arguments)[0] == 130
    run = tmp_path / "runs/evaluate/synthetic/e"
    assert not (run / "evaluate.json").exists()
    status, _, err = start("resume=runs/evaluate/synthetic/e", "size=[64,64]")
    assert (status, err) == (2, "error: resume: the configuration changed its meaning: size was None, is [64, 64]\n")
    assert start("resume=runs/evaluate/synthetic/e")[0] == 0
    assert len(measured) == len(set(measured)) == 7  # six rows, and where it was interrupted
    whole, resumed = (
        json.loads((tmp_path / f"runs/evaluate/synthetic/{n}/evaluate.json").read_text()) for n in ("whole", "e")
    )
    assert whole["rows"] == resumed["rows"]
    next((run / "rows").iterdir()).write_text("{")
    status, _, err = start("resume=runs/evaluate/synthetic/e")
    assert status == 2
    assert "rows/" in err
    assert "damaged" in err


def test_frames_have_the_size_that_the_checkpoint_was_trained_for(start: Start, tmp_path: Path) -> None:
    make(tmp_path / "a/v.safetensors", size=(32, 48))
    make(tmp_path / "b/v.safetensors")
    assert start(*TINY, "baselines=false", "checkpoint=a/v.safetensors")[0] == 0
    result = json.loads((tmp_path / "runs/evaluate/synthetic/e/evaluate.json").read_text())
    assert result["size"] == [32, 48]
    status, _, err = start(*TINY, "checkpoint=[a/v.safetensors,b/v.safetensors]", "name=f")
    assert status == 2
    assert "were trained for frames of 32x48 and data set's; set size=[H,W]" in err
    assert not (tmp_path / "runs/evaluate/synthetic/f").exists()


def test_all_checkpoints_are_read_before_anything_is_measured(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "a/v.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    monkeypatch.setattr(SplitEvaluator, "measure", lambda *_: pytest.fail("measured"))
    status, _, err = start(*TINY, "checkpoint=[a/v.safetensors,bad.safetensors]")
    assert status == 2
    assert err.startswith("error: bad.safetensors: ")
    assert err.count("\n") == 1


def test_weights_that_are_not_finite_are_refused(start: Start, tmp_path: Path) -> None:
    spec = video_spec(classes=CLASSES)
    segmenter = spec.build()
    with torch.no_grad():
        next(segmenter.static.parameters()).view(-1)[0] = float("nan")
    save_segmenter(segmenter, spec, tmp_path / "nan.safetensors")
    status, _, err = start(*TINY, "checkpoint=nan.safetensors")
    assert status == 2
    assert "not finite" in err
