"""What leaves the training: ONNX files, safetensors, Hugging Face folders. Loads torch."""

from colonnade.sparsify.export.folder import load_folder, load_folder_weights, save_folder
from colonnade.sparsify.export.formats import FORMATS, Format
from colonnade.sparsify.export.onnx import Exported, Runner, export_onnx
from colonnade.sparsify.export.weights import load_weights, save_weights

__all__ = [
    "FORMATS",
    "Exported",
    "Format",
    "Runner",
    "export_onnx",
    "load_folder",
    "load_folder_weights",
    "load_weights",
    "save_folder",
    "save_weights",
]
