"""Schedules shown to a person: the steps are right, the text is whole, and the page works."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firetree import collectives
from firetree.collectives import Schedule, ScheduleError
from firetree.collectives.schedule import recv, send
from firetree.collectives.steps import Message, steps
from firetree.commands.pages.explain import as_page
from firetree.commands.text.explain import MOST_BARS, as_text
from firetree.errors import UserError

ARROW = re.compile(r"(\d+) ─\((\d+)\)→ (\d+) (add later|add|copy)")


def pairs(messages: tuple[Message, ...]) -> list[tuple[int, int]]:
    return [(message.sender, message.receiver) for message in messages]


@pytest.mark.parametrize(("world_size", "depth"), [(2, 1), (8, 3), (16, 4)])
def test_a_binomial_tree_takes_log2_steps_up_and_as_many_down(world_size: int, depth: int) -> None:
    told = steps(collectives.build("binomial_tree", world_size, 1))
    ways = [{message.adds for message in step.messages} for step in told[1:]]
    assert ways == [{True}] * depth + [{False}] * depth


def test_each_step_of_a_binomial_tree_of_eight() -> None:
    told = steps(collectives.build("binomial_tree", 8, 1))
    assert [step.number for step in told] == list(range(7))
    assert [pairs(step.messages) for step in told[:4]] == [
        [],
        [(1, 0), (3, 2), (5, 4), (7, 6)],
        [(2, 0), (6, 4)],
        [(4, 0)],
    ]
    assert told[2].messages[1].carries == (6, 7)
    assert [held for (held,) in told[2].held] == [4, 1, 2, 1, 4, 1, 2, 1]


def test_every_rank_of_a_ring_sends_to_one_neighbour_in_every_step() -> None:
    told = steps(collectives.build("ring", 4, 4))
    assert len(told) == 1 + 6
    for step in told[1:]:
        senders, receivers = zip(*pairs(step.messages), strict=True)
        assert sorted(senders) == sorted(receivers) == [0, 1, 2, 3]
        assert {abs(a - b) for a, b in pairs(step.messages)} == {1, 3}
    assert sorted(told[3].held[0]) == [1, 2, 3, 4]


def test_an_addition_that_waits_for_its_turn_counts_only_once_made() -> None:
    # Rank 4 has no children and sends at once; rank 0 adds what rank 2 has summed before it.
    told = steps(collectives.build("binomial_tree", 5, 1))
    assert Message(4, 0, 0, adds=True, carries=(4,), waits=True) in told[1].messages
    assert (told[1].held[0], told[2].held[0]) == ((2,), (5,))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(collectives.names()), st.integers(1, 16), st.integers(1, 6))
def test_held_contributions_start_at_one_and_end_at_all(
    name: str, world_size: int, chunks: int
) -> None:
    schedule = collectives.build(name, world_size, chunks)
    told = steps(schedule)
    assert {held for chunks_held in told[0].held for held in chunks_held} == {1}
    assert {held for chunks_held in told[-1].held for held in chunks_held} == {world_size}
    operations = sum(map(len, schedule.programs))
    assert sum(len(step.messages) for step in told) == operations / 2


def test_a_broadcast_can_be_shown_although_it_sums_nothing() -> None:
    chain = Schedule(3, 1, ((send(1, 0),), (recv(0, 0), send(2, 0)), (recv(1, 0),)))
    told = steps(chain)
    assert [step.messages[0].carries for step in told[1:]] == [(0,), (0,)]
    assert "Rank 1 sends chunk 0 of rank 0 to rank 2" in as_page("broadcast", chain)


def test_a_schedule_that_waits_for_itself_is_refused() -> None:
    both_wait = Schedule(2, 1, ((recv(1, 0), send(1, 0)), (recv(0, 0), send(0, 0))))
    with pytest.raises(ScheduleError, match="deadlock"):
        steps(both_wait)


@pytest.mark.parametrize("show", [as_text, as_page])
@pytest.mark.parametrize(("world_size", "chunks"), [(65, 1), (8, 400)])
def test_too_large_a_schedule_is_refused_with_a_way_out(
    show: Callable[[str, Schedule], str], world_size: int, chunks: int
) -> None:
    with pytest.raises(UserError, match="smaller world size or fewer chunks"):
        show("binomial_tree", collectives.build("binomial_tree", world_size, chunks))


@pytest.mark.parametrize(
    ("name", "world_size", "chunks"),
    [("binomial_tree", 8, 1), ("binomial_tree", 5, 3), ("ring", 8, 8), ("parameter_server", 16, 1)],
)
def test_text_has_each_transfer_once_in_a_hundred_columns(
    name: str, world_size: int, chunks: int
) -> None:
    schedule = collectives.build(name, world_size, chunks)
    text = as_text(name, schedule)
    moves = [message for step in steps(schedule) for message in step.messages]
    assert sorted((a, c, b) for a, c, b, _ in ARROW.findall(text)) == sorted(
        (str(move.sender), str(move.chunk), str(move.receiver)) for move in moves
    )
    assert max(map(len, text.splitlines())) <= 100


def test_text_says_what_is_held_after_a_step() -> None:
    lines = as_text("binomial_tree", collectives.build("binomial_tree", 4, 1)).splitlines()
    assert lines[0] == (
        "binomial_tree: 4 ranks, 1 chunk, 4 steps, 6 transfers; the busiest rank sends 2 × the buffer"
    )
    at = lines.index("step 2    2 ─(0)→ 0 add")
    assert lines[at + 1] == "held      0 █ 4/4   1 ▂ 1/4   2 ▄ 2/4   3 ▂ 1/4"


def test_a_long_text_says_how_much_is_left_out() -> None:
    schedule = collectives.build("ring", 16, 16)
    text = as_text("ring", schedule)
    shown = len(ARROW.findall(text))
    assert 200 <= shown < 220
    assert f"… and {480 - shown} more transfers in 17 more steps" in text


def test_a_name_cannot_end_the_data_of_the_page() -> None:
    name = "</script><script>alert(1)</script>"
    page = as_page(name, collectives.build("ring", 2, 2))
    data = page.split('type="application/json">')[1].split("</script>")[0]
    assert json.loads(data)["name"] == name
    assert "alert" not in page.replace(data, "")


def test_a_notebook_shows_the_page_in_a_frame_or_why_it_cannot() -> None:
    shown = collectives.build("ring", 2, 2)._repr_html_()
    assert shown.startswith("<iframe sandbox=")
    whole = shown.partition('srcdoc="')[2].removesuffix('"></iframe>')
    assert unescape(whole) == as_page("all_reduce", collectives.build("ring", 2, 2))
    assert '"' not in whole
    crowd = collectives.build("ring", 65, 65)
    assert repr(crowd) == "Schedule(all_reduce on 65 ranks: 65 chunks, 8320 transfers)"
    assert "too many to show" in crowd._repr_html_()


@dataclass
class Page:
    """An open page and the hands of its reader."""

    browser: Any

    def step(self) -> int:
        return int(self.browser.find_element("tag name", "body").get_attribute("data-step"))

    def held(self) -> list[list[int]]:
        script = "return [...document.querySelectorAll('[data-rank]')].map((node) => node.dataset)"
        by_rank = sorted(self.browser.execute_script(script), key=lambda node: int(node["rank"]))
        return [[int(n) for n in node["held"].split(",")] for node in by_rank]

    def click(self, control: str) -> None:
        self.browser.find_element("id", control).click()

    def press(self, key: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.browser).send_keys(key).perform()

    def slide(self, step: int) -> None:
        script = (
            "const slider = document.getElementById('slider'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input'))"
        )
        self.browser.execute_script(script, step)

    def words(self) -> str:
        return str(self.browser.find_element("id", "words").text)

    def place(self, rank: int) -> tuple[float, float]:
        box = self.browser.find_element("css selector", f"[data-rank='{rank}'] .box").rect
        return box["x"], box["y"]

    def animations(self, moving: str) -> int:
        """How many elements that match the selector `moving` are on their way."""
        script = (
            "return document.getAnimations()"
            ".filter((animation) => animation.effect.target.matches(arguments[0])).length"
        )
        return int(self.browser.execute_script(script, moving))

    def wait(self, condition: Callable[[], bool]) -> None:
        from selenium.webdriver.support.ui import WebDriverWait

        WebDriverWait(self.browser, 10, poll_frequency=0.05).until(lambda _: condition())


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open the page of an algorithm; its console must stay empty until the test ends."""

    def open_page(name: str, world_size: int, chunks: int, *, motion: str = "reduce") -> Page:
        path = tmp_path / "explain.html"
        page = as_page(name, collectives.build(name, world_size, chunks))
        path.write_text(page, encoding="utf-8")
        features = [{"name": "prefers-reduced-motion", "value": motion}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        browser.get(path.as_uri())
        return Page(browser)

    browser.get_log("browser")
    yield open_page
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(
    ("name", "world_size", "chunks"),
    [("binomial_tree", 8, 1), ("ring", 4, 4), ("binomial_tree", 1, 1), ("ring", 2, MOST_BARS + 1)],
)
def test_stepping_to_the_end_shows_what_the_steps_say(
    show: Callable[..., Page], name: str, world_size: int, chunks: int
) -> None:
    page = show(name, world_size, chunks)
    told = steps(collectives.build(name, world_size, chunks))
    for step in told:
        assert page.step() == step.number
        bars = [list(held) if chunks <= MOST_BARS else [sum(held)] for held in step.held]
        assert page.held() == bars
        page.click("forward")
    assert page.step() == told[-1].number
    assert len(page.browser.find_elements("css selector", ".node.full")) == world_size


def test_the_words_say_what_happens_and_back_takes_it_back(show: Callable[..., Page]) -> None:
    page = show("binomial_tree", 8, 1)
    page.click("forward")
    assert "Rank 1 sends its own chunk 0 to rank 0, which adds it." in page.words()
    page.click("forward")
    assert (
        "Rank 2 sends its sum of chunk 0 (2 of 8 ranks) to rank 0, which adds it." in page.words()
    )
    page.click("back")
    assert (page.step(), page.held()[0]) == (1, [2])


def test_slider_and_keys_move_through_the_steps(show: Callable[..., Page]) -> None:
    from selenium.webdriver import Keys

    page = show("ring", 4, 4)
    page.slide(3)
    assert (page.step(), sorted(page.held()[0])) == (3, [1, 2, 3, 4])
    for key, step in [(Keys.ARROW_RIGHT, 4), (Keys.ARROW_LEFT, 3), (Keys.END, 6), (Keys.HOME, 0)]:
        page.press(key)
        assert page.step() == step
    page.press(Keys.ARROW_LEFT)
    assert page.step() == 0


def test_play_moves_the_messages_until_the_end(show: Callable[..., Page]) -> None:
    page = show("binomial_tree", 4, 1, motion="no-preference")
    page.browser.find_element("css selector", "#speed option[value='4']").click()
    page.click("play")
    assert page.animations(".dot") > 0
    page.wait(lambda: page.held() == [[4]] * 4)
    assert page.step() == 4
    assert page.browser.find_element("id", "play").text == "Play"


def test_a_press_of_the_space_bar_plays_and_another_pauses(show: Callable[..., Page]) -> None:
    page = show("ring", 4, 4, motion="no-preference")
    page.press(" ")
    assert page.browser.find_element("id", "play").text == "Pause"
    page.press(" ")
    assert page.browser.find_element("id", "play").text == "Play"
    assert page.step() == 1
    page.wait(lambda: sum(page.held()[0]) == 5)


def test_a_reader_who_wants_no_motion_gets_steps_only(show: Callable[..., Page]) -> None:
    page = show("binomial_tree", 4, 1)
    page.click("forward")
    assert page.browser.find_elements("css selector", ".dot")
    assert page.animations("*") == 0
    assert not page.browser.find_element("id", "play").is_displayed()


def test_a_tree_hangs_each_child_below_its_parent(show: Callable[..., Page]) -> None:
    page = show("binomial_tree", 8, 1)
    for child, parent in [(1, 0), (2, 0), (4, 0), (3, 2), (5, 4), (6, 4), (7, 6)]:
        assert page.place(child)[1] > page.place(parent)[1], (child, parent)


def test_a_ring_is_laid_on_a_circle(show: Callable[..., Page]) -> None:
    page = show("ring", 4, 4)
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = map(page.place, range(4))
    assert x3 < x0 < x1
    assert y0 < y1 < y2
    assert (x0, y1) == pytest.approx((x2, y3))
