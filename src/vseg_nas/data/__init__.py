"""Clips of video with masks: data sets, transforms and splits.

`ClipDataModule` lives in `vseg_nas.data.datamodule`: Lightning is slow to import and not needed for the rest.
"""

from vseg_nas.data.camvid import CamVid
from vseg_nas.data.cityscapes import CityScapes
from vseg_nas.data.clip import Clip, ClipBatch, ClipSource, RawClip, collate
from vseg_nas.data.memory import InMemory
from vseg_nas.data.splits import LeakReport, MetaSplit, leak_report, meta_split
from vseg_nas.data.synthetic import SyntheticStreet
from vseg_nas.data.transforms import ClipTransform, normalise, padded, resized, training
from vseg_nas.labels import IGNORE

__all__ = [
    "IGNORE",
    "CamVid",
    "CityScapes",
    "Clip",
    "ClipBatch",
    "ClipSource",
    "ClipTransform",
    "InMemory",
    "LeakReport",
    "MetaSplit",
    "RawClip",
    "SyntheticStreet",
    "collate",
    "leak_report",
    "meta_split",
    "normalise",
    "padded",
    "resized",
    "training",
]
