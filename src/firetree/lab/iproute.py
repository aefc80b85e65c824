"""Run batches of `ip` and `tc` commands, and check that this machine can.

Each batch is one process, whatever its number of commands, so a lab starts in a fraction of a second.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from typing import Literal

from firetree.errors import RunFailedError, UserError


def require() -> None:
    """Check that this machine can run a lab.

    Raises:
        UserError: this is not Linux, the user is not root, or `ip` or `tc` is missing.
    """
    if sys.platform != "linux":
        raise UserError(f"the lab needs Linux's network namespaces; this is {sys.platform}")
    if os.geteuid() != 0:
        raise UserError("the lab needs root to make network namespaces; run it with sudo")
    if not (shutil.which("ip") and shutil.which("tc")):
        raise UserError("the lab needs `ip` and `tc`; install Debian's iproute2")


def batch(tool: Literal["ip", "tc"], commands: Iterable[str], inside: str | None = None) -> None:
    """Run the commands in order, in the namespace `inside`, up to the first failure.

    Raises:
        UserError: missing permission, or a feature that the kernel lacks.
        RunFailedError: a command failed otherwise.
    """
    lines = [*commands]
    place = ["-n", inside] if inside else []
    done = subprocess.run(
        [tool, *place, "-batch", "-"], input="\n".join(lines), capture_output=True, text=True
    )
    if done.returncode == 0:
        return
    said = " ".join(done.stderr.split())
    failed = re.search(r" ?Command failed -:(\d+)", said)
    command = lines[int(failed[1]) - 1] if failed else ""
    if "Operation not permitted" in said:
        raise UserError("the lab may not set up networks here; it needs root with CAP_NET_ADMIN")
    if "qdisc kind is unknown" in said:
        raise UserError("this kernel cannot limit rates (htb); expected one with the module for it")
    raise RunFailedError(f"`{tool} {command}` failed: {said[: failed.start()] if failed else said}")
