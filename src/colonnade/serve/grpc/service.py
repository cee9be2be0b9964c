"""The methods of the inference service. Start reading at `Service.model_infer`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

import colonnade
from colonnade.serve import describe
from colonnade.serve.grpc.codec import decode_request, encode_response
from colonnade.serve.grpc.messages import messages
from colonnade.serve.refusal import Kind, Refusal, refusal_of
from colonnade.serve.regions import Regions
from colonnade.serve.repository import Repository

EXTENSIONS = ("model_configuration", "statistics", "schedule_policy", "sequence", "parameters")
STREAM_DEPTH_MAX = 64
"""Requests of one stream that may be under way; the next one is read when the first is answered."""
FINAL = "triton_enable_empty_final_response"

CODES = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.NOT_ALLOWED: grpc.StatusCode.UNIMPLEMENTED,
    Kind.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Kind.CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Kind.TOO_LARGE: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNSUPPORTED: grpc.StatusCode.UNIMPLEMENTED,
    Kind.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.CANCELLED: grpc.StatusCode.CANCELLED,
    Kind.INTERNAL: grpc.StatusCode.INTERNAL,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.DEADLINE: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Method = Callable[[Any, Any], Awaitable[Any]]


class Service:
    """One method for each of the protocol, in snake_case; all may raise Refusal."""

    def __init__(self, repository: Repository, regions: Regions) -> None:
        self._repository = repository
        self._regions = regions

    async def model_infer(self, message: Any, context: Any) -> Any:
        """One request, one answer."""
        loop = asyncio.get_running_loop()
        left_s = context.time_remaining()
        now = loop.time()
        deadline = None if left_s is None else now + left_s
        request = decode_request(message, now, deadline, self._regions)
        response = await self._repository.infer(request)
        return encode_response(response, message, self._regions)

    async def model_stream_infer(self, stream: Any, context: Any) -> AsyncIterator[Any]:
        """Requests of a stream run side by side; answers come in the order of the requests. A
        request that fails is answered with its error, and the stream goes on."""
        answers: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(STREAM_DEPTH_MAX)

        async def read() -> None:
            async for message in stream:
                await answers.put(asyncio.ensure_future(self._answer_in_stream(message, context)))
            await answers.put(None)

        reader = asyncio.ensure_future(read())
        try:
            while (task := await answers.get()) is not None:
                yield await task
            await reader
        finally:
            reader.cancel()
            while not answers.empty():
                waiting = answers.get_nowait()
                if waiting is not None:
                    waiting.cancel()

    async def _answer_in_stream(self, message: Any, context: Any) -> Any:
        made = messages()["ModelStreamInferResponse"]()
        try:
            made.infer_response.CopyFrom(await self.model_infer(message, context))
        except Exception as error:  # noqa: BLE001  # it is this request's, not the stream's
            made.error_message = refusal_of(error).reason
            made.infer_response.id = message.id
        if FINAL in message.parameters and message.parameters[FINAL].bool_param:
            made.infer_response.parameters["triton_final_response"].bool_param = True
        return made

    async def server_live(self, message: Any, context: Any) -> Any:
        """Whether the process answers."""
        return messages()["ServerLiveResponse"](live=True)

    async def server_ready(self, message: Any, context: Any) -> Any:
        """Whether every model answers."""
        return messages()["ServerReadyResponse"](ready=self._repository.is_ready)

    async def model_ready(self, message: Any, context: Any) -> Any:
        """Whether a model answers."""
        try:
            self._repository.served(message.name, message.version)
        except Refusal as refusal:
            if refusal.kind is not Kind.UNAVAILABLE:
                raise
            return messages()["ModelReadyResponse"](ready=False)
        return messages()["ModelReadyResponse"](ready=True)

    async def server_metadata(self, message: Any, context: Any) -> Any:
        """Name and version."""
        return messages()["ServerMetadataResponse"](
            name="colonnade", version=colonnade.__version__, extensions=EXTENSIONS
        )

    async def model_metadata(self, message: Any, context: Any) -> Any:
        """Inputs and outputs."""
        served = self._repository.served(message.name, message.version)
        entry = self._repository.models()[message.name]
        return messages()["ModelMetadataResponse"](**describe.metadata(served, entry))

    async def model_config(self, message: Any, context: Any) -> Any:
        """As far as Triton's configuration has words for it."""
        found = describe.config(self._repository.served(message.name, message.version))
        return messages()["ModelConfigResponse"](config=found)

    async def model_statistics(self, message: Any, context: Any) -> Any:
        """Of one model, or of all."""
        found = describe.all_served(self._repository)
        if message.name:
            found = [self._repository.served(message.name, message.version)]
        stats = [describe.statistics(served) for served in found]
        return messages()["ModelStatisticsResponse"](model_stats=stats)

    async def repository_index(self, message: Any, context: Any) -> Any:
        """Every version that the server knows of."""
        found = describe.index(self._repository, ready_only=message.ready)
        return messages()["RepositoryIndexResponse"](models=found)

    async def unsupported(self, message: Any, context: Any) -> Any:
        """For methods of devices and settings that are not here."""
        raise Refusal(Kind.UNSUPPORTED, "this server has no CUDA memory, trace or log settings")
