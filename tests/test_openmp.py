"""How OpenMP's idle threads wait is settled before torch is loaded, in every process; the user's choice stays."""

import ast
import os
import subprocess
import sys

import pytest

from tests.training.rank_targets import environment
from vseg_nas.training.ranks import on_ranks

OURS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
NAMES = (*OURS, "KMP_BLOCKTIME")
COMMANDS = ("search", "pretrain", "train", "evaluate", "benchmark", "compare", "check", "predict", "export", "report")
AT_TORCH = """
import importlib, os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print({name: os.environ[name] for name in %r if name in os.environ}, flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
for module in sys.argv[1:]:
    importlib.import_module(f"vseg_nas.{module}")
import torch
"""


def clean(**chosen: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in NAMES} | chosen


def found(*modules: str, **chosen: str) -> object:
    """The variables as they stand where modules of ours, imported one after the other, come to import torch."""
    command = [sys.executable, "-c", AT_TORCH % (NAMES,), *modules]
    done = subprocess.run(command, env=clean(**chosen), capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout)


@pytest.mark.parametrize(
    "modules",
    [COMMANDS, ["api"], ["nas.executors.worker"], ["nas.executors.ray_worker"], ["assembly.static_pretraining"]],
    ids=str,
)
def test_it_is_settled_before_torch_is_loaded(modules: tuple[str, ...]) -> None:
    assert found(*modules) == OURS


@pytest.mark.parametrize(
    "chosen",
    [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "5"}, {"KMP_BLOCKTIME": "200"}, {"OMP_WAIT_POLICY": ""}],
)
def test_what_the_user_has_chosen_stays(chosen: dict[str, str]) -> None:
    assert found("search", **chosen) == chosen


def test_openmp_has_read_it() -> None:
    """Asked itself, as torch loads it."""
    code = "import vseg_nas, torch; torch.ones(1)"
    environment = clean(OMP_DISPLAY_ENV="verbose")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
    assert "GOMP_SPINCOUNT = '10000'" in done.stderr


def test_a_rank_settles_it_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    assert on_ranks(1, lambda *_: None, environment, NAMES) == OURS


def test_so_do_these_tests() -> None:
    """The environment of the session had to be right before the first test module imported torch."""
    import torch

    assert any(name in os.environ for name in NAMES)
    loaded = list(sys.modules)  # in the order in which they were
    assert loaded.index("vseg_nas") < loaded.index(torch.__name__)
