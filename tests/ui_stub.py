"""The page at /ui over a server that only seems to work: figures that change from poll to poll."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from colonnade.serve.http.ui import content_security_policy, page

BOUNDS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]
HOSTILE = '<img src=x onerror="document.title=1">'


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    polls = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/ui":
            self._answer(page(), "text/html; charset=utf-8")
        elif path == "/ui/data":
            self.server.polls += 1
            self._answer_json(_data(self.server.polls))
        elif path == "/ui/explain":
            self._answer_json(EXPLAINED)
        else:
            self._answer(b"{}", "application/json", 404)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        first = body["inputs"][0]
        if not isinstance(first["data"], list):
            self._answer(json.dumps({"error": "no list"}).encode(), "application/json", 400)
            return
        made = {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": first["data"][:2]}
        self._answer_json({"outputs": [made]})

    def _answer_json(self, value: Any) -> None:
        self._answer(json.dumps(value).encode(), "application/json")

    def _answer(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", content_security_policy())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _data(polls: int) -> dict[str, Any]:
    """A busy model, one that is loading, one that failed; a second passes with every poll."""
    latency = [0] * (len(BOUNDS_S) + 1)
    for bucket, count in ((3, 220), (4, 130), (5, 30), (7, 3)):
        latency[bucket] = polls * count + (polls % 7) * 11
    answered = sum(latency)
    busy = {
        "success_count": answered, "fail_count": polls * 4, "failures": {"overloaded": polls * 4},
        "rows": answered, "executions": answered // 5, "queue_ns": answered * 3_100_000,
        "queue_count": answered, "pending": 9, "latency": latency,
        "batches": {"1": polls * 9, "2": polls * 14, "4": polls * 40, "8": polls * 22},
    }  # fmt: skip
    idle = {**dict.fromkeys(busy, 0), "failures": {}, "batches": {}, "latency": [0] * 15}
    ids = {"name": "input_ids", "datatype": "INT64", "shape": [-1, 8]}
    return {
        "version": "0.1.0", "isa": "avx512", "threads": 8, "ready": False, "rss_bytes": 512 * 2**20,
        "uptime_s": 61.0 + polls, "time_s": float(polls), "bounds_s": BOUNDS_S,
        "models": [
            _model("minilm", "READY", busy, [ids]),
            _model("resnet50", "LOADING", idle, []),
            _model(HOSTILE, "UNAVAILABLE", idle, [], "node 'conv_3' (Conv): group=3 does not fit"),
        ],
    }  # fmt: skip


def _model(
    name: str, state: str, statistics: Any, inputs: list[Any], reason: str = ""
) -> dict[str, Any]:
    return {
        "name": name, "version": "1", "state": state, "reason": reason, "tasks": [],
        "inputs": inputs, "outputs": [], "statistics": statistics,
    }  # fmt: skip


def _layer(number: int) -> dict[str, Any]:
    is_product = number % 3 == 0
    zeros = {"sparsity": 0.9, "structure": "unstructured"} if is_product else None
    return {
        "name": f"/encoder/layer.{number // 3}/node_{number}",
        "op": "MatMul" if is_product else "Add",
        "runtime": "native" if number != 4 else "onnxruntime",
        "kernel": "sparse_matmul_f32_avx512" if is_product else "elementwise",
        "layout": "columns", "bytes": 131_072 * (1 + number % 4) if is_product else 0,
        "why": "90 % zeros, measured 3.1x dense" if is_product else "in the epilogue",
        "advisories": ["ran in ONNX Runtime"] if number == 4 else [], "weights": zeros,
    }  # fmt: skip


EXPLAINED = {"nodes": [_layer(n) for n in range(30)], "shapes": {"input_ids": [8, 8]}}


@contextmanager
def ui_stub() -> Iterator[str]:
    """Its address."""
    server = _Server(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    with ui_stub() as url:
        print(url + "/ui", flush=True)
        while True:
            time.sleep(1)
