"""Checks that frames of a size fit into memory, before minutes of work end in a failed allocation.

Legend: H, W pixels.
"""

from pathlib import Path

import psutil

from vseg_nas.errors import ConfigError
from vseg_nas.machine import bytes_in_words

BYTES_PER_PIXEL = 120
"""The least memory that any form of a network takes for a pixel: MobileNet-v2's first planes of 96 channels."""

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_frame_memory(key: str, size: tuple[int, int], frames: int = 1, cuda: bool = False) -> None:
    """Refuses frames that no device of this machine can take, whatever the network.

    Args:
        key: The key that says how large the frames are.
        size: Height and width of a frame in pixels.
        frames: The number of frames that are computed side by side.
        cuda: Whether they are computed on a GPU.

    Raises:
        ConfigError: Less memory is free than they take at least.
    """
    needed, there = BYTES_PER_PIXEL * size[0] * size[1] * frames, _free(cuda)
    if needed > there:
        what = (
            f"frames of {size[0]} x {size[1]}" if frames == 1 else f"{frames} frames of {size[0]} x {size[1]} at once"
        )
        raise ConfigError(
            f"{key}: found {what}, which take {bytes_in_words(needed)} of memory or more, expected at most the "
            f"{bytes_in_words(there)} that {'the GPU' if cuda else 'this machine'} has free"
        )


def _free(cuda: bool) -> int:
    """Returns the number of free bytes."""
    if cuda:
        import torch

        return int(torch.cuda.mem_get_info()[0])
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    try:
        return min(free, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no control group, or one without a limit
        return free
