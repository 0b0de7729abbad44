"""The vocabulary of the tokens: inputs (section 3.1), operations (Table 1) and aggregations (Table 2).

A token is an index into one of these tuples. Later layers of a cell read the result of layer i as input 5 + i.
"""

INPUTS = ("prev_layer4", "prev_dec", "layer2", "layer3", "layer4")
INPUT_STRIDES = (32, 8, 8, 16, 32)
"""The stride of each input, in pixels of the frame; a plane of stride s has ceil(H / s) x ceil(W / s) values."""
DEC_STRIDE = INPUT_STRIDES[INPUTS.index("prev_dec")]
"""The stride of dec and of the logits, in pixels of the frame."""

OPERATIONS = (
    "sep_conv_3x3",
    "global_avg_pool",
    "sep_conv_3x3_rate_3",
    "sep_conv_5x5_rate_6",
    "skip",
    "deform_conv_3x3",
)
AGGREGATIONS = ("param_sum", "concat", "predictive", "affine_bilinear", "conv_3d", "dense_attention")

# Swapping the two inputs of these aggregations only permutes their weights. The other aggregations treat their inputs
# differently: one of them predicts how the other one is filtered, sampled or gated.
SYMMETRIC_AGGREGATIONS = frozenset(map(AGGREGATIONS.index, ("param_sum", "concat", "conv_3d")))

TOKENS_PER_LAYER = 5  # input1, input2, op1, op2, aggregation

# Short names for `Genotype.expression`. The skip operation has an empty one, because its input then stands alone.
INPUT_SYMBOLS = ("prev_l4", "prev_dec", "l2", "l3", "l4")
OPERATION_SYMBOLS = ("sep3", "gap", "sep3r3", "sep5r6", "", "deform")
AGGREGATION_SYMBOLS = ("sum", "cat", "predict", "affine", "conv3d", "attend")
