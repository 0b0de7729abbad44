"""The W&B run of a command."""

from pathlib import Path
from typing import Any

from vseg_nas.results.names import short_names
from vseg_nas.schema import EvaluateConfig, SearchConfig, TrainConfig
from vseg_nas.tracking.wandb_run import open_wandb


def open_run(config: SearchConfig | TrainConfig | EvaluateConfig, run_dir: Path, group: str | None = None) -> Any:
    """Opens a W&B run named after the run directory (and its sweep), with the configuration; see `open_wandb`.

    Args:
        config: The configuration of the command, which asks for a logger.
        run_dir: The directory of the run, in which W&B makes its folder.
        group: The group on W&B where the configuration names none.
    """
    logger = config.logger
    assert logger.name != "none"
    return open_wandb(
        logger.name,
        run_dir,
        logger.project,
        short_names([run_dir.resolve()])[0],
        config.model_dump(mode="json"),
        logger.group or group,
    )
