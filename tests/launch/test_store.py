"""How ranks meet: where rank 0 listens, who is let in, and that no attempt meets an earlier one."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import DistNetworkError, DistStoreError, PrefixStore, Store, TCPStore

from firetree.errors import RunFailedError, UserError
from firetree.launch.rank_info import RankInfo
from firetree.launch.store import open_store
from firetree.peers import WiredStore, reach
from firetree.wires import new_secret
from firetree.wires.secret import VARIABLE

HERE = "127.0.0.1"
LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `open_store` sets is undone."""
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")


def free_port() -> int:
    with socket.create_server(("", 0)) as listener:
        return int(listener.getsockname()[1])


def away() -> str:
    """An address of this host's that other machines use."""
    own = [address for address in reach.own_addresses() if not reach.is_loopback(address)]
    if not own:
        pytest.skip("this machine has no network")
    return own[0]


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except OSError:
        return False
    return True


def begun(
    rank: int, world_size: int, port: int, address: str = HERE, limit_s: float = LIMIT_S
) -> Future[Store]:
    """A rank that comes to the store, in a thread."""
    future: Future[Store] = Future()

    def come() -> None:
        try:
            future.set_result(open_store(RankInfo(rank, world_size, 1, address, port), limit_s))
        except Exception as error:
            future.set_exception(error)

    threading.Thread(target=come, daemon=True).start()
    return future


def met(world_size: int, port: int, address: str = HERE) -> list[Store]:
    come = [begun(rank, world_size, port, address) for rank in range(world_size)]
    return [it.result(LIMIT_S) for it in come]


def until_it_answers(address: str, port: int) -> None:
    while not answers(address, port):
        time.sleep(0.01)


@pytest.mark.parametrize("where", ["loopback", "away"])
def test_rank_0_listens_at_the_one_address_that_the_others_use_until_all_have_come(
    where: str,
) -> None:
    here, other = (HERE, away()) if where == "loopback" else (away(), HERE)
    port = free_port()
    rank_0 = begun(0, 2, port, here)
    until_it_answers(here, port)
    assert not answers(other, port)
    rank_1 = begun(1, 2, port, here)
    stores = rank_0.result(LIMIT_S), rank_1.result(LIMIT_S)
    assert not answers(here, port)
    del stores


def test_values_come_from_any_rank_to_all() -> None:
    held = met(3, free_port())
    stores = [PrefixStore("in torch's hands", store) for store in held]
    everything = bytes(range(256))
    for rank, store in enumerate(stores):
        store.set(f"bytes {rank}", everything[rank:])
        store.set(f"text {rank}", "für alle")
        assert store.add("sum", rank + 1) == sum(range(rank + 2))
    for store in stores:
        assert store.check([f"bytes {rank}" for rank in range(3)])
        assert not store.check(["bytes 0", "bytes 3"])
        assert [store.get(f"bytes {rank}") for rank in range(3)] == [
            everything[at:] for at in range(3)
        ]
        assert store.get("text 1").decode() == "für alle"
        assert store.num_keys() == 7
    assert stores[1].compare_set("text 0", "another", "new") == "für alle".encode()
    assert stores[1].compare_set("text 0", "für alle", "new") == b"new" == stores[0].get("text 0")
    assert stores[2].delete_key("text 0")
    assert not stores[1].delete_key("text 0")


def test_a_rank_waits_for_a_value_while_its_other_threads_go_on() -> None:
    _, *stores = met(3, free_port())
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(stores[0].get, "late")
        for number in range(20):
            stores[0].set(f"other {number}", "")
        assert not waiting.done()
        stores[1].set("late", b"here")
        assert waiting.result(LIMIT_S) == b"here"


def test_a_value_that_never_comes_is_named_in_time() -> None:
    for store in met(2, free_port()):
        with pytest.raises(DistStoreError, match=r"one, other not set within 0\.1 s"):
            store.wait(["one", "other"], timedelta(seconds=0.1))


def test_the_end_of_rank_0_is_noticed() -> None:
    streams = socket.socketpair()
    store = WiredStore.kept_by(streams[1], LIMIT_S)
    streams[0].close()
    with pytest.raises(DistNetworkError, match="rank 0, which keeps the store"):
        store.set("key", "value")


@pytest.mark.parametrize(
    "rubbish",
    [b"\xff\n", b"3\n", b"[]\n", b'["exec", "1"]\n', b'["set", "key"]\n', b'["get", {}]\n'],
)
def test_a_rank_that_asks_for_what_cannot_be_is_let_go_alone(rubbish: bytes) -> None:
    odd, ends = socket.socketpair()
    other, ends_too = socket.socketpair()
    WiredStore.kept_for({1: ends, 2: ends_too}, LIMIT_S)
    odd.sendall(rubbish)
    assert odd.recv(1) == b""
    store = WiredStore.kept_by(other, LIMIT_S)
    store.set("key", "value")
    assert store.get("key") == b"value"


def test_ranks_that_do_not_come_are_named_by_all() -> None:
    port = free_port()
    come = [begun(rank, 4, port, limit_s=1.0) for rank in (0, 2)]
    for rank in come:
        with pytest.raises(
            RunFailedError, match=f"ranks 1, 3 of 4 did not come to {HERE}:{port} within 1 s"
        ):
            rank.result(LIMIT_S)


def test_a_rank_of_another_world_size_is_refused_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = free_port()
    rank_0 = begun(0, 2, port, limit_s=3.0)
    with pytest.raises(RunFailedError, match=r"rank 1 cannot reach rank 0 at .+: it hung up"):
        begun(1, 3, port).result(LIMIT_S)
    with pytest.raises(RunFailedError, match="rank 1 of 2 did not come"):
        rank_0.result(LIMIT_S)
    assert "refused connections of another job, secret or program: 1" in caplog.text


def test_who_has_another_secret_or_none_is_refused_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, another, port = tmp_path / "ours.pem", tmp_path / "another.pem", free_port()
    for path in (ours, another):
        new_secret(path)
    monkeypatch.setenv(VARIABLE, str(ours))
    rank_0 = begun(0, 2, port)
    until_it_answers(HERE, port)
    monkeypatch.setenv(VARIABLE, str(another))
    with pytest.raises(RunFailedError, match="it has another secret"):
        begun(1, 2, port).result(LIMIT_S)
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(RunFailedError, match="it hung up"):
        begun(1, 2, port).result(LIMIT_S)
    monkeypatch.setenv(VARIABLE, str(ours))
    rank_1 = begun(1, 2, port).result(LIMIT_S)
    rank_1.set("key", "value")
    assert rank_0.result(LIMIT_S).get("key") == b"value"


@pytest.fixture
def torchruns(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """A store that an agent of torchrun's keeps."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    return TCPStore(HERE, 0, is_master=True, wait_for_workers=False)


def test_no_attempt_reads_what_an_earlier_one_has_written(torchruns: TCPStore) -> None:
    for number, world_size in enumerate((3, 3, 2)):  # and one with a worker less
        stores = met(world_size, torchruns.port)
        assert not any(store.check(["address-1"]) for store in stores)
        stores[1].set("address-1", str(number))
        assert {store.get("address-1") for store in stores} == {str(number).encode()}


def test_a_worker_whose_rank_0_does_not_come_ends_in_time(torchruns: TCPStore) -> None:
    with pytest.raises(RunFailedError, match=r"rank 1 cannot reach rank 0"):
        open_store(RankInfo(1, 2, 1, HERE, torchruns.port), 1.0)


def test_what_is_no_store_of_torchruns_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with closing(socket.create_server((HERE, 0))) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(RunFailedError, match="not a PyTorch store"):
            open_store(RankInfo(1, 2, 1, HERE, port), 1.0)


def test_a_worker_that_waited_long_for_rank_0_waits_no_less_for_the_others() -> None:
    port = free_port()
    waiting = begun(1, 2, port)
    time.sleep(1)
    rank_0 = begun(0, 2, port).result(LIMIT_S)
    assert waiting.result(LIMIT_S).timeout == rank_0.timeout == timedelta(seconds=LIMIT_S)


def test_an_address_that_is_no_name_is_told() -> None:
    with pytest.raises(UserError, match="does not resolve to an address"):
        open_store(RankInfo(1, 2, 1, "a" * 300, 29_500), LIMIT_S)
