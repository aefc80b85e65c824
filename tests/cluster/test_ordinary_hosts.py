"""Hosts as their installers leave them: the first run finds its way without a variable."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest
from command import COMMAND, firetree

HOST = r"""
set -e
unset GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME
mount --bind {folder}/hosts$RANK /etc/hosts
hostname debian$RANK
{setup}
exec {command} train digits --optim.steps 2 --run-dir {folder}/run
"""

TORCHRUN = f"""{sys.executable} -m torch.distributed.run --nnodes 2 --nproc-per-node 1 --node-rank $RANK --master-addr debian0 \\
    --master-port 29511 -m firetree"""

DEBIAN = """
ip link add docker0 type bridge
ip addr add 172.17.0.1/16 dev docker0
ip link set docker0 up
export MASTER_ADDR=debian0
"""

IPV6_ONLY = """
ip -4 addr flush dev eth0
ip addr add fd00:f1::$((RANK + 1))/64 dev eth0 nodad
export MASTER_ADDR=fd00:f1::1
"""


def trained(tmp_path: Path, setup: str, command: str = shlex.join(COMMAND)) -> str:
    """What is said on the way through a short run of two such hosts of a lab."""
    own = "127.0.0.1 localhost\n127.0.1.1 {}\n"
    (tmp_path / "hosts0").write_text(own.format("debian0"))
    (tmp_path / "hosts1").write_text(own.format("debian1") + "10.77.0.1 debian0\n")
    script = tmp_path / "host.sh"
    folder = shlex.quote(str(tmp_path))
    script.write_text(HOST.format(folder=folder, setup=setup, command=command))
    code, _, err = firetree(
        *("lab", "--hosts", 2, "--rate", "200mbit"),
        *("--", "unshare", "--uts", "--mount", "bash", script),
    )
    assert code == 0, err
    assert list(tmp_path.glob("run/checkpoints/step-*"))
    return err


@pytest.mark.usefixtures("nothing_left")
def test_hosts_whose_names_mean_loopback_and_that_have_dockers_network_train(
    tmp_path: Path,
) -> None:
    assert "speaking over eth0 (10." in trained(tmp_path, DEBIAN)


@pytest.mark.usefixtures("nothing_left")
def test_hosts_with_ipv6_alone_train(tmp_path: Path) -> None:
    assert "speaking over eth0 (fd00:f1::1)" in trained(tmp_path, IPV6_ONLY)


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_such_hosts_train_under_torchrun(tmp_path: Path) -> None:
    assert "speaking over eth0 (10." in trained(tmp_path, DEBIAN, TORCHRUN)
