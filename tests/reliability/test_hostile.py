"""Files that somebody made to harm: refused in one line, quickly, in little memory, and nothing of them is run."""

import builtins
import hashlib
import io
import json
import os
import pickle
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import vseg_nas.evaluate
import vseg_nas.pretrain
import vseg_nas.report
import vseg_nas.search
import vseg_nas.train
from tests.builders import TINY_EVALUATION, evaluation_of_one_row, record, seal
from tests.fixtures import Figure, InProcess
from vseg_nas.data.synthetic import CLASSES
from vseg_nas.errors import DataError
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.weights import write_safetensors

Attack = Callable[[Path], object]
SECONDS, MEBIBYTES = 5.0, 200
CANARY = "canary"


class Calls:
    """Unpickled, it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._call


def bomb(path: Path, levels: int = 10) -> None:
    """YAML whose aliases stand for ten to the power of so many values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    path.write_text("\n".join(lines))


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"(" * 10**8)


def huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 10**12) + b'{"a": {}}')


def huge_shape(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


def huge_spec(path: Path) -> None:
    write_safetensors({"a": torch.zeros(1)}, {"spec": "[" * 10**6}, path)


def legacy_tar(path: Path) -> None:
    import tarfile

    with tarfile.open(path, "w") as archive:
        data = pickle.dumps(Calls(os.mkdir, CANARY))
        for name in ("pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


PICKLES: dict[str, Attack] = {
    "system.ckpt": lambda path: torch.save(Calls(os.system, f"touch {CANARY}"), path),
    "mkdir.ckpt": lambda path: torch.save({"state_dict": Calls(os.mkdir, CANARY)}, path),
    "exec.ckpt": lambda path: torch.save([Calls(builtins.exec, f"open('{CANARY}', 'w')")], path),
    "eval.ckpt": lambda path: torch.save({"hyper_parameters": Calls(builtins.eval, f"open('{CANARY}', 'w')")}, path),
    "getattr.ckpt": lambda path: torch.save(Calls(getattr, {}, "clear"), path),
    "load.ckpt": lambda path: torch.save(Calls(torch.load, CANARY, None, None, False), path),
    "hub.ckpt": lambda path: torch.save(Calls(torch.hub.load, ".", "model", "local"), path),
    "import.ckpt": lambda path: torch.save(Calls(builtins.__import__, "antigravity"), path),
    "plain_pickle.ckpt": lambda path: path.write_bytes(pickle.dumps(Calls(os.mkdir, CANARY))),
    "old_protocol.ckpt": lambda path: path.write_bytes(pickle.dumps(Calls(os.mkdir, CANARY), protocol=0)),
    "tar.ckpt": legacy_tar,
    "zip_bomb.ckpt": zip_bomb,
    "pickle_named.safetensors": lambda path: path.write_bytes(pickle.dumps(Calls(os.mkdir, CANARY))),
    "huge_header.safetensors": huge_header,
    "huge_shape.safetensors": huge_shape,
    "huge_spec.safetensors": huge_spec,
}


@pytest.fixture
def attacked(in_process: InProcess, tmp_path: Path) -> Callable[..., str]:
    """Runs a command and sees to it that the attack failed; gives the line."""
    torch.zeros(1)

    def call(main: Callable[[], None], *arguments: str) -> str:
        started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status, _, err = in_process(main, *arguments)
        assert status == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert len(err) <= 220
        assert not (tmp_path / CANARY).exists()
        assert time.process_time() - started < SECONDS
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEBIBYTES * 1024
        return err

    return call


@pytest.mark.parametrize("name", PICKLES)
def test_checkpoints(attacked: Callable[..., str], tmp_path: Path, name: str) -> None:
    PICKLES[name](tmp_path / name)
    digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    (tmp_path / f"{name}.sha256").write_text(digest)  # who makes the one can make the other
    assert name in attacked(vseg_nas.evaluate.main, *TINY_EVALUATION, f"checkpoint={name}", "name=e")


@pytest.mark.parametrize("name", ["system.ckpt", "plain_pickle.ckpt", "huge_header.safetensors"])
def test_weights_of_the_encoder_and_of_the_static_network(
    attacked: Callable[..., str], tmp_path: Path, name: str
) -> None:
    path = name.replace(".ckpt", ".pth")
    PICKLES[name](tmp_path / path)
    tiny = ["gpu=cpu", "dataset.size=[48,64]", "dataset.clips=8", "dataset.val_clips=2"]
    assert path in attacked(vseg_nas.pretrain.main, *tiny, f"static.encoder_weights={path}")
    with pytest.raises(DataError, match=path):
        StaticSegmenter.load(tmp_path / path)
    assert not (tmp_path / CANARY).exists()


COMMAND_LINES = {  # of `search`
    "+phase.search._target_=os.system": "_target_",
    "+dataset._target_=builtins.exec": "_target_",
    "+_target_=torch.hub.load": "_target_",
    "+hydra.callbacks.x._target_=os.system": "hydra.callbacks",
    "hydra.launcher._target_=os.system": "hydra.launcher",
    "hydra.sweeper._target_=subprocess.run": "hydra.sweeper",
    "name=${oc.env:HOME}": "name: found oc.env",
    "runs_dir=${oc.env:PATH,x}": "oc.env",
    "name='x${ oc.env:USER }'": "oc.env",
    "name=x${oc.decode:${oc.env:USER}}": "oc.env",
    "name='x${oc.decode:\"${oc.env:USER}\"}'": "oc.env",
    "name=${oc.select:x,${oc.env:USER}}": "oc.env",
    "logger.project=${oc.env:USER}": "oc.env",
    "+phase.search={'${oc.env:USER}':1}": "phase.search",
    "dataset.size=[48,${oc.env:COLUMNS}]": "oc.env",
    "hydra.run.dir='${ oc.env:HOME }/x'": "oc.env",
    "--multirun hydra.sweep.dir=${oc.env:HOME}": "oc.env",
    "--multirun name=a,${oc.env:HOME}": "oc.env",
    "name=..": "name: found '..'",
    "name=.": "name: found '.'",
    "name=../../x": "name: found '../../x'",
    "name=/tmp/x": "name: found '/tmp/x'",
    "name=": "name: found an empty value",
    "name=a/b": "name: found 'a/b'",
    f"name={'x' * 300}": "name: found 'xxx",
    f"name={'x' * 200}": "name: found 'xxx",
    "name='a\nb'": "name: found 'a",
    "name='a\x1b[31m'": "name: found 'a",
    "name=a\0b": "name: found",
    "name=\udcff": "name: found",
    "name='\udcff'": "name: found",
    "static.name=../x": "static.name: found '../x'",
    "runs_dir=/etc/hostname": "runs_dir: /etc/hostname is no folder",
    "runs_dir=/etc/hostname/x": "runs_dir: /etc/hostname is no folder",
    "static.weights=a\0b": "static.weights",
    f"dataset=camvid dataset.root={'x' * 300}": "dataset.root: found 'xxx",
    f"resume={'x' * 300}": "xxx",
    "resume=/etc/hostname": "resume",
    "executor=ray executor.address=notanaddress": "executor.address: found 'notanaddress'",
    "executor=ray executor.address=host:port": "executor.address: found 'host:port'",
    "executor=ray executor.address=host:0": "executor.address: found 'host:0'",
    "executor=ray executor.address=host:99999": "executor.address: found 'host:99999'",
    "executor=ray executor.address=http://host:1": "executor.address: found 'http://host:1'",
    "--config-dir missing": "--config-dir: found 'missing'",
    "--config-dir=.": "--config-dir: found '.'",
    "--config-path=/etc": "--config-path: found '/etc'",
    "--config-name train": "--config-name: found 'train'",
    "--experimental-rerun x.pickle": "--experimental-rerun: found 'x.pickle'",
    "--help --config-dir missing": "--config-dir: found 'missing'",
    "strategy.name=os.system": "strategy.name",
    "space.width=10000000": "space",
    "space.layers=1000000": "space.layers",
}


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_command_lines(attacked: Callable[..., str], line: str, tmp_path: Path) -> None:
    arguments = line.split(" ") if line.startswith(("--", "executor=", "dataset=")) else [line]
    assert COMMAND_LINES[line] in attacked(vseg_nas.search.main, *arguments)
    assert list(tmp_path.iterdir()) == []


def stored(*overrides: str) -> Attack:
    return lambda run: (run / "overrides.json").write_text(json.dumps(list(overrides)))


def recorded(line: str) -> Attack:
    return lambda run: (run / "config.yaml").write_text((run / "config.yaml").read_text() + line)


def linked(name: str, folder: bool = False) -> Attack:
    """A link from inside of a run to what a user has."""

    def attack(run: Path) -> None:
        victim = run.parent / "victim"
        victim.mkdir() if folder else victim.write_text(CANARY)
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(victim)

    return attack


def piped(name: str) -> Attack:
    """A pipe that nobody writes to: who reads it waits."""

    def attack(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)

    return attack


RUNS: dict[str, tuple[Attack, str]] = {  # what somebody put into a run directory that a user resumes
    "callbacks": (stored("+hydra.callbacks.x._target_=os.system"), "overrides.json"),
    "launcher": (stored("hydra.launcher._target_=os.system"), "overrides.json"),
    "output folder": (stored("hydra.run.dir=/tmp"), "overrides.json"),
    "configuration folder": (stored("--config-dir=/tmp"), "overrides.json"),
    "environment": (stored("name=${oc.env:HOME}"), "overrides.json"),
    "Hydra behind a blank": (stored(" hydra.run.dir=/tmp"), "overrides.json"),
    "another package": (stored("+dataset@hydra.job=camvid"), "overrides.json"),
    "a cluster of somebody": (stored("executor=ray", "executor.address=example.org:6379"), "executor.address"),
    "environment behind a blank": (stored("name='x${ oc.env:HOME }'"), "overrides.json"),
    "environment, recorded": (recorded("name: ${oc.env:HOME}"), "config.yaml"),
    "date that is none, recorded": (recorded("name: !!timestamp abc"), "config.yaml"),
    "5000 digits, recorded": (recorded(f"seed: {'9' * 5000}"), "config.yaml"),
    "20,000 keys, recorded": (recorded("".join(f"k{i}: 1\n" for i in range(20_000))), "config.yaml"),
    "lock of a user": (linked("lock"), "lock: found a symbolic link"),
    "log of a user": (linked("log"), "log: found a symbolic link"),
    "a user's database": (linked("search.sqlite"), "search.sqlite: found a symbolic link"),
    "part of a table": (linked("report/.trials.partial.csv"), ".trials.partial.csv: found a symbolic link"),
    "digest of a user": (linked("static.sha256"), "static.sha256: found a symbolic link"),
    "a folder of a user": (linked("wandb", folder=True), "wandb: found a symbolic link"),
    "report of a user": (linked("report", folder=True), "report: found a symbolic link"),
    "worker of a user": (linked("worker", folder=True), "worker: found a symbolic link"),
    "a pipe for a configuration": (piped("config.yaml"), "config.yaml: found no regular file"),
    "a pipe for a command line": (piped("overrides.json"), "resume"),
    "a pipe for a store": (piped("search.sqlite"), "search.sqlite: found no regular file"),
    "a pipe for a lock": (piped("lock"), "lock: found no regular file"),
    "environment in disguise": (stored("runs_dir=x${oc.decode:${oc.env:PATH}}"), "overrides.json"),
    "deep list": (lambda run: (run / "overrides.json").write_text("[" * 10**6), "overrides.json"),
    "alias bomb": (lambda run: bomb(run / "config.yaml"), "config.yaml"),
    "objects": (
        lambda run: (run / "config.yaml").write_text(f"a: !!python/object/apply:os.mkdir [{CANARY}]"),
        "config.yaml",
    ),
    "deep YAML": (lambda run: (run / "config.yaml").write_text("[" * 5000), "config.yaml"),
    "large YAML": (lambda run: (run / "config.yaml").write_text("a: b\n" * 10**6), "config.yaml"),
}


@pytest.mark.parametrize("name", RUNS)
def test_run_directories(attacked: Callable[..., str], tmp_path: Path, name: str) -> None:
    run = tmp_path / "r"
    StaticSegmenter(CLASSES).save(tmp_path / "static.safetensors")
    record(run, "search", "static.weights=static.safetensors", "name=r")
    attack, named = RUNS[name]
    attack(run)
    seal(run)
    there, victim = sorted(tmp_path.rglob("*")), tmp_path / "victim"
    assert named in attacked(vseg_nas.search.main, "resume=r")
    assert not victim.is_file() or victim.read_text() == CANARY
    left = sorted(tmp_path.rglob("*"))
    assert [path for path in left if path.name != "lock"] == [path for path in there if path.name != "lock"]


def evaluation(**changes: object) -> Attack:
    """A result file of an evaluation."""
    content = evaluation_of_one_row() | changes
    return lambda run: (run / "evaluate.json").write_text(json.dumps(content))


def panel(file: str) -> Attack:
    return evaluation(panels=[{"file": file, "title": "t", "row": "r"}])


def linked_panel(run: Path) -> None:
    """A panel that is a link to a file of the machine."""
    (run / "p.png").symlink_to("/etc/hostname")
    panel("p.png")(run)


RESULTS: dict[str, Attack] = {  # what `report` is given
    "path traversal": panel("../secret.png"),
    "absolute path": panel("/etc/hostname"),
    "no picture": lambda run: [(run / "p.png").write_text("<script>"), panel("p.png")(run)],
    "link out of the folder": linked_panel,
    "deep": lambda run: (run / "evaluate.json").write_text("[" * 10**6),
    "large": lambda run: (run / "evaluate.json").write_bytes(b" " * (17 * 2**20)),
    "not a number": evaluation(seconds="1e9999"),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_in_a_report(attacked: Callable[..., str], tmp_path: Path, name: str) -> None:
    run = tmp_path / "e"
    run.mkdir()
    RESULTS[name](run)
    assert "e" in attacked(vseg_nas.report.main, "run=e", "name=r")


def test_a_genotype_of_a_million_layers(attacked: Callable[..., str], tmp_path: Path) -> None:
    layers = [[2, 2, 4, 0, 0]] * 10**6
    (tmp_path / "c.json").write_text(json.dumps({"format": 1, "width": 64, "layers": layers}))
    assert "c.json" in attacked(vseg_nas.train.main, "cell=c.json")


def test_there_are_enough_of_them(figure: Figure) -> None:
    files = len(PICKLES) + 3 + len(COMMAND_LINES) + len(RUNS) + len(RESULTS) + 1
    assert files >= 30
    figure("G13", f"{files} hostile files and command lines, none executes")
