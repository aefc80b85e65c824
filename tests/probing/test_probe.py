"""Probes of real labs, and of two processes of this machine: what they find and whom they lose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import probe_lab

from firetree.errors import UserError
from firetree.lab import Lab, describe
from firetree.network import Network, from_json
from firetree.probing import Probe, probe

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
