"""A language model of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.llm_server import Model, serving


@pytest.fixture
def server() -> Iterator[Model]:
    with serving() as model:
        yield model
