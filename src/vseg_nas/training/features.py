"""Features of the frozen static network: computed once for all clips, then served to the short fits of candidates.

Legend: N clips, T frames.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from vseg_nas.data import Clip, ClipSource, ClipTransform
from vseg_nas.data.feature_cache import CacheKey, StaticFeatures, open_cache, write_cache
from vseg_nas.flow import dis_flow, shrink_flow
from vseg_nas.models.mobilenet_v2 import EncoderOutput
from vseg_nas.models.static import StaticOutput, StaticSegmenter
from vseg_nas.runs.digests import digest_of
from vseg_nas.space.vocabulary import DEC_STRIDE
from vseg_nas.training.losses import shrink_masks

_FOR_FEATURES = 0.5  # share of a device's memory, and of what is free of it, that features may take

TrackClips = Callable[[Iterable[Clip], int], Iterable[Clip]]
"""Called with clips and their number; yields the clips and shows the progress."""


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
    backward = shrink_flow(dis_flow(frames[1:], frames[:-1]), DEC_STRIDE)[None].cpu() if flow else None
    return _features(key, EncoderOutput(*(plane[None] for plane in later)), clip, for_training)._replace(flow=backward)


@torch.inference_mode()
def extract_current(
    network: StaticSegmenter, clip: Clip, device: torch.device, for_training: bool = False
) -> StaticFeatures:
    """Computes the features of T - 1 pairs (t, t): every frame after the first, with itself as its previous frame.

    They train the control whose past is the current frame, see `vseg_nas.models.propagation`. The arguments are those
    of `extract`.
    """
    output = network(clip.frames[1:].to(device))
    return _features(output, EncoderOutput(*(plane[:, None] for plane in output.encoder)), clip, for_training)


def _features(key: StaticOutput, later: EncoderOutput, clip: Clip, for_training: bool) -> StaticFeatures:
    """Returns features of N clips.

    Args:
        key: The outputs (N, C, h, w) of the key frames.
        later: The planes (N, T', C, h, w) of the later frames, where N * T' = T - 1.
        clip: The T frames and masks that they are of.
        for_training: See `extract`.
    """
    clips, height, width = key.dec.shape[0], clip.frames.shape[-2], clip.frames.shape[-1]
    masks = shrink_masks(clip.masks[1:], DEC_STRIDE) if for_training else clip.masks[1:]
    return StaticFeatures(
        key.encoder.layer4.cpu(),
        key.dec.cpu(),
        key.encoder.layer2.cpu(),
        later.layer2.cpu(),
        later.layer3.cpu(),
        later.layer4.cpu(),
        masks.to(torch.uint8).view(clips, -1, *masks.shape[1:]),
        torch.tensor([[height, width]] * clips),
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
    past_is_current: bool = False,
) -> CacheKey:
    """Returns the key of the cache in which `cached_features` keeps the features of some clips."""
    clips, how = digest_of(f"{source.fingerprint()} {indices}"), transform.fingerprint()
    return CacheKey(weights_digest(network), clips, how, precision, flow, for_training, past_is_current)


def cached_features(
    root: Path,
    network: StaticSegmenter,
    source: ClipSource,
    indices: tuple[int, ...],
    transform: ClipTransform,
    precision: str,
    device: torch.device,
    track: TrackClips,
    flow: bool = False,
    for_training: bool = False,
    past_is_current: bool = False,
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
        past_is_current: Whether the features are those of `extract_current`, T - 1 for each clip; without flow.
    """
    key = cache_key(network, source, indices, transform, precision, flow, for_training, past_is_current)
    features = open_cache(root, key)
    if features is None:
        network = network.to(device)
        clips = track(transformed(source, indices, transform), len(indices))
        count = len(indices) * (source.length - 1 if past_is_current else 1)
        computed = (
            extract_current(network, clip, device, for_training)
            if past_is_current
            else extract(network, clip, device, flow, for_training)
            for clip in clips
        )
        write_cache(root, key, computed, count)
        features = open_cache(root, key)
    assert features is not None, "a cache just written is there"
    return features


def transformed(source: ClipSource, indices: tuple[int, ...], transform: ClipTransform) -> Iterator[Clip]:
    """Yields clips of a source, each with random parameters of its own."""
    for index in indices:
        transform.set_seed(index)  # so that the features of a clip do not depend on which others are computed
        yield transform(source[index])


def to_device_if_room(
    splits: Sequence[StaticFeatures], device: torch.device, share: float = 1.0
) -> list[StaticFeatures]:
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
