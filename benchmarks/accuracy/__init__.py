"""Accuracy kept by sparsification, on real data: what `./dev accuracy` runs."""
