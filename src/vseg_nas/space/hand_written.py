"""Cells written by hand as baselines: published ideas that the search space generalises."""

from vseg_nas.space.genotype import Genotype, Layer
from vseg_nas.space.vocabulary import INPUTS, OPERATIONS, STREAMING


def _layer(input1: int, input2: int, op1: str, op2: str, aggregation: str) -> Layer:
    chosen = STREAMING.aggregations.index(aggregation)  # which are the paper's, and more after them
    return Layer(input1, input2, OPERATIONS.index(op1), OPERATIONS.index(op2), chosen)


_DEC, _LAYER2, _LAYER3, _LAYER4 = (INPUTS.index(name) for name in ("prev_dec", "layer2", "layer3", "layer4"))
_A, _B = len(INPUTS), len(INPUTS) + 1  # the first two layers of a cell

HAND_WRITTEN: dict[str, Genotype] = {
    # Li, Shi and Lin, "Low-Latency Video Semantic Segmentation": the features of the previous frame pass through local
    # filters that are predicted from low-level features of the current frame, and are then joined with these.
    "local_filters": Genotype(
        (
            _layer(_LAYER2, _DEC, "sep_conv_3x3", "skip", "predictive"),
            _layer(_A, _LAYER3, "skip", "sep_conv_3x3", "concat"),
        )
    ),
    # The cheapest cell that still sees the current frame: its first two stages, joined with the previous dec. The last
    # two stages of the encoder are not run, since nothing reads them.
    "low_latency": Genotype((_layer(_LAYER2, _DEC, "sep_conv_3x3", "skip", "concat"),)),
    # The same, but the previous dec is moved onto the current frame first, by window attention on layer 2.
    "aligned_low_latency": Genotype(
        (
            _layer(_LAYER2, _DEC, "skip", "skip", "align"),
            _layer(_LAYER2, len(STREAMING.inputs), "sep_conv_3x3", "skip", "concat"),
        ),
        vocabulary=STREAMING,
        encoder=2,
    ),
    # Gadde et al. (NetWarp) and Nilsson and Sminchisescu (GRFP): previous features are warped along optical flow and
    # added to current ones with a learned weight per channel. The propagation warps, the cell only adds.
    "gated_warp": Genotype(
        (
            _layer(_LAYER3, _LAYER4, "sep_conv_3x3", "sep_conv_3x3", "concat"),
            _layer(_LAYER2, _A, "sep_conv_3x3", "skip", "concat"),
            _layer(_DEC, _B, "skip", "skip", "param_sum"),
        )
    ),
}
"""The cells by the name that `train` takes; ``gated_warp`` needs ``flow=true``."""
