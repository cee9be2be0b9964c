"""What one model may cost, however hostile it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits that hold before anything is allocated; going over one raises ModelError.

    >>> Budget(max_nodes=10_000).max_nesting
    64
    """

    max_model_bytes: int = (1 << 31) - 1
    """Of the model file itself; protobuf cannot hold more. External data is not counted."""
    max_structure_bytes: int = 256 << 20
    """Of the model file without its large tensors."""
    max_nodes: int = 1_000_000
    max_nesting: int = 64
    """Bodies of If, Loop and Scan inside one another."""
    max_function_expansion: int = 1_000_000
    """Nodes after every local function is inlined."""
    max_metadata_entries: int = 100_000
    max_name_bytes: int = 1 << 16
    max_const_fold_bytes: int = 64 << 20
    """Of constants that grow: folded values, and sparse tensors made dense."""
    max_tensor_bytes: int = 16 << 30
    """Of any tensor whose size is known before a run."""
    max_loop_iterations: int = 100_000_000
    """Of a Loop whose constant trip count nothing can end earlier."""
