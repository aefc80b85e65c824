"""What a net's memory holds and reads back: as numbers, and on a page in a real browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from command import firetree
from torch.optim import SGD

from firetree.commands import pages
from firetree.commands.pages.memory import most_read
from firetree.errors import UserError
from firetree.memory import Reading, readings
from firetree.tasks import load_recall
from firetree.training import load_recipe, recipe_toml, with_fields
from firetree.training.checkpoint import TrainingState, capture, write

HIDDEN = 12


def made_run(folder: Path, fields: Mapping[str, str], trained: bool = True) -> Path:
    """A run that has done no step."""
    small = {"model.hidden": str(HIDDEN), "data.examples": "10"}
    recipe = with_fields(load_recipe("associative-retrieval"), small | dict(fields))
    (folder / "recipe.toml").write_text(recipe_toml(recipe), encoding="utf-8")
    torch.manual_seed(0)
    model = load_recall(recipe.data, recipe.seed).build(asdict(recipe.model))
    if trained:
        state = TrainingState(0, asdict(recipe.model), {})
        write(folder / "checkpoints", capture(model, SGD(model.parameters()), state), 1)
    return folder


def test_a_reading_has_the_sequence_the_memory_and_the_attention_to_it(tmp_path: Path) -> None:
    run = made_run(tmp_path, {"model.inner_steps": "2"})
    (reading,) = readings(run, ["c9k8j3f1??c"])
    assert "".join(reading.symbols) == "c9k8j3f1??c"
    assert reading.answer in "0123456789"
    assert reading.expected is None
    A_TDD = reading.matrices["A"]
    assert A_TDD.shape == (11, HIDDEN, HIDDEN)
    # A(t) − λ A(t−1) is η h(t) h(t)ᵀ, of rank 1; its trace is η times the square of h(t)'s length.
    written_TDD = A_TDD[1:] - 0.95 * A_TDD[:-1]
    squares_T = torch.linalg.matrix_norm(written_TDD, 2)
    torch.testing.assert_close(torch.einsum("tdd->t", written_TDD), squares_T)
    assert list(reading.attention) == ["inner step 1", "inner step 2"]
    assert all(weights_TT.shape == (11, 11) for weights_TT in reading.attention.values())
    assert all((weights_TT.triu() == 0).all() for weights_TT in reading.attention.values())


def test_without_a_choice_the_first_test_sequences_are_read(tmp_path: Path) -> None:
    found = readings(made_run(tmp_path, {}))
    assert len(found) == 3
    for reading in found:
        asked = reading.symbols.index(reading.symbols[-1])
        assert reading.expected == reading.symbols[asked + 1]


def test_each_head_of_the_delta_rule_has_a_memory(tmp_path: Path) -> None:
    fields = {"model.name": "delta", "model.heads": "3", "data.name": "multi_query_recall"}
    (reading,) = readings(made_run(tmp_path, fields), ["a 7 b 0 b a"])
    assert reading.symbols == ("a", "7", "b", "0", "b", "a")
    assert list(reading.matrices) == ["S of head 1", "S of head 2", "S of head 3"]
    assert list(reading.attention) == ["head 1", "head 2", "head 3"]
    assert reading.matrices["S of head 2"].shape == (6, 4, 4)


def test_symbols_of_several_letters_stand_between_spaces(tmp_path: Path) -> None:
    fields = {"model.name": "delta", "data.name": "multi_query_recall", "data.pairs": "8"}
    (reading,) = readings(made_run(tmp_path, fields), ["a 12 b 3 a b"])
    assert reading.symbols == ("a", "12", "b", "3", "a", "b")


def test_other_nets_have_no_memory_to_be_seen(tmp_path: Path) -> None:
    assert readings(made_run(tmp_path, {"model.name": "lstm"})) == ()


@pytest.mark.parametrize(
    ("fields", "trained", "text", "message"),
    [
        ({}, True, "c9C", "'C' in 'c9C'; expected symbols of a b c"),
        ({}, True, "", "'' has no symbols; expected some of a b c"),
        ({}, False, "c9c", "has no whole checkpoint"),
        (
            {"model.name": "delta", "data.name": "multi_query_recall", "data.pairs": "8"},
            True,
            "a12b3ab",
            "'a12b3ab' in 'a12b3ab'; expected symbols of a b c d e f g h i j k l m n o p 0 1 2 3 4 5 6 7 "
            "8 9 10 11 12 13 14 15, with spaces between them",
        ),
        (
            {"model.name": "lstm"},
            True,
            "c9c",
            "a run of 'lstm' on 'associative_retrieval'; expected",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(
    tmp_path: Path, fields: Mapping[str, str], trained: bool, text: str, message: str
) -> None:
    run = made_run(tmp_path, fields, trained)
    with pytest.raises(UserError) as refusal:
        readings(run, [text])
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_read_most_comes_first_with_its_share() -> None:
    assert most_read(torch.tensor([1.0, 0.0, -3.0])) == [(2, -0.75), (0, 0.25)]
    assert most_read(torch.zeros(2)) == []


def test_a_long_sequence_has_a_small_page(tmp_path: Path) -> None:
    fields = {"data.name": "multi_query_recall", "data.pairs": "32", "model.hidden": "64"}
    found = readings(made_run(tmp_path, fields))
    assert len(found[0].symbols) == 96
    assert len(pages.fragment(found[0])) < 500_000


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    return readings(made_run(tmp_path_factory.mktemp("run"), {}), ["c9k8j3f1??c"])[0]


@pytest.fixture
def page(browser: Any, reading: Reading, tmp_path: Path) -> Any:
    """The browser with a page open, whose title and answer would end their elements if they could."""
    path = tmp_path / "report.html"
    odd = replace(reading, answer="<b>9</b>", expected="9")
    page = pages.page("</title><script>alert(1)</script>", [pages.fragment(odd)])
    path.write_text(page, encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    return browser


def test_the_page_shows_what_the_net_looks_at_when_it_meets_the_query(
    page: Any, reading: Reading
) -> None:
    heading = page.find_element("css selector", "h2").text
    assert heading == "c 9 k 8 j 3 f 1 ? ? c → <b>9</b> (wrong, it is 9)"
    rows = page.execute_script(
        "const shade = (colour) => colour.startsWith('rgba') ? Number(colour.match(/[\\d.]+/g)[3]) : 1;"
        "return [...document.querySelectorAll('tr')].map((row) => [...row.cells].map((cell) => "
        "[cell.innerText, shade(getComputedStyle(cell).backgroundColor)]))"
    )
    assert [name for name, _ in rows[0][1:]] == list(reading.symbols)
    assert [row[0][0] for row in rows[1:]] == list(reading.symbols)
    shade_T = torch.tensor([shade for _, shade in rows[-1][1:]])
    weights_TT = reading.attention["inner step 1"]
    torch.testing.assert_close(shade_T, weights_TT[-1] / weights_TT.max(), atol=0.01, rtol=0)
    step = int(weights_TT[-1].argmax())
    text = page.find_element("css selector", "section p").text
    assert text.startswith(
        f"At the last symbol, c, the net attends to {reading.symbols[step]} (step {step + 1}, "
    )


def test_the_page_shows_the_fast_weights_after_each_step(page: Any) -> None:
    sizes = page.execute_script(
        "return [...document.images].map((image) => [image.naturalWidth, image.naturalHeight])"
    )
    assert sizes == [[HIDDEN, HIDDEN]] * 11
    captions = [caption.text for caption in page.find_elements("css selector", "figcaption")]
    assert captions[0] == "1: c"
    assert captions[-1] == "11: c"


def test_the_page_loads_nothing_and_runs_nothing(page: Any) -> None:
    loaded = page.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []
    assert page.find_elements("css selector", "script") == []
    assert page.get_log("browser") == []


def test_the_command_writes_the_page_of_a_run(tmp_path: Path) -> None:
    run, html = tmp_path / "run", tmp_path / "report.html"
    common = ("--data.examples", 300, "--optim.steps", 2, "--model.hidden", HIDDEN)
    assert firetree("train", "associative-retrieval", *common, "--run-dir", run)[0] == 0
    code, out, err = firetree(
        *("report", run, "--html", html, "--input", "a1b2??a", "--input", "a1b2??b")
    )
    assert (code, err) == (0, "")
    written = html.read_text(encoding="utf-8")
    assert written.count('<section class="memory">') == 2
    verdict = out.split("\n\n")[1].replace("\n", " ")
    assert verdict in written.replace("&#x27;", "'")
    code, _, err = firetree("report", run, "--input", "a1b2??a")
    assert code == 2
    assert err == "firetree: --input a1b2??a without --html; add --html PAGE\n"
