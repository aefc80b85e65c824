"""What every test with a real lab needs: a machine that can hold one, and nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from firetree.errors import UserError
from firetree.lab import iproute, namespaces


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Skip where no lab can be; afterwards this process has left no namespace."""
    try:
        iproute.require()
    except UserError as error:
        pytest.skip(str(error))
    yield
    assert namespaces.having(namespaces.prefix(os.getpid())) == []
