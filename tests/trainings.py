"""Settings of short trainings."""

from typing import Any

from vseg_nas.data.settings import TransformSettings
from vseg_nas.training.settings import StaticTraining, VideoTraining

TRANSFORM = TransformSettings(scale=(1.0, 1.0), crop=(32, 48), flip=True, jitter=0.0)


def static_training(**changes: Any) -> StaticTraining:
    settings: dict[str, Any] = {
        "epochs": 1, "batch_size": 2, "encoder_weights": None, "encoder_lr": 0.02, "decoder_lr": 0.05, "momentum": 0.9,
        "weight_decay": 1e-5, "power": 0.9, "auxiliary_weight": 0.3, "gradient_clip": 1.0, "average_decay": None,
        "val_every": 1, "transform": TRANSFORM,
    }  # fmt: skip
    return StaticTraining(**settings | changes)


def video_training(**changes: Any) -> VideoTraining:
    settings: dict[str, Any] = {
        "epochs": 1, "batch_size": 2, "cell_lr": 4e-3, "static_lr": 5e-4, "momentum": 0.9, "weight_decay": 1e-5,
        "power": 0.0, "static_weight": 1.0, "gradient_clip": 3.0, "val_every": 1, "transform": TRANSFORM,
    }  # fmt: skip
    return VideoTraining(**settings | changes)
