"""How much memory labelling a video takes at most.

CUDA's allocator keeps count. The CPU's does not, and the size of the process shows torch itself and what was freed but
not given back; there we count tensors. Either way weights are included.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

from vseg_nas.models.video import VideoSegmenter

_MIB = 2**20
_ROUNDS = 2  # a key frame on top of what the frame before it left


def peak_memory(segmenter: VideoSegmenter, frames: Tensor) -> float:
    """Peak memory of `VideoSegmenter.step` in MiB, with weights, state and frames.

    On CUDA what torch has allocated, everything else that is on the device included; on the CPU the bytes of all
    tensors that live at one time. What kernels and OpenCV take for themselves is not seen on the CPU.

    Args:
        segmenter: in evaluation mode, on the device of ``frames``.
        frames: (2, 3, H, W), a key frame and the one after it.
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
    """Within it, notes the peak of the bytes of living tensors; views of one storage count once.

    Args:
        tensors: that were there before and count too.

    Attributes:
        peak: in bytes.
    """

    def __init__(self, tensors: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._living: WeakValueDictionary[int, UntypedStorage] = WeakValueDictionary()
        self.peak = 0
        self._note(tensors)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs one operator and notes what it returns."""
        out = func(*args, **(kwargs or {}))
        self._note(out if isinstance(out, tuple | list) else (out,))
        return out

    def _note(self, values: Iterable[object]) -> None:
        for value in values:
            if isinstance(value, Tensor):
                storage = value.untyped_storage()
                self._living[id(storage)] = storage  # torch keeps this object for as long as the bytes
        self.peak = max(self.peak, sum(storage.nbytes() for storage in self._living.values()))
