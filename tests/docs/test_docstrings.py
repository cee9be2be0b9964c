"""The examples in docstrings run and print what they say."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
from collections.abc import Iterator
from unittest import mock

import pytest

import colonnade

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_names() -> Iterator[str]:
    yield "colonnade"
    for module in pkgutil.walk_packages(colonnade.__path__, "colonnade."):
        if not module.name.endswith("__main__"):
            yield module.name


@pytest.mark.parametrize("name", sorted(module_names()))
def test_examples(name: str) -> None:
    with mock.patch.dict(os.environ):
        result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0
