"""Files of a folder that anybody may have made: nothing outside it is written to, nothing waits."""

import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vseg_nas.errors import RunError
from vseg_nas.runs.digests import sha256_of
from vseg_nas.runs.files import partial_of, partials_of, read_regular, replacing, write_text
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.lock import RunLock

VICTIM = "what a user has written"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text(VICTIM)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Of a search, as it should be."""
    folder = tmp_path / "run"
    for name in ("lock", "log", "search.sqlite", "report/trials.csv", "wandb/offline-run-1/logs/debug.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, target in {"latest-run": "offline-run-1", "debug.log": "offline-run-1/logs/debug.log"}.items():
        (folder / "wandb" / name).symlink_to(target)
    return folder


def test_a_run_folder_may_be_reached_by_a_link_and_w_and_b_may_link_its_newest_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "short").symlink_to(run)
    service_log = run / "wandb/offline-run-1/logs/debug-core.log"
    service_log.symlink_to(tmp_path / "cache/core-debug.log")  # of its service, outside of the run
    check_folder(tmp_path / "short", to_write=True)
    check_folder(tmp_path / "none")


def by_a_link(path: Path, victim: Path) -> None:
    path.with_name("a").symlink_to(victim)
    path.symlink_to("a")


ODD: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda path, victim: path.symlink_to(victim),
    "a relative link": lambda path, victim: path.symlink_to(os.path.relpath(victim, path.parent)),
    "a link to nothing yet": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "a link to a folder": lambda path, victim: path.symlink_to(victim.parent),
    "a link to itself": lambda path, victim: path.symlink_to(path.name),
    "a link by a link": by_a_link,
    "a pipe": lambda path, victim: os.mkfifo(path),
    "a socket": lambda path, victim: socket.socket(socket.AF_UNIX).bind(os.path.relpath(path)),
}
PLACES = ("lock", "log", "search.sqlite", "search.sqlite-journal", "report", "wandb", "report/.trials.partial.csv",
          "wandb/debug-internal.log", "wandb/run-1/files/config.yaml", "wandb/logs/debug-core.log",
          "wandb/run-1/files/logs/debug-core.log", "report/logs/debug-core.log", "rows/a/b/c.json")  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_or_folder_is_refused(
    run: Path, victim: Path, kind: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    path = run / place
    if kind == "a link to itself" and "wandb/" in place:
        return  # that stays in the folder of W&B
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.rename(path.with_name("aside"))
    path.unlink(missing_ok=True)
    ODD[kind](path, victim)
    with pytest.raises(RunError, match=f"{run}/.*found (a symbolic link|no regular file), expected"):
        check_folder(run)
    assert victim.read_text() == VICTIM


@pytest.mark.parametrize("folder", ["wandb", ".wandb"])
def test_a_run_does_not_say_which_server_a_key_is_sent_to(run: Path, folder: str) -> None:
    (run / folder).mkdir(exist_ok=True)
    (run / folder / "settings").write_text("[default]\nbase_url = http://example.org\n")
    with pytest.raises(RunError, match="settings of W&B"):
        check_folder(run)


def test_a_second_name_matters_only_where_something_is_written(run: Path, victim: Path) -> None:
    (run / "log").unlink()
    os.link(victim, run / "log")
    check_folder(run)
    with pytest.raises(RunError, match="hard link"):
        check_folder(run, to_write=True)


def test_many_folders_inside_each_other(tmp_path: Path) -> None:
    (tmp_path / "/".join("x" * 60)).mkdir(parents=True)
    with pytest.raises(RunError, match="deep"):
        check_folder(tmp_path)


@pytest.mark.parametrize("kind", ODD)
def test_reading(tmp_path: Path, victim: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "f"
    ODD[kind](path, victim)
    with pytest.raises(OSError, match=r"found (a symbolic link|no regular file)"):
        read_regular(path, 100)
    assert read_regular(victim, 100) == VICTIM.encode()
    with pytest.raises(OSError, match="found more than 5 bytes"):
        read_regular(victim, 5)


def test_what_a_user_names_may_be_a_link_but_no_pipe(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "l").symlink_to(victim)
    os.mkfifo(tmp_path / "p")
    assert read_regular(tmp_path / "l", 100, follow=True) == VICTIM.encode()
    assert sha256_of(tmp_path / "l") == sha256_of(victim)
    with pytest.raises(OSError, match="no regular file"):
        sha256_of(tmp_path / "p")


@pytest.mark.parametrize("kind", [kind for kind in ODD if "folder" not in kind])
def test_a_lock_is_taken_of_nothing_else(
    tmp_path: Path, victim: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ODD[kind](tmp_path / "lock", victim)
    with pytest.raises(RunError, match="lock: cannot be created"), RunLock(tmp_path):
        pass
    assert victim.read_text() == VICTIM
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [VICTIM, "{}\n", "process 1 on here\nand more", "processes\nare many"])
def test_a_file_that_is_called_lock_is_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    with pytest.raises(RunError, match="lock: found something else"), RunLock(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == content


@pytest.mark.parametrize("content", ["", "process 1 on here\n", "process 12"])  # the last: the disk was full
def test_a_lock_of_a_process_that_has_ended_is_taken(tmp_path: Path, content: str) -> None:
    (tmp_path / "lock").write_text(content)
    with RunLock(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")


def test_names_of_parts_are_new_each_time_and_none_stays(tmp_path: Path, victim: Path) -> None:
    path = tmp_path / "trials.csv"
    (tmp_path / ".trials.partial.csv").symlink_to(victim)
    parts = [partial_of(path) for _ in range(20)]
    names = {part.name for part, _ in parts}
    assert len(names) == 20
    assert all(name.startswith(".trials.partial-") and name.endswith(".csv") for name in names)
    assert {left.name for left in partials_of(path)} == names
    write_text(path, "a")
    assert {left.name for left in partials_of(path)} == names  # somebody is still writing them
    for _, descriptor in parts:
        os.close(descriptor)
    write_text(path, "a")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".trials.partial.csv", "trials.csv", "victim"]
    assert path.read_text() == "a"
    assert victim.read_text() == VICTIM


def test_writers_of_one_file_do_not_take_each_others_parts_for_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "shared.json"
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: write_text(path, str(number) * 1000), range(150)))
    assert [entry.name for entry in tmp_path.iterdir()] == ["shared.json"]
    assert len(path.read_text()) in (1000, 2000, 3000)


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path, victim: Path) -> None:
    path = tmp_path / "config.yaml"
    path.symlink_to(victim)
    write_text(path, "a")
    assert not path.is_symlink()
    assert victim.read_text() == VICTIM


def test_a_left_part_that_is_a_link_is_removed_and_what_it_names_stays(tmp_path: Path, victim: Path) -> None:
    left = tmp_path / ".a.partial-0123456789abcdef.txt"
    left.symlink_to(victim)
    with replacing(tmp_path / "a.txt") as partial:
        assert partial != left
        partial.write_text("b")
    assert not left.is_symlink()
    assert victim.read_text() == VICTIM
