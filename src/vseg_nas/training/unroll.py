"""The damage that some clips of a training batch start from, so that a cell learns to recover from a bad past.

A cell that is trained on pairs only ever sees the static network's output as its past, and drifts when it reads its
own. Clips of several frames mend most of that. Damage covers what the clips do not show: a cut, a frame that was
dropped, an object that jumped.

Legend: N clips, T' frames after the key frame, C channels, h, w size of a plane.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vseg_nas.models.propagation import FrameState
from vseg_nas.space.vocabulary import DEC_STRIDE, INPUT_STRIDES, INPUTS

_FARTHEST = 4  # values of dec, 32 pixels: what moves farther between frames at video rate is a cut


@dataclass(frozen=True)
class Damage:
    """What is wrong with the past that each clip starts from; a clip has one kind of damage at most.

    Attributes:
        empty: (N,) the clips whose past is zero, as after a cut.
        stale: (N,) the clips whose first later frame is dropped, so that their past is one frame older.
        shift: (N, 2) by how many values of dec the past is displaced, down and across; 0 for the other clips.
    """

    empty: NDArray[np.bool_]
    stale: NDArray[np.bool_]
    shift: NDArray[np.int64]

    @classmethod
    def draw(cls, clips: int, share: float, rng: np.random.Generator) -> Self:
        """Draws damage for a share of ``clips`` = N, each kind with the same probability."""
        damaged = rng.random(clips) < share
        kind = rng.integers(3, size=clips)
        shift = rng.integers(-_FARTHEST, _FARTHEST + 1, size=(clips, 2))
        shift[~(damaged & (kind == 2))] = 0
        return cls(damaged & (kind == 0), damaged & (kind == 1), shift)

    def state(self, key: FrameState) -> FrameState:
        """Returns the state of the key frames, damaged where the next frame reads it."""
        return key._replace(
            layer4=self.past(key.layer4, INPUT_STRIDES[INPUTS.index("prev_layer4")]),
            dec=self.past(key.dec, DEC_STRIDE),
            layer2=None if key.layer2 is None else self.past(key.layer2, DEC_STRIDE),
        )

    def past(self, plane: Tensor, stride: int) -> Tensor:
        """Returns a plane (N, C, h, w) of the key frames, damaged.

        Args:
            plane: The plane.
            stride: Its stride in pixels of the frame.
        """
        steps = np.rint(self.shift * DEC_STRIDE / stride).astype(int)
        clips = [
            torch.zeros_like(one) if empty else one.roll((int(down), int(across)), (-2, -1))
            for one, empty, (down, across) in zip(plane, self.empty, steps, strict=True)
        ]
        return torch.stack(clips).contiguous(memory_format=torch.channels_last)

    def later(self, frames: Tensor) -> Tensor:
        """Returns planes (N, T', ...) of the later frames in the order in which the clips show them.

        Clips that drop their first later frame show the last one twice, so that all clips have one length.
        """
        last = frames.shape[1] - 1
        order = torch.arange(last + 1) + torch.from_numpy(self.stale).long()[:, None]
        order = order.clamp(max=last).to(frames.device)
        return frames[torch.arange(len(frames), device=frames.device)[:, None], order]
