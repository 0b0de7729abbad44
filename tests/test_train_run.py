"""A found cell as a user trains, scores and reports it, on tiny synthetic clips; and its training interrupted."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import vseg_nas.evaluate
import vseg_nas.report
import vseg_nas.train
from tests.fixtures import InProcess
from vseg_nas.models.segmenter_file import load_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.space.hand_written import HAND_WRITTEN

Start = Callable[..., str]

pytestmark = pytest.mark.usefixtures("shallow_networks")
TINY = [
    "gpu=cpu",
    "dataset.size=[32,48]",
    "dataset.clips=4",
    "dataset.val_clips=9",
    "dataset.frames_per_drive=11",
    "phase.pretrain.epochs=1",
    "phase.pretrain.batch_size=4",
    "phase.pretrain.transform.crop=[32,48]",
]
TRAIN = [
    *TINY,
    "logger=none",
    "phase.train.cell.epochs=2",
    "phase.train.cell.batch_size=4",
    "phase.train.cell.transform.crop=[32,48]",
    "phase.train.video.epochs=2",
    "phase.train.video.batch_size=4",
    "phase.train.video.transform.crop=[32,48]",
]


@pytest.fixture
def start(in_process: InProcess) -> Start:
    """Runs a command in this process and gives what it printed."""

    def call(main: Callable[[], None], *overrides: str, status: int = 0) -> str:
        found, out, err = in_process(main, *overrides)
        assert found == status, err
        return out

    return call


@pytest.mark.long
def test_train_evaluate_report(start: Start, tmp_path: Path) -> None:
    trained = start(vseg_nas.train.main, *TRAIN, "cell=local_filters", "name=a", "seed=3")
    assert "cell alone: epoch 2/2  train/loss" in trained
    assert "end to end: epoch 2/2" in trained
    path = tmp_path / "runs/train/synthetic/a/video.safetensors"
    assert f"evaluate checkpoint={path} " in trained
    start(vseg_nas.train.main, *TRAIN, "cell=gated_warp", "flow=true", "name=b", "phase.train.video.cell_lr=1e-3")
    start(vseg_nas.train.main, *TRAIN, "cell=local_filters", "past=current", "name=c")
    printed = start(vseg_nas.train.main, *TRAIN, "cell=static", "name=d", "seed=5")
    assert "Training the static network alone" in printed
    assert "decoder alone: epoch 2/2  train/loss" in printed

    a, b, c, d = (
        load_segmenter(tmp_path / f"runs/train/synthetic/{name}/video.safetensors")[1].recipe for name in "abcd"
    )
    assert a == c == d != b  # the rate differs, and neither seed nor what the cell reads

    checkpoints = ",".join(f"runs/train/synthetic/{name}/video.safetensors" for name in "abcd")
    options = [f"checkpoint=[{checkpoints}]", "name=e", "panels=2"]
    printed = start(vseg_nas.evaluate.main, *TINY, *options)
    result = json.loads((tmp_path / "runs/evaluate/synthetic/e/evaluate.json").read_text())
    assert [row["group"] for row in result["rows"]] == [
        "static per frame",
        "previous labels copied",
        "previous labels warped by flow",
        "average of static logits over time",
        "average of static logits along flow",
        "static per frame, fine-tuned",
        "previous labels copied, fine-tuned",
        "previous labels warped by flow, fine-tuned",
        "average of static logits over time, fine-tuned",
        "average of static logits along flow, fine-tuned",
        "local_filters",
        "gated_warp, warped by flow",
        "local_filters, current frame for the previous",
    ]
    static, copied, ours = (result["rows"][index] for index in (0, 1, -3))
    assert static["rolling"]["1"] == copied["rolling"]["1"]
    assert static["rolling"]["1"]["iou_per_class"] == static["rolling"]["never"]["iou_per_class"]
    assert [entry["frames"] for entry in static["rolling"]["never"]["by_distance"]] == [1] * 9  # as for all others
    assert (ours["name"], ours["seed"], ours["expression"]) == ("a", 3, HAND_WRITTEN["local_filters"].expression())
    assert ours["consistency"]["vc8"]["windows"] == 2  # of 8 frames, in the one run of 9
    assert 0 <= ours["consistency"]["tc"]["correct"] <= 1
    assert "refused" in ours["consistency"]["vc16"]
    for row in result["rows"]:
        seed = "" if row["seed"] is None else f", seed {row['seed']}"
        assert f"{row['group']}{seed}: mIoU of pairs {row['pair']['miou']:.4f}" in printed
    assert {panel["title"] for panel in result["panels"]} == {"confusion", "hardest", "most improved"}
    for panel in result["panels"]:
        assert (tmp_path / "runs/evaluate/synthetic/e" / panel["file"]).stat().st_size > 5000

    start(vseg_nas.report.main, "run=runs/evaluate/synthetic/e", "name=r")
    page = (tmp_path / "runs/report/r/report.html").read_text()
    assert "gated_warp, warped by flow" in page

    start(vseg_nas.report.main, "run=[runs/train/synthetic/a,runs/train/synthetic/d]", "name=t")
    with (tmp_path / "runs/report/t/trainings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["a", "d"]
    result = json.loads((tmp_path / "runs/train/synthetic/a/train.json").read_text())
    assert (result["group"], result["seed"]) == ("local_filters", 3)
    assert rows[0]["mIoU, %"] == f"{100 * result['val']['miou']:.10g}"


@pytest.mark.long
def test_the_decoder_alone_learns_what_a_cell_sees(start: Start, tmp_path: Path) -> None:
    options = [*TRAIN, "phase.train.video.epochs=0"]
    start(vseg_nas.train.main, *options, "cell=local_filters", "name=cell")
    cached = sorted((tmp_path / "runs/cache").iterdir())
    start(vseg_nas.train.main, *options, "cell=static", "name=static")
    assert sorted((tmp_path / "runs/cache").iterdir()) == cached  # the very same features
    run = tmp_path / "runs/train/synthetic/static"
    network, spec = load_segmenter(run / "video.safetensors")
    assert (spec.group, spec.genotype, spec.past) == ("static, decoder trained on", None, None)
    assert (run / "genotype.json").read_text() == "null"
    (weights,) = tmp_path.glob("**/static.safetensors")
    before, after = StaticSegmenter.load(weights).state_dict(), network.static.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    blocks = {name for name in before if name.startswith("decoder.blocks.")}
    assert blocks <= changed
    assert not any(name.startswith(("encoder.", "decoder.classifier.")) for name in changed)  # as for a cell
    checkpoint = "checkpoint=runs/train/synthetic/static/video.safetensors"
    printed = start(vseg_nas.evaluate.main, *TINY, checkpoint, "baselines=false", "name=e")
    assert "static per frame, decoder trained on, seed 0: mIoU of pairs" in printed


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["local_filters", "static"])
def test_an_interrupted_training_continues_as_if_nothing_had_happened(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    start(vseg_nas.train.main, *TRAIN, "dataset.clips=8", f"cell={cell}", "name=whole")
    from vseg_nas.console.progress import FitView

    show, stages = FitView.on_epoch, []

    def stop(self: FitView, epoch: int, *args: object) -> None:
        stages.append(epoch)
        show(self, epoch, *args)  # type: ignore[arg-type]
        if len(stages) in (2, 5):  # the second epoch of either stage, before its checkpoint
            raise KeyboardInterrupt

    monkeypatch.setattr(FitView, "on_epoch", stop)
    (tmp_path / "other.json").write_text(HAND_WRITTEN["gated_warp"].to_json())  # refused: the run has another cell
    start(vseg_nas.train.main, *TRAIN, "dataset.clips=8", f"cell={cell}", "name=cut", status=130)
    start(vseg_nas.train.main, "resume=runs/train/synthetic/cut", status=130)
    start(vseg_nas.train.main, "resume=runs/train/synthetic/cut", f"cell={tmp_path / 'other.json'}", status=2)
    start(vseg_nas.train.main, "resume=runs/train/synthetic/cut")
    assert stages == [1, 2, 2, 1, 2, 2]  # an epoch that was saved is not trained again
    whole, cut = (load_segmenter(tmp_path / f"runs/train/synthetic/{n}/video.safetensors")[0] for n in ("whole", "cut"))
    assert all(torch.equal(value, cut.state_dict()[name]) for name, value in whole.state_dict().items())
