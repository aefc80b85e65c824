"""A model answers the same whether it comes from its original file, from a .fire, or from ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from published_files import PICTURES, V1_0, V1_1, needs_images, needs_weights

from firetree.modelfiles import Model, load_model, onnx_export
from firetree.modelfiles.fire.fire import write
from firetree.modelfiles.fire.shared import keep_exactly
from firetree.prediction.backends import Backend, start
from firetree.prediction.classification import classify
from firetree.prediction.images import ImageInput, find_images

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


@needs_weights
@needs_images
@pytest.mark.parametrize("count", [12, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", [V1_0, V1_1])
def test_the_most_probable_class_is_the_same_from_every_format(
    tmp_path: Path, path: Path, count: int
) -> None:
    model = load_model(path)
    fire, onnx = tmp_path / "model.fire", tmp_path / "model.onnx"
    fire.write_bytes(write(keep_exactly(model)))
    onnx.write_bytes(onnx_export.as_onnx(model))
    images = find_images([PICTURES], None, print)[:count]
    original = most_probable(model, "torch", images)
    assert len(set(original)) > count // 2
    assert most_probable(load_model(fire), "torch", images) == original
    assert most_probable(load_model(onnx), "torch", images) == original
    assert most_probable(load_model(fire), "onnxruntime", images) == original


def most_probable(model: Model, backend: Backend, images: Sequence[ImageInput]) -> list[int]:
    run = start(backend, model)
    found = classify(run, model.preprocessing, model.class_names, images)
    return [answer.top5[0].index for answer in found]
