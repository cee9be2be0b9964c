"""The deployment examples are well formed; nothing here can run them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "examples" / "deploy"


def test_the_kserve_example_is_two_resources() -> None:
    runtime, service = yaml.safe_load_all((DEPLOY / "kserve.yaml").read_text())
    assert (runtime["kind"], service["kind"]) == ("ServingRuntime", "InferenceService")
    assert service["spec"]["predictor"]["model"]["runtime"] == runtime["metadata"]["name"]
    (container,) = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"  # KServe looks for this name
    port = container["ports"][0]["containerPort"]
    assert f"--port={port}" in container["args"]


def test_the_dockerfile_has_known_instructions_and_no_root() -> None:
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "RUN", "COPY", "USER", "ENV", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
    assert {line.split()[0] for line in lines} <= known | {"ENTRYPOINT", "CMD"}
    assert "USER colonnade" in lines
