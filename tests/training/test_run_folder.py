"""A run's folder has one writer, loses nothing, and names the file that is not as it was written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import torch

from firetree.errors import UserError
from firetree.metrics import Metrics
from firetree.trace import StepTrace, TraceHeader
from firetree.training import Recipe, checkpoint
from firetree.training.arithmetic import Arithmetic
from firetree.training.checkpoint import Checkpoint, TrainingState
from firetree.training.run_folder import RunFolder


def headers(world_size: int) -> list[TraceHeader]:
    return [TraceHeader(rank, world_size, "ring", "executor", 8, 8.0) for rank in range(world_size)]


@contextmanager
def opened(path: Path, resume: bool = True) -> Iterator[RunFolder]:
    with closing(RunFolder(path, Recipe(), resume)) as folder:
        yield folder


def resumed(path: Path, world_size: int = 1) -> list[str]:
    """Go on in a folder from its newest checkpoint; gives what is said about it."""
    with opened(path) as folder:
        folder.earlier_arithmetic()
        newest, _ = folder.newest_checkpoint()
        folder.begin(headers(world_size), newest.state.step if newest else 0, Arithmetic())
        return folder.remarks


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Of a run of one worker with checkpoints at steps 1 and 2."""
    path = tmp_path / "run"
    with opened(path, resume=False) as folder:
        folder.begin(headers(1), 0, Arithmetic())
        for step in (1, 2):
            folder.add_trace(0, [StepTrace(step - 1, 0.0, 0.1, 0.1, 0.1, 0.1, 4, 8, ())])
            folder.add_metrics(
                Metrics(
                    step=step,
                    epoch=1,
                    lr=0.1,
                    train_loss=float("nan"),
                    test_loss=1.0,
                    accuracy=0.5,
                    samples_per_s=100.0,
                )
            )
            folder.add_checkpoint(
                Checkpoint(TrainingState(step, {}, {}), {"w": torch.ones(1)}, {}), 3
            )
    return path


def test_what_was_measured_up_to_the_checkpoint_stays(run_dir: Path) -> None:
    before = {name: (run_dir / name).read_text() for name in ("metrics.jsonl", "recipe.toml")}
    trace = (run_dir / "trace" / "rank-0000.jsonl").read_text()
    assert resumed(run_dir) == []
    assert before == {name: (run_dir / name).read_text() for name in before}
    assert (run_dir / "trace" / "rank-0000.jsonl").read_text() == trace


def test_what_lies_behind_a_damaged_checkpoint_is_kept_aside(run_dir: Path) -> None:
    damaged = run_dir / "checkpoints" / "step-00000002"
    (damaged / "SHA256SUMS").unlink()
    metrics = (run_dir / "metrics.jsonl").read_text()
    trace = (run_dir / "trace" / "rank-0000.jsonl").read_text()
    assert resumed(run_dir) == [f"kept aside in {run_dir / 'aside-1'}: step-00000002"]
    aside = run_dir / "aside-1"
    assert (aside / "checkpoints" / "step-00000002" / "model.safetensors").exists()
    assert (aside / "metrics.jsonl").read_text() == metrics
    assert (aside / "trace" / "rank-0000.jsonl").read_text() == trace
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 1
    assert resumed(run_dir) == []


def test_traces_of_other_workers_are_kept_aside(run_dir: Path) -> None:
    trace = (run_dir / "trace" / "rank-0000.jsonl").read_text()
    assert resumed(run_dir, world_size=2)[-1].endswith("aside-1: the traces of other workers")
    assert (run_dir / "aside-1" / "trace" / "rank-0000.jsonl").read_text() == trace
    resumed(run_dir, world_size=1)
    assert len(list((run_dir / "aside-2" / "trace").iterdir())) == 2
    assert len(list((run_dir / "trace").iterdir())) == 1


def append(name: str, text: str) -> Callable[[Path], None]:
    return lambda run_dir: (run_dir / name).write_text((run_dir / name).read_text() + text)


def replace(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda run_dir: (run_dir / name).write_bytes(content)


def cut(name: str, length: int) -> Callable[[Path], object]:
    return lambda run_dir: (run_dir / name).write_bytes((run_dir / name).read_bytes()[:length])


TRACE = "trace/rank-0000.jsonl"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (
            append("metrics.jsonl", '{"step": 1}\n'),
            "metrics.jsonl: line 3 lacks the field 'test_loss'",
        ),
        (append("metrics.jsonl", '{"a": 1}\n'), "metrics.jsonl: line 3 has no field 'a'"),
        (append("metrics.jsonl", "{}{}\n"), "metrics.jsonl: line 3 is not JSON"),
        (replace("metrics.jsonl", b"\xff\n{}\n"), "metrics.jsonl is not in UTF-8"),
        (append(TRACE, '{"step": "x"}\n'), f"{TRACE}: line 4: step = 'x'; expected int"),
        (append(TRACE, "[]\n"), f"{TRACE}: line 4: []; expected a table"),
        (replace("arithmetic.json", b""), "arithmetic.json is not JSON"),
        (replace("arithmetic.json", b"[" * 100_000), "arithmetic.json is not JSON"),
        (
            replace("arithmetic.json", b'{"precision": 1}'),
            "arithmetic.json: precision = 1; expected",
        ),
        (replace("recipe.toml", b""), "recipe.toml lacks 'model'"),
        (replace("recipe.toml", b"\xff"), "recipe.toml is not in UTF-8"),
        (cut("recipe.toml", 300), "recipe.toml is not TOML"),
        (cut("recipe.toml", -4), "recipe.toml differs from the checksum in its last line"),
        (lambda run: (run / "recipe.toml").unlink(), "has checkpoints and no recipe.toml"),
    ],
)
def test_a_file_that_is_damaged_is_named_and_nothing_else_changed(
    run_dir: Path, damage: Callable[[Path], object], fault: str
) -> None:
    damage(run_dir)
    before = contents(run_dir)
    with pytest.raises(UserError) as refusal:
        resumed(run_dir)
    assert fault in str(refusal.value)
    assert "put" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert contents(run_dir) == before


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_changed_byte_of_the_recipe_is_noticed(run_dir: Path) -> None:
    path = run_dir / "recipe.toml"
    path.write_text(path.read_text().replace("last_epoch", "last_epoc") + "\n")
    assert resumed(run_dir) == []
    path.write_text(path.read_text().replace("momentum = 0.9", "momentum = 0.8"))
    with pytest.raises(UserError, match="differs from the checksum"):
        resumed(run_dir)


def test_strange_files_among_a_runs_own_are_left_alone(run_dir: Path) -> None:
    strange = [run_dir / "trace" / "rank-x.jsonl", run_dir / "checkpoints" / "step-old"]
    for path in strange:
        path.write_text("mine")
    resumed(run_dir)
    assert [path.read_text() for path in strange] == ["mine", "mine"]


def test_without_any_file_removed_a_folder_in_use_is_refused(run_dir: Path) -> None:
    with opened(run_dir):
        for path in run_dir.glob(".*"):
            path.unlink()
        with pytest.raises(UserError, match="in use by another process"):
            RunFolder(run_dir, Recipe(), resume=True)


def test_a_folder_that_was_replaced_is_not_written_to(run_dir: Path) -> None:
    with opened(run_dir) as folder:
        run_dir.rename(run_dir.with_name("moved"))
        shutil.copytree(run_dir.with_name("moved"), run_dir)
        found, _ = checkpoint.newest(run_dir / "checkpoints")
        assert found is not None
        with pytest.raises(UserError, match="was replaced while this run wrote to it"):
            folder.add_checkpoint(found, keep=1)
    with opened(run_dir):
        pass
