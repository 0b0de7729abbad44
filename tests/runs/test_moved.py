"""Data, weights and runs that lie elsewhere now: content decides whether a run goes on, not the spelling of a path."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import vseg_nas.assembly.static_pretraining
import vseg_nas.data.manifest
from tests.data.conftest import save_frame, save_mask
from tests.fixtures import InProcess
from vseg_nas.assembly.data_sources import store_or_compare_data_digests
from vseg_nas.assembly.static_pretraining import Pretraining
from vseg_nas.assembly.static_weights import ensure_static
from vseg_nas.cli.command import command
from vseg_nas.cli.typed_config import stored_config
from vseg_nas.data import CamVid
from vseg_nas.data.manifest import KnownDigests
from vseg_nas.data.settings import CamVidSettings
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.runs.digests import DATA_DIGESTS_FILE, STATIC_DIGEST_FILE, sha256_of, store_or_compare_digests
from vseg_nas.schema import SearchConfig
from vseg_nas.training.device import Device
from vseg_nas.training.fitting import EpochReport

Move = Callable[[Path], Path]
FRAMES = ("0001TP_000030", "0001TP_000060", "0001TP_000090")


def make_data(root: Path) -> Path:
    for seed, name in enumerate(FRAMES):
        save_frame(root / "train" / f"{name}.png", seed)
        save_mask(root / "trainannot" / f"{name}.png", range(12))
    (root / "train.txt").write_text("".join(f"{name}.png\n" for name in FRAMES))
    return root


def copied(root: Path) -> Path:
    """As ``cp -r`` does: with new modification times."""
    return shutil.copytree(root, root.with_name("a copy (1)"), copy_function=shutil.copyfile)


def linked(root: Path) -> Path:
    link = root.with_name("link")
    link.symlink_to(root)
    return link


def touched(root: Path) -> Path:
    for path in root.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    return root


MOVES: dict[str, Move] = {
    "moved": lambda root: root.rename(root.with_name("été")),
    "copied": copied,
    "a link": linked,
    "relative": lambda root: Path(os.path.relpath(root)),
    "through another folder": lambda root: root / ".." / root.name,
    "touched": touched,
}


@pytest.mark.parametrize("move", MOVES)
def test_data_elsewhere_is_the_same_data(tmp_path: Path, move: str) -> None:
    source = CamVid(make_data(tmp_path / "data"), "train", 2)
    before = source.fingerprint()
    store_or_compare_data_digests(tmp_path, [source])
    source = CamVid(MOVES[move](tmp_path / "data"), "train", 2)
    assert source.fingerprint() == before  # the name of its feature cache
    store_or_compare_data_digests(tmp_path, [source])


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a frame": (lambda root: save_frame(root / "train" / f"{FRAMES[1]}.png", 9), "train/0001TP_000060.png changed"),
    "a mask": (
        lambda root: save_mask(root / "trainannot" / f"{FRAMES[0]}.png", [3]),
        "trainannot/0001TP_000030.png ch",
    ),
    "fewer": (
        lambda root: (root / "train.txt").write_text(f"{FRAMES[0]}.png\n{FRAMES[1]}.png\n"),
        "train/0001TP_000090.png is missing, trainannot/0001TP_000090.png is missing;",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_data_in_the_same_place_is_refused(tmp_path: Path, change: str) -> None:
    root = make_data(tmp_path / "data")
    before = CamVid(root, "train", 2).fingerprint()
    store_or_compare_data_digests(tmp_path, [CamVid(root, "train", 2)])
    kept = (tmp_path / DATA_DIGESTS_FILE).read_bytes()
    alter, named = CHANGES[change]
    alter(root)
    source = CamVid(root, "train", 2)
    assert source.fingerprint() != before
    with pytest.raises(DataError, match=f"^dataset.root: not what {tmp_path} began with: {named}"):
        store_or_compare_data_digests(tmp_path, [source])
    assert (tmp_path / DATA_DIGESTS_FILE).read_bytes() == kept


def test_files_are_read_again_only_when_they_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = sorted((make_data(tmp_path / "data") / "train").iterdir())
    read: list[str] = []

    def reading(path: Path) -> str:
        read.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(vseg_nas.data.manifest, "sha256_of", reading)
    store = tmp_path / "cache/digests.json"
    expected = [sha256_of(path) for path in files]
    assert KnownDigests(store).of(files) == expected
    assert KnownDigests(store).of(files[1:]) == expected[1:]
    assert read == [path.name for path in files]
    save_frame(files[2], 9)
    assert KnownDigests(store).of(files) == [*expected[:2], sha256_of(files[2])]
    assert read[3:] == [files[2].name]
    for damage in ("", "[]", "{", '{"a": [1]}', '{"a": 1}'):
        store.write_text(damage)
        assert KnownDigests(store).of(files[:1]) == expected[:1]
    with pytest.raises(DataError, match="gone"):
        KnownDigests(store).of([tmp_path / "gone"])


def test_a_note_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text(f"{'0' * 64}  a\n")
    (tmp_path / DATA_DIGESTS_FILE).symlink_to(tmp_path / "victim")
    with pytest.raises(DataError, match=r"data\.sha256: cannot be read \(found a symbolic link"):
        store_or_compare_digests(tmp_path / DATA_DIGESTS_FILE, {"a": "0" * 64}, "dataset.root")


def test_networks_of_an_evaluation_are_told_apart_by_content_and_order(tmp_path: Path) -> None:
    note = tmp_path / "checkpoint.sha256"
    store_or_compare_digests(note, {"network 1": "a", "network 2": "b"}, "checkpoint")
    store_or_compare_digests(note, {"network 1": "a", "network 2": "b"}, "checkpoint")
    with pytest.raises(DataError, match=r"^checkpoint: not what .* began with: network 1 changed, network 2 changed;"):
        store_or_compare_digests(note, {"network 1": "b", "network 2": "a"}, "checkpoint")
    with pytest.raises(DataError, match="network 3 is new;"):
        store_or_compare_digests(note, {"network 1": "a", "network 2": "b", "network 3": "c"}, "checkpoint")


@pytest.fixture
def started(in_process: InProcess, tmp_path: Path) -> Callable[..., tuple[int, str, SearchConfig | None]]:
    """A search that does nothing but to say what it was given."""
    seen: list[SearchConfig] = []
    main = command("search", SearchConfig)(lambda config, run_dir: seen.append(config))

    def call(*overrides: str) -> tuple[int, str, SearchConfig | None]:
        seen.clear()
        status, _, err = in_process(main, *overrides)
        return status, err, seen[0] if seen else None

    return call


Started = Callable[..., tuple[int, str, SearchConfig | None]]


def test_a_search_goes_on_with_its_data_and_weights_under_other_names(started: Started, tmp_path: Path) -> None:
    given = ["dataset=camvid", "dataset.root=data", "static.weights=w", "static.encoder_weights=e.pth"]
    assert started(*given, "name=a")[0] == 0
    run = "runs/search/camvid/a"
    moved = [f"dataset.root={tmp_path}/data/", "static.weights=./w", "static.encoder_weights=../e.pth"]
    status, err, config = started(f"resume={run}/", *moved)
    assert (status, err) == (0, "")
    assert config is not None
    assert isinstance(config.dataset, CamVidSettings)
    assert (config.dataset.root, config.static.weights) == (f"{tmp_path}/data/", "./w")
    status, err, _ = started(f"resume={run}", "dataset.length=2")
    assert (status, "dataset.length was 3, is 2" in err) == (2, True)
    status, err, _ = started(f"resume={run}/config.yaml")
    assert status == 2
    assert f"did you mean {run}?" in err


def test_a_run_that_moved_looks_for_its_network_and_caches_where_it_lies(started: Started, tmp_path: Path) -> None:
    assert started("name=a", "seed=3")[0] == 0
    (tmp_path / "elsewhere é").mkdir()
    (tmp_path / "runs").rename(tmp_path / "elsewhere é/all")
    status, err, config = started("resume=elsewhere é/all/search/synthetic/a")
    assert (status, err) == (0, "")
    assert config is not None
    assert config.runs_dir == str(tmp_path / "elsewhere é/all")
    assert config.static.weights == f"{config.runs_dir}/pretrain/synthetic/arch2/static.safetensors"
    assert config.seed == 3
    assert stored_config(Path("elsewhere é/all/search/synthetic/a"), SearchConfig, "search").static == config.static
    given = started("resume=elsewhere é/all/search/synthetic/a", "runs_dir=mine")[2]
    assert given is not None
    assert given.runs_dir == "mine"
    shutil.copytree(tmp_path / "elsewhere é/all/search/synthetic/a", tmp_path / "alone")
    alone = started("resume=alone")[2]
    assert alone is not None
    assert alone.runs_dir == "runs"  # as it was recorded: it lies in no folder of runs


def test_a_run_that_began_with_a_network_does_not_train_another(started: Started, tmp_path: Path) -> None:
    config = started("name=a")[2]
    assert config is not None
    (tmp_path / STATIC_DIGEST_FILE).write_text("0" * 64)
    there = sorted(tmp_path.rglob("*"))
    with pytest.raises(
        DataError, match=r"^static.weights: found no runs/pretrain.*static.weights=FILE, or runs_dir=DIR"
    ):
        ensure_static(config, Device(), tmp_path, Console())
    assert sorted(tmp_path.rglob("*")) == there


def test_the_network_of_synthetic_clips_is_known_by_the_content_of_its_encoder(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untrained(Pretraining):
        def run(self, report: EpochReport) -> SegmentationScores:
            made.append(self.encoder_weights)
            self.weights.write_bytes(b"trained")
            return SegmentationScores(miou=0.5, fwiou=0.5, macc=0.5, score=0.5, iou_per_class=(0.5,))

    made: list[str | None] = []
    monkeypatch.setattr(vseg_nas.assembly.static_pretraining, "Pretraining", Untrained)
    for name, content in {"a.pth": "a", "copy of a.pth": "a", "b.pth": "b"}.items():
        (tmp_path / name).write_text(content)
    for name in ("a.pth", "copy of a.pth"):
        config = started(f"name=from {name}", f"static.encoder_weights={name}")[2]
        assert config is not None
        ensure_static(config, Device(), tmp_path, Console())
    for name in ("b.pth", "null", "imagenet"):
        config = started(f"name=from {name}", f"static.encoder_weights={name}")[2]
        assert config is not None
        with pytest.raises(ConfigError, match=r"belongs to other clips or another pre-training \(made_from.json\)"):
            ensure_static(config, Device(), tmp_path, Console())
    assert made == ["a.pth"]
