"""One-shot pruning of an ONNX file: no torch, no training, calibrated with the engine itself.

layers.py finds what can be pruned, statistics.py runs the calibration data, `colonnade.sparsity`
solves each layer; prune.py is the whole.
"""

from colonnade.pruning.prune import PrunedModel, prune, prune_many
from colonnade.pruning.report import LayerRecord, OutputRecord, Report

__all__ = ["LayerRecord", "OutputRecord", "PrunedModel", "Report", "prune", "prune_many"]
