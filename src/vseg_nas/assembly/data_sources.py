"""Clips of the data sets, their augmentation and batches, and the digests of their files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vseg_nas.assembly.dataset_files import verify_files
from vseg_nas.assembly.frame_memory import check_frame_memory
from vseg_nas.data import CamVid, CityScapes, ClipSource, ClipTransform, InMemory, SyntheticStreet, training
from vseg_nas.data.image_files import FileClips
from vseg_nas.data.manifest import KnownDigests, TrackFiles
from vseg_nas.data.motion import MotionSimulation
from vseg_nas.data.settings import (
    CamVidSettings,
    CityScapesSettings,
    DatasetSettings,
    SyntheticSettings,
    TransformSettings,
)
from vseg_nas.data.wrappers import ClipsAndSingles
from vseg_nas.errors import ConfigError
from vseg_nas.runs.digests import DATA_DIGESTS_FILE, store_or_compare_digests

STRIDE = 32
"""Stride of the encoder's last layer, whose planes are the smallest."""
PAIR = 2
"""Number of frames of the clips that are scored by the protocol of pairs: a key frame, and the frame after it."""


class Sources(NamedTuple):
    """The training and validation splits of a data set."""

    train: ClipSource
    val: ClipSource


def build_sources(dataset: DatasetSettings, runs_dir: str) -> Sources:
    """Opens the clips that cells train on and are validated on; see `build_source`.

    The training clips are real clips, or single frames from which the transform of `build_transform` makes clips, or
    both. Where clips are made, the validation clips are pairs: a set with real clips of that length need not exist.
    """
    share, train = dataset.motion.share, "train"
    if not share:
        return Sources(build_source(dataset, runs_dir, train), build_source(dataset, runs_dir, "val"))
    singles = build_source(dataset, runs_dir, train, length=1)
    clips = build_source(dataset, runs_dir, train) if share < 1 else None
    made = ClipsAndSingles(singles, dataset.length, share, clips)
    return Sources(made, build_source(dataset, runs_dir, "val", length=2))


def build_single_frames(dataset: DatasetSettings, runs_dir: str) -> Sources:
    """Opens the labelled frames that the static network is trained and validated on; see `build_source`."""
    return Sources(*(build_source(dataset, runs_dir, split, length=1) for split in Sources._fields))


def build_source(dataset: DatasetSettings, runs_dir: str, split: str, length: int | None = None) -> ClipSource:
    """Opens one split; if `check` has left a manifest, compares the files with it.

    Args:
        dataset: The settings of the data set.
        runs_dir: The folder of all runs, in which manifests and known digests lie.
        split: ``train``, ``val``, or ``test`` where that has labels.
        length: The number of frames in a clip, with successive clips starting one frame apart; None takes both from
            the settings.

    Raises:
        ConfigError: The data set has no such split.
        DataError: The data set is not there or not as expected, or a file is not what `check` read.
    """
    source = _open(dataset, split, length)
    if isinstance(source, FileClips):
        assert not isinstance(dataset, SyntheticSettings)
        source.known_digests = KnownDigests(Path(runs_dir) / "cache" / "digests.json")
        if source.length <= dataset.length:  # longer clips have frames that were never checked
            verify_files(Path(runs_dir), dataset.name, Path(str(dataset.root)), source)
    return source


def _open(dataset: DatasetSettings, split: str, length: int | None) -> ClipSource:
    frames = length or dataset.length
    match dataset, split:
        case SyntheticSettings(), "train" | "val":
            check_frame_memory("dataset.size", dataset.size)
            clips = dataset.clips if split == "train" else dataset.val_clips
            street = SyntheticStreet(
                clips, frames, dataset.size, dataset.seed, split, dataset.frames_per_drive, dataset.frame_seconds
            )
            return InMemory(street)
        case CamVidSettings(), "train" | "val" | "test":
            return CamVid(Path(str(dataset.root)), split, frames, 1 if length else dataset.stride)
        case CityScapesSettings(), "train" | "val":
            return CityScapes(Path(str(dataset.root)), split, frames)
    raise ConfigError(f"split: found {split}, which has no labels in {dataset.name}, expected train or val")


def store_or_compare_data_digests(run_dir: Path, sources: Iterable[ClipSource], track: TrackFiles = iter) -> None:
    """Stores the digests of the files that a run reads, or compares them; see `store_or_compare_digests`.

    Args:
        run_dir: The directory of the run.
        sources: The splits that the run reads.
        track: Shows the progress of reading files.

    Raises:
        DataError: A file is not what it was when the run began.
    """
    files: dict[str, str] = {}
    for source in sources:
        for part in source.parts if isinstance(source, ClipsAndSingles) else (source,):
            if isinstance(part, FileClips):
                files |= part.digests(track)
    if files:
        store_or_compare_digests(run_dir / DATA_DIGESTS_FILE, files, "dataset.root")


def build_transform(settings: TransformSettings, motion: MotionSimulation | None = None) -> ClipTransform:
    """Returns the augmentation of a training phase; ``motion`` makes clips of single frames first."""
    return training(**dict(settings), motion=motion)


def build_motion(dataset: DatasetSettings, classes: Sequence[str]) -> MotionSimulation | None:
    """Returns what makes clips of single frames; None if no clips are made so."""
    return MotionSimulation(dataset.length, dataset.motion, classes) if dataset.motion.share else None


def check_batches(clips: int, batch_size: int, crop: Sequence[int], key: str, drop_last: bool) -> None:
    """Checks that every training batch has two values a channel where planes are smallest, as batch norm needs.

    Args:
        clips: The number of clips to train on.
        batch_size: The number of clips in a batch.
        crop: Height and width of the clips in pixels.
        key: The key under which ``batch_size`` stands.
        drop_last: Whether a last batch that is not full is dropped, unless it is the only one.

    Raises:
        ConfigError: A batch has only one value.
    """
    rest = clips % batch_size
    smallest = rest if rest and (clips < batch_size or not drop_last) else batch_size
    height, width = crop
    if smallest * -(-height // STRIDE) * -(-width // STRIDE) < 2:
        raise ConfigError(
            f"{key}.batch_size: found {batch_size}, by which a clip of {height}x{width} is alone in its batch "
            f"({clips} clip{'s' * (clips > 1)}), expected two or more clips in every batch, or crops with a side above "
            f"{STRIDE}: batch norm needs two values"
        )
