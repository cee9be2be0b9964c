"""Runs each model in a process of its own, under limits, and says what came of it.

The server imports once and forks for every request, so that a crash, a hang or a leak costs one
case. A request is a line of JSON with an "action" and a "path":

- "import": import_model;
- "compile": colonnade.compile, and a run when "feeds" names an npz file;
- "truncate", "flip": compile every prefix of the given lengths ("positions"), or the model with
  the bit at each position flipped;
- "infer", "nodes": shape inference, or compilation and a run, of "count" random nodes from "seed".

In the last two pairs, anything but success and our own errors is an UnexpectedError.

So is the answer: {"outcome": "ok" | an exception's name, "message", "node", "grown_bytes"}, or
{"outcome": "signal 6"} and the like.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from random_nodes import RandomNode, random_node

import colonnade
import colonnade.onnx.exporter
import colonnade.reference
from colonnade.ir import DType, Node, TensorType
from colonnade.onnx.attributes import from_proto
from colonnade.onnx.budget import Budget
from colonnade.onnx.external import ExternalFolder
from colonnade.onnx.importer import import_model
from colonnade.onnx.infer import infer_node
from colonnade.onnx.source import BytesSource
from colonnade.onnx.tensors import TensorReader, dtype_of

ADDRESS_BYTES = 4 << 30
CPU_S = 6
MAX_MESSAGE = 1000


def main() -> None:
    for line in sys.stdin:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print; answers are ours
            answer = run_limited(json.loads(line))
            os.write(write_end, json.dumps(answer).encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            content = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        answer = json.loads(content) if status == 0 else {"outcome": describe(status)}
        print(json.dumps(answer), flush=True)


def run_limited(request: dict[str, Any]) -> dict[str, Any]:
    """The request's outcome; the limits hold for this process."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    signal.alarm(10 * CPU_S)  # for a process that sleeps
    before = peak_bytes()
    answer: dict[str, Any] = {"outcome": "ok"}
    try:
        run(request)
    except Exception as error:  # noqa: BLE001  # whatever comes is the answer
        answer["outcome"] = type(error).__name__
        answer["message"] = str(error)[:2000]
        answer["node"] = getattr(error, "node", None)
    answer["grown_bytes"] = peak_bytes() - before
    return answer


def run(request: dict[str, Any]) -> None:
    if request["action"] == "import":
        import_model(request["path"])
        return
    if request["action"] in ("truncate", "flip"):
        mutate(request)
        return
    if request["action"] in ("infer", "nodes"):
        visit_nodes(request)
        return
    engine = colonnade.compile(request["path"], threads=1)
    if request["feeds"] is not None:
        with np.load(request["feeds"]) as feeds:
            made = engine.run({name: feeds[name] for name in feeds.files})
        np.savez(request["feeds"] + ".out", **made)


class UnexpectedError(Exception):
    """A mutated model raised something that no caller could be ready for."""


def mutate(request: dict[str, Any]) -> None:
    content = Path(request["path"]).read_bytes()
    for position in request["positions"]:
        if request["action"] == "truncate":
            mutant = content[:position]
        else:
            flipped = bytearray(content)
            flipped[position // 8] ^= 1 << position % 8
            mutant = bytes(flipped)
        print(f"{request['action']} {position}", file=sys.stderr)
        try:
            colonnade.compile(mutant, threads=1)
        except colonnade.ModelError as error:
            if len(str(error)) > MAX_MESSAGE:
                raise UnexpectedError(f"at {position}: a message of {len(str(error))}") from error
        except Exception as error:
            raise UnexpectedError(f"at {position}: {error!r}") from error


def visit_nodes(request: dict[str, Any]) -> None:
    is_run = request["action"] == "nodes"
    source = random.Random(request["seed"])
    runtime = colonnade.Runtime(1) if is_run else None
    for number in range(request["count"]):
        made = random_node(source, large_dims=not is_run)
        print(f"node {number}: {made}", file=sys.stderr, flush=True)
        try:
            if is_run:
                colonnade.compile(made.model(), runtime=runtime).run(made.feeds())
            else:
                infer(made)
        except colonnade.ColonnadeError:
            continue
        except Exception as error:
            raise UnexpectedError(f"node {number}, {made.node}: {error!r}") from error


def infer(made: RandomNode) -> None:
    """Infer the node's types, without the checks that an import makes before."""
    node, types = made.node, dict[str, TensorType]()
    for name, (elem, dims) in made.types.items():
        types[name] = TensorType(dtype_of(elem), dims)
    for name, array in made.constants.items():
        types[name] = TensorType(DType.from_numpy(array.dtype), array.shape)
    reader = TensorReader(BytesSource(b""), ExternalFolder(None), Budget())
    attrs = {attribute.name: from_proto(attribute, reader) for attribute in node.attribute}
    infer_node(
        Node(node.op_type, tuple(node.input), tuple(node.output), attrs, "n", node.domain),
        types,
        made.constants,
        made.version,
    )


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def describe(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


if __name__ == "__main__":
    main()
