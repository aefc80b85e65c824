"""A `.fire` gives back its model to the last bit, is small, and is safe whatever it holds."""

from __future__ import annotations

import contextlib
import re
import time
import zlib
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import damaged
from published_files import V1_0, V1_1, needs_weights

from firetree import models
from firetree.commands.text.layers import as_text
from firetree.deep_compression.share import prune_and_share
from firetree.errors import UserError
from firetree.modelfiles import Model, Preprocessing, load_model
from firetree.modelfiles.fire.coders import CODERS, CoderName
from firetree.modelfiles.fire.container import frame, unframe
from firetree.modelfiles.fire.file import FireFile
from firetree.modelfiles.fire.fire import TAGS, read, write
from firetree.modelfiles.fire.numbers import join, pack, split
from firetree.modelfiles.fire.shared import keep_exactly, share_exactly


def small_model(classes: tuple[str, ...] = ("cat", "dog", "eel")) -> Model:
    torch.manual_seed(0)
    state = models.build("squeezenet_small", classes=3, channels=1, size=16).state_dict()
    preprocessing = Preprocessing(16, True, 16, "RGB", (128.0,), (64.0,))
    return Model("squeezenet_small", dict(state), preprocessing, {"dropout": 0.2}, classes)


def same_bits(one: Model, other: Model) -> bool:
    return list(one.state) == list(other.state) and all(
        torch.equal(one.state[name].view(torch.int32), other.state[name].view(torch.int32))
        for name in one.state
    )


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("density", [0.01, 0.33, 1.0])
def test_a_model_survives_its_file_to_the_last_bit(coder: CoderName, density: float) -> None:
    compressed = prune_and_share(small_model(), density, bits=5)
    again = read(write(compressed, coder))
    assert same_bits(again.expand(), compressed.expand())
    assert again.model.classes == ("cat", "dog", "eel")
    assert again.model.preprocessing == small_model().preprocessing
    assert again.model.fields == {"dropout": 0.2}


def test_weights_that_share_nothing_are_kept_as_they_are() -> None:
    model = small_model(())
    again = read(write(keep_exactly(model)))
    assert same_bits(again.expand(), model)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, -0.0, 1.5, -2.0, 1e-30, 3e30]), min_size=2, max_size=40))
def test_sharing_is_exact_for_signed_zeros_too(values: list[float]) -> None:
    tensor = torch.tensor(values, dtype=torch.float32).reshape(1, -1)
    shared = share_exactly(tensor)
    assert shared is not None
    assert torch.equal(shared.dense().view(torch.int32), tensor.view(torch.int32))


@needs_weights
@pytest.mark.parametrize(("coder", "most_bytes"), [("rans", 533_000), ("huffman", 536_000)])
def test_the_published_compressed_v1_0_takes_a_fifth_less(
    coder: CoderName, most_bytes: int
) -> None:
    model = load_model(V1_0)
    content = write(keep_exactly(model), coder)
    assert len(content) < most_bytes < 0.8 * V1_0.stat().st_size
    assert same_bits(read(content).expand(), model)


@needs_weights
def test_the_published_v1_1_is_kept_to_the_last_bit() -> None:
    model = load_model(V1_1)
    content = write(keep_exactly(model))
    assert len(content) < V1_1.stat().st_size
    assert same_bits(read(content).expand(), model)


@needs_weights
def test_the_papers_bits_and_density_give_less_than_half_a_megabyte() -> None:
    content = write(prune_and_share(load_model(V1_0), 0.33, 6))
    assert len(content) < 480_000


def test_what_a_file_takes_is_told_layer_by_layer() -> None:
    compressed = prune_and_share(small_model(), 0.33, 4)
    content = write(compressed)
    found = FireFile(content, compressed)
    assert [layer.name for layer in found.layers] == [
        name for name, tensor in small_model().state.items() if tensor.dim() > 1
    ]
    assert all(layer.values <= 15 for layer in found.layers)
    assert all(layer.density == pytest.approx(0.33, abs=0.02) for layer in found.layers)
    streams = sum(layer.mask_bytes + layer.code_bytes for layer in found.layers)
    held = sum(map(len, unframe(content, TAGS)[3:]))
    assert streams < held < streams + 1024
    assert as_text(found).splitlines()[-1].startswith("squeezenet_small: ")
    assert found.model.parameter_count == small_model().parameter_count


def test_a_changed_file_is_refused_in_one_line() -> None:
    content, dice = write(prune_and_share(small_model(), 0.33, 4)), Random(0)
    for changed in (damaged(content, dice) for _ in range(300)):
        if changed != content:
            with pytest.raises(UserError) as refusal:
                read(changed)
            assert "\n" not in str(refusal.value)


def test_a_forged_file_with_right_checksums_gives_an_error_or_a_model() -> None:
    sections = unframe(write(prune_and_share(small_model(), 0.33, 4)), TAGS)
    dice, start_s = Random(0), time.monotonic()
    for k in range(len(TAGS)):
        for changed in (damaged(sections[k], dice) for _ in range(60)):
            forged = frame(
                dict(zip(TAGS, [*sections[:k], changed, *sections[k + 1 :]], strict=True))
            )
            with contextlib.suppress(UserError):
                read(forged).expand().build()
    assert time.monotonic() - start_s < 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((b'"squeezenet_small"', b'"vgg20"'), "network 'vgg20'"),
        ((b'"classes":3', b'"classes":1000000'), "no honest .fire"),
        ((b'"classes":3', b'"classes":true'), "out of range"),
        ((b'"dropout":0.2', b'"fires":1000000000'), "fields"),
        ((b'"dropout":0.2', b'"base_e":1000000000'), "fields"),
        ((b'"rans"', b'"none"'), "out of range"),
        ((b'"crop":16', b'"crop":99999'), "preprocessing."),
        ((b'"crop":16', b'"crop":Infinity'), "description is damaged"),
        ((b'"std":[64.0]', b'"std":[NaN]'), "preprocessing.std"),
        ((b'"channels":1', b'"channels":3'), "3 channels; expected 1"),
        ((b'"dropout":0.2', b'"conv10_padding":4096'), "conv10_padding = 4096; expected 0 or 1"),
    ],
)
def test_a_head_that_is_made_up_is_refused(change: tuple[bytes, bytes], message: str) -> None:
    sections = unframe(write(prune_and_share(small_model(), 0.33, 4)), TAGS)
    head = zlib.decompress(sections[0], -15)
    assert change[0] in head
    sections[0] = pack(head.replace(*change))
    with pytest.raises(UserError, match=re.escape(message)):
        read(frame(dict(zip(TAGS, sections, strict=True))))


def test_codebooks_of_no_known_width_are_refused() -> None:
    sections = unframe(write(prune_and_share(small_model(), 0.33, 4)), TAGS)
    *plain, books = split(sections[2], 3)
    sections[2] = join(*plain, b"\2" + books[1:])
    with pytest.raises(UserError, match="no width; expected 0 or 1"):
        read(frame(dict(zip(TAGS, sections, strict=True))))


def test_another_version_says_so() -> None:
    content = bytearray(write(prune_and_share(small_model(), 0.33, 4)))
    content[4] = 1
    with pytest.raises(UserError, match=r"version 1; expected 2"):
        read(bytes(content))
