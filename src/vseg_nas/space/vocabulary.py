"""The words a cell is written in: inputs (section 3.1), operations (Table 1) and aggregations (Table 2).

A token is an index into one of these tuples. Layer i of a cell adds its aggregate to the pool as input 5 + i.
"""

INPUTS = ("prev_layer4", "prev_dec", "layer2", "layer3", "layer4")
INPUT_STRIDES = (32, 8, 8, 16, 32)
"""Pixels of the frame from one value of an input to the next, down and across; sizes of planes are rounded up."""
DEC_STRIDE = INPUT_STRIDES[INPUTS.index("prev_dec")]
"""Of dec and the logits."""

OPERATIONS = (
    "sep_conv_3x3",
    "global_avg_pool",
    "sep_conv_3x3_rate_3",
    "sep_conv_5x5_rate_6",
    "skip",
    "deform_conv_3x3",
)
AGGREGATIONS = ("param_sum", "concat", "predictive", "affine_bilinear", "conv_3d", "dense_attention")

# Swapping the sides of these permutes weights and changes nothing else; the others tell their sides apart.
SYMMETRIC_AGGREGATIONS = frozenset(map(AGGREGATIONS.index, ("param_sum", "concat", "conv_3d")))

TOKENS_PER_LAYER = 5  # input1, input2, op1, op2, aggregation

# Short forms for expressions; skip has none, its input stands alone.
INPUT_SYMBOLS = ("prev_l4", "prev_dec", "l2", "l3", "l4")
OPERATION_SYMBOLS = ("sep3", "gap", "sep3r3", "sep5r6", "", "deform")
AGGREGATION_SYMBOLS = ("sum", "cat", "predict", "affine", "conv3d", "attend")
