"""Labels frames by torch, on any device."""

import torch

from vseg_nas.models.inference import optimized
from vseg_nas.models.segmenter_file import SegmenterSpec
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.video.frames import Image
from vseg_nas.video.labeller import Floats, Labeller, Size, after_fork, likeliest

after_fork(lambda: torch.set_num_threads(1))


class TorchLabeller(Labeller):
    """A `Labeller` over `VideoSegmenter.advance`.

    Args:
        segmenter: its fast form is used.
        spec: of it.
        device: where to compute.
        size: h and w; None: those of the source.
    """

    def __init__(self, segmenter: VideoSegmenter, spec: SegmenterSpec, device: torch.device, size: Size | None) -> None:
        super().__init__(spec.classes, spec.palette, spec.mean, spec.std, size)
        self.segmenter = optimized(segmenter.to(device))
        self.device = device

    def label(self, frame: Floats, key: bool, size: Size) -> Image:
        """See `Labeller`; the frame goes to the device and the labels come back."""
        with self.turn:
            self.check_size(size, key or self.segmenter.next_is_key)
            self.segmenter.advance(torch.from_numpy(frame[0]).to(self.device), key)
            if self.device.type == "cpu":
                return likeliest(self.segmenter.logits.contiguous().numpy(), (frame.shape[-2], frame.shape[-1]), size)
            labels: Image = self.segmenter.labels(size).to(torch.uint8).cpu().numpy()
            return labels

    def confidence(self) -> float:
        """See `Labeller`."""
        with self.turn:
            return float(self.segmenter.logits.softmax(0).amax(0).mean())

    def reset(self) -> None:
        """See `Labeller`."""
        with self.turn:
            self.segmenter.reset()
