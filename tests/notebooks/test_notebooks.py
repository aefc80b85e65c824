"""The notebooks in docs/: well formed, with outputs, and what they do still works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from notebook import executed

import firetree

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
SECOND_MACHINE = FOLDER / "second-machine.ipynb"


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def code_of(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_well_formed_and_was_run_in_order(path: Path) -> None:
    notebook = read(path)
    assert notebook.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len({*ids}) == len(ids)
    common = {"cell_type", "id", "metadata", "source"}
    for cell in notebook["cells"]:
        more = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert cell.keys() == common | more
    code = code_of(notebook)
    assert [cell["execution_count"] for cell in code] == [*range(1, len(code) + 1)]


@pytest.mark.usefixtures("nothing_left")
def test_the_second_machine_is_answered_and_a_model_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = read(SECOND_MACHINE)
    found = executed(kept)
    assert list(map(shown, code_of(found))) == list(map(shown, code_of(kept)))
    accuracy = firetree.Run("runs/second-machine").accuracy
    assert accuracy is not None
    assert accuracy > 0.3


def shown(cell: dict[str, Any]) -> list[list[str]]:
    """In which forms a cell's value is shown."""
    results = [it for it in cell["outputs"] if it["output_type"] == "execute_result"]
    return [sorted(it["data"]) for it in results]
