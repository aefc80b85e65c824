"""Where rank 0's store listens, and that an attempt never reads what an earlier one has written."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import Store, TCPStore

from firetree.errors import RunFailedError, UserError
from firetree.launch.rank_info import RankInfo
from firetree.launch.store import open_store
from firetree.peers import reach

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


def test_rank_0_listens_at_the_one_address_that_the_others_use() -> None:
    port, other = free_port(), away()
    store = open_store(RankInfo(0, 2, 1, "127.0.0.1", port), LIMIT_S)
    assert answers("127.0.0.1", port)
    assert not answers(other, port)
    del store
    port = free_port()
    store = open_store(RankInfo(0, 2, 1, other, port), LIMIT_S)
    assert answers(other, port)
    assert not answers("127.0.0.1", port)
    del store


@pytest.fixture
def torchruns(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """A store that an agent of torchrun's keeps."""
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def attempt(port: int, world_size: int) -> list[Store]:
    infos = [RankInfo(rank, world_size, 1, "127.0.0.1", port) for rank in range(world_size)]
    with ThreadPoolExecutor(world_size) as ranks:
        return [*ranks.map(lambda rank_info: open_store(rank_info, LIMIT_S), infos)]


def test_no_attempt_reads_what_an_earlier_one_has_written(torchruns: TCPStore) -> None:
    for number, world_size in enumerate((3, 3, 2)):  # and one with a worker less
        stores = attempt(torchruns.port, world_size)
        assert not any(store.check(["address-1"]) for store in stores)
        stores[1].set("address-1", str(number))
        assert {store.get("address-1") for store in stores} == {str(number).encode()}


def test_a_worker_whose_rank_0_does_not_come_ends_in_time(torchruns: TCPStore) -> None:
    with pytest.raises(RunFailedError, match="rank 1 cannot reach rank 0"):
        open_store(RankInfo(1, 2, 1, "127.0.0.1", torchruns.port), 1.0)


def test_a_worker_that_waited_long_for_rank_0_waits_no_less_for_the_others() -> None:
    port = free_port()
    with ThreadPoolExecutor(1) as rank_1:
        waiting = rank_1.submit(open_store, RankInfo(1, 2, 1, "127.0.0.1", port), LIMIT_S)
        time.sleep(1)
        rank_0 = open_store(RankInfo(0, 2, 1, "127.0.0.1", port), LIMIT_S)
        assert waiting.result(LIMIT_S).timeout == rank_0.timeout == timedelta(seconds=LIMIT_S)


def test_an_address_that_is_no_name_is_told() -> None:
    with pytest.raises(UserError, match="does not resolve to an address"):
        open_store(RankInfo(1, 2, 1, "a" * 300, 29_500), LIMIT_S)
