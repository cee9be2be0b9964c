"""Recipes of other tools: SparseML in both of its dialects, and llm-compressor."""
