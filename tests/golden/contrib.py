"""ONNX Runtime's own operators."""

from __future__ import annotations

from colonnade.passes.adopt_contrib import adopt_contrib
from golden.builder import Case, Constants, weights

SCALES: Constants = {
    "scale": weights(8), "beta": weights(8, seed=4), "bias": weights(8, seed=5),
    "wide": weights(3, 8),
}  # fmt: skip
QKV = "float[2,5,12] q, float[2,6,12] k, float[2,6,12] v"


def _case(
    name: str, node: str, inputs: str = "float[2,3,8] x", *, outputs: str = "y", fuses: bool = True
) -> Case:
    declared = ", ".join(f"float {name}" for name in outputs.split(", ") if name)
    text = f"({inputs}) => ({declared}) {{ {outputs} = {node} }}"
    return Case(adopt_contrib, name, text, SCALES, fuses, has_reference=False)


TWO = "float[2,3,8] x, float[2,3,8] s"
SKIP = "com.microsoft.SkipLayerNormalization"
MULTI = "com.microsoft.MultiHeadAttention"

CASES = (
    _case("skip_layer_norm", f"{SKIP} <epsilon = 0.001> (x, s, scale, beta)", TWO),
    _case("skip_layer_norm_bias", f"{SKIP}(x, s, scale, beta, bias)", TWO),
    _case("skip_layer_norm_sum", f"{SKIP}(x, s, scale)", TWO, outputs="y, , , t"),
    _case("skip_rms_norm", "com.microsoft.SkipSimplifiedLayerNormalization(x, s, scale, bias)", TWO,
          outputs="y, , , t"),
    _case("rms_norm", "SimplifiedLayerNormalization <axis = -1> (x, scale)"),
    _case("gelu", "com.microsoft.Gelu(x)"),
    _case("bias_gelu", "com.microsoft.BiasGelu(x, bias)"),
    _case("fast_gelu", "com.microsoft.FastGelu(x)"),
    _case("fast_gelu_bias", "com.microsoft.FastGelu(x, bias)"),
    _case("quick_gelu", "com.microsoft.QuickGelu <alpha = 1.5> (x)"),
    _case("attention", f"{MULTI} <num_heads = 3> (q, k, v)", QKV),
    _case("attention_scale_mask", f"{MULTI} <num_heads = 3, scale = 0.3> (q, k, v, , , mask)",
          f"{QKV}, float[1,3,5,6] mask"),
    _case("attention_causal", f"{MULTI} <num_heads = 3, unidirectional = 1> (q, q, q)",
          "float[2,5,12] q"),
    _case("not_skip_that_broadcasts", f"{SKIP}(x, s, scale)", "float[2,3,8] x, float[1,3,8] s",
          fuses=False),
    _case("not_scale_of_the_run", f"{SKIP}(x, s, g)", f"{TWO}, float[8] g", fuses=False),
    _case("not_rms_over_two_axes", "SimplifiedLayerNormalization <axis = 1> (x, wide)",
          fuses=False),
    _case("not_bias_of_the_run", "com.microsoft.BiasGelu(x, b)", "float[2,3,8] x, float[8] b",
          fuses=False),
    _case("not_attention_with_padding", f"{MULTI} <num_heads = 3> (q, k, v, , pad)",
          f"{QKV}, int32[2] pad", fuses=False),
    _case("not_attention_on_four_axes", f"{MULTI} <num_heads = 3> (q, k, v)",
          "float[2,5,12] q, float[2,3,6,4] k, float[2,3,6,4] v", fuses=False),
)  # fmt: skip
