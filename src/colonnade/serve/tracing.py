"""OpenTelemetry traces of requests: one span for each, and in it queue, batch and compute.

The caller's `traceparent` (W3C) is the parent, and the answer's header names our own span.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colonnade.errors import CapabilityError
from colonnade.serve.protocol import Timing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

Attributes = Mapping[str, str | int | float | bool]

NO_ATTRIBUTES: Attributes = {}
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """The span of a request. Times are in seconds of the clock that `Tracing` was given."""

    _tracer: Tracer
    _span: Span
    _epoch_ns: Callable[[float], int]

    @property
    def traceparent(self) -> str:
        """The header that names this span to others."""
        from opentelemetry.trace import format_span_id, format_trace_id

        context = self._span.get_span_context()
        trace_id, span_id = format_trace_id(context.trace_id), format_span_id(context.span_id)
        return f"00-{trace_id}-{span_id}-{int(context.trace_flags):02x}"

    def add(
        self, name: str, start_s: float, end_s: float, attributes: Attributes = NO_ATTRIBUTES
    ) -> None:
        """A part of the request that is over: queue, batch or compute."""
        from opentelemetry.trace import set_span_in_context

        child = self._tracer.start_span(
            name,
            set_span_in_context(self._span),
            attributes=dict(attributes),
            start_time=self._epoch_ns(start_s),
        )
        child.end(self._epoch_ns(end_s))

    def add_timing(self, timing: Timing) -> None:
        """What the model's queue and batch took."""
        joined_s = timing.started_s + timing.input_s
        ran_s = joined_s + timing.infer_s
        rows: Attributes = {"colonnade.batch_rows": timing.batch_rows}
        self.add("queue", timing.arrived_s, timing.started_s)
        self.add("batch", timing.started_s, ran_s + timing.output_s, rows)
        self.add("compute", joined_s, ran_s, rows)

    def end(self, status: int) -> None:
        """The request is answered, with an HTTP status."""
        from opentelemetry.trace import StatusCode

        self._span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERROR:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Tracing:
    """Makes the spans of requests; `now` is the clock of their times."""

    def __init__(self, provider: TracerProvider, now: Callable[[], float]) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("colonnade")
        self._offset_ns = time.time_ns() - round(now() * 1e9)

    def start(self, name: str, model: str, traceparent: str | None) -> RequestTrace:
        """A request begins. A `traceparent` that is not valid is as good as none."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": traceparent} if traceparent else {}
        span = self._tracer.start_span(
            name,
            TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            attributes={"colonnade.model": model},
        )
        return RequestTrace(self._tracer, span, self._epoch_ns)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def _epoch_ns(self, seconds: float) -> int:
        return self._offset_ns + round(seconds * 1e9)


def start_tracing(now: Callable[[], float]) -> Tracing:
    """Spans go to where OTEL_EXPORTER_OTLP_ENDPOINT says; needs the extra `trace`."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise CapabilityError(
            f"traces need OpenTelemetry ({error}): pip install 'colonnade[trace]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "colonnade"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider, now)
