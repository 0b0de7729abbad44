"""What the settings of devices mean on this machine: found out once, and then handed on as one object."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import torch

from vseg_nas.errors import ConfigError
from vseg_nas.training.collectives import options_of
from vseg_nas.training.ranks import SINGLE_PROCESS, Rank
from vseg_nas.training.settings import CachePrecision, DeviceSettings, Precision


def require_cuda(key: str, instead: str) -> None:
    """Checks that there is a CUDA device.

    Args:
        key: The configuration key or argument that asks for one.
        instead: The setting that works without CUDA; the error message recommends it.

    Raises:
        ConfigError: There is no CUDA device.
    """
    if not torch.cuda.is_available():
        raise ConfigError(f"{key}: found no CUDA device, expected one; use {instead}")


@dataclass(frozen=True)
class Device:
    """Where and how precisely a command computes; picklable, so that its other processes can do the same.

    Attributes:
        kind: The kind of device.
        precision: The precision of training, in Lightning's words.
        cache_precision: The precision of cached features.
        threads: The number of torch's threads; None leaves torch's choice.
        loader_workers: The number of processes, for each device, that read and augment frames.
        devices: The number of devices; None means all CUDA devices of the machine.
    """

    kind: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "32-true"
    cache_precision: CachePrecision = "fp32"
    threads: int | None = None
    loader_workers: int = 0
    devices: int | None = 1

    @property
    def tensors(self) -> torch.device:
        """The device of tensors."""
        return torch.device(self.kind)

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.kind == "cuda"

    def start(self, world_size: int = 1) -> Self:
        """Prepares a process: looks for the device and sets the number of torch's threads.

        Args:
            world_size: The number of processes that train together and share the cores.

        Raises:
            ConfigError: There is no CUDA device although one was asked for.
        """
        if self.is_cuda:
            require_cuda("gpu.accelerator", "gpu=cpu or gpu=auto")
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        elif world_size > 1:
            torch.set_num_threads(max(1, torch.get_num_threads() // world_size))
        return self

    def trainer_options(self, rank: Rank = SINGLE_PROCESS) -> dict[str, Any]:
        """Returns the arguments of every Trainer.

        Args:
            rank: Which of the processes that train together this one is.
        """
        devices = {"devices": 1} if rank.world_size == 1 else options_of(rank)
        return {"accelerator": self.kind, "precision": self.precision, **devices}

    def count(self) -> int:
        """Returns the number of devices.

        Raises:
            ConfigError: There are fewer devices than were asked for.
        """
        there = torch.cuda.device_count() if self.is_cuda else None
        count = there if self.devices is None else self.devices
        if count is None:
            raise ConfigError("gpu.devices: found null (all CUDA devices) on the CPU, expected a number; use gpu=cpu")
        if there is not None and count > there:
            raise ConfigError(
                f"gpu.devices: found {count}, expected at most {there}, as many as CUDA devices are there"
            )
        return count

    def count_ranks(self, batch_size: int, key: str) -> int:
        """Returns the number of processes that train together, one for each device.

        Args:
            batch_size: The number of clips in a batch, on all devices together.
            key: The key of the batch size.

        Raises:
            ConfigError: There are fewer devices, or they cannot share a batch evenly.
        """
        count = self.count()
        if batch_size % count:
            raise ConfigError(
                f"{key}: found {batch_size}, expected a multiple of {count}, the devices that share a batch"
            )
        return count


def open_device(settings: DeviceSettings) -> Device:
    """Returns the device that the settings mean, with this process prepared for it.

    CUDA is taken if it is asked for, or if it is there and the choice is ``auto``.

    Raises:
        ConfigError: There is no CUDA device although one was asked for.
    """
    automatic = settings.accelerator == "auto" and torch.cuda.is_available()
    return Device(
        kind="cuda" if automatic or settings.accelerator == "cuda" else "cpu",
        precision=settings.precision,
        cache_precision=settings.cache_precision,
        threads=settings.threads,
        loader_workers=settings.workers,
        devices=settings.devices,
    ).start()
