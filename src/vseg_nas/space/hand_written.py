"""Cells written by hand: the ideas that the search space generalises, as baselines for what is found."""

from vseg_nas.space.genotype import Genotype, Layer
from vseg_nas.space.vocabulary import AGGREGATIONS, INPUTS, OPERATIONS


def _layer(input1: int, input2: int, op1: str, op2: str, aggregation: str) -> Layer:
    return Layer(input1, input2, OPERATIONS.index(op1), OPERATIONS.index(op2), AGGREGATIONS.index(aggregation))


_DEC, _LAYER2, _LAYER3, _LAYER4 = (INPUTS.index(name) for name in ("prev_dec", "layer2", "layer3", "layer4"))
_A, _B = len(INPUTS), len(INPUTS) + 1  # the first two layers of a cell

HAND_WRITTEN: dict[str, Genotype] = {
    # Li, Shi, Lin, "Low-Latency Video Semantic Segmentation": previous features through local filters that are
    # predicted from current low-level features, then joined with those.
    "local_filters": Genotype(
        (
            _layer(_LAYER2, _DEC, "sep_conv_3x3", "skip", "predictive"),
            _layer(_A, _LAYER3, "skip", "sep_conv_3x3", "concat"),
        )
    ),
    # The fewest operations that still see the current frame: its first two stages, joined with what was there. The last
    # two stages of the encoder, which nothing reads, are not run.
    "low_latency": Genotype((_layer(_LAYER2, _DEC, "sep_conv_3x3", "skip", "concat"),)),
    # Gadde et al. (NetWarp) and Nilsson and Sminchisescu (GRFP): previous features, warped along optical flow, added to
    # current ones with a learned weight per channel. The flow is the propagation's, not the cell's.
    "gated_warp": Genotype(
        (
            _layer(_LAYER3, _LAYER4, "sep_conv_3x3", "sep_conv_3x3", "concat"),
            _layer(_LAYER2, _A, "sep_conv_3x3", "skip", "concat"),
            _layer(_DEC, _B, "skip", "skip", "param_sum"),
        )
    ),
}
"""By the name that `train` takes; ``gated_warp`` wants ``flow=true``."""
