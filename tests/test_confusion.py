"""confusion.json is read as it was written, and whatever else it holds is named and refused."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from firetree.confusion import (
    CONFUSION_VERSION,
    Confusion,
    Confusions,
    WorstImage,
    confusion_file,
    read_confusions,
)
from firetree.errors import UserError

FOUND = Confusion(
    step=420,
    epoch=6,
    right=(8, 0, 3),
    total=(10, 0, 4),
    confused=((0, 2, 2), (2, 0, 1)),
    worst=(WorstImage("a.png", 0, 2, 0.98, 5.1, "/9j/"),),
)


def document(**changes: Any) -> dict[str, Any]:
    told = asdict(Confusions(("ant", "bee", "cat"), FOUND, FOUND))
    told["newest"] |= changes
    return {"version": CONFUSION_VERSION, **told}


def write(run_dir: Path, told: dict[str, Any]) -> Path:
    confusion_file(run_dir).write_text(json.dumps(told))
    return run_dir


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_confusions(tmp_path) is None
    assert read_confusions(write(tmp_path, document())) == Confusions(
        ("ant", "bee", "cat"), FOUND, FOUND
    )


def test_a_class_without_test_images_has_no_recall() -> None:
    assert FOUND.recalls == (0.8, None, 0.75)
    assert FOUND.macro_recall == pytest.approx(0.775)


WORST = asdict(FOUND.worst[0])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"right": [1, 2]}, "counts of 3 classes; expected 3"),
        ({"total": [1, 2, 3, 4]}, "counts of 4 classes; expected 3"),
        ({"right": [11, 0, 3]}, "more right answers than images"),
        ({"right": [-1, 0, 3]}, r"newest.right\[0\] = -1; expected 0 or more"),
        ({"confused": [[0, 3, 1]]}, "class 3; expected less than 3"),
        ({"confused": [[0, 1]]}, "expected a list of 3"),
        ({"worst": [WORST | {"label": 3}]}, "class 3; expected less than 3"),
        ({"worst": [WORST | {"probability": 1.5}]}, "expected 0 to 1"),
        ({"worst": [WORST | {"jpeg": '"><script>'}]}, "expected a JPEG as base64"),
        ({"worst": [WORST | {"jpeg": "A" * 50_000}]}, "expected a JPEG as base64"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], fault: str
) -> None:
    with pytest.raises(UserError, match=fault) as refusal:
        read_confusions(write(tmp_path, document(**changes)))
    assert "\n" not in str(refusal.value)


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is of version 2; expected 1"):
        read_confusions(write(tmp_path, document() | {"version": 2}))
