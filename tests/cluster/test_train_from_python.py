"""`firetree.train`: workers of a script's own, without a main guard, that end as the command's do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command import alive, descendants, firetree, last_weights
from test_resume import wait_for_workers

from firetree import Run, train
from firetree.errors import UserError, WorkerLostError

SCRIPT = """
import logging, sys
import firetree
said = []
run = firetree.train(
    "digits", workers=2, run_dir=sys.argv[1], fields={"optim.steps": 8}, progress=said.append
)
print(said[0], run.accuracy == run.evaluations[-1].accuracy, logging.root.manager.disable)
"""


def test_a_script_trains_as_the_command_does(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    script = [sys.executable, "-c", SCRIPT, str(one)]
    done = subprocess.run(script, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("starting 2 workers True 0\n", "")
    assert firetree("train", "digits", "--optim.steps", 8, "--run-dir", other, ranks=2)[0] == 0
    assert last_weights(one) == last_weights(other)


INTERRUPTED = """
import sys
import firetree
try:
    firetree.train(
        "digits", workers=2, run_dir=sys.argv[1], fields={"optim.steps": 600, "checkpoint_steps": 5}
    )
except KeyboardInterrupt as error:
    print(error, *error.__notes__, sep="; ", flush=True)
    print(firetree.Run(sys.argv[1]).resume(progress=lambda line: None).evaluations[-1].step)
"""


@pytest.mark.slow
def test_an_interrupted_script_keeps_a_checkpoint_and_can_go_on(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    script = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(run_dir)], stdout=subprocess.PIPE, text=True
    )
    assert script.stdout
    try:
        workers = wait_for_workers(script.pid, run_dir)
        script.send_signal(signal.SIGINT)
        said = script.stdout.readline()
        assert said.startswith("SIGINT: ended with a checkpoint of step ")
        assert said.endswith(f"; to resume: firetree.Run('{run_dir}').resume()\n")
        assert not any(map(alive, workers))
        assert script.communicate()[0] == "600\n"
    finally:
        script.kill()
        script.wait()
    assert Run(run_dir).trace().ranks[1].header.world_size == 2


def test_a_workers_mistake_is_raised_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.npz does not exist"):
        train(
            "fashion-squeezenet",
            run_dir=tmp_path / "run",
            fields={"data.path": str(tmp_path / "none.npz")},
        )


def test_a_lost_worker_is_raised_also_in_another_thread(tmp_path: Path) -> None:
    run_dir, raised = tmp_path / "run", list[BaseException]()
    fields = {"optim.steps": 1_000_000, "checkpoint_steps": 5}

    def run() -> None:
        try:
            train("digits", workers=2, run_dir=run_dir, fields=fields)
        except BaseException as error:
            raised.append(error)

    others = descendants(os.getpid())
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    workers = {*wait_for_workers(os.getpid(), run_dir)} - {*others}
    os.kill(max(workers), signal.SIGKILL)
    thread.join()
    assert isinstance(raised[0], WorkerLostError), raised
    assert not any(map(alive, workers))
