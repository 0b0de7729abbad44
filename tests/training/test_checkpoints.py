"""Checkpoints: whole at every moment, refused when damaged, and the one before is there to go on from."""

import errno
import os
import random
import resource
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.fixtures import Figure
from tests.processes import in_fork
from vseg_nas.errors import DataError, RunError
from vseg_nas.runs.digests import checksum_path
from vseg_nas.runs.files import write_text
from vseg_nas.training.checkpoints import VerifiedCheckpointIO, newest_checkpoint, read_checkpoint


def content(epoch: int) -> dict[str, Any]:
    return {"state_dict": {"w": torch.full((1000,), float(epoch))}, "epoch": epoch, "loops": {}}


def save(path: Path, epoch: int) -> None:
    VerifiedCheckpointIO().save_checkpoint(content(epoch), path)


def epoch_of(path: Path) -> int:
    """Of the newest checkpoint, whose tensor must agree."""
    newest = newest_checkpoint(path)
    assert newest is not None
    loaded = VerifiedCheckpointIO().load_checkpoint(newest)
    epoch: int = loaded["epoch"]
    assert torch.equal(loaded["state_dict"]["w"], content(epoch)["state_dict"]["w"])
    return epoch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "last.ckpt"


def names(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()}


def test_the_two_newest_are_kept(path: Path) -> None:
    assert newest_checkpoint(path) is None
    for epoch in range(4):
        save(path, epoch)
    assert epoch_of(path) == 3
    assert read_checkpoint(path.with_name("last.previous.ckpt"))["epoch"] == 2
    assert names(path) == {"last.ckpt", "last.previous.ckpt", "last.ckpt.sha256"}


STEPS = ("replace", "fsync")


def die_at(step: int) -> None:
    """Makes this process vanish at one of the steps that reach the disk, counted from 0; twice as many moments."""
    count = 0
    for name in STEPS:
        real = getattr(os, name)

        def dying(*args: Any, real: Callable[..., Any] = real) -> None:
            nonlocal count
            if count == step:
                os._exit(9)
            real(*args)
            if count + 1 == step:
                os._exit(9)
            count += 2

        setattr(os, name, dying)


@pytest.mark.parametrize("stored", [0, 1, 3])
def test_whole_wherever_a_save_is_cut_short(path: Path, stored: int) -> None:
    for epoch in range(stored):
        save(path, epoch)
    outcomes, step = [], 0
    while True:

        def cut(step: int = step) -> None:
            die_at(step)
            save(path, stored)

        status = in_fork(cut)
        outcomes.append(None if newest_checkpoint(path) is None else epoch_of(path))
        if status == 0:
            break
        step += 1
        for file in path.parent.iterdir():
            file.unlink()
        for epoch in range(stored):
            save(path, epoch)
    old = stored - 1 if stored else None
    assert step >= 14  # renames of the note and the file, flushes of both and of the folder, each before and after
    assert set(outcomes) == {old, stored}
    assert outcomes == sorted(outcomes, key=lambda epoch: epoch == stored)  # once there it stays
    assert in_fork(lambda: save(path, stored + 1)) == 0
    assert epoch_of(path) == stored + 1
    assert not [name for name in names(path) if "partial" in name]


@pytest.mark.parametrize("kills", [25, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_any_moment(path: Path, kills: int, figure: Figure) -> None:
    """Also after a save that was cut short before, and whatever the last one left behind."""
    moments, last = random.Random(0), 0
    save(path, 0)
    for _ in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            started = time.monotonic()
            for epoch in range(last + 1, last + 1000):
                save(path, epoch)
                if epoch == last + 1:
                    os.write(writing, struct.pack("d", time.monotonic() - started))
            os._exit(1)
        first = moments.random() < 0.2  # of a fifth the first save may be cut; the others have ended one
        pace = struct.unpack("d", os.read(reading, 8))[0] if not first else 0.02
        time.sleep(moments.uniform(0, 5) * pace)
        os.close(reading)
        os.close(writing)
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert epoch_of(path) >= last
        last = epoch_of(path)
        assert len(names(path)) <= 5
    assert last > 0
    figure("G3", f"{kills} SIGKILLs while checkpoints are written: one that verifies is always there")


def damage(path: Path, kind: str, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    place = rng.randrange(len(data))
    if kind == "flip":
        data[place] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[place:]
    elif kind == "zeros":
        data[place : place + 64] = bytes(64)
        data[place] = (path.read_bytes()[place] + 1) % 256
    elif kind == "append":
        data += b"\0"
    else:
        data = bytearray()
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["flip", "truncate", "zeros", "append", "empty"])
def test_a_damaged_one_is_set_aside_and_the_one_before_used(
    path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(kind)
    for _ in range(20):
        save(path, 1)
        save(path, 2)
        damage(path, kind, rng)
        damaged = path.read_bytes()
        assert epoch_of(path) == 1
        lines = capsys.readouterr().err.splitlines()
        assert lines == [f"warning: {path}: damaged, now last.ckpt.corrupt; resuming from last.previous.ckpt"]
        assert path.with_name("last.ckpt.corrupt").read_bytes() == damaged
        assert epoch_of(path) == 1  # as often as one asks, without another line
        assert capsys.readouterr().err == ""
        save(path, 3)
        assert epoch_of(path) == 3
        assert read_checkpoint(path.with_name("last.previous.ckpt"))["epoch"] == 1


def test_none_is_used_where_all_are_damaged(path: Path) -> None:
    save(path, 1)
    save(path, 2)
    before = path.read_bytes()
    for file in (path, path.with_name("last.previous.ckpt")):
        damage(file, "flip", random.Random(1))
    newest = checksum_path(path).read_text()[:12]
    expected = rf"^{path}: damaged \(SHA-256 found \w+, expected {newest}\), .* remove last\.\*"
    for _ in range(2):  # never from the beginning, however often one tries
        with pytest.raises(DataError, match=expected):
            newest_checkpoint(path)
    path.write_bytes(before)
    assert epoch_of(path) == 2


def test_without_its_note_nothing_is_used(path: Path) -> None:
    save(path, 1)
    note = checksum_path(path)
    text = note.read_text()
    note.unlink()
    with pytest.raises(DataError, match=rf"^{note}: not found, expected the SHA-256 of last.ckpt"):
        newest_checkpoint(path)
    for wrong in ("", "abc\n", text.upper(), text + "\n"):
        note.write_text(wrong)
        with pytest.raises(DataError, match=rf"^{note}: damaged, expected SHA-256 digests"):
            newest_checkpoint(path)
    note.write_bytes(b"\xff" * 65)
    with pytest.raises(DataError, match=rf"^{note}: cannot be read"):
        newest_checkpoint(path)
    note.write_text(f"{text.strip()}  last.ckpt\n")  # as sha256sum prints it
    assert epoch_of(path) == 1


def test_a_lost_file_is_no_new_beginning(path: Path) -> None:
    save(path, 1)
    path.unlink()
    with pytest.raises(DataError, match=rf"^{path}: not found, expected as last.ckpt.sha256 names one"):
        newest_checkpoint(path)
    save(path, 2)
    save(path, 3)
    path.unlink()
    assert epoch_of(path) == 2


class FullDisk:
    """Refuses one of the steps that reach the disk, counted from 0."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
        self.count = 0
        self.refused = refused
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "write_bytes")):
            monkeypatch.setattr(owner, name, self.refusing(getattr(owner, name)))

    def refusing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            self.count += 1
            if self.count > self.refused:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args)

        return step


@pytest.mark.parametrize("refused", range(10))
def test_a_full_disk_is_one_line_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, refused: int) -> None:
    save(path, 1)
    save(path, 2)
    with monkeypatch.context() as patch:
        disk = FullDisk(patch, refused)
        with pytest.raises(RunError, match=r"^\S+: cannot be written \(No space left on device\)$"):
            save(path, 3)
        assert disk.count == refused + 1
    assert not [name for name in names(path) if "partial" in name]
    assert epoch_of(path) == (2 if refused < 9 else 3)
    save(path, 4)
    assert epoch_of(path) == 4


def test_a_file_that_outgrows_the_disk(path: Path) -> None:
    """The kernel's own refusal, after a part was written."""
    save(path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = content(2) | {"state_dict": {"w": torch.zeros(100_000)}}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(RunError, match=rf"^{path}: cannot be written \(File too large\)"):
            VerifiedCheckpointIO().save_checkpoint(big, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert epoch_of(path) == 1
    assert names(path) == {"last.ckpt", "last.ckpt.sha256"}


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match=r"run/last.ckpt: cannot be written \("):
        save(tmp_path / "run" / "last.ckpt", 1)
    with pytest.raises(RunError, match=r"run/note: cannot be written \("):
        write_text(tmp_path / "run" / "note", "text")
    assert (tmp_path / "run").read_text() == "a file"


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.canary,)


def test_nothing_in_a_checkpoint_is_executed(path: Path, tmp_path: Path) -> None:
    """A digest says that a file is as it was written, not who wrote it."""
    VerifiedCheckpointIO().save_checkpoint(content(1) | {"more": Hostile(tmp_path / "canary")}, path)
    newest = newest_checkpoint(path)
    assert newest == path
    with pytest.raises(DataError, match=rf"^{path}: refused"):
        VerifiedCheckpointIO().load_checkpoint(newest)
    assert not (tmp_path / "canary").exists()
    VerifiedCheckpointIO().save_checkpoint({"state_dict": {}}, path)
    with pytest.raises(DataError, match=rf"^{path}: expected a Lightning checkpoint"):
        VerifiedCheckpointIO().load_checkpoint(path)
