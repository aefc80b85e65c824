"""Does a second machine pay? Six networks on one host, and with `--plan auto` on two, in the lab.

All take the same steps with the same batches. A host may use half a core, so that two hosts together do
not slow each other down. Where one machine is faster, `auto` trains on one and says so. Needs root, `ip`
and `tc`, and nothing else on the machine: about half an hour.
Runs are kept in `runs/second-machine`; a repeated command makes those that are missing.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from firetree import Run
from firetree.errors import UserError
from firetree.network import parse_network
from firetree.network.units import format_bytes
from language import standard_library
from results import tell, write_section

HERE = Path(__file__).parent
RUNS = HERE.parent / "runs" / "second-machine"
ALONE, NETWORKS = "1 x 1gbit", ("2 x 100mbit", "2 x 1gbit")
CPU = "50%"
AUTO = "--plan auto --sync.max-loss 0.5"
LOST_POINTS, LOST_SHARE = 0.5, 0.01
"""What may be lost of the accuracy, or else added to the loss."""

CASES = {
    "digits": "digits --optim.steps 300",
    "SqueezeNet, CIFAR-10": "cifar-squeezenet --data.path {shared}/cifar10 --optim.steps 150 "
    "--optim.warmup-epochs 0.1",
    "phonemes": "phonemes --data.path {shared}/cmudict/cmudict.dict.gz --optim.steps 150",
    "GPT": "gpt --data.path {text} --optim.steps 100 --optim.warmup-epochs 0.02",
    "ResNet-18, digits": "digits --model.name resnet18 --data.size 16 --optim.steps 40 "
    "--optim.lr 0.02",
    "dense, Fashion-MNIST": "{here}/dense.toml --data.path {shared}/fashion.npz",
}


@dataclass(frozen=True)
class Trained:
    """What a run took and came to."""

    hosts: int
    seconds: float
    loss: float
    accuracy: float | None
    gradient_bytes: int
    how: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help=", ".join(CASES))
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    found = {
        name: {network: trained(name, network, options.shared) for network in (ALONE, *NETWORKS)}
        for name in options.cases or CASES
    }
    write_section(
        "Does a second machine pay?",
        "python benchmarks/second_machine.py",
        f"`firetree train {AUTO}` on two hosts that may each use {CPU} of a core, in the lab, against one of "
        "them: how many times as fast the same steps are, in brackets the test accuracy (or loss), and what "
        "the run says that it does.",
        [*table(found)],
    )


def trained(name: str, network: str, shared: Path) -> Trained:
    """A run of a case on a network."""
    folder = RUNS / re.sub(r"\W+", "-", f"{name} {network}".strip())
    with suppress(UserError):
        return read(folder)
    tell(f"{name} on {network}")
    RUNS.mkdir(parents=True, exist_ok=True)
    text = standard_library(RUNS)
    words = shlex.split(CASES[name].format(shared=shared, text=text, here=HERE))
    firetree = str(Path(sys.executable).with_name("firetree"))
    lab = [firetree, "lab", "--network", network]
    for host in range(parse_network(network).size):
        lab += ["--cpu", f"{host}={CPU}"]
    train = [firetree, "train", *words, *shlex.split(AUTO), "--run-dir", str(folder), "--resume"]
    subprocess.run([*lab, "--", *train], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return read(folder)


def read(folder: Path) -> Trained:
    """What a finished run came to (UserError where it is not there)."""
    run = Run(folder)
    trace, last = run.trace(), run.evaluations[-1]
    first = trace.ranks[0]
    assert last.test_loss is not None
    planned = [event.text for event in trace.events if event.kind == "planned"]
    return Trained(
        len(trace.ranks),
        sum(step.step_s * step.count for step in first.steps),
        last.test_loss,
        last.accuracy,
        first.header.gradient_bytes,
        planned[0] if planned else "",
    )


def table(found: Mapping[str, Mapping[str, Trained]]) -> Iterator[list[str]]:
    yield ["network", "gradients", "one host", *NETWORKS, *(f"how, {it}" for it in NETWORKS)]
    for name, of in found.items():
        alone = of[ALONE]
        cells = [
            f"{alone.seconds / it.seconds:.2f} ({scored(it)}{lost(it, alone)})"
            for it in (of[network] for network in NETWORKS)
        ]
        size, one = format_bytes(alone.gradient_bytes), f"{alone.seconds:.1f} s ({scored(alone)})"
        yield [name, size, one, *cells, *(of[network].how for network in NETWORKS)]


def scored(it: Trained) -> str:
    return f"{it.loss:.3f}" if it.accuracy is None else f"{it.accuracy:.1%}"


def lost(it: Trained, alone: Trained) -> str:
    """Empty where it is as good as one host."""
    if it.accuracy is None or alone.accuracy is None:
        return ", lost" * (it.loss > (1 + LOST_SHARE) * alone.loss)
    return ", lost" * (100 * (alone.accuracy - it.accuracy) > LOST_POINTS)


if __name__ == "__main__":
    main()
