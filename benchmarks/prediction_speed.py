"""Prediction beside onnxruntime's own session and a plain loop of PyTorch; opening and making a `.fire`.

Takes the published SqueezeNets and the 250 images of the test data, by default from beside the
checkout. Run it with nothing else running: about six minutes on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

from firetree.deep_compression.compress import compress
from firetree.modelfiles import Model, as_safetensors, load_model, onnx_export
from firetree.prediction.backends import start
from firetree.prediction.classification import classify
from firetree.prediction.images import ImageInput, find_images
from results import median_and_spread, tell, write_section

SHARED = Path(__file__).parents[2] / "shared" / "data"
V1_1 = "squeezenet_v1_1_caffe_fp16.safetensors"
V1_0 = "squeezenet_v1_0_deep_compression.net"
BATCH, REPEATS = 16, 5
OPENED = 20
"""How often a file is opened in a repeat; the least counts."""

Times = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shared", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--images", type=int, default=250, help="how many, from the first on")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    path = options.shared / "imagenet_sample" / "validation-00000-of-00001.parquet"
    rows = [["network", "way", "images/s", "firetree's speed for it"]]
    for name in (V1_1, V1_0):
        model = load_model(options.shared / "weights" / name)
        ways = predicting(model, lambda: find_images([path])[: options.images])
        rows += rates(model.network, options.images, timed(ways, options.repeats))
    write_section(
        "Prediction",
        "python benchmarks/prediction_speed.py",
        f"{options.images} images from parquet to classes, float32, two cores. All read, scale and "
        "cut with the same functions; the peers do one thing after the other, and are started before "
        f"the clock is. Medians (least to most) of {options.repeats} interleaved repeats; the ratio is "
        "the median of the repeats' own.",
        rows,
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = [*making(options.shared, Path(folder), options.repeats)]
        rows += opening(options.shared, Path(folder), options.repeats)
    write_section(
        "Opening and making a compressed model",
        "python benchmarks/prediction_speed.py",
        "SqueezeNet v1.0 from the command's options to a file, with the 48 flowers that "
        "sensitivity is measured with; and from a file to a network that is ready, beside its weights in "
        f"float32 as safetensors. Medians (least to most) of {options.repeats} interleaved repeats.",
        [["what", "bytes", "ms", "× safetensors"], *rows],
    )


def predicting(
    model: Model, images: Callable[[], list[ImageInput]]
) -> dict[str, Callable[[], object]]:
    """Ways to classify all images, each ready to start."""
    names, preprocessing = model.class_names, model.preprocessing
    ours = {f"firetree, {backend}": start(backend, model) for backend in ("onnxruntime", "torch")}
    session = onnx_export.session(model)
    network = model.build().to(memory_format=torch.contiguous_format)

    def by_onnxruntime(x_BCHW: Tensor) -> np.ndarray:
        return session.run(None, {onnx_export.INPUT: x_BCHW.numpy()})[0].argmax(1)

    def by_torch(x_BCHW: Tensor) -> np.ndarray:
        with torch.inference_mode():
            return network(x_BCHW).argmax(1).numpy()

    def loop(run: Callable[[Tensor], np.ndarray], batch: int) -> list[int]:
        found, waiting = [], images()
        for k in range(0, len(waiting), batch):
            x_BHWC = np.stack([preprocessing.apply(one.read()) for one in waiting[k : k + batch]])
            found += run(preprocessing.normalise(x_BHWC).contiguous()).tolist()
        return found

    return {
        **{
            way: lambda run=run: classify(run, preprocessing, names, images())
            for way, run in ours.items()
        },
        "onnxruntime, one by one": partial(loop, by_onnxruntime, 1),
        f"onnxruntime, {BATCH} at once": partial(loop, by_onnxruntime, BATCH),
        "torch NCHW, one by one": partial(loop, by_torch, 1),
        f"torch NCHW, {BATCH} at once": partial(loop, by_torch, BATCH),
    }


def timed(ways: Mapping[str, Callable[[], object]], repeats: int) -> Times:
    """Seconds of each way, by turns; a first round does not count."""
    times_s: Times = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        for way, call in ways.items():
            begun_s = time.perf_counter()
            call()
            if repeat:
                times_s[way].append(time.perf_counter() - begun_s)
                tell(f"{way}: {times_s[way][-1]:.2f} s")
    return times_s


def rates(network: str, images: int, times_s: Times) -> Iterator[list[str]]:
    """Our fastest way against each other."""
    fastest = min((way for way in times_s if "firetree" in way), key=lambda w: median(times_s[w]))
    for way, seconds in times_s.items():
        yield [
            network,
            way,
            median_and_spread([images / one for one in seconds], 1),
            median_and_spread(against(seconds, times_s[fastest])),
        ]


def against(theirs_s: Sequence[float], ours_s: Sequence[float]) -> list[float]:
    return [theirs / ours for theirs, ours in zip(theirs_s, ours_s, strict=True)]


def making(shared: Path, folder: Path, repeats: int) -> Iterator[list[str]]:
    """Seconds from the options to the file."""
    model, images = shared / "weights" / V1_0, shared / "flowers" / "flowers.tar"
    out = folder / "small.fire"
    ways = {
        "lossless": partial(compress, model, out, lossless=True),
        "to 470 kB": partial(compress, model, out, budget="470kB", images=images),
    }
    for way, make in ways.items():
        seconds = []
        for _ in range(repeats):
            begun_s = time.perf_counter()
            make()
            seconds.append(time.perf_counter() - begun_s)
        size_bytes = out.stat().st_size
        yield [
            f"made {way}",
            f"{size_bytes:,}",
            median_and_spread([1e3 * s for s in seconds], 0),
            "",
        ]


def opening(shared: Path, folder: Path, repeats: int) -> Iterator[list[str]]:
    """`folder` has a `.fire`, which `making` left there."""
    fire, plain = folder / "small.fire", folder / "plain.safetensors"
    plain.write_bytes(as_safetensors(load_model(fire)))
    times_s: Times = {"safetensors": [], ".fire": []}
    for _ in range(repeats):
        for way, path in (("safetensors", plain), (".fire", fire)):
            tries = []
            for _ in range(OPENED):
                begun_s = time.perf_counter()
                load_model(path).build()
                tries.append(time.perf_counter() - begun_s)
            times_s[way].append(min(tries))
    for way, path in (("safetensors", plain), (".fire", fire)):
        yield [
            f"opened {way}",
            f"{path.stat().st_size:,}",
            median_and_spread([1e3 * one for one in times_s[way]], 1),
            median_and_spread(against(times_s[way], times_s["safetensors"])),
        ]


if __name__ == "__main__":
    main()
