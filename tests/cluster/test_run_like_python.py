"""`firetree run` runs a script as python does: what it finds, what it says, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import COMMAND

from firetree.commands.run import NOTHING_WRAPPED

FINDS = """
'''A docstring.'''
import pickle, sys
class Mine: ...
main = sys.modules["__main__"]
print(__name__, __file__, getattr(__spec__, 'name', None), __package__, __cached__, __doc__, type(__loader__), __builtins__)
print(sys.argv, sys.path, main.Mine is Mine, pickle.loads(pickle.dumps(Mine())).__class__ is Mine)
print(sorted(vars(main)))
import beside
"""

SPAWNS = """
import multiprocessing, sys
class Mine:
    def __init__(self, value): self.value = value
def work(mine, queue): queue.put(Mine(mine.value + 1))
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=work, args=(Mine(1),), kwargs={"queue": queue})
        process.start()
        print(method, queue.get().value, process.join(), process.exitcode)
"""

SCRIPTS = {
    "what it finds": FINDS,
    "its own processes": SPAWNS,
    "an error in a function": "def f(x):\n    return 1 / x\nf(1)\nf(0)\n",
    "an error with a cause": "try:\n    {}[1]\nexcept KeyError as e:\n    raise ValueError('é') from e\n",
    "a group of errors": "raise ExceptionGroup('all', [ValueError(1), TypeError(2)])\n",
    "wrong syntax": "x = 1\ndef f(:\n",
    "another encoding": "# coding: latin-1\nprint(ascii('é'))\n".encode("latin-1"),
    "exit code 3": "import sys; print(1); sys.exit(3)\n",
    "exit with a text": "import sys; sys.exit('bye')\n",
    "exit without a code": "raise SystemExit\n",
    "a hard exit": "import os; os._exit(4)\n",
    "Ctrl-C": "import os, signal\nprint(1)\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(99): pass\n",
    "SIGTERM": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n",
    "a hook for errors": "import sys\nsys.excepthook = lambda *e: print(e[0], e[2].tb_lineno)\nraise OSError(1)\n",
    "something at the end": "import atexit\natexit.register(print, 'last')\nraise ValueError\n",
    "a thread that goes on": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.3), print('last'))).start()\n"
    ),
    "no inherited future": "x: undefined = 1\n",
    "variables": (
        "import os\n"
        "print(sorted(k for k in os.environ if k.startswith(('TORCH', 'OMP', 'RANK', 'WORLD'))))\n"
    ),
    "signals": "import signal\nprint([signal.getsignal(n) for n in (2, 1, 15)])\n",
    "its warnings": "import warnings\nwarnings.warn('careful')\n",
}


def ended(*command: object, folder: Path, **environ: str) -> tuple[int, str, list[str]]:
    """The exit code, standard output, and lines of standard error but ours."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
    )
    said = [line for line in done.stderr.splitlines() if line != NOTHING_WRAPPED]
    return done.returncode, done.stdout, said


@pytest.mark.parametrize("what", SCRIPTS)
def test_a_script_runs_and_ends_as_under_python(what: str, tmp_path: Path) -> None:
    text = SCRIPTS[what]
    folder = tmp_path / "in a folder"
    folder.mkdir()
    (folder / "beside.py").write_text("print('beside', __name__)")
    (folder / "train.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / "link.py").symlink_to(folder / "train.py")
    script = ("link.py", "--workers", "2", "--", "-m", "--secret", "x", "--debug")
    expected = ended(sys.executable, *script, folder=tmp_path)
    assert ended(*COMMAND, "run", *script, folder=tmp_path) == expected


MODULE = {
    "pkg/__init__.py": "",
    "pkg/__main__.py": FINDS.replace("beside", "pkg"),
    "pkg/part.py": FINDS.replace("beside", "pkg"),
}


@pytest.mark.parametrize("name", ["pkg", "pkg.part"])
def test_a_module_runs_as_under_python(name: str, tmp_path: Path) -> None:
    for path, text in MODULE.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    module = ("-m", name, "-m", "--sync", "x")
    code, out, said = ended(sys.executable, *module, folder=tmp_path)
    assert ended(*COMMAND, "run", "--sync", "observe", *module, folder=tmp_path) == (
        code,
        out,
        said,
    )
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.py"], "no script none.py; expected a Python file"),
        (["."], "no script .; expected a Python file"),
        (
            ["-m", "none.at.all"],
            "no module none.at.all that can be run; expected one as python finds it",
        ),
        (["-m", "json"], "no module json that can be run; expected one as python finds it"),
        ([], "no script; expected its file, as in firetree run train.py, or -m and a module"),
        (
            ["--sync", "rong", "x.py"],
            "--sync rong is neither an algorithm nor a plan's file; did you mean 'ring'?",
        ),
        (["--workers", "0", "x.py"], "--workers 0; expected 1 or more"),
        (
            ["--sync", "observe", "--compression", "int8", "x.py"],
            "--compression int8 with observe; name an algorithm",
        ),
        (["--wrkers", "2", "x.py"], "unknown option '--wrkers'; did you mean '--workers'?"),
        (["--secret"], "--secret has no value; expected a file of firetree secret new"),
    ],
)
def test_a_wrong_command_line_is_refused_in_a_line(
    arguments: list[str], problem: str, tmp_path: Path
) -> None:
    assert ended(*COMMAND, "run", *arguments, folder=tmp_path) == (2, "", [f"firetree: {problem}"])


def test_a_script_without_a_model_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("print(1)")
    done = subprocess.run(
        [*COMMAND, "run", "train.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", f"{NOTHING_WRAPPED}\n")
    assert [*tmp_path.iterdir()] == [tmp_path / "train.py"]


def test_what_a_script_sets_before_it_imports_torch_counts(tmp_path: Path) -> None:
    text = "import os\nos.environ['OMP_NUM_THREADS'] = '1'\nimport torch\nprint(torch.get_num_threads())"
    (tmp_path / "train.py").write_text(text)
    assert ended(*COMMAND, "run", "train.py", folder=tmp_path)[:2] == (0, "1\n")
