"""Scripts from before the rooms had their present names still find what they import."""

from __future__ import annotations

import subprocess
import sys

import pytest

IMPORTS = (
    "from firetree import weights; assert weights.load and weights.build",
    "from firetree.weights.published import Preprocessing, Published; "
    "from firetree import Model; assert Published is Model",
    "from firetree.train.recipe import Recipe; import firetree; assert Recipe is firetree.Recipe",
    "from firetree.predict.text_scores import bleu",
    "from firetree import compress, export; assert compress.open_model and export.as_onnx",
    "import firetree; firetree.compress.open_model; assert callable(firetree.train)",
)


@pytest.mark.parametrize("line", IMPORTS)
def test_a_former_import_path_leads_to_the_present_room(line: str) -> None:
    subprocess.run([sys.executable, "-c", line], check=True, timeout=100)
