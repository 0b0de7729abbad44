"""Measures the peak memory of labelling a video, weights included.

On CUDA, torch's allocator counts. On the CPU it does not, and the size of the process includes torch itself and memory
that was freed but not returned, so there the bytes of tensors are counted.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

from vseg_nas.models.video_segmenter import VideoSegmenter

_MIB = 2**20
_ROUNDS = 2  # the second key frame needs memory beside the state that the frame before has left


def peak_memory(segmenter: VideoSegmenter, frames: Tensor) -> float:
    """Returns the peak memory of `VideoSegmenter.step` in MiB, with weights, state and frames.

    On CUDA it is what torch has allocated, including everything else on the device. On the CPU it is the greatest
    number of bytes of tensors that exist at one time; buffers inside kernels and OpenCV do not count.

    Args:
        segmenter: The network, in evaluation mode, on the device of ``frames``.
        frames: (2, 3, H, W) a key frame and the frame after it, normalised.
    """
    if frames.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(frames.device)
        _label(segmenter, frames)
        return torch.cuda.max_memory_allocated(frames.device) / _MIB
    memory = TensorMemory((*segmenter.parameters(), *segmenter.buffers()))
    with memory:
        _label(segmenter, frames)
    return memory.peak / _MIB


def _label(segmenter: VideoSegmenter, frames: Tensor) -> None:
    for _ in range(_ROUNDS):
        for index, frame in enumerate(frames):
            segmenter.step(frame, key=index == 0)
    segmenter.reset()


class TensorMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Measures, within its block, the peak of the bytes of all living tensors; views of one storage count once.

    Args:
        tensors: Tensors that existed before and count as well.

    Attributes:
        peak: The peak in bytes.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._living: WeakValueDictionary[int, UntypedStorage] = WeakValueDictionary()
        self.peak = 0
        self._count(tensors)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs one operator and counts the tensors that it returns."""
        out = func(*args, **(kwargs or {}))
        self._count(out if isinstance(out, tuple | list) else (out,))
        return out

    def _count(self, values: Iterable[object]) -> None:
        for value in values:
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                self._living[id(storage)] = storage  # torch keeps this object as long as the memory
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self._living.values()))
