"""What a report tells of a run's learning and its classes: as text, as JSON, and on a page in a real browser."""

from __future__ import annotations

import base64
import io
import json
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from command import firetree
from made import Cluster
from PIL import Image

from firetree.commands.pages.report import as_page
from firetree.commands.text.report import as_text
from firetree.confusion import (
    CONFUSION_VERSION,
    Confusion,
    Confusions,
    WorstImage,
    confusion_file,
)
from firetree.durable import write_json_lines
from firetree.metrics import Metrics, metrics_file
from firetree.reporting import report, trace_of
from firetree.trace import Event, add_event

FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")
OVER = [1.6, 1.0, 0.8, 0.65, 0.61, 0.66, 0.72, 0.79, 0.87, 0.94]
HOSTILE = '</script><img src=x onerror="pwned=1">\'&\u202e\u05d0<b>'
Open = Callable[..., Any]


def jpeg(seed: int) -> str:
    content = io.BytesIO()
    drawn = random.Random(seed)
    Image.frombytes("RGB", (96, 96), drawn.randbytes(96 * 96 * 3)).save(content, "JPEG")
    return base64.b64encode(content.getvalue()).decode()


def confusion(classes: int, step: int = 100, images: int = 80) -> Confusion:
    """Each class less often recognised than the one before, and taken for the next but one and next."""
    right = [max(images - 9 * (k % 8), 1) for k in range(classes)]
    confused = [
        (k, (k + away) % classes, count)
        for k in range(classes)
        for away, count in ((2, (images - right[k] + 1) // 2), (1, (images - right[k]) // 2))
        if count
    ]
    worst = [
        WorstImage(f"{k}.jpg", k % classes, (k + 1) % classes, 0.9, 3.0, jpeg(k)) for k in range(12)
    ]
    total = [images] * classes
    ordered = sorted(confused, key=lambda it: (-it[2], it))
    return Confusion(step, step // 10, tuple(right), tuple(total), tuple(ordered), tuple(worst))


def trained(
    run_dir: Path,
    test: Sequence[float] = OVER,
    classes: Sequence[str] = FLOWERS,
    best: bool = False,
) -> Path:
    """A run with these test losses, the confusion of its classes, and perhaps that of the best one."""
    Cluster(ranks=1, steps=40).write(run_dir)
    add_event(run_dir, Event("ended", 2000.0, 10 * len(test), f"after {10 * len(test)} steps"))
    evaluated = [
        Metrics(
            step=10 * k,
            epoch=k,
            lr=0.1,
            train_loss=2 / k,
            test_loss=loss,
            accuracy=1 - loss / 2 if math.isfinite(loss) else 0.1,
            samples_per_s=100.0,
        )
        for k, loss in enumerate(test, 1)
    ]
    write_json_lines(metrics_file(run_dir), map(asdict, evaluated))
    newest = confusion(len(classes))
    told = Confusions(tuple(classes), newest, replace(newest, step=50, epoch=5) if best else None)
    confusion_file(run_dir).write_text(json.dumps({"version": CONFUSION_VERSION, **asdict(told)}))
    return run_dir


def page_of(run_dir: Path) -> str:
    return as_page([(report(run_dir), trace_of(run_dir))])


def test_the_text_has_learning_and_classes_after_the_verdict_on_time(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[optim]\nlr = 0.1\nepochs = 10\n")
    text = as_text([report(trained(tmp_path))])
    marks = ["The work itself", "Over-fitted since epoch 6: the test loss rose from 0.61 to 0.94"]
    marks += ["the best was epoch 5", f"$ firetree train {tmp_path}/recipe.toml --optim.patience 3"]
    marks += ["Classes, the least recognised first", "sunflower", "Milliseconds of a step"]
    words = " ".join(text.split())
    places = [words.index(mark) for mark in marks]
    assert places == sorted(places)
    assert re.search(r"tulip +55% +80 +daisy, 18 of 80\n", text)


def test_of_many_classes_only_the_worst_are_told(tmp_path: Path) -> None:
    text = as_text([report(trained(tmp_path, classes=[f"class {k}" for k in range(200)]))])
    assert "… and 194 classes of more recall" in text


def test_json_has_both(tmp_path: Path) -> None:
    code, out, _ = firetree("report", "--json", trained(tmp_path))
    assert code == 0
    told = json.loads(out)
    assert told["learning"]["kind"] == "over_fitted"
    assert (told["learning"]["since_epoch"], told["learning"]["best_step"]) == (6, 50)
    assert told["classes"][4] == {
        "name": "tulip",
        "right": 44,
        "total": 80,
        "taken_for": "daisy",
        "taken": 18,
    }
    assert told["macro_recall"] == pytest.approx(310 / 400)


def test_a_run_of_before_says_nothing_of_it(tmp_path: Path) -> None:
    run_dir = Cluster(ranks=1, steps=40).write(tmp_path)
    found = report(run_dir)
    assert (found.learning, found.classes, found.macro_recall) == (None, (), None)
    assert "Classes" not in as_text([found])
    assert "How it learned" not in page_of(run_dir)


@pytest.mark.parametrize(
    "classes", [FLOWERS, [f"a class with a long name {k}" for k in range(200)]]
)
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_shows_them_without_errors_and_never_scrolls_sideways(
    opened: Open, tmp_path: Path, width: int, classes: Sequence[str]
) -> None:
    page = page_of(trained(tmp_path, classes=classes, best=True))
    assert len(page.encode()) < 500_000
    browser = opened(page, width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    headings = [it.text for it in browser.find_elements("tag name", "h2")]
    assert headings.index("How it learned") < headings.index("Classes") < headings.index("Ranks")
    assert len(browser.find_elements("css selector", ".learning .line")) == 3
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.worst img')].map((it) => it.naturalWidth)"
    )
    assert shown == [96] * 24
    rows = browser.find_elements("css selector", ".confusion tbody tr")
    assert len(rows) == 2 * min(len(classes), 30)


TAP = """
const cell = document.querySelector(".confusion td:has(.r0)");
cell.scrollIntoView();
cell.firstChild.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true, pointerType: "touch"}));
return document.querySelector(".confusion .tip").innerText;
"""


def test_a_cell_tells_its_count_to_a_finger_and_the_curve_its_losses_to_keys(
    opened: Open, tmp_path: Path
) -> None:
    browser = opened(page_of(trained(tmp_path)), 390)
    assert browser.execute_script(TAP) == "tulip, taken for daisy\n18 of 80 (22.5%)"
    told = browser.execute_script(
        "const canvas = document.querySelector('.learning .canvas'); canvas.focus();"
        "canvas.dispatchEvent(new KeyboardEvent('keydown', {key: 'Home'}));"
        "return canvas.querySelector('.tip').innerText"
    )
    assert told == "Epoch 1, step 10\ntraining loss 2\ntest loss 1.6\ntest accuracy 20 %"


def test_hostile_class_names_are_text_and_nothing_more(opened: Open, tmp_path: Path) -> None:
    run_dir = trained(tmp_path, classes=[f"{HOSTILE}{k}" for k in range(5)], best=True)
    assert "\u202e" not in as_text([report(run_dir)])
    browser = opened(page_of(run_dir))
    browser.execute_script(TAP.replace(".r0", "span"))
    assert browser.get_log("browser") == []
    assert browser.execute_script("return typeof pwned") == "undefined"
    sources = [it.get_attribute("src")[:23] for it in browser.find_elements("tag name", "img")]
    assert set(sources) == {"data:image/jpeg;base64,"}
    words = browser.execute_script("return document.body.innerText")
    assert words.count("<img src=x onerror=") > 10
    assert "\u202e" not in words


def test_a_loss_that_is_not_finite_leaves_a_gap_in_the_curve(opened: Open, tmp_path: Path) -> None:
    run_dir = trained(tmp_path, [1.6, 1.0, float("nan"), float("inf"), 1.2])
    browser = opened(page_of(run_dir))
    assert browser.get_log("browser") == []
    assert "not finite in epoch 3" in browser.find_element("tag name", "article").text
    drawn = browser.find_element("css selector", ".is-test").get_attribute("d")
    assert drawn.count("M") == 2
