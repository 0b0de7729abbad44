"""The W&B run of a command."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from vseg_nas.results.names import short_names
from vseg_nas.schema import EvaluateConfig, SearchConfig, TrainConfig
from vseg_nas.tracking.wandb_run import open_wandb


def open_run(config: SearchConfig | TrainConfig | EvaluateConfig, run_dir: Path, group: str | None = None) -> Any:
    """Opens a W&B run named after the run directory (and its sweep), with the configuration; see `open_wandb`.

    Args:
        config: of the command; its logger is not ``none``.
        run_dir: takes W&B's folder.
        group: where the configuration names none.
    """
    logger = config.logger
    return open_wandb(
        logger.name,  # type: ignore[arg-type]  # checked against the schema
        run_dir,
        logger.project,
        short_names([run_dir.resolve()])[0],
        asdict(config),
        logger.group or group,
    )
