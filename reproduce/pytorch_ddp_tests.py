"""PyTorch's own tests of DDP on CPUs, with each DDP model attached: all that pass without pass with.

They come with torch and need the package expecttest. Three ranks on Gloo over loopback.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ON_CPUS = (
    "test_DistributedDataParallelCPU",
    "test_DistributedDataParallelCPU_grad_is_view",
    "test_DistributedDataParallel_requires_grad",
    "test_ddp_create_graph",
    "test_ddp_logging_data_cpu",
)
"""All of DDP's tests there that need no GPU."""

PLAIN = "plain DDP"
WAYS = (PLAIN, "gloo", "binomial_tree", "ring", "kary_tree:3")
_ATTACHED_BY = "ATTACHED_BY"
"""The variable that names the algorithm to the ranks, which run this file anew."""


def compare() -> int:
    """Print what each way's tests came to; 1 where one fails that passes on plain DDP."""
    passed = {way: _passed(way) for way in WAYS}
    for way, names in passed.items():
        lost = sorted(passed[PLAIN] - names)
        print(f"{way}: {len(names)} pass" + (f"; not {', '.join(lost)}" if lost else ""))
    return int(any(passed[PLAIN] - names for names in passed.values()) or not passed[PLAIN])


def _passed(way: str) -> set[str]:
    """The names of the tests that ran and passed."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("barrier", "test_dir", "init_dir"):
            Path(folder, name).mkdir()
        environ = {
            "BACKEND": "gloo",
            "WORLD_SIZE": "3",
            "TEMP_DIR": folder,
            "INIT_METHOD": f"file://{folder}/shared_init_file",
            "GLOO_SOCKET_IFNAME": "lo",
            _ATTACHED_BY: "" if way == PLAIN else way,
        }
        only = [word for name in ON_CPUS for word in ("-k", f"*.{name}")]
        done = subprocess.run(
            [sys.executable, __file__, "--verbose", *only],
            capture_output=True,
            text=True,
            env={**os.environ, **environ},
        )
    passed, name = set(), ""
    for line in done.stderr.splitlines():
        if line.startswith("test_"):
            name = line.partition(" ")[0]
        if line == "ok" or line.endswith("... ok"):  # the ranks' log may stand between
            passed.add(name)
    return passed


if _ATTACHED_BY in os.environ:
    import torch
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    if algorithm := os.environ[_ATTACHED_BY]:
        import firetree

        plain = DistributedDataParallel.__init__

        def attached(self: DistributedDataParallel, *arguments: object, **named: object) -> None:
            plain(self, *arguments, **named)
            firetree.attach(self, algorithm)

        DistributedDataParallel.__init__ = attached

    from torch.testing._internal.common_utils import run_tests
    from torch.testing._internal.distributed.distributed_test import (
        DistributedTest,
        TestDistBackend,
    )

    class TestDdp(TestDistBackend, DistributedTest._DistTestBase):
        """A process a rank."""

        def setUp(self) -> None:
            super().setUp()
            self._spawn_processes()

    if __name__ == "__main__":
        run_tests()
elif __name__ == "__main__":
    sys.exit(compare())
