"""Post-training quantization: float32 models to 8 bits, calibrated with the engine itself.

data/ reads calibration samples, calibrate.py runs them, methods.py turns histograms into ranges,
place.py says where 8 bits go, write_qdq.py writes them into the Graph; quantize.py is the whole.
"""

from colonnade.quantization.data.images import ImageSpec
from colonnade.quantization.data.open import Reading
from colonnade.quantization.quantize import Quantized, quantize
from colonnade.quantization.report import LayerRecord, OutputRecord, Report, Speed
from colonnade.quantization.search import Target

__all__ = [
    "ImageSpec",
    "LayerRecord",
    "OutputRecord",
    "Quantized",
    "Reading",
    "Report",
    "Speed",
    "Target",
    "quantize",
]
