"""The page in a real browser. Pictures are kept in build/screenshots."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from browser import WAIT_S, chromium, keep_picture, severe, wait
from colonnade.serve.http.ui import content_security_policy, page
from ui_stub import HOSTILE, ui_stub

MINUTES = """
const done = arguments[0];
(async () => { for (let i = 0; i < 130; i++) take(await askJson("ui/data")); done(); })();
"""
"""As many polls as the charts show; the stub's time goes on with each."""


def test_the_page_needs_nothing_from_elsewhere() -> None:
    text = page().decode()
    assert not re.findall(r'(?:src|href)="(?!data:,)', text)
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert not re.findall(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert len(re.findall("<script", text)) == len(re.findall("<style", text)) == 1


def test_the_policy_allows_the_page_only() -> None:
    policy = content_security_policy()
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ui_stub() as address:
        yield address


@pytest.mark.slow
def test_the_page_in_a_browser(browser: Any, url: str) -> None:
    browser.set_script_timeout(WAIT_S)
    browser.get(f"{url}/ui")
    browser.execute_async_script(MINUTES)
    wait(browser, "document.querySelectorAll('#throughput path').length === 2")
    wait(browser, "document.querySelectorAll('#layers tbody tr').length === 30")
    assert len(browser.find_elements("css selector", "#batches rect")) == 4
    names = [e.text for e in browser.find_elements("css selector", "#models .name")]
    assert names == ["minilm", "resnet50", HOSTILE]  # text, not HTML
    assert browser.title == "colonnade"

    browser.find_element("id", "filter").send_keys("layer.3/")
    wait(browser, "document.querySelectorAll('#layers tbody tr').length === 3")

    field = browser.find_element("id", "input-input_ids")
    field.clear()
    field.send_keys("[1, 2, 3, 4, 5, 6, 7, 8]")
    browser.find_element("id", "run").click()
    wait(browser, "document.querySelector('#answer pre')")
    assert browser.find_element("css selector", "#answer pre").text == "[1,2]"
    keep_picture(browser, "ui-light")

    browser.find_element("id", "theme").click()
    wait(browser, "document.documentElement.dataset.theme === 'dark'")
    keep_picture(browser, "ui-dark")

    field.clear()
    field.send_keys("3")
    browser.find_element("id", "run").click()
    wait(browser, "document.querySelector('#answer .bad')")
    assert "400: no list" in browser.find_element("css selector", "#answer .bad").text

    browser.set_window_size(420, 900)
    wait(browser, "document.documentElement.scrollWidth <= innerWidth")
    keep_picture(browser, "ui-narrow")
    assert [message for message in severe(browser) if "400 (Bad Request)" not in message] == []
