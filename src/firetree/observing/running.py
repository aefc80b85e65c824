"""Runs a script in this process as `python` does, and sets something up in it once it imports torch.

Nothing is imported before the script asks for it: it may first set variables that torch reads.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import util
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from multiprocessing.context import ForkServerProcess, SpawnProcess
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import Any

from firetree.errors import UserError


@dataclass(frozen=True, slots=True)
class Script:
    """A script's file, or a module's name, and its arguments."""

    name: str
    arguments: tuple[str, ...] = ()
    is_module: bool = False


def run_script(script: Script) -> None:
    """Run a script as this process's `__main__`, which it stays afterwards.

    Raises:
        UserError: there is no such script.
        BaseException: what the script raises; `script_traceback` shows where.
    """
    main = ModuleType("__main__")
    code = (_module_code if script.is_module else _file_code)(script.name, main)
    program = str(main.__file__) if script.is_module else script.name
    sys.argv = [program, *script.arguments]
    # By the second name, multiprocessing knows what its processes send back.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    exec(code, main.__dict__)


def _file_code(name: str, main: ModuleType) -> CodeType:
    path = Path(name).absolute()
    if not path.is_file():
        raise UserError(f"no script {name}; expected a Python file")
    loader = SourceFileLoader("__main__", str(path))
    main.__dict__.update(__file__=str(path), __cached__=None, __loader__=loader)
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    _begin_path_with(path.resolve().parent)
    return loader.source_to_code(path.read_bytes(), str(path))


def _module_code(name: str, main: ModuleType) -> CodeType:
    _begin_path_with(Path.cwd())
    spec = _found(name)
    if spec and spec.submodule_search_locations is not None:
        spec = _found(f"{name}.__main__")
    code = spec.loader.get_code(spec.name) if spec and spec.loader else None  # type: ignore[attr-defined]
    if spec is None or code is None:
        raise UserError(f"no module {name} that can be run; expected one as python finds it")
    main.__dict__.update(__file__=spec.origin, __cached__=spec.cached, __loader__=spec.loader)
    main.__dict__.update(__spec__=spec, __package__=spec.parent)
    main.__dict__.update(__builtins__=builtins, __annotations__={})
    return code  # type: ignore[no-any-return]


def _found(name: str) -> ModuleSpec | None:
    try:
        return util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise


def _begin_path_with(folder: Path) -> None:
    """Let the script's folder come first, in place of what this process was started from."""
    sys.path[0 : 0 if sys.flags.safe_path else 1] = [str(folder)]


def script_traceback(error: BaseException) -> TracebackType | None:
    """The part of an error's traceback that `python` would show: from the script on."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_globals.get("__name__") != "__main__":
        trace = trace.tb_next
    return trace


class _Then(MetaPathFinder):
    """Calls a function once a module is imported."""

    def __init__(self, name: str, then: Callable[[], object]):
        self._name, self._then = name, then

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = util.find_spec(name)
        loader: Any = spec and spec.loader
        if loader:
            load = loader.exec_module

            def load_then_call(module: ModuleType) -> None:
                load(module)
                self._then()

            loader.exec_module = load_then_call
        return spec


def once_imported(name: str, then: Callable[[], object]) -> None:
    """Call a function once a module is imported, or now if it is."""
    if name in sys.modules:
        then()
    else:
        sys.meta_path.insert(0, _Then(name, then))


def failure_of(error: BaseException) -> str | None:
    """What a trace says of the error that ends a script; None where it ends as it should, or was interrupted."""
    if isinstance(error, KeyboardInterrupt):
        return None
    if not isinstance(error, SystemExit):
        # torch adds the stack of a callback in Python.
        said = str(error).partition("\n\nAt:\n")[0]
        return f"{type(error).__name__}: {' '.join(said.split())}"
    if error.code and error.__context__:  # as where torch.multiprocessing has passed an error on
        return failure_of(error.__context__)
    return f"it exited with {error.code}" if error.code else None


def end_watched(failure: str | None) -> None:
    """Write the end of this process's trace, where it has one."""
    if "firetree.observing.watch" in sys.modules:  # else torch would be imported now
        from firetree.observing import end_watch

        end_watch(failure)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What a process does, with something before it."""

    prepare: Callable[[], object]
    work: Callable[..., object]

    def __call__(self, *arguments: Any, **named: Any) -> object:
        prepare_children(self.prepare)
        self.prepare()
        try:
            return self.work(*arguments, **named)
        except BaseException as error:
            end_watched(failure_of(error))
            raise


def prepare_children(prepare: Callable[[], object]) -> None:
    """Call a function in each process too that this one starts by `multiprocessing`, before its work.

    Those that it forks have what this one has. Daemons, as loaders of data are, are left alone.

    Args:
        prepare: can be pickled.
    """
    kinds: tuple[Any, ...] = (SpawnProcess, ForkServerProcess)
    for kind in kinds:
        kind._Popen = staticmethod(_starting(kind._Popen, prepare))


def _starting(
    start: Callable[[Any], object], prepare: Callable[[], object]
) -> Callable[[Any], object]:
    def start_prepared(process: Any) -> object:
        if process._target and not process.daemon:
            process._target = _Prepared(prepare, process._target)
        return start(process)

    return start_prepared
