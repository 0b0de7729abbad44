"""Sees to it that a static network is there before anything is built on it; loads torch only to make one."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.checking import check_root
from vseg_nas.config import python_command, shared_overrides
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.files import write_text
from vseg_nas.schema import NetworkConfig, PretrainConfig

if TYPE_CHECKING:
    from rich.console import Console


def require_static(config: NetworkConfig) -> None:
    """Real data needs a folder and a static network that was trained before; synthetic clips get one on the way.

    Raises:
        DataError: one of them is missing; the message is the command that makes it. Or something else lies there.
    """
    weights = Path(config.static.weights)
    if os.path.lexists(weights) and not weights.is_file():
        raise DataError(f"static.weights: found {weights}, which is no file, expected a static network")
    if config.dataset.name == "synthetic":
        return
    check_root(config.dataset)
    if not weights.is_file():
        make = f"{python_command()} -m vseg_nas.pretrain {shared_overrides()}"
        raise DataError(f"static.weights: found no {weights}, expected the static network; make it with: {make}")


def ensure_static(config: PretrainConfig, console: Console) -> None:
    """Pre-trains the static network of synthetic clips where there is none yet: one for all runs, seed 0.

    Raises:
        ConfigError: there is one, but of other clips or another training.
    """
    from vseg_nas.nas.lock import RunLock
    from vseg_nas.reporting.progress import FitView

    if config.dataset.name != "synthetic":
        return
    weights = Path(config.static.weights)
    weights.parent.mkdir(parents=True, exist_ok=True)
    made_from = weights.with_name("made_from.json")
    recipe = json.dumps({"dataset": asdict(config.dataset), "pretrain": asdict(config.phase.pretrain)}, indent=1)
    with RunLock(weights.parent):
        if made_from.exists() and made_from.read_text() != recipe:
            raise ConfigError(
                f"static.weights: {weights.parent} belongs to other clips or another pre-training (made_from.json); "
                "choose another static.name"
            )
        if weights.is_file():
            return
        write_text(made_from, recipe)
        console.print(f"No static network yet: pre-training one into {weights.parent}", soft_wrap=True)
        from vseg_nas.assembly.static import run_pretraining

        with FitView("pre-training", console) as view:
            scores = run_pretraining(config, 0, weights, view.on_epoch)
        console.print(f"static network: val mIoU {scores.miou:.4f}, score {scores.score:.4f}")
