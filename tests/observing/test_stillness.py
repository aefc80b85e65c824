"""A process that is stopped notices it; one that is only busy does not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import sys, time
from firetree.observing.stillness import STILL_S, Stillness
stillness = Stillness(0.05)
print("ready", flush=True)
if sys.argv[1] == "busy":
    until = time.process_time() + 1.5 * STILL_S
    while time.process_time() < until:
        pass
    print(stillness.look())
else:
    while not (still_s := stillness.look()):
        time.sleep(0.02)
    print(still_s)
"""


def start(what: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, what], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_a_stopped_process_knows_for_how_long() -> None:
    process = start("stopped")
    process.send_signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    time.sleep(1.5)
    process.send_signal(signal.SIGCONT)
    stopped_s = time.monotonic() - stopped_s
    told, _ = process.communicate()
    assert float(told) == pytest.approx(stopped_s, abs=0.5)


def test_a_busy_process_did_not_stand_still() -> None:
    told, _ = start("busy").communicate()
    assert told == "0.0\n"
