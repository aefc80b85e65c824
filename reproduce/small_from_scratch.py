"""A small SqueezeNet on CIFAR-10 from first weights to a file ten times smaller, and with DSD.

`python reproduce/small_from_scratch.py`

Three runs of as many epochs: dense, pruned on the way, and dense–sparse–dense. The pruned net's weights
are then shared, and the dense net's rounded by what each layer can bear until the file is so many times
smaller; the values of both are taught to answer as the dense net does, and all is encoded. Runs are kept in
`runs/small-from-scratch`, which a repeated command completes; the table goes to
`reproduce/RESULTS.md`. Within an hour on two cores with nothing else running.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from measure import accuracy, pruned_bytes
from page import tell, write_table

from firetree.data import parquet
from firetree.deep_compression.allocate import fit_budget
from firetree.deep_compression.calibrate import calibrate
from firetree.deep_compression.images import CALIBRATION_IMAGES, inputs_of
from firetree.deep_compression.retrain import retrain_values
from firetree.deep_compression.share import prune_and_share
from firetree.modelfiles import Model, as_safetensors, load_model
from firetree.modelfiles.fire.fire import write
from firetree.modelfiles.fire.shared import Compressed
from firetree.prediction.images import ImageInput, find_images
from firetree.sweeps import SweepTrial, train_all
from firetree.training import load_recipe, with_fields

RUNS = Path("runs/small-from-scratch")
EPOCHS = 12
DENSITY, BITS, DSD_DENSITY = 0.3, 5, 0.7
TAUGHT_STEPS, TAUGHT_PICTURES = 500, 4096
SMALLER = (10, 14, 20)
"""How many times smaller the dense net's file is to be."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    path = options.cifar10
    nets = trained(path, options.epochs)
    images = find_images(sorted(path.glob("test-*.parquet")))
    rows = [*table(nets, path, images)]
    write_table(
        "Small from scratch",
        "python reproduce/small_from_scratch.py",
        f"`squeezenet_small` on CIFAR-10 from first weights, {options.epochs} epochs each by the recipe "
        "`cifar-squeezenet` with batch normalisation, which is folded away; one seed. "
        f"Pruned to {DENSITY:.0%} of all weights by a gradual schedule; "
        f"{2**BITS - 1} values a layer; `budget`: steps by sensitivity for a file so small. Values are "
        f"taught in {TAUGHT_STEPS} steps on {TAUGHT_PICTURES:,} training images. DSD with "
        f"{DSD_DENSITY:.0%} of each layer in its sparse third.",
        [["net", "file", "bytes", "× smaller", "top-1 %", "lost, points"], *rows],
    )


def trained(path: Path, epochs: int) -> dict[str, Model]:
    """The nets of all runs, which are completed first, one thread each."""
    trials = []
    for name, own in sparse(epochs).items():
        values = own | {
            "data.path": str(path),
            "model.batch_norm": "true",
            "optim.epochs": str(epochs),
        }
        recipe = with_fields(load_recipe("cifar-squeezenet"), values)
        trials.append(SweepTrial(f"{name}-{epochs}", values, recipe))
    train_all(trials, RUNS, len(trials), tell)
    return {name: load_model(RUNS / f"{name}-{epochs}") for name in sparse(epochs)}


def sparse(epochs: int) -> dict[str, dict[str, str]]:
    """What each run does between a third and two thirds of its epochs, as fields of the recipe."""
    begin = {"sparse.first_epoch": str(epochs / 3)}
    return {
        "dense": {},
        "pruned": begin
        | {
            "sparse.density": str(DENSITY),
            "sparse.ramp_epochs": str(epochs / 3),
            "sparse.scope": "global",
        },
        "DSD": begin
        | {"sparse.density": str(DSD_DENSITY), "sparse.last_epoch": str(2 * epochs / 3)},
    }


def small(nets: dict[str, Model], path: Path, whole_bytes: int) -> Iterator[tuple[str, Compressed]]:
    """Each small net, with its values taught: the pruned one shared, and the dense one for each budget."""
    dense, pruned = nets["dense"], nets["pruned"]
    stored = parquet.read_parquet(path).train
    x_BCHW = inputs_of(dense.preprocessing, stored, TAUGHT_PICTURES, seed=1)

    def taught(untaught: Compressed) -> Compressed:
        return retrain_values(untaught, dense, x_BCHW, TAUGHT_STEPS, tell)

    yield "pruned, shared", taught(prune_and_share(pruned, 1.0, BITS))
    calibration = calibrate(dense, x_BCHW[:CALIBRATION_IMAGES])
    for times in SMALLER:
        untaught = fit_budget(dense, calibration, whole_bytes // times, tell, to_be_retrained=True)
        yield f"dense, budget of a {times}th", taught(untaught)


def table(nets: dict[str, Model], path: Path, images: list[ImageInput]) -> Iterator[list[str]]:
    whole_bytes = len(as_safetensors(nets["dense"]))
    top1 = {name: accuracy(model, images)[0] for name, model in nets.items()}

    def row(name: str, file: str, size_bytes: int) -> list[str]:
        smaller, lost = whole_bytes / size_bytes, top1["dense"] - top1[name]
        return [name, file, f"{size_bytes:,}", f"{smaller:.1f}", f"{top1[name]:.2f}", f"{lost:.2f}"]

    for name in nets:
        yield row(name, "safetensors, float32", whole_bytes)
    yield row("pruned", "weights and a mask", pruned_bytes(nets["pruned"].state))
    for name, compressed in small(nets, path, whole_bytes):
        top1[name], _ = accuracy(compressed.expand(), images)
        for coder in ("huffman", "rans"):
            yield row(name, f"`.fire`, {coder}", len(write(compressed, coder)))


if __name__ == "__main__":
    main()
