"""The script that tells how far seeds agree: its figures by hand, and a run that goes on where it was cut."""

import json
import random
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import rank_correlation
from benchmarks.rank_correlation import kendall, spearman, summary
from vseg_nas.data.synthetic import CLASSES
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.trial import Evaluation
from vseg_nas.space import Genotype


@pytest.mark.parametrize(
    ("one", "other", "rho", "tau"),
    [
        ([1, 2, 3], [10, 20, 90], 1, 1),
        ([1, 2, 3], [3, 2, 1], -1, -1),
        ([1, 2, 3], [1, 3, 2], 0.5, 1 / 3),  # 1 - 6 * 2 / (3 * 8); two pairs in order, one not
        ([1, 2, 3, 4], [2, 1, 4, 3], 0.6, 1 / 3),  # 1 - 6 * 4 / (4 * 15); four pairs in order, two not
        ([1, 1, 2], [1, 2, 3], 3**0.5 / 2, (2 / 3) ** 0.5),  # a tie: 2 of the roots of 2 * 3 pairs
    ],
)
def test_correlations_by_hand(one: list[float], other: list[float], rho: float, tau: float) -> None:
    assert spearman(one, other) == pytest.approx(rho)
    assert kendall(one, other) == pytest.approx(tau)
    assert kendall(other, one) == pytest.approx(tau)


def test_summary_by_hand() -> None:
    scores = {(0, 0): 0.50, (0, 1): 0.52, (1, 0): 0.40, (1, 1): 0.44, (2, 0): 0.46, (2, 1): 0.42}
    found = summary(scores, 3, 2)
    assert found["over_seeds"] == pytest.approx(((2 + 8 + 8) / 3) ** 0.5)  # variances of 2, 8 and 8 square points
    assert found["over_cells"] == pytest.approx((67 / 3) ** 0.5)  # of means of 51, 42 and 44
    assert found["spearman"] == pytest.approx(0.5)
    assert found["kendall"] == pytest.approx(1 / 3)


def test_a_run_goes_on_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    StaticSegmenter(CLASSES).save(tmp_path / "static.safetensors")

    def scored(self: CandidateEvaluator, genotype: Genotype, seed: int, progress: object) -> Evaluation:
        drawn = random.Random(f"{genotype.key} {seed} {self.training.schedule}").random()
        return Evaluation(drawn, drawn, drawn, drawn, parameters=1, macs=1, seconds=1.0, epochs=1)

    monkeypatch.setattr(CandidateEvaluator, "evaluate", scored)
    tiny = ["gpu=cpu", "dataset.size=[32,48]", "dataset.clips=10", "dataset.frames_per_drive=3", "dataset.val_clips=3"]
    tiny += ["static.weights=static.safetensors", "phase.search.transform.crop=[32,48]", "phase.search.epochs=1"]
    arguments = ["rank_correlation.py", "--out", "found.jsonl", "--cells", "2", "space.layers=1", *tiny]
    monkeypatch.setattr(sys, "argv", arguments)
    rank_correlation.main()
    *_, line = capsys.readouterr().out.splitlines()
    lines = (tmp_path / "found.jsonl").read_text().splitlines()
    assert [json.loads(entry)["schedule"] for entry in lines] == ["constant"] * 4 + ["poly"] * 4
    (tmp_path / "found.jsonl").write_text("\n".join(lines[:5]) + "\n" + lines[5][:20])
    rank_correlation.main()
    out = capsys.readouterr().out
    assert out.count(" s\n") == 3  # what was cut short, and what came after
    assert out.splitlines()[-1] == line
    assert {"constant", "poly", "between"} < set(json.loads(line))
