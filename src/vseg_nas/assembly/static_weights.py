"""The static network that other commands build on: its check, and its making for synthetic clips.

Torch is loaded only to make one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.assembly.required_files import require_dataset_root
from vseg_nas.cli.printed import python_command, shared_overrides
from vseg_nas.console.lines import print_line
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.models.settings import StaticSettings
from vseg_nas.runs.digests import STATIC_DIGEST_FILE, sha256_of
from vseg_nas.runs.files import read_if_there, write_text
from vseg_nas.schema import NetworkConfig

if TYPE_CHECKING:
    from rich.console import Console

    from vseg_nas.training.device import Device

_MADE_FROM = "the settings that the static network was made with"
_MOST_NOTE_BYTES = 2**16
_MOST_WEIGHT_BYTES = 2**34  # ours have 12 MB


def require_static(config: NetworkConfig) -> None:
    """Checks that real data have a folder and a static network; synthetic clips get a network on the way.

    Raises:
        DataError: One of them is missing, and the message says how to make it; or something else lies there.
    """
    weights = Path(config.static.weights)
    if os.path.lexists(weights) and not weights.is_file():
        raise DataError(f"static.weights: found {weights}, which is no file, expected a static network")
    if weights.is_file() and (size := weights.stat().st_size) > _MOST_WEIGHT_BYTES:
        raise DataError(f"static.weights: found {weights} of {size} bytes, expected at most {_MOST_WEIGHT_BYTES}")
    if config.dataset.name == "synthetic":
        return
    require_dataset_root(config.dataset)
    if not weights.is_file():
        make = f"{python_command()} -m vseg_nas.pretrain {shared_overrides()}"
        raise DataError(f"static.weights: found no {weights}, expected the static network; make it with: {make}")


def ensure_static(config: NetworkConfig, device: Device, run_dir: Path, console: Console) -> None:
    """Pre-trains the static network of synthetic clips where there is none yet: one for all runs, seed 0.

    Raises:
        ConfigError: There is one, but of other clips or another training.
        DataError: There is none, and the run began with one.
    """
    from vseg_nas.console.progress import FitView
    from vseg_nas.runs.lock import RunLock

    if config.dataset.name != "synthetic":
        return
    weights = Path(config.static.weights)
    # A network that is trained again is not that of the scores in this run, even from the same seed on another machine.
    if (run_dir / STATIC_DIGEST_FILE).is_file() and not weights.is_file():
        raise DataError(
            f"static.weights: found no {weights}, expected the static network that {run_dir} began with; "
            "say where it is now: static.weights=FILE, or runs_dir=DIR"
        )
    weights.parent.mkdir(parents=True, exist_ok=True)
    made_from = weights.with_name("made_from.json")
    made_of = {
        "dataset": config.dataset.model_dump(exclude={"length", "motion"}),  # how frames become clips does not matter
        "encoder_weights": encoder_content(config.static),
        "pretrain": config.phase.pretrain.model_dump(),
    }
    recipe = json.dumps(made_of, indent=1)
    # Several searches may begin at the same time: one of them trains the network, the others are refused meanwhile.
    with RunLock(weights.parent):
        if read_if_there(made_from, _MOST_NOTE_BYTES, _MADE_FROM) not in (None, recipe.encode()):
            raise ConfigError(
                f"static.weights: {weights.parent} belongs to other clips or another pre-training (made_from.json); "
                "choose another static.name"
            )
        if weights.is_file():
            return
        write_text(made_from, recipe)  # before the training, so that a resumed one is known to be of the same clips
        print_line(console, f"No static network yet: pre-training one into {weights.parent}")
        from vseg_nas.assembly.static_pretraining import Pretraining

        pretraining = Pretraining(
            config.dataset,
            config.runs_dir,
            config.phase.pretrain,
            config.static.encoder_weights,
            device,
            seed=0,
            weights=weights,
        )
        with FitView("pre-training", console) as view:
            scores = pretraining.run(view.on_epoch)
        print_line(console, f"static network: val mIoU {scores.miou:.4f}, score {scores.score:.4f}")


def encoder_content(static: StaticSettings) -> str:
    """Returns what the encoder begins with: the digest of the file of its weights if it is one, wherever that lies."""
    weights = str(static.encoder_weights)
    return sha256_of(Path(weights)) if Path(weights).is_file() else weights
