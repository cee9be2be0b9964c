"""Which layers to prune, and how far: accuracy lost against time gained, both measured."""

from colonnade.search.allocate import allocate
from colonnade.search.analyze import Analysis, LayerCost, Subject, analyze, open_subject
from colonnade.search.target import Found, Round, Target, search

__all__ = [
    "Analysis",
    "Found",
    "LayerCost",
    "Round",
    "Subject",
    "Target",
    "allocate",
    "analyze",
    "open_subject",
    "search",
]
