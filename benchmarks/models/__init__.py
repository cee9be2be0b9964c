"""Real models for the demo, the tests and the benchmarks: built once, cached, never vendored.

>>> import models
>>> path, feeds = models.build("silero_vad"), models.inputs("silero_vad")  # doctest: +SKIP
"""

from models.cache import cache_dir
from models.catalogue import MODELS, Model, build, find, inputs, names
from models.imagenet_names import imagenet_names
from models.packages import PackageCorruptError, PackageUnavailableError
from models.requirements import LibraryMissingError

__all__ = [
    "MODELS",
    "LibraryMissingError",
    "Model",
    "PackageCorruptError",
    "PackageUnavailableError",
    "build",
    "cache_dir",
    "find",
    "imagenet_names",
    "inputs",
    "names",
]
