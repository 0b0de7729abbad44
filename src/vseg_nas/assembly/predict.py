"""The parts of a prediction: source, network, key frames. Imports torch only where it computes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vseg_nas.checking import require_checkpoint
from vseg_nas.errors import DataError
from vseg_nas.models.bundled import bundled_checkpoint
from vseg_nas.schema import PredictConfig
from vseg_nas.video.frame_folder import FrameFolder, frame_files, is_image, is_pattern
from vseg_nas.video.key_frames import Adaptive, EveryK, KeyPolicy
from vseg_nas.video.settings import AdaptiveSettings, KeySettings
from vseg_nas.video.source_kinds import check_video_file, is_address, is_camera

if TYPE_CHECKING:
    from vseg_nas.video.frames import FrameSource
    from vseg_nas.video.predictor import Predictor


class Network(NamedTuple):
    """What labels, in objects and in words."""

    predictor: Predictor
    name: str
    device: str
    cuda: bool


def check_source(source: str) -> None:
    """Looks whether the frames are there, without reading any.

    Raises:
        DataError: there is no such file, it is no regular one, or there is no image in the folder.
    """
    if _is_pictures(source):
        frame_files(source)
    elif not is_camera(source) and not is_address(source):
        check_video_file(source)


def open_source(config: PredictConfig) -> FrameSource:
    """Opens a video, an address, a camera, or image files.

    Raises:
        DataError: there is nothing to read in it.
        ExtraError: reading video is not installed.
    """
    if _is_pictures(config.source):
        return FrameFolder(config.source, config.rate)
    from vseg_nas.video.stream import VideoStream

    return VideoStream(config.source)


def _is_pictures(source: str) -> bool:
    if os.path.exists(source):
        return os.path.isdir(source) or is_image(source)
    return is_pattern(source) and not is_address(source)


def build_keys(settings: KeySettings) -> KeyPolicy:
    """Returns the policy that decides which frames are key frames."""
    if isinstance(settings, AdaptiveSettings):
        return Adaptive(cut=settings.cut, drop=settings.drop, every=settings.every)
    return EveryK(settings.every)


def check_checkpoint(config: PredictConfig) -> None:
    """Looks whether the network is there.

    Raises:
        DataError: there is no such file or folder.
    """
    given = config.checkpoint
    if config.runtime == "onnx":
        if given is None or not Path(given).is_dir():
            found = "none" if given is None else f"no folder {given}"
            raise DataError(f"checkpoint: found {found}, expected the folder that `export format=onnx` wrote")
    else:
        require_checkpoint(bundled_checkpoint() if given is None else given)


def build_network(config: PredictConfig) -> Network:
    """The network, on its device.

    Raises:
        ConfigError: the device is not there.
        DataError: the checkpoint cannot be used.
        ExtraError: the runtime is not installed.
    """
    if config.runtime == "onnx":
        from vseg_nas.machine import cpu_name
        from vseg_nas.video.onnx_predictor import OnnxPredictor

        folder, gpu = Path(str(config.checkpoint)), config.gpu
        graphs = OnnxPredictor(folder, config.size, gpu.accelerator, gpu.threads)
        return Network(graphs, graphs.name, f"{graphs.runtime}; {cpu_name()}", False)
    from vseg_nas.machine import describe
    from vseg_nas.models.segmenter_file import load_for_inference
    from vseg_nas.training.device import open_device
    from vseg_nas.video.torch_predictor import TorchPredictor

    device = open_device(config.gpu)
    segmenter, spec = load_for_inference(config.checkpoint)
    predictor = TorchPredictor(segmenter, spec, device.tensors, config.size or spec.size)
    return Network(predictor, spec.group, describe(device.tensors), device.is_cuda)
