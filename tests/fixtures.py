"""Types of the fixtures that several packages use: those of conftest.py and of written_runs.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vseg_nas.nas.trial import Trial

if TYPE_CHECKING:
    from vseg_nas.data.feature_cache import StaticFeatures

Json = dict[str, Any]
Figure = Callable[[str, str], None]
Tally = Callable[[str, str, str], None]
InProcess = Callable[..., tuple[int, str, str]]
MakeFeatures = Callable[..., "StaticFeatures"]
MakeTrials = Callable[[int], list[Trial]]
WriteRun = Callable[[str, str, Json], Path]


class WriteSearch(Protocol):
    """Writes the run directory of a search."""

    def __call__(self, name: str, trials: Sequence[Trial], strategy: str = "ppo", seed: int = 0) -> Path: ...
