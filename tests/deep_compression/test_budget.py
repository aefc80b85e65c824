"""Rounding to a budget, sharing by k-means, and retraining what is shared."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from command import firetree
from PIL import Image

from firetree import models
from firetree.deep_compression.quantise import compensation, quantise
from firetree.deep_compression.retrain import retrain_values
from firetree.deep_compression.scan import scan_layers
from firetree.deep_compression.share import prune, prune_and_share, share
from firetree.modelfiles import Model, Preprocessing, as_safetensors, load_model
from firetree.modelfiles.fire.fire import read, write
from firetree.modelfiles.fire.shared import Compressed, Shared


def small_model(**fields: object) -> Model:
    torch.manual_seed(0)
    state = models.build("squeezenet_small", classes=3, channels=3, size=16, **fields).state_dict()
    preprocessing = Preprocessing(16, True, 16, "RGB", (128.0,) * 3, (64.0,) * 3)
    return Model("squeezenet_small", dict(state), preprocessing, fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and 24 images of noise in two classes."""
    root = tmp_path_factory.mktemp("budget")
    (root / "model.safetensors").write_bytes(as_safetensors(small_model()))
    (root / "two.txt").write_text("cat\ndog\n")
    random = np.random.default_rng(0)
    for k in range(24):
        path = root / "images" / f"class{k % 2}" / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(path)
    return root


@pytest.mark.parametrize(
    ("budget_kb", "more"), [(2, ()), (12, ("--retrain", 6)), (25, ("--coder", "huffman"))]
)
def test_a_budget_is_met_and_nearly_used_up(
    folder: Path, budget_kb: int, more: tuple[object, ...]
) -> None:
    out = folder / "small.fire"
    model, images = folder / "model.safetensors", folder / "images"
    code, said, err = firetree(
        "compress", model, out, "--budget", f"{budget_kb}kB", "--images", images, *more
    )
    assert code == 0, err
    assert 940 * budget_kb < out.stat().st_size <= 1000 * budget_kb
    assert f"{out.stat().st_size:,} bytes" in said
    table = firetree("inspect", out)[1]
    assert table.splitlines()[-1].startswith(f"squeezenet_small: {out.stat().st_size:,} bytes")


def test_decompress_gives_the_weights_that_the_file_predicts_with(
    folder: Path, tmp_path: Path
) -> None:
    fire, plain = tmp_path / "a.fire", tmp_path / "a.safetensors"
    model = folder / "model.safetensors"
    assert firetree("compress", model, fire, "--bits", 4, "--density", 0.5)[0] == 0
    assert firetree("decompress", fire, plain)[0] == 0
    state = load_model(fire).state
    again = load_model(plain).state
    assert all(torch.equal(state[name], again[name]) for name in state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "expected one of --lossless, --budget SIZE, and --bits"),
        (["--lossless", "--bits", "4"], "expected one of"),
        (["--budget", "25kB"], "--images is missing; budget and retrain need it"),
        (
            ["--lossless", "--retrain", "2", "--images", "IMAGES"],
            "--retrain changes the weights, but lossless keeps them",
        ),
        (["--lossless", "--density", "0.5"], "--density is 0.5 without bits"),
        (
            ["--budget", "25kB", "--images", "IMAGES", "--scope", "global"],
            "--scope is global without bits",
        ),
        (["--bits", "4", "--retrain=-1"], "--retrain is -1; expected 0 or more"),
        (["--bits", "4", "--retrain-images", "0"], "--retrain-images is 0; expected 1 or more"),
        (["--lossless", "--classes", "NAMES"], "--classes .*two.txt has 2 names; expected 3"),
        (["--bits", "9"], "--bits is 9; expected 1 to 8"),
        (["--bits", "4", "--density", "0"], "--density is 0.0; expected above 0"),
        (["--budget", "much", "--images", "IMAGES"], "size 'much'; expected"),
        (
            ["--budget", "100B", "--images", "IMAGES"],
            "--budget is 100 bytes; expected more than ",
        ),
        pytest.param(
            ["--budget", "1340B", "--images", "IMAGES"],
            "--budget is 1,340 bytes; expected more, ",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_be_compressed_is_refused_in_one_line(
    folder: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    paths = {"IMAGES": str(folder / "images"), "NAMES": str(folder / "two.txt")}
    given = [paths.get(one, one) for one in options]
    model = folder / "model.safetensors"
    code, _, err = firetree("compress", model, tmp_path / "out.fire", *given)
    assert code == 2
    assert re.match(f"firetree: {message}", err.splitlines()[-1])
    assert not (tmp_path / "out.fire").exists()


def refusal(model: Model, folder: Path, *options: object) -> str:
    """The line with which `compress` refuses this model, of which it writes no file."""
    path, out = folder / "refused.safetensors", folder / "refused.fire"
    path.write_bytes(as_safetensors(model))
    code, _, err = firetree("compress", path, out, *options)
    assert (code, err.count("\n"), out.exists()) == (2, 1, False)
    return err


def test_what_no_command_could_open_is_not_written(tmp_path: Path) -> None:
    # All but a weight a layer are pruned, so that a byte of the file stands for too many.
    model = small_model(base_e=512, incr_e=512)
    said = refusal(model, tmp_path, "--bits", 1, "--density", 1e-6)
    assert "cannot be opened again: " in said


@pytest.mark.parametrize(
    "options",
    [
        ("--bits", 4),
        ("--bits", 4, "--retrain", 2, "--images", "IMAGES"),
        ("--budget", "25kB", "--images", "IMAGES"),
    ],
)
def test_a_bias_beyond_16_bits_keeps_its_32(
    folder: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    model = small_model()
    model.state["conv10.bias"][1] = 100_000.0
    path, fire = tmp_path / "model.safetensors", tmp_path / "model.fire"
    path.write_bytes(as_safetensors(model))
    given = [folder / "images" if one == "IMAGES" else one for one in options]
    code, _, err = firetree("compress", path, fire, *given)
    assert code == 0, err
    assert float(load_model(fire).state["conv10.bias"][1]) == pytest.approx(100_000)


def test_shared_values_beyond_16_bits_keep_their_32() -> None:
    weight = torch.tensor([[100_000.0, 3.0, -2.0, 0.0]])
    for shared in (share(weight, 3), quantise(weight, 1000.0, None)):
        assert np.isfinite(shared.codebook).all()
        assert float(shared.dense()[0, 0]) == pytest.approx(100_000, rel=0.01)


def test_a_layer_without_any_weight_left_survives_its_file() -> None:
    model = small_model()
    model.state["fire2.squeeze1x1.weight"].zero_()
    again = read(write(prune_and_share(model, 1.0, 4))).expand()
    assert not again.state["fire2.squeeze1x1.weight"].any()
    assert again.state["fire2.expand1x1.weight"].any()


def test_pruning_keeps_the_largest_of_each_layer_or_of_all() -> None:
    state = {"a": torch.tensor([[0.1, -5.0], [3.0, 0.2]]), "b": torch.tensor([[0.3, -0.05]])}
    apart, together = prune(state, 0.5, "layer"), prune(state, 0.5, "global")
    assert apart["a"].tolist() == [[0.0, -5.0], [3.0, 0.0]]
    assert apart["b"].flatten().tolist() == pytest.approx([0.3, 0.0])
    assert together["a"].tolist() == [[0.0, -5.0], [3.0, 0.0]]
    assert together["b"].flatten().tolist() == pytest.approx([0.3, 0.0])
    few = prune(state, 0.1, "global")
    assert few["a"].count_nonzero() == few["b"].count_nonzero() == 1  # no layer is emptied


def test_a_scan_tells_which_layers_can_be_pruned(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "scan.html"
    code, said, err = firetree(
        "scan", folder / "model.safetensors", "--images", folder / "images", "--html", page
    )
    assert code == 0, err
    lines = said.splitlines()
    assert lines[0].split()[:3] == ["layer", "weights", "5%"]
    assert [line.split()[0] for line in lines[1:]] == [
        name for name, tensor in small_model().state.items() if tensor.dim() > 1
    ]
    assert "nats from the unpruned answer" in page.read_text()


def test_a_scan_departs_more_the_more_is_pruned_and_leaves_the_model_as_it_was() -> None:
    model, x_BCHW = small_model(), torch.randn(16, 3, 16, 16)
    before = {name: tensor.clone() for name, tensor in model.state.items()}
    curves = scan_layers(model, x_BCHW, lambda _: None)
    assert all(torch.equal(model.state[name], tensor) for name, tensor in before.items())
    for curve in curves:
        assert curve.nats[0] > curve.nats[-1] >= 0


def test_k_means_finds_the_values_that_are_there() -> None:
    random = np.random.default_rng(0)
    values = np.array([-1.0, 0.25, 0.5, 2.0], np.float32)
    weight = torch.from_numpy(values[random.integers(0, 4, (10, 30))])
    shared = share(weight, 4)
    assert shared.codebook.tolist() == values.tolist()
    assert torch.equal(shared.dense(), weight)


def test_making_up_for_rounding_brings_the_output_nearer() -> None:
    torch.manual_seed(0)
    mixed = torch.randn(40, 40)
    x_PF, weight = torch.randn(1000, 40) @ mixed, torch.randn(16, 40)
    moments_FF = x_PF.T @ x_PF / len(x_PF)
    errors = [
        float((x_PF @ (quantise(weight, 0.5, how).dense() - weight).T).square().mean())
        for how in (None, compensation(moments_FF))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_a_pruned_weight_stays_pruned_when_others_make_up_for_rounding() -> None:
    torch.manual_seed(0)
    weight = prune({"": torch.randn(16, 40)}, 0.3, "layer")[""]
    x_PF = torch.randn(500, 40) @ torch.randn(40, 40)
    shared = quantise(weight, 0.2, compensation(x_PF.T @ x_PF))
    assert not shared.dense()[weight == 0].any()


def test_retraining_brings_the_answer_nearer_and_keeps_zeros_and_size() -> None:
    model, before = small_model(), prune_and_share(small_model(), 0.5, 3)
    x_BCHW = torch.randn(64, 3, 16, 16)
    after = retrain_values(before, model, x_BCHW, 60, lambda _: None)

    def distance(compressed: Compressed) -> float:
        answers = [one.build()(x_BCHW) for one in (compressed.expand(), model)]
        return float((answers[0] - answers[1]).square().mean())

    assert distance(after) < 0.8 * distance(before)
    for name, tensor in before.tensors.items():
        again = after.tensors[name]
        if isinstance(tensor, Shared) and isinstance(again, Shared):
            assert np.array_equal(tensor.codes == 0, again.codes == 0)
            assert (np.diff(again.codebook) >= 0).all()
