"""The parts of a prediction: source, predictor and policy of key frames. Imports torch only where it computes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vseg_nas.assembly.required_files import require_checkpoint
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


class LoadedPredictor(NamedTuple):
    """The network that labels frames.

    Attributes:
        predictor: The network with its state.
        name: The name of the network.
        device: A description of the device and the runtime.
        cuda: Whether the network is on a GPU.
    """

    predictor: Predictor
    name: str
    device: str
    cuda: bool


def check_source(source: str) -> None:
    """Checks that the frames are there, without reading any.

    Raises:
        DataError: There is no such file, it is no regular one, or there is no image in the folder.
    """
    if _is_pictures(source):
        frame_files(source)
    elif not is_camera(source) and not is_address(source):
        check_video_file(source)


def open_source(source: str, rate: float) -> FrameSource:
    """Opens a video, an address, a camera, or image files.

    Args:
        source: The path, address, pattern, or number of a camera.
        rate: The number of image files a second, which they do not say themselves.

    Raises:
        DataError: There is nothing to read in it.
        ExtraError: Reading video is not installed.
    """
    if _is_pictures(source):
        return FrameFolder(source, rate)
    from vseg_nas.video.stream import VideoStream

    return VideoStream(source)


def _is_pictures(source: str) -> bool:
    if os.path.exists(source):
        return os.path.isdir(source) or is_image(source)
    return is_pattern(source) and not is_address(source)


def build_keys(settings: KeySettings) -> KeyPolicy:
    """Returns the policy that decides which frames are key frames."""
    if isinstance(settings, AdaptiveSettings):
        return Adaptive(cut=settings.cut, drop=settings.drop, every=settings.every)
    return EveryK(settings.every)


def check_checkpoint(given: str | None, runtime: str) -> None:
    """Checks that the network is there.

    Args:
        given: The file or folder; None means the bundled checkpoint.
        runtime: ``torch`` or ``onnx``.

    Raises:
        DataError: There is no such file or folder.
    """
    if runtime == "onnx":
        if given is None or not Path(given).is_dir():
            found = "none" if given is None else f"no folder {given}"
            raise DataError(f"checkpoint: found {found}, expected the folder that `export format=onnx` wrote")
    else:
        require_checkpoint(bundled_checkpoint() if given is None else given)


def open_predictor(config: PredictConfig) -> LoadedPredictor:
    """Reads the network onto its device.

    Raises:
        ConfigError: The device is not there.
        DataError: The checkpoint cannot be used.
        ExtraError: The runtime is not installed.
    """
    if config.runtime == "onnx":
        from vseg_nas.machine import cpu_name
        from vseg_nas.video.onnx_predictor import OnnxPredictor

        folder, gpu = Path(str(config.checkpoint)), config.gpu
        graphs = OnnxPredictor(folder, config.size, gpu.accelerator, gpu.threads)
        return LoadedPredictor(graphs, graphs.name, f"{graphs.runtime}; {cpu_name()}", False)
    from vseg_nas.machine import describe
    from vseg_nas.models.segmenter_file import load_for_inference
    from vseg_nas.training.device import open_device
    from vseg_nas.video.torch_predictor import TorchPredictor

    device = open_device(config.gpu)
    segmenter, spec = load_for_inference(config.checkpoint)
    predictor = TorchPredictor(segmenter, spec, device.tensors, config.size or spec.size)
    return LoadedPredictor(predictor, spec.group, describe(device.tensors), device.is_cuda)
