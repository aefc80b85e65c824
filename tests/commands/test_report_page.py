"""A report's page in a real browser: what it shows, on what widths and grounds, and what it never does."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from scenes import Scene, died, healthy, made, slow_host, write_network, write_trace

from firetree.commands.pages import report as report_page
from firetree.commands.pages.report import as_page
from firetree.reporting import Diagnosis, Gap, diagnose
from firetree.trace import Event, Trace

MOST_BYTES = 1_000_000
CSS = (Path(report_page.__file__).parent / "report.css").read_text(encoding="utf-8")

Open = Callable[..., Any]


def slow() -> Trace:
    return made(slow_host(90))


def well() -> Trace:
    return made(healthy(40))


def dead() -> Trace:
    return died(30)[1]


def page_of(trace: Trace, run_dir: Path) -> str:
    return as_page([(diagnose(run_dir, trace), trace)])


def point_at(browser: Any, picture: str, shape: str) -> str:
    """The words beside a shape under the pointer."""
    return str(
        browser.execute_script(
            "const canvas = document.querySelector(arguments[0] + ' .canvas');"
            "const box = canvas.querySelector(arguments[1]).getBoundingClientRect();"
            "const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2};"
            "canvas.dispatchEvent(new PointerEvent('pointerdown', {...at, pointerType: 'touch'}));"
            "const tip = canvas.querySelector('.tip'); return tip.hidden ? '' : tip.innerText",
            picture,
            shape,
        )
    )


def press(browser: Any, picture: str, *keys: str) -> str:
    """The words after these keys in a picture that has the focus."""
    return str(
        browser.execute_script(
            "const [selector, ...keys] = arguments;"
            "const canvas = document.querySelector(selector + ' .canvas');"
            "canvas.focus();"
            "for (const key of keys) canvas.dispatchEvent(new KeyboardEvent('keydown', {key}));"
            "const tip = canvas.querySelector('.tip'); return tip.hidden ? '' : tip.innerText",
            picture,
            *keys,
        )
    )


@pytest.mark.parametrize("width", [390, 1400])
@pytest.mark.parametrize("make", [slow, well, dead])
def test_a_page_opens_offline_without_errors_and_never_scrolls_sideways(
    opened: Open, tmp_path: Path, make: Callable[[], Trace], width: int
) -> None:
    browser = opened(page_of(make(), tmp_path), width)
    assert browser.get_log("browser") == []
    fetched = browser.execute_script("return performance.getEntriesByType('resource').length")
    assert fetched == 0
    wide, tall = browser.execute_script(
        "const it = document.documentElement; return [it.scrollWidth, it.scrollHeight]"
    )
    assert wide <= width
    assert tall > 900
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('svg')].map((it) => it.querySelectorAll('rect, path').length)"
    )
    assert len(drawn) == 2
    assert min(drawn) > 1


def test_the_verdict_comes_first_with_its_reason_and_the_next_step(
    opened: Open, tmp_path: Path
) -> None:
    trace = slow()
    found = diagnose(tmp_path, trace)
    told = opened(as_page([(found, trace)])).find_element("tag name", "article").text
    order = [
        found.verdict.sentence,
        "Why",
        "Do next",
        found.verdict.advice,
        "One step, rank by rank",
        "Steps over time",
        "Ranks",
        "Links",
        "Slowest buckets",
    ]
    places = [told.index(words) for words in order]
    assert places == sorted(places)


def test_a_bucket_under_the_pointer_or_a_finger_tells_its_layers_and_bytes(
    opened: Open, tmp_path: Path
) -> None:
    browser = opened(page_of(slow(), tmp_path))
    told = point_at(browser, ".timeline", ".k-sum")
    assert told.startswith("rank 0 on ada: sum of bucket 0\n2.95 MB, ")
    assert "layer4.1.conv2, layer4.1.conv1, layer4.0.conv2" in told
    told = point_at(browser, ".timeline", ".k-to")
    assert told.startswith("rank 0 on ada to rank 1 on bea: bucket 0\n6 transfers, ")


def test_keys_move_through_a_step_and_escape_leaves_it(opened: Open, tmp_path: Path) -> None:
    browser = opened(page_of(slow(), tmp_path))
    assert "waiting for data" in press(browser, ".timeline", "ArrowRight")
    assert "forward pass" in press(browser, ".timeline", "ArrowRight")
    assert "sum of bucket 0" in press(browser, ".timeline", "ArrowDown")
    assert "sum of bucket 3" in press(browser, ".timeline", "End")
    assert press(browser, ".timeline", "Escape") == ""


def test_other_steps_are_a_button_away(opened: Open, tmp_path: Path) -> None:
    browser = opened(page_of(slow(), tmp_path))
    *others, last = browser.find_elements("css selector", ".chips button")
    browser.execute_script("arguments[0].click()", last)
    assert [it.get_attribute("aria-pressed") for it in others] == ["false"] * len(others)
    assert last.get_attribute("aria-pressed") == "true"
    assert "the slowest told in detail" in browser.find_element("css selector", ".about").text


def test_steps_over_time_have_stretches_events_and_a_tip_for_each_column(
    opened: Open, tmp_path: Path
) -> None:
    browser = opened(page_of(slow(), tmp_path))
    stretches = browser.find_elements("css selector", ".curve .stretch")
    assert [it.text.split(",")[0] for it in stretches] == ["ring", "ring", "kary_tree:2"]
    pins = [it.text for it in browser.find_elements("css selector", ".pin text")]
    assert pins == ["1–3", "4", "5", "6"]
    events = [it.text for it in browser.find_elements("css selector", ".events li")]
    assert "step 38 slower dora sends 94 Mbit/s, 940 expected" in events
    told = press(browser, ".curve", "Home", "ArrowRight")
    assert told.startswith("Step 1: 25")
    assert "waiting for the network" in told


def test_links_have_the_colours_of_an_absolute_scale(opened: Open, tmp_path: Path) -> None:
    scene = slow_host(90)
    write_network(tmp_path, scene)
    browser = opened(page_of(made(scene), tmp_path))
    probed, seen = browser.find_elements("css selector", ".matrix")
    assert {it.text for it in probed.find_elements("css selector", "td .r4")} == {"940M"}
    assert len(probed.find_elements("css selector", "td span")) == 12
    assert [it.text for it in seen.find_elements("css selector", "td .r2")] == ["94M", "94M"]


def test_a_run_that_died_shows_the_step_that_never_ended(opened: Open, tmp_path: Path) -> None:
    browser = opened(page_of(dead(), tmp_path))
    chip = browser.find_element("css selector", ".chips button")
    assert (chip.text, chip.get_attribute("aria-pressed")) == ("step 30, not over", "true")
    assert point_at(browser, ".timeline", ".k-forward").startswith(
        "rank 2 on carl: forward pass\n60 s"
    )
    assert browser.find_elements("css selector", "article.is-bad")


def test_a_page_is_dark_where_the_reader_wants_it_dark(opened: Open, tmp_path: Path) -> None:
    page = page_of(well(), tmp_path)
    grounds = [
        opened(page, scheme=scheme).execute_script(
            "return getComputedStyle(document.body).backgroundColor"
        )
        for scheme in ("light", "dark")
    ]
    assert grounds == ["rgb(244, 245, 247)", "rgb(14, 18, 23)"]


HOSTILE = '</script><img src=x onerror="pwned=1">\'&\u202e\u05d0<b>'


def hostile(tmp_path: Path) -> tuple[Diagnosis, Trace]:
    """A diagnosis and a trace in which every name is hostile."""
    scene = slow_host(60)
    layers = tuple(replace(layer, name=HOSTILE) for layer in scene.layers)
    trace = made(replace(scene, hosts=(HOSTILE,) * 4, layers=layers, script=HOSTILE))
    events = tuple(replace(event, text=HOSTILE) for event in trace.events)
    ranks = tuple(
        replace(rank, steps=tuple(replace(step, algorithm=HOSTILE) for step in rank.steps))
        for rank in trace.ranks
    )
    trace = Trace(ranks, (*events, Event("waiting", 100.0, 3, HOSTILE, 1)))
    found = diagnose(tmp_path, trace)
    verdict = replace(
        found.verdict, sentence=HOSTILE, why=(HOSTILE,), advice=HOSTILE, command=HOSTILE
    )
    return (
        replace(
            found,
            run=HOSTILE,
            algorithm=HOSTILE,
            verdict=verdict,
            gaps=(Gap(2, 0.0, 1.0, HOSTILE, 1, HOSTILE),),
            notes=(HOSTILE,),
            ranks=tuple(replace(rank, address=HOSTILE) for rank in found.ranks),
        ),
        trace,
    )


def test_hostile_names_are_text_and_nothing_more(opened: Open, tmp_path: Path) -> None:
    browser = opened(as_page([hostile(tmp_path)]))
    assert browser.get_log("browser") == []
    for picture in (".timeline", ".curve"):
        assert press(browser, picture, "ArrowRight", "ArrowDown", "ArrowRight")
    point_at(browser, ".timeline", ".k-sum")
    assert browser.execute_script("return typeof pwned") == "undefined"
    assert browser.find_elements("css selector", "img, article > b") == []
    scripts = browser.find_elements("tag name", "script")
    assert len(scripts) == 3
    words = browser.execute_script("return document.body.innerText")
    assert words.count("<img src=x onerror=") > 20
    assert "\u202e" not in words
    assert "\\u202e" in words


def test_no_script_but_the_page_s_own_may_run(opened: Open, tmp_path: Path) -> None:
    page = page_of(made(slow_host(60)), tmp_path)
    smuggled = page.replace("</article>", "<script>pwned = 1</script></article>")
    browser = opened(smuggled)
    assert browser.execute_script("return typeof pwned") == "undefined"
    assert "Content Security Policy" in browser.get_log("browser")[0]["message"]


def test_a_longer_run_has_no_larger_page(tmp_path: Path) -> None:
    pages = [page_of(made(healthy(steps)), tmp_path) for steps in (400, 1000)]
    assert len(pages[1]) < 1.1 * len(pages[0])
    assert len(pages[1]) < MOST_BYTES / 5


@pytest.mark.slow
def test_ten_thousand_steps_of_eight_ranks_fit_in_a_megabyte(opened: Open, tmp_path: Path) -> None:
    page = page_of(made(healthy(10_000)), tmp_path)
    assert len(page.encode()) < MOST_BYTES
    assert opened(page, 390).get_log("browser") == []


def test_many_ranks_and_buckets_stay_within_a_page(opened: Open, tmp_path: Path) -> None:
    few = slow_host(60)
    now = few.changes[0]
    crowd = replace(now, mbit_s=now.mbit_s * 10, compute_s=now.compute_s * 10, load=now.load * 10)
    scene = Scene(few.hosts * 10, 6, {0: crowd})
    page = page_of(made(scene), tmp_path)
    assert len(page) < MOST_BYTES
    browser = opened(page, 390)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    assert "Ranks that are not drawn: 24." in browser.find_element("css selector", ".about").text
    assert len(browser.find_elements("css selector", ".timeline .rank")) == 16


def test_several_runs_have_a_page_together(opened: Open, tmp_path: Path) -> None:
    traces = [made(slow_host(60)), made(healthy(30))]
    page = as_page([(diagnose(tmp_path, trace), trace) for trace in traces])
    browser = opened(page)
    assert len(browser.find_elements("css selector", "article svg")) == 4
    assert browser.get_log("browser") == []


def test_a_notebook_shows_the_same_page_in_a_frame(tmp_path: Path) -> None:
    write_trace(tmp_path, made(slow_host(30)))
    trace = made(slow_host(30))
    found = diagnose(tmp_path, trace)
    shown = found._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts"')
    whole = unescape(shown.partition('srcdoc="')[2].removesuffix('"></iframe>'))
    assert whole == as_page([(found, trace)])


def test_a_notebook_shows_a_value_whose_run_s_folder_is_gone(tmp_path: Path) -> None:
    found = diagnose(tmp_path / "gone", made(slow_host(30)))
    shown = unescape(found._repr_html_())
    assert found.verdict.command in shown
    assert 'class="picture' not in shown


def palettes() -> dict[str, dict[str, str]]:
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    )
    return {"light": light, "dark": dark}


def contrast(one: str, other: str) -> float:
    """By WCAG 2: from 1 to 21."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    linear = [it / 12.92 if it <= 0.03928 else ((it + 0.055) / 1.055) ** 2.4 for it in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


WORDS = [
    *[(ink, ground) for ink in ("ink", "quiet") for ground in ("page", "card")],
    *[(mood, "card") for mood in ("good", "warn", "bad", "accent")],
    *[("ink", f"r{place}") for place in range(7)],
    *[("card", mood) for mood in ("warn", "bad", "quiet", "ink")],
    *[("tip-ink", "tip"), ("sum-ink", "sum"), ("ink", "code"), ("accent", "code")],
]
SHAPES = ["data", "forward", "backward", "others", "network", "optimizer", "evaluation"]
SHAPES += ["saving", "other", "sum", "to", "from"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_shapes_have_the_contrast_of_wcag_aa(scheme: str) -> None:
    colours = palettes()[scheme]
    words = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in WORDS}
    assert {pair: told for pair, told in words.items() if told < 4.5} == {}
    shapes = {name: contrast(colours[name], colours["card"]) for name in SHAPES}
    assert {name: told for name, told in shapes.items() if told < 3} == {}
