"""Loading of models and shared memory over gRPC: methods by their protocol names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from colonnade.serve.grpc.messages import messages
from colonnade.serve.refusal import Kind, Refusal
from colonnade.serve.repository import Repository
from colonnade.serve.shared_memory import SharedMemory

Action = Callable[[Any, Any], Awaitable[Any]]


def control_actions(
    repository: Repository, memory: SharedMemory | None, *, model_control: bool
) -> Mapping[str, Action]:
    """As http/routes/control.py."""

    def controlled() -> None:
        if not model_control:
            raise Refusal(
                Kind.FORBIDDEN, "this server does not let clients load models (model_control)"
            )

    def regions() -> SharedMemory:
        if memory is None:
            raise Refusal(Kind.UNSUPPORTED, "this server takes no shared memory")
        return memory

    async def load(message: Any, _: Any) -> Any:
        controlled()
        await repository.load(message.model_name)
        return messages()["RepositoryModelLoadResponse"]()

    async def unload(message: Any, _: Any) -> Any:
        controlled()
        await repository.unload(message.model_name)
        return messages()["RepositoryModelUnloadResponse"]()

    async def status(message: Any, _: Any) -> Any:
        made = messages()["SystemSharedMemoryStatusResponse"]()
        for region in regions().status(message.name):
            entry = made.regions[region.name]
            entry.name, entry.key = region.name, region.key
            entry.offset, entry.byte_size = region.offset, region.byte_size
        return made

    async def register(message: Any, _: Any) -> Any:
        regions().register(message.name, message.key, message.offset, message.byte_size)
        return messages()["SystemSharedMemoryRegisterResponse"]()

    async def unregister(message: Any, _: Any) -> Any:
        regions().unregister(message.name)
        return messages()["SystemSharedMemoryUnregisterResponse"]()

    return {
        "RepositoryModelLoad": load,
        "RepositoryModelUnload": unload,
        "SystemSharedMemoryStatus": status,
        "SystemSharedMemoryRegister": register,
        "SystemSharedMemoryUnregister": unregister,
    }
