"""How small a SqueezeNet's file can get, and what it costs: `.fire` down to 250 kB beside int8 ONNX.

`python reproduce/small_files.py`

Everything is tuned on the flowers and on CIFAR-10's images, enlarged, without their labels;
accuracy is that on the 250 images of the test data, on which nothing is chosen. Whole files, with
preprocessing and 1,000 class names. A point that is done is a line of `small_files.csv`, so that a
repeated command goes on; the figure goes to `docs/figures`, the table to `reproduce/RESULTS.md`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import onnxruntime
import torch
from matplotlib.figure import Figure
from measure import accuracy
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from page import save_figure, tell, write_table
from torch import Tensor

from firetree.data import parquet, trees
from firetree.deep_compression.allocate import fit_budget
from firetree.deep_compression.calibrate import calibrate
from firetree.deep_compression.images import inputs_of
from firetree.deep_compression.retrain import retrain_values
from firetree.modelfiles import Model, load_model, onnx_export, read_classes
from firetree.modelfiles.fire import fire
from firetree.modelfiles.fire.shared import keep_exactly
from firetree.prediction.backends import Inference, start
from firetree.prediction.images import ImageInput, find_images
from points import add, read

POINTS = Path(__file__).with_name("small_files.csv")
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "small-files.png"
FILES = {
    "v1.0": "squeezenet_v1_0_deep_compression.net",
    "v1.1": "squeezenet_v1_1_caffe_fp16.safetensors",
}
BUDGETS_KB = (470, 440, 400, 350, 300, 250)
RETRAINED = (("v1.0", 350), ("v1.0", 300), ("v1.0", 250), ("v1.1", 470))
STEPS = 300
CALIBRATED, TRAINED = 48, 512
"""Images of both sources together: for sensitivities, and for retraining."""

WHOLE, ROUNDED, TAUGHT, INT8 = "as published", ".fire", ".fire, retrained", "int8 ONNX"
COLOURS = {"v1.0": "#4c78a8", "v1.1": "#f58518"}
MARKS = {WHOLE: "*", ROUNDED: "o-", TAUGHT: "s", INT8: "D"}


@dataclass(frozen=True)
class Point:
    """A whole file, and its accuracy."""

    model: str
    way: str
    budget_kb: int
    """0 where there was none."""
    size_bytes: int
    top1: float
    top5: float


@dataclass(frozen=True)
class Sources:
    """The test data's folder, and what is read from it when it is needed."""

    shared: Path

    def model(self, name: str) -> Model:
        classes = read_classes(self.shared / "imagenet_sample" / "synset_words.txt")
        return replace(load_model(self.shared / "weights" / FILES[name]), classes=classes)

    def images(self) -> list[ImageInput]:
        return find_images([self.shared / "imagenet_sample/validation-00000-of-00001.parquet"])

    def others(self, model: Model, count: int, seed: int) -> Tensor:
        """x_BCHW of other images, half of them flowers and half CIFAR-10's."""
        flowers = trees.read_tar(self.shared / "flowers" / "flowers.tar").train
        cifar = parquet.read_parquet(self.shared / "cifar10").train
        halves = [
            inputs_of(model.preprocessing, stored, count // 2, seed) for stored in (flowers, cifar)
        ]
        mixed = torch.cat(halves)
        return mixed[torch.randperm(len(mixed), generator=torch.Generator().manual_seed(seed))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", default=",".join(FILES), help="empty to draw what is there")
    options = parser.parse_args()
    sources = Sources(options.shared)
    for model in filter(None, options.models.split(",")):
        for way, budget_kb, make in wanted(model, sources):
            done = {(p.model, p.way, p.budget_kb) for p in read(POINTS, Point)}
            if (model, way, budget_kb) not in done:
                tell(f"{model}, {way} {budget_kb or ''}")
                size_bytes, run = make()
                top1, top5 = accuracy(sources.model(model), sources.images(), run)
                point = Point(model, way, budget_kb, size_bytes, round(top1, 1), round(top5, 1))
                add(POINTS, [point])
    report(read(POINTS, Point))


def report(points: Sequence[Point]) -> None:
    save_figure(drawn(points), FIGURE)
    write_table(
        "How small a file can get",
        "python reproduce/small_files.py",
        "Whole files with preprocessing and 1,000 class names; top-1 and top-5 of 250 images (0.4 points "
        "each, and probably training images), on which nothing was chosen. Sensitivities and "
        "retraining by flowers and enlarged CIFAR-10 images, without labels. int8 by onnxruntime's own "
        "quantiser, a scale a channel. [Image](../docs/figures/small-files.png).",
        [["model", "file", "bytes", "top-1 %", "top-5 %"], *table(points)],
    )


Made = tuple[int, Inference]
"""The bytes of a file, and what it answers."""


def wanted(model: str, sources: Sources) -> Iterator[tuple[str, int, Callable[[], Made]]]:
    """Ways, budgets, and what makes the file."""
    yield WHOLE, 0, lambda: lossless(sources.model(model))
    yield INT8, 0, lambda: int8(sources.model(model), sources)
    for budget_kb in BUDGETS_KB:
        yield ROUNDED, budget_kb, partial(fitted, model, sources, budget_kb, 0)
    for name, budget_kb in RETRAINED:
        if name == model:
            yield TAUGHT, budget_kb, partial(fitted, model, sources, budget_kb, STEPS)


def lossless(model: Model) -> Made:
    return len(fire.write(keep_exactly(model))), start("torch", model)


def fitted(model: str, sources: Sources, budget_kb: int, steps: int) -> Made:
    whole = sources.model(model)
    calibration = calibrate(whole, sources.others(whole, CALIBRATED, seed=0))
    compressed = fit_budget(whole, calibration, 1000 * budget_kb, tell, to_be_retrained=steps > 0)
    if steps:
        x_BCHW = sources.others(whole, TRAINED, seed=1)
        compressed = retrain_values(compressed, whole, x_BCHW, steps, tell)
    content = fire.write(compressed)
    return len(content), start("torch", fire.read(content).expand())


def int8(model: Model, sources: Sources) -> Made:
    """By onnxruntime's static quantiser, with the same images."""
    x_BCHW = sources.others(model, CALIBRATED, seed=0)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(x_BCHW.split(1))

        def get_next(self) -> dict[str, object] | None:
            one = next(self._left, None)
            return None if one is None else {onnx_export.INPUT: one.contiguous().numpy()}

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (Path(folder, name) for name in ("plain.onnx", "ready", "small"))
        plain.write_bytes(onnx_export.as_onnx(model))
        quant_pre_process(plain, ready)
        quantize_static(ready, small, Reader(), per_channel=True)
        content = small.read_bytes()
    session = onnxruntime.InferenceSession(content)

    def run(batch_BCHW: Tensor) -> Tensor:
        return torch.from_numpy(
            session.run(None, {onnx_export.INPUT: batch_BCHW.contiguous().numpy()})[0]
        )

    return len(content), run


def drawn(points: Sequence[Point]) -> Figure:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    panel = figure.subplots()
    for model, colour in COLOURS.items():
        for way, mark in MARKS.items():
            mine = sorted(
                (p for p in points if (p.model, p.way) == (model, way)), key=lambda p: p.size_bytes
            )
            if mine:
                sizes = [point.size_bytes / 1000 for point in mine]
                label = f"{model}, {way}"
                panel.plot(sizes, [point.top1 for point in mine], mark, c=colour, label=label)
    panel.set_xscale("log")
    ticks = (250, 350, 500, 700, 1000, 1400, 2000)
    panel.set_xticks(ticks, ticks)
    panel.minorticks_off()
    panel.set(xlabel="file, kB", ylabel="top-1 of 250 images, %")
    panel.legend(fontsize=8)
    panel.grid(alpha=0.3)
    return figure


def table(points: Sequence[Point]) -> Iterator[list[str]]:
    for p in sorted(points, key=lambda p: (p.model, p.way, -p.size_bytes)):
        budget = f", at most {p.budget_kb} kB" if p.budget_kb else ""
        yield [p.model, p.way + budget, f"{p.size_bytes:,}", f"{p.top1:.1f}", f"{p.top5:.1f}"]


if __name__ == "__main__":
    main()
