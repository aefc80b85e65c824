"""With a secret, hosts speak TLS with rank 0 of a probe, and who lacks it takes no part."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firetree.probing.orders import Introduction, encode
from firetree.probing.rendezvous import Rendezvous, connect
from firetree.probing.team import Team
from firetree.wires import new_secret
from firetree.wires.secret import VARIABLE

HERE = "127.0.0.1"


def test_a_host_is_admitted_in_private_and_a_stranger_with_the_token_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_secret(tmp_path / "secret")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "secret"))
    team = Team(3)
    with socket.create_server((HERE, 0)) as listener, ThreadPoolExecutor(1) as thread:
        where = Rendezvous((HERE,), listener.getsockname()[1], bytes(16))
        gathered = thread.submit(team.gather, listener, where, 3.0)
        with socket.create_connection((HERE, where.port)) as stranger:
            stranger.sendall(
                where.token + encode(Introduction(1, "", HERE, 1, "here", 1, "lo", False))
            )
            with connect(where, 2, 3.0) as host:
                assert isinstance(host, ssl.SSLSocket)
                assert host.version() == "TLSv1.3"
                host.sendall(encode(Introduction(2, "", HERE, 1, "here", 1, "lo", False)))
                gathered.result()
    assert [*team.members] == [2]
    team.close()
