"""The command that starts a run again, another way."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firetree.documents import parse_json, read_text
from firetree.errors import UserError


def command_of(run_dir: Path, script: str) -> Callable[[str], str]:
    """Gives the command with `auto` for a plan of the network, or with a compression of gradients."""
    if script:
        return lambda sync: f"firetree run {_RUN[sync]} {_script(run_dir) or script}"
    recipe = shlex.quote(str(run_dir / "recipe.toml"))
    return lambda sync: f"firetree train {recipe} {_TRAIN[sync]}"


_RUN = {"auto": "--sync auto", "int8": "--sync gloo --compression int8"}
_TRAIN = {"auto": "--plan auto", "int8": "--sync.compression int8"}


def _script(run_dir: Path) -> str:
    """The script and its arguments; empty where the folder does not tell."""
    path = run_dir / "script.json"
    try:
        told = parse_json(dict[str, Any], read_text(path, "file"), str(path)).get("command")
    except UserError:
        return ""
    return shlex.join(map(str, told)) if isinstance(told, list) else ""
