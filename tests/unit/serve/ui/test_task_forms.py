"""The forms of tasks in a real browser, on a real server with small models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import chromium, keep_picture, severe, wait
from colonnade.serve.config import ServerConfig, parse_config
from constant_model import write_constant_model
from running_server import running

pytestmark = pytest.mark.slow
WIDTH, HEIGHT = 80, 60


def write_models(folder: Path) -> ServerConfig:
    """A detector of a cat on the left and a dog at the top right, and two tiny text models."""
    pytest.importorskip("transformers", reason="transformers makes the text models")
    from tiny_encoder import write_encoder

    detector = folder / "detector"
    detector.mkdir()
    boxes = np.array([[0.25, 0.5, 0.5, 1], [0.5, 0.5, 1, 1], [0.75, 0.25, 0.5, 0.5]])
    logits = np.array([[4.0, 0, 0], [0, 0, 4], [0, 4, 0]])
    write_constant_model(
        detector / "model.onnx",
        {"pixel_values": ("batch", 3, 32, 32)},
        {"logits": logits, "pred_boxes": boxes},
    )
    names = {"id2label": {"0": "cat", "1": "dog"}, "model_type": "detr"}
    (detector / "config.json").write_text(json.dumps(names))
    for name, head in (("moods", "text"), ("names", "token")):
        (folder / name).mkdir()
        write_encoder(folder / name, head)
    tasks = [
        {"name": "animals", "task": "object-detection", "model": "detector"},
        {"name": "mood", "task": "text-classification", "model": "moods"},
        {"name": "who", "task": "token-classification", "model": "names"},
    ]
    tokens = {"warm_up": {"sequence": [16]}}  # these models have 64 positions
    models = [
        {"name": "detector", "path": "detector/model.onnx"},
        {"name": "moods", "path": "moods/model.onnx", **tokens},
        {"name": "names", "path": "names/model.onnx", **tokens},
    ]
    given = {"port": 0, "threads": 1, "models": models, "tasks": tasks}
    return parse_config(given, folder / "server.yaml")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("forms")
    with running(write_models(folder)) as found, chromium() as made:
        made.get(f"http://{found.http}/ui")
        yield made


def choose(browser: Any, model: str, task: str) -> None:
    # By script: the list is drawn anew at each poll.
    button = (
        "[...document.querySelectorAll('#models button')]"
        f".find((one) => one.querySelector('.name').textContent === '{model}')"
    )
    wait(browser, button)
    browser.execute_script(f"{button}.click()")
    wait(browser, f"document.querySelector('#task')?.value.startsWith('{task}')")


def ask(browser: Any, text: str) -> None:
    field = browser.find_element("id", "text")
    field.clear()
    field.send_keys(text)
    browser.find_element("id", "run").click()


def test_boxes_are_drawn_on_the_image(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 200, np.uint8)).save(path)
    choose(browser, "detector", "animals")
    browser.find_element("id", "file").send_keys(str(path))
    browser.find_element("id", "run").click()
    wait(browser, "document.querySelector('#boxes')?.dataset.drawn === '2'")
    reach = browser.execute_script("""
      const canvas = document.querySelector("#boxes"), pen = canvas.getContext("2d");
      const grey = (x, y) => pen.getImageData(x, y, 1, 1).data[0] === 200;
      return [canvas.width, canvas.height, grey(40, 50), grey(60, 50)];
    """)
    assert reach == [WIDTH, HEIGHT, False, True]  # the cat's right border; beside it nothing
    keep_picture(browser, "ui-boxes")
    assert severe(browser) == []


def test_scores_of_a_text(browser: Any) -> None:
    choose(browser, "moods", "mood")
    ask(browser, "good fox")
    wait(browser, "document.querySelectorAll('#answer .score').length > 0")
    keep_picture(browser, "ui-scores")


def test_marks_in_a_text(browser: Any) -> None:
    choose(browser, "names", "who")
    ask(browser, "Alice lives in Berlin")
    wait(browser, "document.querySelector('#answer #found, #answer .soft')")
    keep_picture(browser, "ui-marks")
    assert severe(browser) == []


def test_a_missing_file_and_the_tensors(browser: Any) -> None:
    choose(browser, "moods", "mood")
    choose(browser, "detector", "animals")
    browser.find_element("id", "run").click()
    wait(browser, "document.querySelector('#answer .bad')")
    assert "Choose a file" in browser.find_element("css selector", "#answer .bad").text
    browser.execute_script("""
      const task = document.querySelector("#task");
      task.selectedIndex = 1; task.dispatchEvent(new Event("change"));
    """)
    assert browser.find_elements("css selector", "#input-pixel_values")
