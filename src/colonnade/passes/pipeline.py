"""The passes, in order: this list is the compiler's middle."""

from __future__ import annotations

from colonnade.passes.adopt_attention import adopt_attention
from colonnade.passes.adopt_contrib import adopt_contrib
from colonnade.passes.adopt_integer_products import adopt_integer_products
from colonnade.passes.adopt_quantized_products import adopt_quantized_products
from colonnade.passes.decompose import decompose
from colonnade.passes.dequantize_products import dequantize_products
from colonnade.passes.expand_qlinear import expand_qlinear
from colonnade.passes.fold_batch_norm import fold_batch_norm
from colonnade.passes.fold_dequantized import fold_dequantized
from colonnade.passes.fold_output_quantization import fold_output_quantization
from colonnade.passes.fold_product_bias import fold_product_bias
from colonnade.passes.fold_quantized_products import fold_quantized_products
from colonnade.passes.fuse_activations import (
    fuse_gelu,
    fuse_gelu_tanh,
    fuse_hardswish,
    fuse_silu,
)
from colonnade.passes.fuse_attention import fuse_attention
from colonnade.passes.fuse_elementwise import (
    fuse_epilogue,
    lower_elementwise,
    merge_elementwise,
)
from colonnade.passes.fuse_linear import fuse_linear
from colonnade.passes.fuse_norm import (
    adopt_layer_norm,
    adopt_rms_norm,
    fuse_layer_norm,
    fuse_rms_norm,
)
from colonnade.passes.fuse_pad import fuse_pad
from colonnade.passes.fuse_quantized_attention import fuse_quantized_attention
from colonnade.passes.fuse_quantized_binary import fuse_quantized_binary
from colonnade.passes.fuse_quantized_mean import fuse_quantized_mean
from colonnade.passes.fuse_quantized_pad import fuse_quantized_pad
from colonnade.passes.fuse_skip_norm import fuse_skip_norm
from colonnade.passes.move_dequantize import move_dequantize
from colonnade.passes.move_quantize import move_quantize
from colonnade.passes.remove_requantize import remove_requantize
from colonnade.passes.remove_saturated_clip import remove_saturated_clip
from colonnade.passes.split_quantized_recurrent import split_quantized_recurrent
from colonnade.passes.split_recurrent import split_recurrent
from colonnade.passes.tabulate_elementwise import tabulate_elementwise
from colonnade.passes.unpack_block_weights import unpack_block_weights

QUANTIZATION_PASSES = (
    unpack_block_weights,  # MatMulNBits -> MatMul
    expand_qlinear,  # QLinearAdd, ... -> DequantizeLinear, Add, QuantizeLinear
    adopt_quantized_products,  # QLinearConv, QLinearMatMul, QGemm -> QConv, QLinear, QMatMul
    adopt_integer_products,  # MatMulInteger, ConvInteger + Cast + Mul -> QLinear, QConv, QMatMul
    move_dequantize,  # behind moves, so that what follows sees integers
    remove_requantize,  # QuantizeLinear(DequantizeLinear(x)) that gives x back
    split_quantized_recurrent,  # 8-bit LSTM, GRU, RNN -> one product over all steps + QRecurrent
    fold_quantized_products,  # products of DequantizeLinear -> QConv, QLinear, QMatMul
    fuse_quantized_pad,  # padding with the zero point into QConv
    fold_product_bias,  # Add of a constant -> bias
    remove_saturated_clip,  # Relu and Clip that QuantizeLinear does by itself
    move_quantize,  # in front of moves, up to a product
    remove_requantize,  # of a concatenation's parts
    fold_output_quantization,  # QuantizeLinear -> the product's output
    fold_dequantized,  # weights of float32 products
    fuse_quantized_mean,  # averages over space of 8 bits -> QAveragePool
    fuse_quantized_attention,  # two QMatMul with a softmax between them -> QAttention
    dequantize_products,  # what no 8-bit kernel takes -> float32; the last one
)
"""From every producer's form to QLinear, QConv and QMatMul (reference/quantized_products.py)."""

PASSES = (
    *QUANTIZATION_PASSES,
    fuse_attention,  # softmax(scale Q K^T + mask) V -> Attention
    adopt_attention,  # ONNX Attention without cache -> Attention
    adopt_contrib,  # operators of ONNX Runtime's own -> ours
    fuse_layer_norm,  # mean, variance, scale, shift -> LayerNorm
    fuse_rms_norm,  # mean square, scale -> RMSNorm
    adopt_layer_norm,  # ONNX LayerNormalization over the last axis -> LayerNorm
    adopt_rms_norm,  # ONNX RMSNormalization over the last axis -> RMSNorm
    fuse_gelu,  # erf form -> one opcode
    fuse_gelu_tanh,  # tanh form -> one opcode
    fuse_silu,  # x * sigmoid(x) -> one opcode
    fuse_hardswish,  # x * hardsigmoid(x) -> one opcode
    fuse_pad,  # zero padding into the convolution
    split_recurrent,  # LSTM, GRU, RNN -> one product over all steps + Recurrent
    fold_batch_norm,  # into the convolution's weights, or Mul + Add
    fuse_linear,  # MatMul / Gemm with constant weights + bias -> Linear
    decompose,  # operators without a kernel -> simpler ones
    fuse_skip_norm,  # LayerNorm(x + residual)
    lower_elementwise,  # ONNX operations -> programs
    merge_elementwise,  # chains -> one program
    tabulate_elementwise,  # of one tensor of 8 bits -> a table
    fuse_quantized_binary,  # a + b, a * b of 8 bits -> one operator
    fuse_epilogue,  # program -> epilogue of the product before it
    fold_output_quantization,  # QuantizeLinear behind an epilogue -> the product's output
)
