"""`executor=` on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

import vseg_nas.search
from tests.builders import composed
from tests.fixtures import InProcess
from vseg_nas.assembly.executor_choice import executor_of
from vseg_nas.cli.composition import conf_dir
from vseg_nas.cli.typed_config import typed_config
from vseg_nas.errors import ConfigError
from vseg_nas.nas.executors.ray import CandidateResources
from vseg_nas.nas.executors.settings import ExecutorSettings, IsolatedSettings, RaySettings, SerialSettings
from vseg_nas.schema import SearchConfig


def executor(*overrides: str) -> ExecutorSettings:
    return typed_config(composed("search", *overrides), SearchConfig).executor


def test_candidates_run_in_process_unless_isolation_is_asked_for() -> None:
    assert executor() == SerialSettings()
    assert executor("executor=isolated") == IsolatedSettings()
    limited = executor("executor=isolated", "executor.limit_s=90", "executor.memory_gib=2.5", "executor.workers=2")
    assert limited == IsolatedSettings(limit_s=90.0, memory_gib=2.5, workers=2)
    assert executor("executor=ray") == RaySettings(mode="batch")
    shared = executor("executor=ray", "executor.mode=async", "executor.workers=16", "executor.gpus_per_candidate=0.5")
    assert shared == RaySettings(mode="async", workers=16, gpus_per_candidate=0.5)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], SerialSettings()),
        (["gpu.devices=2"], RaySettings(mode="async", workers=2)),
        (["gpu.devices=2", "phase.search.batch=4"], RaySettings(mode="batch", workers=2)),
        (["gpu.devices=2", "executor=isolated"], IsolatedSettings()),
        (["gpu.devices=2", "executor=ray"], RaySettings(mode="batch")),
    ],
)
def test_several_devices_mean_ray_unless_another_executor_is_asked_for(
    overrides: list[str], expected: ExecutorSettings
) -> None:
    config = typed_config(composed("search", "gpu=cpu", *overrides), SearchConfig)
    assert executor_of(config) == expected


@pytest.mark.parametrize("overrides", [["executor=ray"], ["gpu=cpu", "gpu.devices=2"]])
def test_without_the_extra_the_line_names_it(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    monkeypatch.setattr("vseg_nas.nas.executors.ray_head.find_spec", lambda name: None)
    status, _, errors = in_process(vseg_nas.search.main, *overrides)
    expected = (
        "error: ray: not installed, needed to search on several devices (executor=ray); "
        "install it with: pip install 'vseg-nas[ray]'\n"
    )
    assert (status, errors) == (2, expected)
    assert list(Path.cwd().iterdir()) == []


LOOKS = """
import os, sys
from hydra import compose, initialize_config_dir
from vseg_nas import search
from vseg_nas.cli.typed_config import typed_config
from vseg_nas.cli.composition import conf_dir

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("loads torch", flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
for overrides in ([], ["executor=ray"], ["gpu=cpu", "gpu.devices=2"]):
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        search._preflight(typed_config(compose("search", overrides), search.SearchConfig))
    print("looked", flush=True)
"""


def test_only_several_devices_make_the_first_look_load_torch() -> None:
    run = subprocess.run([sys.executable, "-c", LOOKS], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["looked", "looked", "loads torch"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["executor=isolated", "executor.limit_s=0"], r"^executor.limit_s: found 0, expected more than 0$"),
        (["executor=isolated", "executor.memory_gib=-1"], r"^executor.memory_gib: found -1, expected more than 0$"),
        (["executor=isolated", "executor.workers=0"], r"^executor.workers: found 0, expected at least 1$"),
        (
            ["executor=ray", "executor.gpus_per_candidate=2"],
            r"^executor.gpus_per_candidate: found 2, expected at",
        ),
        (["executor=ray", "executor.cpus_per_candidate=0"], r"^executor.cpus_per_candidate: found 0, expected more"),
        (["executor=ray", "executor.workers=0"], r"^executor.workers: found 0, expected at least 1$"),
        (["executor=ray", "executor.mode=sync"], r"^executor.mode: found 'sync', expected one of: batch, async$"),
        (["phase.search.batch=0"], r"^phase.search.batch: found 0, expected at least 1$"),
        (["executor.name=parallel"], r"^executor.name: found 'parallel', expected one of: serial, isolated, ray$"),
        (["+executor.limit_s=3"], r"^executor.limit_s: no such key$"),
    ],
)
def test_mistakes_are_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        executor(*overrides)


def test_options_are_named_in_the_table_of_contents() -> None:
    options = sorted(path.stem for path in (conf_dir() / "executor").iterdir())
    text = (Path(conf_dir()) / "search.yaml").read_text()
    assert "executor: serial # serial | isolated | ray" in text
    assert options == ["isolated", "ray", "serial"]
    assert OmegaConf.load(conf_dir() / "executor" / "serial.yaml") == {"name": "serial"}


@pytest.mark.parametrize(
    ("resources", "machine", "expected"),
    [
        (CandidateResources(0, 1), {"CPU": 4.0}, 4),
        (CandidateResources(0, 6), {"CPU": 4.0}, 0),  # a cluster of two such machines holds none either
        (CandidateResources(0, 0.1), {"CPU": 1.0}, 10),
        (CandidateResources(1, 1), {"CPU": 16.0, "GPU": 4.0}, 4),
        (CandidateResources(0.4, 1), {"CPU": 16.0, "GPU": 4.0}, 8),  # two on each device, though ten times 0.4 are four
        (CandidateResources(0.1, 1), {"CPU": 16.0, "GPU": 1.0}, 10),
        (CandidateResources(0.5, 4), {"CPU": 16.0, "GPU": 4.0}, 4),
        (CandidateResources(1, 1), {"CPU": 16.0}, 0),
    ],
)
def test_a_candidate_fits_one_machine_and_one_device(
    resources: CandidateResources, machine: dict[str, float], expected: int
) -> None:
    assert resources.fits(machine) == expected
