"""The data of a search: static network, the split of the training clips in two, and their cached features."""

from pathlib import Path
from typing import NamedTuple

from torch import nn

from vseg_nas.assembly.data_sources import Sources, build_motion, build_sources, build_transform, check_batches
from vseg_nas.assembly.executor_choice import executor_of
from vseg_nas.assembly.static_loading import load_static_for
from vseg_nas.data import ClipSource, ClipTransform, MetaSplit, leak_report, meta_split, resized, without_shared_frames
from vseg_nas.data.feature_cache import StaticFeatures, map_cache
from vseg_nas.data.inspection import require_labels
from vseg_nas.data.motion import MotionSimulation
from vseg_nas.data.wrappers import LastFrames
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.executors.settings import SerialSettings
from vseg_nas.nas.settings import RollingSettings
from vseg_nas.schema import SearchConfig
from vseg_nas.training.device import Device
from vseg_nas.training.features import TrackClips, cache_key, cached_features


class MetaClips(NamedTuple):
    """Some clips of a source, and how they are transformed.

    Attributes:
        source: The source.
        indices: The clips.
        transform: The transform.
    """

    source: ClipSource
    indices: tuple[int, ...]
    transform: ClipTransform


class MetaFeatures(NamedTuple):
    """The cached features that candidates train on and are scored on.

    Attributes:
        train: Cached features of meta-train.
        val: Cached features of meta-val.
        caches: The folders of the features of meta-train and of meta-val.
        classifier: Classifier of the frozen static network.
    """

    train: StaticFeatures
    val: StaticFeatures
    caches: tuple[Path, Path]
    classifier: nn.Conv2d


class MetaData(NamedTuple):
    """The static network, the clips and the cached features of a search.

    Attributes:
        network: The frozen static network.
        sources: Data sets of whole clips.
        split: The clips of meta-train and of meta-val, as indices into the training clips.
        val: What candidates are scored on: the clips of meta-val, or clips that are made from their last frames.
        features: The cached features of meta-train and meta-val.
    """

    network: StaticSegmenter
    sources: Sources
    split: MetaSplit
    val: MetaClips
    features: MetaFeatures

    @property
    def leaks(self) -> str:
        """One line that says what meta-val shares with meta-train."""
        return leak_report(self.sources.train, self.split).summary()


def build_meta_data(config: SearchConfig, device: Device, track: TrackClips) -> MetaData:
    """Loads the static network, cuts the training clips in two and opens or computes their features.

    Raises:
        DataError: The data set or the weights cannot be used, or do not belong together.
        ConfigError: A training batch is too small for batch norm.
    """
    phase = config.phase.search
    dataset = config.dataset
    sources = build_sources(dataset, config.runs_dir)
    network = load_static_for(Path(config.static.weights), sources.train.classes, dataset.name).freeze()
    split = meta_split(sources.train, phase.val_fraction, phase.split, phase.split_seed)
    if dataset.motion.share:  # the same frame may be a clip of its own and in a real clip, or in several made ones
        split = without_shared_frames(sources.train, split)
    require_labels(sources.train, "meta-train", split.train)
    require_labels(sources.train, "meta-val", split.val)
    require_labels(sources.val, "val")
    check_batches(len(split.train), phase.batch_size, phase.transform.crop, "phase.search", drop_last=False)
    motion = build_motion(dataset, sources.train.classes)
    train = MetaClips(sources.train, split.train, build_transform(phase.transform, motion))
    val = MetaClips(sources.train, split.val, resized(phase.val_size, motion))
    if isinstance(config.reward, RollingSettings):
        frames = LastFrames(sources.train, split.val)
        rolling = MotionSimulation(config.reward.key_every, dataset.motion, frames.classes)
        val = MetaClips(frames, tuple(range(len(frames))), resized(phase.val_size, rolling))
    cache_dir = Path(config.runs_dir) / "cache"
    features = cached_meta_features(cache_dir, network, train, val, device, track)
    if not isinstance(executor_of(config, device), SerialSettings):  # other processes compute with them
        mapped = tuple(map(map_cache, features.caches))
        features = features._replace(train=mapped[0], val=mapped[1])
    return MetaData(network, sources, split, val, features)


def cached_meta_features(
    cache_dir: Path, network: StaticSegmenter, train: MetaClips, val: MetaClips, device: Device, track: TrackClips
) -> MetaFeatures:
    """Opens the features of meta-train and meta-val, computing them first where no cache holds them.

    Args:
        cache_dir: Folder of all caches.
        network: The frozen static network.
        train: Clips of meta-train.
        val: Clips of meta-val.
        device: The device to compute them on, and the precision in which they are stored.
        track: Shows the progress.
    """
    opened, folders, precision = [], [], device.cache_precision
    for clips, for_training in ((train, True), (val, False)):
        key = cache_key(network, *clips, precision, for_training=for_training)
        opened.append(
            cached_features(cache_dir, network, *clips, precision, device.tensors, track, for_training=for_training)
        )
        folders.append(cache_dir / key.digest)
    return MetaFeatures(opened[0], opened[1], (folders[0], folders[1]), network.decoder.classifier)
