"""Operators that ONNX Runtime has and ONNX does not: they run by fallback, unchecked."""

from __future__ import annotations

_RUNTIME = """
Affine Crop DynamicSlice GivenTensorFill GRUUnit ImageScaler ParametricSoftplus Scale ScaledTanh
SimplifiedLayerNormalization
"""
_CONTRIB = """
Attention AttnLSTM BeamSearch BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu
BifurcationDetector BitmaskBiasDropout BitmaskDropout CDist CausalConvWithState ComplexMul
ComplexMulConj ConvTransposeWithDynamicPads CropAndResize DecoderAttention
DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention DequantizeBFP DequantizeLinear
DequantizeWithOrder DynamicQuantizeLSTM DynamicQuantizeMatMul DynamicTimeWarping EPContext
EmbedLayerNormalization ExpandDims FastGelu FusedConv FusedGemm FusedMatMul
FusedMatMulActivation GatedAdd GatedDeltaNet GatedRelativePositionBias GatherBlockQuantized
GatherND Gelu GemmFastGelu GemmFloat8 GemmaRotaryEmbedding GreedySearch GridSample GroupNorm
GroupQueryAttention Inverse Irfft IsAllFinite LinearAttention LongformerAttention
MRotaryEmbedding MatMulBnb4 MatMulFpQ4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits
MaxpoolWithMask MoE MulInteger MultiHeadAttention MurmurHash3 NGramRepeatBlock NhwcConv
NhwcFusedConv NhwcMaxPool PackedAttention PackedMultiHeadAttention Pad PagedAttention
QAttention QEmbedLayerNormalization QGemm QLinearAdd QLinearAveragePool QLinearConcat
QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean
QLinearSigmoid QLinearSoftmax QLinearWhere QMoE QOrderedAttention QOrderedGelu
QOrderedLayerNormalization QOrderedLongformerAttention QOrderedMatMul QuantizeBFP
QuantizeLinear QuantizeWithOrder QuickGelu Range ReduceSumInteger RelativePositionBias
RemovePadding RestorePadding Rfft RotaryEmbedding SampleOp Sampling ScaledSiLU SkipGroupNorm
SkipLayerNormalization SkipSimplifiedLayerNormalization Snpe SparseAttention
SparseToDenseMatMul Tokenizer TorchEmbedding TransposeMatMul Trilu UnfoldTensor Unique
VarlenCausalConvWithState WhisperBeamSearch WordConvEmbedding
"""

RUNTIME_OPS = frozenset(_RUNTIME.split())
"""In the ONNX domain."""
CONTRIB_OPS = frozenset(_CONTRIB.split())
"""In the com.microsoft domain."""
