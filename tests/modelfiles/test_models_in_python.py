"""Models from Python: paths as text, values that show themselves, errors in arguments' names."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from layouts import fresh
from PIL import Image

import firetree
from firetree.errors import UserError
from firetree.modelfiles import Preprocessing, as_safetensors


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model for images of 16 pixels and three classes, beside one image."""
    folder = tmp_path_factory.mktemp("model")
    state = fresh("squeezenet_small", size=16, classes=3)
    preprocessing = Preprocessing(16, True, 16, "RGB", (128.0,) * 3, (64.0,) * 3)
    model = firetree.Model("squeezenet_small", state, preprocessing, {}, ("cat", "dog", "<eel>"))
    (folder / "model.safetensors").write_bytes(as_safetensors(model))
    Image.new("RGB", (20, 30), "red").save(folder / "a.png")
    return str(folder / "model.safetensors")


def image_of(path: str) -> str:
    return str(Path(path).with_name("a.png"))


def test_a_model_goes_through_all_verbs(path: str, tmp_path: Path) -> None:
    model = firetree.Model.load(path)
    small = firetree.compress(path, str(tmp_path / "small.fire"), bits=4, density=0.5)
    assert (tmp_path / "small.fire").read_bytes() == small.content
    assert firetree.compress(model, bits=4, density=0.5).content == small.content
    plain = firetree.decompress(str(tmp_path / "small.fire"), str(tmp_path / "plain.safetensors"))
    again = firetree.Model.load(str(tmp_path / "plain.safetensors"))
    assert all(torch.equal(again.state[n], t) for n, t in small.model.state.items())
    answers = [
        firetree.predict(one, image_of(path))
        for one in (small.model, plain, tmp_path / "small.fire")
    ]
    assert len({repr(answer) for answer in answers}) == 1
    assert answers[0][0].top5[0].name in model.classes


def test_a_fire_that_is_named_otherwise_is_opened_by_its_content(path: str, tmp_path: Path) -> None:
    small = firetree.compress(path, tmp_path / "small.safetensors", bits=4)
    found = firetree.inspect(tmp_path / "small.safetensors")
    assert repr(found) == repr(small)
    assert firetree.Model.load(tmp_path / "small.safetensors").classes == small.model.classes


def test_images_that_cannot_be_decoded_are_told_of(path: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        shutil.copy(image_of(path), tmp_path / name)
    (tmp_path / "dog/b.png").write_bytes(b"no image")
    said: list[str] = []
    found = firetree.scan(path, tmp_path, progress=said.append)
    assert said[0] == "passed over: 1 of 3 images, which cannot be decoded"
    assert repr(found).endswith("26 layers, 2 images)")
    assert said[1:] == [curve.name for curve in found.curves]


def test_values_show_themselves_in_a_line_and_in_a_table(path: str) -> None:
    model, small = firetree.Model.load(path), firetree.compress(path, bits=4)
    inspected = firetree.inspect(model)
    assert repr(model) == f"Model(squeezenet_small, {inspected.parameters:,} parameters, 3 classes)"
    for value in (model, small, inspected):
        page = value._repr_html_()
        assert "\n" not in repr(value)
        assert page.startswith("<table>")
        assert "fire2" in page
        assert "</table><p>" in page


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: firetree.compress(path), "no way to compress is given"),
        (
            lambda path: firetree.compress(path, bits=4, lossless=True),
            "bits is given beside lossless",
        ),
        (lambda path: firetree.compress(path, bits=4, density=0), "density is 0; expected above 0"),
        (lambda path: firetree.compress(path, bits=4, scope="net"), "scope is net; expected layer"),
        (lambda path: firetree.compress(path, bits=4, coder="zip"), "coder is zip; expected rans"),
        (
            lambda path: firetree.compress(path, bits=4, images="x"),
            "images is for budget and retrain",
        ),
        (
            lambda path: firetree.compress(path, budget=9000),
            "images is missing; budget and retrain",
        ),
        (
            lambda path: firetree.predict(path, image_of(path), backend="tpu"),
            "backend is tpu; expected",
        ),
        (lambda path: firetree.predict(path, path, beam=2), "beam is 2, but the model is not for"),
        (lambda path: firetree.inspect(path, batch=0), "batch is 0; expected 1 or more"),
        (lambda path: firetree.inspect(path, size=7), "size is 7; expected at least 8 pixels"),
        (lambda path: firetree.scan(path, "nowhere"), "no file or folder nowhere; expected images"),
        (lambda path: firetree.inspect("gone.fire"), "no file gone.fire; expected a model"),
    ],
)
def test_what_cannot_be_is_refused_in_arguments_names(
    path: str, call: Callable[[str], object], message: str
) -> None:
    with pytest.raises(UserError) as refusal:
        call(path)
    assert str(refusal.value).startswith(message)
