"""A model answers the same whether it comes from its original file, from a .fire, or from ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from published_files import PICTURES, V1_0, V1_1, needs_pictures, needs_weights

from firetree import deep_compression, modelfiles
from firetree.modelfiles import Published, onnx_export
from firetree.prediction.answer import predict
from firetree.prediction.backends import Backend, start
from firetree.prediction.pictures import Picture, find_pictures

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")


@needs_weights
@needs_pictures
@pytest.mark.parametrize("count", [12, pytest.param(250, marks=pytest.mark.slow)])
@pytest.mark.parametrize("path", [V1_0, V1_1])
def test_the_most_probable_class_is_the_same_from_every_format(
    tmp_path: Path, path: Path, count: int
) -> None:
    published = modelfiles.load(path)
    fire, onnx = tmp_path / "model.fire", tmp_path / "model.onnx"
    fire.write_bytes(deep_compression.write(deep_compression.keep_exactly(published)))
    onnx.write_bytes(onnx_export.as_onnx(published))
    pictures = find_pictures([PICTURES], None, print)[:count]
    original = most_probable(published, "torch", pictures)
    assert len(set(original)) > count // 2
    assert most_probable(deep_compression.open_model(fire, print), "torch", pictures) == original
    assert most_probable(modelfiles.load(onnx), "torch", pictures) == original
    assert (
        most_probable(deep_compression.open_model(fire, print), "onnxruntime", pictures) == original
    )


def most_probable(published: Published, backend: Backend, pictures: Sequence[Picture]) -> list[int]:
    run = start(backend, published)
    found = predict(run, published.preprocessing, published.class_names, pictures)
    return [answer.top5[0].index for answer in found.answers]
