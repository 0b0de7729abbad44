"""What a measurement ran on, in words."""

import platform
from pathlib import Path

import torch


def describe(device: torch.device) -> str:
    """Such as ``cpu: AMD EPYC, 2 threads; torch 2.15.0``."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}; torch {torch.__version__}"
    threads = torch.get_num_threads()
    return f"cpu: {_cpu_name()}, {threads} thread{'s' * (threads > 1)}; torch {torch.__version__}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
