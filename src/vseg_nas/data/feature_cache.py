"""The feature cache: outputs of the frozen static network for each clip, stored on disk as memory-mapped arrays.

All candidates of a search train on the same features, so these are computed once (section 4.1). A cache is a folder
named after the digest of its key. It appears by one rename, so it is complete or not there, and the SHA-256 of every
array is checked when it is opened. Files, memory and batches all are channels-last, because cells are fastest so.

Legend: N clips, T frames, C channels, h, w feature sizes (rounded up), H, W mask sizes.
"""

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor

from vseg_nas.errors import DataError, RunError
from vseg_nas.machine import bytes_in_words
from vseg_nas.runs.digests import digest_of, sha256_of
from vseg_nas.runs.files import as_run_error, read_regular

_MANIFEST = "manifest.json"
# Part of every key, so that caches of an older layout are not found.
_LAYOUT = "channels last, planes by their strides, layer 2 of key frames"
_NO_PLANES: dict[str, np.dtype[Any]] = {"masks": np.dtype(np.uint8), "frame_size": np.dtype(np.int64)}
_MOST_MANIFEST_BYTES = 2**16
_MEMORY_SHARE = 0.5  # a cache larger than this share of the free memory stays on disk

logger = logging.getLogger(__name__)


class StaticFeatures(NamedTuple):
    """Inputs and targets of cells for N clips (section 4.1: all static outputs are computed before the search).

    Attributes:
        key_layer4: (N, 320, h/32, w/32) layer 4 of frame 0.
        key_dec: (N, 64, h/8, w/8) dec of frame 0.
        key_layer2: (N, 32, h/8, w/8) layer 2 of frame 0.
        layer2: (N, T-1, 32, h/8, w/8) layer 2 of the later frames.
        layer3: (N, T-1, 96, h/16, w/16) layer 3 of the later frames.
        layer4: (N, T-1, 320, h/32, w/32) layer 4 of the later frames.
        masks: (N, T-1, H, W) uint8 class ids, 255 = ignored. In a cache for training they are (N, T-1, h/8, w/8), since
            the loss is computed at that size.
        frame_size: (N, 2) int64 height and width of the frames; the sizes of the planes are rounded up and do not tell.
        flow: (N, T-1, 2, h/8, w/8) optical flow from each later frame back to the previous one, in pixels of this
            plane; None if it was not requested.
    """

    key_layer4: Tensor
    key_dec: Tensor
    key_layer2: Tensor
    layer2: Tensor
    layer3: Tensor
    layer4: Tensor
    masks: Tensor
    frame_size: Tensor
    flow: Tensor | None = None

    @property
    def clips(self) -> int:
        """The number of clips, N."""
        return self.masks.shape[0]

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the frames, which all have one size."""
        height, width = self.frame_size[0].tolist()
        return int(height), int(width)

    def take(self, indices: Tensor) -> "StaticFeatures":
        """Copies the clips at ``indices`` (n,); their features become float32 and channels-last."""
        indices = indices.to(self.masks.device)
        taken = {
            name: array.index_select(0, indices)
            if name in _NO_PLANES
            else _channels_first(_channels_last(array).index_select(0, indices).float())
            for name, array in self.arrays().items()
        }
        return StaticFeatures(**taken)

    def to(self, device: torch.device) -> "StaticFeatures":
        """Moves all arrays to a device."""
        return self.map(lambda array: array.to(device))

    def map(self, change: Callable[[Tensor], Tensor]) -> "StaticFeatures":
        """Applies a function to every array; what is None stays None."""
        return StaticFeatures._make(None if array is None else change(array) for array in self)

    def arrays(self) -> dict[str, Tensor]:
        """Returns the arrays that are not None, by name."""
        return {name: array for name, array in self._asdict().items() if array is not None}


class CacheKey(NamedTuple):
    """Everything that the arrays of a cache depend on. If one of these changes, another cache is made.

    Attributes:
        weights: The digest of the static network's weights.
        clips: The digest of the clips and of the choice among them.
        transform: The parameters of the transform; the seed of a clip depends on nothing but its index.
        precision: The type of the stored features, ``fp32`` or ``fp16``.
        flow: Whether the cache holds optical flow.
        for_training: Whether the masks have the size of dec.
        past_is_current: Whether each later frame is a clip of its own, with itself as the previous frame.
    """

    weights: str
    clips: str
    transform: str
    precision: str
    flow: bool = False
    for_training: bool = False
    past_is_current: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the arrays."""
        return StaticFeatures._fields if self.flow else StaticFeatures._fields[:-1]

    @property
    def digest(self) -> str:
        """The name of the folder of the cache."""
        return digest_of(json.dumps([_LAYOUT, *self]))[:20]


def open_cache(root: Path, key: CacheKey) -> StaticFeatures | None:
    """Opens a cache. It is read into memory if it fits there, and memory-mapped otherwise.

    A damaged cache is renamed, reported in the log and treated as missing.

    Returns:
        The features; None if there is no usable cache for the key.
    """
    folder = root / key.digest
    if not folder.is_dir():
        return None
    try:
        _verify(folder, key)
    except DataError as error:
        aside = folder.with_name(f"{folder.name}.corrupt")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        logger.warning("%s; moved to %s and built again", error, aside)
        return None
    size = sum(f.stat().st_size for f in folder.iterdir())
    in_memory = size < _MEMORY_SHARE * psutil.virtual_memory().available
    # "c" is copy-on-write: torch treats every array as writable, and so nothing can reach the files.
    return as_features(stored_arrays(folder, None if in_memory else "c"))


def map_cache(folder: Path) -> StaticFeatures:
    """Memory-maps a cache that `open_cache` has checked. Its pages are shared by all processes that map it.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    return as_features(stored_arrays(folder))


def stored_arrays(folder: Path, mmap_mode: Literal["r", "c"] | None = "r") -> dict[str, NDArray[Any]]:
    """Returns the arrays of a cache that `open_cache` has checked, as its files hold them: planes are (..., h, w, C).

    Raises:
        FileNotFoundError: There is no such folder.
    """
    names = [path.stem for path in folder.iterdir() if path.suffix == ".npy"]
    return {name: np.load(folder / f"{name}.npy", mmap_mode=mmap_mode) for name in names}


def as_features(stored: Mapping[str, NDArray[Any]]) -> StaticFeatures:
    """Returns features that are views of `stored_arrays`, which may be read-only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that nobody may write to them; nobody does, batches are copies
        arrays = {name: torch.from_numpy(array) for name, array in stored.items()}
    return StaticFeatures(
        **{name: array if name in _NO_PLANES else _channels_first(array) for name, array in arrays.items()}
    )


def _channels_last(planes: Tensor) -> Tensor:
    """Returns a view (..., h, w, C) of (..., C, h, w)."""
    return planes.movedim(-3, -1)


def _channels_first(planes: Tensor) -> Tensor:
    """Returns a view (..., C, h, w) of (..., h, w, C)."""
    return planes.movedim(-1, -3)


def write_cache(root: Path, key: CacheKey, clips: Iterable[StaticFeatures], count: int) -> None:
    """Writes a cache; if anything fails, nothing is left of it.

    Args:
        root: The folder of all caches.
        key: The key of the cache; its precision is that of the stored features.
        clips: The features of one clip after the other, or of several clips at a time.
        count: The number of all clips.

    Raises:
        DataError: The clips differ in size.
        RunError: The disk has not enough room.
    """
    # The name has the process id, since another search may be computing the same cache.
    part = root / f"{key.digest}.part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write_arrays(part, clips, count, np.dtype(np.float16 if key.precision == "fp16" else np.float32))
        digests = {name: sha256_of(part / f"{name}.npy") for name in key.fields}
        manifest = {"key": key._asdict(), "sha256": digests}
        with as_run_error(root / key.digest):
            (part / _MANIFEST).write_text(json.dumps(manifest, indent=1))
            try:
                part.rename(root / key.digest)
            except OSError:
                if not (root / key.digest).is_dir():  # otherwise another search has just written the same cache
                    raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_arrays(folder: Path, clips: Iterable[StaticFeatures], count: int, precision: np.dtype[np.floating]) -> None:
    arrays: Sequence[np.memmap] = ()
    written = 0
    for clip in clips:
        values = {name: v if name in _NO_PLANES else _channels_last(v) for name, v in clip.arrays().items()}
        if not arrays:  # the sizes of planes are known from the first clip on
            with as_run_error(folder.with_suffix("")):
                arrays = [
                    np.lib.format.open_memmap(
                        folder / f"{name}.npy",
                        mode="w+",
                        dtype=_NO_PLANES.get(name, precision),
                        shape=(count, *value.shape[1:]),
                    )
                    for name, value in values.items()
                ]
            if hasattr(os, "posix_fallocate"):  # macOS does not have it
                _reserve(folder)
        for array, value in zip(arrays, values.values(), strict=True):
            if array.shape[1:] != value.shape[1:]:
                raise DataError(
                    f"clip {written}: features of size {tuple(value.shape[1:])}, those before had {array.shape[1:]}"
                )
            array[written : written + clip.clips] = value.cpu().numpy()
        written += clip.clips
    for array in arrays:
        array.flush()


def _reserve(folder: Path) -> None:
    """Allocates the disk space of all arrays before anything is written.

    A write to memory-mapped pages for which the disk has no room raises no error: a signal kills the process.

    Raises:
        RunError: The disk has not enough room.
    """
    sizes = {path: path.stat().st_size for path in folder.glob("*.npy")}
    free = shutil.disk_usage(folder).free
    for path, size in sizes.items():
        try:
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise RunError(
                f"{path}: cannot be written ({error.strerror}): found {bytes_in_words(free)} free, expected "
                f"{bytes_in_words(sum(sizes.values()))} for cached features"
            ) from error


def _verify(folder: Path, key: CacheKey) -> None:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(read_regular(path, _MOST_MANIFEST_BYTES))
        digests = dict(manifest["sha256"])
        stored = CacheKey(**manifest["key"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path}: not readable as the manifest of a feature cache ({type(error).__name__})") from error
    if stored != key:  # the folder was renamed, or another key has the same digest
        raise DataError(f"{path}: holds another key than its folder's name says")
    for name in key.fields:
        file = folder / f"{name}.npy"
        if not file.is_file() or sha256_of(file) != digests.get(name):
            raise DataError(f"{file}: missing or damaged (SHA-256 differs from the manifest)")
