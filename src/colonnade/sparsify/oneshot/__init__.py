"""One-shot pruning and rounding of torch models: calibrated by forward passes, without training.

inputs.py sums up what layers read, `colonnade.sparsity` solves them on the CPU in numpy, prune.py
is the whole (`oneshot`); modifiers.py lets recipes do the same, and loads without torch.
"""
