"""The messages of inference.proto, made from its descriptor when the server starts.

They live in a pool of their own: a client's stubs of the same protocol may be in the same process, and
no generated code ties the package to one version of protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE = "inference.GRPCInferenceService"


@cache
def pool() -> Any:
    """The pool with the descriptors of inference.proto."""
    made = descriptor_pool.DescriptorPool()
    raw = files("colonnade.serve.grpc").joinpath("inference.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(raw).file:
        made.Add(file)
    return made


@cache
def messages() -> Mapping[str, Any]:
    """The classes of all top-level messages by name."""
    file = pool().FindFileByName("inference.proto")
    return MappingProxyType(
        {
            name: message_factory.GetMessageClass(descriptor)
            for name, descriptor in file.message_types_by_name.items()
        }
    )


def methods() -> list[Any]:
    """The descriptors of the service's methods."""
    return list(pool().FindServiceByName(SERVICE).methods)
