"""Whatever a user gets wrong is one line that names the file or key, status 2, and nothing made."""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import vseg_nas.check
import vseg_nas.evaluate
import vseg_nas.pretrain
import vseg_nas.search
import vseg_nas.train
from tests.builders import TINY_EVALUATION, record, save_network, seal, video_spec, write_camvid
from tests.fixtures import Figure, InProcess
from vseg_nas.data.synthetic import CLASSES
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.weights import write_safetensors
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.space.hand_written import HAND_WRITTEN

pytestmark = pytest.mark.usefixtures("shallow_networks")
LONGEST = 200
Refused = Callable[..., str]

CONFIG = {  # command line of `search`: what the line has to name
    "phase.search.epoch=3": "phase.search.epoch:",
    "phase.serch.epochs=3": "phase.serch",
    "datset=camvid": "datset",
    "dataset=camvd": "dataset=camvd",
    "dataset=": "dataset",
    "+trails=3": "trails",
    "++phase.search.trails=3": "phase.search.trails",
    "~phase.search.epochs": "phase.search.epochs",
    "~seed": "seed",
    "phase.search.epochs=many": "phase.search.epochs",
    "phase.search.epochs=0": "phase.search.epochs: found 0",
    "phase.search.epochs=-5": "phase.search.epochs: found -5",
    "phase.search.epochs=1.5": "phase.search.epochs",
    "phase.search.epochs=null": "phase.search.epochs",
    "phase.search.epochs=[1]": "phase.search.epochs",
    "phase.search.trials=0": "phase.search.trials",
    "phase.search.hours=-1": "phase.search.hours",
    "phase.search.lr=abc": "phase.search.lr",
    "phase.search.lr=nan": "phase.search.lr",
    "phase.search.lr=-1": "phase.search.lr: found -1",
    "phase.search.batch_size=0": "phase.search.batch_size",
    "phase.search.val_fraction=1.5": "phase.search.val_fraction",
    "phase.search.val_fraction=0": "phase.search.val_fraction",
    "phase.search.split=by_clip": "phase.search.split",
    "phase.search.transform.crop=[8,8]": "phase.search.transform.crop",
    "phase.search.transform.crop=[96]": "phase.search.transform.crop",
    "phase.search.transform.scale=[2,1]": "phase.search.transform.scale",
    "phase.search.transform.scale=[0,1]": "phase.search.transform.scale",
    "phase.search.val_size=[1,1]": "phase.search.val_size",
    "phase.pretrain.momentum=x": "phase.pretrain.momentum",
    "phase.train.cell.epochs=0": "phase.train.cell.epochs",
    "dataset.size=[64]": "dataset.size",
    "dataset.size=64": "dataset.size",
    "dataset.clips=0": "dataset.clips",
    "dataset.frames_per_drive=2": "dataset.frames_per_drive",
    "dataset.length=21": "dataset.length",
    "dataset=camvid": "dataset.root: not set",
    "dataset=camvid dataset.root=nowhere": "nowhere",
    "strategy.name=tpe": "strategy.name",
    "strategy=tpe": "strategy=tpe",
    "strategy=random strategy.clip=0.2": "strategy.clip",
    "strategy.buffer_size=0": "strategy.buffer_size",
    "strategy.learning_rate=0": "strategy.learning_rate",
    "space.width=wide": "space.width: found",
    "space.layers=11": "space.layers",
    "pruner=never": "pruner=never",
    "gpu=ten": "gpu=ten",
    "gpu.precision=8-true": "gpu.precision",
    "gpu.threads=0": "gpu.threads",
    "gpu.workers=-1": "gpu.workers",
    "logger=mail": "logger=mail",
    "experiment=thesis": "experiment=thesis",
    "experiment=paper phase.search.reference=maybe": "phase.search.reference",
    "strategy.reference=maybe": "strategy.reference",
    "seed=-1": "seed: found -1",
    "seed=1,2": "seed=1,2",
    "seed=one": "seed",
    "phase.search": "phase.search",
    "--multirun phase.search.epochs=1,0": "phase.search.epochs: found 0",
}


@pytest.fixture
def refused(in_process: InProcess, tmp_path: Path) -> Refused:
    """Runs a command, sees to it that it ends as it should, and gives the line."""

    def call(main: Callable[[], None], *arguments: str) -> str:
        there = sorted(tmp_path.rglob("*"))
        status, _, err = in_process(main, *arguments)
        assert status == 2
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert len(err) <= LONGEST, err
        left = [path for path in sorted(tmp_path.rglob("*")) if path not in there and path.name != "lock"]
        assert [path for path in left if path.is_file()] == []
        return err

    return call


@pytest.mark.parametrize("line", CONFIG)
def test_configuration(refused: Refused, line: str) -> None:
    assert CONFIG[line] in refused(vseg_nas.search.main, *line.split(" "))


LAYER = [2, 2, 4, 0, 0]
GENOTYPES: dict[str, object] = {
    "empty": b"",
    "not_json": b"{",
    "not_text": b"\xff\xfe\x00",
    "list": [],
    "number": 3,
    "no_layers": {"format": 1, "width": 64},
    "empty_layers": {"format": 1, "width": 64, "layers": []},
    "other_format": {"format": 99, "width": 64, "layers": [LAYER]},
    "format_as_text": {"format": "1", "width": 64, "layers": [LAYER]},
    "more_keys": {"format": 1, "width": 64, "layers": [LAYER], "code": "import os"},
    "four_tokens": {"format": 1, "width": 64, "layers": [LAYER[:4]]},
    "six_tokens": {"format": 1, "width": 64, "layers": [[*LAYER, 0]]},
    "negative": {"format": 1, "width": 64, "layers": [[-1, 2, 4, 0, 0]]},
    "input_too_large": {"format": 1, "width": 64, "layers": [[5, 2, 4, 0, 0]]},
    "operation_too_large": {"format": 1, "width": 64, "layers": [[2, 2, 6, 0, 0]]},
    "aggregation_too_large": {"format": 1, "width": 64, "layers": [[2, 2, 4, 0, 6]]},
    "fraction": {"format": 1, "width": 64, "layers": [[2, 2, 4, 0.5, 0]]},
    "true_for_one": {"format": 1, "width": 64, "layers": [[True, 2, 4, 0, 0]]},
    "text_for_token": {"format": 1, "width": 64, "layers": [["2", 2, 4, 0, 0]]},
    "width_zero": {"format": 1, "width": 0, "layers": [LAYER]},
    "width_huge": {"format": 1, "width": 10**9, "layers": [LAYER]},
    "many_layers": {"format": 1, "width": 64, "layers": [LAYER] * 2000},
    "deep": b"[" * 60_000,
    "large": b" " * 70_000 + b"{}",
    "twice": b'{"format": 1, "format": 1, "width": 64, "layers": [[2, 2, 4, 0, 0]]}',
    "nan": b'{"format": 1, "width": NaN, "layers": [[2, 2, 4, 0, 0]]}',
}


@pytest.mark.parametrize("name", GENOTYPES)
def test_genotypes(refused: Refused, tmp_path: Path, name: str) -> None:
    content = GENOTYPES[name]
    (tmp_path / "c.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    assert "c.json" in refused(vseg_nas.train.main, "cell=c.json")


def a_network(path: Path, classes: tuple[str, ...] = CLASSES, **changes: object) -> None:
    """A network with random weights and, in its specification, some things changed."""
    spec = video_spec(classes=classes)
    save_network(path, spec)
    if changes:
        plain = spec.to_dict() | changes
        write_safetensors(load_file(path), {"spec": json.dumps(plain)}, path)


def pickled(path: Path, content: object) -> None:
    torch.save(content, path)


class Opens:
    """Would run something if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("canary", "w")


def without_a_tensor(path: Path) -> None:
    a_network(path)
    state = load_file(path)
    state.pop(next(name for name in state if name.endswith(".weight")))
    write_safetensors(state, {"spec": json.dumps(video_spec(classes=CLASSES).to_dict())}, path)


def cut(path: Path, share: float) -> None:
    a_network(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


CHECKPOINTS: dict[str, Callable[[Path], object]] = {
    "empty.safetensors": lambda path: path.write_bytes(b""),
    "text.safetensors": lambda path: path.write_text("weights"),
    "zeros.safetensors": lambda path: path.write_bytes(bytes(4096)),
    "huge_header.safetensors": lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"),
    "cut_in_header.safetensors": lambda path: cut(path, 0.001),
    "cut_in_data.safetensors": lambda path: cut(path, 0.5),
    "pickle.safetensors": lambda path: pickled(path, {"state_dict": {}}),
    "static.safetensors": lambda path: StaticSegmenter(CLASSES).save(path),
    "no_spec.safetensors": lambda path: write_safetensors({"a": torch.zeros(1)}, {}, path),
    "missing_tensor.safetensors": without_a_tensor,
    "other_classes.safetensors": lambda path: a_network(path, ("a", "b")),
    "other_format.safetensors": lambda path: a_network(path, format="vseg_nas.video/9"),
    "odd_past.safetensors": lambda path: a_network(path, past="future"),
    "odd_std.safetensors": lambda path: a_network(path, std=[0.0, 1.0, 1.0]),
    "odd_mean.safetensors": lambda path: a_network(path, mean=[0.5, 0.5, 0.5]),
    "odd_seed.safetensors": lambda path: a_network(path, seed="0"),
    "odd_name.safetensors": lambda path: a_network(path, name="a\nb"),
    "odd_genotype.safetensors": lambda path: a_network(path, genotype={"format": 1, "width": 64, "layers": [[9] * 5]}),
    "other_genotype.safetensors": lambda path: a_network(path, genotype=HAND_WRITTEN["gated_warp"].to_dict()),
    "more_keys.safetensors": lambda path: a_network(path, _target_="os.system"),
    "empty.ckpt": lambda path: path.write_bytes(b""),
    "text.ckpt": lambda path: path.write_text("weights"),
    "plain.ckpt": lambda path: pickled(path, [1, 2, 3]),
    "no_spec.ckpt": lambda path: pickled(path, {"state_dict": {}, "hyper_parameters": {}}),
    "code.ckpt": lambda path: path.write_bytes(pickle.dumps(Opens())),
    "code_inside.ckpt": lambda path: pickled(path, {"state_dict": Opens()}),
    "folder.safetensors": lambda path: path.mkdir(),
    "foreign.safetensors": lambda path: save_file({"a": torch.zeros(1)}, path),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(refused: Refused, tmp_path: Path, name: str) -> None:
    CHECKPOINTS[name](tmp_path / name)
    if name.endswith(".ckpt"):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        (tmp_path / f"{name}.sha256").write_text(digest)
    assert name in refused(vseg_nas.evaluate.main, *TINY_EVALUATION, f"checkpoint={name}", "name=e")
    assert not (tmp_path / "canary").exists()


def make_a_folder(path: Path) -> None:
    """Of a file."""
    path.unlink()
    path.mkdir()


FRAME, MASK = "train/0001TP_000060.png", "trainannot/0001TP_000060.png"


def image(path: str, mode: str, size: tuple[int, int], value: int = 0) -> Callable[[Path], object]:
    return lambda root: Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(root / path)


LISTS: dict[str, tuple[Callable[[Path], object], str]] = {  # damage, and what `pretrain` has to name
    "no list": (lambda root: (root / "train.txt").unlink(), "train.txt"),
    "empty list": (lambda root: (root / "train.txt").write_text(""), "train.txt"),
    "list of blanks": (lambda root: (root / "train.txt").write_text(" \n\n"), "train.txt"),
    "no text": (lambda root: (root / "train.txt").write_bytes(b"\xff\xfe\xfa"), "train.txt"),
    "unknown names": (lambda root: (root / "train.txt").write_text("frame.png\n"), "frame.png"),
    "path out of the folder": (lambda root: (root / "train.txt").write_text("../../a_1.png\n"), "../../a_1.png"),
    "a name twice": (lambda root: (root / "train.txt").write_text("0001TP_000030.png\n" * 2), "0001TP_000030"),
    "pairs that differ": (
        lambda root: (root / "train.txt").write_text("/a/train/0001TP_000030.png /a/trainannot/0001TP_000060.png"),
        "train.txt",
    ),
    "list is a folder": (lambda root: make_a_folder(root / "val.txt"), "val.txt"),
    "no frame": (lambda root: (root / FRAME).unlink(), FRAME),
    "no mask": (lambda root: (root / MASK).unlink(), MASK),
    "no val frame": (lambda root: (root / "val/0016E5_000030.png").unlink(), "val/0016E5_000030"),
    "no folder of masks": (lambda root: (root / "valannot").rename(root / "v"), "valannot"),
    "no folder of frames": (lambda root: (root / "train").rename(root / "t"), "train/"),
    "first frame no image": (lambda root: (root / "train/0001TP_000030.png").write_bytes(b"x"), "0001TP_000030"),
}


@pytest.mark.parametrize("damage", LISTS)
def test_data_sets(refused: Refused, tmp_path: Path, damage: str) -> None:
    write_camvid(tmp_path / "d")
    break_it, named = LISTS[damage]
    break_it(tmp_path / "d")
    command = ["dataset=camvid", "dataset.root=d", "static.encoder_weights=null", "gpu=cpu"]
    assert named in refused(vseg_nas.pretrain.main, *command)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {  # damage, and the file that `check` has to name
    "frame is text": (lambda root: (root / FRAME).write_text("x"), FRAME),
    "frame is empty": (lambda root: (root / FRAME).write_bytes(b""), FRAME),
    "frame is cut": (lambda root: (root / FRAME).write_bytes((root / FRAME).read_bytes()[:60]), FRAME),
    "frame is smaller": (image(FRAME, "RGB", (32, 48)), FRAME),
    "frame is on its side": (image(FRAME, "RGB", (48, 64)), FRAME),
    "frame is grey": (image(FRAME, "L", (64, 48)), FRAME),
    "frame has alpha": (image(FRAME, "RGBA", (64, 48)), FRAME),
    "mask is text": (lambda root: (root / MASK).write_text("x"), MASK),
    "mask is cut": (lambda root: (root / MASK).write_bytes((root / MASK).read_bytes()[:60]), MASK),
    "mask is smaller": (image(MASK, "L", (32, 48)), MASK),
    "mask is coloured": (image(MASK, "RGB", (64, 48)), MASK),
    "mask has 16 bits": (image(MASK, "I;16", (64, 48)), MASK),
    "mask has one bit": (image(MASK, "1", (64, 48)), MASK),
    "label 12": (image(MASK, "L", (64, 48), 12), MASK),
    "label 254": (image(MASK, "L", (64, 48), 254), MASK),
    "frame is a folder": (lambda root: make_a_folder(root / FRAME), FRAME),
}


@pytest.mark.parametrize("damage", FILES)
def test_files_of_a_data_set(in_process: InProcess, tmp_path: Path, damage: str) -> None:
    write_camvid(tmp_path / "d")
    break_it, named = FILES[damage]
    break_it(tmp_path / "d")
    status, out, err = in_process(vseg_nas.check.main, "dataset=camvid", "dataset.root=d", "name=a")
    assert status == 2
    assert err == "error: d: found 1 of 18 files that cannot be used\n"
    assert f"d/{named}: " in out


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A search that was stored before it had a trial."""
    folder = tmp_path / "r"
    StaticSegmenter(CLASSES).save(tmp_path / "static.safetensors")
    record(folder, "search", "static.weights=static.safetensors", "logger=none", "name=r")
    TrialStore(folder / STORE).close()
    return folder


def overwrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def of_version_99(folder: Path) -> None:
    import sqlite3

    with sqlite3.connect(folder / STORE) as connection:
        connection.execute("UPDATE meta SET schema_version = 99")


def another_database(folder: Path) -> None:
    import sqlite3

    (folder / STORE).unlink()
    with sqlite3.connect(folder / STORE) as connection:
        connection.execute("CREATE TABLE recipes (cake TEXT)")


RESUMES: dict[str, tuple[Callable[[Path], object], list[str], str]] = {  # damage, more overrides, what is named
    "no run": (lambda folder: folder.rename(folder.with_name("gone")), [], "resume"),
    "no overrides": (lambda folder: (folder / "overrides.json").unlink(), [], "overrides.json"),
    "no configuration": (lambda folder: (folder / "config.yaml").unlink(), [], "config.yaml"),
    "overrides are no list": (overwrite("overrides.json", b"{}"), [], "overrides.json"),
    "overrides are no JSON": (overwrite("overrides.json", b"["), [], "overrides.json"),
    "configuration is no YAML": (overwrite("config.yaml", b"a: [b"), [], "config.yaml"),
    "configuration is empty": (overwrite("config.yaml", b""), [], "config.yaml"),
    "configuration is no text": (overwrite("config.yaml", b"\xff\xfe\xfa"), [], "config.yaml"),
    "another seed": (lambda folder: None, ["seed=9"], "seed was 0, is 9"),
    "another space": (lambda folder: None, ["space.layers=5"], "space.layers"),
    "another strategy": (lambda folder: None, ["strategy=random"], "strategy"),
    "store is text": (overwrite(STORE, b"no database at all" * 40), [], STORE),
    "store is of another version": (of_version_99, [], "schema version 99"),
    "store is another database": (another_database, [], STORE),
    "another static network": (overwrite("static.sha256", b"0" * 64), [], "static.safetensors"),
}


@pytest.mark.parametrize("damage", RESUMES)
def test_resumes(refused: Refused, run_dir: Path, damage: str) -> None:
    break_it, more, named = RESUMES[damage]
    break_it(run_dir)
    seal(run_dir)
    assert named in refused(vseg_nas.search.main, "resume=r", "gpu=cpu", *more)


def test_there_are_enough_of_them(figure: Figure) -> None:
    kinds = [len(CONFIG), len(LISTS) + len(FILES), len(CHECKPOINTS), len(GENOTYPES), len(RESUMES)]
    assert all(found >= wanted for found, wanted in zip(kinds, (40, 30, 20, 20, 10), strict=True))
    assert sum(kinds) >= 120
    figure(
        "G7",
        f"{sum(kinds)} malformed inputs: "
        + ", ".join(map(str, kinds))
        + " (configuration, data, checkpoints, genotypes, resumes)",
    )


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Tiny networks are faster on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
