"""A small SqueezeNet on CIFAR-10 from first weights to a file ten times smaller, and with DSD.

`python reproduce/small_from_scratch.py`

Three runs of as many epochs: dense, pruned on the way, and dense–sparse–dense. The pruned net's weights
are then shared, its codebooks taught to answer as it does, and all is encoded. Runs are kept in
`runs/small-from-scratch`, which a repeated command completes; the table goes to
`reproduce/RESULTS.md`. Within an hour on two cores with nothing else running.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from measure import accuracy, pruned_bytes
from page import tell, write_table

from firetree import compress, weights
from firetree.compress.calibrate import inputs_of
from firetree.compress.retrain import retrain
from firetree.compress.share import prune_and_share
from firetree.compress.shared import Compressed
from firetree.data import parquet
from firetree.predict.pictures import Picture, find_pictures
from firetree.sweep import Trial, train_all
from firetree.train import load_recipe, with_fields
from firetree.weights import Published

RUNS = Path("runs/small-from-scratch")
EPOCHS = 12
DENSITY, BITS, DSD_DENSITY = 0.3, 5, 0.7
TAUGHT_STEPS, TAUGHT_PICTURES = 500, 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    path = options.cifar10
    nets = trained(path, options.epochs)
    pictures = find_pictures(sorted(path.glob("test-*.parquet")))
    rows = [*table(nets, shared(nets["pruned"], path), pictures)]
    write_table(
        "Small from scratch",
        "python reproduce/small_from_scratch.py",
        f"`squeezenet_small` on CIFAR-10 from first weights, {options.epochs} epochs each by the recipe "
        "`cifar-squeezenet` with batch normalisation, which is folded away; one seed. "
        f"Pruned to {DENSITY:.0%} of all weights by a gradual schedule; "
        f"{2**BITS - 1} values a layer, taught in {TAUGHT_STEPS} steps; DSD with "
        f"{DSD_DENSITY:.0%} of each layer in its sparse third.",
        [["net", "file", "bytes", "× smaller", "top-1 %", "lost, points"], *rows],
    )


def trained(path: Path, epochs: int) -> dict[str, Published]:
    """The nets of all runs, which are completed first, one thread each."""
    trials = []
    for name, own in sparse(epochs).items():
        values = own | {
            "data.path": str(path),
            "model.batch_norm": "true",
            "optim.epochs": str(epochs),
        }
        recipe = with_fields(load_recipe("cifar-squeezenet"), values)
        trials.append(Trial(f"{name}-{epochs}", values, recipe))
    train_all(trials, RUNS, len(trials), tell)
    return {name: weights.load(RUNS / f"{name}-{epochs}") for name in sparse(epochs)}


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


def shared(published: Published, path: Path) -> Compressed:
    """The pruned net with few values a layer, which answer as it does."""
    stored = parquet.read_parquet(path).train
    x_BCHW = inputs_of(published.preprocessing, stored, TAUGHT_PICTURES, seed=1)
    before = prune_and_share(published, 1.0, BITS)
    return retrain(before, published, x_BCHW, TAUGHT_STEPS, tell)


def table(
    nets: dict[str, Published], small: Compressed, pictures: list[Picture]
) -> Iterator[list[str]]:
    dense, pruned = nets["dense"], nets["pruned"]
    whole_bytes = len(weights.as_safetensors(dense))
    whole, _ = accuracy(dense, pictures)
    few = small.expand()
    for name, published, file, size_bytes in (
        ("dense", dense, "safetensors, float32", whole_bytes),
        ("pruned", pruned, "weights and a mask", pruned_bytes(pruned.state)),
        ("shared", few, "`.fire`, Huffman", len(compress.write(small, "huffman"))),
        ("shared", few, "`.fire`, rANS", len(compress.write(small))),
        ("DSD", nets["DSD"], "safetensors, float32", whole_bytes),
    ):
        top1, _ = accuracy(published, pictures)
        yield [
            name,
            file,
            f"{size_bytes:,}",
            f"{whole_bytes / size_bytes:.1f}",
            f"{top1:.2f}",
            f"{whole - top1:.2f}",
        ]


if __name__ == "__main__":
    main()
