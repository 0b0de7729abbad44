"""Features of the frozen static network: computed once for all clips, then served to the short fits of candidates.

Legend: N clips, T frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from vseg_nas.data import Clip, ClipSource, ClipTransform
from vseg_nas.data.feature_cache import CacheKey, StaticFeatures, open_cache, write_cache
from vseg_nas.flow import dis_flow, shrink_flow
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.runs.digests import digest_of
from vseg_nas.space.vocabulary import DEC_STRIDE
from vseg_nas.training.losses import shrink_masks

_FOR_FEATURES = 0.5  # share of a device's memory, and of what is free of it, that features may take

Track = Callable[[Iterable[Clip], int], Iterable[Clip]]
"""Yields the clips that it is given, of which there are so many, and shows the progress meanwhile."""


@torch.inference_mode()
def extract(
    network: StaticSegmenter, clip: Clip, device: torch.device, flow: bool = False, for_training: bool = False
) -> StaticFeatures:
    """Computes the features of one clip, N = 1: the whole network runs on frame 0, the encoder alone on the others.

    Args:
        network: The frozen static network, on ``device``.
        clip: The T frames and masks.
        device: The device to compute on; the result is on the CPU.
        flow: Whether to compute optical flow too.
        for_training: Whether to shrink the masks to the size of dec, as the loss would; for scoring they keep theirs.
    """
    frames = clip.frames.to(device)
    # A cell replaces the decoder on later frames, so the decoder runs on the key frame only.
    key = network(frames[:1])
    later = network.encode(frames[1:])
    masks = shrink_masks(clip.masks[1:], DEC_STRIDE) if for_training else clip.masks[1:]
    return StaticFeatures(
        key.encoder.layer4.cpu(),
        key.dec.cpu(),
        key.encoder.layer2.cpu(),
        later.layer2[None].cpu(),
        later.layer3[None].cpu(),
        later.layer4[None].cpu(),
        masks[None].to(torch.uint8),
        torch.tensor([frames.shape[-2:]]),
        shrink_flow(dis_flow(frames[1:], frames[:-1]), DEC_STRIDE)[None].cpu() if flow else None,
    )


def weights_digest(network: StaticSegmenter) -> str:
    """Returns the SHA-256 of names and values of all weights and statistics of a network."""
    weights = sorted(network.state_dict().items())
    return digest_of(*(part for name, value in weights for part in (name, value.cpu().contiguous().numpy().tobytes())))


def cache_key(
    network: StaticSegmenter,
    source: ClipSource,
    indices: tuple[int, ...],
    transform: ClipTransform,
    precision: str,
    flow: bool = False,
    for_training: bool = False,
) -> CacheKey:
    """Returns the key of the cache in which `cached_features` keeps the features of some clips."""
    clips = digest_of(f"{source.fingerprint()} {indices}")
    return CacheKey(weights_digest(network), clips, transform.fingerprint(), precision, flow, for_training)


def cached_features(
    root: Path,
    network: StaticSegmenter,
    source: ClipSource,
    indices: tuple[int, ...],
    transform: ClipTransform,
    precision: str,
    device: torch.device,
    track: Track,
    flow: bool = False,
    for_training: bool = False,
) -> StaticFeatures:
    """Opens the features of some clips of a source; they are computed first if no cache holds them.

    Each clip is transformed once, with random parameters of its own, as in the code that the paper builds on.

    Args:
        root: The folder of all caches.
        network: The frozen static network.
        source: The clips.
        indices: The indices of the clips to use.
        transform: The transform that is applied before the network.
        precision: The type of the stored features, ``fp32`` or ``fp16``.
        device: The device to compute on.
        track: Wraps the clips, to show the progress.
        flow: Whether the features include optical flow.
        for_training: Whether masks are shrunk to the size of dec, see `extract`.
    """
    key = cache_key(network, source, indices, transform, precision, flow, for_training)
    features = open_cache(root, key)
    if features is None:
        network = network.to(device)
        clips = track(_transformed(source, indices, transform), len(indices))
        write_cache(root, key, (extract(network, clip, device, flow, for_training) for clip in clips), len(indices))
        features = open_cache(root, key)
    assert features is not None, "a cache just written is there"
    return features


def _transformed(source: ClipSource, indices: tuple[int, ...], transform: ClipTransform) -> Iterator[Clip]:
    for index in indices:
        transform.set_seed(index)  # so that the features of a clip do not depend on which others are computed
        yield transform(source[index])


def placed(splits: Sequence[StaticFeatures], device: torch.device, share: float = 1.0) -> list[StaticFeatures]:
    """Moves features to the memory of a CUDA device if all of them fit there, so that no batch has to be copied.

    They fit if they take at most half of this process's share of the memory, and half of what is free of it.

    Args:
        splits: All features that this process trains and scores cells on.
        device: The device that cells train on.
        share: The share of the device's memory that this process may use; other processes may not have taken theirs.

    Returns:
        The features on the device, or as they are.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        size = sum(array.nbytes for features in splits for array in features.arrays().values())
        if size <= _FOR_FEATURES * min(share * total, free):
            return [features.to(device) for features in splits]
    return list(splits)


class FeatureBatches:
    """Batches of `StaticFeatures`. There are no loader processes, since cached tensors only have to be indexed.

    Args:
        features: The features of N clips.
        batch_size: The number of clips in a batch; the last batch may be smaller.
        generator: Shuffles the clips in every epoch; None keeps their order.
    """

    def __init__(self, features: StaticFeatures, batch_size: int, generator: torch.Generator | None = None) -> None:
        self._features = features
        self._batch_size = batch_size
        self._generator = generator

    def __len__(self) -> int:
        return -(-self._features.clips // self._batch_size)

    def __iter__(self) -> Iterator[StaticFeatures]:
        clips, generator = self._features.clips, self._generator
        order = torch.arange(clips) if generator is None else torch.randperm(clips, generator=generator)
        for indices in torch.split(order, self._batch_size):
            yield self._features.take(indices)
