"""A benchmark's rows as JSON, as a table, and as a page that a browser shows."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from firetree.bench import Measurement
from firetree.commands.bench import _rows_json as as_json
from firetree.commands.pages import page as page_of
from firetree.commands.pages.allreduce import fragment
from firetree.commands.text.bench import allreduce_text as as_text
from firetree.network.units import format_bytes

NAMES = ("gloo", "ring", "kary_tree:2")


def row(algorithm: str, world_size: int, size_bytes: int, median_s: float) -> Measurement:
    bound_s = size_bytes / 25e6
    return Measurement(
        algorithm=algorithm,
        world_size=world_size,
        size_bytes=size_bytes,
        chunks=4,
        median_s=median_s,
        least_s=0.9 * median_s,
        most_s=1.2 * median_s,
        ratio_to_bound=median_s / bound_s,
        ratio_to_gloo=0.75,
        cpu_s=0.0123,
        bound_s=bound_s,
    )


ROWS = [
    row(name, world_size, size_bytes, (1 + (7 * k + world_size) % 3) * size_bytes / 20e6)
    for world_size in (4, 2)
    for size_bytes in (1_000_000, 64_000)
    for k, name in enumerate(NAMES)
]


def test_json_has_every_field_of_every_row() -> None:
    documents = json.loads(as_json(ROWS))
    assert documents == [asdict(row) for row in ROWS]
    for document in documents:
        assert document.keys() >= {
            *("algorithm", "world_size", "size_bytes", "median_s"),
            *("ratio_to_bound", "ratio_to_gloo"),
        }


def test_no_rows_are_an_empty_list() -> None:
    assert json.loads(as_json([])) == []


def test_the_table_has_a_line_a_row_with_the_fastest_first_of_each_size() -> None:
    heading, *lines = as_text(ROWS).splitlines()
    assert heading.split()[:3] == ["ranks", "size", "algorithm"]
    ordered = sorted(ROWS, key=lambda row: (row.world_size, row.size_bytes, row.median_s))
    shown = [line.split()[:4] for line in lines]
    assert shown == [
        [str(row.world_size), *format_bytes(row.size_bytes).split(), row.algorithm]
        for row in ordered
    ]


def test_a_line_of_the_table_has_the_times_in_ms_and_the_ratios() -> None:
    [_, line] = as_text([row("ring", 4, 5_000_000, 0.3)]).splitlines()
    assert line.split() == (
        ["4", "5", "MB", "ring", "4", "300.00", "270.00", "to", "360.00", "0.75", "1.50", "12.3"]
    )


def test_the_longest_names_and_numbers_stay_on_one_line() -> None:
    long = [row("sharded_parameter_server:64", 1024, 2_000_000_000, 5432.1)]
    assert len(as_text(long).splitlines()) == 2
    assert "sharded_parameter_server:64" in as_text(long)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(4, "4 B"), (1_000, "1 kB"), (64_000, "64 kB"), (1_500_000, "1.5 MB"), (2e9, "2 GB")],
)
def test_a_size_is_said_in_si_units(size_bytes: float, text: str) -> None:
    assert format_bytes(size_bytes) == text


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The browser with the page of all rows open, and drawn to the end."""
    from selenium.webdriver.support.wait import WebDriverWait

    path = tmp_path_factory.mktemp("page") / "bench.html"
    path.write_text(page_of("All-reduces", [fragment(ROWS)], scripts=True), encoding="utf-8")
    browser.get_log("browser")
    browser.get(path.as_uri())
    for drawn_last in (".annotation-text", ".legendtext", ".cartesianlayer .point"):
        WebDriverWait(browser, 10).until(
            lambda page, part=drawn_last: page.find_elements("css selector", part)
        )
    return browser


def test_the_page_is_one_plot_with_a_panel_for_each_world_size(page: Any) -> None:
    assert len(page.find_elements("css selector", ".js-plotly-plot")) == 1
    assert len(page.find_elements("css selector", ".cartesianlayer .subplot")) == 2
    titles = page.find_elements("css selector", ".annotation-text")
    assert [title.text for title in titles] == ["2 ranks", "4 ranks"]


def test_the_legend_names_each_algorithm_and_the_optimum_once(page: Any) -> None:
    legend = [entry.text for entry in page.find_elements("css selector", ".legendtext")]
    assert sorted(legend) == sorted([*NAMES, "optimum"])


def test_the_plot_has_the_rows_in_bytes_and_ms(page: Any) -> None:
    traces = page.execute_script(
        "return document.querySelector('.js-plotly-plot')._fullData"
        ".map((line) => [line.name, line.xaxis, Array.from(line.x), Array.from(line.y)])"
    )
    shown = {
        (name, {"x": 2, "x2": 4}[axis], x, round(y, 6))
        for name, axis, sizes_bytes, times_ms in traces
        for x, y in zip(sizes_bytes, times_ms, strict=True)
    }
    measured = {(r.algorithm, r.world_size, r.size_bytes, round(r.median_s * 1e3, 6)) for r in ROWS}
    bounds = {("optimum", r.world_size, r.size_bytes, round(r.bound_s * 1e3, 6)) for r in ROWS}
    assert shown == measured | bounds


def test_the_page_loads_nothing_and_complains_about_nothing(page: Any) -> None:
    loaded = page.execute_script(
        "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    )
    assert [name for name in loaded if not name.startswith(("data:", "blob:"))] == []
    assert page.get_log("browser") == []
