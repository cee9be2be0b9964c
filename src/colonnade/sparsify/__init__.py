"""From a trained PyTorch model to a sparse, quantized one that kept its accuracy."""
