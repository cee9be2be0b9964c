"""One file per network: its definition where we own it, and how its ONNX file is made."""
