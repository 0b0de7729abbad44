"""Descriptions of the machine that a measurement ran on; torch is imported only when it is needed."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def describe(device: torch.device) -> str:
    """Returns a description such as ``cpu: AMD EPYC, 2 threads; torch 2.15.0``."""
    import torch

    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}; torch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"cpu: {cpu_name()}, {threads} thread{'s' * (threads > 1)}; torch {torch.__version__}"


def bytes_in_words(count: int) -> str:
    """Returns a size such as ``1.5 GiB`` or ``12 bytes``, in the largest unit of which it has at least one."""
    units = ("KiB", "MiB", "GiB", "TiB")
    power = min(max(count.bit_length() - 1, 0) // 10, len(units))
    return f"{count} bytes" if power == 0 else f"{count / 2 ** (10 * power):,.1f} {units[power - 1]}"


def cpu_name() -> str:
    """Returns the name of the processor as the operating system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
