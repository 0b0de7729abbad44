"""The video network: a static network for key frames, a propagation for all others, and the state between frames.

No other module has a state over time.

Legend: B clips, T frames, H, W pixels, h, w at 1/8, K classes.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from vseg_nas.models.layers import label_map
from vseg_nas.models.propagation import CellPropagation, FrameState
from vseg_nas.models.static import StaticSegmenter


class VideoSegmenter(nn.Module):
    """Predicts video frame by frame: key frames by the static network, all others by a propagation (section 3.1).

    Training calls it on whole clips. Everything else calls `step`, which keeps the state from frame to frame.

    Args:
        static: The static network, which predicts key frames and whose encoder serves the others.
        propagation: A `Propagation`, such as a cell.
        key_every: The number of frames from one key frame to the next; None makes only the first frame after `reset` a
            key frame.

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
        """The number of classes, K."""
        return len(self.static.classes)

    def key(self, frame: Tensor) -> FrameState:
        """Predicts frames (B, 3, H, W) as key frames, by the static network alone."""
        output = self.static(frame)
        if isinstance(self.propagation, CellPropagation):
            return self.propagation.key_state(frame, output)
        return FrameState(frame, output.encoder.layer4, output.dec, output.pred)

    def follow(self, state: FrameState, frame: Tensor) -> FrameState:
        """Predicts frames (B, 3, H, W) by the propagation, from the state of the previous frames."""
        following: FrameState = self.propagation(self.static, state, frame)
        return following

    def forward(
        self,
        clips: Tensor,
        gradient_frames: int | None = None,
        change_past: Callable[[FrameState], FrameState] | None = None,
    ) -> list[FrameState]:
        """Predicts whole clips, whose first frame is the key frame.

        Args:
            clips: (B, T, 3, H, W) frames.
            gradient_frames: The number of frames that a gradient flows through, see `Unroll`; None means all of them.
            change_past: Changes the state that the frame after the key frame reads.

        Returns:
            The T states; the first is that of the key frame as it is.
        """
        key_frame, *later = clips.unbind(1)
        states = [self.key(key_frame)]
        past = states[0] if change_past is None else change_past(states[0])
        for t, frame in enumerate(later):
            if gradient_frames and t and t % gradient_frames == 0:
                past = FrameState._make(None if plane is None else plane.detach() for plane in past)
            past = self.follow(past, frame)
            states.append(past)
        return states

    def reset(self) -> Self:
        """Forgets the video, so that the next frame is a key frame."""
        self._state = None
        return self

    @property
    def distance(self) -> int:
        """The number of frames from the last key frame to the last frame; 0 if that was a key frame."""
        return self._distance

    @property
    def next_is_key(self) -> bool:
        """Whether the next frame will be a key frame even if `step` is not told to make it one."""
        return self._state is None or self._distance + 1 == self.key_every

    def step(self, frame: Tensor, key: bool = False, size: tuple[int, int] | None = None) -> Tensor:
        """Predicts the next frame of a video.

        Args:
            frame: (3, H, W) frame, normalised with ImageNet's statistics.
            key: Whether to make it a key frame, whatever ``key_every`` is.
            size: Height and width of the labels; None means those of the frame.

        Returns:
            (height, width) class ids, int64.

        Raises:
            ValueError: The frame has another size than the previous one; `reset` has to be called between videos.
        """
        self.advance(frame, key)
        return self.labels(size or (frame.shape[-2], frame.shape[-1]))

    @torch.inference_mode()
    def advance(self, frame: Tensor, key: bool = False) -> None:
        """Takes the next frame of a video and updates the state, without computing labels; see `step`."""
        frame = frame[None]
        state, distance = self._state, self._distance + 1
        if state is None or key or self.next_is_key:
            state, distance = self.key(frame), 0
        elif state.frame.shape != frame.shape:  # a key frame may have any size, since it reads no state
            found, expected = (tuple(f.shape[-2:]) for f in (frame, state.frame))
            raise ValueError(f"frame: found {found}, expected {expected} as before; call reset() between videos")
        else:
            state = self.follow(state, frame)
        self._state, self._distance = state, distance

    @property
    def logits(self) -> Tensor:
        """The logits (K, h, w) of the last frame.

        Raises:
            ValueError: There was no frame since `reset`.
        """
        if self._state is None:
            raise ValueError("logits: found no frame, expected one since reset()")
        return self._state.pred[0]

    @torch.inference_mode()
    def labels(self, size: tuple[int, int]) -> Tensor:
        """Returns the class ids (height, width) of the last frame.

        Raises:
            ValueError: There was no frame since `reset`.
        """
        if self._state is None:
            raise ValueError("labels: found no frame, expected one since reset()")
        frame = self._state.frame
        return label_map(self._state.pred, (frame.shape[-2], frame.shape[-1]), size)[0]
