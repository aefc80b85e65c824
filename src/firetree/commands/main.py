"""The command `firetree`: finds the verb's file, and makes every failure one clear line."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module

from firetree import __version__, launch, output
from firetree.commands.arguments import choose, split_at
from firetree.documents import shown
from firetree.errors import ArgumentError, Interrupted, UnexpectedError, UserError, lack
from firetree.wires.secret import VARIABLE

VERBS = {
    "train": "a recipe on one or several workers, along a reduction tree",
    "run": "your own training script, unchanged, and why it is slow",
    "report": "where the time of a run went, or several runs side by side",
    "plan": "what more machines would bring, and the best way to synchronise them",
    "bench": "all-reduces side by side, a step replayed in the lab, or time to accuracy",
    "lab": "run a command on every host of an emulated cluster",
    "probe": "what the network between the hosts carries, and what is wrong with it",
    "sweep": "a recipe trained with every combination of some fields' values",
    "inspect": "what a network's layers weigh and compute, or take in a .fire",
    "predict": "which classes images belong to, or what words and lines become",
    "compress": "a model into a small file that predicts",
    "decompress": "the weights out of such a file",
    "scan": "how much each layer can be pruned",
    "export": "a model as ONNX",
    "secret": "a key with which ranks speak to each other in private",
}
"""Each is a module here with a function `run`, imported only when it is asked for."""

_SENDING = ("train", "run", "probe", "bench", "sweep", "lab")
"""The verbs that start workers, or a command that may."""

_NO_WAY_IN = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG)
"""What keeps one from a path that a user names, before any reader opens it."""


def main() -> None:
    """Run this process's command line; ends the process, but where it becomes a script's."""
    output.make_ready()
    ours, theirs = _parts(sys.argv[1:])
    code, script = 0, None
    try:
        asked = _with_secret([argument for argument in ours if argument != "--debug"])
        script = _run([*asked, *theirs])
        with output.to_standard_output():
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has seen enough
        code = 128 + signal.SIGPIPE
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in ours:
            output.tell(traceback.format_exc(), keep="\n")
        code = _explain(error)
    if script:
        _go_on_as(script)
        return
    # Winding down, a rank that failed could wait for peers that wait for it, and threads of the
    # backend abort now and then when the interpreter goes before they do.
    os._exit(code)


def _go_on_as(script: Callable[[], object]) -> None:
    """Run a script, whose own errors end the process as they would without us."""
    try:
        script()
    except UserError as error:
        sys.exit(_explain(error))


def _parts(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Our part of the command line, and that of the command or script that it runs."""
    if arguments[:1] == ["run"]:
        from firetree.commands.run import script_at

        end = 1 + script_at(arguments[1:])
    else:
        end = len(split_at(arguments, "--")[0])
    return arguments[:end], arguments[end:]


def _with_secret(arguments: list[str]) -> list[str]:
    """The arguments but for `--secret FILE`, which goes to all workers by the environment."""
    split = [part for it in arguments for part in _both_parts(it)]
    before, mark, after = split_at(split, "--secret")
    if mark and not after:
        raise UserError("--secret has no value; expected a file of firetree secret new")
    asked = before + after[1:]
    if mark:
        if asked[:1] and asked[0] not in _SENDING:
            raise UserError(f"--secret is for {', '.join(_SENDING)}; {asked[0]} sends nothing")
        os.environ[VARIABLE] = os.path.abspath(after[0])
    return asked


def _both_parts(argument: str) -> list[str]:
    """`--secret=FILE` as two arguments; any other as it is."""
    return argument.split("=", 1) if argument.startswith("--secret=") else [argument]


def _explain(error: BaseException) -> int:
    """Say in one line why the command ends; gives its exit code."""
    lacking = lack(error)
    unexpected = isinstance(error, UnexpectedError)
    if isinstance(error, UserError):
        message = str(error)
        if isinstance(error, ArgumentError):
            message = f"--{error.argument.replace('_', '-')} {error.problem}"
        code = error.exit_code
    elif isinstance(error, KeyboardInterrupt):
        message = str(error) or "interrupted"
        code = error.exit_code if isinstance(error, Interrupted) else 130
    elif isinstance(error, OSError) and error.errno in _NO_WAY_IN:
        message, code = f"cannot open {shown(error.filename)}: {error.strerror}; name another", 2
    else:
        message, code, unexpected = f"unexpected {type(error).__name__}: {error}", 1, not lacking
    message = output.printable(lacking or message)
    trace = "".join(traceback.format_exception(error)) if unexpected else ""
    if not launch.tell_launcher(error, message, trace):
        hint = ["--debug shows where"] if unexpected else []
        notes = map(output.printable, getattr(error, "__notes__", ()))
        output.tell(f"firetree: {'; '.join([message, *hint, *notes])}")
    return code


def _run(arguments: list[str]) -> Callable[[], object] | None:
    """Do what the command line asks; gives what this process goes on as, if it does."""
    match arguments:
        case ["--version"]:
            output.show(f"firetree {__version__}")
        case ["worker", *rest]:
            _call("worker", rest)
        case _:
            return choose(VERBS, "firetree", arguments, _call)
    return None


def _call(verb: str, arguments: list[str]) -> Callable[[], object] | None:
    _check_own_folder()
    going_on: Callable[[], object] | None = import_module(f"firetree.commands.{verb}").run(
        arguments
    )
    return going_on


def _check_own_folder() -> None:
    """Before a library of Intel's, which torch imports, ends the process for it."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the folder you are in was removed; change to another") from error
