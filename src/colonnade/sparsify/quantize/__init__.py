"""Eight bits while torch still trains the model: fake quantization, ranges, smoothing."""
