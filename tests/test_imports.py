"""What needs no tensors does not import torch, which takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT_TORCH = {
    "the package": "import firetree",
    "a network": "from firetree.network import parse_network; parse_network('8 x 1gbit')",
    "a schedule and its proof": "from firetree import collectives as c\nc.prove(c.build('ring', 4)); c.build('ring', 4)._repr_html_()",
    "a price": (
        "from firetree.planning.candidates import known\n"
        "from firetree.network import parse_network\n"
        "known('ring', network := parse_network('8 x 1gbit'), 1e6).price(network, 1e6)"
    ),
    "a plan of a network of ours": (
        "import firetree\n"
        "found = firetree.plan('squeezenet_v1_1', '2 x 1gbit', compute_s=0.1)\n"
        "repr(found), found._repr_html_(), found.network._repr_html_()"
    ),
    "a lab": "import firetree.lab",
    "the command": "import firetree.commands.main",
    "a run": "import firetree; firetree.Run('none')._repr_html_()",
    "a script to run": "import firetree.commands.run",
    "a report": "import firetree.commands.report",
}


@pytest.mark.parametrize("what", WITHOUT_TORCH)
def test_torch_is_not_imported_for(what: str) -> None:
    script = f"import sys\n{WITHOUT_TORCH[what]}\nsys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
