"""What ONNX says about an operator, in a form that is quick to look up."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import onnx

ONNX_DOMAIN = ""
ML_DOMAIN = "ai.onnx.ml"
CONTRIB_DOMAIN = "com.microsoft"

MIN_OPSET, MAX_OPSET = 1, 26
MAX_ML_OPSET = 5
MAX_CONTRIB_OPSET = 1

_WITHDRAWN = frozenset(("Upsample", "Scatter"))
"""Deprecated operators that nothing runs any more; the others are still in use."""

_OPTIONAL = onnx.defs.OpSchema.FormalParameterOption.Optional
_VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic


@dataclass(frozen=True, slots=True)
class Parameter:
    """One formal input: its type variable (or type), the types it takes, whether it may be absent."""

    type_name: str
    types: frozenset[str]
    is_optional: bool
    is_homogeneous: bool


@dataclass(frozen=True, slots=True)
class OpSchema:
    """One operator at one opset."""

    definition: onnx.defs.OpSchema
    min_inputs: int
    max_inputs: int
    min_outputs: int
    max_outputs: int
    parameters: tuple[Parameter, ...]
    attributes: dict[str, int]
    """AttributeProto type by name."""
    required: tuple[str, ...]

    def parameter(self, index: int) -> Parameter | None:
        """The formal input for an actual one; the last, where that is variadic."""
        if not self.parameters:
            return None
        return self.parameters[min(index, len(self.parameters) - 1)]


@lru_cache(maxsize=4096)
def find_schema(op: str, domain: str, version: int) -> OpSchema | None:
    """The schema of `op` at this opset; None when there is none, or it is withdrawn there."""
    try:
        found = onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None
    if found.deprecated and op in _WITHDRAWN:
        return None
    attributes = found.attributes
    return OpSchema(
        definition=found,
        min_inputs=found.min_input,
        max_inputs=found.max_input,
        min_outputs=found.min_output,
        max_outputs=found.max_output,
        parameters=tuple(_parameter(formal) for formal in found.inputs),
        attributes={name: int(a.type.value) for name, a in attributes.items()},
        required=tuple(name for name, a in attributes.items() if a.required),
    )


def _parameter(formal: onnx.defs.OpSchema.FormalParameter) -> Parameter:
    return Parameter(
        type_name=formal.type_str,
        types=frozenset(formal.types),
        is_optional=formal.option in (_OPTIONAL, _VARIADIC),
        is_homogeneous=formal.is_homogeneous,
    )


@lru_cache(maxsize=4096)
def find_other_domain(op: str) -> str | None:
    """A domain that has an operator of this name, for the hint in an error."""
    for domain in (ONNX_DOMAIN, ML_DOMAIN):
        if onnx.defs.has(op, domain):
            return domain
    return CONTRIB_DOMAIN if op in CONTRIB_OPS else None


RUNTIME_OPS = frozenset(
    "Affine Crop DynamicSlice GivenTensorFill GRUUnit ImageScaler ParametricSoftplus Scale "
    "ScaledTanh SimplifiedLayerNormalization".split()
)
"""Operators that ONNX Runtime knows in the ONNX domain and ONNX does not: fallback only."""

CONTRIB_OPS = frozenset(
    """
    Attention AttnLSTM BeamSearch BiasAdd BiasDropout BiasGelu BiasSoftmax BiasSplitGelu
    BifurcationDetector BitmaskBiasDropout BitmaskDropout CDist CausalConvWithState ComplexMul
    ComplexMulConj ConvTransposeWithDynamicPads CropAndResize DecoderAttention
    DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention DequantizeBFP DequantizeLinear
    DequantizeWithOrder DynamicQuantizeLSTM DynamicQuantizeMatMul DynamicTimeWarping EPContext
    EmbedLayerNormalization ExpandDims FastGelu FusedConv FusedGemm FusedMatMul
    FusedMatMulActivation GatedAdd GatedDeltaNet GatedRelativePositionBias GatherBlockQuantized
    GatherND Gelu GemmFastGelu GemmFloat8 GemmaRotaryEmbedding GreedySearch GridSample GroupNorm
    GroupQueryAttention Inverse Irfft IsAllFinite LinearAttention LongformerAttention MRotaryEmbedding
    MatMulBnb4 MatMulFpQ4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits MaxpoolWithMask MoE
    MulInteger MultiHeadAttention MurmurHash3 NGramRepeatBlock NhwcConv NhwcFusedConv NhwcMaxPool
    PackedAttention PackedMultiHeadAttention Pad PagedAttention QAttention QEmbedLayerNormalization
    QGemm QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool
    QLinearLeakyRelu QLinearMul QLinearReduceMean QLinearSigmoid QLinearSoftmax QLinearWhere QMoE
    QOrderedAttention QOrderedGelu QOrderedLayerNormalization QOrderedLongformerAttention
    QOrderedMatMul QuantizeBFP QuantizeLinear QuantizeWithOrder QuickGelu Range ReduceSumInteger
    RelativePositionBias RemovePadding RestorePadding Rfft RotaryEmbedding SampleOp Sampling
    ScaledSiLU SkipGroupNorm SkipLayerNormalization SkipSimplifiedLayerNormalization Snpe
    SparseAttention SparseToDenseMatMul Tokenizer TorchEmbedding TransposeMatMul Trilu UnfoldTensor
    Unique VarlenCausalConvWithState WhisperBeamSearch WordConvEmbedding
    """.split()
)
"""Operators of the com.microsoft domain that ONNX Runtime has on CPU or declares."""
