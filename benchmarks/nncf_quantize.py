"""Quantize an ONNX file by NNCF: nncf_quantize.py MODEL.onnx FEEDS.npz image|transformer OUT.xml.

Runs in OpenVINO's interpreter; needs openvino and nncf only.
"""

from __future__ import annotations

import importlib
import sys

import numpy as np


def main(model_path: str, feeds_path: str, kind: str, out: str) -> None:
    """Write OUT.xml and OUT.bin: 8 bits by channel, calibrated on one sample."""
    nncf = importlib.import_module("nncf")
    openvino = importlib.import_module("openvino")
    with np.load(feeds_path) as arrays:
        feeds = {name: arrays[name] for name in arrays.files}
    quantized = nncf.quantize(
        openvino.Core().read_model(model_path),
        nncf.Dataset([feeds]),
        model_type=nncf.ModelType.TRANSFORMER if kind == "transformer" else None,
        subset_size=1,
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
