"""Headless Chromium for tests of the page; pictures are kept in build/screenshots."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PICTURES = Path(__file__).resolve().parents[1] / "build" / "screenshots"
WAIT_S = 60


@contextmanager
def chromium() -> Iterator[Any]:
    """A driver; the test is skipped where there is no browser."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium here; Debian: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(flag)
    options.add_argument("--window-size=1360,1500")
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield made
    finally:
        made.quit()


def wait(browser: Any, condition: str) -> None:
    """Until an expression of the page is true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, WAIT_S, poll_frequency=0.1).until(
        lambda b: b.execute_script(f"return Boolean({condition})")
    )


def keep_picture(browser: Any, name: str) -> None:
    """A screenshot, for people to look at."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    assert browser.save_screenshot(str(PICTURES / f"{name}.png"))


def severe(browser: Any) -> list[str]:
    """What the page complained of."""
    return [e["message"] for e in browser.get_log("browser") if e["level"] == "SEVERE"]
