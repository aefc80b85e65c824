"""W&B and MLflow get a watched script's numbers, where they are installed: the real ones, without a server."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firetree.observing import trackers
from firetree.observing.trackers import Trackers
from firetree.trace import StepTrace


def step(number: int, forward_s: float) -> StepTrace:
    return StepTrace(number, 0.0, 0.5, forward_s, 2.0, 0.25, 8, 300, ())


def test_mlflow_gets_the_means_under_the_scripts_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "true")
    mlflow = pytest.importorskip("mlflow", reason="needs the package mlflow-skinny")
    mlflow.set_tracking_uri(f"file:{tmp_path}/mlruns")
    with mlflow.start_run() as run:
        told = Trackers()
        told.add(step(0, 1.0))
        told.add(step(1, 2.0))
        told.tell()
    mlflow.flush_async_logging()
    client = mlflow.MlflowClient()
    [point] = client.get_metric_history(run.info.run_id, "firetree/forward_s")
    assert (point.step, point.value) == (1, 1.5)


def records(log: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format: blocks of 32 KiB, in them parts with their lengths."""
    at, whole = 7, b""  # after the file's own header
    while at < len(log):
        if (1 << 15) - at % (1 << 15) < 7:  # what is left of a block holds no part
            at += (1 << 15) - at % (1 << 15)
            continue
        _, size_bytes, kind = struct.unpack_from("<IHB", log, at)
        whole += log[at + 7 : at + 7 + size_bytes]
        at += 7 + size_bytes
        if kind in (1, 4):  # a whole record, or the end of one
            yield whole
            whole = b""


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """What an offline run of W&B has in its history."""
    from wandb.proto.wandb_internal_pb2 import Record

    [path], found = run_dir.glob("wandb/offline-run-*/*.wandb"), []
    for record in records(path.read_bytes()):
        history = Record.FromString(record).history
        names = ((it.key or ".".join(it.nested_key), it.value_json) for it in history.item)
        found.append({name: json.loads(value) for name, value in names})
    return [row for row in found if row]


def test_wandb_gets_them_beside_what_the_script_logs(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb", reason="needs the package wandb")
    run = wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True))
    for number in range(2):
        run.log({"loss": 3.0}, step=number)
        told = Trackers()
        told.add(step(number, 1.0 + number))
        told.tell()
    run.finish()
    wandb.teardown()  # waits for the process that writes
    found = [(row["_step"], row["loss"], row["firetree/forward_s"]) for row in rows(tmp_path)]
    assert found == [(0, 3.0, 1.0), (1, 3.0, 2.0)]


def test_a_tracker_that_fails_is_left_alone_and_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(mean: StepTrace) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(trackers, "_tell", failing)
    told = Trackers()
    with caplog.at_level(logging.WARNING, "firetree"):
        for number in range(3):
            told.add(step(number, 1.0))
            told.tell()
    assert caplog.messages == ["firetree's numbers no longer go to W&B or MLflow: no space left"]
