"""Code of the user's own, by name: `module:function`, or a class; and live objects of a Python session.

A recipe is data. What it names runs only from a file beside it, or where the user trusts it; what the command
line names itself runs always. Modules are looked for beside the recipe, then in the current folder.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from firetree.errors import ArgumentError, UserError, nearest
from firetree.extras import extra

SEPARATOR = ":"
TIMM = "timm:"
FOLDER = "FIRETREE_CODE"
"""The environment variable with the folder to look in first."""
LIVE = "firetree.live"
"""The module of objects that a Python session has handed to the workers of a run."""


def is_own(name: str) -> bool:
    """Whether a name is one of the user's own code."""
    return SEPARATOR in name


def is_timm(name: str) -> bool:
    """Whether a name is that of a network of timm, which is no code of the user's own."""
    return name.startswith(TIMM)


def look_in(folder: Path) -> None:
    """Look for modules in this folder first, here and in the processes that this one starts."""
    os.environ[FOLDER] = str(folder.resolve())


def check_beside(names: Mapping[str, str], recipe: Path) -> None:
    """Refuse code that a recipe names and that is in no file beside it (ArgumentError).

    Args:
        names: names of code by the fields that have them.
        recipe: the file of the recipe.
    """
    for field, name in names.items():
        if name.startswith(LIVE):  # which is no file's
            continue
        above = recipe.parent.joinpath(*_checked(name.partition(SEPARATOR)[0]).split("."))
        if not above.with_suffix(".py").is_file() and not (above / "__init__.py").is_file():
            raise ArgumentError(
                "trust",
                f"is not given, and {recipe} has {field} = '{name}', code that is not beside it; put "
                f"{above.with_suffix('.py')} there, or give it if you know that code",
            )


def load(name: str) -> Any:
    """What a module has by this name.

    Raises:
        UserError: no such module or name, or the module failed.
    """
    module_name, _, own_name = name.partition(SEPARATOR)
    module = _import(module_name)
    found = getattr(module, own_name, None)
    if found is None:
        known = [
            name
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == module_name
        ]
        end = nearest(own_name, known) if known else "; it has no functions at all"
        where = getattr(module, "__file__", None)
        raise UserError(f"module '{module_name}' has no function '{own_name}'{end} ({where})")
    return found


def make(name: str, arguments: Mapping[str, Any]) -> Any:
    """What the function or class of this name gives for these arguments.

    Raises:
        UserError: as `load`, or it fails.
    """
    function = load(name)
    if not callable(function):
        raise UserError(f"{name} is a value of type {type(function).__name__}; expected a function")
    return run(name, partial(function, **arguments))


def function_of(name: str, arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of this name with these arguments filled in, or what the class of this name makes of them.

    Raises:
        UserError: as `load`, or the class fails; when it is called, as `run`.
    """
    found = load(name)
    function = make(name, arguments) if isinstance(found, type) else partial(found, **arguments)
    return lambda *given: run(name, partial(function, *given))


def run(name: str, function: Callable[[], Any]) -> Any:
    """What a function of the user's gives (UserError, which names it, where it fails)."""
    try:
        return function()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{name} failed: {one_line(error)}") from error


def pack(objects: Mapping[str, Any]) -> str:
    """Live objects as text, for workers to `unpack`; also what a script or a notebook has defined itself.

    Raises:
        UserError: one of them cannot leave this process.
    """
    with extra("live", "hand live objects to workers"):
        import cloudpickle
    for name, value in objects.items():
        try:
            cloudpickle.dumps(value)
        except Exception as error:  # a user's objects raise anything
            raise UserError(f"{name} cannot be handed to workers: {one_line(error)}") from error
    return base64.b64encode(cloudpickle.dumps(dict(objects))).decode()


def unpack(text: str) -> None:
    """Have what the parent process has packed as `firetree.live:NAME`."""
    import cloudpickle  # which the parent process has

    module = ModuleType(LIVE)
    vars(module).update(cloudpickle.loads(base64.b64decode(text)))
    sys.modules[LIVE] = module


def source_checksum(name: str) -> str:
    """SHA-256 of the source of the module that has this name; empty where it has no source.

    Raises:
        UserError: as `load`.
    """
    file = getattr(_import(name.partition(SEPARATOR)[0]), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def one_line(error: BaseException) -> str:
    """The kind of an error, what it says, and where in the user's own files it was raised."""
    own = [it for it in traceback.extract_tb(error.__traceback__) if _is_users(it.filename)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def _is_users(file: str) -> bool:
    """Whether a file is neither a library's nor ours."""
    path = Path(file)
    libraries = (Path(__file__).parent, Path(os.__file__).parent, Path(sys.prefix))
    return path.is_absolute() and not any(path.is_relative_to(it) for it in libraries)


def _checked(module: str) -> str:
    if not all(map(str.isidentifier, module.split("."))):
        raise UserError(f"module '{module}' cannot be; expected a name, as in my_network:build")
    return module


def _import(name: str) -> ModuleType:
    _checked(name)
    folders = [folder for folder in (os.environ.get(FOLDER), os.getcwd()) if folder]
    for folder in reversed(folders):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if name == LIVE:
            raise UserError(
                "the run began with live objects of a Python session; go on by firetree.train with the "
                "same model, data, loss and metric, and resume=True"
            ) from error
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                f"no module '{name}' in {' or '.join(folders)} or among the installed packages; expected "
                "module:function, as in my_network:build"
            ) from error
        raise UserError(f"module '{name}' could not be imported: {one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"module '{name}' could not be imported: {one_line(error)}") from error
    _check_file(module, name, folders)
    return module


def _check_file(module: ModuleType, name: str, folders: Sequence[str]) -> None:
    """Refuse another module than the one in the first folder that has one of this name."""
    files = [Path(folder, *name.split(".")).with_suffix(".py") for folder in folders]
    own = next((file for file in files if file.is_file()), None)
    found = getattr(module, "__file__", None)
    if own and (found is None or not own.samefile(found)):
        raise UserError(
            f"'{name}' is the module {found or 'of Python itself'}, not {own}; rename the file"
        )
