"""Tasks: pre-processing, the engine, post-processing."""
