"""Runs the frozen static network over clips, once, and serves the result to short fits.

Legend: N clips, T frames.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vseg_nas.data import Clip, ClipSource, ClipTransform
from vseg_nas.data.feature_cache import CacheKey, StaticFeatures, open_cache, write_cache
from vseg_nas.flow import dis_flow, shrink_flow
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.space.vocabulary import DEC_STRIDE
from vseg_nas.training.losses import shrink_masks

_FOR_FEATURES = 0.5  # of the memory of a device, and of what is free there, that features may take

Track = Callable[[Iterable[Clip], int], Iterable[Clip]]
"""Passes clips on and shows how many of how many are done."""


@torch.inference_mode()
def extract(
    network: StaticSegmenter, clip: Clip, device: torch.device, flow: bool = False, for_training: bool = False
) -> StaticFeatures:
    """Features of one clip, N = 1: the whole network on frame 0, the encoder alone on the others.

    Args:
        network: frozen, on ``device``.
        clip: T frames and masks.
        device: where to compute; the result is on the CPU.
        flow: compute optical flow, too.
        for_training: shrink the masks to the size of dec, as the loss would; else they keep theirs, for scoring.
    """
    frames = clip.frames.to(device)
    key = network(frames[:1])
    later = network.encode(frames[1:])
    masks = shrink_masks(clip.masks[1:], DEC_STRIDE) if for_training else clip.masks[1:]
    return StaticFeatures(
        key.encoder.layer4.cpu(),
        key.dec.cpu(),
        later.layer2[None].cpu(),
        later.layer3[None].cpu(),
        later.layer4[None].cpu(),
        masks[None].to(torch.uint8),
        torch.tensor([frames.shape[-2:]]),
        shrink_flow(dis_flow(frames[1:], frames[:-1]), DEC_STRIDE)[None].cpu() if flow else None,
    )


def weights_digest(network: StaticSegmenter) -> str:
    """SHA-256 over names and values of all weights and statistics."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def cache_key(
    network: StaticSegmenter,
    source: ClipSource,
    indices: tuple[int, ...],
    transform: ClipTransform,
    precision: str,
    flow: bool = False,
    for_training: bool = False,
) -> CacheKey:
    """Under which `cached_features` keeps the features of some clips."""
    clips = hashlib.sha256(f"{source.fingerprint()} {indices}".encode()).hexdigest()
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
    """Opens the features of some clips of a source, computing them first where no cache holds them.

    Each clip is transformed once, with a draw of its own, as the parent code of the paper does.

    Args:
        root: folder of all caches.
        network: frozen.
        source: of clips.
        indices: which of them.
        transform: applied before the network.
        precision: ``fp32`` or ``fp16``.
        device: where to compute.
        track: shows progress.
        flow: optical flow, too.
        for_training: see `extract`.
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
        transform.set_seed(index)  # a clip's draw depends on the clip alone
        yield transform(source[index])


def placed(splits: Sequence[StaticFeatures], device: torch.device, share: float = 1.0) -> list[StaticFeatures]:
    """Features where cells train: in the memory of a CUDA device where all of them fit, else as they are.

    From there a batch costs no copy from the host. They fit if they leave half of the share, and half of what is free.

    Args:
        splits: all that this process trains and scores cells on.
        device: where.
        share: of the device's memory, that is this process's: others may not have taken theirs yet.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        size = sum(array.nbytes for features in splits for array in features.arrays().values())
        if size <= _FOR_FEATURES * min(share * total, free):
            return [features.to(device) for features in splits]
    return list(splits)


class FeatureBatches:
    """Batches of `StaticFeatures`, without loader processes: cached tensors need none.

    Args:
        features: of N clips.
        batch_size: clips a batch; the last one may be smaller.
        generator: shuffles anew in every epoch; None keeps the order.
    """

    def __init__(self, features: StaticFeatures, batch_size: int, generator: torch.Generator | None = None) -> None:
        self._features = features
        self._batch_size = batch_size
        self._generator = generator

    def __len__(self) -> int:
        return -(-self._features.clips // self._batch_size)

    def __iter__(self) -> Iterator[StaticFeatures]:
        for indices in torch.split(self._order(), self._batch_size):
            yield self._features.take(indices)

    def _order(self) -> Tensor:
        count = self._features.clips
        return torch.arange(count) if self._generator is None else torch.randperm(count, generator=self._generator)
