"""For tests of whole jobs: none outlives its test, however it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command import end_what_was_started


@pytest.fixture(autouse=True)
def _jobs_end() -> Iterator[None]:
    yield
    end_what_was_started()
