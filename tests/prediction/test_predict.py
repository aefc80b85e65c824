"""Predictions by the real command: accuracy of published weights, labels, JSON, damaged images."""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from command import firetree
from PIL import Image
from published_files import NAMES, PICTURES, V1_0, V1_1, needs_images, needs_weights

from firetree import models
from firetree.errors import UserError
from firetree.modelfiles import Model, Preprocessing, as_safetensors, read_classes
from firetree.prediction.images import find_images


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for images of 16 pixels and three named classes."""
    torch.manual_seed(0)
    state = models.build("squeezenet_small", classes=3, channels=3, size=16).state_dict()
    grey = (128.0, 128.0, 128.0)
    preprocessing = Preprocessing(16, True, 16, "RGB", grey, grey)
    model = Model("squeezenet_small", dict(state), preprocessing, {}, ("cat", "dog", "eel"))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    path.write_bytes(as_safetensors(model))
    return path


@needs_weights
@needs_images
@pytest.mark.parametrize(("path", "top1", "top5"), [(V1_1, 67, 87), (V1_0, 65, 86)])
def test_published_weights_reach_their_accuracy(path: Path, top1: float, top5: float) -> None:
    code, out, err = firetree(
        "predict", path, PICTURES, "--labels", "--classes", NAMES, "--backend", "torch"
    )
    said = "" if path == V1_0 else f"{path}: it does not say how images are prepared; assumed: both"
    assert (code, err[: len(said)]) == (0, said)
    found = [float(number) for number in re.findall(r"top-\d (\S+) %", out)]
    assert found == pytest.approx([top1, top5], abs=2.5)
    assert " of 250 images; " in out


def test_a_folder_is_classified_in_order_and_a_damaged_image_says_why(
    tmp_path: Path, tiny: Path
) -> None:
    (tmp_path / "deeper").mkdir()
    Image.new("RGB", (20, 30), "red").save(tmp_path / "deeper/a.png")
    Image.new("L", (9, 9), 3).save(tmp_path / "b.jpg")
    (tmp_path / "c.jpg").write_bytes(b"no image")
    code, out, _ = firetree("predict", tiny, tmp_path, "--json", "--backend", "torch")
    found = json.loads(out)
    assert code == 0
    assert [Path(answer["image"]).name for answer in found] == ["b.jpg", "c.jpg", "a.png"]
    assert found[1]["top5"] == []
    assert found[1]["damage"].startswith("none of JPEG")
    assert {guess["name"] for guess in found[0]["top5"]} == {"cat", "dog", "eel"}
    assert sum(guess["probability"] for guess in found[0]["top5"]) == pytest.approx(1)
    text = firetree("predict", tiny, tmp_path, "--backend", "torch")[1]
    assert re.search(r"c\.jpg +none of JPEG", text)


def write_tar(path: Path, folders: Sequence[str]) -> Path:
    """An image in each of the folders."""
    with tarfile.open(path, "w") as archive:
        for k, folder in enumerate(folders):
            Image.new("RGB", (16, 16), (60 * k, 0, 200)).save(path.with_name("one.png"))
            archive.add(path.with_name("one.png"), f"{folder}/{k}.png")
    return path


def labels(path: Path, class_names: Sequence[str]) -> dict[str, int | None]:
    return {found.name: found.label for found in find_images([path], class_names, print)}


def test_a_tars_classes_are_known_by_name_else_by_place(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ["eel", "dog"])
    assert labels(tar, ["cat", "dog", "eel"]) == {"dog/1.png": 1, "eel/0.png": 2}
    assert labels(tar, ["eel", "cat", "dog"]) == {"dog/1.png": 2, "eel/0.png": 0}
    assert labels(tar, ["class 0", "class 1"]) == {"dog/1.png": 0, "eel/0.png": 1}
    for others in (["class 0", "class 1", "class 2"], ["ape", "dog"]):
        with pytest.raises(UserError, match=r"a\.tar has 2 classes, and .* does not know"):
            labels(tar, others)


def test_a_tar_of_two_parts_is_classified_whole_and_scored_by_what_was_held_out(
    tmp_path: Path,
) -> None:
    folders = [f"{part}/{name}" for part in ("train", "val") for name in ("cat", "dog")]
    tar = write_tar(tmp_path / "a.tar", folders)
    assert len(find_images([tar], None, print)) == 4
    assert labels(tar, ["cat", "dog"]) == {"val/cat/2.png": 0, "val/dog/3.png": 1}


def write_parquet(path: Path, labels: Sequence[int]) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    images = [{"bytes": file.getvalue(), "path": None}] * len(labels)
    pq.write_table(pa.table({"image": images, "label": labels}), path)


def test_a_folder_of_parquets_is_scored_by_what_was_held_out(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train-0.parquet", [0, 0, 0])
    write_parquet(tmp_path / "test-0.parquet", [1, 0])
    assert len(find_images([tmp_path], None, print)) == 5
    held_out = find_images([tmp_path], ["cat", "dog"], print)
    assert [image.label for image in held_out] == [1, 0]


def test_class_folders_are_scored_and_what_is_passed_over_is_said(tmp_path: Path) -> None:
    for name in ("val/dog/0.png", "val/cat/1.png", "train/dog/2.png", "train/cat/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    os.mkfifo(tmp_path / "val/dog/pipe.png")
    (tmp_path / "val/dog/notes.txt").touch()
    said: list[str] = []
    for class_names, count in ((None, 4), (["cat", "dog"], 2)):
        assert len(find_images([tmp_path], class_names, said.append)) == count
    passed_over = "passed over: 1 .txt, 1 special file"
    scored = f"{tmp_path}: scored by its 2 images from val/"
    assert said == [passed_over, scored, passed_over]
    assert labels(tmp_path, ["cat", "dog"]) == {"val/dog/0.png": 1, "val/cat/1.png": 0}
    with pytest.raises(UserError, match=r"no file or folder .*pipe\.png; expected images"):
        find_images([tmp_path / "val/dog/pipe.png"], None, print)


def test_labels_of_other_classes_are_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "test.parquet", [-1, 2])
    with pytest.raises(UserError, match=r"labels from -1 to 2; expected 0 to 1"):
        find_images([tmp_path / "test.parquet"], ["cat", "dog"], print)


def test_scores_are_given_as_json_too(tmp_path: Path, tiny: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ["eel", "dog", "dog"])
    guesses = json.loads(firetree("predict", tiny, tar, "--json", "--backend", "torch")[1])
    right = [one["image"].startswith(one["top5"][0]["name"]) for one in guesses]
    code, out, err = firetree("predict", tiny, tar, "--labels", "--json", "--backend", "torch")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found.pop("duration_s") > 0
    assert found == {
        "images": 3,
        "labelled": 3,
        "damaged": 0,
        "top1_percent": pytest.approx(100 * sum(right) / 3),
        "top5_percent": pytest.approx(100),
    }


def test_damaged_images_are_counted_and_not_scored(tmp_path: Path, tiny: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ["eel", "dog"])
    whole = json.loads(firetree("predict", tiny, tar, "--labels", "--json")[1])
    (tmp_path / "2.png").write_bytes(b"no image")
    with tarfile.open(tar, "a") as archive:
        archive.add(tmp_path / "2.png", "dog/2.png")
    found = json.loads(firetree("predict", tiny, tar, "--labels", "--json")[1])
    assert (found["images"], found["labelled"], found["damaged"]) == (3, 2, 1)
    assert found["top1_percent"] == whole["top1_percent"]
    assert "; 1 more cannot be decoded" in firetree("predict", tiny, tar, "--labels")[1]


@pytest.mark.parametrize("column", [{}, {"label": [None, 1]}, {"label": [[1], [2]]}])
def test_images_of_a_parquet_need_labels_only_to_be_scored(
    tmp_path: Path, column: dict[str, list[object]]
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "PNG")
    table = pa.table({"image": [file.getvalue()] * 2, **column})
    pq.write_table(table, tmp_path / "A.PARQUET")
    assert len(find_images([tmp_path / "A.PARQUET"], None, print)) == 2
    assert len(find_images([tmp_path], None, print)) == 2
    with pytest.raises(UserError, match="label"):
        find_images([tmp_path / "A.PARQUET"], ["cat", "dog"], print)


def test_a_suffix_may_be_in_capitals(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", ["eel", "dog"]).rename(tmp_path / "A.TAR")
    assert len(find_images([tmp_path / "A.TAR"], None, print)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.safetensors", "."], "no file none.safetensors; expected a model ("),
        (["MODEL", "nowhere"], "no file or folder nowhere"),
        (["MODEL", "."], ". holds no images"),
        (["MODEL", "a.png", "--labels"], "no image has a label"),
        (
            ["MODEL", "a.png", "--classes", "names.txt"],
            "--classes names.txt has 1 names; expected 3",
        ),
        (["MODEL", "names.txt"], "none of the images can be decoded (names.txt: none of JPEG"),
        (["MODEL", "empty.tar"], "empty.tar holds no images; expected .jpg"),
        (["MODEL", "x" * 5000], "cannot open 'xxx"),
        (["x" * 5000, "a.png"], "cannot open 'xxx"),
    ],
)
def test_what_cannot_be_predicted_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "a.png" in arguments:
        Image.new("RGB", (20, 30), "red").save("a.png")
    Path("names.txt").write_text("n01440764 tench\n")
    tarfile.open("empty.tar", "w").close()
    code, _, err = firetree(
        "predict", *(str(tiny) if a == "MODEL" else a for a in arguments), "--backend", "torch"
    )
    assert code == 2
    assert err.startswith(f"firetree: {message}")
    assert err.count("\n") == 1


def test_signs_that_end_lines_elsewhere_do_not_end_a_class_name(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("a\u2028b\nc\x85d\r\n\ne\x1cf\n", encoding="utf-8", newline="")
    assert read_classes(path) == ("a\u2028b", "c\x85d", "e\x1cf")
