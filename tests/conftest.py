"""For all tests: no deadlines; and what a real lab needs: a machine that can hold one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from firetree.errors import UserError
from firetree.lab import iproute, namespaces

# A busy machine is no reason to fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Skip where no lab can be; afterwards this process has left neither namespace nor process."""
    try:
        iproute.require()
    except UserError as error:
        pytest.skip(str(error))
    yield
    left = namespaces.having(namespaces.prefix(os.getpid()))
    assert left == []
