"""A file that cannot be written is named in one line, and before the work that it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import firetree
from test_failures import mounted

from firetree.durable import check_writable, write_durably
from firetree.errors import UserError

LONG = {
    "report": ("report", "no-run", "--html"),
    "plan": ("plan", "--network", "2 x 1gbit", "-o"),
    "allreduce": ("bench", "allreduce", "--world-size", 1, "--html"),
    "accuracy": ("bench", "time-to-accuracy", "digits", "--network", "2 x 1gbit", "--html"),
    "network": ("probe", "--workers", 2, "-o"),
    "compress": ("compress", "none.net", "--lossless"),
    "scan": ("scan", "none.net", "--images", "none", "--html"),
    "export": ("export", "none.net"),
    "sweep": ("sweep", "digits", "--vary", "optim.lr=0.1", "--html"),
}


@pytest.mark.parametrize("command", LONG)
def test_a_wrong_output_is_refused_before_the_work(tmp_path: Path, command: str) -> None:
    wrong = tmp_path / "none" / "out"
    code, out, err = firetree(*LONG[command], wrong)
    assert (code, out) == (2, "")
    assert err.startswith(f"firetree: cannot write {wrong}: No such file or directory; expected")
    assert err.count("\n") == 1


def test_a_range_test_makes_its_folder_first(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, out, err = firetree(
        "train", "digits", "--find-lr", "--run-dir", tmp_path / "file" / "run"
    )
    assert (code, out) == (2, "")
    assert err == (
        f"firetree: cannot make folder {tmp_path}/file/run: {tmp_path}/file is not a folder; "
        "choose another\n"
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none/out", "No such file or directory"),
        ("", "it is a folder"),
        ("file/out", ".*/file is not a folder"),
        ("file/none/out", ".*/file is not a folder"),
        ("n" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_named_with_its_reason(
    tmp_path: Path, path: str, reason: str
) -> None:
    (tmp_path / "file").touch()
    for attempt in (check_writable, lambda path: write_durably(path, b"content")):
        with pytest.raises(UserError, match=f"^cannot write {tmp_path / path}: {reason}; expected"):
            attempt(tmp_path / path)
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(UserError, match="cannot write /dev/null: it is no ordinary file"):
        write_durably(Path("/dev/null"), b"content")
    assert not Path("/dev/null").is_file()


def test_a_read_only_disk_is_found_by_looking(tmp_path: Path) -> None:
    disk_of = mounted(tmp_path / "disk", "ro")
    with disk_of as disk, pytest.raises(UserError, match="Read-only file system"):
        check_writable(disk / "out")


def test_a_full_disk_is_named_and_left_without_a_half(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=4k") as disk:
        with pytest.raises(UserError, match="No space left on device"):
            write_durably(disk / "out", bytes(8192))
        assert [*disk.iterdir()] == []


def test_looking_leaves_what_is_there(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_bytes(b"before")
    check_writable(None, there, tmp_path / "new")
    assert [*tmp_path.iterdir()] == [there]
    assert there.read_bytes() == b"before"
