"""Prediction by torch, on any device."""

import torch

from vseg_nas.models.inference import optimized
from vseg_nas.models.segmenter_file import SegmenterSpec
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.pictures import Image, Size
from vseg_nas.video.predictor import Floats, Predictor, after_fork, likeliest

after_fork(lambda: torch.set_num_threads(1))


class TorchPredictor(Predictor):
    """A `Predictor` that computes with torch.

    Args:
        segmenter: The network; its `optimized` form is used.
        spec: The classes and the normalisation of the network.
        device: The device to compute on.
        size: Height and width in pixels to which frames are resized; None keeps the size of the source.
    """

    def __init__(self, segmenter: VideoSegmenter, spec: SegmenterSpec, device: torch.device, size: Size | None) -> None:
        super().__init__(spec.classes, spec.palette, spec.mean, spec.std, size)
        self.segmenter = optimized(segmenter.to(device))
        self.device = device

    def predict(self, frame: Floats, key: bool, size: Size) -> Image:
        """Predicts the labels of a prepared frame, see `Predictor`."""
        with self.exclusive:
            self.check_size(size, key or self.segmenter.next_is_key)
            self.segmenter.advance(torch.from_numpy(frame[0]).to(self.device), key)
            if self.device.type == "cpu":
                return likeliest(self.segmenter.logits.contiguous().numpy(), (frame.shape[-2], frame.shape[-1]), size)
            labels: Image = self.segmenter.labels(size).to(torch.uint8).cpu().numpy()
            return labels

    def confidence(self) -> float:
        """Returns the confidence of the last frame, see `Predictor`."""
        with self.exclusive:
            return float(self.segmenter.logits.softmax(0).amax(0).mean())

    def reset(self) -> None:
        """Forgets the video, see `Predictor`."""
        with self.exclusive:
            self.segmenter.reset()
