"""Networks, rates and durations as people write them: read as meant, or refused in one line."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firetree.errors import UserError
from firetree.network import (
    Host,
    Network,
    Rack,
    format_duration,
    format_rate,
    parse_duration,
    parse_network,
    parse_rate,
    to_json,
)
from firetree.network.network import uniform

MBIT = 1e6 / 8
GBIT = 1e9 / 8


def ports(*rates_mbit: float, racks: Sequence[int] = (), uplink_mbit: float = 0.0) -> Network:
    """Hosts with equal rates up and down, the first racks' hosts before those of the next ones."""
    starts = itertools.accumulate(racks, initial=0)
    members = [
        tuple(range(start, start + size)) for start, size in zip(starts, racks, strict=False)
    ]
    return Network.of_ports(
        [rate * MBIT for rate in rates_mbit], members, uplink_mbit * MBIT if racks else None
    )


TWO_RACKS = ports(*[1000] * 4, racks=(2, 2), uplink_mbit=100)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("1 x 8kbit", ports(0.008)),
        ("8 x 1gbit", ports(*[1000] * 8)),
        (" 2x1Gbit ", ports(1000, 1000)),
        ("2 x 1gbit + 1 x 100mbit", ports(1000, 1000, 100)),
        (
            "1 x 50mbit:200mbit + 1 x 1gbit",
            Network((Host(50 * MBIT, 200 * MBIT), Host(GBIT, GBIT))),
        ),
        ("2 x 1gbit | 2 x 1gbit / 100mbit", TWO_RACKS),
        (
            "1 x 8mbit + 1 x 4mbit|1 x 8mbit|1 x 8mbit/2mbit",
            ports(8, 4, 8, 8, racks=(2, 1, 1), uplink_mbit=2),
        ),
        (
            "2 x 1gbit, 500ms",
            dataclasses.replace(ports(1000, 1000), latency_s=((0, 0.5), (0.5, 0))),
        ),
        ("2 x 1gbit, 0us", ports(1000, 1000)),
        (
            "2 x 1gbit, loss 0.1%, 500ms, jitter 2ms",
            dataclasses.replace(
                ports(1000, 1000),
                latency_s=((0, 0.5), (0.5, 0)),
                loss=((0, 0.001), (0.001, 0)),
                jitter_s=0.002,
            ),
        ),
        (
            "2 x 1gbit, medium 100mbit",
            dataclasses.replace(ports(1000, 1000), medium_bytes_s=100 * MBIT),
        ),
        ("2 x 1gbit, latency 0us, loss 0%, jitter 0ms", ports(1000, 1000)),
    ],
)
def test_a_network_is_read_from_one_line(text: str, network: Network) -> None:
    assert parse_network(text) == network
    assert Network.load(text) == network


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("8 x 1gbit", "Network(8 hosts of 1 Gbit/s)"),
        ("1 x 50mbit:200mbit", "Network(1 hosts of 50 Mbit/s to 200 Mbit/s)"),
        (
            "2 x 1gbit | 2 x 10gbit / 100mbit, 80us",
            "Network(4 hosts of 1 Gbit/s to 10 Gbit/s, 2 racks behind 100 Mbit/s, latency 80 µs)",
        ),
        (
            "2 x 1gbit, 1ms, jitter 2ms, loss 0.1%",
            "Network(2 hosts of 1 Gbit/s, latency 1 ms, jitter 2 ms, loss 0.1 %)",
        ),
        ("2 x 1gbit, medium 8mbit", "Network(2 hosts of 1 Gbit/s, sharing a medium of 8 Mbit/s)"),
    ],
)
def test_a_network_is_one_line(text: str, line: str) -> None:
    assert repr(parse_network(text)) == line


def test_a_networks_page_has_its_hosts_and_racks_and_no_tag_of_strangers() -> None:
    page = dataclasses.replace(TWO_RACKS, hosts=(Host(GBIT, GBIT, "<b>"), *TWO_RACKS.hosts[1:]))
    html = page._repr_html_()
    assert "<td>&lt;b&gt;</td><td>1 Gbit/s</td>" in html
    assert "<td>host 2, host 3</td><td>100 Mbit/s</td>" in html
    assert "<b>" not in html


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' in network ''; expected a number of hosts and their rate, as in '8 x 1gbit'"),
        ("1gbit", "'1gbit' in network '1gbit'; expected a number of hosts"),
        ("8 x", "'8 x' in network"),
        ("8 x 1gbit +", "'' in network '8 x 1gbit +'"),
        ("-8 x 1gbit", "'-8 x 1gbit' in network"),
        ("8 x 1gbyte", "rate '1gbyte'; expected a number and kbit, mbit or gbit"),
        ("8 x 1gbit:", "rate ''; expected"),
        ("8 x 0gbit", "rate '0gbit'; expected"),
        ("0 x 1gbit", "0 hosts in network '0 x 1gbit'; expected 1 to 1024"),
        ("2 x 1furlong", "rate '1furlong'; expected"),
        ("0 x 1gbit", "0 hosts"),
        ("10000 x 1gbit", "10000 hosts in network '10000 x 1gbit'; expected 1 to 1024"),
        ("999 x 1gbit + 99 x 1gbit, 1us", "a network of 1098 hosts; expected 1 to 1024"),
        (
            "8 x 1gbit / 1gbit",
            "expected racks with | between them and the rate of their uplinks after /",
        ),
        ("4 x 1gbit | 4 x 1gbit", "expected racks with | between them"),
        ("4 x 1gbit / 1gbit | 4 x 1gbit", "uplinks after /, at the end or after each"),
        ("1 x 1gbit / 1gbit | 1 x 1gbit | 1 x 1gbit / 1gbit", "at the end or after each"),
        ("1 x 1gbit | 1 x 1gbit / 1gbit:2gbit:3gbit", "rate '2gbit:3gbit'; expected"),
        ("4 x 1gbit | 4 x 1gbit / fast", "rate ' fast'; expected"),
        ("8 x 1gbit, 80us, latency 1ms", "' has two figures of latency; expected one"),
        ("8 x 1gbit, loss 101%", "share '101%'; expected 0% to 100%, as in 0.1%"),
        ("8 x 1gbit, loss 100%", "loss from host 0 to host 1: 1; expected 0 to below 1"),
        ("8 x 1gbit, loss 0.1", "share '0.1'; expected"),
        ("8 x 1gbit, 80", "duration ' 80'; expected a number and us, ms or s, as in 80us"),
    ],
)
def test_a_line_that_is_no_network_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as refusal:
        Network.load(text)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_network_is_read_from_a_file_whatever_its_name(tmp_path: Path) -> None:
    for name in ("cluster.json", "cluster"):
        (tmp_path / name).write_text(to_json(TWO_RACKS))
        assert Network.load(str(tmp_path / name)) == Network.load(tmp_path / name) == TWO_RACKS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.json", None, "missing.json cannot be read: No such file"),
        (".", None, "cannot be read: it is a folder; expected a file"),
        ("binary.json", b"\x89PNG\r\n\x1a\n\xff", "binary.json is not in UTF-8"),
        ("zeros.json", bytes(100), "zeros.json: a network is not JSON"),
        ("broken.json", b'{"version": 1}', "broken.json: a network of version 1; expected 2"),
    ],
)
def test_a_file_that_is_no_network_is_refused_by_its_name(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        Network.load(str(tmp_path / name))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "rate_bytes_s"),
    [
        ("8bit", 1.0),
        ("800kbit", 1e5),
        ("200mbit", 25e6),
        ("2.5gbit", 312.5e6),
        ("0.5mbit", 62_500.0),
        (" 200 MBit/s ", 25e6),
        ("1e3kbit", 125e3),
    ],
)
def test_a_rate_in_bits_is_read_as_bytes(text: str, rate_bytes_s: float) -> None:
    assert parse_rate(text) == rate_bytes_s


@pytest.mark.parametrize(
    "text", ["", "200", "200mb", "0mbit", "0.0gbit", "-5mbit", "fast", "1  gbit", ".", "infbit"]
)
def test_a_text_that_is_no_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError) as refusal:
        parse_rate(text)
    assert f"rate '{text}'; expected" in str(refusal.value)
    assert "as in 200mbit" in str(refusal.value)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (format_rate(25e6), "200 Mbit/s"),
        (format_rate(125e6), "1 Gbit/s"),
        (format_rate(10.0), "80 bit/s"),
        (format_rate(23.456e6), "187.6 Mbit/s"),
        (format_duration(80e-6), "80 µs"),
        (format_duration(1.5e-3), "1.5 ms"),
        (format_duration(999.7e-6), "1 ms"),
        (format_duration(2.0), "2 s"),
        (format_duration(1234.0), "1234 s"),
        (format_duration(0.0), "0 µs"),
    ],
)
def test_a_figure_is_said_with_its_unit(said: str, text: str) -> None:
    assert said == text


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, Network]:
    """A line, and the network that it is."""
    rates = st.integers(1, 10_000)
    both = st.tuples(rates, rates)
    ports = st.lists(st.tuples(st.integers(1, 3), both), min_size=1, max_size=3)
    racks = draw(st.lists(ports, min_size=1, max_size=4))
    several = len(racks) > 1
    alike = several and draw(st.booleans())
    uplinks = [draw(both)] * len(racks) if alike else [draw(both) for _ in racks]

    def rate(pair: tuple[int, int]) -> str:
        same = pair[0] == pair[1] and draw(st.booleans())
        return f"{pair[0]}mbit" if same else f"{pair[0]}mbit:{pair[1]}mbit"

    words = [" + ".join(f"{count} x {rate(pair)}" for count, pair in rack) for rack in racks]
    for number in range(len(racks)) if several else ():
        if not alike or number == len(racks) - 1:
            words[number] += f" / {rate(uplinks[number])}"
    latency_ms, loss, jitter_ms = (draw(st.integers(0, 99)) for _ in range(3))
    between = [f"{latency_ms}ms", f"loss {loss}%", f"jitter {jitter_ms}ms"]
    medium_mbit = draw(st.none() | rates)
    between += [f"medium {medium_mbit}mbit"] if medium_mbit else []
    hosts = [
        [Host(up * MBIT, down * MBIT) for count, (up, down) in rack for _ in range(count)]
        for rack in racks
    ]
    starts = itertools.accumulate(map(len, hosts), initial=0)
    members = [tuple(range(*ends)) for ends in itertools.pairwise(starts)]
    size = sum(map(len, hosts))
    network = Network(
        tuple(itertools.chain(*hosts)),
        tuple(
            Rack(rack, out * MBIT, into * MBIT)
            for rack, (out, into) in zip(members, uplinks, strict=True)
            if several
        ),
        latency_s=uniform(latency_ms / 1e3, size) if latency_ms else (),
        loss=uniform(loss / 100, size) if loss else (),
        jitter_s=jitter_ms / 1e3,
        medium_bytes_s=medium_mbit * MBIT if medium_mbit else float("inf"),
    )
    return ", ".join([" | ".join(words), *draw(st.permutations(between))]), network


@given(lines())
def test_what_is_written_of_a_network_is_read_as_that_network(said: tuple[str, Network]) -> None:
    line, network = said
    assert parse_network(line) == network


@given(st.floats(1.0, 1e11), st.floats(1e-8, 1e4))
def test_what_is_said_and_read_again_is_off_by_its_rounding_only(
    rate_bytes_s: float, duration_s: float
) -> None:
    assert parse_rate(format_rate(rate_bytes_s)) == pytest.approx(rate_bytes_s, rel=5.1e-4)
    said = format_duration(duration_s).replace("µ", "u")
    assert parse_duration(said) == pytest.approx(duration_s, rel=5.1e-3)
