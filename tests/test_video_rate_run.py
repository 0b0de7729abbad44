"""A search, a comparison and a training on clips at video rate, made from single frames, as users start them."""

from pathlib import Path

import pytest

import vseg_nas.compare
import vseg_nas.search
import vseg_nas.train
from tests.builders import TINY
from tests.fixtures import InProcess
from vseg_nas.nas.store import STORE, TrialStore

VIDEO = [
    *TINY,
    "dataset.motion.share=1",
    "dataset.length=4",
    "reward=steady",
    "reward.key_every=3",
    "phase.search.trials=2",
    "phase.search.unroll.damaged=0.5",
    "phase.search.unroll.gradient_frames=2",
    "pruner=none",
]


@pytest.mark.long
def test_search_compare_train_at_video_rate(in_process: InProcess, tmp_path: Path) -> None:
    cost = ["reward.cost.size=[64,64]", "reward.cost.budget=0.01", "reward.cost.repeats=2"]
    status, _, err = in_process(vseg_nas.search.main, *VIDEO, *cost, "name=a")
    assert status == 0, err
    run = tmp_path / "runs/search/synthetic/a"
    for trial in TrialStore.read(run / STORE).trials():
        evaluation = trial.evaluation
        assert evaluation is not None
        assert evaluation.cost is not None
        assert evaluation.steadiness is not None
        assert 0 < evaluation.steadiness <= 1
        assert trial.reward == pytest.approx(evaluation.score * (0.01 / evaluation.cost) ** 0.5)
    status, _, err = in_process(vseg_nas.compare.main, f"run={run}", "name=c", "random_cells=1", "repeats=1")
    assert status == 0, err
    status, _, err = in_process(
        vseg_nas.train.main, *VIDEO[: VIDEO.index("reward=steady")], f"cell={run}:1", "past=current", "name=t",
        "dataset.motion.share=0.5", "phase.train.cell.epochs=1", "phase.train.video.epochs=1",
        "phase.train.cell.transform.crop=[64,64]", "phase.train.video.transform.crop=[64,64]",
        "phase.train.cell.batch_size=4", "phase.train.video.batch_size=4", "phase.train.video.unroll.damaged=0.5",
    )  # fmt: skip
    assert status == 0, err
    assert (tmp_path / "runs/train/synthetic/t/video.safetensors").is_file()
