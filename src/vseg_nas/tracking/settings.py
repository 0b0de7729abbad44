"""Settings of the logging to Weights & Biases. Nothing here loads wandb."""

from typing import Literal

from vseg_nas.settings import Settings, Text


class LoggerSettings(Settings):
    """The settings by which a run is logged.

    Attributes:
        name: ``auto`` is online if an API key is found and offline if not; ``none`` logs nothing.
        project: The project on W&B.
        group: The group of the run on W&B; None leaves the choice to the command.
    """

    name: Literal["auto", "online", "offline", "none"]
    project: Text
    group: Text | None
