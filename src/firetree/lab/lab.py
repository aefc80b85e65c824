"""The emulated cluster: it sets up a network of namespaces, starts commands in it, and injects faults.

`topology` defines the network, `namespaces` removes it, and `workload` runs one command on all hosts.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from firetree.errors import UserError, nearest
from firetree.lab import iproute, namespaces, quotas, topology
from firetree.lab.description import emulated, needs_relay
from firetree.lab.taps import PacketRelay
from firetree.network import Network, to_json
from firetree.processes import ending_with_us

CONGESTION_CONTROL = "reno"
"""The hosts' TCP. CUBIC and BBR react to round-trip times, which here are those of a busy CPU: with
either, transfers stall for no reason that a real link has. Hosts do not slow-start after idling either,
so that a time does not depend on earlier measurements."""


class Lab:
    """The hosts of a network as namespaces of this machine, within a `with` block.

        with Lab(describe(4, "200mbit", slow=["3=50mbit"])) as lab:
            lab.start(0, ["ping", "-c", "1", lab.address(3)]).wait()

    `network` is then what of it is emulated: rates of ports, uplinks and a medium, latencies, jitter and
    loss. `tcp` is the hosts' congestion control. In the main thread, SIGTERM and SIGHUP raise SystemExit, so
    that the lab is removed.

    Raises:
        UserError: more than a lab can emulate (see `emulated`). On entering: this machine cannot run a
            lab, delay packets or use that congestion control, or this process is in a lab already.
        RunFailedError: on entering, the network could not be set up.
    """

    def __init__(self, network: Network, tcp: str = CONGESTION_CONTROL) -> None:
        self.network = emulated(network)
        self._tcp = tcp
        self._relay: PacketRelay | None = None
        self._prefix = namespaces.prefix(os.getpid())
        self._started: list[subprocess.Popen[Any]] = []
        self._quotas: dict[int, quotas.Quota] = {}
        self._leaving = contextlib.ExitStack()

    def __enter__(self) -> Lab:
        iproute.require()
        if namespaces.having(self._prefix):
            raise UserError("this process is in a lab already; expected one at a time")
        with contextlib.ExitStack() as leaving:
            leaving.enter_context(_ended_by_signals())
            leaving.callback(self._take_down)
            self._set_up()
            self._leaving = leaving.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.close()

    def _set_up(self) -> None:
        iproute.batch("ip", topology.places(self.network, self._prefix))
        if needs_relay(self.network):
            hosts = [self.namespace(host) for host in range(self.network.size)]
            self._relay = PacketRelay(self.network, hosts)
            self._started.append(self._relay.process)
        else:
            iproute.batch("ip", topology.links(self.network, self._prefix))
            iproute.batch("ip", topology.switch(self.network), self._switch)
            iproute.batch("tc", topology.switch_limits(self.network), self._switch)
        for number, host in enumerate(self.network.hosts):
            limit = topology.host_limit(host.up_bytes_s)
            interface = topology.host_interface(number, host.up_bytes_s)
            iproute.batch("ip", interface, self.namespace(number))
            iproute.batch("tc", limit, self.namespace(number))
            namespaces.inside(self.namespace(number), partial(_set_tcp, self._tcp))

    def _take_down(self) -> None:
        with _undisturbed():
            names = namespaces.having(self._prefix)
            for quota in self._quotas.values():
                quota.limit(math.inf)  # so that the processes end in time
            namespaces.end(names)
            namespaces.remove(names)
            for process in self._started:
                process.kill()
                process.wait()
            for quota in self._quotas.values():
                quota.remove()
            self._quotas.clear()

    @property
    def _switch(self) -> str:
        return f"{self._prefix}-sw"

    def namespace(self, host: int) -> str:
        """The name of the host's namespace, as `ip netns` knows it."""
        return f"{self._prefix}-h{host}"

    def address(self, host: int) -> str:
        """The host's address on `eth0`."""
        return topology.address(host)

    def environment(self, host: int, port: int = 29500) -> dict[str, str]:
        """torchrun's variables for a single worker on this host, and the network as JSON.

        `OMP_NUM_THREADS` defaults to 1, as all hosts share this machine's cores.
        """
        rank, hosts = str(host), str(self.network.size)
        threads = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": "1"}
        return threads | {
            "RANK": rank,
            "WORLD_SIZE": hosts,
            "LOCAL_RANK": "0",
            "LOCAL_WORLD_SIZE": "1",
            "GROUP_RANK": rank,
            "GROUP_WORLD_SIZE": hosts,
            "NODE_RANK": rank,
            "MASTER_ADDR": self.address(0),
            "MASTER_PORT": str(port),
            "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
            "GLOO_SOCKET_IFNAME": "eth0",
            "NCCL_SOCKET_IFNAME": "eth0",
            "TP_SOCKET_IFNAME": "eth0",
            "FIRETREE_HOST": self.network.hosts[host].name or rank,
            "FIRETREE_NETWORK": to_json(self.network),
        }

    def start(self, host: int, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command on a host, in this process's environment and the host's.

        `options` are Popen's; `env` adds variables. The command is killed when the calling thread ends.
        """
        environ = {**os.environ, **self.environment(host), **(options.pop("env", None) or {})}
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace(host), *command],
            env=environ,
            preexec_fn=ending_with_us(signal.SIGKILL),
            start_new_session=True,  # Ctrl-C is for the lab, which then ends its hosts
            **{"stdin": subprocess.DEVNULL, **options},
        )
        self._started.append(process)
        self._wait_inside(host, process.pid)
        if quota := self._quotas.get(host):
            quota.gather()
        return process

    def _wait_inside(self, host: int, pid: int) -> None:
        """Wait until the process is in the namespace, where faults find it, or has ended."""
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not namespaces.holds(self.namespace(host), pid):
            if os.waitid(os.P_PID, pid, ended):
                return
            time.sleep(0.001)

    def link_down(self, host: int) -> None:
        """Unplug the host's cable: it keeps its address, but no packet gets through."""
        if self._relay:
            self._relay.cut(host)
        else:
            iproute.batch("ip", [f"link set h{host} down"], self._switch)

    def link_up(self, host: int) -> None:
        """Plug the host's cable in again."""
        if self._relay:
            self._relay.join(host)
        else:
            iproute.batch("ip", [f"link set h{host} up"], self._switch)

    def set_rate(self, host: int, rate_bytes_s: float) -> None:
        """Give the host's link another rate in both directions; `network` stays as described."""
        iproute.batch("tc", topology.change_limit("eth0", rate_bytes_s), self.namespace(host))
        if self._relay:
            self._relay.limit(host, rate_bytes_s)
        else:
            iproute.batch("tc", topology.change_limit(f"h{host}", rate_bytes_s), self._switch)

    def limit_cpu(self, host: int, cores: float) -> None:
        """Let all processes on the host together use so many of this machine's cores at most, as 0.5.

        `cpu_limits_by` says how. It may be done again with another number.
        """
        quota = self._quotas.get(host) or quotas.quota(self.namespace(host))
        self._quotas[host] = quota
        quota.limit(cores)
        quota.gather()

    def pause(self, host: int) -> None:
        """Stop every process on the host; its link still answers."""
        if isinstance(quota := self._quotas.get(host), quotas.Throttle):
            quota.pause()
        namespaces.send([self.namespace(host)], signal.SIGSTOP)

    def resume(self, host: int) -> None:
        """Continue every process on the host."""
        if isinstance(quota := self._quotas.get(host), quotas.Throttle):
            quota.resume()
        namespaces.send([self.namespace(host)], signal.SIGCONT)

    def kill(self, host: int) -> None:
        """Kill every process on the host at once."""
        namespaces.send([self.namespace(host)], signal.SIGKILL)

    def end(self, hosts: Sequence[int]) -> None:
        """Ask every process on the hosts to end, and kill those that do not within 2 s."""
        namespaces.end([self.namespace(host) for host in hosts])


def clean() -> list[str]:
    """Remove the namespaces, processes and CPU limits of all labs whose owners are dead; their names.

    Raises:
        UserError: this machine cannot run a lab, or the user is not root.
    """
    left = namespaces.clean()
    quotas.clean()
    return left


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise an exception, as SIGINT does, instead of ending the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Block SIGINT, SIGTERM and SIGHUP until the block is done."""
    ending = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _set_tcp(congestion_control: str) -> None:
    settings = Path("/proc/sys/net/ipv4")
    try:
        (settings / "tcp_congestion_control").write_text(congestion_control)
    except OSError as error:
        allowed = (settings / "tcp_allowed_congestion_control").read_text().split()
        wrong = f"no TCP '{congestion_control}' for hosts"
        raise UserError(wrong + nearest(congestion_control, allowed)) from error
    (settings / "tcp_slow_start_after_idle").write_text("0")
