"""One engine in one process, driven over pipes. A single file: needs numpy and the engine only.

The interpreter may be another one, from Python 3.8 on, without colonnade. Requests come on standard
input and replies go to the original standard output; a message is

    b"CWP1", header length (uint32, big endian), header (JSON), then the arrays of header["arrays"]
    in order, each as a .npy file of the stated number of bytes. Nothing is pickled.

Requests (header["do"]) and what their replies hold:

    open      engine, model, threads, streams   version, rss_bytes; the engine's library is imported
    describe                                    inputs: [{name, dtype, shape, planned?}]
    prepare   shapes: {name: [...]}             load_ms, isa, outputs, details
    feed      arrays                            (keeps them as the inputs of every run)
    run                                         arrays: the outputs by name
    measure   iterations                        times_ns, wall_ns, cpu_start_ns, cpu_end_ns
    trace                                       events, where the engine can
    memory    reset: bool                       rss_bytes, peak_bytes
    quit

A reply has "ok"; a failed one "error", "traceback" and
"kind" (missing | capability | model | input | run).
"""

# ruff: noqa: B905, UP006, UP035, UP045
# Python 3.8 lacks zip(strict=), list[int] and X | None.
from __future__ import annotations

import sys

if __name__ == "__main__":
    del sys.path[0]  # this folder: its modules must not hide others of the same name

import gc
import importlib
import io
import itertools
import json
import os
import platform
import shutil
import struct
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any, Callable, Dict, List, Optional, Set, Tuple

import numpy as np

MAGIC = b"CWP1"
HEADER_BYTES_MAX = 1 << 26
_PREFIX = struct.Struct(">4sI")

Arrays = Dict[str, np.ndarray]
Runner = Callable[[], Any]


class ProtocolError(Exception):
    """The other end wrote something that is not a message, or went away inside one."""


class MissingError(Exception):
    """The engine's library is not installed here."""


def write_message(
    stream: IO[bytes], header: Dict[str, Any], arrays: Optional[Arrays] = None
) -> None:
    """Write one message and flush."""
    blobs = []
    listed = []
    for name, array in (arrays or {}).items():
        is_text = array.dtype.kind == "O"
        blob = io.BytesIO()
        plain = array.astype(str) if is_text else array
        np.lib.format.write_array(blob, plain, allow_pickle=False)
        blobs.append(blob.getbuffer())
        listed.append({"name": name, "bytes": len(blobs[-1]), "text": is_text})
    raw = json.dumps(dict(header, arrays=listed)).encode()
    stream.write(_PREFIX.pack(MAGIC, len(raw)))
    stream.write(raw)
    for view in blobs:
        stream.write(view)
    stream.flush()


def read_message(stream: IO[bytes]) -> Optional[Tuple[Dict[str, Any], Arrays]]:
    """The next message, or None at a clean end. Raises ProtocolError."""
    first = stream.read(1)
    if not first:
        return None
    magic, length = _PREFIX.unpack(first + _read_exactly(stream, _PREFIX.size - 1))
    if magic != MAGIC or length > HEADER_BYTES_MAX:
        raise ProtocolError(f"not a message: {magic!r}")
    header: Dict[str, Any] = json.loads(_read_exactly(stream, length))
    arrays: Arrays = {}
    for entry in header.pop("arrays", []):
        blob = io.BytesIO(_read_exactly(stream, entry["bytes"]))
        array: np.ndarray = np.lib.format.read_array(blob, allow_pickle=False)
        arrays[entry["name"]] = array.astype(object) if entry["text"] else array
    return header, arrays


def _read_exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise ProtocolError("the other end went away inside a message")
    return data


class Colonnade:
    """colonnade itself."""

    def __init__(
        self, model: str, threads: int, streams: int, scheduler: str = "single_stream"
    ) -> None:
        self._module = importlib.import_module("colonnade")
        self._model = model
        self._threads = threads
        self._engine: Any = None
        with Path(model).open("rb") as file:
            self._is_plan = file.read(8) == b"COLONNAD"
        self._scheduler = scheduler
        self.streams = streams
        self.version = str(self._module.__version__)

    def describe(self) -> List[Dict[str, Any]]:
        """Inputs as declared; a saved plan's with the shapes that it holds."""
        engine = self._open()
        found = [_info(info.name, info.dtype, info.shape) for info in engine.inputs]
        if self._is_plan:
            planned = engine.explain().shapes
            found = [dict(info, planned=list(planned[info["name"]])) for info in found]
        return found

    def prepare(self, shapes: Dict[str, List[int]]) -> Dict[str, Any]:
        """Plan for these shapes."""
        engine = self._open()
        engine.prepare({name: tuple(shape) for name, shape in shapes.items()})
        found = engine.explain().to_dict()
        del found["nodes"], found["passes"]
        return {
            "isa": found["isa"],
            "outputs": [info.name for info in engine.outputs],
            "details": found,
        }

    def runner(self, feeds: Arrays) -> Runner:
        """One run."""
        engine = self._engine
        return lambda: list(engine.run(feeds).values())

    def trace(self, feeds: Arrays) -> List[Dict[str, Any]]:
        """Events of one run."""
        events: List[Dict[str, Any]] = self._engine.trace(feeds)
        return events

    def _open(self) -> Any:
        if self._engine is None:
            make = self._module.load if self._is_plan else self._module.compile
            # More requests in flight than threads wait for a stream.
            streams = min(self.streams, self._threads)
            self._engine = make(
                self._model,
                threads=self._threads,
                scheduler=self._scheduler,
                streams=streams if self._scheduler == "multi_stream" else None,
            )
        return self._engine


class OnnxRuntime:
    """ONNX Runtime's CPU provider with its defaults; the known sizes of free dimensions are set.

    Of a file with QuantizeLinear nodes there is a session without them, too, and the faster one is
    taken: with all sizes known it leaves products of quantized transformers in float32.
    """

    def __init__(
        self, model: str, threads: int, streams: int, scheduler: str = "single_stream"
    ) -> None:
        self._module = importlib.import_module("onnxruntime")
        self._model = model
        self._threads = threads
        self._sessions: List[Any] = []
        self.streams = streams
        self.version = str(self._module.__version__)

    def describe(self) -> List[Dict[str, Any]]:
        """Inputs as declared."""
        inputs = self._make_session({}).get_inputs()
        return [_info(i.name, _ort_dtype(i.type), i.shape) for i in inputs]

    def prepare(self, shapes: Dict[str, List[int]]) -> Dict[str, Any]:
        """Make the sessions to choose from."""
        self._sessions = [self._make_session(shapes)]
        if self._is_quantized():
            self._sessions.append(self._make_session({}))
        return {"isa": None, "outputs": [o.name for o in self._sessions[0].get_outputs()]}

    def runner(self, feeds: Arrays) -> Runner:
        """One run, in the faster session."""
        if len(self._sessions) > 1:
            self._sessions = [min(self._sessions, key=lambda one: _fastest_ns(one, feeds))]
        session = self._sessions[0]
        return lambda: session.run(None, feeds)

    def _is_quantized(self) -> bool:
        return _holds(self._model, b"QuantizeLinear")

    def _make_session(self, shapes: Dict[str, List[int]]) -> Any:
        options = self._module.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        if shapes:
            for symbol, size in self._free_dimensions(shapes).items():
                options.add_free_dimension_override_by_name(symbol, size)
        return self._module.InferenceSession(
            self._model, options, providers=["CPUExecutionProvider"]
        )

    def _free_dimensions(self, shapes: Dict[str, List[int]]) -> Dict[str, int]:
        sizes: Dict[str, Set[int]] = {}
        for info in self.describe():
            for symbol, size in zip(info["shape"], shapes.get(info["name"], [])):
                if isinstance(symbol, str):
                    sizes.setdefault(symbol, set()).add(size)
        return {symbol: found.pop() for symbol, found in sizes.items() if len(found) == 1}


def _holds(path: str, word: bytes) -> bool:
    """Whether the bytes are in a file; read in parts, for the memory of this process is measured."""
    end = b""
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            if word in end + part:
                return True
            end = part[-len(word) :]
    return False


def _fastest_ns(session: Any, feeds: Arrays) -> int:
    """Of a few runs, the first not counted."""
    times = []
    for _ in range(4):
        start = time.perf_counter_ns()
        session.run(None, feeds)
        times.append(time.perf_counter_ns() - start)
    return min(times[1:])


class OpenVino:
    """OpenVINO's CPU plugin: static shapes, float32 arithmetic as in the others."""

    def __init__(
        self, model: str, threads: int, streams: int, scheduler: str = "single_stream"
    ) -> None:
        self._module = importlib.import_module("openvino")
        self._core = self._module.Core()
        self._parsed = self._core.read_model(model)
        self._threads = threads
        self._compiled: Any = None
        self.streams = streams
        self.version = str(self._module.__version__).split("-")[0]

    def describe(self) -> List[Dict[str, Any]]:
        """Inputs as declared."""
        return [
            _info(
                port.get_any_name(),
                port.get_element_type().to_dtype(),
                [d.get_length() if d.is_static else None for d in port.get_partial_shape()],
            )
            for port in self._parsed.inputs
        ]

    def prepare(self, shapes: Dict[str, List[int]]) -> Dict[str, Any]:
        """Reshape and compile."""
        self._parsed.reshape({name: list(shape) for name, shape in shapes.items()})
        config = {
            "INFERENCE_NUM_THREADS": self._threads,
            "PERFORMANCE_HINT": "LATENCY" if self.streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": self.streams,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._compiled = self._core.compile_model(self._parsed, "CPU", config)
        return {"isa": None, "outputs": [p.get_any_name() for p in self._compiled.outputs]}

    def runner(self, feeds: Arrays) -> Runner:
        """One run, with a request of its own."""
        request = self._compiled.create_infer_request()
        ports = list(self._compiled.outputs)

        def run() -> List[np.ndarray]:
            found = request.infer(feeds, share_inputs=True, share_outputs=True)
            return [found[port] for port in ports]

        return run


class DeepSparse:
    """DeepSparse, the engine that users come from."""

    def __init__(
        self, model: str, threads: int, streams: int, scheduler: str = "single_stream"
    ) -> None:
        os.environ.setdefault("NM_DISABLE_ANALYTICS", "True")
        self._module = importlib.import_module("deepsparse")
        self._model = model
        self._threads = threads
        self._scheduler = scheduler
        self._names: List[str] = []
        self._engine: Any = None
        self.streams = streams
        self.version = str(self._module.__version__)

    def describe(self) -> List[Dict[str, Any]]:
        """Inputs as declared, by the onnx package that DeepSparse needs anyway."""
        onnx = importlib.import_module("onnx")
        graph = self._graph()
        weights = {tensor.name for tensor in graph.initializer}
        return [
            _info(
                value.name,
                onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
                [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
            )
            for value in graph.input
            if value.name not in weights
        ]

    def prepare(self, shapes: Dict[str, List[int]]) -> Dict[str, Any]:
        """Compile for these shapes, from a copy: DeepSparse writes them into its file."""
        self._names = [info["name"] for info in self.describe()]
        with tempfile.TemporaryDirectory(prefix="colonnade-") as folder:
            self._compile(self._copy_model(Path(folder)), shapes)
        return {"isa": None, "outputs": list(self._engine.output_names)}

    def _compile(self, model: Path, shapes: Dict[str, List[int]]) -> None:
        self._engine = self._module.Engine(
            str(model),
            batch_size=None,
            num_cores=self._threads,
            num_streams=self.streams if self.streams > 1 else None,
            scheduler=getattr(self._module.Scheduler, self._scheduler)
            if self.streams > 1
            else None,
            input_shapes=[list(shapes[name]) for name in self._names],
        )

    def _copy_model(self, folder: Path) -> Path:
        """A copy of the model with the weights that it keeps in files beside it."""
        model = Path(self._model)
        places = {
            entry.value
            for tensor in self._graph().initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        for place in [model.name, *sorted(places)]:
            copy = folder / place
            if folder.resolve() not in copy.resolve().parents:
                raise ValueError(f"external data outside the model's folder: {place}")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(model.parent / place), str(copy))
        return folder / model.name

    def _graph(self) -> Any:
        onnx = importlib.import_module("onnx")
        return onnx.load(self._model, load_external_data=False).graph

    def runner(self, feeds: Arrays) -> Runner:
        """One run."""
        engine = self._engine
        arrays = [feeds[name] for name in self._names]
        return lambda: engine.run(arrays, val_inp=False)


ENGINES: Dict[str, Any] = {
    "colonnade": Colonnade,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "deepsparse": DeepSparse,
}


def _info(name: str, dtype: Any, shape: Any) -> Dict[str, Any]:
    """A declared input; a dimension is an int, a symbol or None; an unknown shape is None."""
    dims: Optional[List[Any]] = None
    if shape is not None:
        dims = [_dim(dim) for dim in shape]
    return {"name": name, "dtype": np.dtype(dtype).str, "shape": dims}


def _dim(dim: Any) -> Any:
    if isinstance(dim, int):
        return dim if dim >= 0 else None
    return str(dim) if dim else None


_ORT_DTYPES = {"float": "float32", "double": "float64", "string": "object"}


def _ort_dtype(text: str) -> str:
    """'tensor(float)' as a numpy name."""
    inner = text[text.find("(") + 1 : -1]
    return _ORT_DTYPES.get(inner, inner)


class Worker:
    """Answers requests; one engine for its whole life."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._outputs: List[str] = []
        self._feeds: Arrays = {}
        self._runners: List[Runner] = []

    def answer(self, request: Dict[str, Any], arrays: Arrays) -> Tuple[Dict[str, Any], Arrays]:
        """The reply to one request."""
        handle = getattr(self, "_do_" + str(request.get("do")), None)
        if handle is None:
            raise ValueError(f"unknown request {request.get('do')!r}")
        reply = handle(request, arrays)
        return reply if isinstance(reply, tuple) else (reply, {})

    def _do_open(self, request: Dict[str, Any], _: Arrays) -> Dict[str, Any]:
        try:
            made = ENGINES[request["engine"]]
            self._engine = made(
                request["model"], request["threads"], request["streams"], request["scheduler"]
            )
        except ModuleNotFoundError as error:
            raise MissingError(str(error)) from error
        return {
            "version": self._engine.version,
            "python": platform.python_version(),
            "numpy": np.__version__,
            "rss_bytes": status_bytes("VmRSS"),
        }

    def _do_describe(self, _: Dict[str, Any], __: Arrays) -> Dict[str, Any]:
        return {"inputs": self._engine.describe()}

    def _do_prepare(self, request: Dict[str, Any], _: Arrays) -> Dict[str, Any]:
        start = time.perf_counter_ns()
        reply: Dict[str, Any] = self._engine.prepare(request["shapes"])
        reply["load_ms"] = (time.perf_counter_ns() - start) / 1e6
        self._outputs = reply["outputs"]
        return reply

    def _do_feed(self, _: Dict[str, Any], arrays: Arrays) -> Dict[str, Any]:
        self._feeds = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        for name, array in arrays.items():  # a scalar would have gained an axis
            self._feeds[name] = self._feeds[name].reshape(array.shape)
        self._runners = [self._engine.runner(self._feeds) for _ in range(self._engine.streams)]
        return {}

    def _do_run(self, _: Dict[str, Any], __: Arrays) -> Tuple[Dict[str, Any], Arrays]:
        made = self._runners[0]()
        return {}, {n: np.array(array) for n, array in zip(self._outputs, made)}

    def _do_measure(self, request: Dict[str, Any], _: Arrays) -> Dict[str, Any]:
        cpu_start_ns = time.process_time_ns()
        times_ns, wall_ns = time_runs(self._runners, request["iterations"])
        return {
            "times_ns": times_ns,
            "wall_ns": wall_ns,
            "cpu_start_ns": cpu_start_ns,
            "cpu_end_ns": time.process_time_ns(),
        }

    def _do_trace(self, _: Dict[str, Any], __: Arrays) -> Dict[str, Any]:
        if not hasattr(self._engine, "trace"):
            raise ValueError("this engine cannot trace")
        return {"events": self._engine.trace(self._feeds)}

    def _do_memory(self, request: Dict[str, Any], _: Arrays) -> Dict[str, Any]:
        if request.get("reset"):
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts from the present size
        return {"rss_bytes": status_bytes("VmRSS"), "peak_bytes": status_bytes("VmHWM")}


def time_runs(runners: List[Runner], iterations: int) -> Tuple[List[int], int]:
    """Nanoseconds of each of `iterations` runs, dealt to one thread per runner; and of all."""
    gc.collect()
    gc.disable()
    start_ns = time.perf_counter_ns()
    try:
        if len(runners) == 1:
            times_ns = _time_stream(runners[0], iter(range(iterations)))
        else:
            times_ns = _time_streams(runners, iterations)
        return times_ns, time.perf_counter_ns() - start_ns
    finally:
        gc.enable()


def _time_stream(run: Runner, tickets: Any) -> List[int]:
    times = []
    clock = time.perf_counter_ns
    for _ in tickets:
        start = clock()
        run()
        times.append(clock() - start)
    return times


def _time_streams(runners: List[Runner], iterations: int) -> List[int]:
    tickets = itertools.islice(itertools.count(), iterations)
    found: List[List[int]] = [[] for _ in runners]
    failed: List[BaseException] = []

    def stream(position: int) -> None:
        try:
            found[position] = _time_stream(runners[position], _locked(tickets, lock))
        except Exception as error:  # noqa: BLE001  # raised again in the caller's thread
            failed.append(error)

    lock = threading.Lock()
    threads = [threading.Thread(target=stream, args=(i,)) for i in range(len(runners))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [time_ns for times in found for time_ns in times]


def _locked(tickets: Any, lock: threading.Lock) -> Any:
    while True:
        with lock:
            ticket = next(tickets, None)
        if ticket is None:
            return
        yield ticket


def status_bytes(field: str) -> Optional[int]:
    """A size from /proc/self/status; None where there is none."""
    try:
        with Path("/proc/self/status").open() as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


_KINDS = {
    "ModelError": "model",
    "PlanError": "model",
    "InputError": "input",
    "CapabilityError": "capability",
}


def _failure(error: Exception, doing: str) -> Dict[str, Any]:
    if isinstance(error, MissingError):
        kind = "missing"
    elif doing in ("describe", "prepare", "open"):
        kind = _KINDS.get(type(error).__name__, "model")
    else:
        kind = _KINDS.get(type(error).__name__, "run")
    return {
        "ok": False,
        "error": str(error) or type(error).__name__,
        "kind": kind,
        "traceback": traceback.format_exc(),
    }


def serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    """Answer requests until "quit" or the end of the stream."""
    worker = Worker()
    while True:
        message = read_message(requests)
        if message is None or message[0].get("do") == "quit":
            return
        request, arrays = message
        try:
            reply, made = worker.answer(request, arrays)
        except Exception as error:  # noqa: BLE001  # whatever the engine raised is the reply
            write_message(replies, _failure(error, str(request.get("do"))))
        else:
            write_message(replies, dict(reply, ok=True), made)


def main() -> None:
    """Serve on the process's own pipes; what libraries print goes to standard error."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
