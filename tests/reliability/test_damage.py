"""Damaged files of a run: each is refused in one line or holds what it held; never a traceback, never other content."""

import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import vseg_nas.benchmark
import vseg_nas.report
import vseg_nas.search
import vseg_nas.train
from tests.builders import SPACE, TARGET, save_network, video_spec
from tests.fixtures import Figure, InProcess
from tests.reliability.damage import damaged
from vseg_nas.assembly.cells import resolve_cell
from vseg_nas.data.feature_cache import CacheKey, open_cache, write_cache
from vseg_nas.data.synthetic import CLASSES
from vseg_nas.errors import UserError
from vseg_nas.models.segmenter_file import load_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import HalfwayPruner
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import RandomSettings
from vseg_nas.nas.trial import TrialState
from vseg_nas.runs.record import recorded_config, recorded_overrides, write_record
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.training.checkpoints import VerifiedCheckpointIO, newest_checkpoint, read_checkpoint


class Kept(NamedTuple):
    """A file, a way to read it, and a folder that holds everything it is read with."""

    folder: Path
    file: str
    read: Callable[[Path], object]


def digest(state: dict[str, Tensor]) -> str:
    joined = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        joined.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode() + tensor.numpy().tobytes())
    return joined.hexdigest()


def video(path: Path) -> object:
    segmenter, spec = load_segmenter(path)
    return digest(segmenter.state_dict()), spec


def checkpoint(path: Path) -> object:
    newest = newest_checkpoint(path)  # sets a damaged one aside, and says that nothing is left to go on from
    return None if newest is None else digest(read_checkpoint(newest)["state_dict"])


def store(path: Path) -> object:
    with TrialStore(path) as opened:
        cells = [opened.find(trial.genotype.key) for trial in opened.trials()]
        attempts = [opened.attempts(trial) for trial in opened.trials()]
        counts = [len(opened.trials(state)) for state in TrialState]
        return opened.trials(), cells, attempts, counts, opened.snapshot()


def shown(path: Path) -> object:
    """What a report shows of a search: not the state that only a resume reads."""
    with TrialStore.read(path) as opened:
        return opened.trials()


pytestmark = pytest.mark.usefixtures("shallow_networks")
KEY = CacheKey("weights", "clips", "transform", "fp16")


def cache(path: Path) -> object:
    opened = open_cache(path.parent.parent, KEY)
    return None if opened is None else digest(opened.arrays())


@pytest.fixture
def kept(tmp_path: Path, make_features: Any) -> dict[str, Kept]:
    folder = tmp_path / "whole"
    folder.mkdir()
    cell = HAND_WRITTEN["local_filters"]
    save_network(folder / "video.safetensors", video_spec(classes=CLASSES, size=(48, 64)))
    torch.manual_seed(0)
    VerifiedCheckpointIO().save_checkpoint(
        {"state_dict": {"w": torch.randn(200)}, "epoch": 1, "loops": {}}, folder / "last.ckpt"
    )
    (folder / "genotype.json").write_text(cell.to_json())
    write_record(
        folder,
        "seed: 1\nphase: {search: {trials: 12}}\ndataset: {name: a}\nstrategy: {name: ppo}\n",
        ["seed=1", "name=whole"],
    )
    pruner = HalfwayPruner(1, initial_average=0.5, decay=0.9)
    with TrialStore(folder / STORE) as trials:
        evaluator = FakeEvaluator(TARGET, pruner)
        strategy = build_strategy(RandomSettings(), SPACE, 1)
        SearchLoop(strategy, SerialExecutor(evaluator), pruner, trials, seed=1, budget=Budget(12)).run()
    features = make_features(clips=2)
    write_cache(folder, KEY, (features.take(torch.tensor([i])) for i in range(2)), 2)
    arrays = sorted(path.relative_to(folder) for path in (folder / KEY.digest).iterdir())
    found = {
        "weights": Kept(folder, "video.safetensors", video),
        "checkpoint": Kept(folder, "last.ckpt", checkpoint),
        "note of the checkpoint": Kept(folder, "last.ckpt.sha256", lambda path: checkpoint(path.with_suffix(""))),
        "genotype": Kept(folder, "genotype.json", lambda path: resolve_cell(str(path), False)),
        "configuration": Kept(folder, "config.yaml", lambda path: recorded_config(path.parent)),
        "command line": Kept(folder, "overrides.json", lambda path: recorded_overrides(path.parent)),
        "digests": Kept(folder, "record.sha256", lambda path: recorded_config(path.parent)),
        "trials": Kept(folder, STORE, store),
    }
    return found | {f"cache {path.name}": Kept(folder, str(path), cache) for path in arrays}


@pytest.mark.parametrize("times", [300, pytest.param(3000, marks=pytest.mark.slow)])
def test_no_damage_is_silent_or_a_traceback(kept: dict[str, Kept], tmp_path: Path, times: int, figure: Figure) -> None:
    rng = random.Random(0)
    whole = {name: file.read(file.folder / file.file) for name, file in kept.items()}
    refused, silent, lines = dict.fromkeys(kept, 0), [], []
    for attempt in range(times):
        name = list(kept)[attempt % len(kept)]
        file = kept[name]
        folder = tmp_path / "damaged"
        shutil.copytree(file.folder, folder)
        path = folder / file.file
        content = path.read_bytes()
        changed = damaged(content, rng)
        path.write_bytes(changed)
        try:
            found = file.read(path)
        except UserError as error:
            lines.append(str(error))
            refused[name] += 1
        else:
            if found is None:  # set aside, and to be made anew
                refused[name] += 1
            elif found != whole[name]:
                silent.append((name, attempt))
        shutil.rmtree(folder)
    assert silent == []
    assert [line for line in lines if len(line.splitlines()) != 1] == []
    assert all(count >= times / len(kept) / 3 for count in refused.values()), refused
    figure("G6", f"{times} damaged files of {len(kept)} kinds: {sum(refused.values())} refused, 0 silent, 0 tracebacks")


@pytest.mark.parametrize("times", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_commands_refuse_them_in_one_line(
    kept: dict[str, Kept], in_process: InProcess, tmp_path: Path, times: int, figure: Figure
) -> None:
    StaticSegmenter(CLASSES).save(tmp_path / "static.safetensors")
    commands: dict[str, tuple[Callable[[], None], list[str]]] = {
        "weights": (vseg_nas.benchmark.main, ["checkpoint=[damaged/video.safetensors]", "gpu=cpu", "name=b"]),
        "genotype": (vseg_nas.train.main, ["cell=damaged/genotype.json", "gpu=cpu", "name=t"]),
        "configuration": (vseg_nas.search.main, ["resume=damaged", "gpu=cpu"]),
        "command line": (vseg_nas.search.main, ["resume=damaged", "gpu=cpu"]),
        "trials": (vseg_nas.report.main, ["run=[damaged]", "name=r"]),
    }
    kept["trials"] = kept["trials"]._replace(read=shown)
    rng, done = random.Random(1), 0
    while done < times:
        name = list(commands)[done % len(commands)]
        file = kept[name]
        folder = tmp_path / "damaged"
        shutil.copytree(file.folder, folder)
        path = folder / file.file
        content = path.read_bytes()
        path.write_bytes(damaged(content, rng))
        try:
            file.read(path)
        except UserError:
            main, arguments = commands[name]
            status, _, err = in_process(main, *arguments)
            assert status == 2
            assert err.startswith("error: ")
            assert err.count("\n") == 1
            assert len(err) <= 200
            assert path.name in err
            done += 1
        shutil.rmtree(folder)
    assert [path for path in tmp_path.rglob("runs/**/*") if path.is_file() and path.name != "lock"] == []
    figure("G6", f"{times} of them given to commands: one line each, nothing made")
