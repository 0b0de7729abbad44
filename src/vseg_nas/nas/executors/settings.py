"""Settings of the executors. Nothing here loads torch or Ray."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from vseg_nas.nas.executors.ray_head import check_address
from vseg_nas.settings import LATER, Positive, PositiveNumber, Settings, Text


class SerialSettings(Settings):
    """Candidates run in the process of the search."""

    name: Literal["serial"] = "serial"


class IsolatedSettings(Settings):
    """Candidates run in child processes, so one that crashes or hangs is a failed trial.

    Attributes:
        limit_s: The time in seconds that a candidate may take; None means any.
        memory_gib: The limit of each child's memory in GiB; None means none.
        workers: The number of candidates that run at a time.
    """

    name: Literal["isolated"] = "isolated"
    limit_s: PositiveNumber | None = None
    memory_gib: PositiveNumber | None = None
    workers: Annotated[Positive, LATER] = 1


def _check_address(address: str | None) -> str | None:
    check_address(address)
    return address


class RaySettings(Settings):
    """Candidates run side by side, on all devices of a machine or of a Ray cluster.

    Attributes:
        mode: Whether whole batches of candidates are asked for and told, or each one as soon as there is room.
        address: Host and port of the head of a running cluster, or ``auto``; None starts Ray on this machine.
        workers: The number of candidates that run at a time; None means as many as the devices hold.
        gpus_per_candidate: The share of a CUDA device that a candidate takes.
        cpus_per_candidate: The number of cores that a candidate takes.
        limit_s: The time in seconds that a candidate may take; None means any.
    """

    name: Literal["ray"] = "ray"
    mode: Literal["batch", "async"]
    address: Annotated[Text | None, AfterValidator(_check_address), LATER] = None
    workers: Annotated[Positive | None, LATER] = None
    gpus_per_candidate: Annotated[float, Field(gt=0, le=1), LATER] = 1.0
    cpus_per_candidate: Annotated[PositiveNumber, LATER] = 1.0
    limit_s: Annotated[PositiveNumber | None, LATER] = None


ExecutorSettings = Annotated[SerialSettings | IsolatedSettings | RaySettings, Field(discriminator="name")]
