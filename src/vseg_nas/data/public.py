"""The names that `vseg_nas.data` offers; importing them loads torch."""

from vseg_nas.data.camvid import CamVid
from vseg_nas.data.cityscapes import CityScapes
from vseg_nas.data.clip import Clip, ClipBatch, ClipSource, RawClip, collate
from vseg_nas.data.splits import LeakReport, MetaSplit, leak_report, meta_split, without_shared_frames
from vseg_nas.data.synthetic import SyntheticStreet
from vseg_nas.data.transforms import ClipTransform, normalise, padded, resized, training
from vseg_nas.data.wrappers import InMemory
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
    "without_shared_frames",
]
