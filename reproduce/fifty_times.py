"""SqueezeNet's table 2: AlexNet, SVD, pruning, Deep Compression, SqueezeNet, and it in 8 and 6 bits.

`python reproduce/fifty_times.py V1_0.net PICTURES.parquet`

Every size is that of a file written here. There are no published weights of AlexNet in the test data,
so its rows are of a net with first weights, which take as many bytes but know nothing; SqueezeNet's
are measured on the images. The table goes to `reproduce/RESULTS.md`; six minutes, 4 GB of memory.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from measure import accuracy, pruned_bytes
from page import tell, write_table
from safetensors.torch import save
from torch import Tensor

from firetree import models
from firetree.deep_compression.share import prune_and_share, share
from firetree.modelfiles import CAFFE, Model, as_safetensors, load_model
from firetree.modelfiles.fire.fire import write
from firetree.modelfiles.fire.shared import Compressed, Shared, keep_exactly
from firetree.models.pruning import largest
from firetree.prediction.images import ImageInput, find_images

ALEXNET = "alexnet_grouped"
SVD_TIMES = 5
"""How many times smaller the factors of a matrix are, as in the paper's row."""

DENSITIES = {
    "conv1": 0.84,
    "conv2": 0.38,
    "conv3": 0.35,
    "conv4": 0.37,
    "conv5": 0.37,
    "fc6": 0.09,
    "fc7": 0.09,
    "fc8": 0.25,
}
"""Of AlexNet's layers (Han et al. 2015, table 4)."""
BITS = {"conv": 8, "fc": 5}
"""Of a code there (Han et al. 2016, table 4)."""


class Row(NamedTuple):
    net: str
    how: str
    size_bytes: int
    scores: str
    paper_mb: float
    paper_top: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("v1_0", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    rows = [*alexnet(), *squeezenet(options.v1_0, find_images([options.images]))]
    whole_bytes, whole_mb = rows[0].size_bytes, rows[0].paper_mb
    table = [
        [
            *("net", "file", "MB", "MiB", "× smaller", "top-1/top-5, %"),
            *("paper: MB", "paper: ×", "paper: top-1/top-5, %"),
        ]
    ]
    for row in rows:
        table.append(
            [
                row.net,
                row.how,
                f"{row.size_bytes / 1e6:.3f}",
                f"{row.size_bytes / 2**20:.3f}",
                f"{whole_bytes / row.size_bytes:.0f}",
                row.scores,
                f"{row.paper_mb:g}",
                f"{whole_mb / row.paper_mb:.0f}",
                row.paper_top,
            ]
        )
    write_table(
        "AlexNet's accuracy in 50 times fewer parameters",
        "python reproduce/fifty_times.py V1_0.net PICTURES.parquet",
        "Whole files written by firetree. Accuracy is measured on the 250 images of the test data where "
        "weights exist, and these were probably trained on them; AlexNet's rows have first weights, "
        "pruned and shared as the papers say, and show bytes alone. In 6 bits the published net's weights, "
        "a third of which are not zero, share 63 values a layer without retraining. The paper's numbers "
        "(Iandola et al. 2016, table 2; accuracy on ImageNet's validation set) are marked as such; its "
        "MB are nearer to MiB, and its pruned AlexNet counts weights without their places.",
        table,
    )


def alexnet() -> Iterator[Row]:
    torch.manual_seed(0)
    net = models.build(ALEXNET, classes=1000, channels=3, size=CAFFE.crop)
    model = Model(ALEXNET, dict(net.state_dict()), CAFFE)
    unknown = "no weights"
    tell("AlexNet")
    size_bytes = len(as_safetensors(model))
    yield Row("AlexNet", "safetensors, float32", size_bytes, unknown, 240, "57.2/80.3")
    tell("its factors")
    size_bytes = len(save(dict(factors(model.state))))
    yield Row("AlexNet", "factors of each matrix", size_bytes, unknown, 48, "56.0/79.4")
    tell("its largest weights")
    state = pruned(model.state)
    yield Row("AlexNet", "pruned", pruned_bytes(state), unknown, 27, "57.2/80.3")
    tell("what they share")
    compressed = Compressed(replace(model, state={}), dict(shared(state)))
    content = write(compressed, "huffman")
    yield Row("AlexNet", "pruned, shared, Huffman", len(content), unknown, 6.9, "57.2/80.3")
    content = write(compressed)
    yield Row("AlexNet", "the same, rANS", len(content), unknown, 6.9, "57.2/80.3")


def factors(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each matrix as a product of two, which have `SVD_TIMES` fewer numbers; all else as it is."""
    for name, tensor in state.items():
        if name.startswith("fc") and tensor.dim() == 2:
            rank = tensor.numel() // SVD_TIMES // sum(tensor.shape)
            left, values, right = torch.svd_lowrank(tensor, rank, niter=1)
            yield f"{name}.left", left * values
            yield f"{name}.right", right.T.contiguous()
        else:
            yield name, tensor


def pruned(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = dict(state)
    for layer, density in DENSITIES.items():
        tensor = state[f"{layer}.weight"]
        found[f"{layer}.weight"] = torch.where(largest([tensor], density)[0], tensor, 0.0)
    return found


def shared(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Shared | Tensor]]:
    for name, tensor in state.items():
        bits = BITS["conv" if name.startswith("conv") else "fc"]
        yield name, share(tensor, 2**bits - 1) if tensor.dim() > 1 else tensor.half().float()


def squeezenet(v1_0: Path, images: list[ImageInput]) -> Iterator[Row]:
    model = load_model(v1_0)
    net = "SqueezeNet v1.0"
    tell(net)
    size_bytes = len(as_safetensors(model))
    whole = scores(model, images)
    yield Row(net, "safetensors, float32", size_bytes, whole, 4.8, "57.5/80.3")
    size_bytes = v1_0.stat().st_size
    yield Row(net, "8 bits, `.net` as published", size_bytes, whole, 0.66, "57.5/80.3")
    lossless = keep_exactly(model)
    for coder in ("huffman", "rans"):
        size_bytes = len(write(lossless, coder))
        yield Row(net, f"the same, `.fire`, {coder}", size_bytes, whole, 0.66, "57.5/80.3")
    compressed = prune_and_share(model, 1.0, 6)
    found = scores(compressed.expand(), images)
    for coder in ("huffman", "rans"):
        size_bytes = len(write(compressed, coder))
        yield Row(net, f"6 bits, `.fire`, {coder}", size_bytes, found, 0.47, "57.5/80.3")


def scores(model: Model, images: list[ImageInput]) -> str:
    return "/".join(f"{percent:.1f}" for percent in accuracy(model, images))


if __name__ == "__main__":
    main()
