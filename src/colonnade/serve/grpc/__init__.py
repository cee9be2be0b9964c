"""The Open Inference Protocol over gRPC; the only place that imports the gRPC stack."""
