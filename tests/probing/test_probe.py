"""Probes of real labs, and of two processes of this machine: what they find and whom they lose."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hosts import probe_lab

from firetree.errors import UserError
from firetree.lab import Lab, describe
from firetree.network import Network, Rack, from_json, parse_network
from firetree.probing import Probe, probe

ABC = ("anna", "bert", "carl")
WITHIN = 0.06
"""Brief probes beside other tests; `benchmarks/probe.py` shows what full ones reach."""


def probed(lab: Lab, folder: Path) -> Probe:
    """What all ranks found alike."""
    found = probe_lab(lab, folder)
    assert all(isinstance(each, Probe) for each in found.values()), found
    first = found[0]
    assert isinstance(first, Probe)
    assert all(each == first for each in found.values())
    return first


def assert_ports(network: Network, rates_bytes_s: list[float]) -> None:
    for host, rate in zip(network.hosts, rates_bytes_s, strict=True):
        assert host.up_bytes_s == pytest.approx(rate, rel=WITHIN)
        assert host.down_bytes_s == pytest.approx(rate, rel=WITHIN)


@pytest.mark.usefixtures("nothing_left")
def test_a_slow_port_is_measured_and_named_to_every_rank(tmp_path: Path) -> None:
    with Lab(describe(3, "200mbit", slow=["1=50mbit"])) as lab:
        found = probed(lab, tmp_path)
    assert_ports(found.network, [25e6, 6.25e6, 25e6])
    assert found.network.racks == ()
    [machine] = found.network.machines
    assert machine.hosts == (0, 1, 2)
    assert any(warning.startswith("host 1's port is ") for warning in found.warnings)
    for host in found.network.hosts:
        assert 5e-6 < host.message_s < 1e-3
        assert 0 <= host.byte_s < 1e-8
        assert 0 < host.add_s < 1e-8
        assert host.flops_s
        assert host.flops_s > 1e8


@pytest.mark.usefixtures("nothing_left")
def test_what_the_others_cannot_fill_is_a_lower_limit_and_directions_are_kept(
    tmp_path: Path,
) -> None:
    network = parse_network("1 x 100mbit:20mbit + 1 x 50mbit:200mbit + 1 x 200mbit")
    hosts = [replace(host, name=name) for host, name in zip(network.hosts, ABC, strict=True)]
    with Lab(replace(network, hosts=tuple(hosts))) as lab:
        found = probed(lab, tmp_path)
    assert [host.name for host in found.network.hosts] == [*ABC]
    assert found.at_least == ("carl down",)
    assert found.network.hosts[2].down_bytes_s == pytest.approx(150e6 / 8, rel=WITHIN)
    both, up = (
        warning for warning in found.warnings if " s" in warning and "differ" not in warning
    )
    assert re.match(r"anna sends \d+(\.\d)? Mbit/s and receives \d+(\.\d)? Mbit/s, where", both)
    assert up.startswith("bert sends ")


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_an_uplink_that_the_other_racks_cannot_fill_is_a_lower_limit(tmp_path: Path) -> None:
    rates = ((0, 1, 2), 300, 300), ((3, 4, 5), 40, 80), ((6, 7, 8), 150, 150)
    racks = tuple(Rack(hosts, out * 1e6 / 8, into * 1e6 / 8) for hosts, out, into in rates)
    with Lab(replace(parse_network("9 x 200mbit"), racks=racks)) as lab:
        found = probed(lab, tmp_path)
    assert [rack.hosts for rack in found.network.racks] == [rack.hosts for rack in racks]
    assert {"rack 0 out", "rack 0 in"} <= {*found.at_least}
    assert {"rack 1 out", "rack 1 in", "rack 2 out", "rack 2 in"}.isdisjoint(found.at_least)
    said = [warning for warning in found.warnings if "share an uplink" in warning]
    assert [warning.partition(" share")[0] for warning in said] == [
        "hosts 3, 4, 5",
        "hosts 6, 7, 8",
    ]


@pytest.mark.usefixtures("nothing_left")
def test_equal_slow_ports_are_told_as_what_they_are(tmp_path: Path) -> None:
    with Lab(describe(3, "94mbit")) as lab:
        found = probed(lab, tmp_path)
    assert (found.warnings, found.at_least) == ((), ())
    assert re.fullmatch(
        r"all ports carry 9\d(\.\d)? Mbit/s: a 100 Mbit/s switch, cable or port; check with `ethtool eth0`",
        found.remark,
    )


@pytest.mark.usefixtures("nothing_left")
def test_racks_that_alternate_are_found_without_being_told(tmp_path: Path) -> None:
    uplink_bytes_s = 150e6 / 8
    with Lab(Network.of_ports([25e6] * 4, [(0, 2), (1, 3)], uplink_bytes_s)) as lab:
        found = probed(lab, tmp_path)
    assert_ports(found.network, [25e6] * 4)
    assert [rack.hosts for rack in found.network.racks] == [(0, 2), (1, 3)]
    for rack in found.network.racks:
        assert rack.out_bytes_s == pytest.approx(uplink_bytes_s, rel=WITHIN)
        assert rack.in_bytes_s == pytest.approx(uplink_bytes_s, rel=WITHIN)
    assert sum("share an uplink of" in warning for warning in found.warnings) == 2


@pytest.mark.usefixtures("nothing_left")
def test_a_host_that_stops_is_left_out_and_the_others_are_measured(tmp_path: Path) -> None:
    with Lab(describe(3, "200mbit")) as lab:

        def pause_in_the_middle(line: str) -> None:
            if line == "pairs":
                lab.pause(1)

        found = probe_lab(lab, tmp_path, pause_in_the_middle, without=1)
    first = found[0]
    assert isinstance(first, Probe)
    assert found == {0: first, 2: first}
    assert first.unmeasured == (1,)
    assert [host.name for host in first.network.hosts] == ["host 0", "host 2"]
    assert {figure.rpartition(" ")[0] for figure in first.intervals} == {"host 0", "host 2"}
    assert_ports(first.network, [25e6, 25e6])
    assert first.warnings[0].startswith("host 1 did not answer")


@pytest.mark.usefixtures("nothing_left")
def test_without_rank_0_the_others_end_with_one_line(tmp_path: Path) -> None:
    with Lab(describe(3, "200mbit")) as lab:

        def kill_in_the_middle(line: str) -> None:
            if line == "pairs":
                lab.kill(0)

        found = probe_lab(lab, tmp_path, kill_in_the_middle)
    assert found.pop(0) == "killed"
    for rank, why in found.items():
        assert isinstance(why, str)
        assert why.startswith(f"rank {rank} lost rank 0")


def test_the_command_probes_local_workers(tmp_path: Path) -> None:
    network, page = tmp_path / "network.json", tmp_path / "page.html"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "firetree",
            "probe",
            "--workers",
            "2",
            "--brief",
            "--json",
            "-o",
            str(network),
            "--html",
            str(page),
        ],
        env={**os.environ, "FIRETREE_HOST": "<b>box</b>"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("probing 2 hosts: at most ")
    document = json.loads(done.stdout)
    assert Probe.from_json(done.stdout).network == from_json(network.read_text(encoding="utf-8"))
    assert document["unmeasured"] == []
    text = page.read_text(encoding="utf-8")
    assert "://" not in text
    assert "<script" not in text
    assert "<h2>Hosts</h2>" in text
    assert "&lt;b&gt;box&lt;/b&gt; (rank 1)" in text
    assert "<b>" not in text


def test_a_script_probes_local_workers_by_a_call() -> None:
    """Also one that has no guard against being imported again, and from a thread, as notebooks may."""
    script = (
        "import threading, firetree\n"
        "said = []\n"
        "def probe():\n"
        "    found = firetree.probe(workers=2, brief=True, progress=said.append)\n"
        "    print(found, said[0], said[-1], len(found._repr_html_()) > 500, sep='|')\n"
        "thread = threading.Thread(target=probe)\n"
        "thread.start(); thread.join()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=90
    )
    assert (done.returncode, done.stderr) == (0, "")
    found, first, last, shown = done.stdout.strip().split("|")
    assert found.startswith("Probe(Network(2 hosts of ")
    assert first.startswith("probing 2 hosts: at most ")
    assert (last, shown) == ("single connections", "True")


@pytest.mark.parametrize(("workers", "given"), [(None, "missing"), (1, "1")])
def test_one_host_alone_is_refused(workers: int | None, given: str) -> None:
    with pytest.raises(UserError, match=f"^workers is {given}, and one host alone has no network"):
        probe(workers)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("hosts", [2, 4])
def test_a_medium_that_all_share_is_recognised(hosts: int, tmp_path: Path) -> None:
    with Lab(parse_network(f"{hosts} x 100mbit, medium 50mbit")) as lab:
        found = probed(lab, tmp_path)
    assert found.network.medium_bytes_s == pytest.approx(50e6 / 8, rel=0.2)
    assert found.network.racks == ()
    assert any("all hosts share a medium of" in warning for warning in found.warnings)
