"""For all tests: no deadlines; what a real lab needs; and a real browser for pages."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

from firetree import own_code
from firetree.errors import UserError
from firetree.lab import iproute, namespaces

# A busy machine is no reason to fail.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def no_folder_of_another_tests_code() -> Iterator[None]:
    """A recipe's code is looked for beside the recipe, also in processes that later tests would start."""
    yield
    os.environ.pop(own_code.FOLDER, None)


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


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium, which fetches nothing; its console can be read with `get_log("browser")`."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs the package selenium")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1200,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()
