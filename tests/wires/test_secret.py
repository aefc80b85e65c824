"""With a secret, only who has it is let in, and nobody else can read what travels."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
import torch
from test_mesh import HERE, TOKEN, gathering, knock, listening

from firetree import collectives
from firetree.collectives.over_wires import OverWires
from firetree.errors import UserError
from firetree.wires import Mesh, Secret, connect, new_secret
from firetree.wires.listener import Listener, greeting


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    paths = [tmp_path_factory.mktemp("secrets") / name for name in ("ours", "theirs")]
    for path in paths:
        new_secret(path)
    return paths


def meshed(size: int, secrets: list[Secret | None]) -> list[Mesh]:
    gather = gathering(size)

    def joining(rank: int) -> Mesh:
        return connect(gather(rank), rank, range(size), listening(), 5, secrets[rank])

    with ThreadPoolExecutor(size) as threads:
        return [*threads.map(joining, range(size))]


@pytest.mark.parametrize("elements", [1, 3_000, 700_001])
def test_sums_in_private_are_the_same(files: list[Path], elements: int) -> None:
    meshes = meshed(3, [Secret(files[0])] * 3)
    for algorithm in ("binomial_tree", "ring"):
        schedule = collectives.build(algorithm, 3)
        buffers = [torch.arange(float(elements)) * rank for rank in (1, 2, 3)]
        with ThreadPoolExecutor(3) as threads:
            runs = [
                threads.submit(OverWires(schedule, mesh).carry, buffer)
                for mesh, buffer in zip(meshes, buffers, strict=True)
            ]
            for run in runs:
                run.result()
        assert all(torch.equal(buffer, torch.arange(float(elements)) * 6) for buffer in buffers)
    for mesh in meshes:
        mesh.close()


@pytest.mark.parametrize("other", ["theirs", "none"])
def test_a_rank_without_the_secret_does_not_join(files: list[Path], other: str) -> None:
    secrets = [Secret(files[0]), Secret(files[1]) if other == "theirs" else None]
    with pytest.raises((TimeoutError, OSError)):
        meshed(2, secrets)


def tls_stranger(port: int, file: Path | None) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if file:
        context.load_cert_chain(file)
    with suppress(OSError), context.wrap_socket(socket.create_connection((HERE, port), 5)) as it:
        it.sendall(greeting(TOKEN, 1))
        it.recv(1)


def test_strangers_who_know_even_the_token_are_turned_away(files: list[Path]) -> None:
    secret = Secret(files[0])
    with closing(Listener(listening(), secret)) as listener, ThreadPoolExecutor(1) as thread:
        answered = thread.submit(listener.accept, TOKEN, [1], time.monotonic() + 20)
        knock(listener, greeting(TOKEN, 1)).close()
        knock(listener, os.urandom(500)).close()
        tls_stranger(listener.port, None)
        tls_stranger(listener.port, files[1])
        with secret.calling(socket.create_connection((HERE, listener.port), 5)) as friend:
            friend.sendall(greeting(TOKEN, 1))
            answered.result()[1].close()
        assert listener.refused == 4


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1"])
def test_a_stranger_that_resets_before_tls_begins_keeps_no_rank_out(
    files: list[Path], words: bytes
) -> None:
    secret = Secret(files[0])
    with closing(Listener(listening(), secret)) as listener, ThreadPoolExecutor(1) as thread:
        for _ in range(20):
            stranger = knock(listener, words)
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stranger.close()
        answered = thread.submit(listener.accept, TOKEN, [1], time.monotonic() + 20)
        with secret.calling(socket.create_connection((HERE, listener.port), 5)) as friend:
            friend.sendall(greeting(TOKEN, 1))
            answered.result()[1].close()
        assert listener.refused == 20


class Tap:
    """Stands between a client and a listener, and keeps what passes."""

    def __init__(self, port: int):
        self.heard = bytearray()
        self._to = port
        self._listener = socket.create_server((HERE, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            here, _ = self._listener.accept()
            there = socket.create_connection((HERE, self._to))
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                self.heard += data
                other.sendall(data)


@pytest.mark.parametrize("private", [False, True])
def test_what_travels_can_be_read_only_without_a_secret(files: list[Path], private: bool) -> None:
    secret = Secret(files[0]) if private else None
    taps: list[Tap] = []
    gather = gathering(2)

    def tapped(value: list[object]) -> list[list[object]]:
        told = gather(1)(value)
        taps.append(Tap(told[0][1]))
        return [[HERE, taps[0].port, told[0][2]], told[1]]

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(connect, gather(0), 0, range(2), listening(), 5, secret)
        second = threads.submit(connect, tapped, 1, range(2), listening(), 5, secret)
        meshes = [first.result(), second.result()]
        schedule = collectives.build("binomial_tree", 2, 1)
        buffer = torch.frombuffer(bytearray(b"a weight of ours"), dtype=torch.uint8)
        other = threads.submit(OverWires(schedule, meshes[0]).carry, torch.zeros_like(buffer))
        OverWires(schedule, meshes[1]).carry(buffer)
        other.result()
    assert (b"a weight of ours" in taps[0].heard) is not private
    assert len(taps[0].heard) > 40
    for mesh in meshes:
        mesh.close()


def test_a_file_that_others_may_read_is_refused(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.write_bytes(files[0].read_bytes())
    path.chmod(0o644)
    with pytest.raises(UserError, match=f"other users may read {path}"):
        Secret(path)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_file_that_is_no_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UserError, match="is no secret; expected a file that firetree secret new"):
        Secret(path)


def test_no_file_is_overwritten(files: list[Path]) -> None:
    with pytest.raises(UserError, match="exists already"):
        new_secret(files[0])
