"""What tests of several packages share; torch is imported only where a fixture is used."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

import vseg_nas  # noqa: F401 (settles how OpenMP waits, before a test imports torch)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fixtures import Figure, InProcess, MakeFeatures, Tally

pytest_plugins = ["tests.written_runs"]
# nohup, or a shell that starts the suite in the background, would leave these ignored in every process that tests start
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _quick_composition() -> Iterator[None]:
    """Hydra reads each file of conf/ once."""
    from tests.composition import keep_in_memory

    with pytest.MonkeyPatch.context() as patch:
        keep_in_memory(patch.setattr)
        yield


@pytest.fixture
def shallow_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is done with a network, whatever network it is."""
    from tests.builders import make_shallow

    make_shallow(monkeypatch.setattr)


@pytest.fixture
def after_hydra() -> Iterator[None]:
    """Undoes what a command leaves behind in this process: Hydra's state, and a log file in the folder of its run."""
    import logging

    from hydra.core.global_hydra import GlobalHydra

    root = logging.getLogger()
    before = list(root.handlers)
    yield
    GlobalHydra.instance().clear()
    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)
        handler.close()


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], after_hydra: None
) -> InProcess:
    """Runs a command in this process, in `tmp_path`: ``in_process(main, *arguments)`` gives status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def call(main: Callable[[], None], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["vseg-nas", *arguments])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Notes what a reliability test has shown, for the table at the end: ``figure("G1", "200 kills")``."""

    def note(goal: str, shown: str) -> None:
        record_property(f"figure {goal}", shown)

    return note


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """Counts this test in a row of that table that many share: ``tally("G18", "generated cases", "refused")``."""

    def note(goal: str, what: str, outcome: str) -> None:
        record_property(f"tally {goal} {what}", outcome)

    return note


def tallied(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, str, float, str]]:
    """Rows that many tests share: how many of them there were, and what came of them."""
    counts: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, outcome in report.user_properties:
            if name.startswith("tally "):
                counts.setdefault(name, Counter())[outcome] += 1
                seconds[name] += report.duration
    for name, found in counts.items():
        _, goal, what = name.split(" ", 2)
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(found.items()))
        yield goal, "passed", seconds[name], f"{found.total()} {what}: {outcomes}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first, so that at the end no process of pytest waits for another one's."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table of the reliability figures of this session."""
    rows = [
        (name.removeprefix("figure "), outcome, report.duration, shown)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        for name, shown in report.user_properties
        if name.startswith("figure ")
    ]
    rows += tallied(terminalreporter)
    if rows:
        terminalreporter.section("reliability figures")
        for goal, outcome, seconds, shown in sorted(rows, key=lambda row: int(row[0].split()[0][1:])):
            terminalreporter.write_line(f"{goal:8} {outcome} {seconds:7.0f} s  {shown}")


@pytest.fixture(scope="session")
def make_features() -> MakeFeatures:
    """Features of the static network, drawn at random: ``make_features(clips, frames, classes, size, seed)``."""
    import torch

    from vseg_nas.data.feature_cache import StaticFeatures

    def make(
        clips: int = 4, frames: int = 3, classes: int = 4, size: tuple[int, int] = (48, 64), seed: int = 0
    ) -> StaticFeatures:
        generator = torch.Generator().manual_seed(seed)
        planes = {stride: tuple(-(-side // stride) for side in size) for stride in (8, 16, 32)}

        def draw(channels: int, stride: int, *frames: int) -> torch.Tensor:
            return torch.randn(clips, *frames, channels, *planes[stride], generator=generator)

        masks = torch.randint(classes, (clips, frames - 1, *size), generator=generator, dtype=torch.uint8)
        masks[torch.rand(masks.shape, generator=generator) < 0.1] = 255
        return StaticFeatures(
            key_layer4=draw(320, 32),
            key_dec=draw(64, 8),
            layer2=draw(32, 8, frames - 1),
            layer3=draw(96, 16, frames - 1),
            layer4=draw(320, 32, frames - 1),
            masks=masks,
            frame_size=torch.tensor([size] * clips),
            key_layer2=draw(32, 8),
        )

    return make
