"""The video network: a static network for key frames, a propagation for all others, and the only state over time.

Legend: B clips, T frames, H, W pixels, K classes.
"""

from typing import Self

import torch
from torch import Tensor, nn

from vseg_nas.models.layers import label_map
from vseg_nas.models.propagation import FrameState
from vseg_nas.models.static import StaticSegmenter


class VideoSegmenter(nn.Module):
    """Labels video frame by frame: the static network on key frames, a propagation on those between (section 3.1).

    Training calls it on whole clips; everything else calls `step`, which keeps the state.

    Args:
        static: labels key frames, and its encoder serves the others.
        propagation: a `Propagation`, such as a cell.
        key_every: frames from one key frame to the next; None: the first frame after `reset` alone.

    Raises:
        ValueError: ``key_every`` is below 1.
    """

    def __init__(self, static: StaticSegmenter, propagation: nn.Module, key_every: int | None = None) -> None:
        super().__init__()
        if key_every is not None and key_every < 1:
            raise ValueError(f"key_every: found {key_every}, expected at least 1")
        self.static = static
        self.propagation = propagation
        self.key_every = key_every
        self._state: FrameState | None = None
        self._distance = 0

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.static.classes)

    def key(self, frame: Tensor) -> FrameState:
        """Labels frames (B, 3, H, W) by the static network alone."""
        output = self.static(frame)
        return FrameState(frame, output.encoder.layer4, output.dec, output.pred)

    def follow(self, state: FrameState, frame: Tensor) -> FrameState:
        """Labels frames (B, 3, H, W) from what the frames before them left."""
        following: FrameState = self.propagation(self.static, state, frame)
        return following

    def forward(self, clips: Tensor) -> list[FrameState]:
        """T states of clips (B, T, 3, H, W): a key frame, then T - 1 others."""
        first, *later = clips.unbind(1)
        states = [self.key(first)]
        for frame in later:
            states.append(self.follow(states[-1], frame))
        return states

    def reset(self) -> Self:
        """Forgets the video: the next frame is a key frame."""
        self._state = None
        return self

    @property
    def distance(self) -> int:
        """Frames between the last frame and its key frame; 0 if it was one."""
        return self._distance

    @property
    def next_is_key(self) -> bool:
        """Whether the next frame is a key frame anyway."""
        return self._state is None or self._distance + 1 == self.key_every

    def step(self, frame: Tensor, key: bool = False, size: tuple[int, int] | None = None) -> Tensor:
        """Labels the next frame of a video.

        Args:
            frame: (3, H, W), ImageNet-normalised.
            key: make it a key frame, whatever ``key_every`` says.
            size: height and width of the labels; None: those of the frame.

        Returns:
            Class ids (height, width), int64.

        Raises:
            ValueError: the frame has another size than the one before; call `reset` between videos.
        """
        self.advance(frame, key)
        return self.labels(size or (frame.shape[-2], frame.shape[-1]))

    @torch.inference_mode()
    def advance(self, frame: Tensor, key: bool = False) -> None:
        """Takes the next frame of a video without labelling it; see `step`."""
        frame = frame[None]
        state, distance = self._state, self._distance + 1
        if state is None or key or self.next_is_key:
            state, distance = self.key(frame), 0
        elif state.frame.shape != frame.shape:
            found, expected = (tuple(f.shape[-2:]) for f in (frame, state.frame))
            raise ValueError(f"frame: found {found}, expected {expected} as before; call reset() between videos")
        else:
            state = self.follow(state, frame)
        self._state, self._distance = state, distance

    @property
    def logits(self) -> Tensor:
        """(K, h, w) of the last frame.

        Raises:
            ValueError: there was none since `reset`.
        """
        if self._state is None:
            raise ValueError("logits: found no frame, expected one since reset()")
        return self._state.pred[0]

    @torch.inference_mode()
    def labels(self, size: tuple[int, int]) -> Tensor:
        """Class ids (height, width) of the last frame.

        Raises:
            ValueError: there was none since `reset`.
        """
        if self._state is None:
            raise ValueError("labels: found no frame, expected one since reset()")
        frame = self._state.frame
        return label_map(self._state.pred, (frame.shape[-2], frame.shape[-1]), size)[0]
