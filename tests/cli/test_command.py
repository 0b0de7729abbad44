"""Command lines: mistakes end in one line and status 2 before anything is made; the Hydra tree composes."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

import vseg_nas.compare
import vseg_nas.evaluate
import vseg_nas.pretrain
import vseg_nas.report
import vseg_nas.search
import vseg_nas.train
from tests.builders import composed, record, scored, store_trials
from tests.fixtures import InProcess
from vseg_nas.assembly.cells import cell_name, resolve_cell
from vseg_nas.assembly.search_plan import build_space
from vseg_nas.cli.composition import conf_dir
from vseg_nas.cli.typed_config import typed_config
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.schema import EvaluateConfig, NetworkConfig, PretrainConfig, SearchConfig, TrainConfig
from vseg_nas.space import SearchSpace
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import PAPER, STREAMING

Run = Callable[..., tuple[int, str]]

MISTAKES = {
    "phase.search.epoch=3": ["phase.search.epoch:", "phase.search.epochs"],
    "datset=camvid": ["datset:", "dataset"],
    "dataset=camvd": ["dataset=camvd", "camvid, cityscapes, synthetic"],
    "+trails=3": ["trails: no such key"],
    "phase.search.epochs=many": ["phase.search.epochs", "many"],
    "phase.search.epochs=0": ["phase.search.epochs: found 0", "at least 1"],
    "phase.search.lr=-1": ["phase.search.lr: found -1"],
    "phase.search.split=by_clip": ["phase.search.split", "random, by_sequence"],
    "dataset.size=[64]": ["dataset.size", "2 numbers"],
    "strategy.name=tpe": ["strategy.name", "ppo, reinforce, random"],
    "space.width=wide": ["space.width", "wide", "'native'"],
    "space.layers=11": ["space.layers: found 11"],
    "phase.search.transform.scale=[2,1]": ["phase.search.transform.scale"],
    "dataset.frames_per_drive=2": ["dataset.frames_per_drive: found 2"],
    "seed=1,2": ["seed=1,2", "--multirun"],
    "nmae=(1)": ["nmae: no such key", "did you mean name"],
    "seed=é": ["'seed=é': not understood"],
    "phase.search": ["'phase.search'", "key=value"],
    "dataset=camvid": ["dataset.root: not set"],
    "resume=nowhere": ["nowhere"],
    "strategy=random strategy.clip=0.2": ["strategy.clip: no such key", "did you mean strategy"],
    "stopping=median": ["stopping: no such key; did you mean pruner?"],
    "dataset.frames_per_run=6": ["dataset.frames_per_run: no such key; did you mean dataset.frames_per_drive"],
    "~phase.search.epochs": ["phase.search.epochs: not set"],
    "~strategy.clip": ["strategy.clip: not set"],
}


@pytest.fixture
def run(in_process: InProcess) -> Run:
    """Runs a command in this process, in an empty folder; gives the exit status and stderr."""
    return lambda main, *overrides: in_process(main, *overrides)[::2]


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_it_and_makes_nothing(run: Run, tmp_path: Path, mistake: str) -> None:
    status, err = run(vseg_nas.search.main, *mistake.split(" "))
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) <= 200
    for part in MISTAKES[mistake]:
        assert part in err
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_one_job_of_a_sweep_stops_all_before_the_first(run: Run, tmp_path: Path) -> None:
    status, err = run(vseg_nas.search.main, "--multirun", "phase.search.epochs=1,0")
    assert status == 2
    assert "phase.search.epochs: found 0" in err
    assert list(tmp_path.iterdir()) == []


def test_a_missing_static_network_prints_the_command_that_makes_it(run: Run, tmp_path: Path) -> None:
    shared = ["dataset=camvid", f"dataset.root={tmp_path}", "experiment=camvid_cpu"]
    status, err = run(vseg_nas.search.main, *shared, "phase.search.trials=3")
    assert status == 2
    assert err.endswith(f"-m vseg_nas.pretrain {' '.join(shared)}\n")
    assert list(tmp_path.iterdir()) == []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        advised = compose("pretrain", shared, return_hydra_config=True)
    assert f"{advised.hydra.run.dir}/static.safetensors" in err


def test_a_run_that_failed_before_it_had_anything_frees_its_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    command = ["dataset=camvid", "dataset.root=data", "static.encoder_weights=null"]
    for _ in range(2):
        status, err = run(vseg_nas.pretrain.main, *command)
        assert status == 2
        assert "data/train.txt" in err
        assert not (tmp_path / "runs/pretrain/camvid/arch2").exists()


def test_a_group_of_another_command_is_not_suggested(run: Run) -> None:
    err = run(vseg_nas.pretrain.main, "logger=none")[1]
    assert err.startswith("error: logger: no such key")
    assert "did you mean logger" not in err


def test_compare_needs_a_run(run: Run, tmp_path: Path) -> None:
    assert run(vseg_nas.compare.main)[1] == "error: run: not set, expected a value: run=...\n"
    assert "holds no run" in run(vseg_nas.compare.main, f"run={tmp_path}")[1]


def test_resuming_with_a_changed_meaning_is_refused_and_a_larger_budget_is_not(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record(folder, "search", "phase.search.epochs=2", "name=run")
    harmless = ["phase.search.trials=99", "executor=isolated"]
    status, err = run(vseg_nas.search.main, f"resume={folder}", "phase.search.epochs=3", *harmless)
    assert status == 2
    assert "phase.search.epochs was 2, is 3" in err
    assert "trials" not in err
    assert "executor" not in err


@pytest.mark.parametrize(
    ("verb", "schema", "needed"),
    [
        ("pretrain", PretrainConfig, []),
        ("search", SearchConfig, []),
        ("train", TrainConfig, ["cell=local_filters"]),
        ("evaluate", EvaluateConfig, ["checkpoint=a.ckpt"]),
    ],
)
@pytest.mark.parametrize("experiment", sorted(p.stem for p in (conf_dir() / "experiment").glob("*.yaml")))
def test_experiments_add_no_key(verb: str, schema: type[NetworkConfig], needed: list[str], experiment: str) -> None:
    typed_config(composed(verb, "dataset=camvid", f"experiment={experiment}", *needed), schema)


@pytest.mark.parametrize("changes", [[], ["strategy.reference=false"], ["strategy=random", "pruner=median"]])
def test_the_search_of_the_paper_is_the_authors(changes: list[str]) -> None:
    """One key stands for all of them; each can be changed alone, and what has no such form is left alone."""
    ours = typed_config(composed("search", *changes), SearchConfig)
    theirs = typed_config(composed("search", "experiment=paper", *changes), SearchConfig)
    for config, expected in ((ours, False), (theirs, True)):
        found = [getattr(getattr(config, part), "reference", None) for part in ("strategy", "pruner", "reward")]
        absent = changes[:1] == ["strategy=random"]
        strategy = None if absent else expected and not changes
        assert found == [strategy, None if absent else expected, expected]


@pytest.mark.parametrize("group", ["dataset", "gpu", "space", "strategy", "executor", "pruner", "reward", "logger"])
def test_every_option_of_every_group_passes_the_schema(group: str) -> None:
    for option in sorted(p.stem for p in (conf_dir() / group).glob("*.yaml")):
        typed_config(composed("search", f"{group}={option}"), SearchConfig)


def test_the_space_is_the_paper_s_unless_another_one_is_asked_for() -> None:
    for option, width, vocabulary in (
        ("uniform", 64, PAPER),
        ("native", "native", PAPER),
        ("streaming", 64, STREAMING),
    ):
        space = build_space(typed_config(composed("search", f"space={option}", "dataset=camvid"), SearchConfig))
        assert space == SearchSpace(5, width, vocabulary)  # type: ignore[arg-type]


def test_the_numbers_of_the_paper_are_the_defaults() -> None:
    camvid = typed_config(composed("search", "dataset=camvid"), SearchConfig)
    cityscapes = typed_config(composed("search", "dataset=cityscapes"), SearchConfig)
    assert (camvid.space.layers, camvid.phase.search.epochs, camvid.dataset.length) == (5, 20, 3)
    assert (cityscapes.space.layers, cityscapes.phase.search.epochs, cityscapes.dataset.length) == (4, 10, 2)
    for config in (camvid, cityscapes):
        assert (config.phase.search.batch_size, config.phase.search.lr) == (48, 8e-3)
        assert config.phase.search.schedule == config.phase.train.cell.schedule == "constant"
        assert isinstance(config.strategy, PPOSettings)
        assert config.strategy.learning_rate == 1e-4
        assert (config.phase.pretrain.encoder_lr, config.phase.pretrain.decoder_lr) == (5e-2, 1e-2)

    assert camvid.phase.train.cell.epochs == 10
    assert camvid.phase.train.video.epochs == 100
    assert cityscapes.phase.train.cell.epochs == cityscapes.phase.train.video.epochs == 200
    for config in (camvid, cityscapes):
        cell, video = config.phase.train.cell, config.phase.train.video
        assert (cell.lr, video.cell_lr, video.static_lr, video.momentum) == (8e-3, 4e-3, 5e-4, 0.9)
        assert cell.batch_size == video.batch_size == 16


@pytest.mark.parametrize("choice", [["dataset=synthetic"], ["dataset=camvid", "experiment=camvid_cpu"]])
def test_cells_beyond_the_paper_train_with_poly(choice: list[str]) -> None:
    config = typed_config(composed("search", *choice), SearchConfig)
    assert config.phase.search.schedule == config.phase.train.cell.schedule == "poly"


CELL_MISTAKES = {
    "cell=random:0:1": ["cell: layers: found 0"],
    "cell=nowhere": ["cell: found 'nowhere'", "DIR:1", "local_filters, low_latency, aligned_low_latency, gated_warp"],
    "cell=local_filters past=future": ["past: found 'future'", "previous, current, zero"],
    "cell=gated_warp": ["cell: found gated_warp with flow=false", "flow=true"],
    "cell=gated_warp past=zero flow=true": ["flow: found true with past=zero"],
    "cell=static past=zero": ["past: found zero with cell=static, expected previous"],
    "cell=static past=current": ["past: found current with cell=static, expected previous"],
    "cell=static flow=true": ["flow: found true with cell=static, expected false"],
    "cell=run:3": ["cell: found rank '3', expected 1 to 1"],
    "cell=run:first": ["cell: found rank 'first', expected 1 to 1"],
    "cell=broken.json": ["cell: broken.json: not JSON"],
    "cell=local_filters phase.train.video.epochs=-1": ["phase.train.video.epochs: found -1"],
    "": ["cell: not set"],
}


@pytest.mark.parametrize("mistake", CELL_MISTAKES)
def test_a_mistake_about_a_cell_is_one_line(run: Run, tmp_path: Path, mistake: str) -> None:
    (tmp_path / "run").mkdir()
    genotype = SearchSpace(1).genotype([0, 1, 0, 0, 0])
    store_trials(tmp_path / "run", [scored(genotype, 0.5)])
    (tmp_path / "broken.json").write_text("{")
    there = sorted(tmp_path.rglob("*"))
    status, err = run(vseg_nas.train.main, *mistake.split())
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in CELL_MISTAKES[mistake]:
        assert part in err
    assert sorted(tmp_path.rglob("*")) == there


def test_cells_can_be_named_in_four_ways(tmp_path: Path) -> None:
    genotype = SearchSpace(1).genotype([0, 1, 0, 0, 0])
    (tmp_path / "cell.json").write_text(genotype.to_json())
    (tmp_path / "run").mkdir()
    store_trials(tmp_path / "run", [scored(genotype, 0.5)])
    assert resolve_cell(str(tmp_path / "cell.json"), False) == resolve_cell(f"{tmp_path / 'run'}:1", True) == genotype
    assert resolve_cell("gated_warp", True) == HAND_WRITTEN["gated_warp"]
    assert resolve_cell("random:4:7", False) == SearchSpace(4).sample(random.Random(7))


@pytest.mark.parametrize(
    ("run", "spelled", "name"),
    [
        ("runs/été (1)", "runs/été (1):1", "été (1):1"),
        ("runs/a:2", "runs/a:2:1", "a:2:1"),
        ("runs/12:30:00", "runs/12:30:00/:1", "12:30:00:1"),
        ("runs/a", "runs/b/../a:1", "a:1"),
        ("runs/a\tb", "runs/a\tb:1", "a?b:1"),
        ("local_filters", "./local_filters:1", "local_filters:1"),
        (".", ".:1", "here:1"),
    ],
)
def test_the_cells_of_runs_with_awkward_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, spelled: str, name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    genotype = SearchSpace(1).genotype([0, 1, 0, 0, 0])
    for folder in (run, "runs/b"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    store_trials(Path(run), [scored(genotype, 0.5)])
    assert resolve_cell(spelled, False) == genotype
    assert cell_name(spelled) == name
    assert cell_name("cells/mine.json") == "mine"
    assert cell_name("random:4:7") == "random:4:7"


def test_a_file_of_a_run_is_not_the_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/config.yaml").write_text("name: r")
    for main, key in ((vseg_nas.search.main, "resume"), (vseg_nas.compare.main, "run"), (vseg_nas.report.main, "run")):
        status, err = run(main, f"{key}=r/config.yaml")
        assert (status, err.endswith("; did you mean r?\n")) == (2, True), err


def test_evaluate_and_report_name_what_is_missing(run: Run, tmp_path: Path) -> None:
    assert "checkpoint: not set" in run(vseg_nas.evaluate.main)[1]
    assert "checkpoint: found no file a.ckpt" in run(vseg_nas.evaluate.main, "checkpoint=a.ckpt")[1]
    assert "checkpoint: found []" in run(vseg_nas.evaluate.main, "checkpoint=[]")[1]
    assert "run: found no directory nowhere" in run(vseg_nas.report.main, f"run=[{tmp_path},nowhere]")[1]
    assert list(tmp_path.iterdir()) == []


def test_broken_yaml_in_the_tree_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise yaml.YAMLError("while parsing\n  a block\n  found something")

    monkeypatch.setattr("vseg_nas.cli.composition.compose", broken)
    status, err = run(vseg_nas.search.main, "seed=1")
    assert status == 2
    assert err.count("\n") == 1


CASES = """
import importlib, os, sys
import vseg_nas.cli.command
for verb in ("search", "train", "evaluate", "benchmark", "report"):
    for argument in ("--help", "phase.search.epoch=3"):
        child = os.fork()
        if child == 0:
            sys.argv[1:] = [argument]
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            try:
                importlib.import_module(f"vseg_nas.{verb}").main()
                sys.exit(0)
            except SystemExit as end:
                os._exit(100 if "torch" in sys.modules else int(end.code or 0))
        print(verb, argument, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_help_and_mistakes_do_not_pay_for_torch(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CASES], cwd=tmp_path, capture_output=True, text=True, check=True)
    statuses = {(verb, argument): int(status) for verb, argument, status in map(str.split, done.stdout.splitlines())}
    assert len(statuses) == 10
    for (verb, argument), status in statuses.items():
        assert status == (0 if argument == "--help" else 2), (verb, argument)
