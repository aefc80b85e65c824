"""Files that earlier firetrees have written are read as they were written."""

from __future__ import annotations

import json
from itertools import product

import pytest
from golden_files import ANSWERS, FOLDER, answer

from firetree.modelfiles import Preprocessing, load_model
from firetree.modelfiles.fire.coders import CODERS
from firetree.modelfiles.fire.container import VERSION
from firetree.modelfiles.model import from_metadata

KNOWN = json.loads(ANSWERS.read_text())


@pytest.mark.parametrize("name", KNOWN)
def test_a_fire_holds_what_was_written_into_it(name: str) -> None:
    found, known = answer(load_model(FOLDER / name)), dict(KNOWN[name])
    assert found.pop("logits") == pytest.approx(known.pop("logits"), rel=1e-4)
    assert found == known


def test_todays_version_is_among_them() -> None:
    wanted = {
        f"{kind}-{coder}-v{VERSION}.fire" for kind, coder in product(("lossless", "shared"), CODERS)
    }
    assert wanted <= set(KNOWN), "run tests/golden/golden_files.py"


def test_the_metadata_of_an_export_is_understood() -> None:
    told = json.loads((FOLDER / "onnx-metadata.json").read_text())
    found = from_metadata(told, "onnx-metadata.json")
    assert found is not None
    assert found.network == "squeezenet_small"
    assert found.fields == {"base_e": 8, "incr_e": 4, "squeeze_ratio": 0.5}
    assert found.preprocessing == Preprocessing(18, False, 16, "RGB", (120.0,), (60.0,))
    assert found.classes == ("cat", "dog", "eel, fish")
